import itertools
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from seams import linear
from seams.data import generators
from seams.data.families import known, transport
from seams.identify import (
    RECOVERED,
    chance,
    eigenvalue_gap,
    matched_correlations,
    recovery_scores,
    time_to_reach,
    turned_correlations,
    turning_curvature,
    turning_loss,
)
from seams.metrics import mean_correlation

EXACT = {"rtol": 1e-9, "atol": 1e-10}


def turn(angle):
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[cos, -sin], [sin, cos]])


def test_matched_correlations_ignore_order_sign_and_increasing_maps():
    truth = torch.randn(200, 3)
    latents = torch.stack([-truth[:, 2], truth[:, 0].exp(), torch.randn(200), truth[:, 1] ** 3], 1)
    assert_close(matched_correlations(latents, truth), torch.ones(3), **EXACT)


def test_matched_correlations_are_the_best_assignment():
    truth, latents = torch.randn(30, 3), torch.randn(30, 3)
    ranks = lambda t: t.argsort(0).argsort(0).double().numpy()
    rho = np.abs(np.corrcoef(ranks(latents), ranks(truth), rowvar=False)[:3, 3:])
    best = max(itertools.permutations(range(3)), key=lambda p: rho[p, range(3)].sum())
    expected = torch.from_numpy(rho[best, range(3)])
    assert_close(matched_correlations(latents, truth), expected, **EXACT)
    mean = mean_correlation(latents, truth, "spearman")
    assert_close(matched_correlations(latents, truth).mean().item(), mean, **EXACT)


def test_a_true_latent_without_an_axis_has_no_correlation():
    truth = torch.randn(50, 2)
    assert_close(matched_correlations(truth[:, 1:], truth), torch.tensor([0.0, 1.0]), **EXACT)


def test_turned_correlations_are_those_of_turned_samples():
    z = torch.randn(20_000, 3)
    R = torch.linalg.qr(torch.randn(4, 3, 3)).Q
    expected = torch.stack([matched_correlations(z @ r.mT, z) for r in R])
    assert (turned_correlations(R) - expected).abs().max() < 0.02
    assert_close(turned_correlations(torch.eye(3).flip(0)), torch.ones(3), **EXACT)


def test_chance_for_two_latents_is_an_integral_over_the_angle():
    angle = torch.linspace(0, math.pi / 4, 10_001)
    cosine = torch.cos(angle)  # the assignment keeps the larger of |cos| and |sin|
    expected = torch.trapezoid(6 / math.pi * torch.asin(cosine / 2), angle) / (math.pi / 4)
    assert abs(chance(2).mcc - expected.item()) < 0.004
    assert 0.88 < expected < 0.90
    widest = math.acos(2 * math.sin(RECOVERED * math.pi / 6))
    assert abs(chance(2).recovered - widest / (math.pi / 4)) < 0.03


def test_chance_falls_with_latents_and_is_certainty_for_one():
    assert (chance(1).mcc, chance(1).recovered) == pytest.approx((1, 1), abs=1e-12)
    chances = [chance(d) for d in (2, 3, 4)]
    assert all(a.mcc > b.mcc + 0.01 for a, b in itertools.pairwise(chances))
    assert all(a.recovered > b.recovered for a, b in itertools.pairwise(chances))


def test_recovery_scores_of_the_truth_and_of_a_turn():
    z = torch.randn(4_000, 2)
    found = recovery_scores(z, z)
    assert found["mcc"] == pytest.approx(1, abs=1e-12)
    assert found["mcc_least"] == pytest.approx(1, abs=1e-12)
    assert found["probe"] == pytest.approx(1, abs=1e-9)
    turned = recovery_scores(z @ turn(math.pi / 6), z)
    rank = 6 / math.pi * math.asin(math.cos(math.pi / 6) / 2)
    assert abs(turned["mcc"] - rank) < 0.02 and abs(turned["mcc_least"] - rank) < 0.02
    assert turned["probe"] == pytest.approx(1, abs=1e-9)
    assert turned["mig_means"] < found["mig_means"] - 0.3


def test_recovery_scores_the_least_and_halve_the_gap_of_a_double():
    z = torch.randn(4_000, 2)
    noise = torch.randn(4_000)
    found = recovery_scores(torch.stack([z[:, 0], z[:, 0], noise], 1), z)
    assert found["mcc"] == pytest.approx((1 + found["mcc_least"]) / 2, abs=1e-12)
    assert found["mcc_least"] < 0.1
    assert abs(found["probe"] - 0.5) < 0.02
    assert abs(found["mig_means"]) < 0.02  # two latents that say the same leave no gap


