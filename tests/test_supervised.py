"""SAP, DCI, InfoMEC and local MIG: closed forms, and twins that loop."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from seams import metrics

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def factors(values: int = 5, copies: int = 20) -> torch.Tensor:
    """Every pair of values, so that factors are independent in the sample, `copies` times."""
    grid = torch.cartesian_prod(torch.arange(values), torch.arange(values))
    return grid.repeat(copies, 1)


def noisy(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three latents: mixtures of two factors with noise, and a constant one."""
    v = factors()
    draws = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(v), 2, generator=draws)
    z = v.double() @ torch.tensor([[1.0, 0.5], [-0.3, 2.0]]) + noise
    return torch.cat([z, torch.full((len(v), 1), 3.0)], 1), v


# --- closed forms -------------------------------------------------------------------------------


def test_own_latents_have_the_best_scores_and_one_factor_the_worst() -> None:
    v = factors()
    z = torch.stack([-2.0 * v[:, 1] + 1, v[:, 0] / 3], 1)
    assert metrics.separated_attribute_predictability(z, v) == pytest.approx(1)
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    torch.testing.assert_close(metrics.attribute_predictability(z, v), swap, **EXACT)
    importance = metrics.linear_importance(z, v)
    torch.testing.assert_close(importance, swap, **EXACT)
    assert metrics.disentanglement_and_completeness(importance) == pytest.approx((1, 1))
    information = metrics.mutual_information(z, v)
    found = metrics.compactness_and_modularity(information, metrics.entropies(v))
    assert found == pytest.approx((1, 1))
    constant = torch.full((4, 3), 0.7)
    assert metrics.disentanglement_and_completeness(constant) == pytest.approx((0, 0))
    assert metrics.compactness_and_modularity(constant, torch.ones(3)) == pytest.approx((0, 0))


def test_a_turn_by_45_degrees_halves_what_a_latent_says() -> None:
    """Both latents explain half of each factor: no gap, and weights that are all alike."""
    v = factors()
    c = v.double() - 2
    z = torch.stack([c[:, 0] + c[:, 1], c[:, 0] - c[:, 1]], 1)
    half = torch.full((2, 2), 0.5)
    torch.testing.assert_close(metrics.attribute_predictability(z, v), half, **EXACT)
    assert metrics.separated_attribute_predictability(z, v) == pytest.approx(0, abs=1e-12)
    assert metrics.disentanglement_and_completeness(metrics.linear_importance(z, v)) == (
        pytest.approx((0, 0), abs=1e-9)
    )


def test_one_latent_for_two_factors_is_complete_and_not_disentangled() -> None:
    """Row (1, 1): the entropy of two; each column its one entry."""
    importance = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert metrics.disentanglement_and_completeness(importance) == pytest.approx((0, 1))
    swapped = metrics.disentanglement_and_completeness(importance.mT)
    assert swapped == pytest.approx((1, 0))


def test_shares_are_those_of_normalised_information() -> None:
    """N = [[1, 1/2], [0, 1/2]]: shares of columns 1, 1/2, of rows 2/3, 1; floors 1/2."""
    information, entropies = torch.tensor([[2.0, 2.0], [0.0, 2.0]]), torch.tensor([2.0, 4.0])
    found = metrics.compactness_and_modularity(information, entropies)
    assert found.compactness == pytest.approx((0.75 - 0.5) / 0.5)
    assert found.modularity == pytest.approx((5 / 6 - 0.5) / 0.5)


def test_circular_and_unordered_factors_count_by_what_encodes_them() -> None:
    """A cosine explains half of a circle, an indicator of one value half of three indicators."""
    v = torch.stack([torch.arange(120) % 40, torch.arange(120) // 40], 1)
    angle = 2 * math.pi * v[:, 0] / 40
    z = torch.stack([angle.cos(), (v[:, 1] == 0).double()], 1)
    found = metrics.attribute_predictability(z, v, one_hot=[1], periods={0: 40})
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.0], [0.0, 0.5]]), **EXACT)


def test_explicitness_of_separable_values_and_of_none() -> None:
    v = factors(3)
    one_hot = torch.nn.functional.one_hot(v[:, 0]).double()
    found = metrics.explicitness(torch.cat([one_hot, torch.zeros(len(v), 1)], 1), v)
    assert found[0] == pytest.approx(1, abs=1e-3) and found[1] == pytest.approx(0, abs=1e-9)


