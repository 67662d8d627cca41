r"""Scores in random axes: what a score would be if the axes meant nothing.

Latents turned by $z = Q w$ have the Jacobian $J Q$: $J^\top J$ and the directed Hessian become
$Q^\top M Q$, V becomes $Q^\top V$, and the $\partial s_i / \partial z_j$ are multiplied by $Q$. So
the null of every score follows from the derivatives at hand. Rotations are uniform (Haar), and
always the same ones.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from seams.geometry.conditions import off_diagonal_share
from seams.metrics import distance_to_orthogonality
from seams.shapes import Float

__all__ = [
    "ROTATIONS",
    "c2_in_random_axes",
    "dto_in_random_axes",
    "in_random_axes",
    "random_rotations",
]

_ENTRIES = 2**26  # of turned matrices at once; of ten latents all rotations of 10,000 samples

ROTATIONS = 512
"""Times latents, of which a mean is taken: 256 rotations of two latents, 51 of ten. A rotation of
two scores with a deviation of half of the mean, so that 3 % of it is left; one of ten, which
averages over 45 pairs, with a tenth, so that 1.5 % is."""


@lru_cache(maxsize=64)
def random_rotations(
    latent: int, count: int | None = None
) -> Float[Tensor, "rotation latent latent"]:
    """Uniform orthogonal matrices up to signs, which no score sees; always the same, float64."""
    generator = torch.Generator().manual_seed(0)
    shape = (count or max(ROTATIONS // max(latent, 1), 16), latent, latent)
    return torch.linalg.qr(torch.randn(shape, generator=generator, dtype=torch.float64)).Q


def in_random_axes(
    matrices: Float[Tensor, "batch latent latent"],
    score: Callable[[Tensor], Tensor],
    count: int | None = None,
) -> float:
    r"""Mean over random rotations of a score of $Q^\top M_x Q$, the same $Q$ for all samples."""
    # Matrices are of active latents; the score takes a batch with a leading rotation axis.
    Q = random_rotations(matrices.shape[-1], count).to(matrices).unsqueeze(1)
    together = max(1, _ENTRIES // max(matrices.numel(), 1))
    return (
        torch.cat([score(some.mT @ matrices @ some) for some in Q.split(together)]).mean().item()
    )


@lru_cache(maxsize=64)
def dto_in_random_axes(latent: int) -> float:
    """The distance to orthogonality in random axes, the same for every decoder."""
    # For each V, Q'V is as uniform as Q.
    return distance_to_orthogonality(random_rotations(latent)).mean().item()


def c2_in_random_axes(
    slopes: Float[Tensor, "batch latent latent"],
    s: Float[Tensor, "batch latent"],
    V: Float[Tensor, "batch latent latent"],
) -> Float[Tensor, " batch"]:
    """C2 violation of each sample in the mean over random axes; NaN where a slope is."""
    # A sample is turned by Q = V R with uniform R, which is as uniform: its singular vectors are
    # then R', so that one assignment a rotation serves all samples.
    R = random_rotations(s.shape[-1]).to(slopes).unsqueeze(1)
    return off_diagonal_share(slopes @ V @ R, s, R.mT).mean(0)
