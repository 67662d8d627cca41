"""The best Gaussian posterior of each datum, its decoder frozen: what Eq. 6 is a condition for.

An encoder is shared by all data and is not at the optimum of each. A mismatch of Eq. 6 at its
posteriors is its own error and the decoder's together; at refined ones, what is left is not its.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from seams.derivatives import Decoder
from seams.derivatives.checks import decoder_fault, sign_fault
from seams.networks import Covariance
from seams.shapes import Float

__all__ = ["Refinement", "refine_posterior"]

# Adam with a shorter memory than its default (0.9, 0.999), for the loss has no noise and its
# slopes shrink by orders of magnitude on the way: with a linear decoder, from half a standard
# deviation off, 100 steps then come to within 1e-4 where the default comes to 1e-2.
_ADAM = (0.8, 0.95)


@dataclass(frozen=True)
class Refinement:
    r"""Posteriors after refinement, $\mathcal N(\mu, L L^\top)$, one a datum."""

    mean: Float[Tensor, "batch latent"]
    scale_tril: Float[Tensor, "batch latent latent"]
    loss: Float[Tensor, "step batch"]  # before each step and after the last, on its draws; nats


def refine_posterior(
    decoder: Decoder,
    mean: Float[Tensor, "batch latent"],
    scale_tril: Float[Tensor, "batch latent latent"],
    x: Float[Tensor, "batch data"],
    *,
    covariance: Covariance,
    beta: float = 1.0,
    sigma: float = 1.0,
    steps: int = 200,
    draws: int = 64,
    learning_rate: float = 0.2,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Refinement:
    r"""Minimise each datum's $E_q |x - d(z)|^2 / (2\beta\sigma^2) + \mathrm{KL}$ over its q.

    Adam on the mean and on the Cholesky factor, in the frame of the posterior it starts from: $\mu
    = \mu_0 + L_0 m$ and $L = L_0 A$, with the diagonal of $A$ as its logarithm. So one step size
    suits wide and narrow posteriors; `learning_rate` falls to zero along a cosine. A full
    `covariance` may start from a diagonal one. 0 `steps` return the start with its loss.

    The same standard normal draws serve all steps and all data (default `generator`: from seed 0).
    So the loss is a fixed smooth function of each datum's parameters, the result repeats itself,
    and does not depend on which data are refined together, `chunk_size` at once. The `draws`, an
    even number and twice that of the latents or more, come in pairs of opposite sign, with the
    identity as their second moment, so that a quadratic loss is integrated without error: with a
    linear decoder the optimum is that of Eq. 3, for any number of draws. Otherwise its distance to
    the true one falls as their number grows. Other arguments are those of
    `seams.derivatives.optimal_precision`.

    Returns:
        The refined posteriors and the loss on the way, without a graph.

    Raises:
        ValueError: A number that must be positive is not; too few draws, or an odd number of them;
            a diagonal posterior is to start from one that is not; `decoder` is not one, or does
            not fit `x`; or the loss is not finite.

    Source: Eq. 1 for one datum; Eq. 6 holds at its optimum.
    """
    latent = mean.shape[1]
    fault = sign_fault(beta=beta, sigma=sigma, learning_rate=learning_rate)
    fault = fault or _draws_fault(draws, latent) or _start_fault(scale_tril, covariance)
    if fault := fault or decoder_fault(decoder, mean, x):
        raise ValueError(fault)
    noise = _matched_noise(draws, mean, generator)
    variance = beta * sigma**2
    size = chunk_size or max(len(mean), 1)
    parts = [
        _refine(decoder, m, L, data, noise, covariance, variance, steps, learning_rate)
        for m, L, data in zip(*(a.split(size) for a in (mean, scale_tril, x)), strict=True)
    ]
    loss = torch.cat([part.loss for part in parts], 1)
    if not loss.isfinite().all():
        sample = int((~loss.isfinite()).any(0).nonzero()[0])
        raise ValueError(
            f"The loss must stay finite; that of sample {sample} does not. Lower `learning_rate`, "
            "or check that `mean`, `scale_tril` and `x` are finite."
        )
    return Refinement(
        torch.cat([part.mean for part in parts]),
        torch.cat([part.scale_tril for part in parts]),
        loss,
    )


def _refine(
    decoder: Decoder,
    start: Tensor,
    factor: Tensor,
    x: Tensor,
    noise: Tensor,
    covariance: Covariance,
    variance: float,
    steps: int,
    learning_rate: float,
) -> Refinement:
    start, factor, x = start.detach(), factor.detach(), x.detach()
    count, latent = start.shape
    row, column = torch.tril_indices(latent, latent, -1, device=start.device)
    shift = torch.zeros_like(start, requires_grad=True)
    log_scale = torch.zeros_like(start, requires_grad=True)
    free = [shift, log_scale]
    below = start.new_zeros(count, len(row))
    if covariance == "full":
        free.append(below.requires_grad_())

    def posterior() -> tuple[Tensor, Tensor]:
        mean = start + (factor @ shift.unsqueeze(-1)).squeeze(-1)
        lower = start.new_zeros(count, latent, latent).index_put(
            (torch.arange(count)[:, None], row, column), below
        )
        return mean, factor @ (torch.diag_embed(log_scale.exp()) + lower)

    def losses() -> Tensor:
        mean, L = posterior()
        z = mean.unsqueeze(1) + noise @ L.mT  # [batch, draw, latent]
        output = vmap(decoder)(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        error = (x.unsqueeze(1) - output).square().sum(-1)
        squares = mean.square().sum(-1) + L.square().sum((-2, -1)) - latent
        log_determinant = L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return error.mean(1) / (2 * variance) + 0.5 * squares - log_determinant

    optimizer = torch.optim.Adam(free, learning_rate, _ADAM)
    history = []
    with torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            loss = losses()
            history.append(loss.detach())
            # Of these alone: the decoder's weights may ask for gradients, and get none.
            for value, slope in zip(free, torch.autograd.grad(loss.sum(), free), strict=True):
                value.grad = slope
            optimizer.step()
    with torch.no_grad():
        history.append(losses())
        mean, L = posterior()
    return Refinement(mean, L, torch.stack(history))


def _matched_noise(draws: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    # Standard normal draws in pairs of opposite sign, whose second moment is exactly the identity.
    generator = generator or torch.Generator(like.device).manual_seed(0)
    latent = like.shape[1]
    half = torch.randn(
        draws // 2, latent, generator=generator, dtype=like.dtype, device=like.device
    )
    root = torch.linalg.cholesky(half.mT @ half / len(half))
    half = torch.linalg.solve_triangular(root, half.mT, upper=False).mT
    return torch.cat([half, -half])


def _draws_fault(draws: int, latent: int) -> str | None:
    if draws % 2 == 0 and draws >= 2 * latent:
        return None
    return (
        f"`draws` must be even, and twice the number of latents or more; got {draws} for {latent} "
        "latents. They come in pairs that span the latents."
    )


def _start_fault(scale_tril: Tensor, covariance: Covariance) -> str | None:
    diagonal = scale_tril.diagonal(dim1=-2, dim2=-1)
    if not (diagonal > 0).all():
        return (
            f"`scale_tril` needs a positive diagonal; got {diagonal.min().item()}. A posterior "
            "without spread has no precision: clamp its standard deviations before calling."
        )
    rest = (scale_tril - torch.diag_embed(diagonal)).abs().max().item()
    if covariance == "diagonal" and rest > 0:
        return (
            "A diagonal posterior must start from a diagonal `scale_tril`; got off-diagonal "
            f'entries up to {rest:.1e}. Pass covariance="full", or the diagonal alone.'
        )
    return None