def test_local_gap_sees_alignment_that_the_whole_hides() -> None:
    """Axes that trade places half way: most neighbourhoods are aligned, the whole is not."""
    v = factors(20, copies=10)
    shift = 1e-3 * torch.randn(v.shape, generator=torch.Generator().manual_seed(0))
    z = torch.where(v[:, :1] < 10, v, v.flip(1)) + shift
    whole = metrics.mutual_information_gap(metrics.mutual_information(z, v), metrics.entropies(v))
    local = metrics.local_mutual_information_gap(z, v, reach=2)
    assert local > 0.6 > 0.2 > whole
    assert local == metrics.local_mutual_information_gap(z, v, reach=2)
    # Where nothing trades places it is the gap itself, up to the bias of few samples.
    assert metrics.local_mutual_information_gap(v + shift, v, reach=2) == pytest.approx(1, abs=0.1)


# --- twins --------------------------------------------------------------------------------------


def test_predictability_is_squared_correlation() -> None:
    z, v = noisy()
    found = metrics.attribute_predictability(z, v).numpy()
    for j, k in itertools.product(range(2), range(2)):
        assert found[j, k] == pytest.approx(np.corrcoef(z[:, j], v[:, k])[0, 1] ** 2, rel=1e-10)
    assert (found[2] == 0).all()
    gaps = [sorted(column)[-1] - sorted(column)[-2] for column in found.T]
    assert metrics.separated_attribute_predictability(z, v) == pytest.approx(np.mean(gaps))


def test_dci_equals_its_twin() -> None:
    z, v = noisy()
    importance = metrics.linear_importance(z, v).numpy()
    standard = ((z - z.mean(0)) / z.std(0))[:, :2].numpy()
    for k in range(2):
        target = (v[:, k].double() - v[:, k].double().mean()) / v[:, k].double().std()
        weights = np.linalg.lstsq(standard, target.numpy(), rcond=None)[0]
        np.testing.assert_allclose(importance[:2, k], np.abs(weights), rtol=1e-9)
    table = np.random.default_rng(0).random((4, 3))
    d = c = 0.0
    for row in table:
        p = row / row.sum()
        d += row.sum() / table.sum() * (1 + sum(x * math.log(x, 3) for x in p))
    for column in table.T:
        p = column / column.sum()
        c += column.sum() / table.sum() * (1 + sum(x * math.log(x, 4) for x in p))
    found = metrics.disentanglement_and_completeness(torch.from_numpy(table))
    assert found == pytest.approx((d, c), rel=1e-10)


def test_explicitness_equals_another_optimiser() -> None:
    z, v = noisy()
    found = metrics.explicitness(z, v)
    inputs = np.hstack([z[:, :2].numpy(), np.ones((len(z), 1))])
    labels = v[:, 0].numpy()

    def loss(flat: np.ndarray) -> float:
        scores = inputs @ flat.reshape(3, 5)
        top = scores.max(1)
        total = top + np.log(np.exp(scores - top[:, None]).sum(1))
        return float((total - scores[np.arange(len(labels)), labels]).mean())

    best = minimize(loss, np.zeros(15), method="BFGS").fun
    assert found[0] == pytest.approx(1 - best / math.log(5), abs=1e-4)


# --- refusals -----------------------------------------------------------------------------------


def test_what_is_refused() -> None:
    z, v = noisy()
    with pytest.raises(ValueError, match="SAP needs 2 or more latents; got 1"):
        metrics.separated_attribute_predictability(z[:, :1], v)
    still = torch.stack([v[:, 0], torch.zeros_like(v[:, 0])], 1)
    for score in (
        metrics.attribute_predictability,
        metrics.linear_importance,
        metrics.explicitness,
    ):
        with pytest.raises(ValueError, match="factor 1 does not. Drop its column"):
            score(z, still)
    with pytest.raises(ValueError, match="entries that are not negative"):
        metrics.disentanglement_and_completeness(torch.tensor([[1.0, -1.0], [0.0, 1.0]]))
    with pytest.raises(ValueError, match=r"latents \[1\] and some factor have none"):
        empty = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        metrics.compactness_and_modularity(empty, torch.ones(2))
    with pytest.raises(ValueError, match="A neighbourhood must have 100 samples; got 20"):
        metrics.local_mutual_information_gap(z, v, reach=0)
