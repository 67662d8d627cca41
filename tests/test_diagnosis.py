"""One call that diagnoses any model, against models whose diagnosis is known."""

import math
import re
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from decoders import conditioned, mlp
from torch import nn
from torch.distributions import Bernoulli, Independent, Laplace, MultivariateNormal, Normal
from torch.func import grad, jacfwd, vmap
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from seams import diagnosis, metrics
from seams.data.generators import polar, product_of_curves, sphere
from seams.derivatives import (
    Precision,
    directed_hessian,
    jacobian_gram,
    log_likelihood_hessian,
)
from seams.diagnosis import (
    Estimate,
    cancelled_share,
    compare_sides,
    diagnose,
    relative_difference,
    turned_off_diagonality,
)
from seams.diagnosis.pairs import pair_of
from seams.diagnosis.refine import refine_posterior
from seams.diagnosis.words import on_axes
from seams.distributions import DiagonalGaussian, FullGaussian

EXACT = {"rtol": 1e-9, "atol": 1e-11}
NARROW = 1e-7  # a posterior so narrow that a draw is its mean, to the digits that are compared
PAGE = Path(__file__).parent.parent / "book" / "your-own.md"


def narrow(mean):
    """An encoder that looks up the mean of a datum, whose first column is its number."""
    return lambda x: DiagonalGaussian(
        mean[x[:, 0].long()], torch.full_like(mean[x[:, 0].long()], NARROW)
    )


def numbered(x):
    return torch.cat([torch.arange(len(x)).to(x)[:, None], x[:, 1:]], 1)


def at(decoder, z, x=None, **options):
    """Diagnosis of a decoder at given latents: as many samples as there are data."""
    data = len(decoder(z[0]))
    x = numbered(torch.zeros(len(z), data) if x is None else x)
    return diagnose(narrow(z), decoder, x, samples=len(z), **options)


LIKELIHOODS = {
    "gaussian": lambda mean, x: -(x - mean).square().sum() / (2 * 0.3**2),
    "bernoulli": lambda a, x: (x * a - nn.functional.softplus(a)).sum(),
}


def spread(n, latent):
    """Latents with mean 0 and covariance 1 in the sample, so that all are active."""
    z = torch.randn(n, latent)
    return torch.linalg.solve_triangular(
        torch.linalg.cholesky(z.T.cov()), (z - z.mean(0)).T, upper=False
    ).T


class Linear(nn.Module):
    """The linear VAE at its optimum, in float32 and train mode like a model of someone else's."""

    def __init__(self, W, beta=1.0, sigma=1.0, covariance="full"):
        super().__init__()
        precision = torch.eye(W.shape[1]) + W.T @ W / (beta * sigma**2)
        if covariance == "diagonal":
            self.covariance_ = (1 / precision.diagonal()).diag()
        else:
            self.covariance_ = precision.inverse()
        self.down = (precision.inverse() @ W.T / (beta * sigma**2)).T
        self.W = nn.Parameter(W)

    def encode(self, x):
        return MultivariateNormal(x @ self.down, self.covariance_)

    def decode(self, z):
        return z @ self.W.T


# --- exact cases --------------------------------------------------------------------------------


def test_linear_model_at_its_optimum():
    beta, sigma = 0.7, 0.5
    W = conditioned(8, 3)
    model = Linear(W, beta, sigma)
    x = torch.randn(64, 3) @ W.T + 0.5 * torch.randn(64, 8)
    found = diagnose(model.encode, model.decode, x, beta=beta, sigma=sigma)
    precision = torch.eye(3) + W.T @ W / (beta * sigma**2)
    torch.testing.assert_close(found.left, precision.expand(64, 3, 3), **EXACT)
    torch.testing.assert_close(found.right, precision.expand(64, 3, 3), **EXACT)
    torch.testing.assert_close(found.gram, W.T @ W, **EXACT)
    assert found.covariance == "full"
    assert found.difference.value < 1e-9
    assert found.implied_variance == pytest.approx(beta * sigma**2, rel=1e-9)
    assert (found.hessians == 0).all() and found.hessian_off_diagonal is None
    assert found.c2.value == 0 and found.flatness.value < 1e-6
    expected = metrics.off_diagonality(W.T @ W).item()
    assert found.gram_off_diagonal.value == pytest.approx(expected, rel=1e-9)
    assert found.gram_off_diagonal_of_mean.value == pytest.approx(expected, rel=1e-9)
    assert found.gram_off_diagonal.error < 1e-9 > found.gram_off_diagonal_of_mean.error
    contrast = 0.5 * ((W.T @ W).diagonal().log().sum() - (W.T @ W).logdet())
    assert found.c_ima.value == pytest.approx(contrast.item(), rel=1e-9)
    rate = torch.distributions.kl_divergence(
        model.encode(x), MultivariateNormal(torch.zeros(3), torch.eye(3))
    )
    assert found.rate.value == pytest.approx(rate.mean().item(), rel=1e-9)
    assert "ReLU" not in found.verdict


@pytest.mark.parametrize("scale", [4.0, 0.25])
def test_a_loss_of_another_reduction_is_told_by_the_implied_variance(scale):
    W = 3 * conditioned(8, 3)
    model = Linear(W, beta=scale)
    x = torch.randn(64, 3) @ W.T
    found = diagnose(model.encode, model.decode, x)  # which supposes beta = 1
    assert found.implied_variance == pytest.approx(scale, rel=1e-9)
    assert f"would agree on average for beta sigma^2 = {scale:.2g}, not 1" in found.verdict


def test_both_terms_are_those_of_the_derivatives():
    decoder, n = mlp(3, 7, nn.Tanh), 20
    z, x = spread(n, 3), numbered(torch.randn(n, 7))
    found = at(decoder, z, x, beta=0.5, sigma=0.3)
    gram, hessian = jacobian_gram(decoder, z), directed_hessian(decoder, z, x)
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found.gram, gram.mean(0), **close)
    torch.testing.assert_close(found.hessian, hessian.mean(0), **close)
    torch.testing.assert_close(found.gram_error, gram.std(0) / n**0.5, **close)
    torch.testing.assert_close(found.hessian_error, hessian.std(0) / n**0.5, **close)
    right = torch.eye(3) - log_likelihood_hessian(decoder, z, x, sigma=0.3) / 0.5
    torch.testing.assert_close(found.right.mean(0), right.mean(0), rtol=1e-5, atol=1e-3)
    scores = metrics.off_diagonality(gram)
    assert found.gram_off_diagonal.value == pytest.approx(scores.mean().item(), rel=1e-5)
    error = scores.std().item() / n**0.5
    assert found.gram_off_diagonal.error == pytest.approx(error, rel=1e-4)
    # The jackknife, one sample left out at a time.
    left_out = torch.stack(
        [metrics.off_diagonality(gram[torch.arange(n) != i].mean(0)) for i in range(n)]
    )
    jackknife = ((n - 1) / n * (left_out - left_out.mean()).square().sum()).sqrt().item()
    assert found.gram_off_diagonal_of_mean.error == pytest.approx(jackknife, rel=1e-4)


