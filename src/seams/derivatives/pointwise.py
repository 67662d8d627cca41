"""Derivatives of a decoder at one latent, plain, so that others can compose and map them."""

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.func import grad, jacfwd

from seams.derivatives.mapping import Decoder

__all__ = [
    "Slope",
    "component",
    "directed_hessian",
    "gram",
    "gram_and_hessian",
    "jacobian",
    "likelihood_terms",
    "log_likelihood",
]

Slope = Callable[[Tensor, Tensor], Tensor]  # output and datum -> d log p / d output


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
    return likelihood_terms(decoder, lambda mean, x: x - mean, z, x)


def likelihood_terms(output: Decoder, slope: Slope, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Both terms of Eq. 6, $G$ and $H$ of $\nabla_z^2 \log p(x|z) = -(G - H)$, from one pass."""
    # With the slope r at the output a(z): G = -J' dr/dz, and H = r' d2a/dz2, with r held constant.
    # Of a Gaussian of unit variance r is the residual x - a, and G = J'J.
    r = slope(output(z), x)

    def along(z: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        a = output(z)
        return r @ a, (a, slope(a, x))

    # Forward over reverse has the Jacobian on its way: less work than two calls.
    H, (J, pulled) = jacfwd(grad(along, has_aux=True))(z)
    return -(J.mT @ pulled), H


def component(decoder: Decoder, direction: Tensor, z: Tensor) -> Tensor:
    """The mean along a direction of data space, a scalar."""
    return direction @ decoder(z)


def log_likelihood(decoder: Decoder, sigma: float, z: Tensor, x: Tensor) -> Tensor:
    """Of a Gaussian of mean $d(z)$, but for a constant, which no derivative sees."""
    return -0.5 * (x - decoder(z)).square().sum() / sigma**2
