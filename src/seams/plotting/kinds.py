"""Both posteriors side by side: scores against beta, in training, and the matrices behind them.

Frames have one row a run, with the columns `covariance`, `beta`, `seed` and one for each score.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from seams.plotting.scores import (
    plot_against_beta,
    plot_curves,
    plot_information,
    plot_unit_diagonal,
)
from seams.plotting.style import COLOURS, beta_label

__all__ = [
    "Interval",
    "plot_grid_of_curves",
    "plot_kind_curves",
    "plot_kind_panels",
    "plot_kinds",
    "plot_sweep",
    "plot_unit_diagonals",
    "use_log_ticks",
]

Interval = Callable[[Sequence[float]], tuple[float, float, float]]
"""From one value a seed to their mean and the ends of its interval."""

_KINDS = ("diagonal", "full")
_HEADROOM = 1.08  # above the largest value drawn
_BANDED = 3  # runs that a band is drawn of: of two it would be 13 standard errors wide


def plot_kinds(
    ax: Axes,
    frame: pd.DataFrame,
    name: str,
    interval: Interval,
    scale: Literal["log", "even"] = "log",
    label: str = "{}",
    **style: Any,
) -> list[Line2D]:
    """One score against beta, a line a posterior, diagonal first, named by `{}` in `label`."""
    lines = []
    for kind, group in frame.groupby("covariance"):
        seeds = group.pivot(index="beta", columns="seed", values=name).astype(float)
        defined = [row[np.isfinite(row)].tolist() for row in seeds.to_numpy()]
        ends = [interval(row) if len(row) >= _BANDED else (np.nan,) * 3 for row in defined]
        low, high = np.array(ends)[:, 1:].T
        options = {"color": COLOURS[str(kind)], "label": label.format(kind)} | style
        betas = [float(beta) for beta in seeds.index]
        lines.append(plot_against_beta(ax, betas, seeds.to_numpy(), low, high, scale, **options))
    return lines


def plot_kind_panels(
    figure: Figure,
    frame: pd.DataFrame,
    names: Mapping[str, str],
    interval: Interval,
    rows: int = 1,
    shared: bool = False,
    beside: pd.DataFrame | None = None,
    **style: Any,
) -> dict[str, Axes]:
    """A panel a score against beta, from 0 up, by `names`' labels; scores of `beside` dotted."""
    columns = -(-len(names) // rows)
    panels = figure.subplots(
        rows, columns, sharex=True, sharey="row" if shared else "none", squeeze=False
    )
    found = dict(zip(names, panels.flat, strict=False))
    for name, ax in found.items():
        plot_kinds(ax, frame, name, interval, **style)
        every = frame[name]
        if beside is not None:
            plot_kinds(ax, beside, name, interval, **style | {"linestyle": ":", "label": "_{}"})
            every = pd.concat([every, beside[name]])
        ax.set_ylabel(names[name])
        ax.set_ylim(*_ends(every))
    if shared:
        for row, some in zip(panels, np.array_split(list(names), rows), strict=True):
            row[0].set_ylim(*_ends(pd.concat([frame[name] for name in some])))
    for ax in panels[-1]:
        ax.set_xlabel(r"$\beta$")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return found


def _ends(values: pd.Series) -> tuple[float, float]:
    """From 0, or below it, to a little above the largest; of no values the unit interval."""
    known = values.astype(float).dropna()
    if not len(known) or known.max() <= 0:
        return min(0.0, known.min() if len(known) else 0.0), 1.0
    return min(0.0, known.min()), float(known.max()) * _HEADROOM


def plot_sweep(
    figure: FigureBase,
    frame: pd.DataFrame,
    information: Mapping[tuple[str, float], np.ndarray],
    factors: Sequence[str],
    names: Mapping[str, str],
    interval: Interval,
) -> list[Axes]:
    """Maps of mutual information, each above its beta, and scores below them (Figure 5, left).

    `information` is nats `[latent, factor]`, already ordered. `names` goes from columns to labels;
    one that ends in `_ratio` has a dotted line at 1.

    Returns:
        The panels of scores.
    """
    betas = sorted({beta for _, beta in information})
    top = max(matrix.max() for matrix in information.values())
    panels = figure.subplots(2 + len(names), 1, height_ratios=[0.8, 0.8] + [1] * len(names))
    images = []
    for ax, kind in zip(panels, _KINDS, strict=False):
        ax.set_axis_off()
        first = kind == _KINDS[0]
        ax.set_title(f"{kind} posteriors", color=COLOURS[kind], fontsize=8, pad=12 if first else 3)
        for i, beta in enumerate(betas):
            small = ax.inset_axes(((i + 0.02) / len(betas), 0, 0.96 / len(betas), 1))
            matrix = information[kind, beta]
            images.append(plot_information(small, matrix, factors, top, aspect="auto"))
            small.tick_params(axis="y", labelsize=5.5)
            if i:
                small.set_yticks([])
            if first:
                small.set_title(beta_label(beta), fontsize=7, pad=2)
    for ax, (name, label) in zip(panels[2:], names.items(), strict=True):
        plot_kinds(ax, frame, name, interval, "even")
        if name.endswith("_ratio"):
            ax.axhline(1, color="k", linestyle=":", linewidth=0.8)
        ax.set_ylim(*_ends(frame[name]))
        ax.set_ylabel(label)
        ax.label_outer()
    panels[-1].set_xlabel(r"$\beta$")
    figure.align_ylabels(panels[2:])
    figure.colorbar(
        images[0], ax=panels[:2], label="nats", fraction=0.03, pad=0.01, aspect=15, shrink=0.9
    )
    return list(panels[2:])


def plot_unit_diagonals(
    figure: FigureBase, cells: Mapping[tuple[str, float], Mapping[str, np.ndarray]]
) -> None:
    """Matrices of unit diagonal, a row a posterior and beta, a column a term (Figure 5, right)."""
    columns = list(next(iter(cells.values())))
    panels = figure.subplots(len(cells), len(columns), squeeze=False)
    images = []
    for row, ((kind, beta), terms) in zip(panels, cells.items(), strict=True):
        for ax, matrix in zip(row, terms.values(), strict=True):
            images.append(plot_unit_diagonal(ax, matrix))
        row[0].set_ylabel(f"{kind}\n{beta_label(beta)}", fontsize=7, color=COLOURS[kind])
    for ax, title in zip(panels[0], columns, strict=True):
        ax.set_title(title)
    figure.colorbar(
        images[0],
        ax=panels,
        orientation="horizontal",
        shrink=0.9,
        aspect=25,
        label=r"$D^{-1/2}\,|M|\,D^{-1/2}$ (grey: inactive)",
    )


def plot_kind_curves(
    ax: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], **style: Any
) -> list[Line2D]:
    """A score `[seed, point]` over training images `[point]`: a line a posterior, and seeds."""
    lines = []
    for kind, (images, values) in curves.items():
        options = {"color": COLOURS[kind], "label": kind} | style
        lines.append(plot_curves(ax, images, values, **options))
    ax.set_xscale("log")
    return lines