@pytest.mark.parametrize("output", ["mean", "logits"])
def test_bernoulli_right_side_is_the_hessian_of_its_log_likelihood(output):
    logits, n = mlp(3, 7, nn.Tanh), 12
    z, x = spread(n, 3), numbered(torch.rand(n, 7))
    x[:, 0] = x[:, 0] / n  # still the number of a datum
    encoder = lambda data: narrow(z)(data * n + 0.5)
    decoder = logits if output == "logits" else lambda z: logits(z).sigmoid()
    found = diagnose(
        encoder, decoder, x, likelihood="bernoulli", beta=0.5, output=output, samples=n
    )

    def log_likelihood(z, x):
        return Bernoulli(logits=logits(z), validate_args=False).log_prob(x).sum()

    second = vmap(jacfwd(grad(log_likelihood)))(z, x)
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found.right.mean(0), torch.eye(3) - second.mean(0) / 0.5, **close)
    metric = lambda z: 2 * logits(z).sigmoid().sqrt().asin()
    torch.testing.assert_close(found.gram, jacobian_gram(metric, z).mean(0), **close)
    c1 = metrics.off_diagonality(jacobian_gram(metric, z)).mean().item()
    assert found.gram_off_diagonal.value == pytest.approx(c1, rel=1e-5)
    likelihood = -vmap(log_likelihood)(z, x).mean().item()
    assert found.distortion.value == pytest.approx(likelihood, rel=1e-5)


@pytest.mark.parametrize(
    ("generator", "c2"), [(polar(), 1.0), (product_of_curves((1.5, 0.5)), 0.0)]
)
def test_c1_and_c2_of_known_generators(generator, c2):
    found = at(generator.function, 0.5 * spread(32, 2))
    assert found.gram_off_diagonal.value < 1e-6
    assert found.axis_angle.value < 1e-3 and found.dto.value < 1e-4
    assert found.c_ima.value < 1e-9
    if c2:
        assert found.c2.value > 0.5
    else:
        assert found.c2.value < 1e-5
    assert found.flatness.value < 1e-5  # both are flat
    assert "the axes mean something" in found.verdict


def test_every_score_of_diagonal_stands_beside_random_axes():
    """Polar coordinates: C1 holds, C2 does not, and the verdict says what chance would give."""
    found = at(polar().function, 0.5 * spread(32, 2), torch.randn(32, 2))
    named = {"gram_off_diagonal", "gram_off_diagonal_of_mean", "dto", "c_ima", "c2"}
    assert set(found.random) == named  # the radius does not curve: no score of the second term
    assert found.gram_off_diagonal_turned == found.random["gram_off_diagonal"] > 0.1
    # One length alone changes, along the other latent: all of it is off the diagonal. At an angle
    # t from the axes cos t / (cos t + sin t) of it is, in the mean over 0 to 45 degrees:
    assert found.c2.value == pytest.approx(1, abs=1e-4)
    assert found.random["c2"] == pytest.approx(0.5 + math.log(2) / math.pi, rel=0.03)
    share = f"{found.c2.value:.0%} of the change of the singular values is along other latents"
    assert f"{share} than their own, against {found.random['c2']:.0%} in random axes" in (
        found.verdict
    )
    table = found.table()
    assert table.loc["c2", "random"] == found.random["c2"]
    assert math.isnan(table.loc["rate", "random"])


def test_the_tangent_part_of_the_residual_is_scored_where_noise_is_gaussian():
    """A plane bent into the third column: what is normal to it is no part of the tangent space."""
    decoder = lambda z: torch.stack([2 * z[0], z[1], 0 * z[0]])
    x = torch.stack([decoder(z) for z in spread(16, 2)]) + torch.tensor([0.0, 3.0, 4.0])
    latents = lambda x: torch.stack([x[:, 0] / 2, x[:, 1] - 3], 1)
    encoder = lambda x: DiagonalGaussian(latents(x), torch.full_like(x[:, :2], NARROW))
    found = diagnose(encoder, decoder, x, samples=16)
    assert found.tangent_share.value == pytest.approx(0.36, abs=1e-5)
    assert found.tangent_off_diagonal is None  # a flat map has no second derivatives
    other = diagnose(encoder, decoder, x, samples=16, likelihood=LIKELIHOODS["gaussian"])
    assert other.tangent_share is None is other.tangent_off_diagonal


def test_flatness_of_a_sphere_is_the_turn_round_its_area():
    generator = sphere(2.0)
    z = 0.5 * spread(32, 2)
    found = at(generator.function, z)
    volume = torch.stack([generator.volume(point) for point in z])  # s_1 s_2, with K = 1 / 4
    assert found.flatness.value == pytest.approx((volume / 4).mean().item(), rel=1e-5)


# --- whatever form encoder and decoder have -----------------------------------------------------


class Convolutional(nn.Module):
    """Takes batches only, as most models do, and returns images."""

    def __init__(self):
        super().__init__()
        self.up = nn.Linear(3, 16)
        self.norm = nn.BatchNorm1d(16)
        self.image = nn.ConvTranspose2d(4, 1, 4, 2, 1)
        self.down = nn.Linear(16, 6)

    def forward(self, z):
        hidden = torch.nn.functional.silu(self.norm(self.up(z)))
        return self.image(hidden.view(z.size(0), 4, 2, 2))

    def encode(self, x):
        return self.down(x.flatten(1)).chunk(2, 1)


def assert_same(found, expected):
    for name in ("left", "right", "grams", "hessians", "activity", "kl"):
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-9
        )
    for name in ("rate", "distortion", "c2"):
        pair = [getattr(d, name) for d in (found, expected)]
        assert pair[0].value == pytest.approx(pair[1].value, rel=1e-6)
        assert pair[0].error == pytest.approx(pair[1].error, rel=1e-6)


