"""Statements about C1 and C2, paths and seams, densities on manifolds, and what they identify."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from seams.data import generators
from seams.data.generators import Generator
from seams.derivatives import directed_hessian, jacobian_svd, singular_value_jacobian
from seams.geometry import (
    c1_violation,
    log_manifold_density,
    log_seam_factors,
    seam_directions,
    singular_vector_path,
)
from seams.geometry.nets import seam_deviation
from seams.paper.checks.base import (
    DIRECTIONS,
    GAP,
    GRID,
    NATS,
    ROUNDING,
    SHARE,
    any_map,
    check,
    curves,
    largest,
    over_axes,
    points,
    polar,
    tilted,
    twisted,
    untwist,
    warp,
    warped_prior,
)


def _along_seams(g: Generator, z: Tensor) -> tuple[Tensor, Tensor]:
    """Directed Hessian along each left singular vector [point, i, j, k], and i's latent axis."""
    U, _, V = jacobian_svd(g, z)
    x = torch.vmap(g)(z)
    hessians = [directed_hessian(g, z, x + U[:, :, i]) for i in range(U.shape[2])]
    return torch.stack(hessians, 1), V.abs().argmax(1)


@check(
    "Lemma 4.1",
    "Given C1, a singular value changes along another latent as much as the Hessian "
    "directed along its seam is off-diagonal: P1 leaves nothing of it (largest "
    "difference).",
    ROUNDING,
)
def _lem_4_1(seed: int) -> float:
    residuals = []
    for g in (curves(seed), polar(seed)):
        z = points(seed)
        hessians, axis = _along_seams(g, z)
        rows = torch.take_along_dim(hessians, axis[:, :, None, None], 2).squeeze(2)
        residuals.append(singular_value_jacobian(g, z).abs() - rows.abs())
    return largest(*residuals)


@check(
    "Lemma 4.1, half of P1",
    "The first half of P1 is not enough: with orthogonal columns alone the directed "
    "Hessian is not diagonal (polar coordinates; least off-diagonal entry).",
    0.1,
    above=True,
)
def _lem_4_1_needed(seed: int) -> float:
    hessians, _ = _along_seams(polar(seed), points(seed))
    return hessians[:, :, 0, 1].abs().amax(1).min().item()


@check(
    "Lemma C.1",
    "The image of a singular-vector path moves along the left singular vector at the speed "
    "of the singular value (largest relative deviation).",
    GRID,
)
def _lem_c_1(seed: int) -> float:
    g = any_map(seed)
    path = singular_vector_path(g, points(seed)[0] / 2, seed % 2, extent=1.0, points=101)
    return seam_deviation(g, path)


@check(
    "Lemma 5.1",
    "The product of the factors over the seams, summed over triangles that only know where "
    "the points lie, gives the probability of a box of latents (relative difference).",
    GRID,
)
def _lem_5_1(seed: int) -> float:
    g, reach, side = any_map(seed), 1.2, 81
    t = torch.linspace(-reach, reach, side, dtype=torch.float64)
    z = torch.cartesian_prod(t, t)
    corner = torch.arange(side * side).reshape(side, side)
    a, b, c, d = (m.flatten() for m in (corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:],
                                        corner[:-1, 1:]))  # fmt: skip
    triangles = torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)])
    p, q, r = torch.vmap(g)(z)[triangles].unbind(1)
    edges = torch.stack([q - p, r - p], 1)
    area = torch.linalg.det(edges @ edges.mT).clamp_min(0).sqrt() / 2
    density = log_manifold_density(g, z[triangles].mean(1)).exp()
    box = math.erf(reach / math.sqrt(2)) ** 2
    return abs((density * area).sum().item() / box - 1)


@check(
    "Thm. 5.2, C1 and C2",
    "With C1 and C2 the densities over the images of the latent axes multiply to that on "
    "the manifold (largest log ratio).",
    ROUNDING,
    unit="nats",
)
def _thm_5_2_if(seed: int) -> float:
    return max(over_axes(curves(seed), seed), over_axes(generators.rolled_sheet(), seed))


@check(
    "Thm. 5.2, C2 alone",
    "Without C1 they do not (a linear map with its latents turned; largest log ratio).",
    NATS,
    above=True,
    unit="nats",
)
def _thm_5_2_without_c1(seed: int) -> float:
    return over_axes(tilted(seed), seed)


@check(
    "Thm. 5.2, C1 alone",
    "Without C2 they do not (polar coordinates; largest log ratio).",
    NATS,
    above=True,
    unit="nats",
)
def _thm_5_2_without_c2(seed: int) -> float:
    return over_axes(polar(seed), seed)


