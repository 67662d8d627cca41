"""Statements about C1 and C2, paths and seams, densities on manifolds, and what they identify."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from seams.data import generators
from seams.data.generators import Generator
from seams.derivatives import directed_hessian, jacobian, jacobian_svd, singular_value_jacobian
from seams.geometry import (
    c1_violation,
    log_manifold_density,
    log_seam_factors,
    seam_directions,
    singular_vector_path,
)
from seams.paper.checks.base import (
    _GAP,
    DIRECTIONS,
    GRID,
    NATS,
    ROUNDING,
    SHARE,
    Check,
    _any_map,
    _curves,
    _largest,
    _log_normal,
    _points,
    _polar,
    _tilted,
    _twisted,
    _untwist,
    _warp,
    _warped_prior,
)


def _along_seams(g: Generator, z: Tensor) -> tuple[Tensor, Tensor]:
    """Directed Hessian along each left singular vector [point, i, j, k], and i's latent axis."""
    U, _, V = jacobian_svd(g, z)
    x = torch.vmap(g)(z)
    hessians = [directed_hessian(g, z, x + U[:, :, i]) for i in range(U.shape[2])]
    return torch.stack(hessians, 1), V.abs().argmax(1)


def _lem_4_1(seed: int) -> float:
    residuals = []
    for g in (_curves(seed), _polar(seed)):
        z = _points(seed)
        hessians, axis = _along_seams(g, z)
        rows = torch.take_along_dim(hessians, axis[:, :, None, None], 2).squeeze(2)
        residuals.append(singular_value_jacobian(g, z).abs() - rows.abs())
    return _largest(*residuals)


def _lem_4_1_needed(seed: int) -> float:
    hessians, _ = _along_seams(_polar(seed), _points(seed))
    return hessians[:, :, 0, 1].abs().amax(1).min().item()


def _lem_c_1(seed: int) -> float:
    g = _any_map(seed)
    path = singular_vector_path(g, _points(seed)[0] / 2, seed % 2, extent=1.0, points=101)
    velocity = torch.gradient(path.x, spacing=(path.t,), dim=0)[0][1:-1]
    U, s, V = jacobian_svd(g, path.z[1:-1])
    overlap = (V.mT @ path.direction[1:-1, :, None]).squeeze(-1)
    own = overlap.abs().argmax(1, keepdim=True)
    told = (U * s[:, None] * overlap.sign()[:, None]).take_along_dim(own[:, None], 2)[:, :, 0]
    return ((velocity - told).norm(dim=1) / told.norm(dim=1)).max().item()


def _lem_5_1(seed: int) -> float:
    g, reach, side = _any_map(seed), 1.2, 81
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


def _along_axes(g: Generator, seed: int) -> float:
    """Largest log ratio of the densities over the images of the axes to that of the manifold."""
    z = _points(seed)
    over = torch.zeros(len(z), dtype=z.dtype)
    for i, axis in enumerate(torch.eye(2, dtype=z.dtype)):
        speed = jacobian(g, z[:, i : i + 1] * axis)[:, :, i].norm(dim=1)
        over += _log_normal(z[:, i]) - speed.log()
    density = _log_normal(z).sum(1) - torch.vmap(g.volume)(z).log()
    return _largest(over - density)


def _thm_5_2_if(seed: int) -> float:
    return max(_along_axes(_curves(seed), seed), _along_axes(generators.rolled_sheet(), seed))


def _thm_5_2_without_c1(seed: int) -> float:
    return _along_axes(_tilted(seed), seed)


def _thm_5_2_without_c2(seed: int) -> float:
    return _along_axes(_polar(seed), seed)


def _thm_5_2_without_both(seed: int) -> float:
    return _along_axes(_twisted(seed), seed)


# --- identification -----------------------------------------------------------------------------


def _from_seams(directions: Tensor, U: Tensor) -> Tensor:
    """Distance of unit vectors to the nearest of U's columns, up to sign."""
    overlap = U.mT @ directions
    nearest = torch.take_along_dim(U, overlap.abs().argmax(1).unsqueeze(1), 2)
    sign = (nearest * directions).sum(1, keepdim=True).sign()
    return (directions - sign * nearest).norm(dim=1)


def _lem_6_3(seed: int) -> float:
    z = _points(seed)
    found = seam_directions(_twisted(seed), z)
    U = jacobian_svd(_curves(seed), _untwist(seed, z))[0]
    return _largest(_from_seams(found.directions, U)[found.gap > _GAP])


def _matching(seed: int) -> tuple[Generator, Callable[[Tensor], Tensor]]:
    """A map with C1 and C2, and a decoder with both and another prior that has its density."""
    g = _curves(seed)
    return g, lambda w: g(_warp(w).flip(0))


def _lem_6_4_seams(seed: int) -> float:
    z = _points(seed)
    found = seam_directions(_twisted(seed), z)
    _, decoder = _matching(seed)
    # The decoder's latents at the same points: _warp is inverted by Newton's method.
    told = _untwist(seed, z).flip(1)
    w = told.clone()
    for _ in range(20):
        w = w - (_warp(w) - told) / (1 + 0.3 * (1 - torch.tanh(w) ** 2))
    U = jacobian_svd(decoder, w)[0]
    return _largest(_from_seams(found.directions, U)[found.gap > _GAP])