def test_every_form_of_a_posterior_is_understood():
    decoder, x = mlp(3, 6), torch.randn(40, 6)
    A = torch.randn(6, 3)
    std = 0.1 + 0.2 * torch.rand(3)
    mean, scale = lambda x: x @ A, lambda x: std.expand(len(x), 3)
    expected = diagnose(lambda x: DiagonalGaussian(mean(x), scale(x)), decoder, x)
    for encoder, second in (
        (lambda x: Normal(mean(x), scale(x)), "log_variance"),
        (lambda x: Independent(Normal(mean(x), scale(x)), 1), "log_variance"),
        (lambda x: (mean(x), 2 * scale(x).log()), "log_variance"),
        (lambda x: [mean(x), scale(x)], "std"),
    ):
        found = diagnose(encoder, decoder, x, second=second)
        assert_same(found, expected)
        assert found.covariance == "diagonal"

    L = torch.diag_embed(std) + 0.05 * torch.randn(3, 3).tril(-1)
    expected = diagnose(lambda x: FullGaussian(mean(x), L.expand(len(x), 3, 3)), decoder, x)
    for encoder, second in (
        (lambda x: MultivariateNormal(mean(x), scale_tril=L), "log_variance"),
        (lambda x: (mean(x), L.expand(len(x), 3, 3)), "scale_tril"),
    ):
        found = diagnose(encoder, decoder, x, second=second)
        assert_same(found, expected)
        assert found.covariance == "full"


