"""Synthetic data of known truth: linear Gaussian, circles in the plane, blobs of light.

Draws are made in float64 on the CPU, then cast to torch's default dtype: a seed names the same
data everywhere, up to rounding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seams.shapes import Float, Int

__all__ = [
    "Blobs",
    "Circles",
    "LinearGaussian",
    "blob_images",
    "blobs",
    "circles",
    "linear_gaussian",
]


@dataclass(frozen=True)
class LinearGaussian:
    r"""Samples $x = U S V^\top z + \epsilon$ of the linear Gaussian model, and what made them.

    Attributes:
        x: Data.
        z: Latents.
        noise: $\epsilon$, in the unit of x.
        U: Left singular vectors of the decoder, as columns.
        s: Its singular values, in the unit of x, in the order given.
        V: Its right singular vectors, as columns.
        sigma: Standard deviation of the noise.
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

    Args:
        n: Number of samples.
        data: Columns m of x.
        singular_values: $s$, one a latent, in the unit of x.
        sigma: Standard deviation of the noise, in the unit of x; may be zero.
        seed: Of latents, noise and, where not given, U.
        U: Left singular vectors, orthonormal columns; uniformly random if None.
        V: Right singular vectors, orthonormal columns; the identity if None.
        exact: Whether sample moments equal those of the model.

    Returns:
        The samples and the truth.

    Raises:
        ValueError: More latents than data columns, a negative `sigma`, or too few samples for
            `exact`.

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


@dataclass(frozen=True)
class Circles:
    """Points on small circles whose centres lie on a large one.

    Attributes:
        x: Points, small circle by small circle; centred.
        circle: Small circle of each point.
        centres: Mean of the points of each small circle.
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
    The paper gives no sizes.

    Args:
        circle_count: Number of small circles, 3 or more.
        points: Points on each, 3 or more.
        outer_radius: Of the circle of centres, in the unit of x.
        inner_radius: Of each small circle, in the unit of x.

    Returns:
        circle_count * points points.

    Raises:
        ValueError: Fewer than 3 circles or points: these do not spread alike in x and y.

    Source: Figure 6, after Rezende and Viola 2018.
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


@dataclass(frozen=True)
class Blobs:
    """Images of one blob, with its position.

    Attributes:
        x: Images, flattened row by row; 1 at a blob's centre.
        factors: Position of the centre, x right and y down, in pixels from the top left corner.
        side: Pixels along an edge of the image.
    """

    x: Float[Tensor, "n data"]
    factors: Float[Tensor, "n 2"]
    side: int


def blobs(
    n: int, side: int = 16, *, ratio: float = 1.0, width: float = 1.5, seed: int = 0
) -> Blobs:
    r"""One Gaussian blob an image, uniform on a rectangle of `ratio` : 1 about the middle.

    Two factors that differ in nothing but their range. At ratio 1 the two leading eigenvalues of
    the data coincide, and linear theory tells no axes from their rotations
    (`seams.linear.rotation_curvature`); the ratio opens the gap between them.

    Args:
        n: Number of images.
        side: Pixels along an edge.
        ratio: Horizontal range over vertical range. The horizontal one stays what the image holds:
            centres keep 2 widths from its edges.
        width: Standard deviation of the blob, in pixels.
        seed: Of the positions.

    Returns:
        Images and positions.

    Raises:
        ValueError: `ratio` below 1, or a blob too wide for the image.

    Source: Ours; the third condition of Corollary 6.1, distinct singular values, as a dial.
    """
    if not ratio >= 1:
        raise ValueError(
            f"`ratio` must be 1 or more; got {ratio}. The horizontal range is the larger one."
        )
    span = side - 4 * width
    if not (width > 0 and span > 0):
        raise ValueError(
            f"`width` must be positive and below a quarter of the side, {side / 4}; got {width}."
        )
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(n, 2, generator=generator, dtype=torch.float64) - 0.5
    factors = side / 2 + span * unit / torch.tensor([1, ratio], dtype=torch.float64)
    dtype = torch.get_default_dtype()
    images = blob_images(factors, side, width)
    return Blobs(images.flatten(1).to(dtype), factors.to(dtype), side)


def blob_images(
    centres: Float[Tensor, "n 2"], side: int, width: float
) -> Float[Tensor, "n side side"]:
    r"""Blobs at given places, $\exp(-\|p - c\|^2 / 2 w^2)$ at pixel centres $p$.

    Entry (row i, column j) is the pixel centred at (j + 1/2, i + 1/2), x right and y down.

    Args:
        centres: $c$, x and y in pixels.
        side: Pixels along an edge.
        width: $w$, in pixels.

    Returns:
        Images between 0 and 1, differentiable in the centres.
    """
    pixel = torch.arange(side, dtype=centres.dtype, device=centres.device) + 0.5
    column, row = (
        torch.exp(-((pixel - centres[:, axis, None]) ** 2) / (2 * width**2)) for axis in (0, 1)
    )
    return row[:, :, None] * column[:, None, :]
