"""Schedules of beta, and what Figure 11 asks of one that moves: is it sharp, and disentangled?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from seams.paper.contrast import POSITIONS, SEPARATED
from seams.paper.frames import curves
from seams.paper.results import Results
from seams.plotting import BETA, beta_label
from seams.training import beta_at

__all__ = [
    "Schedule",
    "at_lengths",
    "claim_held",
    "claim_lengths",
    "claim_moving",
    "compared",
    "note_separated",
    "on_the_way",
    "ways",
    "with_schedules",
]

_JUDGED = {
    "mig": ("disentangles better (MIG", True),
    "aas": ("disentangles better (AAS", True),
    "off_diagonal_gram_of_abs": ("has a more diagonal JᵀJ (off-diagonality", False),
}
_MOVING = {"falling": "a falling beta", "held": "a beta held first"}
_LENGTHS = "Slope over the logarithm of the length; fixed before the shorter runs were seen."
_CONTROL = "A control of ours; not blind: their final MIG and distortion had been seen in the log."
_TOO_SMALL = (
    "Of small fully connected networks at one length of training, which decide neither way: how "
    "far a falling beta gets depends on both."
)


@dataclass(frozen=True)
class Schedule:
    """One way of choosing beta over training."""

    name: str  # in the column `schedule`: a beta, "falling" or "held"
    label: str  # for a figure
    written: str  # for a page
    colour: Any  # of its lines
    moves: bool = False  # whether beta changes


def with_schedules(rows: pd.DataFrame) -> pd.DataFrame:
    """A copy with the column `schedule`: the constant beta, "falling", or "held" first."""
    names = rows["beta"].map("{:g}".format)
    names = names.mask(rows["beta_start"].notna(), "falling")
    return rows.assign(schedule=names.mask(rows["hold"] > 0, "held"))


def compared(rows: pd.DataFrame) -> list[Schedule]:
    """Those of the figure: the largest beta, the least, and what moves between them."""
    high, low = rows["beta"].max(), rows["beta"].min()
    every = [
        Schedule(f"{high:g}", beta_label(high), f"β = {high:g}", BETA(1.0)),
        Schedule(f"{low:g}", beta_label(low), f"β = {low:g}", BETA(0.0)),
        Schedule(
            "falling", rf"$\beta={high:g}\to{low:g}$", f"β = {high:g} → {low:g}", "#009E73", True
        ),
        Schedule(
            "held",
            rf"$\beta={high:g}$ held, $\to{low:g}$",
            f"β = {high:g} held, → {low:g}",
            "#CC79A7",
            True,
        ),
    ]
    return [schedule for schedule in every if schedule.name in set(rows["schedule"])]


def _betas(row: pd.Series) -> np.ndarray:
    """Beta at the points where weights were kept."""
    return beta_at(
        row["run"].config, torch.from_numpy(row["run"].arrays["curve_step"]) - 1
    ).numpy()


def ways(rows: pd.DataFrame, names: Sequence[str]) -> list[dict[str, np.ndarray]]:
    """Each run's beta and scores along training; the last are the final ones, on more images."""
    found = []
    for _, row in rows.iterrows():
        path = {"beta": _betas(row)}
        for name in ("distortion", *names):
            path[name] = np.append(row["run"].arrays[f"curve_{name}"][:-1], row[name])
        found.append(path)
    return found