def test_every_form_of_a_decoder_is_understood_and_left_alone():
    model = Convolutional().float().eval()
    x = torch.randn(20, 1, 4, 4, dtype=torch.float32)
    found = diagnose(model.encode, model, x, samples=8)
    assert not [flag for flag in found.flags if "mode" in flag or "float32" in flag]
    exact = Convolutional().double().eval()
    exact.load_state_dict(model.state_dict())

    def single(z):  # one latent, without a batch axis
        return exact(z[None])[0, 0].flatten()

    again = diagnose(model.encode, single, x, samples=8)
    assert_same(again, found)
    rough = diagnose(lambda x: model.encode(x), lambda z: model(z), x, samples=8)
    assert any("float32 only" in flag for flag in rough.flags)
    torch.testing.assert_close(rough.right, found.right, rtol=1e-3, atol=1e-3)
    assert next(model.parameters()).dtype == torch.float32
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_modules_in_train_mode_are_diagnosed_in_eval_mode_and_stay_as_they_are():
    model = Convolutional()
    model.norm.running_mean.normal_()
    x = torch.randn(20, 1, 4, 4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = diagnose(model.encode, model, x, samples=8)
    assert "The decoder was in train mode; a copy in eval mode was diagnosed." in found.flags
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert_same(diagnose(model.eval().encode, model, x, samples=8), found)


# --- restriction to active latents --------------------------------------------------------------


def test_inactive_latents_are_left_out_of_every_score():
    """A model with two latents that nobody uses scores as the model without them."""
    decoder, n = product_of_curves((1.5, 0.5)).function, 32
    small = spread(n, 2)
    mixed = torch.tensor([[math.cos(0.4), -math.sin(0.4)], [math.sin(0.4), math.cos(0.4)]])
    turned = lambda z: decoder(mixed @ z)
    expected = at(turned, small)
    z = torch.zeros(n, 4)
    z[:, [1, 3]] = small
    found = at(lambda z: turned(z[[1, 3]]), z)
    assert found.active.tolist() == [False, True, False, True]
    for name in ("gram_off_diagonal", "gram_off_diagonal_of_mean", "hessian_off_diagonal",
                 "axis_angle", "dto", "c_ima", "c2", "flatness"):  # fmt: skip
        pair = [getattr(d, name).value for d in (found, expected)]
        assert pair[0] == pytest.approx(pair[1], rel=1e-4, abs=1e-6), name
    assert found.pairs[0].latents == (1, 3)
    assert found.pairs[0].ratio == pytest.approx(expected.pairs[0].ratio, rel=1e-6)
    assert "2 latents of 4 active (1, 3)." in found.verdict


@pytest.mark.parametrize("active", [0, 1])
def test_fewer_than_two_active_latents_leave_scores_undefined(active):
    x = torch.randn(30, 5)
    keep = torch.zeros(3)
    keep[:active] = 1
    encoder = lambda x: (x[:, :3] * keep, torch.zeros(len(x), 3))
    found = diagnose(encoder, mlp(3, 5), x, factors=torch.arange(30)[:, None] % 3)
    assert int(found.active.sum()) == active
    for name in ("gram_off_diagonal", "cancelled", "dto", "c2", "c_ima", "flatness"):
        assert getattr(found, name) is None
    assert found.pairs == ()
    assert "active: all that compares latents is undefined." in found.verdict
    assert found.verdict.startswith("Collapsed: the rate is 0 nats") is (active == 0)
    table = found.table()
    assert math.isnan(table.loc["c2", "value"]) and table.loc["active", "value"] == active


@pytest.mark.parametrize("last", [nn.Identity, nn.Sigmoid, lambda: nn.LayerNorm(6)])
def test_kinks_are_seen_behind_whatever_follows_them(last):
    found = at(nn.Sequential(mlp(3, 6, nn.ReLU), last()), spread(20, 3))
    assert found.c2 is None and found.flatness is None and found.cancelled is None
    assert found.hessian_off_diagonal is None and found.gram_off_diagonal is not None
    share = re.search(r"has kinks \(ReLU\).* they miss (\d+)% of the change", found.verdict)
    assert int(share[1]) > 80


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", LIKELIHOODS["bernoulli"]])
def test_a_linear_decoder_has_no_kinks_whatever_the_noise(likelihood):
    x = numbered(torch.rand(20, 6))
    x[:, 0] /= 19
    z = spread(20, 3)
    encoder = lambda x: narrow(z)((19 * x).round())
    found = diagnose(encoder, nn.Linear(3, 6), x, likelihood=likelihood, output="logits")
    assert "kinks" not in found.verdict and found.c2 is not None


@pytest.mark.parametrize("sharpness", [1, 20, 1000])
def test_a_smooth_decoder_has_no_kinks_however_sharp(sharpness):
    decoder = mlp(3, 6, lambda: nn.Softplus(beta=sharpness))
    assert "kinks" not in at(decoder, spread(20, 3)).verdict


class Normalised(nn.Module):
    """An image decoder whose normalisation means the channels of a batch."""

    def __init__(self, layer):
        super().__init__()
        self.first, self.layer, self.last = nn.Linear(2, 16), layer, nn.ConvTranspose2d(4, 1, 2, 2)

    def forward(self, z):
        return self.last(self.layer(self.first(z).tanh().unflatten(-1, (4, 2, 2))))


@pytest.mark.parametrize(
    ("layer", "other"),
    [
        (nn.Softmax(1), True),
        (nn.GroupNorm(2, 4, affine=False), True),
        (nn.InstanceNorm2d(4), False),
        (nn.GroupNorm(2, 4), False),  # which runs on a batch alone
    ],
)
def test_a_decoder_is_what_it_is_for_a_batch(layer, other):
    decoder, z = Normalised(layer).double().requires_grad_(False), spread(16, 2)
    found = at(lambda z: decoder(z[None]).flatten(), z)
    for given in (decoder, lambda z: decoder(z)):
        batched = diagnose(narrow(z), given, numbered(torch.zeros(16, 16)), samples=16)
        torch.testing.assert_close(batched.grams, found.grams, **EXACT)
        assert ("Without a batch axis" in batched.verdict) is other


def test_what_is_defined_nowhere_or_in_part_is_flagged():
    few = at(mlp(3, 2), spread(20, 3))  # fewer data columns than latents
    assert few.c2 is None
    assert any(f.startswith("C2 is not defined: `decoder` must have at least") for f in few.flags)

    # Singular values coincide at every second datum, where both latents have one slope.
    def bent(z):
        there = torch.stack([2 * z[0] + z[0] ** 2, z[1] + 0.1 * z[1] ** 2])
        return torch.where(z[0] > 0, there, 2 * z)

    z = spread(32, 2)
    part = at(bent, z)
    count = int((z[:, 0] > 0).sum())
    assert f"C2 is defined in {count} of 32 samples: elsewhere" in " ".join(part.flags)


# --- both sides of Eq. 6 ------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_refined_posteriors_close_equation_6_and_others_do_not(covariance):
    decoder, n = mlp(3, 8, nn.Tanh), 16
    x = numbered(torch.stack([decoder(z) for z in 2 * spread(n, 3)]) + 0.1)
    start = torch.zeros(n, 3), (0.4 * torch.eye(3)).expand(n, 3, 3)
    refined = refine_posterior(
        decoder, *start, x, covariance=covariance, sigma=0.3, steps=60, draws=256
    )
    kind = (lambda m, L: FullGaussian(m, L)) if covariance == "full" else (
        lambda m, L: DiagonalGaussian(m, L.diagonal(dim1=-2, dim2=-1))
    )  # fmt: skip
    look_up = lambda m, L: lambda x: kind(m[x[:, 0].long()], L[x[:, 0].long()])
    options = {"sigma": 0.3, "samples": n, "draws": 256}
    before = diagnose(look_up(refined.mean, start[1]), decoder, x, **options)
    after = diagnose(look_up(refined.mean, refined.scale_tril), decoder, x, **options)
    assert before.covariance == after.covariance == covariance
    assert before.difference.value > 0.3 > 0.06 > after.difference.value
    assert "both sides differ by" in after.verdict and "near their optimum" in after.verdict
    # Two draws estimate the same number, since their noise is taken out.
    rough = diagnose(look_up(refined.mean, start[1]), decoder, x, sigma=0.3, samples=n)
    assert abs(rough.difference.value - before.difference.value) < 4 * rough.difference.error


def test_relative_difference_is_relative_to_the_left_side():
    L = torch.tensor([[[0.5, 0.0], [0.0, 0.1]]])  # left side 4 and 100
    precision = torch.tensor([[[5.0, 2.0], [2.0, 90.0]]])
    expected = torch.tensor([[[0.25, 0.1], [0.1, -0.1]]])
    torch.testing.assert_close(relative_difference(L, precision), expected)


def test_sides_of_a_linear_decoder_are_known():
    """Diagonal posteriors meet the diagonal alone; what is beside it is what the decoder has."""
    W, beta, sigma = conditioned(8, 3), 0.7, 0.5
    P = torch.eye(3) + W.T @ W / (beta * sigma**2)
    x, mean = torch.randn(5, 8), torch.randn(5, 3)
    L = {"full": torch.linalg.cholesky(P.inverse()), "diagonal": P.diagonal().rsqrt().diag()}
    call = lambda kind, against, **more: compare_sides(
        lambda z: W @ z, mean, L[kind].expand(5, 3, 3), x, covariance=against, beta=beta,
        sigma=sigma, draws=4, **more,
    )  # fmt: skip
    for kind in L:
        found = call(kind, kind)
        assert found.difference < 1e-10 > found.noise
        scaled = P * P.diagonal().rsqrt() * P.diagonal().rsqrt()[:, None]
        off = scaled[~torch.eye(3, dtype=torch.bool)].square().mean().sqrt().item()
        assert found.off_sum == pytest.approx(off, rel=1e-9)
        assert found.off_gram == pytest.approx(off, rel=1e-9)
        assert found.off_hessian == 0 == found.cancelled
    beside = call("diagonal", "full").difference
    assert beside == pytest.approx(off * math.sqrt(6 / 9), rel=1e-9)  # 6 of 9 entries differ
    one = call("diagonal", "full", active=torch.tensor([False, True, False]))
    assert one.difference < 1e-10
    assert all(math.isnan(value) for value in (one.off_sum, one.off_turned, one.cancelled))
    none = call("full", "full", active=torch.zeros(3, dtype=torch.bool))
    assert math.isnan(none.difference) and math.isnan(none.off_turned)


def test_random_rotations_tell_whether_axes_mean_something():
    mean, x = torch.zeros(4, 3), torch.zeros(4, 7)
    L = torch.eye(3).expand(4, 3, 3)
    call = lambda W: compare_sides(lambda z: W @ z, mean, L, x, covariance="full", draws=2)
    equal = call(orthogonal(2.0, 2.0, 2.0))
    assert equal.off_sum < 1e-12 > equal.off_turned
    distinct = call(orthogonal(1.0, 3.0, 9.0))
    assert distinct.off_sum < 1e-12 and distinct.off_turned > 0.3


def test_a_term_without_axes_scores_as_after_a_rotation():
    axes = torch.diag(torch.tensor([1.0, -1.0])).expand(6, 2, 2)
    assert turned_off_diagonality(axes) > 0.5
    kept = torch.tensor([True, False, True])
    wider = torch.ones(6, 3, 3)
    wider[:, kept[:, None] & kept] = axes.flatten(1)
    expected = pytest.approx(turned_off_diagonality(axes), rel=1e-12)
    assert turned_off_diagonality(wider, kept) == expected
    assert turned_off_diagonality(torch.eye(3).expand(4, 3, 3)) < 1e-12
    # With every direction in turn, a matrix is on average the same in all axes.
    angle = torch.arange(64) * torch.pi / 64
    Q = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).unflatten(
        -1, (2, 2)
    )
    all_ways = Q.mT @ torch.tensor([[1.0, 1.0], [1.0, 2.0]]) @ Q
    own = metrics.off_diagonality(all_ways.abs().mean(0)).item()
    assert own == pytest.approx(turned_off_diagonality(all_ways), rel=0.01)


