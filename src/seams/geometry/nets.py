r"""A net of seams on a manifold in space, and the net of paths whose image it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.func import vmap

from seams.derivatives import Decoder, jacobian_svd
from seams.geometry.densities import log_manifold_density, seam_density
from seams.geometry.paths import SingularVectorPath, singular_vector_path
from seams.shapes import Float

__all__ = [
    "SeamNet",
    "manifold_surface",
    "prior_disc",
    "seam_deviation",
    "seam_net",
    "tangent_frame",
]


@dataclass(frozen=True)
class SeamNet:
    """Paths of a decoder along each singular vector, from points on the line of the other."""

    offsets: tuple[float, ...]  # of these points from the origin; dimensionless
    V: Float[torch.Tensor, "2 2"]  # right singular vectors at the origin, signs of the frame
    paths: tuple[tuple[SingularVectorPath, ...], ...]
    z: Float[torch.Tensor, "2 offset point 2"]  # the paths; dimensionless
    seams: Float[torch.Tensor, "2 offset point 3"]  # images in the frame, in x
    across: Float[torch.Tensor, "2 offset point 3"]  # unit vectors across seams
    prior: Float[torch.Tensor, "2 offset point"]  # its density over paths
    density: Float[torch.Tensor, "2 offset point"]  # over seams, in 1/x


def tangent_frame(decoder: Decoder) -> Float[torch.Tensor, "3 3"]:
    """Both left singular vectors at the origin of the latents, and their normal, as columns."""
    U = jacobian_svd(decoder, torch.zeros(1, 2))[0][0]
    return torch.cat([U, torch.linalg.cross(U[:, :1], U[:, 1:], dim=0)], 1)


def seam_net(
    decoder: Decoder,
    frame: Float[torch.Tensor, "3 3"],
    offsets: Sequence[float],
    *,
    reach: float,
    points: int,
) -> SeamNet:
    """Net of paths of length `reach` each way, in a `tangent_frame` (D3, D4; Fig. 1, 3, 4)."""
    # The frame's origin is the image of the latents' one; singular vectors are turned along it.
    U, _, V = jacobian_svd(decoder, torch.zeros(1, 2))
    signs = (U[0] * frame[:, :2]).sum(0).sign()
    V = V[0] * signs
    follow = lambda offset, i: singular_vector_path(
        decoder, offset * V[:, 1 - i], i, extent=reach, points=points
    )
    paths = tuple(tuple(follow(offset, i) for offset in offsets) for i in (0, 1))
    stacked = lambda values: torch.stack(  # a path follows the vector as the SVD turned it
        [
            torch.stack([values(path) if sign > 0 else values(path).flip(0) for path in row])
            for row, sign in zip(paths, signs, strict=True)
        ]
    )
    z, density = stacked(lambda path: path.z), stacked(seam_density)
    left = jacobian_svd(decoder, z.flatten(0, 2))[0].unflatten(0, z.shape[:3])
    across = torch.stack([left[i, ..., 1 - i] for i in (0, 1)]) @ frame
    side = torch.stack([across[i, ..., 1 - i] for i in (0, 1)]).sign()
    seams = (stacked(lambda path: path.x) - decoder(torch.zeros(2))) @ frame
    prior = density * stacked(lambda path: path.singular_value)
    return SeamNet(tuple(offsets), V, paths, z, seams, across * side[..., None], prior, density)


def prior_disc(reach: float, points: int = 201) -> Float[torch.Tensor, "point point"]:
    """Density of the prior over a square of latents about the origin, 1 in its middle."""
    density = (-0.5 * torch.linspace(-reach, reach, points).square()).exp()
    return torch.outer(density, density)


def manifold_surface(
    decoder: Decoder, frame: Float[torch.Tensor, "3 3"], z: Float[torch.Tensor, "row column 2"]
) -> tuple[Float[torch.Tensor, "row column 3"], Float[torch.Tensor, "row column"]]:
    """Images of a grid of latents in a frame as of `seam_net`, and the density there."""
    points = (vmap(vmap(decoder))(z) - decoder(torch.zeros(2))) @ frame
    density = log_manifold_density(decoder, z.flatten(0, 1)).exp()
    return points, density.unflatten(0, z.shape[:2])


def seam_deviation(decoder: Decoder, path: SingularVectorPath) -> float:
    r"""Largest relative deviation from $\dot x = s^i u^i$ (Lemma C.1), by finite differences."""
    velocity = torch.gradient(path.x, spacing=(path.t,), dim=0)[0][1:-1]
    U, s, V = jacobian_svd(decoder, path.z[1:-1])
    overlap = (V.mT @ path.direction[1:-1, :, None]).squeeze(-1)
    own = overlap.abs().argmax(1, keepdim=True)
    told = (U * s[:, None] * overlap.sign()[:, None]).take_along_dim(own[:, None], 2)[:, :, 0]
    return float(((velocity - told).norm(dim=1) / told.norm(dim=1)).max())
