"""Overlap of posteriors against densities, least squares and a bound."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal
from torch.testing import assert_close

from seams.collapse import coin_rate, posterior_weighted_mean, responsibilities

EXACT = dict(rtol=1e-10, atol=1e-12)


def posteriors(n=5, latent=2):
    mean = torch.randn(n, latent)
    L = torch.randn(n, latent, latent).tril(-1) + torch.diag_embed(torch.rand(n, latent) + 0.3)
    return mean, L


def test_responsibilities_are_ratios_of_densities():
    mean, L = posteriors()
    z = torch.randn(3, 4, 2)
    q = MultivariateNormal(mean, scale_tril=L).log_prob(z.unsqueeze(-2)).exp()
    assert_close(responsibilities(z, mean, L), q / q.sum(-1, keepdim=True), **EXACT)


def test_the_weighted_mean_has_the_least_error_of_all_functions():
    # On a grid every function is a table, and the error's minimum is where its slope is zero.
    mean, L = posteriors()
    x = torch.randn(5, 3)
    z = torch.cartesian_prod(*[torch.linspace(-3, 3, 41)] * 2)
    q = MultivariateNormal(mean, scale_tril=L).log_prob(z[:, None]).exp()
    table = posterior_weighted_mean(z, mean, L, x).requires_grad_()
    error = (q[..., None] * (x - table[:, None]).square()).sum()
    (slope,) = torch.autograd.grad(error, table)
    assert slope.abs().max() < 1e-12
    (slope,) = torch.autograd.grad(
        (q[..., None] * (x - (table + 0.1)[:, None]).square()).sum(), table
    )
    assert slope.abs().max() > 1e-3


def test_apart_each_datum_is_itself_and_as_the_prior_all_are_their_mean():
    x = torch.randn(4, 2)
    narrow = torch.eye(2).expand(4, 2, 2)
    apart = 100 * torch.arange(4.0)[:, None].expand(4, 2)
    assert_close(posterior_weighted_mean(apart, apart, narrow, x), x, **EXACT)
    same = torch.zeros(4, 2)
    centre = x.mean(0).expand(4, 2)
    assert_close(posterior_weighted_mean(torch.randn(4, 2), same, narrow, x), centre, **EXACT)


@pytest.mark.parametrize("beta", [0.3, 0.6, 0.9])
def test_the_coin_needs_its_latent_below_one(beta):
    rate = coin_rate([beta])[0]
    a = math.sqrt(math.exp(2 * rate) - 1)
    t = torch.randn(400_000, generator=torch.Generator().manual_seed(0))
    loss = lambda a: (
        torch.nn.functional.softplus(-2 * a * (a + t)).mean().item() + beta / 2 * math.log1p(a * a)
    )
    assert loss(a) < min(loss(0.9 * a), loss(1.1 * a))  # by common draws
    assert loss(a) < math.log(2) - 1e-3  # what a decoder without latents pays


def test_the_coin_ignores_its_latent_above_one():
    assert coin_rate([1.01, 2.0]).tolist() == [0, 0]
    assert (coin_rate([0.5, 0.9, 0.99]).diff() < 0).all()
