import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence

from seams import vae as module
from seams.distributions import Posterior
from seams.linear import diagonal_gap, log_evidence, optimal_posterior
from seams.networks import GaussianEncoder, mlp
from seams.vae import VAE, negative_elbo

COVARIANCES = ["diagonal", "full"]
DATA, LATENT, SIGMA = 5, 3, 0.7


class OptimalEncoder(nn.Module):
    """The optimal posterior of a linear decoder, in closed form."""

    def __init__(self, decoder: Tensor, covariance: str) -> None:
        super().__init__()
        self.decoder, self.covariance = decoder, covariance

    def forward(self, x: Tensor) -> Posterior:
        return optimal_posterior(x, self.decoder, self.covariance, sigma=SIGMA)


def linear_vae(covariance: str) -> tuple[VAE, Tensor]:
    decoder = torch.randn(DATA, LATENT)
    network = nn.Linear(LATENT, DATA, bias=False)
    network.weight.data = decoder
    return VAE(OptimalEncoder(decoder, covariance), network, SIGMA), decoder


def small_vae(covariance: str = "full", likelihood: str = "gaussian", sigma: float = 1.0) -> VAE:
    features = mlp(DATA, 7, 1, None)
    encoder = GaussianEncoder(features, 7, LATENT, covariance)
    return VAE(encoder, mlp(LATENT, 7, 1, DATA), sigma, likelihood).requires_grad_(False)


def constant() -> float:
    """What the Gaussian distortion leaves out: half the log of 2 pi sigma^2, a pixel."""
    return DATA / 2 * math.log(2 * math.pi * SIGMA**2)


def test_exact_posterior_gives_the_evidence_at_every_draw() -> None:
    """log p(x, z) - log q(z given x) = log p(x), whatever z is drawn."""
    vae, decoder = linear_vae("full")
    x, noise = torch.randn(4, DATA), torch.randn(4, LATENT)
    distortion, _ = vae(x, noise)
    posterior = vae.encoder(x)
    z = posterior.reparameterise(noise)
    log_prior = Normal(0, 1).log_prob(z).sum(-1)
    log_ratio = -distortion - constant() + log_prior - posterior.log_prob(z)
    exact = MultivariateNormal(
        torch.zeros(DATA), decoder @ decoder.mT + SIGMA**2 * torch.eye(DATA)
    )
    torch.testing.assert_close(log_ratio, exact.log_prob(x), rtol=1e-10, atol=0)
    torch.testing.assert_close(
        log_ratio, log_evidence(x, decoder, sigma=SIGMA), rtol=1e-10, atol=0
    )


def test_elbo_of_the_exact_posterior_is_the_evidence_in_the_mean() -> None:
    vae, decoder = linear_vae("full")
    draws = 20_000
    x = torch.randn(1, DATA)
    loss = negative_elbo(vae, x.expand(draws, -1), torch.randn(draws, LATENT)) + constant()
    error = loss.std() / math.sqrt(draws)
    assert error < 0.02
    assert abs(loss.mean() + log_evidence(x, decoder, sigma=SIGMA)) < 4 * error


def test_elbo_of_the_best_diagonal_posterior_misses_the_evidence_by_the_gap() -> None:
    vae, decoder = linear_vae("diagonal")
    draws = 20_000
    x = torch.randn(1, DATA)
    loss = negative_elbo(vae, x.expand(draws, -1), torch.randn(draws, LATENT)) + constant()
    expected = diagonal_gap(decoder, sigma=SIGMA) - log_evidence(x, decoder, sigma=SIGMA)
    error = loss.std() / math.sqrt(draws)
    assert diagonal_gap(decoder, sigma=SIGMA) > 10 * error, "the two cases must differ"
    assert abs(loss.mean() - expected) < 4 * error


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_rate_is_the_divergence_to_the_prior(covariance: str) -> None:
    vae = small_vae(covariance)
    x = torch.randn(6, DATA)
    _, rate = vae(x, torch.randn(6, LATENT))
    posterior = vae.encoder(x)
    explicit = MultivariateNormal(posterior.mean, scale_tril=posterior.scale_tril)
    prior = MultivariateNormal(torch.zeros(LATENT), torch.eye(LATENT))
    torch.testing.assert_close(rate, kl_divergence(explicit, prior), rtol=1e-10, atol=0)


