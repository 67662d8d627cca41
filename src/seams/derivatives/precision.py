"""The right side of Eq. 6, in the mean over a posterior, with its Monte Carlo error."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import grad

from seams.derivatives import pointwise
from seams.derivatives.checks import decoder_fault, sign_fault
from seams.derivatives.mapping import Decoder, over_batch
from seams.shapes import Float

__all__ = ["Precision", "optimal_precision", "optimal_precision_one_derivative"]


@dataclass(frozen=True)
class Precision:
    r"""Right side of Eq. 6 and its two terms, with Monte Carlo standard errors.

    The precision of a sample is $I + (G - H) / (\beta\sigma^2)$, with `gram` $G$ and `hessian` $H$
    in the squared unit of x. Its error comes from the draws of the difference, not from the two
    errors: both terms use the same draws and are correlated.

    Attributes:
        gram: $E_q[J^\top J]$.
        hessian: $E_q[(x - d(z))^\top H]$; enters with a minus.
        precision: $\Sigma_x^{-1}$ at the optimum; dimensionless.
        gram_error: Standard error of each entry of `gram`.
        hessian_error: Standard error of each entry of `hessian`.
        precision_error: Standard error of each entry of `precision`.
    """

    gram: Float[Tensor, "batch latent latent"]
    hessian: Float[Tensor, "batch latent latent"]
    precision: Float[Tensor, "batch latent latent"]
    gram_error: Float[Tensor, "batch latent latent"]
    hessian_error: Float[Tensor, "batch latent latent"]
    precision_error: Float[Tensor, "batch latent latent"]


def optimal_precision(
    decoder: Decoder,
    mean: Float[Tensor, "batch latent"],
    scale_tril: Float[Tensor, "batch latent latent"],
    x: Float[Tensor, "batch data"],
    *,
    beta: float = 1.0,
    sigma: float = 1.0,
    draws: int = 256,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Precision:
    r"""Right side of Eq. 6, $I + E_q[J^\top J - (x - d(z))^\top H] / (\beta\sigma^2)$.

    The expectation is the mean over draws $z = \mu + L\epsilon$ of $q = N(\mu, L L^\top)$; both
    terms use the same draws. At the optimum of the ELBO it is the inverse of the posterior
    covariance: in every entry if that is full, in the diagonal if that is diagonal. Exact for any
    number of draws if the decoder is linear. With ReLU the second term is zero and Eq. 6 does not
    close; see `optimal_precision_one_derivative`.

    Args:
        decoder: One latent to one mean, without a batch axis.
        mean: Posterior means $\mu$; dimensionless.
        scale_tril: Lower Cholesky factors $L$ of the posterior covariances; dimensionless. For a
            diagonal posterior, `torch.diag_embed` of its standard deviations.
        x: Data that the posteriors belong to, in the unit of the decoder's output.
        beta: Weight of the KL term in the ELBO.
        sigma: Standard deviation of the likelihood, in the unit of x.
        draws: Posterior draws per sample, at least 2.
        generator: Source of the draws; default is torch's own.
        chunk_size: Draws differentiated at once, over all samples; bounds the memory.

    Returns:
        The precision, its two terms and their standard errors.

    Raises:
        ValueError: `beta` or `sigma` is not positive, or `draws` is below 2; the decoder's output
            and a row of `x` differ in size, or it is not one row per latent or depends on the
            batch.

    Source: Eq. 6, right; Appendix B for beta.
    """
    fault = sign_fault(beta=beta, sigma=sigma) or _draws_fault(draws)
    if fault := fault or decoder_fault(decoder, mean, x):
        raise ValueError(fault)
    z = mean + _noise(scale_tril, draws, generator)[0]

    def terms(z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return pointwise.gram(decoder, z), pointwise.directed_hessian(decoder, z, x)

    # One flat axis of draws and samples, so that `chunk_size` cuts across both.
    stacked = x.expand(draws, *x.shape).flatten(0, 1)
    flat = over_batch(terms, z.flatten(0, 1), stacked, chunk_size=chunk_size)
    gram, hessian = (term.unflatten(0, (draws, -1)) for term in flat)
    identity = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device)
    precision = identity + (gram - hessian) / (beta * sigma**2)
    return Precision(
        gram=gram.mean(0),
        hessian=hessian.mean(0),
        precision=precision.mean(0),
        gram_error=_standard_error(gram),
        hessian_error=_standard_error(hessian),
        precision_error=_standard_error(precision),
    )


def optimal_precision_one_derivative(
    decoder: Decoder,
    mean: Float[Tensor, "batch latent"],
    scale_tril: Float[Tensor, "batch latent latent"],
    x: Float[Tensor, "batch data"],
    *,
    beta: float = 1.0,
    sigma: float = 1.0,
    draws: int = 4096,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> tuple[Float[Tensor, "batch latent latent"], Float[Tensor, "batch latent latent"]]:
    r"""Right side of Eq. 6 from first derivatives, $I - \Sigma^{-1} E_q[(z-\mu) g^\top] / \beta$.

    Here $g = \nabla_z \log p(x|z)$. By Stein's identity
    $E_q[\nabla^2 f] = \Sigma^{-1} E_q[(z - \mu) \nabla f^\top]$, which needs no second derivative:
    it holds for ReLU decoders, whose curvature sits in the kinks that autograd does not see, and
    costs one VJP a draw. It is noisier than `optimal_precision`. The gradient at the mean is
    subtracted as a baseline (of expectation zero), and each draw is symmetrised.

    Args:
        decoder: One latent to one mean, without a batch axis.
        mean: Posterior means $\mu$; dimensionless.
        scale_tril: Lower Cholesky factors of the posterior covariances; dimensionless.
        x: Data that the posteriors belong to, in the unit of the decoder's output.
        beta: Weight of the KL term in the ELBO.
        sigma: Standard deviation of the likelihood, in the unit of x.
        draws: Posterior draws per sample, at least 2.
        generator: Source of the draws; default is torch's own.
        chunk_size: Draws differentiated at once, over all samples; bounds the memory.

    Returns:
        The precision and the standard error of each of its entries.

    Raises:
        ValueError: `beta`, `sigma` or the diagonal of `scale_tril` is not positive, or `draws` is
            below 2; the decoder's output and a row of `x` differ in size, or it is not one row per
            latent or depends on the batch.

    Source: Eq. 6, first form, with the Price/Bonnet theorem used once instead of twice.
    """
    fault = sign_fault(beta=beta, sigma=sigma) or _draws_fault(draws)
    if fault := fault or decoder_fault(decoder, mean, x):
        raise ValueError(fault)
    smallest = scale_tril.diagonal(dim1=-2, dim2=-1).min().item()
    if smallest <= 0:
        raise ValueError(
            f"`scale_tril` needs a positive diagonal; got {smallest}. A posterior without spread "
            "has no precision: clamp its standard deviations before calling."
        )
    offset, noise = _noise(scale_tril, draws, generator)
    gradient = grad(partial(pointwise.log_likelihood, decoder, sigma))
    stacked = x.expand(draws, *x.shape).flatten(0, 1)
    flat = over_batch(gradient, (mean + offset).flatten(0, 1), stacked, chunk_size=chunk_size)
    centre = over_batch(gradient, mean, x, chunk_size=chunk_size)
    slope = flat.unflatten(0, (draws, -1)) - centre
    # Sigma^-1 (z - mu) = L^-T epsilon: no inverse of the covariance is formed.
    whitened = torch.linalg.solve_triangular(scale_tril.mT, noise.unsqueeze(-1), upper=True)
    product = whitened * slope.unsqueeze(-2)
    identity = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device)
    precision = identity - (product + product.mT) / (2 * beta)
    return precision.mean(0), _standard_error(precision)


def _noise(
    scale_tril: Tensor, draws: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    # Draws of L epsilon, and epsilon itself, each [draws, batch, latent].
    dtype, device = scale_tril.dtype, scale_tril.device
    shape = (draws, *scale_tril.shape[:-1])
    noise = torch.randn(shape, generator=generator, dtype=dtype, device=device)
    return (scale_tril @ noise.unsqueeze(-1)).squeeze(-1), noise


def _standard_error(draws: Tensor) -> Tensor:
    return draws.std(0) / draws.shape[0] ** 0.5


def _draws_fault(draws: int) -> str | None:
    if draws < 2:
        return f"`draws` must be at least 2 for a standard error; got {draws}. Ask for hundreds."
    return None
