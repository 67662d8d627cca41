"""Derivatives of a decoder at one latent, plain, so that others can compose and map them.

Those that `seams.derivatives` offers take a batch and return no graph.
"""

from functools import partial

from torch import Tensor
from torch.func import grad, jacfwd

from seams.derivatives.mapping import Decoder

__all__ = [
    "component",
    "directed_hessian",
    "gram",
    "gram_and_hessian",
    "jacobian",
    "log_likelihood",
]


def jacobian(decoder: Decoder, z: Tensor) -> Tensor:
    """$J_z$, from one forward pass a latent."""
    return jacfwd(decoder)(z)


def gram(decoder: Decoder, z: Tensor) -> Tensor:
    r"""$J_z^\top J_z$."""
    J = jacobian(decoder, z)
    return J.mT @ J


def directed_hessian(decoder: Decoder, z: Tensor, x: Tensor) -> Tensor:
    r"""$(x - d(z))^\top H_z$."""
    r = x - decoder(z)  # outside the function that is differentiated: held constant
    return jacfwd(grad(partial(component, decoder, r)))(z)


def gram_and_hessian(decoder: Decoder, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""$J_z^\top J_z$ and $(x - d(z))^\top H_z$, from one pass."""
    r = x - decoder(z)

    def along(z: Tensor) -> tuple[Tensor, Tensor]:
        mean = decoder(z)
        return r @ mean, mean

    H, J = jacfwd(grad(along, has_aux=True))(z)
    return J.mT @ J, H


def component(decoder: Decoder, direction: Tensor, z: Tensor) -> Tensor:
    """The mean along a direction of data space, a scalar."""
    return direction @ decoder(z)


def log_likelihood(decoder: Decoder, sigma: float, z: Tensor, x: Tensor) -> Tensor:
    """Of a Gaussian of mean $d(z)$, but for a constant, which no derivative sees."""
    return -0.5 * (x - decoder(z)).square().sum() / sigma**2
