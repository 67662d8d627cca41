"""Many latents, several betas and both posteriors in one figure: Figures 8 to 10 and CelebA.

Arrays are named by covariance and beta, both covariances in the order of the panels; where they
are named by term too, that varies fastest.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from seams.plotting.scores import plot_magnitude
from seams.plotting.style import COLOURS, beta_label

__all__ = [
    "TERMS",
    "activity_figure",
    "some_betas",
    "term_maps_figure",
    "term_strips_figure",
]

TERMS = {"gram": r"$J^\top J$", "hessian": r"$(x-d)^\top H$"}
"""Of Eq. 6, as labels."""

_DECADES = 1e4  # of entries, from the largest down


def some_betas(betas: Sequence[float]) -> list[float]:
    """Three of the betas or fewer: the least, the middle and the largest."""
    return sorted(betas)[:: max(1, (len(betas) - 1) // 2)]


def activity_figure(activity: Mapping[tuple[str, float], np.ndarray], legend: str) -> Figure:
    """Mean activities of `[run, latent]`, falling, log, +- one deviation, cut at the least run."""
    kinds, betas = (list(dict.fromkeys(names)) for names in zip(*activity, strict=True))
    colours = colormaps["viridis"](np.linspace(0.85, 0.1, len(betas)))
    figure = Figure(figsize=(6.75, 2.7))
    panels = figure.subplots(1, 2, sharey=True)
    for (kind, beta), every in activity.items():
        ax, colour = panels[kinds.index(kind)], colours[betas.index(beta)]
        rank = np.arange(1, every.shape[1] + 1)
        mean, spread = every.mean(0), every.std(0)
        ax.plot(rank, mean, color=colour, label=beta_label(beta), marker=".", markersize=3)
        low = np.maximum(mean - spread, every.min(0))
        ax.fill_between(rank, low, mean + spread, color=colour, alpha=0.2, linewidth=0)
    for ax, kind in zip(panels, kinds, strict=True):
        ax.set_yscale("log")
        ax.set_xlabel(f"latents by activity, {kind} posteriors")
    panels[1].legend(loc=legend, ncols=min(3, len(betas)))
    return figure


def term_strips_figure(entries: Mapping[tuple[str, float, str], np.ndarray]) -> Figure:
    r"""Eq. 6's terms over $\beta\sigma^2$, `[datum, latent, latent]`, absolute, four decades."""
    figure = Figure(figsize=(6.75, 0.6 * len(entries) + 0.9))
    panels, tops, images = figure.subplots(len(entries), 1), _tops(entries), {}
    for ax, ((_, beta, name), matrices) in zip(panels, entries.items(), strict=True):
        spaced = np.pad(matrices, ((0, 0), (0, 0), (0, 2)), constant_values=np.nan)
        strip = np.concatenate(list(spaced), 1)[:, :-2]
        images[name] = plot_magnitude(ax, strip, tops[name] / _DECADES, tops[name])
        label = f"{beta_label(beta)}\n{TERMS[name]}" if name == "gram" else TERMS[name]
        ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    kinds = list(dict.fromkeys(kind for kind, *_ in entries))
    for ax, kind in zip(panels[:: len(entries) // len(kinds)], kinds, strict=True):
        ax.set_title(f"{kind} posteriors", color=COLOURS[kind], fontsize=9)
    for name, image in reversed(images.items()):
        bar = figure.colorbar(
            image, ax=list(panels), location="bottom", aspect=60, fraction=0.02, pad=0.01
        )
        bar.set_label(rf"rows {TERMS[name]}: entries over $\beta\sigma^2$", fontsize=8)
    return figure


def term_maps_figure(maps: Mapping[tuple[str, float, str], np.ndarray]) -> Figure:
    """As `term_strips_figure` for one matrix each; rows are betas, columns covariances."""
    betas = sorted({beta for _, beta, _ in maps})
    kinds = list(dict.fromkeys(kind for kind, *_ in maps))
    columns = [(name, kind) for name in TERMS for kind in kinds]
    figure, tops = Figure(figsize=(6.75, 1.6 * len(betas) + 0.7)), _tops(maps)
    panels = figure.subplots(len(betas), len(columns), squeeze=False)
    images: dict[str, AxesImage] = {}
    for column, (name, kind) in zip(panels.T, columns, strict=True):
        for ax, beta in zip(column, betas, strict=True):
            top = tops[name]
            images[name] = plot_magnitude(ax, maps[kind, beta, name], top / _DECADES, top)
        column[0].set_title(f"{TERMS[name]}\n{kind}", color=COLOURS[kind], fontsize=9)
    for ax, beta in zip(panels[:, 0], betas, strict=True):
        ax.set_ylabel(beta_label(beta))
    for first, (name, image) in zip((0, len(kinds)), images.items(), strict=True):
        pair = list(panels[:, first : first + len(kinds)].flat)
        bar = figure.colorbar(image, ax=pair, location="bottom", aspect=30, shrink=0.9)
        bar.set_label(rf"{TERMS[name]} over $\beta\sigma^2$")
    return figure


def _tops(entries: Mapping[tuple[str, float, str], np.ndarray]) -> dict[str, float]:
    names = {name for *_, name in entries}
    return {n: max(float(np.abs(m).max()) for k, m in entries.items() if k[2] == n) for n in names}
