"""Arms of an experiment in which the posterior's covariance changes in the middle of training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seams.plotting.scores import plot_curves
from seams.plotting.style import COLOURS

__all__ = ["plot_change", "plot_changes"]

Arm = tuple[str, str]  # the posterior's covariance before the change and after it


def plot_change(
    ax: Axes, images: np.ndarray, values: Mapping[Arm, np.ndarray], change: float, **style: Any
) -> None:
    """A score `[seed, point]` of each arm over training images `[point]`, in its last colour.

    Arms that change are dashed, and begin at the last point before the change, which is a
    vertical line.
    """
    ax.axvline(change, color="0.6", linewidth=0.6, zorder=0)
    for (before, after), of_seeds in values.items():
        changed = before != after
        first = np.flatnonzero(images <= change)[-1] if changed else 0
        label = f"{before}, then {after}" if changed else after
        options = {"color": COLOURS[after], "linestyle": "--" if changed else "-", "label": label}
        plot_curves(ax, images[first:], of_seeds[:, first:], **options | style)


def plot_changes(
    figure: Figure,
    images: np.ndarray,
    panels: Mapping[tuple[str, str], Mapping[Arm, np.ndarray]],
    change: float,
) -> np.ndarray:
    """A row a score, with one scale, and a column a setting; of one setting a panel a score."""
    rows, columns = (list(dict.fromkeys(names)) for names in zip(*panels, strict=True))
    if len(columns) > 1:
        axes = figure.subplots(len(rows), len(columns), sharex=True, sharey="row", squeeze=False)
        last = axes[-1]
    else:
        last = figure.subplots(1, len(rows), sharex=True, squeeze=False)[0]
        axes = last[:, None]
    for (row, column), values in panels.items():
        plot_change(axes[rows.index(row), columns.index(column)], images, values, change)
    for ax, title in zip(axes[0], columns, strict=True):
        ax.set_title(title)
    for ax, label in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(label)
    for ax in last:
        ax.set_xlabel("images (thousands)")
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1e3:g}")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return axes
