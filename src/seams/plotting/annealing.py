"""Schedules of beta: what each gives, the way there, and the trade-off between two scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from seams.plotting.images import plot_images
from seams.plotting.kinds import use_log_ticks
from seams.plotting.scores import plot_curves, plot_information, plot_moving_beta
from seams.plotting.style import BETA

__all__ = ["plot_schedule_curves", "plot_schedules", "plot_tradeoff"]


def plot_schedules(
    figure: Figure,
    labels: Sequence[str],
    information: Sequence[np.ndarray],
    factors: Sequence[str],
    reconstructions: Sequence[np.ndarray],
    traversals: Sequence[np.ndarray],
) -> None:
    """A row a schedule: nats `[latent, factor]`, reconstructions and traversals (Figure 11)."""
    latents, steps = traversals[0].shape[:2]
    widths = [1.1, 1.0, steps / latents]
    panels = figure.subplots(len(labels), 3, width_ratios=widths, squeeze=False)
    top = max(matrix.max() for matrix in information)
    images = []
    for i, (row, label) in enumerate(zip(panels, labels, strict=True)):
        images.append(plot_information(row[0], information[i], factors, top, aspect="auto"))
        row[0].set_ylabel(label, fontsize=9)
        plot_images(row[1], reconstructions[i])
        plot_images(row[2], traversals[i])
    for ax, title in zip(panels[0], ("information", "reconstructions", "traversals"), strict=True):
        ax.set_title(title)
    figure.colorbar(
        images[0],
        ax=panels[:, 0],
        orientation="horizontal",
        shrink=0.8,
        aspect=30,
        label="nats",
    )


def plot_tradeoff(
    figure: Figure,
    constant: pd.DataFrame,
    ways: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    names: Mapping[str, str],
    colours: Mapping[str, Any],
) -> None:
    """Distortion against scores: runs of constant beta, and the ways of those that move it.

    `constant` has a row a run: `distortion`, `beta` and the scores of `names`, which are drawn as
    dots. `ways` has by label a path a run, of the same along training; a row of panels each.
    """
    norm = LogNorm(constant["beta"].min(), constant["beta"].max())
    means = constant.groupby("beta")[["distortion", *names]].mean()
    panels = figure.subplots(len(ways), len(names), sharex=True, sharey="col", squeeze=False)
    dots = []
    for (label, paths), row in zip(ways.items(), panels, strict=True):
        for ax, (name, title) in zip(row, names.items(), strict=True):
            ax.plot(means["distortion"], means[name], color="#999999", zorder=1)
            style = {"norm": norm, "cmap": BETA, "zorder": 3}
            points = (constant["distortion"], constant[name])
            dots.append(ax.scatter(*points, 18, constant["beta"], **style))
            for path in paths:
                plot_moving_beta(ax, path["distortion"], path[name], path["beta"], norm)
                end = (path["distortion"][-1], path[name][-1])
                ax.plot(*end, "D", color=colours[label], markersize=5, zorder=4)
            use_log_ticks(ax, "x")
            ax.set_xlim(means["distortion"].min() / 1.2, means["distortion"].max() * 5)
            ax.set_ylabel(title)
            ax.set_ylim(bottom=0)
            ax.set_title(label, color=colours[label])
    for ax in panels[-1]:
        ax.set_xlabel("distortion (squared error an image)")
    figure.colorbar(dots[0], ax=panels, label=r"$\beta$", aspect=25, format="{x:g}")


def plot_schedule_curves(
    figure: Figure,
    curves: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    names: Mapping[str, str],
    colours: Mapping[str, Any],
    start: float = 2e3,
    apart: bool = False,
) -> None:
    """Scores `[seed, point]` over training images `[point]`, a panel each, the first one log.

    A panel without negative values begins at 0. Points that are `apart`, as of other runs, are
    dots with their images at the axis.
    """
    dots = {"marker": "o", "markersize": 3} if apart else {}
    panels = figure.subplots(1, len(curves))
    for ax, (name, of_labels) in zip(panels, curves.items(), strict=True):
        for label, (images, values) in of_labels.items():
            plot_curves(ax, images, values, color=colours[label], label=label, **dots)
        ax.set(xscale="log", xlabel="training images", ylabel=names[name])
        ax.set_xlim(left=start)
        if apart:
            places = next(iter(of_labels.values()))[0]
            ax.set_xticks(places, [f"{x / 1000:,.0f}k" for x in places])
            ax.set_xticks([], minor=True)
    use_log_ticks(panels[0], "y")
    for ax, of_labels in zip(panels[1:], list(curves.values())[1:], strict=True):
        if min(np.nanmin(values) for _, values in of_labels.values()) >= 0:
            ax.set_ylim(bottom=0)
        else:
            ax.axhline(0, color="0.4", linestyle="--", linewidth=0.8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