def use_log_ticks(ax: Axes, axis: Literal["x", "y"]) -> None:
    """A logarithmic axis with ticks at 1, 2 and 5, written as they are."""
    scaled = ax.xaxis if axis == "x" else ax.yaxis
    ax.set(**{f"{axis}scale": "log"})
    scaled.set_major_locator(LogLocator(subs=(1, 2, 5)))
    scaled.set_major_formatter("{x:g}")
    ax.minorticks_off()


def plot_grid_of_curves(
    figure: Figure,
    curves: Mapping[tuple[str, str], Mapping[str, tuple[np.ndarray, np.ndarray]]],
    label: str,
    start: float = 2e3,
) -> np.ndarray:
    """A panel `[row, column]` for two properties of runs, one scale; see `plot_kind_curves`."""
    rows, columns = (list(dict.fromkeys(names)) for names in zip(*curves, strict=True))
    panels = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    for (row, column), of_kinds in curves.items():
        ax = panels[rows.index(row), columns.index(column)]
        plot_kind_curves(ax, of_kinds)
        ax.set_title(f"{row}, {column}")
    panels[0, 0].set_xlim(left=start)
    panels[0, 0].set_ylim(bottom=0)
    for ax in panels[:, 0]:
        ax.set_ylabel(label)
    for ax in panels[-1]:
        ax.set_xlabel("training images")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return panels
