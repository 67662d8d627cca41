r"""Any encoder and decoder, diagnosed against the theory in one call.

`diagnose` asks, of a trained VAE that need not be ours: which latents are active, does Eq. 6 hold,
is each of its two terms diagonal (P1), are C1 and C2 satisfied, is the manifold flat, do latents
and factors correspond, and which latents could be told apart at all.

**Restriction.** A latent is active if its posterior mean varies over the data by more than 0.01
(`seams.metrics.active_latents`). All that compares latents is over the active ones: a score of an
inactive latent is undefined.

**Bernoulli.** With logits $a$ and means $p$, the Hessian of $\log p(x|z)$ is $-(G - H)$, where
$G = \sum_k p_k (1 - p_k)\, \nabla a_k \nabla a_k^\top$ and $H = (x - p)^\top \nabla^2 a$. So $G$
and $H$ are what the two terms of Eq. 6 are for a Gaussian. $G$ is the Gram matrix of the Jacobian
of $2 \arcsin \sqrt p$, the map of $p$ that has the same noise everywhere; C1, C2, the contrast
and the curvature are taken of that map instead of the mean.
"""

import copy
import math
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)
from torch.func import grad, jacfwd, vmap
from torch.nn.functional import binary_cross_entropy_with_logits

from seams import metrics
from seams.derivatives import (
    Decoder,
    Precision,
    _decoder_fault,
    _over_batch,
    _sign_fault,
    align_axes,
    jacobian_svd,
    optimal_precision,
)
from seams.distributions import DiagonalGaussian, FullGaussian, Posterior
from seams.geometry import c2_violation, riemann_curvature
from seams.networks import Covariance
from seams.shapes import Bool, Float, Int
from seams.vae import Likelihood

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Diagnosis",
    "Estimate",
    "Pair",
    "Sides",
    "cancelled_share",
    "compare_sides",
    "diagnose",
    "relative_difference",
]

NEAR = 0.1
"""Relative gap of two squared singular values below which they count as equal. At it, the wrong
angle costs a diagonal posterior beta / 2 log(1 + 0.1^2 / 4), about beta / 1000 nats a datum."""

_NEAR_RATIO = math.sqrt((2 + NEAR) / (2 - NEAR))  # of the singular values at that gap

CONFIDENCE = 0.95
"""Of the test whether a gap exceeds its sampling error."""

MIXED = (0.1, 0.5)
"""A factor is mixed in two latents if each knows more than this share of its entropy, and the
lesser one at least this share of what the greater one knows."""

COLLAPSED_RATE = 0.05
"""Nats a datum below which posteriors ignore the data, as in `seams.evaluate`."""

CLOSE = 0.1
"""Relative difference of both sides of Eq. 6 below which the verdict calls them close."""

ALIGNED = (0.5, 0.9)
"""Shares of the off-diagonality after random rotations: below the first the verdict says that the
axes mean something, above the second that any would do as well."""

TURNED = 15.0
"""Degrees from which the verdict calls a pair of distinct latents off its axes."""

_C2_SAMPLES = 32  # a latent takes one Hessian-vector product each
_CURVATURE_PRODUCTS = 400  # second derivatives of the decoder, d^2 of them a sample
_CURVATURE_ENTRIES = 2**19  # of second derivatives held at once, one sample of 64 x 64 pixels
_ROTATIONS = 16  # random ones, for what a score would be if the axes meant nothing
_ENTRIES = 2**16  # of means differentiated at once, 16 of 64 x 64 pixels: more is not faster
_FEWEST = 4  # with 3, the test of a gap has one degree of freedom
_BATCH = 1_024  # data encoded at a time
_DECODED = 1_024  # data decoded for the distortion, 128 at a time
_BINS = 20  # of the histogram of a latent, as in `seams.metrics.mutual_information`
_LOGIT = 60.0  # beyond it a mean is 0 or 1 to 26 digits, and exp would overflow in float32
_SHOWN = 4  # pairs that the verdict spells out

# Modules that mix the data of a batch, or draw, in train mode.
_TRAINS_DIFFERENTLY = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)

Second = Literal["log_variance", "std", "scale_tril"]
Output = Literal["mean", "logits"]


@dataclass(frozen=True)
class Estimate:
    """A mean over samples.

    Attributes:
        value: The mean.
        error: Its standard error.
    """

    value: float
    error: float


