"""What several notebooks take from their runs: means by group, contrasts, arrays over runs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from seams.paper.results import Results
from seams.training import Run

__all__ = ["arrivals", "contrast", "ordered_mean", "over", "record_means", "verdicts"]


def arrivals(steps: np.ndarray, distances: np.ndarray, close: float) -> np.ndarray:
    """The step from which on a distance stays below a value.

    Args:
        steps: Of the distances `[point]`.
        distances: One a run and point `[run, point]`.
        close: What counts as arrived.

    Returns:
        One a run; NaN if it does not arrive.
    """
    stays = np.logical_and.accumulate((distances < close)[:, ::-1], axis=1)[:, ::-1]
    return np.where(stays.any(1), steps[stays.argmax(1)], np.nan)


def contrast(values: pd.Series) -> list[float]:
    """Diagonal minus full posteriors, in the mean over all but seeds, one number a seed.

    Args:
        values: By "covariance" first, then "seed" and, it may be, others.

    Returns:
        By rising seed.
    """
    return (values["diagonal"] - values["full"]).astype(float).groupby("seed").mean().tolist()


def ordered_mean(runs: Sequence[Run], name: str, shown: int | None = None) -> np.ndarray:
    """Mean over runs of a matrix of latents, each run's by the falling activity of its own.

    Args:
        runs: Evaluated.
        name: Of the array, such as "gram".
        shown: Most active latents to keep; None keeps all.

    Returns:
        Square matrix.
    """
    order = [np.argsort(-run.arrays["activity"])[:shown] for run in runs]
    return np.mean([r.arrays[name][o][:, o] for r, o in zip(runs, order, strict=True)], 0)


def over(own: Sequence[float], others: Sequence[Sequence[float]]) -> list[float]:
    """One of several measurements taken in turns, over the largest of the others in each turn."""
    return (np.array(own) / np.array(others).max(0)).tolist()


def record_means(
    results: Results, scores: pd.DataFrame, by: Sequence[str], names: Mapping[str, str]
) -> None:
    """Record the mean of scores over the runs of each group, as `name_group_...`.

    A score that a run of the group has not is left out.

    Args:
        results: Of the notebook.
        scores: One row a run.
        by: Columns or levels of the index that make the groups.
        names: Column to the name of its values.
    """
    for group, rows in scores.groupby(list(by)):
        label = "_".join(part if isinstance(part, str) else f"{part:.4g}" for part in group)
        for column, name in names.items():
            values = rows[column].astype(float)
            if values.notna().all():
                results.value(f"{name}_{label}".replace(".", "_"), values.mean())


def verdicts(results: Results) -> pd.DataFrame:
    """The claims of a notebook as its last cell shows them."""
    columns = ["statement", "value", "uncertainty", "tolerance", "n", "verdict"]
    return pd.DataFrame(results.content["claims"], columns=columns)
