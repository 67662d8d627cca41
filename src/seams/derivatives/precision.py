r"""The right side of Eq. 6, in the mean over a posterior, with its Monte Carlo error.

Posteriors have means `mean` $\mu$ and lower Cholesky factors `scale_tril` $L$ of their covariances
(of a diagonal one, `torch.diag_embed` of its standard deviations), dimensionless; `x` are their
data. `beta` weighs the KL term of the ELBO; `sigma` is the standard deviation of the likelihood,
in the unit of x. Each sample takes 2 `draws` or more from `generator` (default: torch's own),
`chunk_size` at once over all samples.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import grad

from seams.derivatives import pointwise
from seams.derivatives.checks import finite, require
from seams.derivatives.mapping import Decoder, over_batch
from seams.shapes import Float

__all__ = ["Precision", "optimal_precision", "optimal_precision_one_derivative", "right_side"]

_ENTRIES = 2**20  # of means differentiated at once: 256 of 64 x 64 pixels


@dataclass(frozen=True)
class Precision:
    r"""Right side of Eq. 6, $I + (G - H) / (\beta\sigma^2)$, and its terms, with standard errors.

    The error of `precision` comes from the draws of the difference, not from the two errors: both
    terms use the same draws and are correlated.
    """

    gram: Float[Tensor, "batch latent latent"]  # $G = E_q[J^\top J]$, in the unit of x^2
    hessian: Float[Tensor, "batch latent latent"]  # $H = E_q[(x - d(z))^\top H_z]$
    precision: Float[Tensor, "batch latent latent"]  # optimal $\Sigma_x^{-1}$; no unit
    gram_error: Float[Tensor, "batch latent latent"]  # standard error of each entry
    hessian_error: Float[Tensor, "batch latent latent"]
    precision_error: Float[Tensor, "batch latent latent"]

    @classmethod
    def of_draws(
        cls,
        gram: Float[Tensor, "draw batch latent latent"],
        hessian: Float[Tensor, "draw batch latent latent"],
        variance: float,
    ) -> "Precision":
        r"""Means and errors from the terms at draws, with $\beta\sigma^2$ as variance."""
        draws = torch.stack([gram, hessian, right_side(gram, hessian, variance)], 2)
        errors = draws.std(0) / len(draws) ** 0.5
        return cls(*draws.mean(0).unbind(1), *errors.unbind(1))


def right_side(
    gram: Float[Tensor, "*batch latent latent"],
    hessian: Float[Tensor, "*batch latent latent"],
    variance: float,
) -> Float[Tensor, "*batch latent latent"]:
    r"""Eq. 6, right, at a latent: $I + (G - H) / (\beta\sigma^2)$."""
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return identity + (gram - hessian) / variance


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

    The expectation is the mean over draws $z = \mu + L\epsilon$; both terms use the same. At the
    optimum of the ELBO it is the inverse of the posterior covariance: in every entry if that is
    full, in the diagonal if that is diagonal. Exact for any number of draws if the decoder is
    linear. With ReLU the second term is zero and Eq. 6 does not close; see
    `optimal_precision_one_derivative`.

    Returns:
        The precision, its two terms and their standard errors.

    Source: Eq. 6, right; Appendix B for beta.
    """
    _require(decoder, mean, x, beta, sigma, draws)
    z = mean + _noise(scale_tril, draws, generator)[0]
    terms = partial(pointwise.gram_and_hessian, decoder)

    def at(draw: Tensor, sample: Tensor) -> Tensor:
        gram, hessian = over_batch(terms, z[draw, sample], x[sample])
        return torch.stack([gram, hessian, right_side(gram, hessian, beta * sigma**2)], 1)

    means, errors = _over_draws("optimal_precision", at, draws, x, chunk_size)
    return Precision(*means.unbind(1), *errors.unbind(1))


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

    Here $g = \nabla_z \log p(x|z)$. By Stein's identity (Price/Bonnet, once instead of twice) it
    needs no second derivative: it holds for ReLU decoders, whose curvature sits in the kinks that
    autograd does not see, and costs one VJP a draw. It is noisier than `optimal_precision`. The
    gradient at the mean is subtracted as a baseline (of expectation zero), and each draw is
    symmetrised.

    Returns:
        The precision and the standard error of each of its entries.

    Raises:
        ValueError: The diagonal of `scale_tril` is not positive.

    Source: Eq. 6, first form.
    """
    _require(decoder, mean, x, beta, sigma, draws)
    smallest = scale_tril.diagonal(dim1=-2, dim2=-1).min().item()
    if not smallest > 0:  # NaN is not either
        raise ValueError(
            f"`scale_tril` needs a positive diagonal; got {smallest}. A posterior without spread "
            "has no precision: clamp its standard deviations before calling."
        )
    offset, noise = _noise(scale_tril, draws, generator)
    gradient = grad(partial(pointwise.log_likelihood, decoder, sigma))
    size = chunk_size or _chunk(x)
    centre = over_batch(gradient, mean, x, chunk_size=size)
    # Sigma^-1 (z - mu) = L^-T epsilon: no inverse of the covariance is formed.
    whitened = torch.linalg.solve_triangular(scale_tril.mT, noise.unsqueeze(-1), upper=True)
    identity = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device)

    def at(draw: Tensor, sample: Tensor) -> Tensor:
        slope = over_batch(gradient, mean[sample] + offset[draw, sample], x[sample])
        product = whitened[draw, sample] * (slope - centre[sample]).unsqueeze(-2)
        return (identity - (product + product.mT) / (2 * beta)).unsqueeze(1)

    means, errors = _over_draws("optimal_precision_one_derivative", at, draws, x, size)
    return means[:, 0], errors[:, 0]


def _over_draws(
    caller: str,
    at: Callable[[Tensor, Tensor], Tensor],
    draws: int,
    x: Tensor,
    chunk_size: int | None,
) -> tuple[Tensor, Tensor]:
    """Mean and standard error over draws of what `at` says of a chunk of (draw, sample)."""
    batch = len(x)
    total = squares = shift = torch.empty(0)
    for flat in torch.arange(draws * batch, device=x.device).split(chunk_size or _chunk(x)):
        sample = flat % batch
        values = at(flat // batch, sample)
        if not len(total):
            total, squares, shift = values.new_zeros(3, batch, *values.shape[1:]).unbind()
        # Moments about each sample's first draw: about zero, their difference would be rounding.
        first = flat < batch
        shift[sample[first]] = values[first]
        away = values - shift[sample]
        total.index_add_(0, sample, away)
        squares.index_add_(0, sample, away.square())
    variance = (squares - total.square() / draws).clamp(min=0) / (draws - 1)
    return finite(caller, shift + total / draws), (variance / draws).sqrt()


def _chunk(x: Tensor) -> int:
    return max(1, _ENTRIES // x.shape[1])


def _noise(
    scale_tril: Tensor, draws: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    # Draws of L epsilon, and epsilon itself, each [draws, batch, latent].
    dtype, device = scale_tril.dtype, scale_tril.device
    shape = (draws, *scale_tril.shape[:-1])
    noise = torch.randn(shape, generator=generator, dtype=dtype, device=device)
    return (scale_tril @ noise.unsqueeze(-1)).squeeze(-1), noise


def _require(
    decoder: Decoder, mean: Tensor, x: Tensor, beta: float, sigma: float, draws: int
) -> None:
    require(decoder, mean, x, beta=beta, sigma=sigma)
    if draws < 2:
        raise ValueError(
            f"`draws` must be at least 2 for a standard error; got {draws}. Ask for hundreds."
        )
