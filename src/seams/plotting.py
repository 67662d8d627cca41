"""One function a kind of panel: arrays and an axis in, the artist out.

Nothing here computes, loads, saves or makes a figure. Diagonal and full posteriors have their two
colours everywhere, which the colour-blind can tell apart; beta is a sequence.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

__all__ = [
    "COLOURS",
    "beta_label",
    "plot_against_beta",
    "plot_curves",
    "plot_images",
    "plot_information",
    "plot_magnitude",
    "plot_vectors",
    "use_style",
]

COLOURS = {"diagonal": "#0072B2", "full": "#D55E00", "em": "#666666", "truth": "#000000"}
"""Of the two posteriors, of EM and of the ground truth (Okabe and Ito's palette)."""

_SINGLE_RUNS = 8  # up to so many seeds are drawn one by one beside their mean


def use_style() -> None:
    """Set matplotlib to the project's style sheet."""
    matplotlib.style.use(Path(__file__).with_name("seams.mplstyle"))


def beta_label(beta: float) -> str:
    r"""Short text for a value of beta.

    Args:
        beta: The value.

    Returns:
        Such as `$\beta=0.3$`.
    """
    return rf"$\beta={beta:g}$"


def plot_against_beta(
    ax: Axes,
    betas: Sequence[float],
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    **style: Any,
) -> Line2D:
    """Mean over seeds against beta, with a band, and every seed as a dot.

    Args:
        ax: Where to draw.
        betas: Values of beta, rising.
        values: One a beta and seed `[beta, seed]`; NaN is left out.
        low: Lower end of the band `[beta]`.
        high: Upper end of the band `[beta]`.
        **style: For the line.

    Returns:
        The line of the means.
    """
    style.setdefault("marker", "o")
    with _gaps():
        (line,) = ax.plot(betas, np.nanmean(values, axis=1), **style)
    ax.fill_between(betas, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    for seed in values.T:
        ax.plot(betas, seed, ".", color=line.get_color(), alpha=0.45, markersize=2.5, zorder=1)
    ax.set_xscale("log")
    ax.set_xticks(list(betas), [f"{b:g}" for b in betas])
    ax.minorticks_off()
    return line


@contextmanager
def _gaps() -> Iterator[None]:
    """Where every seed is NaN a mean is NaN too, without a word: a line has a gap there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice|All-NaN slice", RuntimeWarning)
        yield


def plot_curves(ax: Axes, x: np.ndarray, values: np.ndarray, **style: Any) -> Line2D:
    """Mean over seeds along training, with every seed as a thin line if there are few.

    With more than eight, a band from the 5 % to the 95 % quantile of the seeds stands for them.

    Args:
        ax: Where to draw.
        x: Progress of training `[point]`.
        values: One a seed and point `[seed, point]`; NaN is left out.
        **style: For the line of the mean.

    Returns:
        The line of the mean.
    """
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


def plot_information(
    ax: Axes, information: np.ndarray, factors: Sequence[str], top: float, **style: Any
) -> AxesImage:
    """Mutual information of factors (rows) and latents (columns) as a heatmap.

    Args:
        ax: Where to draw.
        information: Nats `[latent, factor]`, already ordered.
        factors: Names of the columns of `information`.
        top: End of the colour range, shared by all maps that are compared.
        **style: For `imshow`.

    Returns:
        The image.
    """
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
    """Absolute entries of a matrix on a logarithmic colour scale.

    Args:
        ax: Where to draw.
        matrix: Square, already ordered; entries below `floor` are drawn as `floor`.
        floor: Lower end of the colour range, to be stated in the caption.
        top: Upper end, shared by all maps that are compared.
        **style: For `imshow`.

    Returns:
        The image.

    Raises:
        ValueError: The range is empty or not positive, as for a matrix of zeros.
    """
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


def plot_images(ax: Axes, images: np.ndarray, gap: int = 1, **style: Any) -> AxesImage:
    """Small grey images in rows.

    Args:
        ax: Where to draw.
        images: `[row, column, side, side]`, 0..255.
        gap: White pixels between them.
        **style: For `imshow`.

    Returns:
        The image of the whole sheet.
    """
    rows, columns, height, width = images.shape
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), 255, np.uint8)
    for (row, column), _ in np.ndenumerate(images[..., 0, 0]):
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = images[row, column]
    style.setdefault("cmap", "gray")
    style.setdefault("vmin", 0)
    style.setdefault("vmax", 255)
    image = ax.imshow(sheet, **style)
    ax.set_axis_off()
    return image


def plot_vectors(ax: Axes, vectors: np.ndarray, **style: Any) -> list[Line2D]:
    """Vectors of the plane as lines from the origin, with a marker, if any, at the end alone.

    Args:
        ax: Where to draw; its aspect is made equal.
        vectors: `[vector, 2]`.
        **style: For the lines; `colors` may give one colour each.

    Returns:
        The lines.
    """
    colours = style.pop("colors", [None] * len(vectors))
    style.setdefault("markevery", [1])
    lines: list[Line2D] = []
    for vector, colour in zip(vectors, colours, strict=True):
        if colour is not None:
            style["color"] = colour
        lines += ax.plot([0, vector[0]], [0, vector[1]], **style)
    ax.set_aspect("equal")
    return lines
