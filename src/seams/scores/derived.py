"""Scores of both terms of Eq. 6, of C1 and C2, and of the residual's tangent part, by name.

Over active latents. `<score>_random` is the mean over random rotations of these, `<score>_ratio`
the score over that: 1 says that any axes would do as well.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jacfwd

from seams import metrics
from seams.derivatives import Decoder
from seams.derivatives.mapping import over_batch
from seams.derivatives.pointwise import component
from seams.derivatives.singular import singular_frame
from seams.geometry.conditions import off_diagonal_share
from seams.scores.axes import c2_in_random_axes, dto_in_random_axes, in_random_axes
from seams.shapes import Bool, Float

__all__ = ["Along", "Scored", "along_axes", "along_scores", "term_scores"]

_NOTHING = 1e-9  # a score in random axes below it is rounding: there is nothing to turn

_ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "": metrics.off_diagonality,
    "_of_mean": metrics.off_diagonality_of_mean,
    "_of_abs": lambda matrices: metrics.off_diagonality_of_mean(matrices.abs()),
}
"""App. E's score: the mean of single ones, of the mean matrix, of the mean absolute matrix."""


@dataclass
class Scored:
    """Scores by name, None where one cannot be computed, and for these the reason in words."""

    scores: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def attempt(self, name: str, compute: Callable[[], Any]) -> Any:
        """What is computed, or None with the reason that it cannot be."""
        try:
            return compute()
        except torch.OutOfMemoryError:
            raise  # of the moment, and not of the model
        except (ValueError, ArithmeticError, RuntimeError) as error:
            self.reasons[name] = " ".join(str(error).split()) or type(error).__name__
            return None

    def add(self, name: str, compute: Callable[[], Any]) -> None:
        """One score, which must be finite."""
        value = self.attempt(name, lambda: float(compute()))
        if value is not None and not math.isfinite(value):
            self.reasons[name], value = f"it is {value}", None
        self.scores[name] = value

    def beside(self, name: str, own: Callable[[], Any], random: Callable[[], Any]) -> None:
        """One score, its value in random axes, and their ratio."""
        self.add(name, own)
        self.add(f"{name}_random", random)
        top, below = self.scores[name], self.scores[f"{name}_random"]
        known = top is not None and below is not None and below > _NOTHING
        self.scores[f"{name}_ratio"] = top / below if known else None

    def update(self, other: "Scored") -> None:
        """Add what another holds."""
        self.scores |= other.scores
        self.reasons |= other.reasons

    def undefined(self, names: Sequence[str], reason: str) -> None:
        """Scores that have no meaning here, each with its random value."""
        for name in names:
            self.scores |= dict.fromkeys((name, f"{name}_random", f"{name}_ratio"))
            self.reasons[name] = reason


def term_scores(
    gram: Float[Tensor, "batch latent latent"],
    hessian: Float[Tensor, "batch latent latent"],
    active: Bool[Tensor, " latent"],
) -> Scored:
    """How diagonal both terms of Eq. 6 are, and how near the singular vectors are to the axes."""
    # `off_diagonal_gram`, `off_diagonal_hessian`: mean over the batch of App. E's score;
    # `_of_mean`: score of the mean matrix; `_of_abs`: of the mean absolute matrix. The Hessian is
    # indefinite: where its diagonal passes through zero the score of a single matrix is unbounded,
    # and only `_of_abs` has a stable mean. `dto` and `c_ima` (Rolinek et al. 2019; Gresele et al.
    # 2021): means over the batch.
    found, few = Scored(), _few(active)
    kept = gram[:, active][:, :, active]
    for name, matrices in (("gram", kept), ("hessian", hessian[:, active][:, :, active])):
        _off_diagonal(found, f"off_diagonal_{name}", matrices, few)
    if few:
        found.undefined(("dto", "c_ima"), few)
        return found
    found.beside(
        "dto",
        lambda: metrics.distance_to_orthogonality(torch.linalg.eigh(kept)[1]).mean(),
        lambda: dto_in_random_axes(kept.shape[-1]),
    )
    lengths = lambda matrices: matrices.diagonal(dim1=-2, dim2=-1).log().sum(-1) / 2
    contrast = lambda: metrics.independent_mechanism_contrast(kept).mean()
    # A rotation leaves the determinant as it is.
    turned = lambda: contrast() + in_random_axes(kept, lengths) - lengths(kept).mean()
    found.beside("c_ima", contrast, turned)
    return found


