r"""A net of seams on a manifold in space, and the net of paths whose image it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
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
    r"""Paths of a decoder from two latents to space, both ways from points of two lines.

    The first axis of each array but `V` and `offsets` says which singular vector is followed.

    Attributes:
        offsets: Where the paths start, along the other singular vector at the origin.
        V: Right singular vectors at the origin, as columns, their signs those of the frame.
        paths: What `singular_vector_path` returned, for each vector one an offset.
        z: The paths; dimensionless.
        seams: Their images in the frame, in the unit of x.
        across: Unit vectors that cross the seams within the manifold, in the frame.
        prior: Density of the prior over each path.
        density: Density over each seam, in the unit of 1/x.
    """

    offsets: tuple[float, ...]
    V: Float[Tensor, "2 2"]
    paths: tuple[tuple[SingularVectorPath, ...], ...]
    z: Float[Tensor, "2 offset point 2"]
    seams: Float[Tensor, "2 offset point 3"]
    across: Float[Tensor, "2 offset point 3"]
    prior: Float[Tensor, "2 offset point"]
    density: Float[Tensor, "2 offset point"]


def tangent_frame(decoder: Decoder) -> Float[Tensor, "3 3"]:
    """Both left singular vectors at the origin of the latents, and their normal, as columns."""
    U = jacobian_svd(decoder, torch.zeros(1, 2))[0][0]
    return torch.cat([U, torch.linalg.cross(U[:, :1], U[:, 1:], dim=0)], 1)


def seam_net(
    decoder: Decoder,
    frame: Float[Tensor, "3 3"],
    offsets: Sequence[float],
    *,
    reach: float,
    points: int,
) -> SeamNet:
    """Paths along each singular vector from points on the line of the other, and their seams.

    Args:
        decoder: Two latents to one mean in space, without a batch axis.
        frame: Of the space, as of `tangent_frame`; the image of the origin is its origin.
        offsets: Of the starts from the origin; dimensionless.
        reach: Length of each path, each way.
        points: Of each path.

    Returns:
        The net, its singular vectors turned along the frame's.

    Source: Definitions D3 and D4; Figures 1, 3 and 4.
    """
    origin = decoder(torch.zeros(2))
    U, _, V = jacobian_svd(decoder, torch.zeros(1, 2))
    V = V[0] * (U[0] * frame[:, :2]).sum(0).sign()
    paths = tuple(
        tuple(
            singular_vector_path(decoder, offset * V[:, 1 - i], i, extent=reach, points=points)
            for offset in offsets
        )
        for i in (0, 1)
    )
    stacked = lambda values: torch.stack([torch.stack([*map(values, row)]) for row in paths])
    z, density = stacked(lambda path: path.z), stacked(seam_density)
    left = jacobian_svd(decoder, z.flatten(0, 2))[0].unflatten(0, z.shape[:3])
    across = torch.stack([left[i, ..., 1 - i] for i in (0, 1)])
    across = across @ frame
    side = torch.stack([across[i, ..., 1 - i] for i in (0, 1)]).sign()
    return SeamNet(
        tuple(offsets),
        V,
        paths,
        z,
        (stacked(lambda path: path.x) - origin) @ frame,
        across * side[..., None],
        density * stacked(lambda path: path.singular_value),
        density,
    )


def prior_disc(reach: float, points: int = 201) -> Float[Tensor, "point point"]:
    """Density of the prior over a square of latents about the origin, 1 in its middle."""
    density = (-0.5 * torch.linspace(-reach, reach, points).square()).exp()
    return torch.outer(density, density)


def manifold_surface(
    decoder: Decoder, frame: Float[Tensor, "3 3"], latents: Float[Tensor, "row column 2"]
) -> tuple[Float[Tensor, "row column 3"], Float[Tensor, "row column"]]:
    """Images of a grid of latents in a frame as of `seam_net`, and the density there."""
    points = (vmap(vmap(decoder))(latents) - decoder(torch.zeros(2))) @ frame
    density = log_manifold_density(decoder, latents.flatten(0, 1)).exp()
    return points, density.unflatten(0, latents.shape[:2])


def seam_deviation(decoder: Decoder, path: SingularVectorPath) -> float:
    r"""Largest relative deviation of a path's image from a seam, $\dot x = s^i u^i$.

    Args:
        decoder: The decoder that the path belongs to.
        path: 3 points or more; velocities are finite differences along its image.

    Returns:
        0 for a path that is followed exactly, up to the square of the distance of its points.

    Source: Lemma C.1.
    """
    velocity = torch.gradient(path.x, spacing=(path.t,), dim=0)[0][1:-1]
    U, s, V = jacobian_svd(decoder, path.z[1:-1])
    overlap = (V.mT @ path.direction[1:-1, :, None]).squeeze(-1)
    own = overlap.abs().argmax(1, keepdim=True)
    scaled = U * s[:, None] * overlap.sign()[:, None]
    told = scaled.take_along_dim(own[:, None], 2)[:, :, 0]
    return float(((velocity - told).norm(dim=1) / told.norm(dim=1)).max())
