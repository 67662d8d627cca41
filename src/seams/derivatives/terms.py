"""First and second derivatives of a decoder: the two terms of Eq. 6, without its factors."""

from functools import partial

from torch import Tensor
from torch.func import grad, jacfwd

from seams.derivatives import pointwise
from seams.derivatives.checks import decoder_fault, finite, sign_fault
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
    r"""Jacobian of the decoder, $J_z = \partial d / \partial z$, from one JVP a latent.

    Entry $(k, j)$ is $\partial d_k / \partial z_j$.

    Args:
        decoder: One latent to one mean, without a batch axis.
        z: Points of differentiation; dimensionless, since the prior is standard normal.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        One Jacobian per sample, in the unit of $x$.

    Raises:
        ValueError: The decoder's output is not one row per latent, or depends on the batch; the
            batch is empty, or a result not finite.

    Source: Section 2, notation.
    """
    if fault := decoder_fault(decoder, z):
        raise ValueError(fault)
    J = over_batch(partial(pointwise.jacobian, decoder), z, chunk_size=chunk_size)
    return finite("jacobian", J)


def jacobian_gram(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> Float[Tensor, "batch latent latent"]:
    r"""Gram matrix of the Jacobian's columns, $J_z^\top J_z$: the metric pulled back to latents.

    Entry $(i, j)$ is $\sum_k (\partial d_k / \partial z_i)(\partial d_k / \partial z_j)$. Not
    included: the factor $1/(\beta\sigma^2)$ of Eq. 6.

    Args:
        decoder: One latent to one mean, without a batch axis.
        z: Points of differentiation; dimensionless.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        One positive semi-definite matrix per sample, in the unit of $x^2$.

    Raises:
        ValueError: The decoder's output is not one row per latent, or depends on the batch; the
            batch is empty, or a result not finite.

    Source: Eq. 6, first term, without factor.
    """
    if fault := decoder_fault(decoder, z):
        raise ValueError(fault)
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
    $r = x - d(z)$ held constant: the Hessian of the scalar $z \mapsto r \cdot d(z)$, from one
    Hessian-vector product a latent. Zero almost everywhere if the decoder is piecewise linear, as
    with ReLU; see `optimal_precision_one_derivative`.

    Args:
        decoder: One latent to one mean, without a batch axis.
        z: Points of differentiation; dimensionless.
        x: Data, in the unit of the decoder's output.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        One symmetric matrix per sample, in the unit of $x^2$.

    Raises:
        ValueError: The decoder's output and a row of `x` differ in size, or the output is not one
            row per latent, or depends on the batch; the batch is empty, or a result not finite.

    Source: Eq. 6, second term, without sign and factor.
    """
    if fault := decoder_fault(decoder, z, x):
        raise ValueError(fault)
    H = over_batch(partial(pointwise.directed_hessian, decoder), z, x, chunk_size=chunk_size)
    return finite("directed_hessian", H)


def gram_and_hessian(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    x: Float[Tensor, "batch data"],
    *,
    chunk_size: int | None = None,
) -> tuple[Float[Tensor, "batch latent latent"], Float[Tensor, "batch latent latent"]]:
    r"""Both derivative terms of Eq. 6 at once, $J_z^\top J_z$ and $(x - d(z))^\top H_z$.

    As `jacobian_gram` and `directed_hessian`; the columns of $J$ are on the way to the products
    with $H$, so that the first term costs next to nothing. May be mapped over a stack of decoders
    by `torch.func.vmap`.

    Args:
        decoder: One latent to one mean, without a batch axis. Not checked, nor is the result.
        z: Points of differentiation; dimensionless.
        x: Data, in the unit of the decoder's output.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        Two matrices per sample, each in the unit of $x^2$.

    Source: Eq. 6, without sign and factors.
    """
    return over_batch(partial(pointwise.gram_and_hessian, decoder), z, x, chunk_size=chunk_size)


def log_likelihood_hessian(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    x: Float[Tensor, "batch data"],
    *,
    sigma: float = 1.0,
    chunk_size: int | None = None,
) -> Float[Tensor, "batch latent latent"]:
    r"""Hessian of the Gaussian log-likelihood, $L_z(x) = \nabla_z^2 \log N(x; d(z), \sigma^2 I)$.

    Entry $(i, j)$ is $\partial^2 \log p(x|z) / \partial z_i \partial z_j$, the residual varying
    with $z$. Equals $-(J^\top J - (x - d(z))^\top H) / \sigma^2$ but is computed as one Hessian,
    which makes each side a check of the other.

    Args:
        decoder: One latent to one mean, without a batch axis.
        z: Points of differentiation; dimensionless.
        x: Data, in the unit of the decoder's output.
        sigma: Standard deviation of the likelihood, in the unit of x.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        One symmetric matrix per sample; dimensionless.

    Raises:
        ValueError: `sigma` is not positive; the decoder's output and a row of `x` differ in size,
            or the output is not one row per latent, or depends on the batch; the batch is empty,
            or a result not finite.

    Source: Eq. 6, first form.
    """
    if fault := sign_fault(sigma=sigma) or decoder_fault(decoder, z, x):
        raise ValueError(fault)

    hessian = jacfwd(grad(partial(pointwise.log_likelihood, decoder, sigma)))
    return finite("log_likelihood_hessian", over_batch(hessian, z, x, chunk_size=chunk_size))
