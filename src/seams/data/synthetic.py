"""Synthetic data of known truth: linear Gaussian, a curved sheet, circles, coins, blobs of light.

Draws are made in float64 on the CPU, then cast to torch's default dtype: a seed names the same
data everywhere, up to rounding.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seams.data.generators import Generator, rolled_sheet
from seams.shapes import Float, Int

__all__ = [
    "Circles",
    "LinearGaussian",
    "Sheet",
    "blob_images",
    "circles",
    "coins",
    "linear",
    "linear_gaussian",
    "sheet",
    "square",
]


@dataclass(frozen=True)
class LinearGaussian:
    r"""Samples $x = U S V^\top z + \epsilon$ of the linear Gaussian model, and what made them.

    U and V hold the singular vectors of the decoder as columns, s its singular values in the order
    given; sigma is the standard deviation of the noise $\epsilon$. Unit of x, but for z, U and V.
    """

    x: Float[Tensor, "n data"]
    z: Float[Tensor, "n latent"]
    noise: Float[Tensor, "n data"]
    U: Float[Tensor, "data latent"]
    s: Float[Tensor, " latent"]
    V: Float[Tensor, "latent latent"]
    sigma: float

    @property
    def decoder(self) -> Float[Tensor, "data latent"]:
        r"""The true decoder $W = U S V^\top$."""
        return (self.U * self.s) @ self.V.mT


def linear_gaussian(
    n: int,
    data: int,
    singular_values: Sequence[float],
    *,
    sigma: float,
    seed: int,
    U: Float[Tensor, "data latent"] | None = None,
    V: Float[Tensor, "latent latent"] | None = None,
    exact: bool = False,
) -> LinearGaussian:
    r"""Samples $x = U S V^\top z + \epsilon$, with $z$ and $\epsilon / \sigma$ standard normal.

    With `exact`, latents and noise are centred and whitened together, so that the second moment of
    this very sample is $U S^2 U^\top + \sigma^2 I$: the truth is then also the optimum on the
    sample, and what a model misses is not sampling error. Whitening is symmetric, the smallest
    change that does it; the samples are no longer independent.

    Returns:
        n samples and the truth: U is uniformly random if not given, V the identity.

    Raises:
        ValueError: More latents than data columns, a negative `sigma`, or too few for `exact`.

    Source: Eq. 2; the data of Figure 2, of which the paper gives no numbers.
    """
    latent = len(singular_values)
    if not 0 < latent <= data:
        raise ValueError(
            f"`singular_values` must be 1 to {data} values, the columns of x; got {latent}."
        )
    if not sigma >= 0:
        raise ValueError(f"`sigma` must be zero or more; got {sigma}.")
    if exact and n <= data + latent:
        raise ValueError(
            f"`exact` needs more samples than data and latent columns, {data + latent}; got {n}."
        )
    generator = torch.Generator().manual_seed(seed)
    frame = torch.randn(data, latent, generator=generator, dtype=torch.float64)
    draws = torch.randn(n, latent + data, generator=generator, dtype=torch.float64)
    if exact:
        draws = _whiten(draws)
    s = torch.tensor(singular_values, dtype=torch.float64)
    U = torch.linalg.qr(frame).Q if U is None else U.double()
    V = torch.eye(latent, dtype=torch.float64) if V is None else V.double()
    z, noise = draws[:, :latent], sigma * draws[:, latent:]
    x = (z @ V * s) @ U.mT + noise
    dtype = torch.get_default_dtype()
    x, z, noise, U, s, V = (t.to(dtype) for t in (x, z, noise, U, s, V))
    return LinearGaussian(x, z, noise, U, s, V, sigma)


def _whiten(draws: Tensor) -> Tensor:
    """Nearest sample with mean zero and second moment I, in the Frobenius norm."""
    centred = draws - draws.mean(0)
    left, _, right = torch.linalg.svd(centred, full_matrices=False)
    return math.sqrt(len(draws)) * (left @ right)


def linear() -> LinearGaussian:
    """The linear Gaussian data of Figure 2, for which the paper states no sizes: ours, `exact`."""
    return linear_gaussian(4096, 10, (3.0, 2.0, 1.0), sigma=1.0, seed=0, exact=True)


@dataclass(frozen=True)
class Sheet:
    """Noisy points on a curved sheet in space, and what made them.

    `generator` takes one of the standard normal latents z to its place on the sheet; sigma is the
    standard deviation of the noise.
    """

    x: Float[Tensor, "n 3"]
    z: Float[Tensor, "n 2"]
    generator: Generator
    sigma: float


def sheet() -> Sheet:
    """The curved manifold of Figures 1, 3 and 4: two latents in three dimensions, C1 and C2 hold.

    A strip that bends by 100 degrees within 2.3 standard deviations of the prior. Along it the
    singular value is exp(0.2 z_1), across it 0.45 (1 + 0.2 tanh z_2): the first is the larger at
    all points but 4, so that the seams are defined, and they change enough for densities over
    seams that are not normal. The paper draws such a manifold and states none.

    Returns:
        16,384 samples with what made them, and noise of standard deviation 0.1.
    """
    generator, sigma = rolled_sheet((1.0, 0.45), warp=0.2, radius=0.7), 0.1
    draws = torch.Generator().manual_seed(0)
    z, noise = (torch.randn(16_384, size, generator=draws, dtype=torch.float64) for size in (2, 3))
    x = torch.vmap(generator)(z) + sigma * noise
    dtype = torch.get_default_dtype()
    return Sheet(x.to(dtype), z.to(dtype), generator, sigma)


@dataclass(frozen=True)
class Circles:
    """Points on small circles whose centres lie on a large one.

    Points x come small circle by small circle, and are centred; `circle` says on which each lies.
    """

    x: Float[Tensor, "n 2"]
    circle: Int[Tensor, " n"]
    centres: Float[Tensor, "circle 2"]


def circles(
    circle_count: int = 4,
    points: int = 8,
    *,
    outer_radius: float = 10.5,
    inner_radius: float = 2.3,
) -> Circles:
    r"""Equally spaced points on small circles, equally spaced on a large one; nothing is random.

    Each small circle's mean is its centre, and the mean of all is the origin: the two levels at
    which reconstructions merge as $\beta$ grows. Either coordinate has variance (outer_radius^2 +
    inner_radius^2) / 2, of which inner_radius^2 / 2 lies within a small circle. By default these
    are 57.8 and 2.6: with $\sigma = 1$ the values of $\beta$ in Figure 6 (0.55, 2.2, 3.8, 60) lie
    below, between and above them. Circles much closer than these merge before their points do.

    Returns:
        circle_count * points points.

    Raises:
        ValueError: Fewer than 3 circles or points: these do not spread alike in x and y.

    Source: Figure 6, after Rezende and Viola 2018; the paper gives no sizes.
    """
    if min(circle_count, points) < 3:
        raise ValueError(
            f"`circle_count` and `points` must be 3 or more; got {circle_count} and {points}."
        )
    centres = outer_radius * _unit_circle(circle_count)
    x = centres[:, None] + inner_radius * _unit_circle(points)
    circle = torch.arange(circle_count).repeat_interleave(points)
    dtype = torch.get_default_dtype()
    return Circles(x.flatten(0, 1).to(dtype), circle, centres.to(dtype))


def _unit_circle(points: int) -> Tensor:
    angle = 2 * math.pi * torch.arange(points, dtype=torch.float64) / points
    return torch.stack([angle.cos(), angle.sin()], -1)


def coins() -> Float[Tensor, "n 4"]:
    """Four fair coins, every pattern once: data that need no latent (Appendix B)."""
    sides = torch.tensor([0.0, 1.0], dtype=torch.get_default_dtype())
    return torch.cartesian_prod(*[sides] * 4)


def blob_images(
    centres: Float[Tensor, "n 2"], side: int, width: float
) -> Float[Tensor, "n side side"]:
    r"""Blobs $\exp(-\|p - c\|^2 / 2 w^2)$, where row i, column j is at p = (j + 1/2, i + 1/2)."""
    pixel = torch.arange(side, dtype=centres.dtype, device=centres.device) + 0.5
    column, row = (
        torch.exp(-((pixel - centres[:, axis, None]) ** 2) / (2 * width**2)) for axis in (0, 1)
    )
    return row[:, :, None] * column[:, None, :]


def square(kind: str) -> tuple[Float[Tensor, "n data"], Float[Tensor, "n 2"]]:
    """50,000 points of the unit square mapped to space, and their places in it; fixed draws.

    Args:
        kind: "matrix", by a random one, [3, 2]; "network", by a random one of 2, 10 (tanh) and 6
            units; all entries standard normal. Or a number, by which the first side is longer.

    Returns:
        Points and places.

    Raises:
        ValueError: Another kind.

    Source: Rolinek et al. 2019, synthetic tasks, where the maps are not printed.
    """
    draws = torch.Generator().manual_seed(0)
    y = torch.rand(50_000, 2, generator=draws, dtype=torch.float64)
    normal = lambda *shape: torch.randn(*shape, generator=draws, dtype=torch.float64)
    if kind == "matrix":
        return y @ normal(2, 3), y
    if kind == "network":
        return torch.tanh(y @ normal(2, 10) + normal(10)) @ normal(10, 6) + normal(6), y
    if not re.fullmatch(r"\d+(\.\d+)?", kind):
        raise ValueError(f"A square is 'matrix', 'network' or a number such as 1.2; got {kind!r}.")
    return torch.nn.functional.pad(y * y.new_tensor([float(kind), 1]), (0, 1)), y