@dataclass(frozen=True)
class Pair:
    r"""Two active latents: can their axes be told apart, and are they on them?

    In the plane of the two, $J^\top J$ is $m (1 + \delta)$ and $m (1 - \delta)$ on the diagonal,
    $m c$ beside it. Its relative gap of squared singular values is $2\sqrt{\delta^2 + c^2}$, and
    its axes stand at half the angle of $(\delta, c)$ to the latents. A datum pulls at these axes
    with the square of its gap, whichever value is the larger: $t = \mathrm E[(\delta^2 - c^2, 2
    \delta c)]$ is what the data pull with together. The gap of the pair is $2\sqrt{\lVert t
    \rVert}$: the relative gap of $s_i^2$ and $s_j^2$ where that is the same for all data, less if
    their axes differ, and 0 if these point everywhere. To turn the latents within the plane
    changes `angle` alone.

    Attributes:
        latents: Their indices.
        ratio: Larger over smaller singular value at that gap; 1 if no direction is preferred.
        angle: Degrees from the latents to the axes that the data prefer, 0 to 45.
        turn_cost: What the worst angle costs a diagonal posterior against the best, nats a datum
            of the loss: Eq. 4 beyond the linear case, with $I + J^\top J / (\beta\sigma^2)$ as
            precision.
        distinct: Whether the gap is `NEAR` or more and $t$ exceeds its sampling error (Hotelling's
            test, `CONFIDENCE`). If not, the two are too close to be told apart.
        mixed: Names of the factors that both latents tell of, see `MIXED`.
    """

    latents: tuple[int, int]
    ratio: float
    angle: float
    turn_cost: float
    distinct: bool
    mixed: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    r"""What `diagnose` found. Matrices are over all latents, scores over the active ones.

    A score is None where it is not defined; `flags` says why.

    Attributes:
        likelihood: As given.
        beta: As given.
        sigma: As given; 1 for a Bernoulli likelihood.
        covariance: Of the posteriors found.
        data: Number of data encoded.
        activity: Variance of each latent's posterior mean over the data.
        active: Activity above 0.01.
        kl: Mean KL of each latent's marginal to the prior, nats.
        rate: KL of the posterior to the prior, nats a datum.
        distortion: Squared error, summed over a datum; for a Bernoulli likelihood the negative
            log-likelihood in nats. One posterior draw a datum.
        grams: First term of Eq. 6 for each sample, mean over its draws; without the factor
            $1/(\beta\sigma^2)$.
        hessians: Second term likewise; enters with a minus.
        left: $\Sigma_x^{-1}$ of each sample.
        right: $I + (G - H) / (\beta\sigma^2)$ of each sample, mean over its draws.
        right_error: Standard error of each entry of `right`.
        difference: Root mean square of the relative difference of both sides, in the entries that
            are conditions of optimality (all if `covariance` is full, else the diagonal), the
            noise of the draws removed.
        implied_variance: The $\beta\sigma^2$ for which the diagonal of Eq. 6 would hold on average
            over samples; NaN without active latents. Far from what was given, it tells of a loss
            with another reduction.
        gram_off_diagonal: Normalised off-diagonal (App. E) of $G$, mean of the scores of single
            samples and draws.
        gram_off_diagonal_of_mean: Score of the mean of $G$.
        gram_off_diagonal_turned: As `gram_off_diagonal`, after a random rotation of the latents:
            the score of axes that mean nothing.
        hessian_off_diagonal: As for $G$, of $H$.
        hessian_off_diagonal_of_mean: As for $G$, of $H$.
        cancelled: Share of both terms' off-diagonal that cancels in their difference; see
            `cancelled_share`.
        axis_angle: C1: mean angle of the singular vectors to their axes, degrees.
        dto: C1: distance of V to the nearest signed permutation.
        c2: Off-diagonal share of $\partial s_i / \partial z_j$.
        c_ima: Contrast of independent mechanism analysis, nats.
        flatness: Mean over planes of sectional curvature times $s_a s_b$: the angle in radians by
            which a direction turns when carried round one unit of latent area; 0 if flat.
        pairs: Every two active latents, the least distinct first.
        factor_names: One a factor.
        information: $I(z_j; v_k)$ in nats from one posterior draw a datum; None without factors.
        mig: Mutual information gap, mean over factors.
        aas: Axis alignment score; its floor is $(1/d + 1/k)/2$.
        probe: Held-out $R^2$ of a linear probe of the posterior means, a factor.
        flags: What could not be computed, or should be known; one sentence each.
    """

    likelihood: Likelihood
    beta: float
    sigma: float
    covariance: Covariance
    data: int
    activity: Float[Tensor, " latent"]
    active: Bool[Tensor, " latent"]
    kl: Float[Tensor, " latent"]
    rate: Estimate
    distortion: Estimate
    grams: Float[Tensor, "sample latent latent"]
    hessians: Float[Tensor, "sample latent latent"]
    left: Float[Tensor, "sample latent latent"]
    right: Float[Tensor, "sample latent latent"]
    right_error: Float[Tensor, "sample latent latent"]
    difference: Estimate | None
    implied_variance: float
    gram_off_diagonal: Estimate | None
    gram_off_diagonal_of_mean: Estimate | None
    gram_off_diagonal_turned: float | None
    hessian_off_diagonal: Estimate | None
    hessian_off_diagonal_of_mean: Estimate | None
    cancelled: float | None
    axis_angle: Estimate | None
    dto: Estimate | None
    c2: Estimate | None
    c_ima: Estimate | None
    flatness: Estimate | None
    pairs: tuple[Pair, ...]
    factor_names: tuple[str, ...]
    information: Float[Tensor, "latent factor"] | None
    mig: float | None
    aas: float | None
    probe: dict[str, float]
    flags: tuple[str, ...]

    @property
    def gram(self) -> Float[Tensor, "latent latent"]:
        """Mean of the first term over samples."""
        return self.grams.mean(0)

    @property
    def hessian(self) -> Float[Tensor, "latent latent"]:
        """Mean of the second term over samples."""
        return self.hessians.mean(0)

    @property
    def gram_error(self) -> Float[Tensor, "latent latent"]:
        """Standard error of each entry of `gram`, over samples."""
        return self.grams.std(0) / len(self.grams) ** 0.5

    @property
    def hessian_error(self) -> Float[Tensor, "latent latent"]:
        """Standard error of each entry of `hessian`, over samples."""
        return self.hessians.std(0) / len(self.hessians) ** 0.5

    @property
    def collapsed(self) -> bool:
        """Whether posteriors ignore the data."""
        return self.rate.value < COLLAPSED_RATE

    @property
    def verdict(self) -> str:
        """The findings in words, one sentence a line."""
        return "\n".join([*_sentences(self), *self.flags])

    def table(self) -> "pd.DataFrame":
        """Every score, one a row.

        Returns:
            Columns `value`, `standard_error`, `ideal` (what the theory asks of a disentangled
            decoder) and `meaning`; NaN where a score is not defined.
        """
        import pandas as pd

        known = {name: getattr(self, name) for name in _MEANINGS if name != "active"}
        known = {"active": int(self.active.sum())} | known
        known |= {f"probe_{name}": value for name, value in self.probe.items()}
        rows = {}
        for name, found in known.items():
            ideal, meaning = _MEANINGS.get(name, (math.nan, "R^2 of a linear probe"))
            value = found.value if isinstance(found, Estimate) else found
            error = found.error if isinstance(found, Estimate) else math.nan
            rows[name] = (math.nan if value is None else float(value), error, ideal, meaning)
        columns = ["value", "standard_error", "ideal", "meaning"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    def plot(self) -> "Figure":
        """Activity, singular values, both sides of Eq. 6, its two terms and the information.

        Latents are ordered by activity. The two terms share one colour range of four decades and
        show mean absolute entries.

        Returns:
            A figure of pyplot's.
        """
        return _drawn(self)


_MEANINGS = {
    "active": (math.nan, "latents whose posterior mean varies by more than 0.01"),
    "rate": (math.nan, "KL of the posterior to the prior, nats a datum"),
    "distortion": (math.nan, "squared error a datum (Bernoulli: negative log-likelihood, nats)"),
    "difference": (0.0, "Eq. 6: relative difference of both sides, root mean square"),
    "implied_variance": (math.nan, "beta sigma^2 for which Eq. 6 would hold on average"),
    "gram_off_diagonal": (0.0, "P1, C1: off-diagonality of the first term, mean of the scores"),
    "gram_off_diagonal_of_mean": (0.0, "off-diagonality of the mean first term"),
    "gram_off_diagonal_turned": (math.nan, "mean of the scores after a random rotation"),
    "hessian_off_diagonal": (0.0, "P1: off-diagonality of the second term, mean of the scores"),
    "hessian_off_diagonal_of_mean": (0.0, "off-diagonality of the mean second term"),
    "cancelled": (0.0, "P1: share of the off-diagonal that cancels between the terms"),
    "axis_angle": (0.0, "C1: angle of singular vectors to the axes, degrees"),
    "dto": (0.0, "C1: distance of V to a signed permutation"),
    "c2": (0.0, "C2: off-diagonal share of the derivatives of singular values"),
    "c_ima": (0.0, "contrast of independent mechanism analysis, nats"),
    "flatness": (0.0, "turn of a direction carried round a unit of latent area, radians"),
    "mig": (1.0, "mutual information gap"),
    "aas": (1.0, "axis alignment score"),
}


def diagnose(
    encoder: Callable[..., Any],
    decoder: Callable[..., Any],
    x: Float[Tensor, " n *shape"],
    *,
    factors: Int[Tensor, "n factor"] | None = None,
    factor_names: Sequence[str] = (),
    likelihood: Likelihood = "gaussian",
    sigma: float = 1.0,
    beta: float = 1.0,
    second: Second = "log_variance",
    output: Output = "mean",
    samples: int = 128,
    draws: int = 2,
    seed: int = 0,
) -> Diagnosis:
    r"""Test everything the theory says of one trained model, and say what was found.

    Modules, and methods of modules, are copied, put in `eval()` and, for the decoder, in float64;
    yours stay as they are. Other callables are used as they are: in `eval()`, and in float64 if
    they can.

    Rate, distortion, activity and information use all of `x`; derivatives use `samples` of it,
    with `draws` posterior draws each. Of these, 32 serve for C2 and 4 to 32 for the curvature.
    More draws lower the noise of Eq. 6, which is taken out of `difference` and `cancelled` for any
    number. Information from few data is overstated (see `seams.metrics.mutual_information`): pass
    thousands.

    Where a score needs derivatives of the decoder in the active latents alone, inactive ones are
    held at the prior's mean 0.

    Args:
        encoder: From a batch of data, shaped as `x`, to their posteriors: a distribution of
            `torch.distributions` (Normal, Independent Normal, MultivariateNormal), one of
            `seams.distributions`, or a pair of the mean `[n, latent]` and what `second` names.
        decoder: From one latent `[latent]` or a batch `[n, latent]` to means of any shape, one
            value a column of `x`.
        x: Data; all axes but the first are flattened for the derivatives.
        factors: True factors as integers, if they are known.
        factor_names: One a column of `factors`; default their numbers.
        likelihood: Of x given z; "bernoulli" for data in [0, 1].
        sigma: Standard deviation of a Gaussian likelihood, in the unit of x.
        beta: Weight of the KL term, where the loss is $-\log p(x|z) + \beta\,$KL, summed over a
            datum. A loss with another reduction has another beta.
        second: What an encoder that returns a pair puts second: "log_variance", "std" or
            "scale_tril", the Cholesky factor of a full covariance.
        output: What the decoder of a Bernoulli likelihood returns: "mean" or "logits".
        samples: Data whose derivatives are taken, chosen at random.
        draws: Posterior draws of each.
        seed: Of the choice and of the draws.

    Returns:
        The diagnosis: scores, matrices, `.table()`, `.plot()` and `.verdict`.

    Raises:
        ValueError: An option is out of range; `x` is not finite, or not in [0, 1] for a Bernoulli
            likelihood; encoder or decoder return something of another shape or kind, or that is
            not finite, or that depends on the rest of the batch.

    Source: Eq. 6, P1, C1, C2, Appendix E; the verdict on gaps: Eq. 4 and Theorem 6.5.
    """
    fault = _option_fault(x, likelihood, sigma, beta, second, output, samples, draws)
    if fault := fault or _factor_fault(factors, factor_names):
        raise ValueError(fault)
    flags: list[str] = []
    sigma = sigma if likelihood == "gaussian" else 1.0
    generator = torch.Generator().manual_seed(seed)
    posterior = _posteriors(_evaluating(encoder, "encoder", flags), x, second)
    latents = posterior.reparameterise(
        torch.randn(posterior.mean.shape, generator=generator, dtype=torch.float64)
    )
    activity = posterior.mean.var(0, correction=0)
    active = metrics.active_latents(posterior.mean)
    model = _model(decoder, x, latents, likelihood, output, flags)

    shuffled = torch.randperm(len(x), generator=generator)
    chosen, decoded = shuffled[:samples], shuffled[:_DECODED]
    noise = torch.randn(
        (draws, len(chosen), latents.shape[1]), generator=generator, dtype=torch.float64
    )
    mean, L = posterior.mean[chosen], posterior.scale_tril[chosen]
    z = mean + (L @ noise.unsqueeze(-1)).squeeze(-1)
    gram, hessian = model.terms(z, x.flatten(1)[chosen])
    found = _precision(gram, hessian, beta * sigma**2)
    left = torch.cholesky_inverse(L)
    piecewise = bool((hessian == 0).all()) and not torch.allclose(gram, gram[:1, :1])
    if piecewise:
        flags.append(
            "The decoder is piecewise linear (ReLU): autograd does not see its kinks, so the "
            "second term is exactly 0, Eq. 6 cannot close, and C2 and flatness are left out; see "
            "seams.derivatives.optimal_precision_one_derivative."
        )
    covariance: Covariance = "full" if isinstance(posterior, FullGaussian) else "diagonal"
    names = tuple(factor_names) or tuple(
        f"factor {k}" for k in range(0 if factors is None else factors.shape[1])
    )
    rate = posterior.kl_to_prior()
    informed = _information(factors, names, latents, posterior.mean, flags)
    difference = relative_difference(L, found.precision)
    return Diagnosis(
        likelihood=likelihood,
        beta=float(beta),
        sigma=float(sigma),
        covariance=covariance,
        data=len(x),
        activity=activity,
        active=active,
        kl=posterior.kl_per_latent().mean(0),
        rate=_estimate(rate),
        distortion=_estimate(model.distortion(latents[decoded], x.flatten(1)[decoded])),
        grams=found.gram,
        hessians=found.hessian,
        left=left,
        right=found.precision,
        right_error=found.precision_error,
        difference=_rms(difference, _scaled(found.precision_error, left), active, covariance),
        implied_variance=_implied_variance(found, left, active),
        **_diagonality(gram, hessian, found, active, beta * sigma**2, flags),
        **_constraints(model, gram, z[0], active, piecewise, flags),
        pairs=_pairs(found.gram, active, beta, beta * sigma**2, informed),
        factor_names=informed.names,
        information=informed.matrix,
        mig=informed.mig,
        aas=informed.aas,
        probe=informed.probe or {},
        flags=tuple(flags),
    )


@dataclass(frozen=True, eq=False)
class Sides:
    r"""Both sides of Eq. 6 at given posteriors; see `compare_sides`.

    With $\Lambda = \Sigma_x^{-1}$ the left side and $P$ the right. Numbers are root mean squares
    over samples and entries of active latents, NaN if there are no such entries.

    Attributes:
        left: $\Lambda$; dimensionless.
        right: $P$, its two terms and their standard errors.
        gram: First term, $G_{ij} / (\beta\sigma^2 \sqrt{P_{ii} P_{jj}})$.
        hessian: Second term, scaled alike; enters with a minus.
        difference: Of `relative_difference`, over the entries that are conditions of optimality:
            all for full posteriors, the diagonal for diagonal ones.
        noise: What the Monte Carlo error of $P$ alone would make of `difference`.
        off_gram: Off-diagonal entries of `gram`.
        off_hessian: Off-diagonal entries of `hessian`.
        off_sum: Off-diagonal entries of both together, $P_{ij} / \sqrt{P_{ii} P_{jj}}$.
        off_turned: As `off_sum`, after random rotations of the active latents: what axes that mean
            nothing would have.
        cancelled: See `cancelled_share`; NaN where that is not defined.
    """

    left: Float[Tensor, "batch latent latent"]
    right: Precision
    gram: Float[Tensor, "batch latent latent"]
    hessian: Float[Tensor, "batch latent latent"]
    difference: float
    noise: float
    off_gram: float
    off_hessian: float
    off_sum: float
    off_turned: float
    cancelled: float


def compare_sides(
    decoder: Decoder,
    mean: Float[Tensor, "batch latent"],
    scale_tril: Float[Tensor, "batch latent latent"],
    x: Float[Tensor, "batch data"],
    *,
    covariance: Covariance,
    active: Bool[Tensor, " latent"] | None = None,
    beta: float = 1.0,
    sigma: float = 1.0,
    draws: int = 64,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Sides:
    r"""Both sides of Eq. 6 at given posteriors, Gaussian likelihood, and how they compare.

    Args:
        decoder: One latent to one mean, without a batch axis.
        mean: Posterior means; dimensionless.
        scale_tril: Lower Cholesky factors of the posterior covariances; dimensionless.
        x: Data that the posteriors belong to, in the unit of the decoder's output.
        covariance: Of the posteriors: decides which entries are conditions of optimality.
        active: Latents to compare over; None keeps all.
        beta: Weight of the KL term in the ELBO.
        sigma: Standard deviation of the likelihood, in the unit of x.
        draws: Posterior draws per sample, at least 2.
        generator: Source of the draws; default is torch's own.
        chunk_size: Draws differentiated at once, over all samples; bounds the memory.

    Returns:
        Both sides, and root mean squares. `seams.derivatives.optimal_precision` states the errors
        raised.

    Source: Eq. 6; Property P1.
    """
    right = optimal_precision(
        decoder, mean, scale_tril, x, beta=beta, sigma=sigma, draws=draws,
        generator=generator, chunk_size=chunk_size,
    )  # fmt: skip
    left = torch.cholesky_inverse(scale_tril)
    kept = torch.ones_like(mean[0], dtype=torch.bool) if active is None else active
    conditions = kept.diag() if covariance == "diagonal" else kept[:, None] & kept
    beside = _off_diagonal(kept)
    gram, hessian = (
        _scaled(term / (beta * sigma**2), right.precision) for term in (right.gram, right.hessian)
    )
    rms = lambda matrices, entries: matrices[..., entries].square().mean().sqrt().item()
    some = right.precision[:, kept][:, :, kept]
    turned = [Q.to(some).mT @ some @ Q.to(some) for Q in _rotations(some.shape[-1])]
    try:
        cancelled = cancelled_share(right, beta=beta, sigma=sigma, active=kept)
    except ValueError:  # of too few latents, or none but noise
        cancelled = math.nan
    return Sides(
        left=left,
        right=right,
        gram=gram,
        hessian=hessian,
        difference=rms(relative_difference(scale_tril, right.precision), conditions),
        noise=rms(_scaled(right.precision_error, left), conditions),
        off_gram=rms(gram, beside),
        off_hessian=rms(hessian, beside),
        off_sum=rms(_scaled(right.precision, right.precision), beside),
        off_turned=rms(torch.stack([_scaled(P, P) for P in turned]), _off_diagonal(kept[kept])),
        cancelled=cancelled,
    )


def relative_difference(
    scale_tril: Float[Tensor, "batch latent latent"],
    precision: Float[Tensor, "batch latent latent"],
) -> Float[Tensor, "batch latent latent"]:
    r"""Relative difference of Eq. 6, $(P - \Lambda)_{ij} / \sqrt{\Lambda_{ii}\Lambda_{jj}}$.

    With the right side $P$ and $\Lambda = \Sigma_x^{-1}$. On the diagonal this is the relative
    difference; elsewhere it is on the scale of a partial correlation. At the optimum it is 0, in
    every entry of a full posterior and on the diagonal of a diagonal one, whose other entries hold
    the right side alone.

    Args:
        scale_tril: Cholesky factors of the posterior covariances; dimensionless.
        precision: Right side of Eq. 6, as of `seams.derivatives.optimal_precision`.

    Returns:
        One matrix per sample; dimensionless.

    Source: Eq. 6.
    """
    left = torch.cholesky_inverse(scale_tril)
    return _scaled(precision - left, left)


def cancelled_share(
    found: Precision,
    *,
    beta: float = 1.0,
    sigma: float = 1.0,
    active: Bool[Tensor, " latent"] | None = None,
) -> float:
    r"""Share of both terms' off-diagonals that cancels, $2 g \cdot h / (g \cdot g + h \cdot h)$.

    $g$ and $h$ are the off-diagonal entries of $E_q[J^\top J]$ and of $E_q[(x - d)^\top H]$ in all
    samples, each scaled by $\sqrt{P_{ii} P_{jj}}$ with $P$ the right side of Eq. 6. It is 1 if the
    terms are equal, so that a diagonal sum says nothing of its parts; 0 if they are unrelated;
    negative if they add up. The noise of the draws is taken out of each square, with
    $2 g h = g^2 + h^2 - (g - h)^2$.

    Args:
        found: Right side of Eq. 6 with its terms and errors.
        beta: Weight of the KL term that it was computed with.
        sigma: Standard deviation of the likelihood that it was computed with.
        active: Latents to keep; None keeps all.

    Returns:
        Between -1 and 1, up to the noise of the draws.

    Raises:
        ValueError: Fewer than 2 latents kept, or no off-diagonal of either term beyond the noise.

    Source: Property P1, "no cancellation".
    """
    latent = found.gram.shape[-1]
    kept = torch.ones(latent, dtype=torch.bool) if active is None else active
    pairs = _off_diagonal(kept)
    if not pairs.any():
        raise ValueError(
            f"`cancelled_share` needs 2 or more latents; got {int(kept.sum())}. One has no "
            "off-diagonal."
        )
    variance = beta * sigma**2
    square = lambda mean, error, unit: (
        _scaled(mean / unit, found.precision).square()
        - _scaled(error / unit, found.precision).square()
    )[:, pairs].sum()
    both = square(found.gram, found.gram_error, variance)
    both = both + square(found.hessian, found.hessian_error, variance)
    rest = square(found.precision, found.precision_error, 1.0)
    if not both > 0:
        raise ValueError(
            "`cancelled_share` needs off-diagonal entries beyond the noise of the draws; their "
            f"summed square is {both.item():.1e}. Is every term diagonal already, or `draws` low?"
        )
    return ((both - rest) / both).item()


def _option_fault(
    x: Tensor,
    likelihood: str,
    sigma: float,
    beta: float,
    second: str,
    output: str,
    samples: int,
    draws: int,
) -> str | None:
    for name, value, options in (
        ("likelihood", likelihood, get_args(Likelihood)),
        ("second", second, get_args(Second)),
        ("output", output, get_args(Output)),
    ):
        if value not in options:
            return f"`{name}` must be one of {', '.join(options)}; got {value!r}."
    if fault := _sign_fault(beta=beta, sigma=sigma):
        return fault
    if len(x) < _FEWEST or samples < _FEWEST or draws < 2:
        return (
            f"A diagnosis needs {_FEWEST} data and `samples` or more, and 2 `draws` or more, for "
            f"its errors; got {len(x)}, {samples} and {draws}."
        )
    if not x.isfinite().all():
        return f"`x` must be finite; {_count(~x.isfinite())} values are not. Drop these data."
    if likelihood == "bernoulli" and (x.min() < 0 or x.max() > 1):
        return (
            "Data of a Bernoulli likelihood must lie in [0, 1]; `x` goes from "
            f"{x.min().item():.3g} to {x.max().item():.3g}. Scale them, or say "
            'likelihood="gaussian".'
        )
    return None


def _factor_fault(factors: Tensor | None, names: Sequence[str]) -> str | None:
    columns = 0 if factors is None else factors.shape[1]
    if len(names) in (0, columns):
        return None
    return (
        f"`factor_names` must name every column of `factors`, {columns}; got {len(names)}: "
        f"{', '.join(names)}."
    )


def _count(wrong: Tensor) -> int:
    return int(wrong.sum())


def _off_diagonal(kept: Tensor) -> Tensor:
    return kept[:, None] & kept & ~torch.eye(len(kept), dtype=torch.bool, device=kept.device)


def _scaled(matrices: Tensor, by: Tensor) -> Tensor:
    """Entries over the root of the product of the diagonal entries of `by`."""
    root = by.diagonal(dim1=-2, dim2=-1).abs().rsqrt()
    return matrices * root.unsqueeze(-1) * root.unsqueeze(-2)


def _estimate(values: Tensor) -> Estimate:
    return Estimate(values.mean().item(), (values.std() / len(values) ** 0.5).item())


# --- the two networks, brought to one form ------------------------------------------------------


def _evaluating(function: Callable[..., Any], name: str, flags: list[str]) -> Callable[..., Any]:
    """A module, or a method of one, on a copy in evaluation mode; anything else as it is."""
    module = _module_of(function)
    if module is None:
        return function
    if any(part.training and isinstance(part, _TRAINS_DIFFERENTLY) for part in module.modules()):
        flags.append(f"The {name} was in train mode; a copy in eval mode was diagnosed.")
    twin = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    return twin if function is module else types.MethodType(function.__func__, twin)  # type: ignore[attr-defined]


def _module_of(function: Callable[..., Any]) -> nn.Module | None:
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def _tried(name: str, wanted: str, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Outcomes of the calls that run; if none does, an error with what the last one said."""
    outcomes, said = [], ""
    for call in calls:
        try:
            with torch.no_grad():
                outcomes.append(call())
        except Exception as error:  # of any kind: this is not our code
            outcomes.append(None)
            said = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if all(outcome is None for outcome in outcomes):
        raise ValueError(f"`{name}` must take {wanted}; called with that, it says {said}")
    return outcomes


def _posteriors(encoder: Callable[..., Any], x: Tensor, second: Second) -> Posterior:
    """Posteriors of all data, float64."""
    candidates = [x] if _module_of(encoder) is None else []
    candidates += [x.float(), x.double()]
    wanted = f"a batch of data shaped as `x`, {[2, *x.shape[1:]]}"
    found = _tried("encoder", wanted, [partial(encoder, some[:2]) for some in candidates])
    data = next(c for c, outcome in zip(candidates, found, strict=True) if outcome is not None)
    with torch.no_grad():
        parts = [_gaussian(encoder(some), second, len(some)) for some in data.split(_BATCH)]
        # The same datum in another company: batch norm and dropout in train mode show here.
        alone = _gaussian(encoder(data[1:3]), second, 2)[0][0]
    mean, L = (torch.cat(column) for column in zip(*[part[:2] for part in parts], strict=True))
    for name, values in (("means", mean), ("scales", L)):
        if not values.isfinite().all():
            raise ValueError(
                f"The encoder's {name} must be finite; {_count(~values.isfinite())} are not. Did "
                "the run diverge?"
            )
    smallest = L.diagonal(dim1=-2, dim2=-1).min().item()
    if smallest <= 0:
        raise ValueError(
            f"Posterior standard deviations must be positive; got {smallest:.3g}. Does the "
            f"encoder's pair hold log-variances? `second` is {second!r}."
        )
    apart = (alone - mean[1]).abs().max().item()
    if apart > 1e-3 * (1 + mean[1].abs().max().item()):
        raise ValueError(
            "`encoder` must treat each datum by itself and repeat itself; in another batch the "
            f"means of one differ by {apart:.1e}. Is it in train mode, with dropout or batch "
            "norm? Call encoder.eval()."
        )
    if all(part[2] == "diagonal" for part in parts):
        return DiagonalGaussian(mean, L.diagonal(dim1=-2, dim2=-1))
    return FullGaussian(mean, L)


def _gaussian(found: Any, second: Second, count: int) -> tuple[Tensor, Tensor, str]:
    """Mean, Cholesky factor and kind of whatever an encoder returned, float64."""
    kind = "diagonal"
    if isinstance(found, Distribution):
        plain = found.base_dist if isinstance(found, Independent) else found
        if isinstance(plain, Normal):
            mean, L = plain.mean, torch.diag_embed(plain.stddev)
        elif isinstance(plain, MultivariateNormal | LowRankMultivariateNormal):
            mean, L, kind = plain.mean, plain.scale_tril, "full"
        else:
            raise ValueError(
                "A posterior must be Gaussian: Normal or MultivariateNormal; got "
                f"{type(plain).__name__}. The theory is of Gaussian ones."
            )
    elif isinstance(found, tuple | list) and len(found) == 2:
        mean, spread = found
        if second == "scale_tril":
            L, kind = spread, "full"
        else:
            std = spread if second == "std" else (0.5 * spread.double()).exp()
            L = torch.diag_embed(std)
    else:
        raise ValueError(
            "`encoder` must return a Gaussian of torch.distributions, or a pair of mean and "
            f"`second`; got {_described(found)}. Wrap it in a function that picks these two."
        )
    latent = mean.shape[-1]
    if mean.shape != (count, latent) or L.shape != (count, latent, latent):
        raise ValueError(
            "`encoder` must return one posterior a datum, of means [n, latent]; got means of "
            f"shape {list(mean.shape)} and Cholesky factors {list(L.shape)} for {count} data."
        )
    return mean.detach().cpu().double(), L.detach().cpu().double(), kind


def _described(found: Any) -> str:
    size = f" of {len(found)}" if isinstance(found, tuple | list | dict) else ""
    return f"a {type(found).__name__}{size}"


@dataclass(frozen=True)
class _Model:
    """The decoder as a function of one latent, and what the likelihood makes of it."""

    natural: Decoder  # means if Gaussian, logits if Bernoulli
    likelihood: Likelihood
    dtype: torch.dtype
    data: int

    @property
    def chunk(self) -> int:
        """Points differentiated at once."""
        return max(1, _ENTRIES // self.data)

    def metric(self, z: Tensor) -> Tensor:
        """What has the same noise in every column: the mean, or 2 arcsin of its root."""
        if self.likelihood == "gaussian":
            return self.natural(z)
        return 2 * (0.5 * self.natural(z).clamp(-_LOGIT, _LOGIT)).exp().atan()

    def within(self, active: Tensor) -> Decoder:
        """`metric` as a function of the active latents alone, the others at 0."""
        places = torch.eye(len(active), dtype=self.dtype)[active]
        return lambda z: self.metric(z @ places)

    def terms(self, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both terms of Eq. 6 at `z` [draw, sample, latent], in float64."""

        def one(z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            value = self.natural(z)
            p = value.sigmoid()
            gaussian = self.likelihood == "gaussian"
            residual = x - (value if gaussian else p)  # held constant

            def component(z: Tensor) -> tuple[Tensor, Tensor]:
                value = self.natural(z)
                return residual @ value, value

            # Forward over reverse has the Jacobian on its way: less work than two calls.
            hessian, J = jacfwd(grad(component, has_aux=True))(z)
            weighted = J if gaussian else (p * (1 - p)).unsqueeze(-1) * J
            return weighted.mT @ J, hessian

        flat, target = z.flatten(0, 1).to(self.dtype), x.to(self.dtype).repeat(len(z), 1)
        gram, hessian = _over_batch(one, flat, target, chunk_size=self.chunk)
        for name, values in (("first", gram), ("second", hessian)):
            if not values.isfinite().all():
                raise ValueError(
                    f"The {name} derivatives of the decoder must be finite; "
                    f"{_count(~values.isfinite())} entries are not. Did the run diverge?"
                )
        shape = z.shape[:2]
        return gram.double().unflatten(0, shape), hessian.double().unflatten(0, shape)

    def distortion(self, z: Tensor, x: Tensor) -> Tensor:
        """Squared error or negative log-likelihood of each datum."""
        output = self(z.to(self.dtype)).double()
        if self.likelihood == "gaussian":
            return (x.double() - output).square().sum(-1)
        return binary_cross_entropy_with_logits(output, x.double(), reduction="none").sum(-1)

    def __call__(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([vmap(self.natural)(some) for some in z.split(128)])


def _model(
    decoder: Callable[..., Any],
    x: Tensor,
    latents: Tensor,
    likelihood: Likelihood,
    output: Output,
    flags: list[str],
) -> _Model:
    """The decoder as a function of one latent, in float64 if it can."""
    decoder = _evaluating(decoder, "decoder", flags)
    size = x[0].numel()
    if module := _module_of(decoder):
        module.double()
    forms: list[tuple[torch.dtype, Decoder]] = [
        (dtype, form)
        for dtype in (torch.float64, torch.float32)
        for form in (
            lambda z: _flattened(decoder(z)),
            lambda z: _flattened(decoder(z.unsqueeze(0))),
        )
    ]
    wanted = "one latent [latent] or a batch of them [n, latent]"
    calls = [partial(form, latents[0].to(dtype)) for dtype, form in forms]
    found = _tried("decoder", wanted, calls)
    fits = [outcome is not None and len(outcome) == size for outcome in found]
    # Where no form has the right size, `_decoder_fault` says what is wrong with one that runs.
    best = fits.index(True) if any(fits) else [o is not None for o in found].index(True)
    dtype, single = forms[best]
    if dtype != torch.float64:
        flags.append("The decoder runs in float32 only: derivatives have half the digits.")
    rows = latents[:2].to(dtype)
    if fault := _decoder_fault(single, rows, x.flatten(1)[:2].to(dtype)):
        raise ValueError(fault)
    means = single(rows[0])
    if not means.isfinite().all():
        raise ValueError(
            f"The decoder's output must be finite; {_count(~means.isfinite())} of {size} values "
            "are not. Did the run diverge?"
        )
    if likelihood == "gaussian" or output == "logits":
        return _Model(single, likelihood, dtype, size)
    if means.min() < 0 or means.max() > 1:
        raise ValueError(
            "The mean of a Bernoulli must lie in [0, 1]; the decoder returns values from "
            f'{means.min().item():.3g} to {means.max().item():.3g}. Pass output="logits".'
        )
    tiny = torch.finfo(dtype).eps  # a mean that rounds to 0 or 1 has no finite logit

    def logits(z: Tensor) -> Tensor:
        p = single(z).clamp(tiny, 1 - tiny)
        return p.log() - (-p).log1p()

    return _Model(logits, likelihood, dtype, size)


def _flattened(mean: Any) -> Tensor:
    if not isinstance(mean, Tensor):
        raise ValueError(f"it returns {_described(mean)}, not a tensor of means.")
    return mean.flatten()


# --- scores -------------------------------------------------------------------------------------


def _precision(gram: Tensor, hessian: Tensor, variance: float) -> Precision:
    """Right side of Eq. 6 from terms at draws [draw, sample, latent, latent]."""
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype)
    precision = identity + (gram - hessian) / variance
    error = lambda draws: draws.std(0) / len(draws) ** 0.5
    return Precision(
        gram=gram.mean(0),
        hessian=hessian.mean(0),
        precision=precision.mean(0),
        gram_error=error(gram),
        hessian_error=error(hessian),
        precision_error=error(precision),
    )


def _rms(difference: Tensor, error: Tensor, active: Tensor, covariance: str) -> Estimate | None:
    """Root mean square over the entries that are conditions, without the noise of the draws."""
    if not active.any():
        return None
    conditions = active[:, None] & active
    if covariance == "diagonal":
        conditions = conditions & torch.eye(len(active), dtype=torch.bool)
    square = (difference.square() - error.square())[:, conditions].mean(1)
    found = _estimate(square)
    root = math.sqrt(max(found.value, 0.0))
    # The error of a root, which has none at 0.
    return Estimate(root, found.error / (2 * root) if root > 0 else math.sqrt(found.error))


def _implied_variance(found: Precision, left: Tensor, active: Tensor) -> float:
    diagonal = lambda matrices: matrices.diagonal(dim1=-2, dim2=-1)[:, active].sum().item()
    excess = diagonal(left - torch.eye(len(active)).to(left))
    return diagonal(found.gram - found.hessian) / excess if excess > 0 else math.nan


def _diagonality(
    gram: Tensor, hessian: Tensor, found: Precision, active: Tensor, variance: float,
    flags: list[str],
) -> dict[str, Any]:  # fmt: skip
    """How diagonal each term of Eq. 6 is, in both orders, and whether they cancel."""
    scores: dict[str, Any] = dict.fromkeys(
        (
            "gram_off_diagonal",
            "gram_off_diagonal_of_mean",
            "gram_off_diagonal_turned",
            "hessian_off_diagonal",
            "hessian_off_diagonal_of_mean",
            "cancelled",
        )
    )
    if active.sum() < 2:
        flags.append(
            f"{_many(int(active.sum()), 'latent is', 'latents are')} active: all that compares "
            "latents is undefined."
        )
        return scores
    if bool((hessian.diagonal(dim1=-2, dim2=-1)[..., active] == 0).any()):
        flags.append(
            "The second term's off-diagonality is not defined: somewhere the decoder does not "
            "curve along an active latent."
        )
    else:
        scores |= _both_orders("hessian", hessian, found.hessian, active, flags)
    scores |= _both_orders("gram", gram, found.gram, active, flags)
    kept = gram[..., active, :][..., active]
    if scores["gram_off_diagonal"] is not None:
        turned = [
            metrics.off_diagonality(Q.mT @ kept @ Q).mean() for Q in _rotations(kept.shape[-1])
        ]
        scores["gram_off_diagonal_turned"] = torch.stack(turned).mean().item()
    if scores["hessian_off_diagonal"] is not None:
        try:
            scores["cancelled"] = cancelled_share(found, beta=variance, active=active)
        except ValueError as error:
            flags.append(f"The share that cancels is not defined: {error}")
    return scores


def _both_orders(
    name: str, terms: Tensor, means: Tensor, active: Tensor, flags: list[str]
) -> dict[str, Estimate]:
    """Mean of the scores, and score of the mean, of one term."""
    score = _attempt(
        f"Off-diagonality of the {name}",
        flags,
        lambda: metrics.off_diagonality(terms, active).mean(0),
    )
    if score is None:
        return {}
    return {f"{name}_off_diagonal": score, f"{name}_off_diagonal_of_mean": _of_mean(means, active)}


def _of_mean(matrices: Tensor, active: Tensor) -> Estimate:
    """Score of the mean matrix, with its jackknife error over samples."""
    n = len(matrices)
    without = (matrices.sum(0) - matrices) / (n - 1)
    scores = metrics.off_diagonality(without, active)
    error = ((n - 1) / n * (scores - scores.mean()).square().sum()).sqrt()
    return Estimate(metrics.off_diagonality_of_mean(matrices, active).item(), error.item())


def _rotations(latent: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (_ROTATIONS, latent, latent)
    return list(torch.linalg.qr(torch.randn(shape, generator=generator, dtype=torch.float64))[0])


def _constraints(
    model: _Model, gram: Tensor, z: Tensor, active: Tensor, piecewise: bool, flags: list[str]
) -> dict[str, Any]:
    """C1, C2 and what follows from them, over active latents."""
    names = ("axis_angle", "dto", "c2", "c_ima", "flatness")
    if active.sum() < 2:
        return dict.fromkeys(names)
    kept = gram[..., active, :][..., active]
    _, V = torch.linalg.eigh(kept.flatten(0, 1))
    mean_of_draws = lambda values: values.unflatten(0, kept.shape[:2]).mean(0)
    inner, some = model.within(active), z[:, active].to(model.dtype)

    def angle() -> Tensor:
        permutation, _ = align_axes(V)
        near = torch.take_along_dim(V, permutation.unsqueeze(1), 2).diagonal(dim1=1, dim2=2)
        return mean_of_draws(near.abs().clamp(max=1).acos().rad2deg().mean(1))

    def c2() -> Tensor:
        return c2_violation(inner, some[:_C2_SAMPLES], coinciding="nan", chunk_size=model.chunk)

    def flatness() -> Tensor:
        few = some[: max(4, min(_C2_SAMPLES, _CURVATURE_PRODUCTS // some.shape[1] ** 2))]
        _, s, _ = jacobian_svd(inner, few, chunk_size=model.chunk)
        chunk = max(1, _CURVATURE_ENTRIES // (s.shape[1] ** 2 * model.data))
        R = riemann_curvature(inner, few, chunk_size=chunk)
        sectional = torch.einsum("nabab->nab", R)
        turn = (sectional * s[:, :, None] * s[:, None]).abs()
        a, b = torch.triu_indices(s.shape[1], s.shape[1], 1)
        return turn[:, a, b].mean(1)

    return {
        "axis_angle": _attempt("The angle of C1", flags, angle),
        "dto": _attempt(
            "The distance of V to a permutation",
            flags,
            lambda: mean_of_draws(metrics.distance_to_orthogonality(V)),
        ),
        "c2": None if piecewise else _attempt("C2", flags, c2),
        "c_ima": _attempt(
            "The contrast of independent mechanisms",
            flags,
            lambda: metrics.independent_mechanism_contrast(kept).mean(0),
        ),
        "flatness": None if piecewise else _attempt("Flatness", flags, flatness),
    }


def _attempt(name: str, flags: list[str], values: Callable[[], Tensor]) -> Estimate | None:
    """Mean of values that may be undefined, in all or in some samples; a flag says so."""
    try:
        found = values().double()
    except ValueError as error:
        flags.append(f"{name} is not defined: {error}")
        return None
    defined = found[found.isfinite()]
    if len(defined) < len(found):
        flags.append(
            f"{name} is defined in {len(defined)} of {len(found)} samples: elsewhere singular "
            "values coincide."
        )
    return _estimate(defined) if len(defined) > 1 else None


@dataclass(frozen=True)
class _Informed:
    """What latents say of factors."""

    names: tuple[str, ...] = ()
    matrix: Tensor | None = None
    shares: Tensor | None = None  # of each factor's entropy, without the bias of few samples
    mig: float | None = None
    aas: float | None = None
    probe: dict[str, float] | None = None


def _information(
    factors: Tensor | None,
    names: tuple[str, ...],
    latents: Tensor,
    means: Tensor,
    flags: list[str],
) -> _Informed:
    if factors is None:
        return _Informed()
    varies = (factors != factors[:1]).any(0)
    if not varies.all():
        dropped = ", ".join(n for n, v in zip(names, varies, strict=True) if not v)
        flags.append(f"These factors do not vary and were left out: {dropped}.")
    factors = factors[:, varies]
    names = tuple(n for n, v in zip(names, varies, strict=True) if v)
    if not names:
        return _Informed()
    matrix = metrics.mutual_information(latents, factors, _BINS)
    entropies = metrics.entropies(factors).to(matrix)
    values = torch.tensor([len(column.unique()) for column in factors.T])
    bias = (_BINS - 1) * (values - 1) / (2 * len(factors))
    if (bias > MIXED[0] * entropies).any():
        flags.append(
            f"Information from {len(factors)} data is overstated by up to {bias.max().item():.2g} "
            "nats, so MIG and AAS are unreliable: pass more of `x`."
        )
    probe = {}
    for column, name in enumerate(names):
        try:
            probe[name] = metrics.linear_probe_r2(means, factors[:, column : column + 1]).item()
        except ValueError as error:
            flags.append(f"The linear probe of {name} is not defined: {error}")
    enough = latents.shape[1] > 1
    return _Informed(
        names=names,
        matrix=matrix,
        shares=(matrix - bias).clamp(min=0) / entropies,
        mig=metrics.mutual_information_gap(matrix, entropies) if enough else None,
        aas=metrics.axis_alignment_score(matrix),
        probe=probe,
    )


def _pairs(
    grams: Tensor, active: Tensor, beta: float, variance: float, informed: _Informed
) -> tuple[Pair, ...]:
    """Every two active latents, the least distinct first."""
    kept = active.nonzero()[:, 0].tolist()
    pairs = [
        _pair(grams[:, [i, j]][:, :, [i, j]], (i, j), beta, variance, informed)
        for place, i in enumerate(kept)
        for j in kept[place + 1 :]
    ]
    return tuple(sorted(pairs, key=lambda pair: pair.ratio))


def _pair(
    block: Tensor, latents: tuple[int, int], beta: float, variance: float, informed: _Informed
) -> Pair:
    """The plane of two latents, from its blocks of J'J [sample, 2, 2]."""
    n = len(block)
    centre = ((block[:, 0, 0] + block[:, 1, 1]) / 2).clamp(min=torch.finfo(block.dtype).tiny)
    d, c = (block[:, 0, 0] - block[:, 1, 1]) / 2 / centre, block[:, 0, 1] / centre
    pull = torch.stack([d.square() - c.square(), 2 * d * c], 1)
    mean = pull.mean(0)
    gap = 2 * mean.norm().sqrt().item()
    # Rounding alone must not decide where samples do not differ, as with a linear decoder.
    covariance = pull.T.cov() + torch.finfo(pull.dtype).eps * torch.eye(2).to(pull)
    statistic = n * (mean @ torch.linalg.solve(covariance, mean)).item()
    bound = (n - 1) * ((1 - CONFIDENCE) ** (-2 / (n - 2)) - 1)
    return Pair(
        latents=latents,
        ratio=math.sqrt((2 + gap) / (2 - gap)) if gap < 2 else math.inf,
        angle=math.degrees(0.25 * abs(math.atan2(mean[1].item(), mean[0].item()))),
        turn_cost=_turn_cost(block, beta, variance),
        distinct=gap >= NEAR and statistic > bound,
        mixed=_mixed(latents, informed),
    )


def _turn_cost(block: Tensor, beta: float, variance: float) -> float:
    """What the worst rotation of the plane costs a diagonal posterior against the best."""
    P = torch.eye(2).to(block) + block / variance
    angle = torch.deg2rad(torch.arange(90, dtype=block.dtype))[:, None]  # then it repeats
    centre, across = (P[:, 0, 0] + P[:, 1, 1]) / 2, (P[:, 0, 0] - P[:, 1, 1]) / 2
    swing = across * (2 * angle).cos() + P[:, 0, 1] * (2 * angle).sin()
    loss = 0.5 * beta * ((centre + swing).log() + (centre - swing).log()).mean(1)
    return (loss.max() - loss.min()).item()


def _mixed(latents: tuple[int, int], informed: _Informed) -> tuple[str, ...]:
    if informed.shares is None:
        return ()
    low, high = informed.shares[list(latents)].aminmax(dim=0)
    both = (low > MIXED[0]) & (low >= MIXED[1] * high)
    return tuple(name for name, mixed in zip(informed.names, both, strict=True) if mixed)


# --- words --------------------------------------------------------------------------------------


def _sentences(found: Diagnosis) -> list[str]:
    """The findings, before the flags."""
    kept = found.active.nonzero()[:, 0].tolist()
    said = []
    if found.collapsed:
        said.append(
            f"Collapsed: the rate is {found.rate.value:.2g} nats a datum, so that posteriors "
            "ignore the data."
        )
    which = f" ({', '.join(map(str, kept))})" if 0 < len(kept) < len(found.active) else ""
    many = _many(len(kept), "latent", "latents")
    said.append(f"{many} of {len(found.active)} active{which}.")
    if found.difference is not None:
        said.append(_on_equation_6(found))
    if found.gram_off_diagonal is not None and found.gram_off_diagonal_turned is not None:
        said.append(_on_axes(found.gram_off_diagonal, found.gram_off_diagonal_turned))
    if found.cancelled is not None and found.hessian_off_diagonal is not None:
        said.append(
            f"P1: the second term's off-diagonality is {found.hessian_off_diagonal.value:.2f}; of "
            f"what is off the diagonal in both terms, {max(found.cancelled, 0):.0%} cancels."
        )
    if found.c2 is not None:
        said.append(
            f"C2: {found.c2.value:.0%} of the change of the singular values is along other "
            f"latents than their own; unrelated axes would have {1 - 1 / len(kept):.0%}."
        )
    return said + _on_pairs(found)


def _on_equation_6(found: Diagnosis) -> str:
    assert found.difference is not None
    which = "in all entries" if found.covariance == "full" else "on the diagonal"
    size = f"Eq. 6: both sides differ by {found.difference.value:.0%} {which}"
    given = found.beta * found.sigma**2
    if found.difference.value < CLOSE:
        return f"{size}: these posteriors are near their optimum."
    if not 0.5 < found.implied_variance / given < 2:
        return (
            f"{size}; they would agree on average for beta sigma^2 = "
            f"{found.implied_variance:.2g}, not {given:.2g}: is the loss summed over a datum?"
        )
    return f"{size}: the encoder is not at the optimum of each datum."


def _on_axes(score: Estimate, turned: float) -> str:
    number = (
        f"C1: the Jacobian's columns have a mean |cos| of {score.value:.2f} +- {score.error:.1g}, "
        f"against {turned:.2f} after a random rotation of the latents"
    )
    if score.value < ALIGNED[0] * turned:
        return f"{number}: the axes mean something."
    if score.value < ALIGNED[1] * turned:
        return f"{number}: the axes are better than most, but not by much."
    return f"{number}: any axes would do as well."


def _on_pairs(found: Diagnosis) -> list[str]:
    close = [pair for pair in found.pairs if not pair.distinct]
    said = []
    for pair in close[:_SHOWN]:
        i, j = pair.latents
        mixed = f"; {_listed(pair.mixed)} mixed in them" if pair.mixed else ""
        if pair.ratio > _NEAR_RATIO:
            said.append(
                f"Latents {i} and {j}: whether one direction is preferred is within the sampling "
                f"error (ratio {pair.ratio:.2f}){mixed}; take more `samples`."
            )
            continue
        said.append(
            f"Latents {i} and {j} have nearly equal singular values (ratio {pair.ratio:.2f}): any "
            f"rotation of the two satisfies C1-C2 equally well{mixed}."
        )
    if len(close) > _SHOWN:
        said.append(f"So have {len(close) - _SHOWN} more pairs of latents, see `pairs`.")
    apart = [pair for pair in found.pairs if pair.distinct]
    if apart and not close:
        i, j = apart[0].latents
        said.append(
            "All active latents have singular values distinct enough to be told apart; the "
            f"closest are {i} and {j} (ratio {apart[0].ratio:.2f})."
        )
    turned = [pair for pair in apart if pair.angle > TURNED]
    if turned:
        worst = max(turned, key=lambda pair: pair.turn_cost)
        i, j = worst.latents
        mixed = f"; {_listed(worst.mixed)} mixed in them" if worst.mixed else ""
        said.append(
            f"{_many(len(turned), 'pair', 'pairs')} of latents could be told apart but are not on "
            f"their axes: {i} and {j}, say, stand at {worst.angle:.0f} degrees (ratio "
            f"{worst.ratio:.2f}){mixed}."
        )
    return said


def _many(count: int, one: str, more: str) -> str:
    return f"{count or 'No'} {one if count == 1 else more}"


def _listed(names: Sequence[str]) -> str:
    verb = "is" if len(names) == 1 else "are"
    return f"{', '.join(names[:-1])} and {names[-1]} {verb}" if names[1:] else f"{names[0]} {verb}"


# --- picture ------------------------------------------------------------------------------------


def _drawn(found: Diagnosis) -> "Figure":
    import matplotlib
    import matplotlib.pyplot as plt

    from seams import plotting

    order = found.activity.argsort(descending=True)
    with matplotlib.rc_context():
        plotting.use_style()
        figure, panels = plt.subplots(2, 3, figsize=(6.75, 4.0))
        _draw_activity(panels[0, 0], found, order)
        _draw_singular_values(panels[0, 1], found, order)
        _draw_sides(panels[0, 2], found)
        terms = [m.abs().mean(0)[order][:, order].numpy() for m in (found.grams, found.hessians)]
        top = max(float(term.max()) for term in terms) or 1.0
        labels = (r"$J^\top J$", r"$(x-d)^\top H$")
        for ax, term, label in zip(panels[1], terms, labels, strict=False):
            image = plotting.plot_magnitude(ax, term, top / 1e4, top)
            ax.set_xlabel(f"{label}, mean |entry|")
        figure.colorbar(image, ax=list(panels[1, :2]), shrink=0.9)
        if found.information is not None:
            shown = found.information[order].numpy()
            plotting.plot_information(
                panels[1, 2], shown, found.factor_names, max(float(shown.max()), 1e-9),
                aspect="auto",
            )  # fmt: skip
            panels[1, 2].set_xlabel("latents; information, nats")
        else:
            _draw_pairs(panels[1, 2], found)
    return figure


def _draw_activity(ax: "Axes", found: Diagnosis, order: Tensor) -> None:
    from seams.plotting import COLOURS

    colours = [COLOURS[found.covariance] if found.active[j] else "#bbbbbb" for j in order]
    ax.bar(range(len(order)), found.activity[order].clamp(min=1e-6).tolist(), color=colours)
    ax.axhline(0.01, color="black", linewidth=0.6, linestyle=":")
    ax.set_yscale("log")
    ax.set_xticks(range(len(order)), [str(j) for j in order.tolist()])
    ax.set_xlabel("latent, by activity")
    ax.set_ylabel(r"activity $\mathrm{Var}_x\,\mu_j$")


def _draw_singular_values(ax: "Axes", found: Diagnosis, order: Tensor) -> None:
    from seams.plotting import COLOURS

    kept = [j for j in order.tolist() if found.active[j]]
    lengths = found.grams.diagonal(dim1=1, dim2=2).sqrt()[:, kept]
    ax.errorbar(
        range(len(kept)),
        [length.mean().item() for length in lengths.T],
        [length.std().item() for length in lengths.T],
        fmt="o",
        color=COLOURS[found.covariance],
    )
    ax.set_xticks(range(len(kept)), [str(j) for j in kept])
    ax.set_ylim(0)
    ax.set_xlabel("active latent")
    ax.set_ylabel(r"column of $J$, length $\pm$ sd")


def _draw_sides(ax: "Axes", found: Diagnosis) -> None:
    from seams.plotting import COLOURS

    entries = lambda sides: sides.diagonal(dim1=1, dim2=2)[:, found.active].flatten().numpy()
    left, right = entries(found.left), entries(found.right)
    if len(left):
        ax.plot(left, right, ".", color=COLOURS[found.covariance], markersize=2, alpha=0.5)
        ends = (left.min(), left.max())
        ax.plot(ends, ends, color="black", linewidth=0.6)
        ax.set_xscale("log")
        ax.set_yscale("log", nonpositive="mask")
    ax.set_xlabel(r"$[\Sigma_x^{-1}]_{jj}$")
    ax.set_ylabel("right side of Eq. 6")


def _draw_pairs(ax: "Axes", found: Diagnosis) -> None:
    from seams.plotting import COLOURS

    for distinct, colour in ((True, COLOURS[found.covariance]), (False, "black")):
        some = [pair for pair in found.pairs if pair.distinct is distinct]
        label = "distinct" if distinct else "not distinct"
        ax.plot(
            [pair.ratio for pair in some], [pair.angle for pair in some], "o", color=colour,
            label=label,
        )  # fmt: skip
    ax.set_xlabel("ratio of singular values, a pair")
    ax.set_ylabel("angle to the axes, degrees")
    ax.set_ylim(0, 46)
    ax.legend()
