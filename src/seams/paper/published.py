"""What Rolinek et al. 2019 published of tasks that are trained anew here, and claims beside."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from seams.paper.frames import frame, nearest, random_dto, untrained_dto
from seams.paper.results import Results
from seams.plotting import COLOURS, GroupPanel
from seams.training import Run

__all__ = [
    "PUBLISHED",
    "by_task",
    "chance",
    "claim_published",
    "note_untrained",
    "of_task",
    "panels",
]

PUBLISHED = {
    ("matrix", "diagonal"): 0.00,
    ("matrix", "full"): 0.34,
    ("matrix", "none"): 0.33,
    ("network", "diagonal"): 0.18,
    ("network", "full"): 0.55,
    ("network", "none"): 0.54,
    ("1", "diagonal"): 0.49,
    ("1.2", "diagonal"): 0.20,
    ("1.5", "diagonal"): 0.01,
}
"""Mean DtO by task and posterior: Table 1 and the ranges, second-hand. What they list of dSprites
is of all latents, where ours is of active ones."""

_MADE = {"matrix": "linear", "network": "nonlinear"}
_MORE = 0.1  # by which others shall lie further from the axes
_OTHERS = {"full": "Full posteriors", "none": "Autoencoders"}


def by_task(runs: Iterable[Run]) -> pd.DataFrame:
    """As `frames.frame`, with `task`: how a square was mapped, the ratio of sides, or dSprites."""
    # VAEs on dSprites are those of the beta nearest 4; an autoencoder's counts for nothing.
    rows = frame(runs)
    task = rows["dataset"].str.partition(":")[2].replace("", "dsprites")
    others = (task != "dsprites") | (rows["covariance"] == "none")
    if not others.all():
        others |= rows["beta"] == nearest(rows.loc[~others, "beta"], 4.0)
    return rows.assign(task=task)[others]


def of_task(rows: pd.DataFrame, task: str, score: str = "dto") -> dict[str, list[float]]:
    """A score by kind of posterior, one a seed."""
    kinds = rows[rows["task"] == task].sort_values("seed").groupby("covariance")
    return {str(kind): group[score].tolist() for kind, group in kinds}


def panels(rows: pd.DataFrame) -> list[GroupPanel]:
    """The distance in tasks of two latents, and that of dSprites over random directions'."""
    sides = {ratio: f"sides {ratio} : 1" for ratio in _ratios(rows)}
    every = [
        _panel(
            rows, _MADE | sides, "dto", chance(), "distance to orthogonality (DtO), two latents"
        ),
        _panel(rows, {"dsprites": "dSprites"}, "dto_ratio", 1.0, "DtO / random, active latents"),
    ]
    return [panel for panel in every if panel.labels]


def _panel(
    rows: pd.DataFrame, places: dict[str, str], score: str, null: float, label: str
) -> GroupPanel:
    groups = {(t, kind): v for t in places for kind, v in of_task(rows, t, score).items()}
    return GroupPanel(
        labels=[f"{places[t]}, {'autoencoder' if k == 'none' else k}" for t, k in groups],
        groups=list(groups.values()),
        colours=[COLOURS[kind] for _, kind in groups],
        bars=[PUBLISHED.get(group, math.nan) for group in groups],
        null=null,
        label=label,
    )


def _ratios(rows: pd.DataFrame) -> list[str]:
    return sorted({task for task in rows["task"] if task[0].isdigit()}, key=float)


def chance() -> float:
    """Mean DtO of two random directions."""
    return float(random_dto(pd.Series([2])).iloc[0])


def note_untrained(results: Results, rows: pd.DataFrame) -> None:
    """Values and claims of decoders that were not trained, of 100 seeds."""
    for task in _MADE:
        config = rows[rows["task"] == task]["run"].iloc[0].config
        untrained = untrained_dto(config)
        results.value(f"dto_{task}_untrained", np.mean(untrained))
        results.value(f"spread_{task}_untrained", np.std(untrained))
        results.claim(
            f"untrained_{task}",
            f"Untrained decoders are no nearer to the axes than random directions: {task} (DtO, "
            "difference).",
            [dto - chance() for dto in untrained],
            -0.05,
            note="100 seeds; nothing is trained.",
        )


def claim_published(results: Results, rows: pd.DataFrame) -> None:
    """Claim what was published: its order, with room for maps that are not known to us."""
    for (task, place), bar in zip(_MADE.items(), (0.05, 0.3), strict=True):
        dto = of_task(rows, task)
        results.claim(
            f"{place}_diagonal",
            f"Diagonal posteriors bring the singular vectors to the axes: {place} (DtO).",
            dto["diagonal"],
            bar,
            above=False,
        )
        _claim_further(results, place, dto, place, "DtO, difference")
    ratios = _ratios(rows)
    least, largest = ratios[0], ratios[-1]
    apart = of_task(rows, largest)["diagonal"]
    results.claim(
        "ranges_apart",
        f"With sides {largest} : 1 diagonal posteriors bring them to the axes (DtO).",
        apart,
        0.05,
        above=False,
    )
    if least != largest:
        results.claim(
            "ranges_gain",
            f"They come nearer with sides {largest} : 1 than {least} : 1 (DtO, difference).",
            of_task(rows, least)["diagonal"],
            0.1,
            minus=apart,
        )
    sprites = rows[(rows["task"] == "dsprites") & (rows["covariance"] == "diagonal")]
    if len(sprites):
        beta = sprites["beta"].iloc[0]
        where = f"dSprites, convolutional network, beta = {beta:g}"
        what = "DtO over that of random directions, difference"
        _claim_further(results, "dsprites", of_task(rows, "dsprites", "dto_ratio"), where, what)


def _claim_further(
    results: Results, prefix: str, scores: dict[str, list[float]], where: str, what: str
) -> None:
    seen = "Not blind: these runs are those of Figure 5." if prefix == "dsprites" else ""
    for kind, who in _OTHERS.items():
        results.claim(
            f"{prefix}_{kind}",
            f"{who} leave them further away: {where} ({what}).",
            scores[kind],
            _MORE,
            minus=scores["diagonal"],
            note=seen if kind == "full" else "",
        )
