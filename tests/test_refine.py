import pytest
import torch
from decoders import conditioned, mlp
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from seams.derivatives import optimal_precision
from seams.diagnosis.refine import refine_posterior

LATENT, DATA, BATCH = 3, 8, 4
BETA, SIGMA = 0.7, 0.5


def linear_case():
    """A linear decoder, data, and the exact precision and means of its tempered posterior."""
    W = conditioned(DATA, LATENT)
    x = torch.randn(BATCH, DATA)
    precision = torch.eye(LATENT) + W.T @ W / (BETA * SIGMA**2)
    mean = x @ W @ precision.inverse() / (BETA * SIGMA**2)
    return (lambda z: W @ z), x, precision, mean


def wide_start():
    return torch.zeros(BATCH, LATENT), 0.5 * torch.eye(LATENT).expand(BATCH, -1, -1)


def lower():
    return torch.randn(BATCH, LATENT, LATENT).tril(-1) / 10 + torch.diag_embed(
        0.2 + 0.2 * torch.rand(BATCH, LATENT)
    )


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_linear_decoder_gets_its_exact_posterior(covariance):
    decoder, x, precision, mean = linear_case()
    found = refine_posterior(
        decoder, *wide_start(), x, covariance=covariance, beta=BETA, sigma=SIGMA,
        steps=300, draws=2 * LATENT,
    )  # fmt: skip
    exact = precision.inverse() if covariance == "full" else (1 / precision.diagonal()).diag()
    torch.testing.assert_close(found.mean, mean, rtol=1e-5, atol=1e-6)
    Sigma = found.scale_tril @ found.scale_tril.mT
    torch.testing.assert_close(Sigma, exact.expand_as(Sigma), rtol=1e-5, atol=1e-7)
    if covariance == "diagonal":
        assert (found.scale_tril.tril(-1) == 0).all()


def test_loss_is_that_of_a_slow_twin_and_never_ends_above_its_start():
    decoder, x, _, _ = linear_case()
    mean, L = torch.randn(BATCH, LATENT), lower()
    found = refine_posterior(
        decoder, mean, L, x, covariance="full", beta=BETA, sigma=SIGMA, steps=50
    )
    W = torch.func.jacfwd(decoder)(mean[0])
    for i in range(BATCH):
        posterior = MultivariateNormal(mean[i], scale_tril=L[i])
        prior = MultivariateNormal(torch.zeros(LATENT), torch.eye(LATENT))
        error = (x[i] - W @ mean[i]).square().sum() + (W @ L[i]).square().sum()
        expected = error / (2 * BETA * SIGMA**2) + kl_divergence(posterior, prior)
        torch.testing.assert_close(found.loss[0, i], expected, rtol=1e-10, atol=0)
    assert found.loss.shape == (51, BATCH)
    assert (found.loss[-1] < found.loss[0]).all()


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_equation_6_closes_at_the_refined_posterior(covariance):
    """On fresh draws, where the start is far off: every entry if full, the diagonal if not."""
    decoder = mlp(LATENT, DATA, nn.Tanh)
    x = torch.stack([decoder(z) for z in torch.randn(BATCH, LATENT)]) + 0.1
    found = refine_posterior(
        decoder, *wide_start(), x, covariance=covariance, sigma=0.3, steps=120, draws=1024
    )
    pick = lambda M: M if covariance == "full" else M.diagonal(dim1=-2, dim2=-1)
    gap = {}
    for name, (mean, L) in {
        "before": wide_start(),
        "after": (found.mean, found.scale_tril),
    }.items():
        right = optimal_precision(decoder, mean, L, x, sigma=0.3, draws=1024)
        scale = right.precision.diagonal(dim1=-2, dim2=-1).rsqrt()
        scale = scale[:, :, None] * scale[:, None, :]
        gap[name] = pick((torch.cholesky_inverse(L) - right.precision) * scale).abs().max()
        noise = pick(right.precision_error * scale).max()
    assert gap["before"] > 0.3
    assert gap["after"] < 6 * noise < 0.2  # of both sets of draws


def test_data_do_not_see_each_other_and_results_repeat():
    decoder = mlp(LATENT, DATA)
    mean, L, x = torch.randn(BATCH, LATENT), lower(), torch.randn(BATCH, DATA)
    refine = lambda pick, **more: refine_posterior(
        decoder, mean[pick], L[pick], x[pick], covariance="full", steps=40, **more
    )
    together = refine(slice(None))
    for other in (refine(slice(None)), refine(slice(None), chunk_size=3)):
        torch.testing.assert_close(other.mean, together.mean, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(other.scale_tril, together.scale_tril, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(refine([2]).mean[0], together.mean[2], rtol=1e-8, atol=1e-10)
    again = refine(slice(None), generator=torch.Generator().manual_seed(1))
    assert not torch.allclose(again.mean, together.mean, rtol=1e-6)


def test_no_steps_return_the_start_and_weights_get_no_gradient():
    decoder = mlp(LATENT, DATA).requires_grad_()
    mean, L, x = torch.randn(BATCH, LATENT), lower(), torch.randn(BATCH, DATA)
    still = refine_posterior(decoder, mean, L, x, covariance="full", steps=0)
    torch.testing.assert_close(still.mean, mean, rtol=0, atol=0)
    torch.testing.assert_close(still.scale_tril, L, rtol=1e-14, atol=0)
    with torch.no_grad():  # as callers do, around all of an evaluation
        moved = refine_posterior(decoder, mean, L, x, covariance="full", steps=2)
    assert all(p.grad is None for p in decoder.parameters())
    assert not moved.mean.requires_grad and not moved.scale_tril.requires_grad
    assert (moved.mean != mean).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": 0.0}, r"`beta` must be positive; got 0\.0"),
        ({"sigma": -1.0}, r"`sigma` must be positive; got -1\.0"),
        ({"learning_rate": 0.0}, r"`learning_rate` must be positive"),
        ({"draws": 7}, r"`draws` must be even, .*got 7 for 3 latents"),
        ({"draws": 4}, r"twice the number of latents or more; got 4"),
        ({"covariance": "diagonal"}, r"must start from a diagonal `scale_tril`; .*Pass cov"),
        ({"scale_tril": torch.zeros(BATCH, LATENT, LATENT)}, r"positive diagonal; got 0\.0"),
        ({"x": torch.zeros(BATCH, 5)}, r"one value per column of `x`; got 8 for 5 columns"),
        ({"x": torch.full((BATCH, DATA), torch.nan)}, r"loss must stay finite; .*sample 0 does"),
    ],
)
def test_what_cannot_be_refined_is_refused(changes, message):
    given = {
        "mean": torch.zeros(BATCH, LATENT),
        "scale_tril": lower(),
        "x": torch.zeros(BATCH, DATA),
        "covariance": "full",
    }
    with pytest.raises(ValueError, match=message):
        refine_posterior(mlp(LATENT, DATA), **(given | {"steps": 1} | changes))
