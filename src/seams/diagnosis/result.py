"""What a diagnosis says: estimates, pairs of latents, and the whole as a table."""

import math
from dataclasses import dataclass

from torch import Tensor

from seams.networks import Covariance
from seams.scores import COLLAPSED_RATE
from seams.shapes import Bool, Float

__all__ = [
    "ALIGNED",
    "CLOSE",
    "CONFIDENCE",
    "Estimate",
    "Findings",
    "MIXED",
    "NEAR",
    "NEAR_RATIO",
    "Pair",
    "TURNED",
]

NEAR = 0.1
"""Relative gap of two squared singular values below which they count as equal. At it, the wrong
angle costs a diagonal posterior beta / 2 log(1 + 0.1^2 / 4), about beta / 1000 nats a datum."""

NEAR_RATIO = math.sqrt((2 + NEAR) / (2 - NEAR))
"""Of the singular values at that gap."""

CONFIDENCE = 0.95
"""Of the test whether a gap exceeds its sampling error."""

MIXED = (0.1, 0.5)
"""A factor is mixed in two latents if each knows more than this share of its entropy, and the
lesser one at least this share of what the greater one knows."""

CLOSE = 0.1
"""Relative difference of both sides of Eq. 6 below which the verdict calls them close."""

ALIGNED = (0.5, 0.9)
"""Shares of the off-diagonality after random rotations: below the first the verdict says that the
axes mean something, above the second that any would do as well."""

TURNED = 15.0
"""Degrees from which the verdict calls a pair of distinct latents off its axes."""


@dataclass(frozen=True)
class Estimate:
    """A mean over samples.

    Attributes:
        value: The mean.
        error: Its standard error.
    """

    value: float
    error: float

    @classmethod
    def of(cls, values: Tensor) -> "Estimate":
        """Of one value a sample."""
        return cls(values.mean().item(), (values.std() / len(values) ** 0.5).item())


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
class Findings:
    r"""What `diagnose` found. Matrices are over all latents, scores over the active ones.

    A score is None where it is not defined; `flags` says why.

    Attributes:
        likelihood: As given; "custom" for a function.
        beta: As given.
        sigma: As given; 1 for a likelihood that is not Gaussian.
        covariance: Of the posteriors found.
        data: Number of data encoded.
        activity: Variance of each latent's posterior mean over the data.
        active: Activity above 0.01.
        kl: Mean KL of each latent's marginal to the prior, nats.
        rate: KL of the posterior to the prior, nats a datum.
        distortion: Squared error, summed over a datum; for another likelihood the negative
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
        hessian_off_diagonal: As for $G$, of $H$.
        hessian_off_diagonal_of_mean: As for $G$, of $H$.
        cancelled: Share of both terms' off-diagonal that cancels in their difference; see
            `cancelled_share`.
        axis_angle: C1: mean angle of the singular vectors to their axes, degrees.
        dto: C1: distance of V to the nearest signed permutation.
        c2: Off-diagonal share of $\partial s_i / \partial z_j$.
        tangent_share: Share of the squared residual $x - d(z)$ that lies in the tangent space;
            None unless the likelihood is Gaussian.
        tangent_off_diagonal: As for $H$, of the directed Hessian of that part alone.
        c_ima: Contrast of independent mechanism analysis, nats.
        flatness: Mean over planes of sectional curvature times $s_a s_b$: the angle in radians by
            which a direction turns when carried round one unit of latent area; 0 if flat.
        random: By name, the mean of a score over random rotations of the active latents, which is
            what axes that mean nothing would have (`seams.scores`).
        pairs: Every two active latents, the least distinct first.
        factor_names: One a factor.
        information: $I(z_j; v_k)$ in nats from one posterior draw a datum; None without factors.
        mig: Mutual information gap, mean over factors.
        aas: Axis alignment score; its floor is $(1/d + 1/k)/2$.
        probe: Held-out $R^2$ of a linear probe of the posterior means, a factor.
        flags: What could not be computed, or should be known; one sentence each.
    """

    likelihood: str
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
    hessian_off_diagonal: Estimate | None
    hessian_off_diagonal_of_mean: Estimate | None
    cancelled: float | None
    axis_angle: Estimate | None
    dto: Estimate | None
    c2: Estimate | None
    tangent_share: Estimate | None
    tangent_off_diagonal: Estimate | None
    c_ima: Estimate | None
    flatness: Estimate | None
    random: dict[str, float]
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
    def gram_off_diagonal_turned(self) -> float | None:
        """`gram_off_diagonal` in random axes."""
        return self.random.get("gram_off_diagonal")

    @property
    def collapsed(self) -> bool:
        """Whether posteriors ignore the data."""
        return self.rate.value < COLLAPSED_RATE
