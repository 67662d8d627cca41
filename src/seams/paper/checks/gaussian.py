"""Statements about linear Gaussian models, the noise, the scores, and Appendix H."""

import math

import torch
from torch import Tensor

from seams import linear
from seams.data.synthetic import linear_gaussian
from seams.distributions import FullGaussian
from seams.metrics import axis_alignment_score
from seams.paper.checks.base import (
    _SIGMA,
    COST,
    OPTIMUM,
    ROUNDING,
    Check,
    _angle,
    _draw,
    _largest,
    _normal,
    _turn,
)


def _model(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Data covariance [6, 6], its three leading eigenvalues, and a rotation of as many latents."""
    U = torch.linalg.qr(_normal(seed, 6, 6)).Q
    ratios = 1.5 + _draw(seed, 3)
    leading = torch.stack([ratios.prod(), ratios[1:].prod(), ratios[2]])
    rest = _SIGMA**2 * torch.tensor([1.0, 0.6, 0.3], dtype=torch.float64)
    rotation = torch.linalg.qr(_normal(seed + 1, 3, 3)).Q
    return (U * torch.cat([leading, rest])) @ U.mT, leading, rotation


def _evidence(decoder: Tensor, covariance: Tensor, variance: float) -> Tensor:
    """Mean log density of data with this second moment, without the constant."""
    C = decoder @ decoder.mT + variance * torch.eye(len(covariance), dtype=covariance.dtype)
    return -0.5 * (torch.linalg.slogdet(C).logabsdet + torch.linalg.solve(C, covariance).trace())


def _eq_3_posterior(seed: int) -> float:
    W, x = _normal(seed, 6, 3), _normal(seed + 1, 16, 6)
    q = linear.optimal_posterior(x, W, sigma=_SIGMA)
    C = W @ W.mT + _SIGMA**2 * torch.eye(6, dtype=W.dtype)
    mean = x @ torch.linalg.solve(C, W)
    covariance = torch.eye(3, dtype=W.dtype) - W.mT @ torch.linalg.solve(C, W)
    return _largest(q.mean - mean, q.scale_tril @ q.scale_tril.mT - covariance)


def _eq_3_decoder(seed: int) -> float:
    covariance, _, rotation = _model(seed)
    W = linear.decoder_mle(covariance, 3, rotation, sigma=_SIGMA).requires_grad_()
    best = _evidence(W, covariance, _SIGMA**2)
    (slope,) = torch.autograd.grad(best, W)
    near = [W.detach() + 0.1 * _normal(seed + k, 6, 3) for k in range(20)]
    higher = max(_evidence(other, covariance, _SIGMA**2).item() for other in near) - best.item()
    return max(_largest(slope), higher)


def _eq_4(seed: int) -> float:
    covariance, leading, rotation = _model(seed)
    W = linear.decoder_mle(covariance, 3, rotation, sigma=_SIGMA)
    found = torch.linalg.inv(linear.posterior_precision(W, sigma=_SIGMA))
    told = _SIGMA**2 * rotation.mT @ torch.diag(1 / leading) @ rotation
    order = _draw(seed, 3).argsort()
    relabelled = torch.diag(_normal(seed, 3).sign())[order]
    W = linear.decoder_mle(covariance, 3, relabelled, sigma=_SIGMA)
    return _largest(found - told, linear.diagonal_gap(W, sigma=_SIGMA))


def _eq_4_rotation(seed: int) -> float:
    covariance, _, _ = _model(seed)
    rotation = torch.eye(3, dtype=torch.float64)
    rotation[:2, :2] = _turn(_angle(seed))
    W = linear.decoder_mle(covariance, 3, rotation, sigma=_SIGMA)
    return linear.diagonal_gap(W, sigma=_SIGMA).item()


def _fitted(seed: int, diagonal: bool) -> linear.DecoderDistances:
    """Distances to the truth of a decoder at the optimum of the exact bound, from anywhere."""
    V = torch.linalg.qr(_normal(seed + 1, 3, 3)).Q
    s = [3.0, 2.0, 1.0]
    truth = linear_gaussian(64, 6, s, sigma=_SIGMA, seed=seed, V=V, exact=True)
    covariance = (truth.x.mT @ truth.x / 64).double()
    decoder = _normal(seed + 2, 6, 3).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [decoder],
        max_iter=1000,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -_evidence(decoder, covariance, _SIGMA**2)
        if diagonal:
            value = value + linear.diagonal_gap(decoder, sigma=_SIGMA)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return linear.decoder_distances(decoder.detach(), truth.U.double(), truth.s.double())


def _cor_6_1(seed: int) -> float:
    found = _fitted(seed, diagonal=True)
    return _largest(found.U, found.s, found.V)


def _cor_6_1_full(seed: int) -> float:
    return _fitted(seed, diagonal=False).V.item()


def _rem_6_2(seed: int) -> float:
    W, x = _normal(seed, 6, 3), _normal(seed + 1, 16, 6)
    turned = W @ torch.linalg.qr(_normal(seed + 2, 3, 3)).Q
    return _largest(
        linear.log_evidence(x, turned, sigma=_SIGMA) - linear.log_evidence(x, W, sigma=_SIGMA)
    )


def _app_b(seed: int) -> float:
    beta, x = 0.1 + 4 * _draw(seed, 1).item(), _normal(seed, 16, 6)
    gaps = []
    for k in range(5):
        D = _normal(seed + k, 6, 3)
        root = torch.linalg.cholesky(D.mT @ D + torch.eye(3, dtype=D.dtype))
        q = FullGaussian(x @ D, root.expand(16, 3, 3))
        scaled = linear.linear_elbo(x, D, q, sigma=_SIGMA, beta=beta) / beta
        gaps.append(scaled - linear.linear_elbo(x, D, q, sigma=_SIGMA * math.sqrt(beta)))
    values = torch.stack(gaps)
    return (values - values[0, 0]).abs().max().item() / values[0, 0].abs().item()


def _app_b_collapse(seed: int) -> float:
    # No eigenvalue above the noise: at beta = 1 the best decoder is 0, and posteriors collapse.
    U, share = torch.linalg.qr(_normal(seed, 6, 6)).Q, 0.3 + 0.6 * _draw(seed, 6)
    covariance = (U * (_SIGMA**2 * share)) @ U.mT
    gains = []
    for beta in (1.0, 0.5 * share.max().item()):
        W = linear.decoder_mle(covariance, 3, sigma=_SIGMA, beta=beta)
        variance = beta * _SIGMA**2
        gain = _evidence(W, covariance, variance) - _evidence(0 * W, covariance, variance)
        gains.append(gain.item())
    return gains[1] if gains[0] == 0 else math.nan


def _app_e_best(seed: int) -> float:
    size = 2 + seed % 9
    information = torch.diag(0.5 + _draw(seed, size))[_draw(seed + 1, size).argsort()]
    return abs(axis_alignment_score(information) - 1)


def _app_e_floor(seed: int) -> float:
    latents, factors = 2 + seed % 9, 2 + seed % 5
    constant = torch.full((latents, factors), 0.3, dtype=torch.float64)
    return abs(axis_alignment_score(constant) - 0.5 * (1 / latents + 1 / factors))


def _app_h_1(seed: int) -> float:
    a, b = _normal(seed, 2, 1000, 3).unbind(0)
    left = (a.square().sum(1) - b.square().sum(1)).abs()
    return (left > (a - b).square().sum(1)).double().mean().item()


def _app_h_2(seed: int) -> float:
    a, b = _normal(seed, 2, 1000, 3).unbind(0)
    right = a.square().sum(1) + b.square().sum(1)
    return ((a - b).square().sum(1) > right).double().mean().item()


CHECKS = (
    Check(
        "eq_3_posterior",
        "Eq. 3, posterior",
        "The posterior of Eq. 3 is the conditional of the joint normal distribution (largest "
        "difference of means and covariances).",
        _eq_3_posterior,
        ROUNDING,
    ),
    Check(
        "eq_3_decoder",
        "Eq. 3, decoder",
        "The decoder of Eq. 3 maximises the evidence, at any rotation (largest slope, and by how "
        "much 20 decoders near it are better).",
        _eq_3_decoder,
        ROUNDING,
    ),
    Check(
        "eq_4",
        "Eq. 4",
        "At that decoder the posterior covariance is that of Eq. 4, and a diagonal one loses "
        "nothing after a signed permutation (largest difference, nats lost).",
        _eq_4,
        ROUNDING,
    ),
    Check(
        "eq_4_rotation",
        "Eq. 4, rotated",
        "It does lose after a rotation by 20 to 45 degrees (bound lost by a diagonal posterior).",
        _eq_4_rotation,
        COST,
        above=True,
        unit="nats",
    ),
    Check(
        "cor_6_1",
        "Cor. 6.1",
        "At the optimum of the bound with diagonal posteriors U, S and V are the truth up to "
        "permutation and sign (largest distance).",
        _cor_6_1,
        OPTIMUM,
    ),
    Check(
        "cor_6_1_full",
        "Cor. 6.1, full posteriors",
        "With full posteriors V stays where it started (distance to the nearest signed "
        "permutation).",
        _cor_6_1_full,
        0.3,
        above=True,
    ),
    Check(
        "rem_6_2",
        "Remark 6.2",
        "The density of the data does not contain the right singular vectors (largest difference "
        "of log densities after a rotation).",
        _rem_6_2,
        ROUNDING,
        unit="nats",
    ),
    Check(
        "app_b",
        "App. B",
        "The bound over beta is that at beta = 1 with noise variance beta sigma^2, up to a "
        "constant (relative spread over decoders, posteriors and data).",
        _app_b,
        ROUNDING,
    ),
    Check(
        "app_b_collapse",
        "App. B, collapse",
        "Where the best linear VAE collapses at beta = 1, it does not at some beta < 1 (evidence "
        "gained over the collapsed one, a datum).",
        _app_b_collapse,
        COST,
        above=True,
        unit="nats",
    ),
    Check(
        "app_e_best",
        "App. E, best score",
        "The axis alignment score of a permuted diagonal is 1 (difference).",
        _app_e_best,
        ROUNDING,
    ),
    Check(
        "app_e_floor",
        "App. E, floor",
        "That of a constant matrix of d latents and k factors is (1/d + 1/k) / 2 (difference).",
        _app_e_floor,
        ROUNDING,
    ),
    Check(
        "app_h_1",
        "App. H, first inequality",
        "The first inequality of Appendix H fails (share of random pairs of vectors).",
        _app_h_1,
        0.0,
        above=True,
    ),
    Check(
        "app_h_2",
        "App. H, second inequality",
        "The second inequality of Appendix H fails (share of random pairs of vectors).",
        _app_h_2,
        0.0,
        above=True,
    ),
)
