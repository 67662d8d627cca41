"""Both sides of Eq. 6 at given posteriors, and how far the two terms of the right one cancel."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seams.derivatives import Decoder, Precision, optimal_precision
from seams.metrics import off_diagonality_of_mean
from seams.networks import Covariance
from seams.scores.axes import in_random_axes
from seams.shapes import Bool, Float

__all__ = [
    "Sides",
    "cancelled_share",
    "compare_sides",
    "relative_difference",
    "scaled",
    "turned_off_diagonality",
]

_ROTATIONS = 16  # random ones, for what a score would be if the axes meant nothing


@dataclass(frozen=True, eq=False)
class Sides:
    r"""Both sides of Eq. 6 at given posteriors; see `compare_sides`.

    With $\Lambda = \Sigma_x^{-1}$ the left side and $P$ the right. Numbers are root mean squares
    over samples and entries of active latents, NaN if there are no such entries.
    """

    left: Float[Tensor, "batch latent latent"]  # $\Lambda$; dimensionless
    right: Precision  # $P$, its two terms and their standard errors
    gram: Float[Tensor, "batch latent latent"]  # $G_{ij} / (\beta\sigma^2 \sqrt{P_{ii} P_{jj}})$
    hessian: Float[Tensor, "batch latent latent"]  # second term alike; enters with a minus
    difference: float  # of `relative_difference`, over the conditions of optimality
    noise: float  # what the Monte Carlo error of $P$ alone would make of `difference`
    off_gram: float  # off-diagonal entries of `gram`
    off_hessian: float  # those of `hessian`
    off_sum: float  # those of both together, $P_{ij} / \sqrt{P_{ii} P_{jj}}$
    off_turned: float  # as `off_sum`, in random axes of the active latents
    cancelled: float  # see `cancelled_share`; NaN where that is not defined


def compare_sides(
    decoder: Decoder,
    mean: Float[Tensor, "batch latent"],
    scale_tril: Float[Tensor, "batch latent latent"],
    x: Float[Tensor, "batch data"],
    *,
    covariance: Covariance,
    active: Bool[Tensor, " latent"] | None = None,
    beta: float = 1.0,
    sigma: float = 1.0,
    draws: int = 64,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Sides:
    """Both sides of Eq. 6 at given posteriors, Gaussian likelihood, and how they compare (P1)."""
    # Arguments are those of `seams.derivatives.optimal_precision`, which states the errors raised;
    # the kind of `covariance` decides which entries are conditions of optimality (all for full
    # posteriors, the diagonal for diagonal ones), `active` which latents are compared (None: all).
    right = optimal_precision(
        decoder, mean, scale_tril, x, beta=beta, sigma=sigma, draws=draws,
        generator=generator, chunk_size=chunk_size,
    )  # fmt: skip
    left = torch.cholesky_inverse(scale_tril)
    kept = torch.ones_like(mean[0], dtype=torch.bool) if active is None else active
    conditions = kept.diag() if covariance == "diagonal" else kept[:, None] & kept
    beside = _off_diagonal(kept)
    gram, hessian = (
        scaled(term / (beta * sigma**2), right.precision) for term in (right.gram, right.hessian)
    )
    rms = lambda matrices, entries: matrices[..., entries].square().mean().sqrt().item()
    some = right.precision[:, kept][:, :, kept]
    turned = lambda matrices: scaled(matrices, matrices)[..., _off_diagonal(kept[kept])]
    try:
        cancelled = cancelled_share(right, beta=beta, sigma=sigma, active=kept)
    except ValueError:  # of too few latents, or none but noise
        cancelled = math.nan
    return Sides(
        left=left,
        right=right,
        gram=gram,
        hessian=hessian,
        difference=rms(relative_difference(scale_tril, right.precision), conditions),
        noise=rms(scaled(right.precision_error, left), conditions),
        off_gram=rms(gram, beside),
        off_hessian=rms(hessian, beside),
        off_sum=rms(scaled(right.precision, right.precision), beside),
        off_turned=in_random_axes(some, lambda P: turned(P).square(), _ROTATIONS) ** 0.5,
        cancelled=cancelled,
    )


def relative_difference(
    scale_tril: Float[Tensor, "batch latent latent"],
    precision: Float[Tensor, "batch latent latent"],
) -> Float[Tensor, "batch latent latent"]:
    r"""Relative difference of Eq. 6, $(P - \Lambda)_{ij} / \sqrt{\Lambda_{ii}\Lambda_{jj}}$."""
    # With the right side P and Lambda = Sigma_x^-1. Off the diagonal it is on the scale of a
    # partial correlation. At the optimum it is 0, in every entry of a full posterior and on the
    # diagonal of a diagonal one, whose other entries hold the right side alone.
    left = torch.cholesky_inverse(scale_tril)
    return scaled(precision - left, left)


def cancelled_share(
    found: Precision,
    *,
    beta: float = 1.0,
    sigma: float = 1.0,
    active: Bool[Tensor, " latent"] | None = None,
) -> float:
    r"""Share of the terms' off-diagonals that cancels, $2 g \cdot h / (g \cdot g + h \cdot h)$."""
    # P1, "no cancellation": g and h are the off-diagonal entries of E_q[J'J] and of E_q[(x - d)'
    # H] in all samples, each scaled by sqrt(P_ii P_jj) with P the right side of Eq. 6. It is 1 if
    # the terms are equal, so that a diagonal sum says nothing of its parts; 0 if they are
    # unrelated; negative, down to -1, if they add up. `beta` and `sigma` are those of `found`,
    # `active` the latents to keep. The noise of the draws is taken out of each square, with 2 g h
    # = g^2 + h^2 - (g - h)^2.
    latent = found.gram.shape[-1]
    kept = torch.ones(latent, dtype=torch.bool) if active is None else active
    pairs = _off_diagonal(kept)
    if not pairs.any():
        raise ValueError(
            f"`cancelled_share` needs 2 or more latents; got {int(kept.sum())}. One has no "
            "off-diagonal."
        )
    variance = beta * sigma**2
    square = lambda mean, error, unit: (
        scaled(mean / unit, found.precision).square()
        - scaled(error / unit, found.precision).square()
    )[:, pairs].sum()
    both = square(found.gram, found.gram_error, variance)
    both = both + square(found.hessian, found.hessian_error, variance)
    rest = square(found.precision, found.precision_error, 1.0)
    if not both > 0:
        raise ValueError(
            "`cancelled_share` needs off-diagonal entries beyond the noise of the draws; their "
            f"summed square is {both.item():.1e}. Is every term diagonal already, or `draws` low?"
        )
    return ((both - rest) / both).item()


def turned_off_diagonality(
    matrices: Float[Tensor, "batch latent latent"],
    active: Bool[Tensor, " latent"] | None = None,
    rotations: int = 100,
) -> float:
    r"""App. E's score of $\frac1n \sum_x |Q^\top M_x Q|$, the mean over fixed random rotations."""
    # Compare it with the score at Q = I: a matrix that is nearly a multiple of the identity, or
    # one that changes from sample to sample without common axes, scores alike in both, however
    # low.
    if active is not None:
        matrices = matrices[:, active][:, :, active]
    return in_random_axes(matrices, lambda M: off_diagonality_of_mean(M.abs()), rotations)


def _off_diagonal(kept: Tensor) -> Tensor:
    return kept[:, None] & kept & ~torch.eye(len(kept), dtype=torch.bool, device=kept.device)


def scaled(matrices: Tensor, by: Tensor) -> Tensor:
    """Entries over the root of the product of the diagonal entries of `by`."""
    root = by.diagonal(dim1=-2, dim2=-1).abs().rsqrt()
    return matrices * root.unsqueeze(-1) * root.unsqueeze(-2)
