r"""First and second derivatives of any decoder: $J$, $J^\top J$, directed Hessian, Eq. 6, SVD.

Every quantity is a pure function of one latent, composed with `torch.func` and mapped over the
batch. Latents are few and data columns many, so Jacobians are made of forward passes (one JVP a
latent), and Hessians are those of a scalar, forward over reverse: no array grows beyond
`[chunk, data, latent]`, and `chunk_size` bounds `chunk` (default: the whole batch at once).

A decoder maps one latent `[latent]` to one mean `[data]`, without a batch axis. Pass a float64
copy for diagnostics; whatever dtype comes in is kept. Results carry no graph.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import grad, jacfwd, jvp, vmap

from seams.shapes import Float, Int

__all__ = [
    "Decoder",
    "Precision",
    "align_axes",
    "directed_hessian",
    "gram_and_hessian",
    "jacobian",
    "jacobian_gram",
    "jacobian_svd",
    "log_likelihood_hessian",
    "optimal_precision",
    "optimal_precision_one_derivative",
    "singular_value_jacobian",
]

Decoder = Callable[[Tensor], Tensor]

# Two entries of a singular vector within this share of the largest count as tied, and the first
# decides the sign: otherwise the sign of (1, -1) / sqrt 2 would hang on the last bit.
SIGN_TIE = 1e-6


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
        ValueError: The decoder's output is not one row per latent, or depends on the batch.

    Source: Section 2, notation.
    """
    if fault := _decoder_fault(decoder, z):
        raise ValueError(fault)
    return _over_batch(partial(_jacobian, decoder), z, chunk_size=chunk_size)


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
        ValueError: The decoder's output is not one row per latent, or depends on the batch.

    Source: Eq. 6, first term, without factor.
    """
    if fault := _decoder_fault(decoder, z):
        raise ValueError(fault)
    return _over_batch(partial(_gram, decoder), z, chunk_size=chunk_size)


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
            row per latent, or depends on the batch.

    Source: Eq. 6, second term, without sign and factor.
    """
    if fault := _decoder_fault(decoder, z, x):
        raise ValueError(fault)
    return _over_batch(partial(_directed_hessian, decoder), z, x, chunk_size=chunk_size)


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
        decoder: One latent to one mean, without a batch axis. Not checked.
        z: Points of differentiation; dimensionless.
        x: Data, in the unit of the decoder's output.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        Two matrices per sample, each in the unit of $x^2$.

    Source: Eq. 6, without sign and factors.
    """
    return _over_batch(partial(_gram_and_hessian, decoder), z, x, chunk_size=chunk_size)


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
            or the output is not one row per latent, or depends on the batch.

    Source: Eq. 6, first form.
    """
    if fault := _sign_fault(sigma=sigma) or _decoder_fault(decoder, z, x):
        raise ValueError(fault)

    hessian = jacfwd(grad(partial(_log_likelihood, decoder, sigma)))
    return _over_batch(hessian, z, x, chunk_size=chunk_size)


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
    fault = _sign_fault(beta=beta, sigma=sigma) or _draws_fault(draws)
    if fault := fault or _decoder_fault(decoder, mean, x):
        raise ValueError(fault)
    z = mean + _noise(scale_tril, draws, generator)[0]

    def terms(z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return _gram(decoder, z), _directed_hessian(decoder, z, x)

    # One flat axis of draws and samples, so that `chunk_size` cuts across both.
    stacked = x.expand(draws, *x.shape).flatten(0, 1)
    flat = _over_batch(terms, z.flatten(0, 1), stacked, chunk_size=chunk_size)
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
    fault = _sign_fault(beta=beta, sigma=sigma) or _draws_fault(draws)
    if fault := fault or _decoder_fault(decoder, mean, x):
        raise ValueError(fault)
    smallest = scale_tril.diagonal(dim1=-2, dim2=-1).min().item()
    if smallest <= 0:
        raise ValueError(
            f"`scale_tril` needs a positive diagonal; got {smallest}. A posterior without spread "
            "has no precision: clamp its standard deviations before calling."
        )
    offset, noise = _noise(scale_tril, draws, generator)
    gradient = grad(partial(_log_likelihood, decoder, sigma))
    stacked = x.expand(draws, *x.shape).flatten(0, 1)
    flat = _over_batch(gradient, (mean + offset).flatten(0, 1), stacked, chunk_size=chunk_size)
    centre = _over_batch(gradient, mean, x, chunk_size=chunk_size)
    slope = flat.unflatten(0, (draws, -1)) - centre
    # Sigma^-1 (z - mu) = L^-T epsilon: no inverse of the covariance is formed.
    whitened = torch.linalg.solve_triangular(scale_tril.mT, noise.unsqueeze(-1), upper=True)
    product = whitened * slope.unsqueeze(-2)
    identity = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device)
    precision = identity - (product + product.mT) / (2 * beta)
    return precision.mean(0), _standard_error(precision)


