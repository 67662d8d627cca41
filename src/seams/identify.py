r"""Identifiability: are the true latents found, how soon, and what pulls the axes onto them.

Take a flat manifold with independent seam coordinates, and a decoder that satisfies C1-C2 and has
the density of the data. Turn its latents by an angle $\theta$ in the plane of two of them. With a
standard normal prior neither the density nor the fit changes; only a diagonal posterior notices,
because the optimal precision $P = I + J^\top J / \beta\sigma^2$ is no longer diagonal. Where the
decoder is linear over the width of a posterior it loses, on average over the latents,

$$\tfrac\beta2\, \mathrm E_z \log\big(1 + \tfrac{\kappa(z)}4 \sin^2 2\theta\big), \qquad
\kappa = \frac{(s_i^2 - s_j^2)^2}{\lambda_i \lambda_j}, \quad \lambda = s^2 + \beta\sigma^2,$$

nats a datum: `seams.linear.diagonal_gap` with singular values that depend on $z$. So

* **When there is a pull.** $\mathrm E\,\kappa = 0$ only if $s_i(z_i) = s_j(z_j)$ almost
  everywhere; each depends on its own latent (C2), so both are one constant, and both factors are
  normal with the same variance. By the theorem of Darmois and Skitovich only then do independent
  coordinates stay so when turned: the pull vanishes exactly where the truth cannot be known.
* **Lemma 6.3 asks for more.** It wants distinct eigenvalues $h$ of the Hessian of the log density.
  For normal factors that is the same: $\kappa$ tends to $((h_i - h_j) s_i s_j)^2$ for small noise.
  Uniform and Laplace factors have $h = 0$ almost everywhere, at any ratio of their ranges, and yet
  $\mathrm E\,\kappa > 0$: their edges and peaks shape the singular values of a decoder whose prior
  is normal. The condition is sufficient, not necessary.
* **How soon.** The pull grows with the square of the gap, `seams.linear.alignment_rate` in the
  linear case: the last step before equal ranges is the longest.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seams.derivatives import jacobian_svd
from seams.geometry import manifold_hessian
from seams.matching import matched_scores
from seams.metrics import (
    BINS,
    correlation_matrix,
    entropies,
    linear_probe_r2,
    mutual_information,
    mutual_information_gap,
)
from seams.shapes import Float, Int

__all__ = [
    "RECOVERED",
    "RECOVERY",
    "Chance",
    "chance",
    "eigenvalue_gap",
    "matched_correlations",
    "recovery_scores",
    "time_to_reach",
    "turning_curvature",
    "turning_loss",
    "turned_correlations",
]

RECOVERED = 0.98
"""Correlation of every true latent with its own axis from which a run counts as recovered: the
cosine of 11 degrees, a quarter of the way to the middle between two axes."""


def matched_correlations(
    latents: Float[Tensor, "n latent"], truth: Float[Tensor, "n true"]
) -> Float[Tensor, " true"]:
    r"""Rank correlation of each true latent with its own axis, $|\rho|$; 0 without one."""
    # The assignment of `metrics.mean_correlation`, the mean of these; their least one says whether
    # *all* are recovered up to permutation and sign (Theorem 6.5). Ranks, since a latent is
    # identified up to an increasing map of its own (Corollary 6.7).
    return matched_scores(correlation_matrix(latents, truth, "spearman").abs().mT)


def turned_correlations(
    rotation: Float[Tensor, "*batch latent latent"],
) -> Float[Tensor, "*batch latent"]:
    """`matched_correlations` of normal latents $z$ with the same turned, $R z$ (Remark 6.8)."""
    # A correlation rho has the rank correlation 6 / pi arcsin(rho / 2).
    return matched_scores(6 / math.pi * torch.asin(rotation.abs().mT / 2))


@dataclass(frozen=True)
class Chance:
    """What a random turn of the latents scores; see `chance`."""

    mcc: float  # mean over the turns of the mean correlation
    recovered: float  # share of the turns that count as recovered


def chance(latent: int, draws: int = 4_000) -> Chance:
    """What a fit without an alignment scores: normal latents, turned at random (Remark 6.8)."""
    # With two latents the MCC is 0.89, so that 0.9 means nothing there, and a quarter of the turns
    # lie close enough to the axes to count as recovered.
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(draws, latent, latent, generator=generator, dtype=torch.float64)
    matched = turned_correlations(torch.linalg.qr(normal).Q)
    reached = (matched.amin(-1) >= RECOVERED).double()
    return Chance(float(matched.mean()), float(reached.mean()))


RECOVERY = ("mcc", "mcc_least", "probe", "mig_means")  # names of `recovery_scores`


def recovery_scores(
    latents: Float[Tensor, "n latent"], truth: Float[Tensor, "n true"]
) -> dict[str, float]:
    """How well true latents are found, as named scores (Section 6)."""
    # `mcc`: mean of `matched_correlations`; `mcc_least`: their least, to be compared with
    # `RECOVERED`; `probe`: mean R^2 of the true latents predicted linearly from all latents, which
    # turning them does not change, negative where the mean predicts better; `mig_means`: mutual
    # information gap of the true latents in 20 bins of equal count.
    matched = matched_correlations(latents, truth)
    bins = _binned(truth)
    information = mutual_information(latents, bins)
    return {
        "mcc": float(matched.mean()),
        "mcc_least": float(matched.min()),
        "probe": float(linear_probe_r2(latents, truth).mean()),
        "mig_means": mutual_information_gap(information, entropies(bins)),
    }


def _binned(truth: Tensor) -> Int[Tensor, "n true"]:
    """Each column as bins of equal count; values that repeat stay together."""
    levels = torch.linspace(0, 1, BINS + 1, dtype=truth.dtype)[1:-1]
    edges = truth.quantile(levels, dim=0)
    return (truth[:, None, :] > edges).sum(1)


def time_to_reach(
    progress: Float[np.ndarray, " point"] | Int[np.ndarray, " point"],
    values: Float[np.ndarray, "run point"],
    level: float,
) -> Float[np.ndarray, " run"]:
    """Progress from which a score stays at `level` or above, a run each; infinity for never."""
    # Between two points the score is taken to be linear in the logarithm of the progress, which
    # rises and is positive, such as training images. The first point if the score is never below
    # `level`.
    times = []
    for path in values:
        below = np.flatnonzero(~(path >= level))
        if not len(below):
            times.append(float(progress[0]))
        elif below[-1] == len(path) - 1:
            times.append(math.inf)
        else:
            left = below[-1]
            share = (level - path[left]) / (path[left + 1] - path[left])
            start, end = math.log(progress[left]), math.log(progress[left + 1])
            times.append(math.exp(start + share * (end - start)))
    return np.array(times)


def turning_loss(
    singular_values: Float[Tensor, "batch 2"], angle: float, *, sigma: float, beta: float = 1.0
) -> float:
    """Nats that a diagonal posterior loses by a turn of two latents; see the module."""
    # Singular values are those of a decoder with two latents that satisfies C1, at draws of its
    # prior, and like `sigma` in the unit of x; the angle is in radians. `linear.diagonal_gap` is
    # the case of constant ones.
    kappa = _pull(singular_values, sigma, beta)[:, 0, 1]
    return float(0.5 * beta * torch.log1p(kappa / 4 * math.sin(2 * angle) ** 2).mean())


def turning_curvature(
    singular_values: Float[Tensor, "batch latent"], *, sigma: float, beta: float = 1.0
) -> Float[Tensor, "latent latent"]:
    r"""The pull towards the axes, $\beta\,\mathrm E_z\,(s_i^2 - s_j^2)^2 / \lambda_i\lambda_j$."""
    # Second derivative of `turning_loss` at angle 0, nats per squared radian;
    # `linear.rotation_curvature`, averaged over the latents.
    return beta * _pull(singular_values, sigma, beta).mean(0)


def _pull(singular_values: Tensor, sigma: float, beta: float) -> Tensor:
    square = singular_values.square()
    eigenvalue = square + beta * sigma**2
    difference = square[:, :, None] - square[:, None, :]
    return difference.square() / (eigenvalue[:, :, None] * eigenvalue[:, None, :])


def eigenvalue_gap(
    decoder: Callable[[Tensor], Tensor], z: Float[Tensor, "batch latent"]
) -> Float[Tensor, "batch latent latent"]:
    r"""What Lemma 6.3 wants to differ from zero, without a unit: $(h_i - h_j)\, s_i s_j$."""
    # h_i = u_i' H_x u_i is the curvature of the log density along the i-th left singular vector,
    # an eigenvalue of H_x under C1-C2. Entries are in the order of falling singular values. For a
    # linear decoder, whose density is normal, the square is the kappa of `turning_loss` without
    # noise.
    curvature = manifold_hessian(decoder, z).diagonal(dim1=1, dim2=2)
    _, s, _ = jacobian_svd(decoder, z)
    difference = curvature[:, :, None] - curvature[:, None, :]
    return difference * s[:, :, None] * s[:, None, :]
