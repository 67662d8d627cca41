"""What several notebooks take from their runs: means by group, contrasts, arrays over runs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from seams.paper.frames import means
from seams.paper.results import Results
from seams.training import Run

__all__ = ["contrast", "ordered_mean", "record_means", "verdicts"]


def contrast(values: pd.Series) -> list[float]:
    """Diagonal minus full posteriors, in the mean over all but seeds, one number a seed."""
    return (values["diagonal"] - values["full"]).astype(float).groupby("seed").mean().tolist()


def ordered_mean(runs: Sequence[Run], name: str, shown: int | None = None) -> np.ndarray:
    """Mean over runs of a matrix of latents, in each the `shown` most active, in their order."""
    order = [np.argsort(-run.arrays["activity"])[:shown] for run in runs]
    return np.mean([r.arrays[name][o][:, o] for r, o in zip(runs, order, strict=True)], 0)


def record_means(
    results: Results, scores: pd.DataFrame, by: Sequence[str], names: Mapping[str, str]
) -> None:
    """Record `means` of scores, each column by the name of its values."""
    found = means(scores.rename(columns=names), list(names.values()), by)
    for name, value in found.items():
        results.value(name, value)


def verdicts(results: Results) -> pd.DataFrame:
    """The claims of a notebook as its last cell shows them, whole and to three digits."""
    pd.set_option("display.max_colwidth", None)  # when it is shown, which is after this call
    digits = lambda v: "" if v is None else f"{v:.3g}".replace("-", "−")
    rows = [
        {
            "claim": claim["statement"],
            "value": digits(claim["value"]),
            "interval": " to ".join(map(digits, claim["uncertainty"])),
            "our bar": claim["tolerance"].replace("-", "−").replace(" ", "\N{NO-BREAK SPACE}"),
            "n": claim["n"],
            "verdict": claim["verdict"],
        }
        for claim in results.content["claims"]
    ]
    return pd.DataFrame(rows)