def hand_made(gram, hessian, errors=0.0):
    eye = torch.eye(2)
    M = lambda off: eye + off * (1 - eye)
    precision = eye + (M(gram) - M(hessian)) / 0.5  # so its diagonal is 1
    error = torch.full((1, 2, 2), errors)
    return Precision(
        M(gram)[None], M(hessian)[None], precision[None], error, error, 2**0.5 * error / 0.5
    )


@pytest.mark.parametrize(
    ("gram", "hessian", "share"),
    [(0.3, 0.3, 1.0), (0.3, 0.0, 0.0), (0.3, -0.3, -1.0), (0.3, 0.1, 0.6)],
)
def test_cancelled_share(gram, hessian, share):
    found = cancelled_share(hand_made(gram, hessian), beta=2.0, sigma=0.5)
    assert found == pytest.approx(share, abs=1e-12)


def test_cancelled_share_is_free_of_noise_and_of_inactive_latents():
    """Independent noise of known size on both terms changes no share, on average."""
    n, noise = 40_000, 0.2
    clean = hand_made(0.3, 0.1)
    symmetric = lambda: noise * torch.randn(n, 1, 1) * (1 - torch.eye(2))
    G, H = clean.gram + symmetric(), clean.hessian + symmetric()
    error = (noise * (1 - torch.eye(2))).expand(n, 2, 2)
    noisy = Precision(G, H, torch.eye(2) + (G - H) / 0.5, error, error, 2**0.5 * error / 0.5)
    assert cancelled_share(noisy, beta=0.5) == pytest.approx(0.6, abs=0.03)
    pad = lambda M: torch.nn.functional.pad(M, (0, 1, 0, 1), value=7.0)
    fields = ("gram", "hessian", "precision", "gram_error", "hessian_error", "precision_error")
    padded = Precision(*(pad(getattr(clean, name)) for name in fields))
    active = torch.tensor([True, True, False])
    assert cancelled_share(padded, beta=0.5, active=active) == pytest.approx(0.6, abs=1e-12)


@pytest.mark.parametrize(
    ("found", "active", "message"),
    [
        (hand_made(0.1, 0.2), torch.tensor([True, False]), "needs 2 or more latents; got 1"),
        (hand_made(0.0, 0.0, 0.1), None, "beyond the noise of the draws"),
    ],
)
def test_cancelled_share_that_is_undefined_is_refused(found, active, message):
    with pytest.raises(ValueError, match=message):
        cancelled_share(found, active=active)


# --- the eigenvalue gap -------------------------------------------------------------------------


def orthogonal(*values):
    U = torch.linalg.qr(torch.randn(7, len(values)))[0]
    return U * torch.tensor(values)


def rotation(degrees):
    angle = math.radians(degrees)
    return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


@pytest.mark.parametrize("turn", [0.0, 20.0, -30.0, 44.0])
def test_pair_of_a_linear_decoder_is_known_whatever_the_rotation(turn):
    beta, sigma = 0.8, 0.6
    W = orthogonal(3.0, 2.0) @ rotation(turn)
    (pair,) = at(lambda z: W @ z, spread(16, 2), beta=beta, sigma=sigma).pairs
    assert pair.ratio == pytest.approx(1.5, rel=1e-6)
    assert pair.angle == pytest.approx(abs(turn), abs=1e-4)
    assert pair.distinct
    high, low = 1 + 9 / (beta * sigma**2), 1 + 4 / (beta * sigma**2)
    cost = 0.5 * beta * math.log(1 + (high - low) ** 2 / (4 * high * low))  # Eq. 4
    assert pair.turn_cost == pytest.approx(cost, rel=2e-3)  # angles in whole degrees


@pytest.mark.parametrize(("second", "distinct"), [(1.04, False), (1.06, True)])
def test_nearly_equal_singular_values_are_called_so(second, distinct):
    W = orthogonal(1.0, second)
    found = at(lambda z: W @ z, spread(16, 2))
    assert found.pairs[0].distinct is distinct
    said = "Latents 0 and 1 have nearly equal singular values (ratio 1.04): any rotation"
    assert (said in found.verdict) is not distinct
    assert (
        "distinct enough to be told apart; the closest are 0 and 1" in found.verdict
    ) is distinct


def blocks(delta, c):
    return torch.stack([torch.stack([1 + delta, c], -1), torch.stack([c, 1 - delta], -1)], -1)


def test_gap_counts_only_directions_that_data_agree_on():
    n = 4096
    gap = lambda blocks: pair_of(blocks, (0, 1), 1.0, 1.0, {})
    # Which value is the larger changes from datum to datum, the axes do not: as under C2.
    signs = torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0)
    aligned = gap(blocks(0.3 * signs, torch.zeros(n)))
    assert aligned.distinct and aligned.angle == pytest.approx(0, abs=1e-6)
    assert aligned.ratio == pytest.approx(math.sqrt(1.3 / 0.7), rel=1e-9)
    # Axes that point everywhere, with the same gap at each datum.
    angle = 2 * torch.pi * torch.arange(n) / n
    everywhere = gap(blocks(0.3 * angle.cos(), 0.3 * angle.sin()))
    assert not everywhere.distinct
    assert everywhere.ratio == pytest.approx(1, abs=1e-6)
    assert everywhere.turn_cost < 1e-6 < aligned.turn_cost


def test_a_gap_within_its_sampling_error_is_not_distinct():
    """Hotelling's test at 95 %: about 5 in 100 samples of no preference pass it."""
    passed = 0
    for _ in range(400):
        angle = 2 * torch.pi * torch.rand(12)
        block = blocks(0.5 * angle.cos(), 0.5 * angle.sin())
        passed += pair_of(block, (0, 1), 1.0, 1.0, {}).distinct
    assert 4 <= passed <= 44  # 20 expected if it were normal


