"""The scores of a diagnosis, from derivatives and posteriors over the data."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seams import metrics
from seams.derivatives import Precision, align_axes, jacobian_svd
from seams.diagnosis.model import Model
from seams.diagnosis.result import MIXED, Estimate
from seams.diagnosis.words import many
from seams.geometry import riemann_curvature
from seams.metrics import BINS
from seams.scores import along_axes, cancelled_share, term_scores

__all__ = [
    "FEWEST",
    "Informed",
    "constraints",
    "diagonality",
    "gram_diagonality",
    "implied_variance",
    "information",
    "root_mean_square",
]

_C2_SAMPLES = 32  # a latent takes one Hessian-vector product each
_CURVATURE_PRODUCTS = 400  # second derivatives of the decoder, d^2 of them a sample
_CURVATURE_ENTRIES = 2**19  # of second derivatives held at once, one sample of 64 x 64 pixels
_MOST_CURVED = 64  # latents, of whose curvature a sample takes 134 MB
_NULL_DRAWS = 2  # whose terms are turned for the null: more draws tell the same
FEWEST = 4  # with 3, the test of a gap has one degree of freedom

_TERM_SCORES = {
    "gram_off_diagonal": "off_diagonal_gram",
    "gram_off_diagonal_of_mean": "off_diagonal_gram_of_mean",
    "hessian_off_diagonal": "off_diagonal_hessian",
    "hessian_off_diagonal_of_mean": "off_diagonal_hessian_of_mean",
    "dto": "dto",
    "c_ima": "c_ima",
}
"""Names here and in `seams.scores`."""


def root_mean_square(
    difference: Tensor, error: Tensor, active: Tensor, covariance: str
) -> Estimate | None:
    """Root mean square over the entries that are conditions, without the noise of the draws."""
    if not active.any():
        return None
    conditions = active[:, None] & active
    if covariance == "diagonal":
        conditions = conditions & torch.eye(len(active), dtype=torch.bool)
    square = (difference.square() - error.square())[:, conditions].mean(1)
    found = Estimate.of(square)
    root = math.sqrt(max(found.value, 0.0))
    # The error of a root, which has none at 0.
    return Estimate(root, found.error / (2 * root) if root > 0 else math.sqrt(found.error))


def implied_variance(found: Precision, left: Tensor, active: Tensor) -> float:
    r"""The $\beta\sigma^2$ for which the diagonal of Eq. 6 would hold on average."""
    diagonal = lambda matrices: matrices.diagonal(dim1=-2, dim2=-1)[:, active].sum().item()
    excess = diagonal(left - torch.eye(len(active)).to(left))
    return diagonal(found.gram - found.hessian) / excess if excess > 0 else math.nan


def diagonality(
    gram: Tensor, hessian: Tensor, found: Precision, active: Tensor, variance: float,
    kinked: bool, flags: list[str],
) -> dict[str, Any]:  # fmt: skip
    """How diagonal each term of Eq. 6 is, in both orders, and whether they cancel."""
    names = [name for name in _TERM_SCORES if "off_diagonal" in name]
    scores: dict[str, Any] = dict.fromkeys((*names, "cancelled")) | {"random": {}}
    if active.sum() < 2:
        flags.append(
            f"{many(int(active.sum()), 'latent is', 'latents are')} active: all that compares "
            "latents is undefined."
        )
        return scores
    if kinked:
        hessian = torch.zeros_like(hessian)  # autograd's is wrong, and its null means nothing
    elif bool((hessian.diagonal(dim1=-2, dim2=-1)[..., active] == 0).any()):
        flags.append(
            "The second term's off-diagonality is not defined: somewhere the decoder does not "
            "curve along an active latent."
        )
    else:
        scores |= _both_orders("hessian", hessian, found.hessian, active, flags)
    scores |= _both_orders("gram", gram, found.gram, active, flags)
    few = [term[:_NULL_DRAWS].flatten(0, 1) for term in (gram, hessian)]
    null = term_scores(few[0], few[1], active).scores
    values = {name: null[f"{theirs}_random"] for name, theirs in _TERM_SCORES.items()}
    scores["random"] = {name: value for name, value in values.items() if value is not None}
    if scores["hessian_off_diagonal"] is not None:
        try:
            scores["cancelled"] = cancelled_share(found, beta=variance, active=active)
        except ValueError as error:
            flags.append(f"The share that cancels is not defined: {error}")
    return scores


def gram_diagonality(gram: Tensor, active: Tensor, flags: list[str]) -> dict[str, Any]:
    """How diagonal J'J is, one matrix a sample, in both orders, and in random axes."""
    scores: dict[str, Any] = dict.fromkeys(name for name in _TERM_SCORES if "gram" in name)
    scores |= {"random": {}}
    if active.sum() < 2:
        flags.append("All that compares latents is undefined.")
        return scores
    scores |= _both_orders("gram", gram[None], gram, active, flags)
    null = term_scores(gram, torch.zeros_like(gram), active).scores
    values = {name: null[f"{theirs}_random"] for name, theirs in _TERM_SCORES.items()}
    scores["random"] = {name: value for name, value in values.items() if value is not None}
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


