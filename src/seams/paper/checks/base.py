"""What a check is, what its thresholds mean, and the random maps that checks are made on."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seams.data import generators
from seams.data.generators import Generator
from seams.derivatives import jacobian

# ROUNDING: float64 less eight digits, for condition numbers of 1e3 and sums. DIRECTIONS: of
# eigenvectors of second derivatives of a log-determinant, over a gap of 0.05 or more. GRID: of
# differences and triangles, second order in a mesh of 0.03. OPTIMUM: of an optimiser stopped by
# its own tolerance, whose flattest direction is a rotation. A failure counts from NATS, which a
# plot of densities would show; from COST, below the least that Eq. S2 gives for the angles and
# eigenvalues drawn; from SHARE, the cosine three degrees from a right angle; or from 0.
ROUNDING, DIRECTIONS, GRID, OPTIMUM = 1e-8, 1e-6, 0.01, 0.01
NATS, COST, SHARE = 0.1, 0.005, 0.05

SIGMA = 0.5
GAP = 0.05  # relative, of eigenvalues below which directions are not compared


@dataclass(frozen=True)
class Check:
    """One claim of the notebook."""

    id: str
    name: str  # for a figure
    statement: str  # what is claimed, and what the number is
    measure: Callable[[int], float]  # from a seed to the number
    threshold: float
    above: bool = False  # whether the number is claimed to lie above, or below
    unit: str = ""  # of the number


def check(
    name: str, statement: str, threshold: float, above: bool = False, unit: str = ""
) -> Callable[[Callable[[int], float]], Check]:
    """Make a check of the function below it; its id is the function's name."""
    make = lambda f: Check(f.__name__.lstrip("_"), name, statement, f, threshold, above, unit)
    return make


def uniform(seed: int, *shape: int) -> Tensor:
    """Numbers in 0..1 that belong to a seed."""
    source = torch.Generator().manual_seed(7919 * seed + 12345)
    return torch.rand(*shape, generator=source, dtype=torch.float64)


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers that belong to a seed."""
    source = torch.Generator().manual_seed(7919 * seed + 12345)
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def points(seed: int, count: int = 64) -> Tensor:
    """Latents `[count, 2]` where all maps below are regular and keep their order of values."""
    return normal(seed + 1000, count, 2).clamp(-1.5, 1.5)


def curves(seed: int) -> Generator:
    """C1 and C2: a product of two curves."""
    u = uniform(seed, 3)
    scales = (2.2 + 0.4 * u[0].item(), 0.8 + 0.2 * u[1].item())
    return generators.product_of_curves(scales, warp=0.1 + 0.2 * u[2].item())


def polar(seed: int) -> Generator:
    """C1 without C2: polar coordinates."""
    return generators.polar(bend=0.15 + 0.1 * uniform(seed, 1).item())


def turn(degrees: float) -> Tensor:
    """Rotation of the plane."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, s], [-s, c]], dtype=torch.float64)


def angle(seed: int) -> float:
    """Between 20 and 45 degrees."""
    return 20 + 25 * uniform(seed, 1).item()


def tilted(seed: int) -> Generator:
    """C2 without C1: a linear map with its latents turned."""
    W = torch.linalg.qr(normal(seed, 4, 2)).Q * torch.tensor([2.5, 1.0], dtype=torch.float64)
    return generators.rotated(generators.linear(W), turn(angle(seed)))


def _strength(seed: int) -> float:
    return 0.1 + 0.1 * uniform(seed + 7, 1).item()


def twisted(seed: int) -> Generator:
    """Neither C1 nor C2, with the manifold density of `curves`."""
    return generators.twisted(curves(seed), _strength(seed))


def untwist(seed: int, z: Tensor) -> Tensor:
    """Latents of `curves` at the same points of the manifold."""
    angle = _strength(seed) * z.square().sum(1)
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * z[:, 0] - s * z[:, 1], s * z[:, 0] + c * z[:, 1]], 1)


def warp(w: Tensor) -> Tensor:
    """An increasing map of one number."""
    return w + 0.3 * torch.tanh(w)


def warped_prior(w: Tensor) -> Tensor:
    """Log density of w, axis by axis, if `warp(w)` is standard normal."""
    return log_normal(warp(w)) + (1 + 0.3 * (1 - torch.tanh(w) ** 2)).log()


def log_normal(z: Tensor) -> Tensor:
    """Log density of the standard normal law."""
    return -0.5 * (z.square() + math.log(2 * math.pi))


def any_map(seed: int) -> Generator:
    """One of the four maps above."""
    return (curves, polar, tilted, twisted)[seed % 4](seed)


def largest(*residuals: Tensor) -> float:
    """Largest absolute entry of all."""
    return max(residual.abs().max().item() for residual in residuals)


def over_axes(g: Generator, seed: int) -> float:
    """Largest log ratio of the densities over the images of the axes to that of the manifold."""
    z = points(seed)
    over = torch.zeros(len(z), dtype=z.dtype)
    for i, axis in enumerate(torch.eye(2, dtype=z.dtype)):
        speed = jacobian(g, z[:, i : i + 1] * axis)[:, :, i].norm(dim=1)
        over += log_normal(z[:, i]) - speed.log()
    density = log_normal(z).sum(1) - torch.vmap(g.volume)(z).log()
    return largest(over - density)
