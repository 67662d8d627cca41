r"""Lemma 5.1 and Theorem 5.2 to the letter, and in the reading that makes them hold.

The reading: each $f_i$ of D1 is one function for all $z$, and C2 says that $s_i$ is a function of
$z_i$ alone. To the letter $f_i$ may change from line to line, and C2 may fail on a null set.
"""

import math

import torch
from torch import Tensor
from torch.func import grad, jacfwd, vmap

from seams.data.generators import Generator, rolled_sheet
from seams.derivatives import jacobian, jacobian_svd
from seams.geometry import SingularVectorPath, c1_violation, c2_violation, singular_vector_path
from seams.paper.checks.base import (
    GRID,
    NATS,
    ROUNDING,
    SHARE,
    check,
    curves,
    largest,
    log_normal,
    over_axes,
    points,
    tilted,
    uniform,
)


def literal_mass(path: SingularVectorPath) -> float:
    """Integral over a seam of Eq. 14 as printed, with the i-th coordinate of the latents."""
    density = log_normal(path.z[:, path.index]).exp() / path.singular_value
    return torch.trapezoid(density, path.u).item()


@check(
    "Lemma 5.1, to the letter",
    "Over a seam of a linear map with its latents turned, Eq. 14 as printed has the mass one "
    "over the cosine of the turn, and not 1 (largest difference).",
    ROUNDING,
)
def _lem_5_1_letter(seed: int) -> float:
    g, start = tilted(seed), points(seed)[0]
    V = jacobian_svd(g, start[None])[2][0]
    paths = [singular_vector_path(g, start, i, extent=16.0, points=401) for i in (0, 1)]
    return max(abs(literal_mass(path) - 1 / abs(V[0, 0].item())) for path in paths)


@check(
    "Lemma 5.1, given C1",
    "It has mass 1 where paths are parallel to the axes (largest difference).",
    GRID,
)
def _lem_5_1_axes(seed: int) -> float:
    start = points(seed)[0] / 2
    paths = [singular_vector_path(curves(seed), start, i, extent=9.0, points=401) for i in (0, 1)]
    paths.append(singular_vector_path(rolled_sheet(), start, 0, extent=9.0, points=401))
    return max(abs(literal_mass(path) - 1) for path in paths)


def cycloid(scale: float) -> Generator:
    """C1 without C2, and yet independent `lengths`: one cycloid, shifted; d = m = 2."""
    # With x = -log Phi(-z), t = x_1 + x_2 and cos(phi) = x_1 / t. These x are exponential, so
    # that their sum and ratio are independent (Lukacs 1955); speeds along x are 1 / t and cot(phi
    # / 2) / t, derivatives of a function of the sum and of one of the ratio.

    def function(z: Tensor) -> Tensor:
        t, phi = _polar(z)
        return scale * torch.stack([t.log() + 1 - phi.cos(), phi + phi.sin()])

    def speeds(z: Tensor) -> Tensor:
        t, phi = _polar(z)
        stretch = (log_normal(z) + _exponential(z)).exp()  # dx/dz
        return scale * stretch / t * torch.stack([torch.ones_like(t), 1 / torch.tan(phi / 2)])

    flat = lambda z: torch.zeros_like(z[0])
    return Generator(2, 2, function, speeds, lambda z: speeds(z).prod(), flat)


def lengths(z: Tensor) -> Tensor:
    """Arc lengths of `cycloid(1)` along the images of the axis-parallel lines through z."""
    # The first is 0 where x_1 + x_2 = 1, the second where x_2 = 0, on every line.
    t, phi = _polar(z)
    return torch.stack([t.log(), phi + torch.asinh(torch.tan(phi))])


def _exponential(z: Tensor) -> Tensor:
    return -torch.log(torch.special.erfc(z / math.sqrt(2)) / 2)


def _polar(z: Tensor) -> tuple[Tensor, Tensor]:
    x = _exponential(z)
    return x.sum(), torch.acos(x[0] / x.sum())


def _dependence(z: Tensor) -> Tensor:
    """Mixed second derivative of the log density of the lengths: 0 if they are independent."""

    def log_density(z: Tensor) -> Tensor:
        return log_normal(z).sum() - torch.linalg.det(jacfwd(lengths)(z)).abs().log()

    along = lambda z, i: torch.linalg.inv(jacfwd(lengths)(z))[:, i]
    first = lambda z: grad(log_density)(z) @ along(z, 0)
    return grad(first)(z) @ along(z, 1)


@check(
    "Thm. 5.2, to the letter",
    "A map without C2 satisfies D1 as printed: the densities over the axis-parallel lines through "
    "each point multiply to that on the manifold, and the arc lengths along them are independent "
    "(largest residual).",
    ROUNDING,
)
def _thm_5_2_letter(seed: int) -> float:
    z, g = points(seed), cycloid(1.0)
    J = jacobian(g, z)
    product = (log_normal(z) - J.norm(dim=1).log()).sum(1)
    density = log_normal(z).sum(1) - torch.linalg.det(J).abs().log()
    speeds = vmap(jacfwd(lengths))(z).diagonal(dim1=1, dim2=2)
    return largest(product - density, speeds - J.norm(dim=1), vmap(_dependence)(z))


@check(
    "Thm. 5.2, that map's C2",
    "C2 fails for that map (mean share of the singular values' slopes that lie along the other "
    "latent).",
    SHARE,
    above=True,
)
def _thm_5_2_letter_c2(seed: int) -> float:
    z = points(seed)
    assert c1_violation(cycloid(1.0), z).max() < ROUNDING
    return c2_violation(cycloid(1.0), z).mean().item()


@check(
    "Thm. 5.2, one function a factor",
    "It does not satisfy D1 if each factor is one function for all z (largest log ratio).",
    NATS,
    above=True,
    unit="nats",
)
def _thm_5_2_strict(seed: int) -> float:
    return over_axes(cycloid(1 + uniform(seed, 1).item()), seed)


def creased(ratio: float) -> Generator:
    """Linear on both sides of $z_1 = z_2$, with orthogonal columns of lengths 1, r and r, 1."""
    # The plane is cut along that line, and the half beyond it turned until both fit again.
    turn = math.atan2(ratio, 1) - math.atan2(1, ratio)
    cos, sin = math.cos(turn), math.sin(turn)
    bend = torch.tensor([ratio * cos - 1, ratio * sin], dtype=torch.float64)
    wide = torch.tensor([1.0, ratio], dtype=torch.float64)
    function = lambda z: wide * z - bend * torch.relu(z[1] - z[0])
    volume = lambda z: torch.full_like(z[0], ratio)
    return Generator(2, 2, function, None, volume, lambda z: torch.zeros_like(z[0]))


@check(
    "Thm. 5.2, a crease",
    "A network with one ReLU, injective, C1 and C2 almost everywhere, is not disentangled "
    "(largest log ratio).",
    NATS,
    above=True,
    unit="nats",
)
def _thm_5_2_crease(seed: int) -> float:
    g = creased(1.5 + uniform(seed, 1).item())
    z = points(seed)
    broken = largest(c1_violation(g, z), c2_violation(g, z))
    return over_axes(g, seed) if broken < ROUNDING else math.nan


CHECKS = (
    _lem_5_1_letter, _lem_5_1_axes, _thm_5_2_letter, _thm_5_2_letter_c2, _thm_5_2_strict,
    _thm_5_2_crease,
)  # fmt: skip
