"""Circles of points that merge as beta grows: Figure 6."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from seams.plotting.manifold import plot_ellipses
from seams.plotting.style import beta_label

__all__ = ["averages_figure"]

_TINTS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # of the circles' posteriors


def averages_figure(
    x: np.ndarray,
    circle: Sequence[int],
    near: np.ndarray,
    pictures: Mapping[float, Mapping[str, np.ndarray]],
) -> Figure:
    """Points of circles, what is made of them, and their posteriors, a column a beta.

    From the top: all points `x` `[point, 2]`; those about `near` `[2]`; the plane of latents.
    `pictures` are, by beta, as of `seams.paper.two_latents.circle_scores`.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(7.1, 4.5))
    panels = figure.subplots(3, len(pictures), squeeze=False, sharex="row", sharey="row")
    ring = {"color": "black", "markerfacecolor": "none", "label": "posterior-weighted mean"}
    colours = [_TINTS[i % len(_TINTS)] for i in circle]
    wide, plain = {"xlim": (-14, 14), "ylim": (-14, 14)}, {"facecolors": "none"}
    for column, (beta, found) in zip(panels.T, pictures.items(), strict=True):
        trained, predicted = found["trained"], found["predicted"]
        for ax, size in zip(column[:2], (0.6, 1.0), strict=True):
            ax.plot(*np.stack([x, trained], 1).T, color="0.75", linewidth=0.5, zorder=1)
            ax.plot(*x.T, "o", color="#4477AA", markersize=3.2 * size, label="data", zorder=2)
            red = {"color": "#CC3311", "label": "trained"}
            ax.plot(*trained.T, "o", markersize=3 * size, zorder=4, **red)
            edge = {"markeredgewidth": 0.5 + 0.2 * size, "markersize": 6 * size}
            ax.plot(*predicted.T, "o", zorder=3, **ring, **edge)
        column[0].set(**wide, xticks=[-10, 0, 10], yticks=[-10, 0, 10])
        column[0].set_title(beta_label(beta), fontsize=8)
        column[1].set(xlim=near[0] + [-3.1, 3.1], ylim=near[1] + [-3.1, 3.1])
        mean, L = found["mean"], found["scale_tril"]
        plot_ellipses(column[2], mean, L, edgecolors=colours, **plain)
        prior = {"edgecolors": "0.3", "linestyle": ":", **plain}
        plot_ellipses(column[2], np.zeros((1, 2)), np.eye(2)[None], **prior)
        column[2].plot(*mean.T, ".", color="0.25", markersize=1.5, zorder=3)
        column[2].set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        for ax in column:
            ax.set_aspect("equal")
            ax.grid(False)
    for ax, label in zip(panels[:, 0], ("$x$", "$x$, one circle", "posteriors, $z$"), strict=True):
        ax.set_ylabel(label)
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=3)
    return figure