def test_verdict_names_factors_that_are_mixed_in_close_latents():
    """Two positions of one range, turned by 45 degrees, beside a third factor on its own axis."""
    n = 6000
    factors = torch.randint(8, (n, 3))
    truth = (factors.double() - 3.5) / 2.3
    turned = truth.clone()
    turned[:, :2] = truth[:, :2] @ rotation(45.0)
    W = orthogonal(1.0, 1.02, 2.0)
    x = numbered(torch.zeros(n, 7))
    encoder = lambda x: (turned[x[:, 0].long()], torch.full((len(x), 3), -6.0))
    names = ("posX", "posY", "scale")
    found = diagnose(encoder, lambda z: W @ z, x, factors=factors, factor_names=names, samples=32)
    close, *others = found.pairs
    assert close.latents == (0, 1) and close.mixed == ("posX", "posY")
    assert all(pair.distinct and not pair.mixed for pair in others)
    assert re.search(
        r"Latents 0 and 1 have nearly equal singular values \(ratio 1\.02\): any rotation of the "
        r"two satisfies C1-C2 equally well; posX and posY are mixed in them\.",
        found.verdict,
    )
    assert found.information.shape == (3, 3) and found.mig < 0.5
    assert min(found.probe.values()) > 0.9  # the information is there, turned
    straight = diagnose(
        lambda x: (truth[x[:, 0].long()], torch.full((len(x), 3), -6.0)),
        lambda z: W @ z, x, factors=factors, factor_names=names, samples=32,
    )  # fmt: skip
    assert straight.pairs[0].mixed == () and straight.mig > 0.8 > found.mig
    # Two of three factors have no latent of their own: no gap, and half of a row's importance.
    assert found.known["sap"] == pytest.approx(1 / 3, abs=0.03)
    entropy = math.log(2) / math.log(3)
    told = (2 * 2**0.5 * (1 - entropy) + 1) / (2 * 2**0.5 + 1)
    assert found.known["disentanglement"] == pytest.approx(told, abs=0.03)
    assert straight.known["sap"] > 0.95 and min(straight.known.values()) > 0.9
    W = orthogonal(1.0, 1.5, 4.0)
    apart = diagnose(
        encoder, lambda z: torch.cat([W[:, :2] @ rotation(30.0), W[:, 2:]], 1) @ z, x, samples=32
    )
    assert "1 pair of latents could be told apart but are not on their axes: 0 and 1, say, stand" \
        " at 30 degrees (ratio 1.50)." in apart.verdict  # fmt: skip


@pytest.mark.parametrize(
    "decoder",
    [
        lambda z: torch.cat([z, z]),
        lambda z: 2 * torch.stack([z[1], -z[0], 0 * z[0]]),
        lambda z: torch.cat([z.sin(), z.cos()]),
    ],
)
def test_axes_of_equal_singular_values_mean_nothing(decoder):
    z = spread(16, 2)
    found = at(decoder, z)
    assert found.gram_off_diagonal.value < 1e-12 > found.gram_off_diagonal_turned
    assert "singular values are nearly equal, and any axes would do as well." in found.verdict
    assert "mean something" not in found.verdict
    stretched = at(lambda z: decoder(z * z.new_tensor([1.0, 2.0])), z)
    assert stretched.gram_off_diagonal.value < 1e-12 < 0.1 < stretched.gram_off_diagonal_turned
    assert "the axes mean something" in stretched.verdict


def test_axes_within_the_sampling_error_are_not_said_to_mean_anything():
    said = lambda error: on_axes(Estimate(0.2, error), 0.5)
    assert said(0.1).endswith("the axes mean something.")
    assert said(0.2).endswith("any axes would do as well, within the sampling error.")


def test_arrays_of_numpy_are_taken():
    x, factors = torch.randn(40, 5), torch.randint(3, (40, 2))
    plain_encoder = lambda x: (x[:, :2], x[:, :2] - 3)
    found = diagnose(plain_encoder, decoder := mlp(2, 5), x.numpy(), factors=factors.numpy())
    expected = diagnose(plain_encoder, decoder, x, factors=factors)
    assert_same(found, expected)
    assert found.mig == expected.mig


