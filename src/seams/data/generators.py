"""Known maps from latents to data that satisfy C1 and C2, one of them, or neither (Theorem 5.2).

A generator is called like a decoder, with one latent `[latent]`, and carries its closed forms.
Scales, radii, s, W and x share one unit; latents have none, angles are in radians. A scale, spread
or radius that is not positive, or a `warp` by which latents would turn back, is a `ValueError`.
By default singular values stay apart over the bulk of a standard normal prior.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seams.shapes import Float

__all__ = [
    "Generator",
    "embedded",
    "linear",
    "polar",
    "product_of_curves",
    "rolled_sheet",
    "rotated",
    "sphere",
    "spherical",
    "twisted",
]


@dataclass(frozen=True)
class Generator:
    """A generative function $g$ with what is known of it in closed form, each of one latent."""

    latent: int
    data: int
    function: Callable[[Tensor], Tensor]  # `[latent]` to `[data]`
    # Of the Jacobian, in the unit of x; where C1 holds, value i is of axis i. None: no simple form
    singular_values: Callable[[Tensor], Tensor] | None
    volume: Callable[[Tensor], Tensor]  # product of the singular values
    # Of the image, in the unit of 1 / x^2: twice the Gaussian curvature if there are two latents.
    scalar_curvature: Callable[[Tensor], Tensor]

    def __call__(self, z: Float[Tensor, " latent"]) -> Float[Tensor, " data"]:
        """Image of one latent, $g(z)$: a point on the manifold."""
        return self.function(z)


def product_of_curves(
    scales: Sequence[float] = (2.0, 1.0), warp: float = 0.3, radius: float = 2.0
) -> Generator:
    r"""Every latent moves along its own plane curve, $g(z) = (c(u_1(z_1)), \dots, c(u_d(z_d)))$.

    The curve is a catenary of unit speed, $c(u) = (a \operatorname{arsinh}(u/a), \sqrt{a^2+u^2} -
    a)$, injective on all of $\mathbb{R}$ and most bent at $u = 0$, where its radius is $a$. Latent
    $i$ has the speed $s_i(z_i) = \text{scale}_i (1 + \text{warp} \tanh z_i)$; |warp| < 1.
    So C1 and C2 hold, m = 2 d, and the image is flat, though curved as seen from outside.

    Returns:
        The generator.
    """
    _check(warp, *scales, radius)

    def function(z: Tensor) -> Tensor:
        u = _warped(z, scales, warp)
        return torch.stack([radius * torch.asinh(u / radius), _sagitta(u, radius)], -1).flatten()

    return _flat(len(scales), 2 * len(scales), function, lambda z: _speeds(z, scales, warp))


def rolled_sheet(
    scales: tuple[float, float] = (2.0, 0.8), warp: float = 0.2, radius: float = 0.5
) -> Generator:
    r"""A sheet rolled up like a Swiss roll, without being stretched; d = 2, m = 3, flat.

    The first latent runs along the roll, the involute of a circle of radius $a$ by arc length,
    $a (\cos t + t \sin t, \sin t - t \cos t)$ with $t = \sqrt{2u/a}$ and $u_1 = \text{scale}_1
    e^{\text{warp}\, z_1} / \text{warp} > 0$; its arms lie $2 \pi a$ apart. The second runs across,
    $u_2$ as in `product_of_curves`. Singular values $\text{scale}_1 e^{\text{warp}\, z_1}$ and
    $\text{scale}_2 (1 + \text{warp} \tanh z_2)$: C1 and C2 hold. `warp` is in (0, 1).

    Returns:
        The generator.
    """
    _check(warp, *scales, radius, warp)

    def function(z: Tensor) -> Tensor:
        t = torch.sqrt(2 * scales[0] * torch.exp(warp * z[0]) / (warp * radius))
        cos, sin = torch.cos(t), torch.sin(t)
        along = [radius * (cos + t * sin), radius * (sin - t * cos)]
        return torch.stack([*along, _warped(z[1], scales[1], warp)])

    def speeds(z: Tensor) -> Tensor:
        return torch.stack([scales[0] * torch.exp(warp * z[0]), _speeds(z[1], scales[1], warp)])

    return _flat(2, 3, function, speeds)


def polar(bend: float = 0.2, scale: float = 2.0) -> Generator:
    r"""Polar coordinates of the plane: C1 holds, and `bend` $= b$ breaks C2; d = m = 2.

    Radius $1/b + z_1$, angle $b\, \text{scale}\, z_2$, shifted so that $g(0) = 0$. The metric is
    $dz_1^2 + \text{scale}^2 (1 + b z_1)^2 dz_2^2$: singular values 1 and $\text{scale}\, |1 + b
    z_1|$, with $\partial s_2 / \partial z_1 = b\, \text{scale}$. At $b = 0$ it is the plane with
    Cartesian coordinates, which satisfies C1-C2. Flat at every $b$: no curvature gives it away.
    Regular and injective for $z_1 > -1/b$ and $|z_2| < \pi / (b\, \text{scale})$.

    Returns:
        The generator.

    Raises:
        ValueError: `bend` is negative or `scale` not positive.
    """
    if bend < 0:
        raise ValueError(f"`bend` must not be negative; got {bend}. Mirror the first latent.")
    _check(0.0, scale)

    def function(z: Tensor) -> Tensor:
        if bend == 0:
            return torch.stack([z[0], scale * z[1]])
        radius, angle = 1 / bend + z[0], bend * scale * z[1]
        return torch.stack([radius * torch.cos(angle) - 1 / bend, radius * torch.sin(angle)])

    def speeds(z: Tensor) -> Tensor:
        return torch.stack([torch.ones_like(z[0]), scale * (1 + bend * z[0]).abs()])

    return _flat(2, 2, function, speeds)


def spherical(radius: float = 8.0, spreads: tuple[float, float] = (0.5, 0.25)) -> Generator:
    r"""Spherical coordinates of space: C1 holds, C2 does not; d = m = 3, flat.

    Radius $r = \text{radius} + z_1$, latitude $a_1 z_2$, longitude $a_2 z_3$, with
    the `spreads` $a$. Singular values $1, a_1 r, a_2 r \cos(a_1 z_2)$.

    Returns:
        The generator.
    """
    _check(0.0, radius, *spreads)
    function = lambda z: (radius + z[0]) * _direction(z[1:], spreads)

    def speeds(z: Tensor) -> Tensor:
        r = radius + z[0]
        around = spreads[1] * (r * torch.cos(spreads[0] * z[1])).abs()
        return torch.stack([torch.ones_like(r), spreads[0] * r.abs(), around])

    return _flat(3, 3, function, speeds)


def sphere(radius: float = 2.0, spreads: tuple[float, float] = (0.5, 0.25)) -> Generator:
    r"""Latitude and longitude of a sphere: C1 holds, C2 cannot, for it is curved; d = 2, m = 3.

    Latitude $a_1 z_1$, longitude $a_2 z_2$, with the `spreads` $a$. Singular values $R a_1$
    and $R a_2 |\cos a_1 z_1|$, Gaussian curvature $1/R^2$: no other latents could satisfy C1-C2.

    Returns:
        The generator.
    """
    _check(0.0, radius, *spreads)
    function = lambda z: radius * _direction(z, spreads)

    def speeds(z: Tensor) -> Tensor:
        around = radius * spreads[1] * torch.cos(spreads[0] * z[0]).abs()
        return torch.stack([torch.full_like(around, radius * spreads[0]), around])

    return _flat(2, 3, function, speeds, curvature=2 / radius**2)


def linear(matrix: Float[Tensor, "data latent"]) -> Generator:
    """The linear generator W z (Eq. 2): C2 always holds, C1 if columns are orthogonal."""
    values = lambda z: torch.linalg.svdvals(matrix.to(z))
    return _flat(matrix.shape[1], matrix.shape[0], lambda z: matrix.to(z) @ z, values)


def rotated(generator: Generator, rotation: Float[Tensor, "latent latent"]) -> Generator:
    r"""The same manifold with its latents turned, $g(R z)$ (Figure 4, left; Remark 6.2).

    Leaves the density of a standard normal prior, U and s as they were, at each point of the
    manifold; V becomes $R^\top V$, which breaks C1 unless R is a signed permutation. C2 breaks
    with it where the singular values are not constant.

    Returns:
        The generator; its closed forms are those of the first at $R z$.

    Raises:
        ValueError: `rotation` is not orthonormal.
    """
    excess = (rotation.mT @ rotation - torch.eye(len(rotation)).to(rotation)).abs().max().item()
    # A rotation in the precision of its dtype is orthonormal to a few eps.
    if excess > 1e3 * torch.finfo(rotation.dtype).eps:
        raise ValueError(
            f"`rotation` must be orthonormal; R'R differs from I by {excess:.1e}. Take the Q of "
            "its QR decomposition."
        )
    return _relabelled(generator, lambda z: rotation.to(z) @ z, generator.singular_values)


def twisted(generator: Generator, strength: float) -> Generator:
    r"""The same manifold with its first two latents turned, the further out the more.

    $g(\phi(z))$, where $\phi$ turns $(z_1, z_2)$ by the angle $\text{strength}\,(z_1^2 + z_2^2)$.
    $\phi$ keeps the standard normal density, so the manifold density is exactly that of
    `generator` at every strength, while C1 and C2 break more and more as it grows from 0.

    Returns:
        The generator; its singular values have no simple form, their product has.

    Raises:
        ValueError: There are fewer than 2 latents.

    Source: Remark 6.8, the unidentifiability of nonlinear ICA.
    """
    if generator.latent < 2:
        raise ValueError(
            f"`twisted` turns a plane and needs 2 latents; got {generator.latent}. Use a "
            "generator with more."
        )

    def twist(z: Tensor) -> Tensor:
        angle = strength * (z[0] ** 2 + z[1] ** 2)
        cos, sin = torch.cos(angle), torch.sin(angle)
        turned = torch.stack([cos * z[0] - sin * z[1], sin * z[0] + cos * z[1]])
        return torch.cat([turned, z[2:]])

    values = generator.singular_values if strength == 0 else None
    return _relabelled(generator, twist, values)


def embedded(generator: Generator, data: int, seed: int = 0) -> Generator:
    """The same manifold in more columns, by a random rigid motion, drawn in float64 on the CPU."""
    if data < generator.data:
        raise ValueError(
            f"`data` must be at least the {generator.data} columns of the generator; got {data}."
        )
    source = torch.Generator().manual_seed(seed)
    normal = torch.randn(data, generator.data, generator=source, dtype=torch.float64)
    Q = torch.linalg.qr(normal)[0]
    return replace(generator, data=data, function=lambda z: Q.to(z) @ generator(z))


def _flat(
    latent: int,
    data: int,
    function: Callable[[Tensor], Tensor],
    singular_values: Callable[[Tensor], Tensor],
    curvature: float = 0.0,
) -> Generator:
    volume = lambda z: singular_values(z).prod()
    scalar_curvature = lambda z: torch.full_like(z[0], curvature)
    return Generator(latent, data, function, singular_values, volume, scalar_curvature)


def _relabelled(
    generator: Generator,
    change: Callable[[Tensor], Tensor],
    values: Callable[[Tensor], Tensor] | None,
) -> Generator:
    # `change` keeps volumes of latents, so volume and curvature are those of the same point.
    return replace(
        generator,
        function=lambda z: generator(change(z)),
        singular_values=None if values is None else lambda z: values(change(z)),
        volume=lambda z: generator.volume(change(z)),
        scalar_curvature=lambda z: generator.scalar_curvature(change(z)),
    )


def _warped(z: Tensor, scales: Sequence[float] | float, warp: float) -> Tensor:
    log_cosh = torch.logaddexp(z, -z) - math.log(2)
    return torch.as_tensor(scales, dtype=z.dtype, device=z.device) * (z + warp * log_cosh)


def _speeds(z: Tensor, scales: Sequence[float] | float, warp: float) -> Tensor:
    scale = torch.as_tensor(scales, dtype=z.dtype, device=z.device)
    return scale * (1 + warp * torch.tanh(z))


def _sagitta(u: Tensor, radius: float) -> Tensor:
    # sqrt(a^2 + u^2) - a, without cancellation near u = 0.
    return u**2 / (torch.sqrt(radius**2 + u**2) + radius)


def _direction(angles: Tensor, spreads: tuple[float, float]) -> Tensor:
    latitude, longitude = spreads[0] * angles[0], spreads[1] * angles[1]
    cos = torch.cos(latitude)
    return torch.stack(
        [cos * torch.cos(longitude), cos * torch.sin(longitude), torch.sin(latitude)]
    )


def _check(warp: float, *positive: float) -> None:
    if not -1 < warp < 1:
        raise ValueError(
            f"`warp` must lie inside (-1, 1), or latents would turn back; got {warp}."
        )
    if not min(positive) > 0:
        raise ValueError(
            f"Scales, spreads and radii must be positive; got {min(positive)}. Flip the sign of a "
            "latent with `rotated`."
        )