def jacobian_svd(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> tuple[
    Float[Tensor, "batch data latent"],
    Float[Tensor, "batch latent"],
    Float[Tensor, "batch latent latent"],
]:
    r"""Singular value decomposition of the Jacobian, $J_z = U\, \mathrm{diag}(s)\, V^\top$.

    Columns of U and V are the singular vectors $u^i$, $v^i$; $s$ descends. V itself is returned,
    not its transpose. Signs: the largest entry of each $v^i$ is positive (the first of those
    within `SIGN_TIE` of the largest), so V = I wherever C1 holds in this order. Where singular
    values coincide, only the space spanned by their vectors is defined.

    Args:
        decoder: One latent to one mean, without a batch axis.
        z: Points of differentiation; dimensionless.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        U (dimensionless), s (in the unit of x) and V (dimensionless).

    Raises:
        ValueError: There are fewer data columns than latents; or the decoder's output is not one
            row per latent, or depends on the batch.

    Source: Section 2, notation; Section 5, "The Jacobian SVD".
    """
    J = jacobian(decoder, z, chunk_size=chunk_size)
    if J.shape[1] < J.shape[2]:
        raise ValueError(
            f"`decoder` must have at least as many data columns as latents; got {J.shape[1]} for "
            f"{J.shape[2]}. Is its output only a part of the mean?"
        )
    return _svd(J)


def align_axes(
    V: Float[Tensor, "batch latent latent"],
) -> tuple[Int[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
    r"""Permutation and signs that bring V closest to I: the symmetry "P&S" of the paper.

    Column $k$ of `V[n][:, permutation[n]] * signs[n]` is the singular vector that belongs to
    latent axis $k$. Minimises the Frobenius distance over all signed permutations, by a linear
    assignment on $-|V|$. Apply the same permutation to U, s and the rows of
    `singular_value_jacobian` before comparing them.

    Args:
        V: Orthonormal columns, as of `jacobian_svd`; dimensionless.

    Returns:
        The permutation (axis to column) and the signs, $\pm 1$.

    Source: Lemma 4.1, C1, "up to relabelling and signs".
    """
    from scipy.optimize import linear_sum_assignment

    costs = -V.detach().abs().cpu().double().numpy()
    columns = [torch.from_numpy(linear_sum_assignment(cost)[1]) for cost in costs]
    permutation = torch.stack(columns).to(V.device)
    diagonal = torch.take_along_dim(V, permutation.unsqueeze(1), 2).diagonal(dim1=1, dim2=2)
    signs = torch.where(diagonal < 0, -torch.ones_like(diagonal), torch.ones_like(diagonal))
    return permutation, signs


def singular_value_jacobian(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    *,
    coinciding: Literal["raise", "nan"] = "raise",
    chunk_size: int | None = None,
) -> Float[Tensor, "batch latent latent"]:
    r"""Derivatives of the singular values, $\partial s_i/\partial z_j = u_i^\top J_{,j}\, v_i$.

    Entry $(i, j)$ is $\partial s_i / \partial z_j$, with $s_i$ in the descending order of
    `jacobian_svd` and $J_{,j} = \partial J / \partial z_j$. C2 says that, with rows in the order
    of `align_axes`, it is diagonal. Row $i$ is the Hessian of $z \mapsto u_i \cdot d(z)$ times
    $v_i$: one forward-over-reverse product, where forward over forward would take one for each
    entry and has no rule for SiLU in torch.

    A singular value is differentiable only if it is simple and not zero: its distance to its
    neighbours and to zero, over the largest, must exceed the square root of the dtype's eps. (At
    a gap g, rounding turns singular vectors by eps / g; half of the digits are left there.)

    Args:
        decoder: One latent to one mean, without a batch axis.
        z: Points of differentiation; dimensionless.
        coinciding: What to do with a singular value that is not simple: raise, or return NaN in
            its row.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        One matrix per sample, in the unit of $x$.

    Raises:
        ValueError: Singular values coincide and `coinciding` is "raise"; there are fewer data
            columns than latents; or the decoder's output is not one row per latent, or depends on
            the batch.

    Source: Lemma 4.1, C2; Appendix A.
    """
    U, s, V = jacobian_svd(decoder, z, chunk_size=chunk_size)
    gap = _relative_gap(s)
    simple = gap > _half_of_digits(s.dtype)
    if coinciding == "raise" and not simple.all():
        sample, value = (~simple).nonzero()[0].tolist()
        raise ValueError(
            "`singular_value_jacobian` needs simple, nonzero singular values; value "
            f"{value} of sample {sample} has a relative gap of {gap[sample, value].item():.1e} to "
            'its neighbours or to zero. Leave the sample out, or pass coinciding="nan".'
        )

    def rows(z: Tensor, U: Tensor, V: Tensor) -> Tensor:
        def row(u: Tensor, v: Tensor) -> Tensor:
            return jvp(grad(partial(_component, decoder, u)), (z,), (v,))[1]

        return vmap(row, in_dims=(1, 1))(U, V)

    slopes = _over_batch(rows, z, U, V, chunk_size=chunk_size)
    return torch.where(simple.unsqueeze(-1), slopes, torch.nan)


# The functions below take one sample, where they take a decoder, so that others can compose them.


def _jacobian(decoder: Decoder, z: Tensor) -> Tensor:
    return jacfwd(decoder)(z)


def _gram(decoder: Decoder, z: Tensor) -> Tensor:
    J = _jacobian(decoder, z)
    return J.mT @ J


def _directed_hessian(decoder: Decoder, z: Tensor, x: Tensor) -> Tensor:
    r = x - decoder(z)  # outside the function that is differentiated: held constant
    return jacfwd(grad(partial(_component, decoder, r)))(z)


def _gram_and_hessian(decoder: Decoder, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    r = x - decoder(z)

    def along(z: Tensor) -> tuple[Tensor, Tensor]:
        mean = decoder(z)
        return r @ mean, mean

    H, J = jacfwd(grad(along, has_aux=True))(z)
    return J.mT @ J, H


def _component(decoder: Decoder, direction: Tensor, z: Tensor) -> Tensor:
    return direction @ decoder(z)


def _log_likelihood(decoder: Decoder, sigma: float, z: Tensor, x: Tensor) -> Tensor:
    # Without the constant, which no derivative sees.
    return -0.5 * (x - decoder(z)).square().sum() / sigma**2


def _svd(J: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    U, s, Vt = torch.linalg.svd(J, full_matrices=False)
    V = Vt.mT
    size = V.abs()
    tied = size >= (1 - SIGN_TIE) * size.amax(-2, keepdim=True)
    leading = torch.take_along_dim(V, tied.int().argmax(-2, keepdim=True), -2)
    signs = torch.where(leading < 0, -torch.ones_like(leading), torch.ones_like(leading))
    return U * signs, s, V * signs


def _relative_gap(s: Tensor) -> Tensor:
    # Distance of each singular value to its neighbours and to zero, over the largest one.
    step = s[..., :-1] - s[..., 1:]
    above = torch.cat([torch.full_like(s[..., :1], torch.inf), step], -1)
    below = torch.cat([step, s[..., -1:]], -1)
    return torch.minimum(above, below) / s[..., :1].clamp_min(torch.finfo(s.dtype).tiny)


def _over_batch(
    function: Callable[..., Any], *arrays: Tensor, chunk_size: int | None = None
) -> Any:
    _load_forward_rules()
    with torch.no_grad():
        return vmap(function, chunk_size=chunk_size)(*arrays)


@cache
def _load_forward_rules() -> None:
    # On first use torch scripts its forward-mode rules, and warns that scripting is deprecated:
    # nothing that a caller could act on.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        jvp(torch.tanh, (torch.zeros(()),), (torch.ones(()),))


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


def _half_of_digits(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps ** 0.5


def _sign_fault(**values: float) -> str | None:
    for name, value in values.items():
        if not value > 0:
            return f"`{name}` must be positive; got {value}. Use a small positive value instead."
    return None


def _draws_fault(draws: int) -> str | None:
    if draws < 2:
        return f"`draws` must be at least 2 for a standard error; got {draws}. Ask for hundreds."
    return None


def _decoder_fault(decoder: Decoder, z: Tensor, x: Tensor | None = None) -> str | None:
    # Two rows are enough to see a wrong shape, and values that differ under vmap.
    rows = z[:2]
    with torch.no_grad():
        try:
            mapped = vmap(decoder, randomness="different")(rows)
        except (RuntimeError, ValueError):
            decoder(rows[0])  # if this raises too, its own message says what is wrong
            return (
                "`decoder` must be a function of one latent alone; it runs on one but not under "
                "vmap. Is it in train mode, with batch norm? Call decoder.eval()."
            )
        alone = torch.stack([decoder(row) for row in rows])
    if alone.ndim != 2:
        return (
            "`decoder` must return one mean [data] for one latent [latent]; got the shape "
            f"{list(alone.shape[1:])}. Flatten its output, without a batch axis."
        )
    if x is not None and alone.shape[1] != x.shape[1]:
        return (
            f"`decoder` must return one value per column of `x`; got {alone.shape[1]} for "
            f"{x.shape[1]} columns. Is this the decoder of another dataset?"
        )
    # Batched and single kernels round differently, in the last digits; what leaks between samples
    # or calls (batch norm, dropout) changes the first ones.
    difference = (mapped - alone).abs().max().item()
    if difference > _half_of_digits(alone.dtype) * alone.abs().max().item():
        return (
            "`decoder` must depend on its own latent alone and repeat itself; under vmap and one "
            f"by one its outputs differ by {difference:.1e}. Is it in train mode, with dropout or "
            "batch norm? Call decoder.eval()."
        )
    return None