def test_factors_that_cannot_be_scored_are_flagged():
    n = 64
    x = torch.randn(n, 5)
    late = torch.zeros(n, dtype=torch.long)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    late[(order < n // 2).nonzero()[0]] = 1  # in the half that is fitted
    factors = torch.stack([torch.arange(n) % 4, torch.full((n,), 3), late], 1)
    found = diagnose(lambda x: (x[:, :2], x[:, :2] - 3), mlp(2, 5), x, factors=factors)
    assert found.factor_names == ("factor 0", "factor 2") and found.information.shape == (2, 2)
    flags = " ".join(found.flags)
    assert "do not vary and were left out: factor 1." in flags
    assert "Information from 64 data is overstated by up to 0.45 nats" in flags
    assert "The linear probe of factor 2 is not defined: Every factor must vary" in flags
    assert set(found.probe) == {"factor 0"}


# --- table, picture, page -----------------------------------------------------------------------


@pytest.mark.parametrize("with_factors", [True, False])
def test_table_and_picture_hold_what_was_found(with_factors):
    n = 60
    x = torch.randn(n, 6)
    factors = torch.randint(3, (n, 2)) if with_factors else None
    found = diagnose(lambda x: (x[:, :3], x[:, :3] - 2), mlp(3, 6), x, factors=factors)
    table = found.table()
    assert table.loc["c2", "value"] == found.c2.value
    assert table.loc["c2", "standard_error"] == found.c2.error
    assert table.loc["rate", "value"] == found.rate.value
    assert ("probe_factor 0" in table.index) is ("sap" in table.index) is with_factors
    assert table.loc["mig"].isna()["value"] is not with_factors
    figure = found.plot()
    assert len(figure.axes) == 7  # six panels and the colours of the two terms
    drawn = figure.axes[3].images[0].get_array()
    order = found.activity.argsort(descending=True)
    expected = found.grams.abs().mean(0)[order][:, order]
    top = max(found.grams.abs().mean(0).max(), found.hessians.abs().mean(0).max())
    torch.testing.assert_close(torch.as_tensor(drawn), expected.clamp(min=top / 1e4))
    plt.close(figure)


def test_the_picture_of_a_collapsed_model_can_be_drawn():
    x = torch.randn(8, 4)
    found = diagnose(lambda x: (0 * x[:, :2], 0 * x[:, :2]), mlp(2, 4), x)
    plt.close(found.plot())


def test_same_call_gives_the_same_diagnosis():
    x = torch.randn(40, 6)
    call = lambda seed: diagnose(lambda x: (x[:, :3], x[:, :3]), mlp_fixed, x, seed=seed)
    mlp_fixed = mlp(3, 6)
    assert_same(call(0), call(0))
    assert not torch.allclose(call(0).right, call(1).right)


def test_the_example_at_the_top_of_the_page_is_ten_lines_and_runs(capsys):
    first = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = [line for line in first[1].splitlines() if line.strip()]
    assert len(lines) <= 10
    names = {}
    exec(compile(first[1], "your-own.md", "exec"), names)
    assert isinstance(names["found"], diagnosis.Diagnosis)
    assert "latents" in capsys.readouterr().out
    plt.close("all")


# --- errors -------------------------------------------------------------------------------------

X = torch.rand(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def encoder(x):
    return x[:, :2], x[:, :2] - 2


def in_train_mode(module):
    module.train()
    return lambda x: module(x)


def halved(function):
    return lambda x: function(x).chunk(2, 1)


def cut_off(z):
    with torch.no_grad():
        return X[0] * z.sum().sin()


def checkpointed(z):
    return checkpoint(lambda z: X[0] * z.sum().sin(), z, use_reentrant=False)


def sampled(z):
    grid = z.expand(1, 1, 5, 2) * torch.linspace(0.1, 0.5, 5)[:, None]
    return nn.functional.grid_sample(X[None, None], grid, align_corners=False).flatten()


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(nn.Linear(2, 5), X[:1, :2].float())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.last = nn.GRU(2, 4, batch_first=True), nn.Linear(4, 5)

    def forward(self, z):
        return self.last(self.cells(z.unsqueeze(-2))[0].squeeze(-2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma": 0.0}, r"`sigma` must be positive; got 0\.0"),
        ({"beta": -1.0}, r"`beta` must be positive; got -1\.0"),
        ({"samples": 3}, r"needs 4 data and `samples` or more.*got 12, 3 and 2"),
        ({"draws": 1}, r"2 `draws` or more, for its errors; got 12, 128 and 1"),
        ({"x": X[:3]}, r"needs 4 data and `samples` or more.*got 3, 128 and 2"),
        ({"x": X.index_fill(0, torch.tensor(4), torch.nan)}, r"`x` must be finite; 5 values"),
        ({"x": 2 * X, "likelihood": "bernoulli"}, r"must lie in \[0, 1\]; `x` goes from"),
        ({"x": X[:, 0]}, r"`x` must be data \[n, \.\.\.\] in floating point; got \[12\] of"),
        ({"x": (255 * X).byte()}, r"got \[12, 5\] of torch.uint8\. Give them as the encoder"),
        ({"factors": torch.ones(12).long()}, r"integers \[n, factor\]; got \[12\] of torch.int64"),
        ({"factors": X}, r"`factors` must be integers .*got \[12, 5\] of torch.float64"),
        ({"factors": torch.ones(9, 2).long()}, r"one row a datum; got 9 for 12 data"),
        ({"factor_names": ("a",)}, r"must name every column of `factors`, 0; got 1: a"),
        ({"encoder": lambda x: encoder(x)[0]}, r"or a pair of mean .*got a tensor of torch.fl"),
        ({"encoder": lambda x: (*encoder(x), x)}, r"got a tuple of 3\. Wrap it in a function"),
        ({"encoder": lambda x: Laplace(*encoder(x.abs() + 3))}, r"must be Gaussian.*got Laplace"),
        ({"encoder": lambda x: (x, x[:, :2])}, r"one posterior a datum, .*\[12, 5\] and Chol"),
        ({"encoder": nn.Linear(7, 2)}, r"`encoder` must take a batch .*\[2, 5\].*RuntimeError"),
        ({"encoder": lambda x: (x[:, :2] / 0, x[:, :2])}, r"encoder's means must be finite; 24"),
        ({"encoder": lambda x: (x, 5000 + x)}, r"encoder's scales must be finite; 60"),
        ({"second": "std"}, r"standard deviations must be positive; got -.*`second` is 'std'"),
        (
            {"encoder": halved(in_train_mode(nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 4))))},
            r"`encoder` must treat each datum by itself.*Call encoder\.eval",
        ),
        ({"decoder": mlp(2, 4)}, r"one value per column of `x`; got 4 for 5 columns"),
        ({"decoder": mlp(3, 5)}, r"`decoder` must take one latent .*mat"),
        ({"decoder": lambda z: (z, z)}, r"`decoder` must take.*it returns a tuple of 2, not a t"),
        (
            {"decoder": in_train_mode(nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5)))},
            r"`decoder` must take one latent .*more than 1 value per channel when training",
        ),
        (
            {"decoder": in_train_mode(nn.Sequential(nn.Linear(2, 5), nn.Dropout(0.5)))},
            r"`decoder` must depend on its own latent alone.*dropout",
        ),
        ({"decoder": lambda z: z.sum() * X[0] / 0}, r"decoder's output must be finite; 5 of 5"),
        (
            {"decoder": lambda z: z.sum() * X[0] + 2, "likelihood": "bernoulli"},
            r"mean of a Bernoulli must lie in \[0, 1\]; .*Pass output=\"logits\"",
        ),
        (
            {"decoder": lambda z: (z - z.detach()).abs().sum().sqrt() * X[0]},
            r"The first derivatives of the decoder must be finite",
        ),
        ({"decoder": cut_off}, r"differentiable by torch: .* miss 100% of the change of its out"),
        (
            {"decoder": lambda z: X[0] * z.sum() / (1 + z.norm().detach())},
            r"differentiable by torch: .* miss \d+% of the change of its out",
        ),
        ({"decoder": lambda z: (z.sum() * 9).round() * X[0] + z[0]}, r"numpy or rounding inside"),
        ({"decoder": Recurrent()}, r"runs on one but not under vmap \(.*gru.*recurrent layers"),
        ({"decoder": lambda z: X[0] * z.sum().item()}, r"not under vmap \(.*item.*if. on values"),
        ({"decoder": lambda z: torch.complex(z.sum() * X[0], X[0])}, r"a tensor of torch.complex"),
        ({"decoder": lambda z: (z.sum() * X[0]).half()}, r"a tensor of torch.float16, not"),
        ({"decoder": lambda z: (z.sum() * X[0]).long()}, r"a tensor of torch.int64, not a tensor"),
        ({"decoder": lambda z: {"mean": z}}, r"it returns a dict of 1, not a tensor of means"),
        ({"decoder": lambda z: None}, r"with that, it says ValueError: it returns a NoneType"),
        (  # as torch 2.13 and 2.11 have it
            {"decoder": checkpointed},
            r"two derivatives that torch.func.*RuntimeError|not under vmap.*checkpointing",
        ),
        ({"decoder": sampled}, r"two derivatives that torch.func can take.*NotImplementedError"),
        ({"decoder": nn.Linear(2, 5).to("meta")}, r"a module that can be copied; it says Not"),
        ({"decoder": scripted()}, r"a module that can be copied; it says .*scripted"),
        ({"decoder": lambda z: torch.ones(5, device="meta")}, r"tensor of .* on meta, not a"),
        ({"decoder": lambda z: (z.sum() * X[0]).to_sparse()}, r"it returns a sparse tensor of"),
        ({"x": X.to("meta")}, r"`x` must be a tensor or an array of .*got .* on meta"),
        ({"encoder": lambda x: None}, r"`encoder` must take a batch .*it returns None"),
        ({"encoder": lambda x: {"mean": x}}, r"or a pair of mean .*got a dict of 1"),
        ({"encoder": lambda x: (x.numpy(), x.numpy())}, r"real tensors; got a tuple of 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_diagnosed_is_refused_in_one_line(changes, message):
    given = {"encoder": encoder, "decoder": mlp(2, 5), "x": X} | changes
    with pytest.raises(ValueError, match=message) as caught:
        diagnose(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"likelihood": "poisson"}, r"`likelihood` must be one of gaussian, bernoulli, or a f"),
        ({"second": "variance"}, r"`second` must be one of log_variance, std, scale_tril; got"),
        ({"output": "logit"}, r"`output` must be one of mean, logits; got 'logit'"),
        ({"sigma": "1"}, r"`sigma` must be positive; got 1"),
        ({"sigma": torch.ones(2)}, r"`sigma` must be positive; got tensor"),
        ({"beta": math.inf}, r"`beta` must be positive; got inf"),
        (
            {"sigma": 1e200},
            r"beta sigma\^2 must be positive and finite; got beta=1.0 and sig",
        ),
        ({"sigma": 1e-200}, r"beta sigma\^2 must be positive and finite; .* sigma=1e-200"),
        ({"samples": 16.5}, r"`samples` must be a whole number from 0 to \d+; got 16.5"),
        ({"draws": 10**9}, r"`draws` must be a whole number from 0 to 10000; got 1000000000"),
        ({"seed": 0.5}, r"`seed` must be a whole number from 0 to \d+; got 0\.5"),
        ({"seed": -1}, r"`seed` must be a whole number .*got -1"),
        ({"factor_names": 3}, r"`factor_names` must be a list of names; got 3"),
        ({"factor_names": "ab"}, r"`factor_names` must be a list of names; got 'ab'"),
        ({"x": DataLoader(X)}, r"`x` must be a tensor or .*got a DataLoader.*batches of a loader"),
        ({"x": None}, r"`x` must be a tensor or an array of numbers; got a NoneType"),
        ({"factors": np.array([["a"]] * 12)}, r"`factors` must be a tensor or an array of numb"),
        ({"encoder": 3}, r"`encoder` must be a function or a module; got an int"),
    ],
)
def test_unknown_options_are_refused(plain, changes, message):
    given = {"encoder": encoder, "decoder": mlp(2, 5), "x": X} | changes
    with pytest.raises(ValueError, match=message):
        plain(diagnosis).diagnose(**given)


