"""A diagnosis in sentences."""

import math
from collections.abc import Sequence

from seams.diagnosis.result import (
    ALIGNED,
    CLOSE,
    NEAR,
    NEAR_RATIO,
    TURNED,
    DecoderFindings,
    Estimate,
    Findings,
)

__all__ = ["many", "on_axes", "sentences", "sentences_alone"]

_SHOWN = 4  # pairs that the verdict spells out
# Off-diagonality that the mean rotation gives to two squared singular values as near as `NEAR`:
# below it there is nothing to turn, and 0 is no merit.
_EQUAL = NEAR / math.pi


def sentences(found: Findings) -> list[str]:
    """The findings, before the flags."""
    kept = found.active.nonzero()[:, 0].tolist()
    said = []
    if found.collapsed:
        said.append(
            f"Collapsed: the rate is {found.rate.value:.2g} nats a datum, so that posteriors "
            "ignore the data."
        )
    which = f" ({', '.join(map(str, kept))})" if 0 < len(kept) < len(found.active) else ""
    said.append(f"{many(len(kept), 'latent', 'latents')} of {len(found.active)} active{which}.")
    if found.difference is not None:
        said.append(_on_equation_6(found))
    if found.gram_off_diagonal is not None and found.gram_off_diagonal_turned is not None:
        said.append(on_axes(found.gram_off_diagonal, found.gram_off_diagonal_turned))
    if found.cancelled is not None and found.hessian_off_diagonal is not None:
        said.append(
            f"P1: the second term's off-diagonality is {found.hessian_off_diagonal.value:.2f}; of "
            f"what is off the diagonal in both terms, {max(found.cancelled, 0):.0%} cancels."
        )
    return said + _on_c2(found) + _on_pairs(found, "active")


def sentences_alone(found: DecoderFindings) -> list[str]:
    """The findings of a decoder without an encoder, before the flags."""
    kept = found.active.nonzero()[:, 0].tolist()
    which = f" ({', '.join(map(str, kept))})" if 0 < len(kept) < len(found.active) else ""
    count = f"{many(len(kept), 'latent', 'latents')} of {len(found.active)}"
    said = [f"{count} move{'s' if len(kept) == 1 else ''} the output{which}."]
    if found.gram_off_diagonal is not None and found.gram_off_diagonal_turned is not None:
        said.append(on_axes(found.gram_off_diagonal, found.gram_off_diagonal_turned))
    said += _on_c2(found)
    if found.flatness is not None:
        said.append(
            f"A direction carried round a unit of latent area turns by {found.flatness.value:.2g} "
            "radians on average: 0 if the manifold is flat, as C1 and C2 together make it."
        )
    return said + _on_pairs(found, "moving")


def _on_c2(found: Findings | DecoderFindings) -> list[str]:
    if found.c2 is None or "c2" not in found.random:
        return []
    return [
        f"C2: {found.c2.value:.0%} of the change of the singular values is along other "
        f"latents than their own, against {found.random['c2']:.0%} in random axes."
    ]


def _on_equation_6(found: Findings) -> str:
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


def on_axes(score: Estimate, turned: float) -> str:
    """Whether the axes mean something, from the off-diagonality of J'J and its null."""
    number = (
        f"C1: the Jacobian's columns have a mean |cos| of {score.value:.2f} +- {score.error:.1g}, "
        f"against {turned:.2f} in random axes"
    )
    if turned < _EQUAL:
        return f"{number}: singular values are nearly equal, and any axes would do as well."
    if turned - score.value < 2 * score.error:
        return f"{number}: any axes would do as well, within the sampling error."
    if score.value < ALIGNED[0] * turned:
        return f"{number}: the axes mean something."
    if score.value < ALIGNED[1] * turned:
        return f"{number}: the axes are better than most, but not by much."
    return f"{number}: any axes would do as well."


def _on_pairs(found: Findings | DecoderFindings, which: str) -> list[str]:
    close = [pair for pair in found.pairs if not pair.distinct]
    said = []
    for pair in close[:_SHOWN]:
        i, j = pair.latents
        mixed = f"; {_listed(pair.mixed)} mixed in them" if pair.mixed else ""
        if pair.ratio > NEAR_RATIO:
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
            f"All {which} latents have singular values distinct enough to be told apart; the "
            f"closest are {i} and {j} (ratio {apart[0].ratio:.2f})."
        )
    turned = [pair for pair in apart if pair.angle > TURNED]
    if turned:
        # Where there is no loss there is no cost.
        worst = max(turned, key=lambda p: p.angle if math.isnan(p.turn_cost) else p.turn_cost)
        i, j = worst.latents
        mixed = f"; {_listed(worst.mixed)} mixed in them" if worst.mixed else ""
        said.append(
            f"{many(len(turned), 'pair', 'pairs')} of latents could be told apart but are not on "
            f"their axes: {i} and {j}, say, stand at {worst.angle:.0f} degrees (ratio "
            f"{worst.ratio:.2f}){mixed}."
        )
    return said


def many(count: int, one: str, more: str) -> str:
    """A number with its noun."""
    return f"{count or 'No'} {one if count == 1 else more}"


def _listed(names: Sequence[str]) -> str:
    verb = "is" if len(names) == 1 else "are"
    return f"{', '.join(names[:-1])} and {names[-1]} {verb}" if names[1:] else f"{names[0]} {verb}"