def test_gaussian_distortion_is_the_log_density_without_its_constant() -> None:
    vae = small_vae(sigma=SIGMA)
    x, noise = torch.randn(6, DATA), torch.randn(6, LATENT)
    mean = vae.decoder(vae.encoder(x).reparameterise(noise))
    density = Independent(Normal(mean, SIGMA), 1).log_prob(x)
    distortion, _ = vae(x, noise)
    torch.testing.assert_close(distortion + constant(), -density, rtol=1e-10, atol=0)


def test_bernoulli_distortion_is_the_log_probability() -> None:
    vae = small_vae(likelihood="bernoulli")
    x, noise = torch.randint(2, (6, DATA)).double(), torch.randn(6, LATENT)
    z = vae.encoder(x).reparameterise(noise)
    exact = Independent(Bernoulli(logits=vae.network(z)), 1).log_prob(x)
    distortion, _ = vae(x, noise)
    torch.testing.assert_close(distortion, -exact, rtol=1e-10, atol=0)


def test_decoder_returns_the_mean() -> None:
    z = torch.randn(4, LATENT)
    gaussian, bernoulli = small_vae(), small_vae(likelihood="bernoulli")
    assert torch.equal(gaussian.decoder(z), gaussian.network(z))
    expected = Bernoulli(logits=bernoulli.network(z)).mean
    torch.testing.assert_close(bernoulli.decoder(z), expected, rtol=1e-12, atol=0)


def test_beta_weighs_the_rate_alone() -> None:
    vae = small_vae()
    x, noise = torch.randn(6, DATA), torch.randn(6, LATENT)
    distortion, rate = vae(x, noise)
    for beta in (0.0, 1.0, 4.0):
        loss = negative_elbo(vae, x, noise, beta)
        torch.testing.assert_close(loss, distortion + beta * rate, rtol=1e-14, atol=0)
    assert torch.equal(negative_elbo(vae, x, noise), negative_elbo(vae, x, noise, 1.0))


@pytest.mark.parametrize("beta", [0.01, 0.5, 4.0])
def test_only_beta_sigma_squared_matters(beta: float) -> None:
    """App. B: the loss at (beta, sigma) is beta times that at (1, sqrt(beta) sigma)."""
    vae = small_vae(sigma=SIGMA)
    other = VAE(vae.encoder, vae.network, math.sqrt(beta) * SIGMA)
    x, noise = torch.randn(6, DATA), torch.randn(6, LATENT)
    torch.testing.assert_close(
        negative_elbo(vae, x, noise, beta),
        beta * negative_elbo(other, x, noise, 1.0),
        rtol=1e-10,
        atol=0,
    )


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_batch_axis_makes_no_difference(covariance: str, likelihood: str) -> None:
    vae = small_vae(covariance, likelihood)
    x, noise = torch.rand(3, DATA), torch.randn(3, LATENT)
    whole = negative_elbo(vae, x, noise, 0.5)
    assert whole.shape == (3,)
    rows = [negative_elbo(vae, *pair, 0.5) for pair in zip(x, noise, strict=True)]
    torch.testing.assert_close(whole, torch.stack(rows))
    torch.testing.assert_close(
        torch.func.vmap(lambda x, e: negative_elbo(vae, x, e, 0.5))(x, noise), whole
    )


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_sigma_must_be_positive(sigma: float) -> None:
    with pytest.raises(ValueError, match=rf"`sigma` must be positive; got {sigma}\."):
        small_vae(sigma=sigma)


def test_other_likelihoods_are_refused(plain: Any) -> None:
    message = r"`likelihood` must be 'gaussian' or 'bernoulli'; got 'poisson'\."
    with pytest.raises(ValueError, match=message):
        plain(module).VAE(nn.Identity(), nn.Identity(), 1.0, "poisson")