def test_sparse_data_are_taken():
    decoder = mlp(2, 5)
    found = diagnose(encoder, decoder, X.to_sparse())
    assert found.table().equals(diagnose(encoder, decoder, X).table())


def test_data_frames_and_lists_are_taken(plain):
    factors = torch.arange(12).reshape(6, 2).repeat(2, 1) % 3
    decoder = mlp(2, 5)
    expected = diagnose(encoder, decoder, X, factors=factors)
    for convert in (lambda a: pd.DataFrame(a.numpy()), lambda a: a.tolist()):
        given = encoder, decoder, convert(X)
        found = plain(diagnosis).diagnose(*given, factors=convert(factors))
        assert found.rate == expected.rate and torch.equal(found.information, expected.information)


@pytest.mark.slow
def test_the_decoder_of_the_paper_takes_less_than_a_minute_of_one_core():
    from seams.networks import GaussianEncoder, burgess_decoder, burgess_features

    torch.set_default_dtype(torch.float32)
    encoder = GaussianEncoder(burgess_features(64), 256, 10, "diagonal")
    with torch.no_grad():
        encoder.mean.weight *= 3000  # so that all latents are active
    x = torch.rand(1000, 4096) * torch.rand(1000, 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.process_time()
    found = diagnose(encoder, burgess_decoder(10, 64), x)
    seconds = time.process_time() - start
    torch.set_num_threads(threads)
    assert found.active.all() and len(found.grams) == 128
    assert seconds < 60


# --- a likelihood of one's own ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gaussian", "bernoulli"])
def test_a_likelihood_of_ones_own_is_what_it_is_called(name):
    decoder, z, x = mlp(2, 6), spread(16, 2), torch.rand(16, 6)
    x[:, 0] = torch.linspace(0, 1, 16)  # by which a datum is known
    encoder = lambda x: narrow(z)((x * 15).round())
    known = {"likelihood": name, "sigma": 0.3, "output": "logits"}
    expected = diagnose(encoder, decoder, x, samples=16, beta=0.7, **known)
    found = diagnose(encoder, decoder, x, samples=16, beta=0.7, likelihood=LIKELIHOODS[name])
    unit = 0.3**2 if name == "gaussian" else 1.0
    torch.testing.assert_close(found.grams * unit, expected.grams, **EXACT)
    torch.testing.assert_close(found.hessians * unit, expected.hessians, **EXACT)
    torch.testing.assert_close(found.right, expected.right, **EXACT)
    assert found.likelihood == "custom" and found.sigma == 1
    if name == "bernoulli":
        assert found.distortion.value == pytest.approx(expected.distortion.value, rel=1e-9)


def test_eq_6_of_counts_is_known():
    """Poisson counts of rate exp(W z): the Hessian is -W' diag(rate) W, whatever x is."""
    W, z = torch.randn(7, 2) / 2, spread(16, 2)
    rate = (z @ W.T).exp()
    found = at(
        lambda z: (W @ z).exp(),
        z,
        torch.ones(16, 7),
        beta=0.5,
        likelihood=lambda mean, x: (x * mean.log() - mean).sum(),
    )
    exact = torch.eye(2) + torch.einsum("ni,ij,ik->njk", rate, W, W) / 0.5
    order = found.right[:, 0, 0].argsort(), exact[:, 0, 0].argsort()
    torch.testing.assert_close(found.right[order[0]], exact[order[1]], rtol=1e-5, atol=1e-5)
    assert any("The likelihood is yours" in flag for flag in found.flags)


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        (lambda mean, x: -(x - mean).square(), r"a scalar, .*got \[5\]. Sum over the columns"),
        (lambda mean, x: (x * mean.log()).sum(), "its value or slope is not finite"),
        (lambda mean, x: mean @ torch.ones(3), "a scalar, .*it fails: "),
    ],
)
def test_a_likelihood_that_cannot_be_used(likelihood, message):
    with pytest.raises(ValueError, match=message):
        at(lambda z: -torch.cat([z.square(), z, z[:1]]) - 1, spread(16, 2), likelihood=likelihood)
