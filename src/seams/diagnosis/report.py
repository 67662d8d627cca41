"""A diagnosis that can be read: as sentences, as a table, as a figure."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seams.diagnosis.picture import drawn
from seams.diagnosis.result import DecoderFindings, Estimate, Findings
from seams.diagnosis.words import sentences

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Diagnosis", "table_of"]


@dataclass(frozen=True, eq=False)
class Diagnosis(Findings):
    """What `diagnose` found; see `Findings` for its attributes."""

    @property
    def verdict(self) -> str:
        """The findings in words, one sentence a line."""
        return "\n".join([*sentences(self), *self.flags])

    def table(self) -> "pd.DataFrame":
        """Every score, one a row, with its error, its value in random axes, ideal and meaning."""
        return table_of(self, {"active": int(self.active.sum())})

    def plot(self) -> "Figure":
        """Activity, singular values, both sides of Eq. 6, its two terms and the information."""
        # Latents are ordered by activity. The two terms share one colour range of four decades and
        # show mean absolute entries.
        return drawn(self)


def table_of(found: Findings | DecoderFindings, first: dict[str, Any]) -> "pd.DataFrame":
    """The scores that a diagnosis has, after `first`."""
    # The ideal is what the theory asks of a disentangled decoder; NaN where not defined.
    import pandas as pd

    scores = [name for name in _MEANINGS if name not in ("active", "moving", *_KNOWN)]
    known = first | {name: getattr(found, name) for name in scores if hasattr(found, name)}
    known |= found.known | {f"probe_{name}": value for name, value in found.probe.items()}
    rows = {}
    for name, score in known.items():
        ideal, meaning = _MEANINGS.get(name, (math.nan, "R^2 of a linear probe"))
        value = score.value if isinstance(score, Estimate) else score
        error = score.error if isinstance(score, Estimate) else math.nan
        value = math.nan if value is None else float(value)
        rows[name] = (value, error, found.random.get(name, math.nan), ideal, meaning)
    columns = ["value", "standard_error", "random", "ideal", "meaning"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


_KNOWN = {
    "sap": (1.0, "separated attribute predictability"),
    "disentanglement": (1.0, "D of DCI, linear: a latent serves one factor"),
    "completeness": (1.0, "C of DCI, linear: a factor is served by one latent"),
    "modularity": (1.0, "InfoM: a latent knows one factor"),
    "compactness": (1.0, "InfoC: a factor is known by one latent"),
}

_MEANINGS = {
    "active": (math.nan, "latents whose posterior mean varies by more than 0.01"),
    "moving": (math.nan, "latents that move the output"),
    "rate": (math.nan, "KL of the posterior to the prior, nats a datum"),
    "distortion": (
        math.nan,
        "squared error a datum (else negative log-likelihood, nats)",
    ),
    "difference": (0.0, "Eq. 6: relative difference of both sides, root mean square"),
    "implied_variance": (math.nan, "beta sigma^2 for which Eq. 6 would hold on average"),
    "gram_off_diagonal": (0.0, "P1, C1: off-diagonality of the first term, mean of the scores"),
    "gram_off_diagonal_of_mean": (0.0, "off-diagonality of the mean first term"),
    "gram_off_diagonal_turned": (math.nan, "mean of the scores in random axes"),
    "hessian_off_diagonal": (0.0, "P1: off-diagonality of the second term, mean of the scores"),
    "hessian_off_diagonal_of_mean": (0.0, "off-diagonality of the mean second term"),
    "cancelled": (0.0, "P1: share of the off-diagonal that cancels between the terms"),
    "axis_angle": (0.0, "C1: angle of singular vectors to the axes, degrees"),
    "dto": (0.0, "C1: distance of V to a signed permutation"),
    "c2": (0.0, "C2: off-diagonal share of the derivatives of singular values"),
    "c_ima": (0.0, "contrast of independent mechanism analysis, nats"),
    "tangent_share": (math.nan, "share of the residual that lies in the tangent space"),
    "tangent_off_diagonal": (
        0.0,
        "off-diagonality of that part's second term",
    ),
    "flatness": (0.0, "turn of a direction carried round a unit of latent area, radians"),
    "mig": (1.0, "mutual information gap"),
    "aas": (1.0, "axis alignment score"),
    **_KNOWN,
}
