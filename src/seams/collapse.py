r"""What overlapping posteriors make of the data: the posterior-weighted mean, and collapse.

A decoder that may be any function maps a latent to the mean of the data that share it, each
weighted by its posterior there. As $\beta$ grows posteriors widen and reconstructions merge; where
all are the prior, all data share every latent. Posteriors have one `mean` a datum and the Cholesky
factor `scale_tril` of their covariance.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seams.shapes import Float

__all__ = ["coin_rate", "posterior_weighted_mean", "responsibilities"]

_NODES = 64  # of Gauss-Hermite quadrature: 1e-10 and better for the ratios below
_RATIOS = torch.linspace(0, 8, 8001, dtype=torch.float64)
"""Posterior mean over standard deviation of a coin: at 8 its sides are told apart to 1e-14."""


def responsibilities(
    z: Float[Tensor, "*batch latent"],
    mean: Float[Tensor, "n latent"],
    scale_tril: Float[Tensor, "n latent latent"],
) -> Float[Tensor, "*batch n"]:
    r"""Share of each datum in a latent, $w_i(z) = q(z|x_i) / \sum_k q(z|x_k)$."""
    # The "weighted average" in the caption of Figure 6; p(x_i|z) under equal weights of the data.
    offset = (z.unsqueeze(-2) - mean).unsqueeze(-1)
    whitened = torch.linalg.solve_triangular(scale_tril, offset, upper=False).squeeze(-1)
    log_determinant = scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return (-0.5 * whitened.square().sum(-1) - log_determinant).softmax(-1)


def posterior_weighted_mean(
    z: Float[Tensor, "*batch latent"],
    mean: Float[Tensor, "n latent"],
    scale_tril: Float[Tensor, "n latent latent"],
    x: Float[Tensor, "n data"],
) -> Float[Tensor, "*batch data"]:
    r"""Decoder of least squared error for given posteriors, $\sum_i w_i(z)\, x_i$ (Fig. 6)."""
    # It minimises sum_i E_q(z|x_i) |x_i - d(z)|^2 over all functions d, at any beta and sigma,
    # which act through the posteriors alone.
    return responsibilities(z, mean, scale_tril) @ x


def coin_rate(betas: Sequence[float]) -> Float[Tensor, " beta"]:
    """KL of the best VAE with one latent for one fair coin, any decoder allowed, in nats."""
    # A Bernoulli decoder can be the distribution of a coin itself, and then needs no latent. With
    # posteriors N(+-m, s^2) the best decoder is p(x|z) = sigmoid(2 m z / s^2), and the loss
    # depends on a = m / s alone, E_t log(1 + exp(-2 a (a + t))) + beta/2 log(1 + a^2), with t
    # standard normal: s is best where m^2 + s^2 = 1. The rate is 1/2 log(1 + a^2) at the minimum,
    # to 1e-3 of a. Several coins with a latent each have as many times this rate; two coins in one
    # latent can have a lower loss. It is zero for beta >= 1, as for any number of coins: a latent
    # costs beta times its information or more, and saves that information at most (Appendix B).
    import numpy as np

    t, weight = (
        torch.as_tensor(v, dtype=torch.float64) for v in np.polynomial.hermite_e.hermegauss(_NODES)
    )
    a = _RATIOS[:, None]
    error = torch.nn.functional.softplus(-2 * a * (a + t)) @ weight / math.sqrt(2 * math.pi)
    rate = 0.5 * torch.log1p(_RATIOS.square())
    loss = error + torch.as_tensor(list(betas), dtype=torch.float64)[:, None] * rate
    return rate[loss.argmin(-1)].to(torch.get_default_dtype())