def test_time_to_reach_by_hand():
    progress = np.array([1.0, 10.0, 100.0, 1000.0])
    paths = np.array(
        [
            [0.0, 0.5, 1.0, 1.0],  # half way from 10 to 100, in the logarithm
            [0.9, 0.2, 0.6, 1.0],  # fell below: counted from where it stays
            [0.8, 0.8, 0.9, 1.0],  # always there
            [0.9, 0.9, 0.9, 0.7],  # not there in the end
            [0.0, 0.0, 0.0, math.nan],
        ]
    )
    times = time_to_reach(progress, paths, 0.75)
    assert_close(
        torch.from_numpy(times[:3]), torch.tensor([10**1.5, 100 * 10**0.375, 1.0]), **EXACT
    )
    assert np.isinf(times[3:]).all()


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_turning_loss_of_constant_singular_values_is_the_linear_gap(beta):
    s, sigma, angle = torch.tensor([2.0, 0.7]), 0.4, 0.5
    decoder = torch.diag(s) @ turn(angle).mT
    expected = linear.diagonal_gap(decoder, sigma=sigma, beta=beta).item()
    loss = turning_loss(s.expand(3, 2), angle, sigma=sigma, beta=beta)
    assert_close(loss, expected, **EXACT)
    curvature = turning_curvature(s.expand(3, 2), sigma=sigma, beta=beta)
    assert_close(curvature, linear.rotation_curvature(s, sigma=sigma, beta=beta), **EXACT)


def test_turning_loss_is_the_mean_of_the_hadamard_gap_of_each_precision():
    s, sigma, beta, angle = torch.rand(20, 2) + 0.2, 0.3, 0.5, 0.8
    R = turn(angle)
    precision = torch.eye(2) + R @ torch.diag_embed(s**2) @ R.mT / (beta * sigma**2)
    gap = precision.diagonal(dim1=1, dim2=2).log().sum(1) - torch.logdet(precision)
    loss = turning_loss(s, angle, sigma=sigma, beta=beta)
    assert_close(loss, 0.5 * beta * gap.mean().item(), **EXACT)


def test_turning_curvature_is_the_second_derivative_of_the_loss():
    s, step = torch.rand(20, 2) + 0.2, 1e-4
    loss = [turning_loss(s, k * step, sigma=0.3, beta=0.5) for k in (-1, 0, 1)]
    second = (loss[0] - 2 * loss[1] + loss[2]) / step**2
    curvature = turning_curvature(s, sigma=0.3, beta=0.5)
    assert curvature[0, 1].item() == pytest.approx(second, rel=1e-4)
    assert curvature[0, 0] == 0 and curvature[0, 1] == curvature[1, 0]


def test_lemma_gap_of_a_linear_decoder_is_the_pull_without_noise():
    s = torch.tensor([3.0, 2.0, 0.5])
    W = torch.linalg.qr(torch.randn(5, 3)).Q @ torch.diag(s) @ torch.linalg.qr(torch.randn(3, 3)).Q
    gap = eigenvalue_gap(generators.linear(W), torch.randn(4, 3))
    square = s**2
    # h = -1 / s^2
    expected = (square[:, None] - square) / (s[:, None] * s)
    assert_close(gap, expected.expand(4, -1, -1), rtol=1e-7, atol=1e-7)
    pull = turning_curvature(s.expand(2, 3), sigma=1e-6)
    assert_close(gap[0].square(), pull, rtol=1e-6, atol=1e-6)


def test_uniform_factors_have_no_lemma_gap_and_yet_a_pull():
    found = known("curves-uniform-2-2")
    z = found.z[found.z.abs().amax(1) < 2][:4]
    assert eigenvalue_gap(found.decoder, z).abs().max() < 1e-6
    for ratio, least in ((1.0, 0.2), (2.0, 0.5)):
        slope = math.sqrt(6 / math.pi) * torch.exp(-(found.z**2) / 2)
        s = slope * torch.tensor([ratio, 1.0])
        assert turning_curvature(s, sigma=0.1)[0, 1] > least


def test_equal_normal_factors_have_neither():
    found = known("curves-normal-2-1")
    assert eigenvalue_gap(found.decoder, found.z[:4]).abs().max() < 1e-6
    assert turning_curvature(torch.ones(5, 2), sigma=0.1)[0, 1] == 0


def test_a_turn_of_equal_uniform_factors_costs_fit_or_independence():
    """Turned, they are still uncorrelated but no longer independent: squares are correlated."""
    z = torch.randn(20_000, 2)
    for law, dependent in (("normal", False), ("uniform", True), ("laplace", True)):
        square = (transport(law, z) @ turn(math.pi / 4)).square()
        correlation = torch.corrcoef(square.mT)[0, 1].abs()
        assert (correlation > 0.1) == dependent