def on_the_way(groups: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Mean MIG while beta falls, of moving runs and of the first group, at the largest beta."""
    largest = next(iter(groups.values()))
    falling = groups["falling"]
    config = falling["run"].iloc[0].config
    images, constant = curves(list(largest["run"]), "mig")
    moving = curves(list(falling["run"]), "mig")[1].mean(0)
    halving = np.log(2) / np.log(config.beta_start / config.beta)  # share of the run
    at = lambda share, path, images: float(
        np.interp(np.log(share * images[-1]), np.log(images), path)
    )
    found = {
        "mig_falling_highest": float(moving.max()),
        "beta_of_highest_mig": float(_betas(falling.iloc[0])[moving.argmax()]),
        "images_at_half_beta": float(round(halving * images[-1])),
        "mig_constant_at_half_beta": at(halving, constant.mean(0), images),
    }
    if "held" in groups:
        seen, held = curves(list(groups["held"]["run"]), "mig")
        hold = groups["held"]["hold"].iloc[0]
        found["mig_held_at_fall"] = at(hold, held.mean(0), seen)
    return found


def at_lengths(
    rows: pd.DataFrame, names: Sequence[str]
) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Final scores of runs of several lengths, and `ahead` in MIG of a constant beta as sharp.

    Returns:
        By score and label, images of a run `[length]` and values `[seed, length]`.
    """
    found: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {n: {} for n in (*names, "ahead")}
    groups = [group.sort_values("seed") for _, group in rows.groupby("images")]
    images = np.array(sorted(set(rows["images"])), float)
    for schedule in compared(rows):
        for name in names:
            ends = [group.loc[group["schedule"] == schedule.name, name] for group in groups]
            found[name][schedule.label] = images, np.array(ends, float).T
        if schedule.moves:
            ahead = np.array([_ahead(group, schedule.name, "mig") for group in groups]).T
            found["ahead"][schedule.label] = images, ahead
    return found


def note_separated(results: Results, rows: pd.DataFrame) -> None:
    """Of the runs of each length, how many separate one position of dSprites, or both."""
    for images, group in rows.groupby("images"):
        count = (group[list(POSITIONS)].astype(float) > SEPARATED).sum(axis=1)
        for what, number in {"one": 1, "both": 2}.items():
            results.value(f"separated_{what}_{images}", int((count == number).sum()))


def claim_lengths(results: Results, rows: pd.DataFrame) -> None:
    """Claim that what a moving beta falls short of closes as runs of all schedules get longer."""
    if rows["images"].nunique() < 2:
        return
    found = at_lengths(rows, ["mig"])
    largest, *others = compared(rows)
    for schedule in (s for s in others if s.moves):
        images, ahead = found["ahead"][schedule.label]
        behind = found["mig"][largest.label][1] - found["mig"][schedule.label][1]
        who = _MOVING[schedule.name]
        for id, says, values, above in (
            ("behind", f"The lead of the largest constant beta over {who} closes", behind, False),
            ("ahead", f"{who.capitalize()} gains on a constant one as sharp", ahead, True),
        ):
            results.claim(
                f"longer_{schedule.name}_{id}",
                f"{says} with the length of training (MIG, change for four times the images).",
                np.polyfit(np.log(images) / np.log(4), values.T, 1)[0].tolist(),
                0.0,
                above=above,
                note=_LENGTHS,
                undecided=_undecided(rows),
            )


def _ahead(rows: pd.DataFrame, schedule: str, name: str) -> list[float]:
    """A score minus that of a constant beta of equal distortion, one a seed."""
    constant = rows[rows["beta_start"].isna()].sort_values("distortion")
    moved = rows[rows["schedule"] == schedule].set_index("seed")
    return [
        float(
            moved[name][seed]
            - np.interp(
                np.log(moved["distortion"][seed]), np.log(group["distortion"]), group[name]
            )
        )
        for seed, group in constant.groupby("seed")
    ]


def claim_moving(
    results: Results, rows: pd.DataFrame, schedule: str, prefix: str, who: str, note: str = ""
) -> None:
    """Claim that a moving beta gets both, by the middle of the ends and by equal distortion."""
    undecided = _undecided(rows)
    ends = [f"{beta:g}" for beta in (rows["beta"].max(), rows["beta"].min())]
    wide = rows.pivot(index="seed", columns="schedule")[["distortion", *_JUDGED]].astype(float)
    wide["distortion"] = np.log(wide["distortion"])
    for id, name, statement, above in (
        ("sharp", "distortion", "better reconstruction (log distortion", False),
        ("mig", "mig", "better disentanglement (MIG", True),
        ("aas", "aas", "better disentanglement by the axis alignment score (AAS", True),
        ("gram", "off_diagonal_gram_of_abs", "more diagonal JᵀJ (off-diagonality", False),
    ):
        beyond = wide[name][schedule] - (wide[name][ends[0]] + wide[name][ends[1]]) / 2
        text = f"{who} is nearer to the {statement}, from the middle)."
        values = beyond.tolist()
        results.claim(
            f"{prefix}_{id}", text, values, 0.0, above=above, note=note, undecided=undecided
        )
    start = "" if prefix == "annealed" else f"{prefix}_"
    for name, (label, above) in _JUDGED.items():
        results.claim(
            f"{start}frontier_{name}",
            f"{who} {label}, difference) than a constant one of the same distortion.",
            _ahead(rows, schedule, name),
            0.0,
            above=above,
            note=note,
            undecided=undecided,
        )


def _undecided(rows: pd.DataFrame) -> str:
    """Why runs cannot tell what a moving beta is worth, if they cannot."""
    return "" if set(rows["network"]) == {"burgess"} else _TOO_SMALL


def claim_held(results: Results, rows: pd.DataFrame) -> None:
    """The same of a beta that is held first, and against one that falls at once."""
    if "held" not in set(rows["schedule"]):
        return
    claim_moving(results, rows, "held", "held", "A beta held first, then falling,", _CONTROL)
    wide = rows.assign(distortion=np.log(rows["distortion"])).pivot(
        index="seed", columns="schedule"
    )
    compare = {
        "held_more_mig": ("mig", *_JUDGED["mig"]),
        "held_more_gram": ("off_diagonal_gram_of_abs", *_JUDGED["off_diagonal_gram_of_abs"]),
        "held_as_sharp": ("distortion", "reconstructs better (log distortion", False),
    }
    for id, (name, what, above) in compare.items():
        gap = wide[name]["held"].astype(float) - wide[name]["falling"].astype(float)
        results.claim(
            id,
            f"A beta held first {what}, difference) than one that falls from the start.",
            gap.tolist(),
            0.0,
            above=above,
            note=_CONTROL,
            undecided=_undecided(rows),
        )
