"""Scores against beta and along training, and the matrices that they are read from."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from seams.plotting.style import BETA

_UNIT = colormaps["magma_r"].with_extremes(bad="#DDDDDD")

_SINGLE_RUNS = 8  # up to so many seeds are drawn one by one beside their mean


def plot_against_beta(
    ax: Axes,
    betas: Sequence[float],
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    scale: Literal["log", "even"] = "log",
    **style: Any,
) -> Line2D:
    """Mean of `[beta, seed]` with a band, seeds as dots; "even" gives each beta the same width."""
    style.setdefault("marker", "o")
    x = list(betas) if scale == "log" else list(range(len(betas)))
    with _gaps():
        (line,) = ax.plot(x, np.nanmean(values, axis=1), **style)
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    for seed in values.T:
        ax.plot(x, seed, ".", color=line.get_color(), alpha=0.45, markersize=2.5, zorder=1)
    if scale == "log":
        ax.set_xscale("log")
    else:
        ax.set_xlim(-0.5, len(betas) - 0.5)
    ax.set_xticks(x, [f"{b:g}" for b in betas])
    ax.minorticks_off()
    return line


@contextmanager
def _gaps() -> Iterator[None]:
    """Where every seed is NaN a mean is NaN too, without a word: a line has a gap there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice|All-NaN slice", RuntimeWarning)
        yield


def plot_curves(ax: Axes, x: np.ndarray, values: np.ndarray, **style: Any) -> Line2D:
    """Mean of `[seed, point]`, and up to eight seeds; of more, their 5 % to 95 % quantiles."""
    with _gaps():
        (line,) = ax.plot(x, np.nanmean(values, axis=0), **style)
    if 1 < len(values) <= _SINGLE_RUNS:
        for seed in values:
            ax.plot(x, seed, color=line.get_color(), alpha=0.35, linewidth=0.6)
    elif len(values) > 1:
        with _gaps():
            low, high = np.nanquantile(values, (0.05, 0.95), axis=0)
        ax.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    return line


def plot_moving_beta(
    ax: Axes, x: np.ndarray, y: np.ndarray, betas: np.ndarray, norm: Normalize, **style: Any
) -> LineCollection:
    """One run's path through two scores; a piece has the colour of its later end's beta."""
    known = np.isfinite(x) & np.isfinite(y)
    points = np.column_stack([x, y])[known]
    style = {"cmap": BETA, "linewidth": 1.0, "capstyle": "round", **style}
    path = LineCollection(list(np.stack([points[:-1], points[1:]], 1)), norm=norm, **style)
    path.set_array(betas[known][1:])
    ax.add_collection(path)
    ax.autoscale_view()
    return path


def plot_information(
    ax: Axes, information: np.ndarray, factors: Sequence[str], top: float, **style: Any
) -> AxesImage:
    """Mutual information, nats `[latent, factor]`, as a heatmap from 0 to `top`; rows: factors."""
    style.setdefault("vmin", 0)
    style.setdefault("vmax", top)
    style.setdefault("cmap", "Blues")
    image = ax.imshow(information.T, **style)
    ax.set_yticks(range(len(factors)), factors)
    ax.set_xticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return image


def plot_magnitude(
    ax: Axes, matrix: np.ndarray, floor: float, top: float, **style: Any
) -> AxesImage:
    """Absolute entries on a logarithmic colour scale; those below `floor` are drawn as `floor`."""
    if not 0 < floor < top:
        raise ValueError(
            f"A logarithmic scale needs 0 < `floor` < `top`; got {floor} and {top}. Is the matrix "
            "zero?"
        )
    style.setdefault("norm", LogNorm(floor, top))
    style.setdefault("cmap", "magma")
    image = ax.imshow(np.clip(np.abs(matrix), floor, None), **style)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return image


def plot_unit_diagonal(ax: Axes, matrix: np.ndarray, **style: Any) -> AxesImage:
    """$D^{-1/2}|M|D^{-1/2}$ (Appendix E) from 0 to 1; NaN, an inactive latent, is grey."""
    style.setdefault("vmin", 0)
    style.setdefault("vmax", 1)
    style.setdefault("cmap", _UNIT)
    image = ax.imshow(matrix, **style)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return image
