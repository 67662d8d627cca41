"""What several notebooks take from their runs: means by group, contrasts, arrays over runs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

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
    """Record means of scores over the runs of each group, as `name_group_...`.

    Args:
        results: Of the notebook.
        scores: One row a run; what a run of a group has not is left out for the group.
        by: Columns or levels of the index that make the groups.
        names: From columns to the names of their values.
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
