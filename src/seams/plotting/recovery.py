"""Whether known latents are found: by generator, by a dial, and how soon.

Times are of `time` in frames with the columns `arm`, `ratio`, `covariance` and `seed`; a run that
did not arrive has an infinite one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from seams.plotting.scores import plot_curves
from seams.plotting.style import COLOURS

__all__ = [
    "plot_arm_scores",
    "plot_arms",
    "plot_dial",
    "plot_ends",
    "plot_exponents",
    "plot_fan",
    "plot_generators",
    "plot_times",
    "use_ratios",
]

_SHIFT = {"full": 1.01, "diagonal": 0.99}  # so that dots of both posteriors are told apart
_DOTS: dict[str, Any] = {"alpha": 0.55, "markersize": 4}


def use_ratios(ax: Axes, ratios: Sequence[float]) -> None:
    """A logarithmic axis with a tick at each ratio."""
    ax.set_xscale("log")
    ax.set_xticks(list(ratios), [f"{ratio:g}" for ratio in ratios])
    ax.minorticks_off()


def plot_ends(ax: Axes, frame: pd.DataFrame, name: str) -> None:
    """A final score of one arm against the ratio of ranges: dots are runs, lines their means."""
    for kind, shift in _SHIFT.items():
        group = frame[frame["covariance"] == kind]
        means = group.groupby("ratio")[name].mean()
        ax.plot(means.index, means, color=COLOURS[kind], label=f"{kind} posteriors")
        ax.plot(group["ratio"] * shift, group[name], ".", color=COLOURS[kind], **_DOTS)
    use_ratios(ax, sorted(set(frame["ratio"])))


def plot_times(ax: Axes, frame: pd.DataFrame, limit: float, ceiling: float) -> pd.Series:
    """Images until recovery, diagonal posteriors; the median run by ratio, where it arrived."""
    runs = frame[frame["covariance"] == "diagonal"]
    done = np.isfinite(runs["time"])
    style = _DOTS | {"color": COLOURS["diagonal"]}
    ax.plot(runs["ratio"][done], runs["time"][done], ".", **style)
    ax.plot(runs["ratio"][~done], np.full((~done).sum(), ceiling), "^", mfc="none", **style)
    median = runs.groupby("ratio")["time"].median()
    median = median[np.isfinite(median)]
    ax.plot(median.index, median, color=COLOURS["diagonal"], label="median run")
    ax.axhline(limit, color="0.6", lw=0.6)
    ax.set_yscale("log")
    use_ratios(ax, sorted(set(frame["ratio"])))
    return median


def plot_arms(
    figure: Figure,
    frame: pd.DataFrame,
    titles: Mapping[str, str],
    limits: Mapping[str, float],
    level: float,
    theory: Mapping[str, tuple[np.ndarray, np.ndarray]],
    begun: Mapping[str, pd.Series],
) -> None:
    """A column an arm: correlation with the truth at the end, and images until recovery.

    `limits` are a run's training images, `level` is what a random rotation scores. `theory` has
    ratios and times, whose unit is fitted to the median runs; `begun` has by ratio the images
    until both latents are in use.
    """
    panels = figure.subplots(
        2, len(titles), sharex=True, sharey="row", height_ratios=[1, 1.15], squeeze=False
    )
    ceiling = 1.5 * max(limits.values())
    for (arm, title), above, below in zip(titles.items(), *panels, strict=True):
        rows = frame[frame["arm"] == arm]
        plot_ends(above, rows, "mcc")
        above.axhline(level, color="k", lw=0.8, ls="--", label="random rotation")
        above.set_title(title)
        median = plot_times(below, rows, limits[arm], ceiling)
        if arm in begun:
            below.plot(
                begun[arm].index, begun[arm], "--", color="0.5", label="both latents in use"
            )
        if arm in theory and len(median):
            ratios, times = theory[arm]
            at = np.exp(np.interp(np.log(median.index), np.log(ratios), np.log(times)))
            scale = np.exp(np.mean(np.log(median / at)))
            below.plot(ratios, scale * times, ":", color="k", label="theory, 1 / rate")
        below.set_xlabel("ratio of the two ranges")
        below.legend(loc="lower left")
    panels[1, 0].set_ylim(min(ceiling, frame["time"].min()) / 12, 1.35 * ceiling)
    panels[0, 0].set_ylabel("MCC at the end")
    panels[1, 0].set_ylabel("images until recovery")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)


def plot_arm_scores(
    figure: Figure, frame: pd.DataFrame, titles: Mapping[str, str], names: Mapping[str, str]
) -> None:
    """A column an arm and a row a score, at the end of training, against the ratio."""
    panels = figure.subplots(len(names), len(titles), sharex=True, sharey="row", squeeze=False)
    for row, (name, label) in zip(panels, names.items(), strict=True):
        for ax, arm in zip(row, titles, strict=True):
            plot_ends(ax, frame[frame["arm"] == arm], name)
        row[0].set_ylabel(label)
    for ax, title in zip(panels[0], titles.values(), strict=True):
        ax.set_title(title)
    for ax in panels[-1]:
        ax.set_xlabel("ratio of the two ranges")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)


def plot_exponents(
    ax: Axes, slowness: np.ndarray, times: Mapping[str, tuple[np.ndarray, str, str, float]]
) -> None:
    """Times `[ratio, run]`, over those at the last ratio, against 1 / rate in theory, falling."""
    for label, (found, colour, mark, slope) in times.items():
        middle = np.median(found, axis=1)
        text = f"{label}: {slope:.2f}" if np.isfinite(slope) else label
        ax.plot(slowness, middle / middle[-1], "-", marker=mark, color=colour, ms=4, label=text)
    ax.plot(slowness, slowness / slowness[-1], ":", color="k", label="theory: 1")
    ax.set(xscale="log", yscale="log", xlabel="1 / rate of alignment in theory")
    ax.set_ylabel("time, over that\nat the largest ratio")
    ax.legend(title="exponent", loc="upper left", fontsize=6)


def plot_fan(
    ax: Axes, curves: Mapping[float, tuple[np.ndarray, np.ndarray]], level: float
) -> None:
    """A score `[seed, point]` over images, a line a ratio, large ones dark; dashed at chance."""
    norm = LogNorm(min(curves), max(curves))
    for ratio, (seen, values) in curves.items():
        colour = colormaps["viridis_r"](0.1 + 0.9 * norm(ratio))
        plot_curves(ax, seen, values, color=colour, label=f"{ratio:g}")
    ax.axhline(level, color="k", lw=0.8, ls="--")
    ax.set_xscale("log")
    ax.set_xlim(left=5e2)
    ax.set_ylim(0.5, 1.01)
    ax.set_xlabel("training images")


def plot_generators(
    figure: Figure,
    frame: pd.DataFrame,
    groups: Sequence[Mapping[str, str]],
    chance: Mapping[int, float],
    without: Sequence[str] = (),
) -> None:
    """Correlation with the true latents and distance to the axes, a row a generator, a dot a run.

    `groups` go from data sets to labels, from the top; `chance` is, by number of latents, what a
    random rotation scores (a black tick); sets in `without` have no defined distance.
    """
    panels = figure.subplots(1, 2, sharey=True, width_ratios=[1.6, 1])
    labels = {name: label for group in groups for name, label in group.items()}
    gaps = [0.4 * i for i, group in enumerate(groups) for _ in group]
    heights = {name: -row - gap for row, (name, gap) in enumerate(zip(labels, gaps, strict=True))}
    known = frame[frame["dataset"].isin(labels)]
    for (name, kind), group in known.groupby(["dataset", "covariance"]):
        y = heights[str(name)] + (0.17 if kind == "diagonal" else -0.17)
        spread = y + np.linspace(-0.07, 0.07, len(group))
        colour = COLOURS[str(kind)]
        for ax, score in zip(panels, ("mcc", "dto")[: 1 if name in without else 2], strict=False):
            ax.plot(group[score], spread, "o", color=colour, alpha=0.6, markersize=2.8)
            ax.plot([group[score].mean()] * 2, [y - 0.15, y + 0.15], color=colour, lw=1.8)
        tick = [chance[int(group["latent"].iloc[0])]] * 2
        panels[0].plot(tick, [heights[str(name)] - 0.4, heights[str(name)] + 0.4], "k", lw=0.8)
    panels[0].set_yticks(list(heights.values()), list(labels.values()))
    panels[0].set_xlabel("correlation with the true latents (MCC)")
    panels[0].set_xlim(right=1.005)
    panels[1].set_xlabel("distance to the axes (DtO)")
    panels[1].set_xlim(left=0)
    for ax in panels:
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
    for kind in ("diagonal", "full"):
        panels[1].plot([], [], "o-", color=COLOURS[kind], label=f"{kind} posteriors")
    panels[1].plot([], [], "k", lw=0.8, label="random rotation")
    handles, names = panels[1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3)


def plot_dial(ax: Axes, values: Sequence[float], scores: np.ndarray) -> None:
    """A score `[value, seed]` of diagonal posteriors against a dial: runs as dots, their mean."""
    style: dict[str, Any] = {"color": COLOURS["diagonal"]}
    ax.plot(values, scores.mean(axis=1), "-", label="diagonal", **style)
    ax.plot(values, scores, ".", alpha=0.6, markersize=4, **style)
