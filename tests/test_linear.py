import itertools
import math

import pytest
import torch
from torch.autograd.functional import hessian
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.func import grad
from torch.testing import assert_close

from seams import linear
from seams.distributions import DiagonalGaussian, FullGaussian

DATA, LATENT = 6, 3
NOISE = [dict(sigma=0.7), dict(sigma=0.7, beta=2.5), dict(sigma=1.3, beta=0.1)]
COVARIANCES = ("diagonal", "full")
EXACT = dict(rtol=1e-10, atol=1e-12)


def orthonormal(size, columns=None):
    return torch.linalg.qr(torch.randn(size, size)).Q[:, :columns]


def random_decoder():
    while True:
        decoder = torch.randn(DATA, LATENT)
        if torch.linalg.cond(decoder) < 10:
            return decoder


def samples_with(covariance):
    """As few samples as columns, whose second moment is the given matrix."""
    size = len(covariance)
    return math.sqrt(size) * torch.linalg.cholesky(covariance).mT


def variance(noise):
    return noise.get("beta", 1.0) * noise["sigma"] ** 2


def turn(angle, i, j, size=LATENT):
    rotation = torch.eye(size)
    rotation[i, i] = rotation[j, j] = math.cos(angle)
    rotation[i, j], rotation[j, i] = -math.sin(angle), math.sin(angle)
    return rotation


def dense_evidence(x, decoder, variance):
    return MultivariateNormal(
        torch.zeros(DATA), decoder @ decoder.mT + variance * torch.eye(DATA)
    ).log_prob(x)


@pytest.mark.parametrize("noise", NOISE)
def test_bayes_rule_holds_for_every_draw(noise):
    decoder, x = random_decoder(), torch.randn(4, DATA)
    posterior = linear.optimal_posterior(x, decoder, **noise)
    z = 2 * torch.randn(5, 4, LATENT)
    likelihood = Normal(z @ decoder.mT, math.sqrt(variance(noise))).log_prob(x).sum(-1)
    prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    ratio = likelihood + prior - posterior.log_prob(z)
    dense = dense_evidence(x, decoder, variance(noise))
    assert_close(ratio, dense.expand(5, 4), **EXACT)
    assert_close(linear.log_evidence(x, decoder, **noise), dense, **EXACT)


