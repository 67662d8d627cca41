"""Decoders whose derivatives are known, and slow ways to differentiate any other."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seams.derivatives.mapping import load_forward_rules

load_forward_rules()  # tests use torch.func directly too, and its first warning would be an error

# Central differences trade truncation (step squared) against rounding (eps over step).
STEP = torch.finfo(torch.float64).eps ** (1 / 3)


def conditioned(rows: int, columns: int) -> Tensor:
    """A Gaussian matrix of condition number below 1e3, so that tight tolerances are honest."""
    while True:
        matrix = torch.randn(rows, columns)
        if torch.linalg.cond(matrix) < 1e3:
            return matrix


def quadratic(centre: Tensor, J: Tensor, H: Tensor) -> Callable[[Tensor], Tensor]:
    """Decoder with Jacobian `J` at `centre` and the constant Hessians `H` [data, latent, latent].

    At any z the Jacobian is J + H (z - centre).
    """
    offset = torch.linspace(-1, 1, len(J))
    shift = lambda z: z - centre
    return lambda z: (
        offset + J @ shift(z) + 0.5 * torch.einsum("kij,i,j->k", H, shift(z), shift(z))
    )


def symmetric(data: int, latent: int) -> Tensor:
    H = torch.randn(data, latent, latent)
    return (H + H.mT) / 2


def mlp(
    latent: int, data: int, activation: type[nn.Module] = nn.SiLU, hidden: int = 16
) -> nn.Module:
    return nn.Sequential(
        nn.Linear(latent, hidden),
        activation(),
        nn.Linear(hidden, hidden),
        activation(),
        nn.Linear(hidden, data),
    ).requires_grad_(False)


def deconvolution(latent: int) -> nn.Module:
    """An 8 x 8 image decoder with the layers of the paper's, 128 times smaller."""
    return nn.Sequential(
        nn.Linear(latent, 16),
        nn.SiLU(),
        nn.Unflatten(-1, (4, 2, 2)),
        nn.ConvTranspose2d(4, 4, 4, 2, 1),
        nn.SiLU(),
        nn.ConvTranspose2d(4, 1, 4, 2, 1),
        nn.Flatten(-3),
    ).requires_grad_(False)


def central_differences(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Derivative of `function` [latent] -> [...] at one z, along a new last axis."""
    columns = []
    for axis in torch.eye(len(z)):
        h = STEP * max(1.0, z.abs().max().item()) * axis
        columns.append((function(z + h) - function(z - h)) / (2 * h.norm()))
    return torch.stack(columns, -1)
