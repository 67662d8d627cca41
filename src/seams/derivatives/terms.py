"""First and second derivatives of a decoder: the two terms of Eq. 6, without its factors."""

from functools import partial

from torch import Tensor
from torch.func import grad, jacfwd

from seams.derivatives import pointwise
from seams.derivatives.checks import finite, require
from seams.derivatives.mapping import Decoder, over_batch
from seams.shapes import Float

__all__ = [
    "directed_hessian",
    "gram_and_hessian",
    "jacobian",
    "jacobian_gram",
    "log_likelihood_hessian",
]


def jacobian(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> Float[Tensor, "batch data latent"]:
    r"""Jacobian of the decoder, $[J_z]_{kj} = \partial d_k / \partial z_j$, from one JVP a latent.

    Returns:
        One Jacobian per sample, in the unit of $x$.

    Source: Section 2, notation.
    """
    require(decoder, z)
    J = over_batch(partial(pointwise.jacobian, decoder), z, chunk_size=chunk_size)
    return finite("jacobian", J)


def jacobian_gram(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> Float[Tensor, "batch latent latent"]:
    r"""Gram matrix of the Jacobian's columns, $J_z^\top J_z$: the metric pulled back to latents.

    Returns:
        One positive semi-definite matrix per sample, in the unit of $x^2$.

    Source: Eq. 6, first term, without the factor $1/(\beta\sigma^2)$.
    """
    require(decoder, z)
    gram = over_batch(partial(pointwise.gram, decoder), z, chunk_size=chunk_size)
    return finite("jacobian_gram", gram)


def directed_hessian(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    x: Float[Tensor, "batch data"],
    *,
    chunk_size: int | None = None,
) -> Float[Tensor, "batch latent latent"]:
    r"""Second derivative of the decoder along its residual, $(x - d(z))^\top H_z$.

    Entry $(i, j)$ is $\sum_k r_k\, \partial^2 d_k / \partial z_i \partial z_j$, with the residual
    $r = x - d(z)$ held constant. Zero almost everywhere if the decoder is piecewise linear, as
    with ReLU; see `optimal_precision_one_derivative`.

    Returns:
        One symmetric matrix per sample, in the unit of $x^2$.

    Source: Eq. 6, second term, without sign and factor.
    """
    require(decoder, z, x)
    H = over_batch(partial(pointwise.directed_hessian, decoder), z, x, chunk_size=chunk_size)
    return finite("directed_hessian", H)


def gram_and_hessian(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    x: Float[Tensor, "batch data"],
    *,
    chunk_size: int | None = None,
) -> tuple[Float[Tensor, "batch latent latent"], Float[Tensor, "batch latent latent"]]:
    """Both derivative terms of Eq. 6 from one pass, unchecked, so that `vmap` may map decoders."""
    # As `jacobian_gram` and `directed_hessian`: the columns of J are on the way to the products
    # with H, so that the first term costs next to nothing.
    return over_batch(partial(pointwise.gram_and_hessian, decoder), z, x, chunk_size=chunk_size)


def log_likelihood_hessian(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    x: Float[Tensor, "batch data"],
    *,
    sigma: float = 1.0,
    chunk_size: int | None = None,
) -> Float[Tensor, "batch latent latent"]:
    r"""Hessian of the Gaussian log-likelihood, $\nabla_z^2 \log N(x; d(z), \sigma^2 I)$."""
    # The residual varies with z. Equals -(J'J - (x - d(z))' H) / sigma^2 (Eq. 6, first form) but
    # is computed as one Hessian, which makes each side a check of the other. `sigma` is in the
    # unit of x.
    require(decoder, z, x, sigma=sigma)
    hessian = jacfwd(grad(partial(pointwise.log_likelihood, decoder, sigma)))
    return finite("log_likelihood_hessian", over_batch(hessian, z, x, chunk_size=chunk_size))
