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
    "DecoderFindings",
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

NEAR_RATIO = math.sqrt((2 + NEAR) / (2 - NEAR))  # of the singular values at that gap

CONFIDENCE = 0.95  # of the test whether a gap exceeds its sampling error

MIXED = (0.1, 0.5)
"""A factor is mixed in two latents if each knows more than this share of its entropy, and the
lesser one at least this share of what the greater one knows."""

CLOSE = 0.1  # relative difference of both sides of Eq. 6 below which the verdict calls them close

ALIGNED = (0.5, 0.9)
"""Shares of the off-diagonality after random rotations: below the first the verdict says that the
axes mean something, above the second that any would do as well."""

TURNED = 15.0  # degrees from which the verdict calls a pair of distinct latents off its axes


@dataclass(frozen=True)
class Estimate:
    """A mean over samples."""

    value: float
    error: float  # standard error

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

    `turn_cost` is that of the loss: Eq. 4 beyond the linear case, with $I + J^\top J /
    (\beta\sigma^2)$ as precision. A pair is `distinct` if its gap is `NEAR` or more and $t$
    exceeds its sampling error (Hotelling's test, `CONFIDENCE`).
    """

    latents: tuple[int, int]  # their indices
    ratio: float  # larger over smaller singular value at that gap; 1 if no direction is preferred
    angle: float  # degrees from the latents to the axes that the data prefer, 0 to 45
    turn_cost: float  # of the worst angle for a diagonal posterior against the best, nats a datum
    distinct: bool  # whether they can be told apart
    mixed: tuple[str, ...]  # names of the factors that both latents tell of, see `MIXED`


@dataclass(frozen=True, eq=False)
class Findings:
    """What `diagnose` found. Matrices are over all latents, scores over the active ones.

    A score is None where it is not defined; `flags` says why. The posteriors' KL is that to the
    prior. An `implied_variance` far from what was given tells of a loss with another reduction.
    """

    likelihood: str  # as given; "custom" for a function
    beta: float
    sigma: float  # as given; 1 for a likelihood that is not Gaussian
    covariance: Covariance  # of the posteriors found
    data: int  # number encoded
    activity: Float[Tensor, " latent"]  # variance of each posterior mean over the data
    active: Bool[Tensor, " latent"]  # activity above 0.01
    kl: Float[Tensor, " latent"]  # mean KL of each latent's marginal, nats
    rate: Estimate  # KL, nats a datum
    distortion: Estimate  # squared error summed over a datum, else -log p in nats; one draw each
    grams: Float[Tensor, "sample latent latent"]  # first term of Eq. 6, without 1/(beta sigma^2)
    hessians: Float[Tensor, "sample latent latent"]  # second term; enters with a minus
    left: Float[Tensor, "sample latent latent"]  # $\Sigma_x^{-1}$ of each sample
    right: Float[Tensor, "sample latent latent"]  # Eq. 6, mean over draws
    right_error: Float[Tensor, "sample latent latent"]  # standard errors
    difference: Estimate | None  # Eq. 6, relative; rms of the conditions, less noise
    implied_variance: float  # beta sigma^2 for which Eq. 6's diagonal holds on average
    gram_off_diagonal: Estimate | None  # App. E's score, mean over samples and draws
    gram_off_diagonal_of_mean: Estimate | None  # score of the mean of $G$
    hessian_off_diagonal: Estimate | None  # as of $G$, of $H$
    hessian_off_diagonal_of_mean: Estimate | None
    cancelled: float | None  # see `cancelled_share`
    axis_angle: Estimate | None  # C1: of singular vectors to their axes, mean, degrees
    dto: Estimate | None  # C1: distance of V to the nearest signed permutation
    c2: Estimate | None  # off-diagonal share of $\partial s_i / \partial z_j$
    tangent_share: Estimate | None  # of the squared residual; None unless Gaussian
    tangent_off_diagonal: Estimate | None  # as of $H$, of that part alone
    c_ima: Estimate | None  # contrast of independent mechanism analysis, nats
    flatness: Estimate | None  # mean |turn| round a unit of latent area, radians; 0 if flat
    random: dict[str, float]  # by name, the mean of a score over random rotations (`seams.scores`)
    pairs: tuple[Pair, ...]  # every two active latents, the least distinct first
    factor_names: tuple[str, ...]
    information: Float[Tensor, "latent factor"] | None  # $I(z_j; v_k)$, nats, one draw a datum
    mig: float | None  # mutual information gap, mean over factors
    aas: float | None  # axis alignment score; its floor is (1/d + 1/k) / 2
    known: dict[str, float]  # scores of active latents that others use: see `Diagnosis.table`
    probe: dict[str, float]  # held-out $R^2$ of a linear probe of the means, a factor
    flags: tuple[str, ...]  # what could not be computed, or should be known; one sentence each

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


@dataclass(frozen=True, eq=False)
class DecoderFindings:
    """What `diagnose_decoder` found: of `Findings` what needs no posterior, and `movement`.

    Matrices are over all latents, in units of their standard deviation; scores over those that
    move the output. A score is None where it is not defined; `flags` says why. In `pairs` the cost
    of a turn is NaN: it is one of a loss.
    """

    likelihood: str
    data: int  # number of latents given
    movement: Float[Tensor, " latent"]  # of the output, over that by the latent that moves it most
    active: Bool[Tensor, " latent"]  # movement above `least`
    grams: Float[Tensor, "sample latent latent"]  # $J^\top J$
    gram_off_diagonal: Estimate | None  # App. E's score, mean over samples
    gram_off_diagonal_of_mean: Estimate | None
    axis_angle: Estimate | None
    dto: Estimate | None
    c2: Estimate | None
    c_ima: Estimate | None
    flatness: Estimate | None
    random: dict[str, float]
    pairs: tuple[Pair, ...]
    factor_names: tuple[str, ...]
    information: Float[Tensor, "latent factor"] | None
    mig: float | None
    aas: float | None
    known: dict[str, float]
    probe: dict[str, float]
    flags: tuple[str, ...]

    @property
    def gram_off_diagonal_turned(self) -> float | None:
        """`gram_off_diagonal` in random axes."""
        return self.random.get("gram_off_diagonal")