def test_log_evidence_does_not_cancel_at_small_noise():
    decoder, sigma = random_decoder(), 1e-6
    residual = torch.linalg.qr(torch.cat([decoder, torch.randn(DATA, 1)], 1)).Q[:, -1]
    z = torch.randn(1, LATENT)
    x = z @ decoder.mT + sigma * residual
    # By construction the residual has length sigma; the posterior mean is z to within sigma^2.
    expected = -0.5 * (
        1
        + z.square().sum()
        + DATA * math.log(2 * math.pi)
        + (DATA - LATENT) * math.log(sigma**2)
        + torch.linalg.slogdet(decoder.mT @ decoder).logabsdet
    )
    assert_close(linear.log_evidence(x, decoder, sigma=sigma)[0], expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("kind", COVARIANCES)
def test_linear_elbo_equals_cubature(noise, kind):
    """A quadratic's mean under N(mu, LL') is its mean over the points mu +- sqrt(d) L e_j."""
    decoder, x = random_decoder(), torch.randn(4, DATA)
    mean, log_scale, below = (torch.randn(4, LATENT) for _ in range(3))
    if kind == "full":
        posterior = FullGaussian.from_parameters(mean, log_scale, below)
    else:
        posterior = DiagonalGaussian.from_parameters(mean, log_scale)
    steps = math.sqrt(LATENT) * posterior.scale_tril.mT
    points = torch.cat([mean[:, None] + steps, mean[:, None] - steps], 1)
    likelihood = Normal(points @ decoder.mT, noise["sigma"]).log_prob(x[:, None]).sum(-1).mean(1)
    standard = MultivariateNormal(torch.zeros(LATENT), torch.eye(LATENT))
    rate = kl_divergence(MultivariateNormal(mean, scale_tril=posterior.scale_tril), standard)
    expected = likelihood - noise.get("beta", 1.0) * rate
    assert_close(linear.linear_elbo(x, decoder, posterior, **noise), expected, **EXACT)


@pytest.mark.parametrize("noise", NOISE)
def test_optimal_elbo_is_the_evidence_less_the_diagonal_gap(noise):
    decoder, x = random_decoder(), torch.randn(4, DATA)
    sigma, beta = noise["sigma"], noise.get("beta", 1.0)
    two_pi = 2 * math.pi
    constant = DATA / 2 * (beta * math.log(two_pi * beta * sigma**2) - math.log(two_pi * sigma**2))
    best = beta * dense_evidence(x, decoder, variance(noise)) + constant
    full = linear.optimal_posterior(x, decoder, "full", **noise)
    assert_close(linear.linear_elbo(x, decoder, full, **noise), best, **EXACT)
    gap = linear.diagonal_gap(decoder, **noise)
    assert gap > 1e-3
    diagonal = linear.optimal_posterior(x, decoder, "diagonal", **noise)
    assert_close(linear.linear_elbo(x, decoder, diagonal, **noise), best - gap, **EXACT)
    divergence = kl_divergence(
        MultivariateNormal(diagonal.mean, scale_tril=diagonal.scale_tril), full
    )
    assert_close(gap.expand(4), beta * divergence, rtol=1e-9, atol=0)


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("kind", COVARIANCES)
def test_optimal_posterior_is_stationary_and_a_maximum(noise, kind):
    decoder, x = random_decoder(), torch.randn(1, DATA)
    best = linear.optimal_posterior(x, decoder, kind, **noise)
    rows, columns = torch.tril_indices(LATENT, LATENT, -1)

    def elbo(flat):
        mean, log_scale, below = flat.reshape(3, 1, LATENT)
        if kind == "full":
            posterior = FullGaussian.from_parameters(mean, log_scale, below)
        else:
            posterior = DiagonalGaussian.from_parameters(mean, log_scale)
        return linear.linear_elbo(x, decoder, posterior, **noise).sum()

    factor = best.scale_tril[0]
    optimum = torch.cat([best.mean[0], factor.diagonal().log(), factor[rows, columns]])
    assert_close(grad(elbo)(optimum), torch.zeros(3 * LATENT), rtol=0, atol=1e-10)
    used = 3 * LATENT if kind == "full" else 2 * LATENT
    curvature = torch.linalg.eigvalsh(hessian(elbo, optimum)[:used, :used])
    assert (curvature < -1e-3).all()


def test_diagonal_posterior_is_narrower_than_the_marginals():
    decoder, x = random_decoder(), torch.randn(2, DATA)
    full = linear.optimal_posterior(x, decoder, "full", sigma=0.5)
    diagonal = linear.optimal_posterior(x, decoder, "diagonal", sigma=0.5)
    precision = linear.posterior_precision(decoder, sigma=0.5)
    assert_close(torch.linalg.inv(full.covariance_matrix[0]), precision, **EXACT)
    assert_close(diagonal.variance[0], 1 / precision.diagonal(), **EXACT)
    assert (diagonal.marginal_stddev < full.marginal_stddev).all()


@pytest.mark.parametrize("noise", NOISE)
def test_gap_is_zero_for_orthogonal_columns_only(noise):
    U, s = orthonormal(DATA, LATENT), torch.tensor([3.0, 1.0, 2.0])
    aligned = U * s
    assert abs(linear.diagonal_gap(aligned, **noise)) < 1e-14
    signed = aligned[:, [2, 0, 1]] * torch.tensor([1.0, -1.0, 1.0])
    assert abs(linear.diagonal_gap(signed, **noise)) < 1e-14
    equal = (U * 2.0) @ orthonormal(LATENT)
    assert abs(linear.diagonal_gap(equal, **noise)) < 1e-14
    turned = torch.stack([aligned @ orthonormal(LATENT) for _ in range(5)])
    gaps = linear.diagonal_gap(turned, **noise)
    assert (gaps > 1e-4).all()
    assert_close(gaps[3], linear.diagonal_gap(turned[3], **noise), rtol=1e-12, atol=0)


@pytest.mark.parametrize("noise", NOISE)
def test_gap_of_a_turned_decoder_follows_the_exact_law(noise):
    U, s = orthonormal(DATA, LATENT), torch.tensor([3.0, 1.0, 2.0])
    curvature = linear.rotation_curvature(s, **noise)
    beta, eigenvalue = noise.get("beta", 1.0), s**2 + variance(noise)
    for i, j in [(0, 1), (2, 0), (1, 2)]:
        kappa = (s[i] ** 2 - s[j] ** 2) ** 2 / (eigenvalue[i] * eigenvalue[j])
        assert_close(curvature[i, j], beta * kappa, rtol=1e-12, atol=0)
        for angle in (1e-3, 0.2, math.pi / 4, 1.3):
            gap = linear.diagonal_gap((U * s) @ turn(angle, i, j).mT, **noise)
            law = beta / 2 * torch.log1p(kappa / 4 * math.sin(2 * angle) ** 2)
            assert_close(gap, law, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("noise", NOISE)
def test_rotation_curvature_is_the_second_derivative_of_the_elbo(noise):
    """Also with a decoder that is not fitted, and equal to U's own at the optimum."""
    U, s = orthonormal(DATA, LATENT), torch.tensor([3.0, 1.0, 2.0])
    x = torch.randn(5, DATA)
    generator = torch.zeros(LATENT, LATENT)
    generator[0, 2], generator[2, 0] = -1, 1

    def elbo(angle, x, turn_left, kind):
        rotation = torch.linalg.matrix_exp(angle * generator)
        decoder = U @ rotation * s if turn_left else (U * s) @ rotation.mT
        posterior = linear.optimal_posterior(x, decoder, kind, **noise)
        return linear.linear_elbo(x, decoder, posterior, **noise).mean()

    def second(*args):
        return hessian(lambda angle: elbo(angle, *args), zero)

    zero = torch.tensor(0.0)
    expected = -linear.rotation_curvature(s, **noise)[0, 2]
    # The evidence does not know V, so all of the change is the gap's.
    assert_close(second(x, False, "diagonal"), expected, rtol=1e-9, atol=0)
    assert_close(second(x, False, "full"), zero, rtol=0, atol=1e-9)
    fitted = samples_with((U * s**2) @ U.mT + variance(noise) * torch.eye(DATA))
    assert_close(second(fitted, True, "full"), expected, rtol=1e-9, atol=0)


def test_rotation_curvature_vanishes_only_at_equal_singular_values():
    curvature = linear.rotation_curvature(torch.tensor([2.0, 1.0, 2.0, 0.0]), sigma=1.0)
    zeros = [[0, 0], [0, 2], [1, 1], [2, 0], [2, 2], [3, 3]]
    assert (curvature == 0).nonzero().tolist() == zeros
    assert (curvature >= 0).all()
    assert torch.equal(curvature, curvature.mT)


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("kind", COVARIANCES)
def test_rates_are_the_hessian_of_the_optimised_elbo(noise, kind):
    """All data * latent eigenvalues, those against the discarded directions included."""
    v, beta = variance(noise), noise.get("beta", 1.0)
    s = torch.tensor([3.0, 1.0, 1.8])
    discarded = v * torch.tensor([0.9, 0.5, 0.2])
    basis = orthonormal(DATA)
    spectrum = torch.cat([s**2 + v, discarded])
    x = samples_with((basis * spectrum) @ basis.mT)
    decoder = basis[:, :LATENT] * s

    def elbo(decoder):
        posterior = linear.optimal_posterior(x, decoder, kind, **noise)
        return linear.linear_elbo(x, decoder, posterior, **noise).mean()

    assert_close(grad(elbo)(decoder), torch.zeros_like(decoder), rtol=0, atol=1e-10)
    measured = torch.linalg.eigvalsh(-hessian(elbo, decoder).reshape(decoder.numel(), -1))
    align = linear.alignment_rate(s, **noise)
    fit = linear.fitting_rate(s, **noise)
    rows, columns = torch.triu_indices(LATENT, LATENT, 1)
    slow, plane = align[rows, columns], fit[rows, columns]
    # (s_i - s_j)^2 + (s_i + s_j)^2 = 2 (s_i^2 + s_j^2)
    planes = [torch.zeros(3), plane] if kind == "full" else [slow, 2 * plane - slow]
    retained = s[:, None] ** 2 + v
    outside = beta * (retained - discarded) / (v * retained)
    predicted = torch.cat([fit.diagonal(), *planes, outside.flatten()]).sort().values
    assert_close(measured, predicted, rtol=1e-8, atol=1e-9 * float(predicted.max()))


@pytest.mark.parametrize("noise", NOISE)
def test_training_the_encoder_too_lowers_the_slowest_rate_a_little(noise):
    """The joint Hessian in decoder, encoder and log scales: bounded by its Schur complement."""
    s, v = torch.tensor([3.0, 2.5, 1.2]), variance(noise)
    U = orthonormal(DATA, LATENT)
    x = samples_with((U * s**2) @ U.mT + v * torch.eye(DATA))
    precision = linear.posterior_precision(U * s, **noise)
    encoder = torch.linalg.solve(precision, (U * s).mT) / v
    sizes = [DATA * LATENT, DATA * LATENT, LATENT]

    def elbo(flat):
        decoder, encoder, log_scale = flat.split(sizes)
        mean = x @ encoder.reshape(LATENT, DATA).mT
        posterior = DiagonalGaussian.from_parameters(mean, log_scale.expand_as(mean))
        return linear.linear_elbo(x, decoder.reshape(DATA, LATENT), posterior, **noise).mean()

    log_scale = -0.5 * precision.diagonal().log()
    optimum = torch.cat([(U * s).flatten(), encoder.flatten(), log_scale])
    assert_close(grad(elbo)(optimum), torch.zeros(sum(sizes)), rtol=0, atol=1e-10)
    slowest = torch.linalg.eigvalsh(-hessian(elbo, optimum))[0]
    predicted = linear.alignment_rate(s, **noise)[0, 1]
    assert 0.9 * predicted < slowest < predicted


def test_gradient_ascent_decays_at_the_alignment_rate():
    s, sigma, step = torch.tensor([2.0, 1.2]), 0.5, 0.4
    U = orthonormal(DATA, 2)
    x = samples_with((U * s**2) @ U.mT + sigma**2 * torch.eye(DATA))

    def elbo(decoder):
        posterior = linear.optimal_posterior(x, decoder, "diagonal", sigma=sigma)
        return linear.linear_elbo(x, decoder, posterior, sigma=sigma).mean()

    path = [(U * s) @ turn(1e-4, 0, 1, 2)]
    for _ in range(60):
        path.append(path[-1] + step * grad(elbo)(path[-1]))
    distance = linear.decoder_distances(torch.stack(path), U, s).V
    # The fast mode of the plane is gone after 30 steps.
    rate = linear.alignment_rate(s, sigma=sigma)[0, 1]
    assert_close(distance[31:] / distance[30:-1], (1 - step * rate).expand(30), rtol=1e-6, atol=0)


@pytest.mark.parametrize("noise", NOISE)
def test_mle_recovers_the_generating_decoder(noise):
    U, s = orthonormal(DATA, LATENT), torch.tensor([3.0, 2.0, 1.0])
    covariance = (U * s**2) @ U.mT + variance(noise) * torch.eye(DATA)
    rotation = orthonormal(LATENT)
    aligned = linear.decoder_mle(covariance, LATENT, **noise)
    distances = linear.decoder_distances(aligned, U, s)
    for distance in (distances.U, distances.s, distances.V):
        assert distance < 1e-12
    turned = linear.decoder_mle(covariance, LATENT, rotation, **noise)
    assert_close(turned @ turned.mT, (U * s**2) @ U.mT, **EXACT)
    assert_close(turned, aligned @ rotation, **EXACT)


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("kind", COVARIANCES)
def test_mle_is_stationary_for_any_rotation_if_full_and_for_none_if_diagonal(noise, kind):
    x = torch.randn(40, DATA) @ torch.randn(DATA, DATA) * 2
    covariance = x.mT @ x / len(x)

    def slope(rotation):
        def elbo(decoder):
            posterior = linear.optimal_posterior(x, decoder, kind, **noise)
            return linear.linear_elbo(x, decoder, posterior, **noise).mean()

        decoder = linear.decoder_mle(covariance, LATENT, rotation, **noise)
        return grad(elbo)(decoder).abs().max()

    permutation = torch.eye(LATENT)[[2, 0, 1]] * torch.tensor([-1.0, 1.0, 1.0])
    assert slope(None) < 1e-10
    assert slope(permutation) < 1e-10
    if kind == "full":
        assert slope(orthonormal(LATENT)) < 1e-10
    else:
        assert slope(orthonormal(LATENT)) > 1e-3


def test_mle_drops_directions_below_the_noise():
    basis = orthonormal(DATA)
    spectrum = torch.tensor([5.0, 3.0, 2.1, 1.9, 0.5, 0.1])
    noise = dict(sigma=1.0, beta=2.0)
    decoder = linear.decoder_mle((basis * spectrum) @ basis.mT, 5, **noise)
    active = linear.predicted_active(spectrum, **noise)
    assert active.tolist() == [True] * 3 + [False] * 3
    assert torch.equal((decoder != 0).any(0), active[:5])
    assert_close(
        linear.posterior_precision(decoder, **noise).diagonal(),
        torch.tensor([2.5, 1.5, 1.05, 1, 1]),
        **EXACT,
    )
    # At equality the direction pays for nothing.
    assert not linear.predicted_active(torch.tensor([2.0]), **noise)
    # The evidence has its maximum here, dead columns included.
    x = samples_with((basis * spectrum) @ basis.mT)
    best = linear.log_evidence(x, decoder, **noise).mean()
    for _ in range(20):
        near = decoder + 1e-2 * torch.randn_like(decoder)
        assert linear.log_evidence(x, near, **noise).mean() < best


@pytest.mark.parametrize("noise", NOISE)
def test_em_iteration_equals_its_definition(noise):
    x = torch.randn(30, DATA) @ torch.randn(DATA, DATA)
    generator = torch.Generator().manual_seed(1)
    path = linear.ppca_em(x, LATENT, iterations=4, generator=generator, **noise)
    assert path.shape == (5, DATA, LATENT)
    for before, after in itertools.pairwise(path):
        posterior = linear.optimal_posterior(x, before, "full", **noise)
        first = sum(torch.outer(a, z) for a, z in zip(x, posterior.mean, strict=True))
        second = sum(
            c + torch.outer(z, z)
            for c, z in zip(posterior.covariance_matrix, posterior.mean, strict=True)
        )
        assert_close(after, first @ torch.linalg.inv(second), rtol=1e-9, atol=1e-11)


def test_em_climbs_to_the_maximum_and_leaves_v_where_it_is():
    U, s, sigma = orthonormal(DATA, LATENT), torch.tensor([3.0, 2.0, 1.2]), 0.5
    covariance = (U * s**2) @ U.mT + sigma**2 * torch.eye(DATA)
    x = samples_with(covariance)
    generator = torch.Generator().manual_seed(2)
    path = linear.ppca_em(x, LATENT, sigma=sigma, iterations=400, generator=generator)
    evidence = torch.stack([linear.log_evidence(x, d, sigma=sigma).mean() for d in path])
    assert (evidence.diff() > -1e-12).all()
    best = linear.log_evidence(x, linear.decoder_mle(covariance, LATENT, sigma=sigma), sigma=sigma)
    assert_close(evidence[-1], best.mean(), rtol=1e-12, atol=0)
    distances = linear.decoder_distances(path, U, s)
    assert distances.U[0] > 0.5 and distances.s[0] > 0.1
    assert distances.U[-1] < 1e-6 and distances.s[-1] < 1e-6
    assert distances.V[-1] > 0.3
    again = linear.ppca_em(
        x, LATENT, sigma=sigma, iterations=400, generator=torch.Generator().manual_seed(2)
    )
    assert torch.equal(again, path)


def signed_permutations(size):
    for order in itertools.permutations(range(size)):
        for signs in itertools.product((-1.0, 1.0), repeat=size):
            yield torch.eye(size)[:, list(order)] * torch.tensor(signs)


def test_axis_distance_is_the_minimum_over_all_signed_permutations():
    reference = orthonormal(DATA, LATENT)
    axes = torch.stack([orthonormal(DATA, LATENT) for _ in range(8)])
    brute = torch.stack(
        [torch.linalg.matrix_norm(axes @ q - reference) for q in signed_permutations(LATENT)]
    ).amin(0)
    assert_close(linear.axis_distance(axes, reference), brute, rtol=1e-12, atol=0)
    grid = axes.unflatten(0, (2, 4))
    assert_close(linear.axis_distance(grid, reference), brute.reshape(2, 4), rtol=1e-12, atol=0)
    q = next(itertools.islice(signed_permutations(LATENT), 21, None))
    assert linear.axis_distance(reference @ q, reference) == 0
    # Turning a plane by t moves two unit vectors by 2 sin(t/2) each; small t loses no digits.
    for angle in (1e-9, 0.1, 0.6):
        near = turn(angle, 0, 2)[:, [1, 2, 0]] * torch.tensor([1.0, -1.0, 1.0])
        expected = torch.tensor(2 * math.sqrt(2) * math.sin(angle / 2))
        assert_close(linear.axis_distance(near, torch.eye(LATENT)), expected, rtol=1e-7, atol=0)


def test_axis_distance_of_orthogonal_sets_is_the_stated_maximum():
    basis = orthonormal(DATA)
    measured = linear.axis_distance(basis[:, :LATENT], basis[:, LATENT:])
    assert_close(measured, torch.tensor(math.sqrt(2 * LATENT)), **EXACT)


def test_subspace_distance_is_the_root_of_squared_sines():
    basis = orthonormal(DATA)
    angles = torch.tensor([0.3, 1e-9, 1.1])
    near = basis[:, :3] * angles.cos() + basis[:, 3:] * angles.sin()
    expected = torch.linalg.vector_norm(angles.sin())
    turned = near @ orthonormal(LATENT)
    assert_close(linear.subspace_distance(turned, basis[:, :3]), expected, **EXACT)
    assert linear.subspace_distance(basis[:, :3] @ orthonormal(LATENT), basis[:, :3]) < 1e-14
    both = torch.stack([turned, basis[:, 3:]])
    assert_close(
        linear.subspace_distance(both, basis[:, :3]),
        torch.stack([expected, torch.tensor(math.sqrt(3))]),
        **EXACT,
    )


def test_decoder_distances_know_each_part_from_the_others():
    U, s = orthonormal(DATA, LATENT), torch.tensor([1.0, 3.0, 2.0])
    V = turn(0.2, 0, 1)
    left = U @ turn(0.1, 1, 2)
    other = torch.tensor([1.0, 3.5, 2.0])
    path = torch.stack([U * s, (U * s) @ V.mT, left * s, U * other, -(U * s)[:, [1, 2, 0]]])
    distances = linear.decoder_distances(path, U, s)
    chord = 2 * math.sqrt(2)
    tolerance = dict(rtol=1e-9, atol=1e-12)
    expected = torch.tensor([0, 0, chord * math.sin(0.05), 0, 0])
    assert_close(distances.U, expected, **tolerance)
    expected = torch.tensor([0, chord * math.sin(0.1), 0, 0, 0])
    assert_close(distances.V, expected, **tolerance)
    expected = torch.tensor([0, 0, 0, 0.5 / math.sqrt(14), 0])
    assert_close(distances.s, expected, **tolerance)


@pytest.mark.parametrize("noise", [dict(sigma=0.0), dict(sigma=1.0, beta=-1.0)])
def test_noise_must_be_positive(noise):
    decoder, x = random_decoder(), torch.randn(2, DATA)
    posterior = linear.optimal_posterior(x, decoder, sigma=1.0)
    generator = torch.Generator()
    for call in (
        lambda: linear.posterior_precision(decoder, **noise),
        lambda: linear.optimal_posterior(x, decoder, **noise),
        lambda: linear.log_evidence(x, decoder, **noise),
        lambda: linear.linear_elbo(x, decoder, posterior, **noise),
        lambda: linear.diagonal_gap(decoder, **noise),
        lambda: linear.rotation_curvature(x[0], **noise),
        lambda: linear.alignment_rate(x[0], **noise),
        lambda: linear.fitting_rate(x[0], **noise),
        lambda: linear.predicted_active(x[0], **noise),
        lambda: linear.decoder_mle(torch.eye(DATA), LATENT, **noise),
        lambda: linear.ppca_em(x, LATENT, iterations=1, generator=generator, **noise),
    ):
        with pytest.raises(ValueError, match="`sigma` and `beta` must be positive; got"):
            call()


def test_wrong_covariance_and_too_many_latents_raise():
    with pytest.raises(ValueError, match="must be 'diagonal' or 'full'; got 'spherical'"):
        linear.optimal_posterior.__wrapped__(
            torch.randn(2, DATA), random_decoder(), "spherical", sigma=1.0
        )
    for latent in (0, DATA + 1):
        with pytest.raises(ValueError, match=f"number of data columns; got {latent} for 6"):
            linear.decoder_mle(torch.eye(DATA), latent, sigma=1.0)
