import pytest
import torch
from torch.distributions import (
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
)
from torch.testing import assert_close

from seams.distributions import LOG_SCALE_BOUNDS, DiagonalGaussian, FullGaussian, Point

LATENT = 4
BELOW = LATENT * (LATENT - 1) // 2
KINDS = ("diagonal", "full")


def parameters(kind, *batch):
    sizes = [LATENT, LATENT] + [BELOW] * (kind == "full")
    return tuple(torch.randn(*batch, size) * 0.7 for size in sizes)


def posterior(kind, *args):
    return {"diagonal": DiagonalGaussian, "full": FullGaussian}[kind].from_parameters(*args)


def reference(kind, mean, log_scale, *off_diagonal):
    """The same law written entry by entry, as torch's own distribution."""
    if kind == "diagonal":
        return Independent(Normal(mean, log_scale.exp()), 1)
    scale_tril = torch.zeros(*mean.shape, LATENT)
    entry = 0
    for row in range(LATENT):
        for column in range(row):
            scale_tril[..., row, column] = off_diagonal[0][..., entry]
            entry += 1
        scale_tril[..., row, row] = log_scale[..., row].exp()
    return MultivariateNormal(mean, scale_tril=scale_tril)


def prior(*batch):
    return Independent(Normal(torch.zeros(*batch, LATENT), torch.ones(*batch, LATENT)), 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_agrees_with_torch(kind, batch):
    args = parameters(kind, *batch)
    ours, theirs = posterior(kind, *args), reference(kind, *args)
    z = torch.randn(*batch, LATENT)
    tolerance = dict(rtol=1e-10, atol=1e-12)
    assert_close(ours.log_prob(z), theirs.log_prob(z), **tolerance)
    assert_close(ours.mean, theirs.mean, rtol=0, atol=0)
    assert_close(ours.marginal_stddev, theirs.variance.sqrt(), **tolerance)
    assert_close(ours.stddev, ours.marginal_stddev, **tolerance)
    assert_close(ours.entropy(), theirs.entropy(), **tolerance)
    standard = MultivariateNormal(torch.zeros(*batch, LATENT), torch.eye(LATENT))
    general = MultivariateNormal(args[0], scale_tril=ours.scale_tril)
    assert_close(ours.kl_to_prior(), kl_divergence(general, standard), **tolerance)
    if kind == "diagonal":
        assert_close(ours.kl_to_prior(), kl_divergence(ours, prior(*batch)), **tolerance)
    else:
        assert_close(ours.scale_tril, theirs.scale_tril, **tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_kl_is_zero_at_the_prior(kind):
    args = (torch.zeros(LATENT), torch.zeros(LATENT), torch.zeros(BELOW))
    ours = posterior(kind, *args[: 3 if kind == "full" else 2])
    assert ours.kl_to_prior() == 0
    assert (ours.kl_per_latent() == 0).all()


def test_kl_per_latent_of_the_diagonal_sums_to_the_total():
    ours = posterior("diagonal", *parameters("diagonal", 6))
    each = kl_divergence(
        Normal(ours.mean, ours.marginal_stddev), Normal(torch.zeros(LATENT), torch.ones(LATENT))
    )
    assert_close(ours.kl_per_latent(), each, rtol=1e-10, atol=1e-12)
    assert_close(ours.kl_per_latent().sum(-1), ours.kl_to_prior(), rtol=1e-12, atol=0)


def test_kl_per_latent_of_the_full_misses_the_total_correlation():
    ours = posterior("full", *parameters("full", 6))
    each = kl_divergence(
        Normal(ours.mean, ours.covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt()),
        Normal(torch.zeros(LATENT), torch.ones(LATENT)),
    )
    assert_close(ours.kl_per_latent(), each, rtol=1e-10, atol=1e-12)
    scale = ours.covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    correlation = ours.covariance_matrix / (scale[..., None] * scale[..., None, :])
    total_correlation = -0.5 * torch.linalg.slogdet(correlation).logabsdet
    assert (total_correlation > 0.01).all()
    assert_close(
        ours.kl_to_prior() - ours.kl_per_latent().sum(-1), total_correlation, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
def test_reparameterise_is_mean_plus_factor_times_noise(kind):
    ours = posterior(kind, *parameters(kind, 3))
    noise = torch.randn(7, 3, LATENT)
    expected = ours.mean + torch.einsum("bij,nbj->nbi", ours.scale_tril, noise)
    assert_close(ours.reparameterise(noise), expected, rtol=1e-12, atol=1e-14)
    # Whatever the factor, the log density of the draw is that of its noise, less log det L.
    log_determinant = ours.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    assert_close(
        ours.log_prob(ours.reparameterise(noise)),
        prior(7, 3).log_prob(noise) - log_determinant,
        rtol=1e-10,
        atol=1e-12,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["rsample", "reparameterise"])
def test_draws_have_the_stated_moments(kind, method):
    ours = posterior(kind, *parameters(kind))
    n = 40_000
    if method == "rsample":
        z = ours.rsample(torch.Size([n]))
    else:
        z = ours.reparameterise(torch.randn(n, LATENT))
    centred = z - ours.mean
    assert (centred.mean(0).abs() < 4 * z.std(0) / n**0.5).all()
    products = centred[:, :, None] * centred[:, None, :]
    covariance = ours.scale_tril @ ours.scale_tril.mT
    assert ((products.mean(0) - covariance).abs() < 4 * products.std(0) / n**0.5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_vmap_over_runs_equals_a_loop(kind):
    runs, batch = 3, 5
    args = parameters(kind, runs, batch)
    noise = torch.randn(runs, batch, LATENT)

    def outputs(noise, *args):
        ours = posterior(kind, *args)
        return (
            ours.mean,
            ours.scale_tril,
            ours.marginal_stddev,
            ours.reparameterise(noise),
            ours.kl_to_prior(),
            ours.kl_per_latent(),
            ours.log_prob(noise),
        )

    stacked = torch.func.vmap(outputs)(noise, *args)
    for run in range(runs):
        alone = outputs(noise[run], *(a[run] for a in args))
        for ours, theirs in zip(stacked, alone, strict=True):
            assert_close(ours[run], theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_under_vmap_equal_autograd(kind):
    args = parameters(kind, 3, 5)
    noise = torch.randn(3, 5, LATENT)

    def loss(args, noise):
        ours = posterior(kind, *args)
        return ours.kl_to_prior().sum() + ours.reparameterise(noise).pow(4).sum()

    stacked = torch.func.vmap(torch.func.grad(loss))(args, noise)
    leaves = tuple(a.clone().requires_grad_() for a in args)
    plain = torch.autograd.grad(loss(leaves, noise), leaves)
    for ours, theirs in zip(stacked, plain, strict=True):
        assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    assert torch.autograd.gradcheck(lambda *args: loss(args, noise), leaves)


def test_one_latent_is_the_same_law_in_both():
    mean, log_scale = torch.randn(3, 1), torch.randn(3, 1)
    full = FullGaussian.from_parameters(mean, log_scale, torch.empty(3, 0))
    diagonal = DiagonalGaussian.from_parameters(mean, log_scale)
    assert_close(full.kl_to_prior(), diagonal.kl_to_prior(), rtol=1e-12, atol=1e-14)
    assert_close(full.scale_tril, diagonal.scale_tril, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_diverging_log_scale_stays_finite_in_float32(kind):
    low, high = LOG_SCALE_BOUNDS
    args = tuple(a.float() for a in parameters(kind, 2))
    log_scale = torch.tensor([[-1e9, 0, 1e9, 1.0], [0, low - 1, high + 1, 0]]).float()
    ours = posterior(kind, args[0], log_scale, *args[2:])
    expected = log_scale.clamp(low, high).exp()
    diagonal = ours.scale_tril.diagonal(dim1=-2, dim2=-1)
    assert torch.equal(diagonal, expected)
    assert ours.kl_to_prior().isfinite().all()
    assert ours.scale_tril.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_expand_keeps_kind_and_law(kind):
    ours = posterior(kind, *parameters(kind))
    wide = ours.expand(torch.Size([6]))
    assert type(wide) is type(ours) and wide.batch_shape == (6,)
    assert_close(wide.kl_to_prior(), ours.kl_to_prior().expand(6), rtol=1e-12, atol=0)


def test_relative_off_diagonals_are_in_units_of_their_row():
    """L = diag(s) (I + N)."""
    mean, log_scale, below = parameters("full", 5)
    factor = FullGaussian.from_parameters(mean, log_scale, below, relative=True).scale_tril
    row, column = torch.tril_indices(LATENT, LATENT, -1)
    N = torch.zeros(5, LATENT, LATENT)
    N[:, row, column] = below
    assert_close(factor, torch.diag_embed(log_scale.exp()) @ (torch.eye(LATENT) + N))


def test_marginals_are_the_nearest_diagonal_posterior():
    full = posterior("full", *parameters("full", 3))
    nearest = full.marginals()
    best = kl_divergence(full, MultivariateNormal(nearest.mean, scale_tril=nearest.scale_tril))
    for factor in (0.99, 1.01):
        other = MultivariateNormal(full.mean, scale_tril=factor * nearest.scale_tril)
        assert (kl_divergence(full, other) > best).all()
    expected = full.covariance_matrix.diagonal(dim1=-2, dim2=-1)
    assert_close(nearest.variance, expected)


def test_off_diagonals_of_zero_have_no_gradient_in_marginals():
    mean, log_scale, below = parameters("full", 3)
    below = torch.zeros_like(below).requires_grad_()
    for relative in (False, True):
        q = FullGaussian.from_parameters(mean, log_scale, below, relative).marginals()
        loss = q.reparameterise(torch.ones(3, LATENT)).square().sum() + q.kl_to_prior().sum()
        (grad,) = torch.autograd.grad(loss, below)
        assert not grad.any()


def test_off_diagonal_of_another_size_raises():
    mean = torch.zeros(2, LATENT)
    with pytest.raises(ValueError, match="must have .* = 6 columns; got 5 for 4 latents"):
        FullGaussian.from_parameters(mean, mean, torch.zeros(2, 5))


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_a_point_is_a_posterior_without_noise_that_is_charged_nothing(batch):
    mean, log_scale = parameters("diagonal", *batch)
    point = Point(mean)
    noise = torch.randn(7, *mean.shape)
    narrow = DiagonalGaussian.from_parameters(mean, torch.full_like(log_scale, -99.0))
    assert_close(point.reparameterise(noise), narrow.reparameterise(noise), rtol=0, atol=1e-5)
    assert torch.equal(point.reparameterise(noise)[3], mean)
    assert torch.equal(point.marginal_stddev, torch.zeros_like(mean))
    assert torch.equal(point.kl_per_latent().sum(-1), point.kl_to_prior())
    assert point.kl_to_prior().shape == batch and not point.kl_to_prior().any()


def test_bounds_of_scales_are_those_that_stored_runs_were_trained_with():
    assert LOG_SCALE_BOUNDS == (-15.0, 5.0)
