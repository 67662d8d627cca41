"""Single numbers in groups, each as a dot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["GroupPanel", "plot_group_panels", "plot_groups"]


@dataclass(frozen=True)
class GroupPanel:
    """Groups of numbers on one axis, from the top."""

    labels: Sequence[str]
    groups: Sequence[Sequence[float]]
    colours: Sequence[str]
    bars: Sequence[float]  # to compare with, NaN where there is none
    null: float  # a dashed line
    label: str  # of the axis, which begins at 0


def plot_groups(
    ax: Axes,
    groups: Sequence[Sequence[float]],
    colours: Sequence[str],
    along: Literal["x", "y"] = "x",
    spread: float = 0.0,
    bars: Sequence[float] | None = None,
    **style: Any,
) -> None:
    """Numbers of each group as dots, `spread` groups to either side, and one in `bars` to mark."""
    turn = (lambda v, at: (v, at)) if along == "x" else (lambda v, at: (at, v))
    for place, (values, colour) in enumerate(zip(groups, colours, strict=True)):
        at = place + np.linspace(-spread, spread, len(values))
        ax.plot(*turn(values, at), "o", **{"color": colour, "markersize": 2.5, **style})
    for place, bar in enumerate(bars or ()):
        ax.plot(*turn([bar] * 2, [place - 0.4, place + 0.4]), color="black", linewidth=1.2)
    if along == "x":
        ax.set_ylim(len(groups) - 0.4, -0.6)


def plot_group_panels(figure: Figure, panels: Sequence[GroupPanel]) -> None:
    """`plot_groups` of each panel, one below the other, each as high as it has groups."""
    heights = [len(panel.groups) + 1 for panel in panels]
    axes = figure.subplots(len(panels), height_ratios=heights, squeeze=False)
    for ax, panel in zip(axes.flat, panels, strict=True):
        bars = list(panel.bars)
        plot_groups(ax, panel.groups, panel.colours, spread=0.25, bars=bars, markersize=4)
        ax.axvline(panel.null, color="0.4", linestyle="--", linewidth=0.8)
        ax.set_yticks(range(len(panel.groups)), panel.labels)
        largest = np.nanmax([panel.null, *bars, *(v for group in panel.groups for v in group)])
        ax.set_xlim(-0.02 * largest, 1.06 * largest)
        ax.set_xlabel(panel.label)
