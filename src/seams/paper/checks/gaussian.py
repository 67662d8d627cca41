"""Statements about linear Gaussian models, the noise, the scores, and Appendix H."""

import math

import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor

from seams import linear
from seams.data.synthetic import linear_gaussian
from seams.distributions import FullGaussian
from seams.metrics import axis_alignment_score
from seams.paper.checks.base import (
    COST,
    OPTIMUM,
    ROUNDING,
    SIGMA,
    angle,
    check,
    largest,
    normal,
    turn,
    uniform,
)


def _model(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Data covariance [6, 6], its three leading eigenvalues, and a rotation of as many latents."""
    U = torch.linalg.qr(normal(seed, 6, 6)).Q
    ratios = 1.5 + uniform(seed, 3)
    leading = torch.stack([ratios.prod(), ratios[1:].prod(), ratios[2]])
    rest = SIGMA**2 * torch.tensor([1.0, 0.6, 0.3], dtype=torch.float64)
    rotation = torch.linalg.qr(normal(seed + 1, 3, 3)).Q
    return (U * torch.cat([leading, rest])) @ U.mT, leading, rotation


def _evidence(decoder: Tensor, covariance: Tensor, variance: float) -> Tensor:
    """Mean log density of data with this second moment, without the constant."""
    C = decoder @ decoder.mT + variance * torch.eye(len(covariance), dtype=covariance.dtype)
    return -0.5 * (torch.linalg.slogdet(C).logabsdet + torch.linalg.solve(C, covariance).trace())


@check(
    "Eq. 3, posterior",
    "The posterior of Eq. 3 is the conditional of the joint normal distribution (largest "
    "difference of means and covariances).",
    ROUNDING,
)
def _eq_3_posterior(seed: int) -> float:
    W, x = normal(seed, 6, 3), normal(seed + 1, 16, 6)
    q = linear.optimal_posterior(x, W, sigma=SIGMA)
    C = W @ W.mT + SIGMA**2 * torch.eye(6, dtype=W.dtype)
    mean = x @ torch.linalg.solve(C, W)
    covariance = torch.eye(3, dtype=W.dtype) - W.mT @ torch.linalg.solve(C, W)
    return largest(q.mean - mean, q.scale_tril @ q.scale_tril.mT - covariance)


@check(
    "Eq. 3, decoder",
    "The decoder of Eq. 3 maximises the evidence, at any rotation (largest slope, and by "
    "how much 20 decoders near it are better).",
    ROUNDING,
)
def _eq_3_decoder(seed: int) -> float:
    covariance, _, rotation = _model(seed)
    W = linear.decoder_mle(covariance, 3, rotation, sigma=SIGMA).requires_grad_()
    best = _evidence(W, covariance, SIGMA**2)
    (slope,) = torch.autograd.grad(best, W)
    near = [W.detach() + 0.1 * normal(seed + k, 6, 3) for k in range(20)]
    higher = max(_evidence(other, covariance, SIGMA**2).item() for other in near) - best.item()
    return max(largest(slope), higher)


@check(
    "Eq. 4",
    "At that decoder the posterior covariance is that of Eq. 4, and a diagonal one loses "
    "nothing after a signed permutation (largest difference, nats lost).",
    ROUNDING,
)
def _eq_4(seed: int) -> float:
    covariance, leading, rotation = _model(seed)
    W = linear.decoder_mle(covariance, 3, rotation, sigma=SIGMA)
    found = torch.linalg.inv(linear.posterior_precision(W, sigma=SIGMA))
    told = SIGMA**2 * rotation.mT @ torch.diag(1 / leading) @ rotation
    order = uniform(seed, 3).argsort()
    relabelled = torch.diag(normal(seed, 3).sign())[order]
    W = linear.decoder_mle(covariance, 3, relabelled, sigma=SIGMA)
    return largest(found - told, linear.diagonal_gap(W, sigma=SIGMA))


@check(
    "Eq. 4, rotated",
    "It does lose after a rotation by 20 to 45 degrees (bound lost by a diagonal posterior).",
    COST,
    above=True,
    unit="nats",
)
def _eq_4_rotation(seed: int) -> float:
    covariance, _, _ = _model(seed)
    rotation = torch.eye(3, dtype=torch.float64)
    rotation[:2, :2] = turn(angle(seed))
    W = linear.decoder_mle(covariance, 3, rotation, sigma=SIGMA)
    return linear.diagonal_gap(W, sigma=SIGMA).item()


def _fitted(seed: int, diagonal: bool) -> linear.DecoderDistances:
    """Distances to the truth of a decoder at the optimum of the exact bound, from anywhere."""
    V = torch.linalg.qr(normal(seed + 1, 3, 3)).Q
    s = [3.0, 2.0, 1.0]
    truth = linear_gaussian(64, 6, s, sigma=SIGMA, seed=seed, V=V, exact=True)
    covariance = (truth.x.mT @ truth.x / 64).double()
    decoder = normal(seed + 2, 6, 3).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [decoder],
        max_iter=1000,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -_evidence(decoder, covariance, SIGMA**2)
        if diagonal:
            value = value + linear.diagonal_gap(decoder, sigma=SIGMA)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return linear.decoder_distances(decoder.detach(), truth.U.double(), truth.s.double())


@check(
    "Cor. 6.1",
    "At the optimum of the bound with diagonal posteriors U, S and V are the truth up to "
    "permutation and sign (largest distance).",
    OPTIMUM,
)
def _cor_6_1(seed: int) -> float:
    found = _fitted(seed, diagonal=True)
    return largest(found.U, found.s, found.V)


@check(
    "Cor. 6.1, full posteriors",
    "With full posteriors V stays where it started (distance to the nearest signed permutation).",
    0.3,
    above=True,
)
def _cor_6_1_full(seed: int) -> float:
    return _fitted(seed, diagonal=False).V.item()


@check(
    "Remark 6.2",
    "The density of the data does not contain the right singular vectors (largest "
    "difference of log densities after a rotation).",
    ROUNDING,
    unit="nats",
)
def _rem_6_2(seed: int) -> float:
    W, x = normal(seed, 6, 3), normal(seed + 1, 16, 6)
    turned = W @ torch.linalg.qr(normal(seed + 2, 3, 3)).Q
    return largest(
        linear.log_evidence(x, turned, sigma=SIGMA) - linear.log_evidence(x, W, sigma=SIGMA)
    )


@check(
    "App. B",
    "The bound over beta is that at beta = 1 with noise variance beta sigma^2, up to a "
    "constant (relative spread over decoders, posteriors and data).",
    ROUNDING,
)
def _app_b(seed: int) -> float:
    beta, x = 0.1 + 4 * uniform(seed, 1).item(), normal(seed, 16, 6)
    gaps = []
    for k in range(5):
        D = normal(seed + k, 6, 3)
        root = torch.linalg.cholesky(D.mT @ D + torch.eye(3, dtype=D.dtype))
        q = FullGaussian(x @ D, root.expand(16, 3, 3))
        scaled = linear.linear_elbo(x, D, q, sigma=SIGMA, beta=beta) / beta
        gaps.append(scaled - linear.linear_elbo(x, D, q, sigma=SIGMA * math.sqrt(beta)))
    values = torch.stack(gaps)
    return (values - values[0, 0]).abs().max().item() / values[0, 0].abs().item()


@check(
    "App. B, collapse",
    "Where the best linear VAE collapses at beta = 1, it does not at some beta < 1 "
    "(evidence gained over the collapsed one, a datum).",
    COST,
    above=True,
    unit="nats",
)
def _app_b_collapse(seed: int) -> float:
    # No eigenvalue above the noise: at beta = 1 the best decoder is 0, and posteriors collapse.
    U, share = torch.linalg.qr(normal(seed, 6, 6)).Q, 0.3 + 0.6 * uniform(seed, 6)
    covariance = (U * (SIGMA**2 * share)) @ U.mT
    gains = []
    for beta in (1.0, 0.5 * share.max().item()):
        W = linear.decoder_mle(covariance, 3, sigma=SIGMA, beta=beta)
        variance = beta * SIGMA**2
        gain = _evidence(W, covariance, variance) - _evidence(0 * W, covariance, variance)
        gains.append(gain.item())
    return gains[1] if gains[0] == 0 else math.nan


@check(
    "App. E, best score",
    "The axis alignment score of a permuted diagonal is 1 (difference).",
    ROUNDING,
)
def _app_e_best(seed: int) -> float:
    size = 2 + seed % 9
    information = torch.diag(0.5 + uniform(seed, size))[uniform(seed + 1, size).argsort()]
    return abs(axis_alignment_score(information) - 1)


@check(
    "App. E, floor",
    "That of a constant matrix of d latents and k factors is (1/d + 1/k) / 2 (difference).",
    ROUNDING,
)
def _app_e_floor(seed: int) -> float:
    latents, factors = 2 + seed % 9, 2 + seed % 5
    constant = torch.full((latents, factors), 0.3, dtype=torch.float64)
    return abs(axis_alignment_score(constant) - 0.5 * (1 / latents + 1 / factors))


@check(
    "App. H, first inequality",
    "The first inequality of Appendix H fails (share of random pairs of vectors).",
    0.0,
    above=True,
)
def _app_h_1(seed: int) -> float:
    a, b = normal(seed, 2, 1000, 3).unbind(0)
    left = (a.square().sum(1) - b.square().sum(1)).abs()
    return (left > (a - b).square().sum(1)).double().mean().item()


@check(
    "App. H, second inequality",
    "The second inequality of Appendix H fails (share of random pairs of vectors).",
    0.0,
    above=True,
)
def _app_h_2(seed: int) -> float:
    a, b = normal(seed, 2, 1000, 3).unbind(0)
    right = a.square().sum(1) + b.square().sum(1)
    return ((a - b).square().sum(1) > right).double().mean().item()


@check(
    "App. H, third omission",
    "What the third step leaves out, the decoder's curvature, may exceed what it keeps of the "
    "expected squared error, at the same Jacobian, residual and posterior (left out over kept).",
    1.0,
    above=True,
)
def _app_h_3(seed: int) -> float:
    # f(mu + e) = f(mu) + J e + 25 |e|^2 n; the squared error has degree 4 in e, and 5 nodes an
    # axis are exact to 9.
    J, r, n = normal(seed, 6, 2), normal(seed + 1, 6), normal(seed + 2, 6)
    scales = 0.3 + 0.2 * uniform(seed, 2)
    nodes, weights = map(torch.from_numpy, hermegauss(5))
    e = torch.cartesian_prod(nodes, nodes) * scales
    weight = torch.cartesian_prod(weights, weights).prod(1) / weights.sum() ** 2
    curved = 25 * e.square().sum(1, keepdim=True) * n / n.norm()
    whole = weight @ (r - e @ J.mT - curved).square().sum(1)
    kept = r.square().sum() + (scales.square() * J.square().sum(0)).sum()
    return abs(whole / kept - 1).item()


CHECKS = (
    _eq_3_posterior, _eq_3_decoder, _eq_4, _eq_4_rotation, _cor_6_1, _cor_6_1_full, _rem_6_2,
    _app_b, _app_b_collapse, _app_e_best, _app_e_floor, _app_h_1, _app_h_2,
    _app_h_3,
)  # fmt: skip