@check(
    "Thm. 5.2, neither",
    "Without either they do not (curves with their latents twisted; largest log ratio).",
    NATS,
    above=True,
    unit="nats",
)
def _thm_5_2_without_both(seed: int) -> float:
    return over_axes(twisted(seed), seed)


# --- identification -----------------------------------------------------------------------------


def _from_seams(directions: Tensor, U: Tensor) -> Tensor:
    """Distance of unit vectors to the nearest of U's columns, up to sign."""
    overlap = U.mT @ directions
    nearest = torch.take_along_dim(U, overlap.abs().argmax(1).unsqueeze(1), 2)
    sign = (nearest * directions).sum(1, keepdim=True).sign()
    return (directions - sign * nearest).norm(dim=1)


@check(
    "Lemma 6.3",
    "The Hessian of the log density, computed from an entangled decoder, has the seams as "
    "eigenvectors (largest distance of unit vectors).",
    DIRECTIONS,
)
def _lem_6_3(seed: int) -> float:
    z = points(seed)
    found = seam_directions(twisted(seed), z)
    U = jacobian_svd(curves(seed), untwist(seed, z))[0]
    return largest(_from_seams(found.directions, U)[found.gap > GAP])


def _matching(seed: int) -> tuple[Generator, Callable[[Tensor], Tensor]]:
    """A map with C1 and C2, and a decoder with both and another prior that has its density."""
    g = curves(seed)
    return g, lambda w: g(warp(w).flip(0))


@check(
    "Lemma 6.4, seams",
    "Left singular vectors of a decoder with C1, C2, the same density and another prior "
    "are these eigenvectors (largest distance of unit vectors).",
    DIRECTIONS,
)
def _lem_6_4_seams(seed: int) -> float:
    z = points(seed)
    found = seam_directions(twisted(seed), z)
    _, decoder = _matching(seed)
    # The decoder's latents at the same points: warp is inverted by Newton's method.
    told = untwist(seed, z).flip(1)
    w = told.clone()
    for _ in range(20):
        w = w - (warp(w) - told) / (1 + 0.3 * (1 - torch.tanh(w) ** 2))
    U = jacobian_svd(decoder, w)[0]
    return largest(_from_seams(found.directions, U)[found.gap > GAP])


@check(
    "Lemma 6.4, factors",
    "And its factors are those of the generator (largest log ratio).",
    ROUNDING,
    unit="nats",
)
def _lem_6_4_factors(seed: int) -> float:
    g, decoder = _matching(seed)
    w = points(seed)
    factors = log_seam_factors(decoder, w, log_prior=warped_prior)
    return largest(factors.flip(1) - log_seam_factors(g, warp(w).flip(1)))


@check(
    "Cor. 6.7",
    "An entangled decoder with a prior that is not normal gives the same seams (largest "
    "distance of unit vectors).",
    DIRECTIONS,
)
def _cor_6_7(seed: int) -> float:
    # Entangled, with a prior that is not normal: only the density is that of the map.
    g, w = twisted(seed), points(seed)
    found = seam_directions(lambda w: g(warp(w)), w, log_prior=warped_prior)
    U = jacobian_svd(curves(seed), untwist(seed, warp(w)))[0]
    return largest(_from_seams(found.directions, U)[found.gap > GAP])


@check(
    "Remark 6.6",
    "A generator with its latents exchanged and mirrored is as disentangled (largest log "
    "ratio, as for Theorem 5.2).",
    ROUNDING,
    unit="nats",
)
def _rem_6_6(seed: int) -> float:
    swap = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    return over_axes(generators.rotated(curves(seed), swap), seed)


@check(
    "Remark 6.8, density",
    "A twist of normal latents leaves the density on the manifold as it was (largest log ratio).",
    ROUNDING,
    unit="nats",
)
def _rem_6_8_density(seed: int) -> float:
    z = points(seed)
    there = log_manifold_density(curves(seed), untwist(seed, z))
    return largest(log_manifold_density(twisted(seed), z) - there)


@check(
    "Remark 6.8, C1",
    "But C1 sees it (mean cosine of the angles between the Jacobian's columns).",
    SHARE,
    above=True,
)
def _rem_6_8_mixed(seed: int) -> float:
    return c1_violation(twisted(seed), points(seed)).mean().item()


CHECKS = (
    _lem_4_1, _lem_4_1_needed, _lem_c_1, _lem_5_1, _thm_5_2_if, _thm_5_2_without_c1,
    _thm_5_2_without_c2, _thm_5_2_without_both, _lem_6_3, _lem_6_4_seams, _lem_6_4_factors,
    _rem_6_6, _cor_6_7, _rem_6_8_density, _rem_6_8_mixed,
)  # fmt: skip
