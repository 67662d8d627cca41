"""One run of training, whole: what is trained, on what, how; and the schedule of beta."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, no_type_check

import torch
from torch import Tensor

from seams.data import alike
from seams.networks import Activation, Covariance, Heads, OffDiagonal
from seams.vae import Likelihood

__all__ = ["CHUNK", "TrainConfig", "beta_at", "covariance_at", "stack_key"]

CHUNK = 128  # steps, of a log and a checkpoint, drawn at once: another value gives other draws

# Beyond these no machine at hand trains such a run, and what is allocated first ends the process.
_LARGEST = {
    "resolution": 4096, "width": 16_384, "depth": 1000, "latent": 4096, "batch": 1_000_000,
    "images": 10**12, "seed": 2**63 - 1, "snapshots": 100_000,
}  # fmt: skip


@no_type_check  # by the shape hook, which would refuse an int for a float before we can convert it
@dataclass(frozen=True)
class TrainConfig:
    """One run, whole: what is trained, on what, how. Equal configurations give equal results.

    Attributes:
        dataset: A name for `seams.data.load`.
        resolution: Side of the images in pixels; block averages of 64 for dSprites.
        network: "burgess" is the paper's.
        width: Units of each hidden layer of "mlp".
        depth: Hidden layers of "mlp".
        activation: Smooth by default, since Eq. 6 needs Hessians; the paper's net has ReLU.
        latent: Latents d; 10 on dSprites as in Section 7.
        covariance: Of the posterior, at the end if it changes; "none" trains an autoencoder: no
            noise and no KL term, so that beta counts for nothing.
        covariance_start: Of the posterior up to `hold`, whose change of kind leaves the marginals
            as they are; None: it is `covariance` throughout.
        off_diagonal: Of a full posterior's Cholesky factor: "relative" to the scale of their row,
            or "absolute", which a small beta makes hard to train.
        likelihood: Gaussian in the paper; App. B speaks of any.
        sigma: Standard deviation of x given z in the unit of x; the paper states none. 1 with SSE
            summed over 64 x 64 pixels fits its Figure 11; averages of 4 x 4 pixels need 1/4.
        beta: Weight of the KL term, at the end if it changes.
        beta_start: Whence beta moves exponentially to `beta` (Appendix G); None: it is constant.
        hold: Fraction of the run before beta moves, 0 in the paper, or the covariance changes.
        warmup: Fraction in which the KL term's weight rises linearly from zero, lest a net stay on
            the plateau where all latents are collapsed.
        images: Training images shown in all, with repetition.
        batch: Images a step; 64 in Burgess et al. 2018.
        learning_rate: Of Adam; 5e-4 in the public versions of Burgess et al. 2018.
        seed: Of initial weights, order of data and draws.
        precision: Weights, moments, heads of the posterior and losses are float32; "bfloat16" is
            for the other layers, "tf32" lets a GPU, no CPU, round what it multiplies to ten bits.
        snapshots: Points, equally spaced in the logarithm of steps, whose weights are kept; in
            the steps themselves if there is a `covariance_start`.
    """

    dataset: str = "dsprites"
    resolution: int = 64
    network: Literal["linear", "mlp", "burgess"] = "burgess"
    width: int = 128
    depth: int = 2
    activation: Activation = "silu"
    latent: int = 10
    covariance: Heads = "diagonal"
    likelihood: Likelihood = "gaussian"
    sigma: float = 1.0
    beta: float = 1.0
    beta_start: float | None = None
    hold: float = 0.0
    warmup: float = 0.05
    images: int = 512_000
    batch: int = 64
    learning_rate: float = 5e-4
    seed: int = 0
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    snapshots: int = 0
    covariance_start: Covariance | None = None
    off_diagonal: OffDiagonal = "absolute"

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, _checked(item.name, item.type, self[item.name]))
        for name in ("images", "batch", "latent", "width", "resolution"):
            if self[name] < 1:
                raise ValueError(f"`{name}` must be 1 or more; got {self[name]}.")
        for name in ("beta", "beta_start", "sigma", "learning_rate"):
            value = self[name]
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` must be a positive number; got {value!r}.")
        for name, most in _LARGEST.items():
            if self[name] > most:
                raise ValueError(f"`{name}` must be {most:,} or less; got {self[name]:,}.")
        for name in ("depth", "snapshots", "seed"):
            if self[name] < 0:
                raise ValueError(f"`{name}` must not be negative; got {self[name]}.")
        for name in ("hold", "warmup"):
            if not 0 <= self[name] < 1:
                raise ValueError(
                    f"`{name}` is a fraction of the run, 0 <= {name} < 1; got {self[name]}."
                )
        if self.hold and self.beta_start is None and self.covariance_start is None:
            raise ValueError(
                "`hold` needs a `beta_start` or `covariance_start` to hold; got "
                f"hold={self.hold} alone."
            )
        if self.covariance == "none" and (self.covariance_start or self.beta_start is not None):
            raise ValueError(
                "An autoencoder, `covariance` 'none', has no posterior and no KL term: neither "
                "`covariance_start` nor `beta_start` has a meaning for it. Leave them out."
            )
        if self.covariance_start and not 0 < self.change < self.steps:
            raise ValueError(
                f"`covariance_start` needs a `hold` that leaves {CHUNK} steps before and after "
                f"the change; got hold={self.hold} of {self.steps} steps."
            )

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    @property
    def steps(self) -> int:
        """Optimiser steps: enough batches to show `images`."""
        return math.ceil(self.images / self.batch)

    @property
    def change(self) -> int:
        """Steps before the covariance changes, whole chunks; 0 if it never does."""
        return CHUNK * math.ceil(self.hold * self.steps / CHUNK) if self.covariance_start else 0

    @property
    def effective_variance(self) -> float:
        """Effective noise variance beta sigma^2, all that matters for the optimum (App. B)."""
        return self.beta * self.sigma**2


def _checked(name: str, kind: Any, value: Any) -> Any:
    """`value` as the field's type: ints become floats where one is due, nothing else changes."""
    literal = [part for part in (kind, *get_args(kind)) if get_origin(part) is Literal]
    if literal:
        kind, optional = literal[0], type(None) in get_args(kind)
        if value is None and optional:
            return None
        if value not in get_args(kind):
            raise ValueError(f"`{name}` must be one of {get_args(kind)}; got {value!r}.")
        return value
    allowed = get_args(kind) or (kind,)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        names = " or ".join(part.__name__ for part in allowed)
        raise ValueError(f"`{name}` must be of type {names}; got {value!r}.")
    return value


def beta_at(config: TrainConfig, step: int | Tensor) -> Tensor:
    """KL weight after so many steps (a tensor's each), float64; App. G, but `hold` is ours."""
    progress = torch.as_tensor(step, dtype=torch.float64) / max(config.steps - 1, 1)
    beta = torch.full_like(progress, config.beta)
    if config.beta_start is not None:
        moved = (progress - config.hold) / (1 - config.hold)
        beta = config.beta_start * (config.beta / config.beta_start) ** moved.clamp(0, 1)
    if config.warmup:
        beta = beta * (progress / config.warmup).clamp(max=1)
    return beta


def covariance_at(config: TrainConfig, step: int) -> Heads:
    """Of the posterior in the step after so many."""
    started = config.covariance_start if step < config.change else None
    return started or config.covariance


def stack_key(config: TrainConfig) -> TrainConfig:
    """What the runs of a stack share: all but beta, its schedule, the seed and `alike` data."""
    shared = alike(config.dataset, config.resolution)
    hold = config.hold if config.covariance_start else 0.0
    return replace(config, beta=1.0, beta_start=None, hold=hold, seed=0, dataset=shared)