def _few(active: Tensor) -> str | None:
    count = int(active.sum())
    return None if count > 1 else f"it compares latents, of which {count} are active"


def _off_diagonal(found: Scored, name: str, matrices: Tensor, reason: str | None) -> None:
    if not reason and bool((matrices.diagonal(dim1=-2, dim2=-1) == 0).any()):
        reason = "somewhere the decoder does not curve along an active latent"
    if reason:
        return found.undefined([name + order for order in _ORDERS], reason)
    for order, score in _ORDERS.items():
        own, random = partial(_mean, score, matrices), partial(in_random_axes, matrices, score)
        found.beside(name + order, own, random)


def _mean(score: Callable[[Tensor], Tensor], matrices: Tensor) -> Tensor:
    return score(matrices).mean()


@dataclass(frozen=True)
class Along:
    """What second derivatives along the singular vectors say at each sample; see `along_axes`."""

    c2: Float[Tensor, " batch"]  # off-diagonal share of ds_i / dz_j; NaN where values coincide
    c2_random: Float[Tensor, " batch"]  # its mean over random axes
    tangent_share: Float[Tensor, " batch"]  # $|U U^\top r|^2 / |r|^2$ of the residual $r$
    tangent_hessian: Float[Tensor, "batch latent latent"]  # $(U U^\top r)^\top H$


def along_axes(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    x: Float[Tensor, "batch data"] | None = None,
    chunk_size: int | None = None,
) -> Along:
    """C2, and how much of the residual $x - d(z)$ lies in the tangent space."""
    # The step from P1 to C2 (proof of Lemma 4.1) takes the residual along the tangent space. What
    # is normal to it is curvature of the manifold, of which C2 says nothing.
    frame = singular_frame(decoder, z, "nan", chunk_size)
    c2 = off_diagonal_share(frame.slopes, frame.s, frame.V)
    c2_random = c2_in_random_axes(frame.slopes, frame.s, frame.V)
    if x is None:
        return Along(c2, c2_random, torch.full_like(c2, torch.nan), torch.zeros_like(frame.slopes))
    U = frame.U * (frame.s > torch.finfo(z.dtype).eps * frame.s[:, :1]).unsqueeze(1)
    residual = x - over_batch(decoder, z, chunk_size=chunk_size)
    inside = (U.mT @ residual.unsqueeze(-1)).squeeze(-1)

    def directed(z: Tensor, r: Tensor) -> Tensor:
        return jacfwd(grad(partial(component, decoder, r)))(z)

    tangent = (U @ inside.unsqueeze(-1)).squeeze(-1)
    share = inside.square().sum(-1) / residual.square().sum(-1)
    return Along(c2, c2_random, share, over_batch(directed, z, tangent, chunk_size=chunk_size))


def along_scores(
    active: Bool[Tensor, " latent"], piecewise: bool, compute: Callable[[], Along]
) -> Scored:
    """`c2`, `tangent_share` and the tangent part's `off_diagonal_tangent`, as in `term_scores`."""
    found, reason = Scored(), _few(active)
    if piecewise:
        reason = "the decoder is piecewise linear, and autograd does not see its kinks"
    along = None if reason else found.attempt("c2", compute)
    if along is None:
        found.undefined(["c2"], reason := reason or found.reasons["c2"])
        _off_diagonal(found, "off_diagonal_tangent", torch.empty(0), reason)
        found.scores["tangent_share"], found.reasons["tangent_share"] = None, reason
        return found
    found.beside("c2", lambda: _defined(along.c2), lambda: _defined(along.c2_random))
    found.add("tangent_share", lambda: along.tangent_share.mean())
    _off_diagonal(found, "off_diagonal_tangent", along.tangent_hessian, None)
    return found


def _defined(values: Tensor) -> Tensor:
    if not values.isfinite().any():
        raise ValueError("singular values coincide in every sample")
    return values.nanmean()
