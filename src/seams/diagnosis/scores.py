"""The scores of a diagnosis, from derivatives and posteriors over the data."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seams import metrics
from seams.derivatives import Precision, align_axes, jacobian_svd
from seams.diagnosis.model import _Model
from seams.diagnosis.result import CONFIDENCE, MIXED, NEAR, Estimate, Pair
from seams.diagnosis.sides import _estimate, _rotations, cancelled_share
from seams.diagnosis.words import _many
from seams.geometry import c2_violation, riemann_curvature

_C2_SAMPLES = 32  # a latent takes one Hessian-vector product each
_CURVATURE_PRODUCTS = 400  # second derivatives of the decoder, d^2 of them a sample
_CURVATURE_ENTRIES = 2**19  # of second derivatives held at once, one sample of 64 x 64 pixels
_FEWEST = 4  # with 3, the test of a gap has one degree of freedom
_DECODED = 1_024  # data decoded for the distortion, 128 at a time
_BINS = 20  # of the histogram of a latent, as in `seams.metrics.mutual_information`


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
        turned = [metrics.off_diagonality(Q.mT @ kept @ Q).mean() for Q in _rotations(kept)]
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