def constraints(
    model: Model,
    gram: Tensor,
    z: Tensor,
    x: Tensor | None,
    active: Tensor,
    kinked: bool,
    flags: list[str],
) -> dict[str, Any]:
    """C1, C2 and what follows from them, over active latents."""
    names = "axis_angle dto c2 c_ima flatness tangent_share tangent_off_diagonal"
    scores: dict[str, Any] = dict.fromkeys(names.split())
    if active.sum() < 2:
        return scores
    kept = gram[..., active, :][..., active]
    _, V = torch.linalg.eigh(kept.flatten(0, 1))
    mean_of_draws = lambda values: values.unflatten(0, kept.shape[:2]).mean(0)
    inner, some = model.within(active), z[:, active].to(model.dtype)

    def angle() -> Tensor:
        permutation, _ = align_axes(V)
        near = torch.take_along_dim(V, permutation.unsqueeze(1), 2).diagonal(dim1=1, dim2=2)
        return mean_of_draws(near.abs().clamp(max=1).acos().rad2deg().mean(1))

    def flatness() -> Tensor:
        few = some[: max(4, min(_C2_SAMPLES, _CURVATURE_PRODUCTS // some.shape[1] ** 2))]
        _, s, _ = jacobian_svd(inner, few, chunk_size=model.chunk)
        chunk = max(1, _CURVATURE_ENTRIES // (s.shape[1] ** 2 * model.data))
        R = riemann_curvature(inner, few, chunk_size=chunk)
        sectional = torch.einsum("nabab->nab", R)
        turn = (sectional * s[:, :, None] * s[:, None]).abs()
        a, b = torch.triu_indices(s.shape[1], s.shape[1], 1)
        return turn[:, a, b].mean(1)

    distance = lambda: mean_of_draws(metrics.distance_to_orthogonality(V))
    contrast = lambda: metrics.independent_mechanism_contrast(kept).mean(0)
    scores["axis_angle"] = _attempt("The angle of C1", flags, angle)
    scores["dto"] = _attempt("The distance of V to a permutation", flags, distance)
    scores["c_ima"] = _attempt("The contrast of independent mechanisms", flags, contrast)
    if kinked:
        return scores
    if some.shape[1] > _MOST_CURVED:
        flags.append(
            f"Flatness is left out: of {some.shape[1]} latents it takes {some.shape[1]}^4 numbers "
            "a sample."
        )
    else:
        scores["flatness"] = _attempt("Flatness", flags, flatness)
    data = None
    if x is not None and model.likelihood == "gaussian":
        data = x[:_C2_SAMPLES].to(model.dtype)
    try:
        along = along_axes(inner, some[:_C2_SAMPLES], data, model.chunk)
    except ValueError as error:
        flags.append(f"C2 is not defined: {error}")
        return scores
    scores["c2"] = _attempt("C2", flags, lambda: along.c2)
    if scores["c2"] is not None:
        scores["c2_random"] = along.c2_random.nanmean().item()
    if data is not None:
        share, term = along.tangent_share, along.tangent_hessian
        scores["tangent_share"] = _attempt("The tangent share", flags, lambda: share)
        if bool((term.diagonal(dim1=-2, dim2=-1) != 0).all()):
            of_term = lambda: metrics.off_diagonality(term)
            name = "Off-diagonality of the tangent part"
            scores["tangent_off_diagonal"] = _attempt(name, flags, of_term)
    return scores


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
    return Estimate.of(defined) if len(defined) > 1 else None


@dataclass(frozen=True)
class Informed:
    """What latents say of factors."""

    names: tuple[str, ...] = ()
    matrix: Tensor | None = None
    shares: dict[str, Tensor] = field(default_factory=dict)  # without the bias of few samples
    mig: float | None = None
    aas: float | None = None
    known: dict[str, float] = field(default_factory=dict)
    probe: dict[str, float] = field(default_factory=dict)


def information(
    factors: Tensor | None,
    names: tuple[str, ...],
    latents: Tensor,
    means: Tensor,
    active: Tensor,
    flags: list[str],
    alone: bool = False,
) -> Informed:
    """Information, MIG, AAS and the linear probe, of factors that vary."""
    # What inactive latents know of factors does not reach the output of a decoder `alone`.
    if factors is None:
        return Informed()
    varies = (factors != factors[:1]).any(0)
    if not varies.all():
        dropped = ", ".join(n for n, v in zip(names, varies, strict=True) if not v)
        flags.append(f"These factors do not vary and were left out: {dropped}.")
    factors = factors[:, varies]
    names = tuple(n for n, v in zip(names, varies, strict=True) if v)
    if not names:
        return Informed()
    matrix = metrics.mutual_information(latents, factors, BINS)
    matrix = matrix * active[:, None] if alone else matrix
    entropies = metrics.entropies(factors).to(matrix)
    values = torch.tensor([len(column.unique()) for column in factors.T])
    bias = (BINS - 1) * (values - 1) / (2 * len(factors))
    if (bias > MIXED[0] * entropies).any():
        flags.append(
            f"Information from {len(factors)} data is overstated by up to {bias.max().item():.2g} "
            "nats, so MIG and AAS are unreliable: pass more {'latents' if alone else 'of `x`'}."
        )
    probe = {}
    for column, name in enumerate(names):
        try:
            probe[name] = metrics.linear_probe_r2(means, factors[:, column : column + 1]).item()
        except ValueError as error:
            flags.append(f"The linear probe of {name} is not defined: {error}")
    enough = latents.shape[1] > 1
    known: dict[str, float] = {}
    if active.sum() > 1 and len(names) > 1:
        try:
            known = _known(means[:, active], factors, matrix[active], entropies)
        except ValueError as error:
            flags.append(f"SAP, DCI and InfoMEC are not defined: {error}")
    return Informed(
        names=names,
        matrix=matrix,
        shares=dict(zip(names, ((matrix - bias).clamp(min=0) / entropies).T, strict=True)),
        mig=metrics.mutual_information_gap(matrix, entropies) if enough else None,
        aas=metrics.axis_alignment_score(matrix) if matrix.any() else None,
        known=known,
        probe=probe,
    )


def _known(means: Tensor, factors: Tensor, matrix: Tensor, entropies: Tensor) -> dict[str, float]:
    """SAP, D and C of DCI, InfoM and InfoC of active latents."""
    importance = metrics.linear_importance(means, factors)
    return {
        "sap": metrics.separated_attribute_predictability(means, factors),
        **metrics.disentanglement_and_completeness(importance)._asdict(),
        **metrics.compactness_and_modularity(matrix, entropies)._asdict(),
    }