def _lem_6_4_factors(seed: int) -> float:
    g, decoder = _matching(seed)
    w = _points(seed)
    factors = log_seam_factors(decoder, w, log_prior=_warped_prior)
    return _largest(factors.flip(1) - log_seam_factors(g, _warp(w).flip(1)))


def _cor_6_7(seed: int) -> float:
    # Entangled, with a prior that is not normal: only the density is that of the map.
    twisted, w = _twisted(seed), _points(seed)
    found = seam_directions(lambda w: twisted(_warp(w)), w, log_prior=_warped_prior)
    U = jacobian_svd(_curves(seed), _untwist(seed, _warp(w)))[0]
    return _largest(_from_seams(found.directions, U)[found.gap > _GAP])


def _rem_6_6(seed: int) -> float:
    swap = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    return _along_axes(generators.rotated(_curves(seed), swap), seed)


def _rem_6_8_density(seed: int) -> float:
    z = _points(seed)
    there = log_manifold_density(_curves(seed), _untwist(seed, z))
    return _largest(log_manifold_density(_twisted(seed), z) - there)


def _rem_6_8_mixed(seed: int) -> float:
    return c1_violation(_twisted(seed), _points(seed)).mean().item()


CHECKS = (
    Check(
        "lem_4_1",
        "Lemma 4.1",
        "Given C1, a singular value changes along another latent as much as the Hessian directed "
        "along its seam is off-diagonal: P1 leaves nothing of it (largest difference).",
        _lem_4_1,
        ROUNDING,
    ),
    Check(
        "lem_4_1_needed",
        "Lemma 4.1, half of P1",
        "The first half of P1 is not enough: with orthogonal columns alone the directed Hessian "
        "is not diagonal (polar coordinates; least off-diagonal entry).",
        _lem_4_1_needed,
        0.1,
        above=True,
    ),
    Check(
        "lem_c_1",
        "Lemma C.1",
        "The image of a singular-vector path moves along the left singular vector at the speed of "
        "the singular value (largest relative deviation).",
        _lem_c_1,
        GRID,
    ),
    Check(
        "lem_5_1",
        "Lemma 5.1",
        "The product of the factors over the seams, summed over triangles that only know where "
        "the points lie, gives the probability of a box of latents (relative difference).",
        _lem_5_1,
        GRID,
    ),
    Check(
        "thm_5_2_if",
        "Thm. 5.2, C1 and C2",
        "With C1 and C2 the densities over the images of the latent axes multiply to that on the "
        "manifold (largest log ratio).",
        _thm_5_2_if,
        ROUNDING,
        unit="nats",
    ),
    Check(
        "thm_5_2_without_c1",
        "Thm. 5.2, C2 alone",
        "Without C1 they do not (a linear map with its latents turned; largest log ratio).",
        _thm_5_2_without_c1,
        NATS,
        above=True,
        unit="nats",
    ),
    Check(
        "thm_5_2_without_c2",
        "Thm. 5.2, C1 alone",
        "Without C2 they do not (polar coordinates; largest log ratio).",
        _thm_5_2_without_c2,
        NATS,
        above=True,
        unit="nats",
    ),
    Check(
        "thm_5_2_without_both",
        "Thm. 5.2, neither",
        "Without either they do not (curves with their latents twisted; largest log ratio).",
        _thm_5_2_without_both,
        NATS,
        above=True,
        unit="nats",
    ),
    Check(
        "lem_6_3",
        "Lemma 6.3",
        "The Hessian of the log density, computed from an entangled decoder, has the seams as "
        "eigenvectors (largest distance of unit vectors).",
        _lem_6_3,
        DIRECTIONS,
    ),
    Check(
        "lem_6_4_seams",
        "Lemma 6.4, seams",
        "Left singular vectors of a decoder with C1, C2, the same density and another prior are "
        "these eigenvectors (largest distance of unit vectors).",
        _lem_6_4_seams,
        DIRECTIONS,
    ),
    Check(
        "lem_6_4_factors",
        "Lemma 6.4, factors",
        "And its factors are those of the generator (largest log ratio).",
        _lem_6_4_factors,
        ROUNDING,
        unit="nats",
    ),
    Check(
        "rem_6_6",
        "Remark 6.6",
        "A generator with its latents exchanged and mirrored is as disentangled (largest log "
        "ratio, as for Theorem 5.2).",
        _rem_6_6,
        ROUNDING,
        unit="nats",
    ),
    Check(
        "cor_6_7",
        "Cor. 6.7",
        "An entangled decoder with a prior that is not normal gives the same seams (largest "
        "distance of unit vectors).",
        _cor_6_7,
        DIRECTIONS,
    ),
    Check(
        "rem_6_8_density",
        "Remark 6.8, density",
        "A twist of normal latents leaves the density on the manifold as it was (largest "
        "log ratio).",
        _rem_6_8_density,
        ROUNDING,
        unit="nats",
    ),
    Check(
        "rem_6_8_mixed",
        "Remark 6.8, C1",
        "But C1 sees it (mean cosine of the angles between the Jacobian's columns).",
        _rem_6_8_mixed,
        SHARE,
        above=True,
    ),
)
