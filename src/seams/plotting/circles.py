"""Circles of points that merge as beta grows, and where posteriors collapse: Figure 6."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from seams.plotting.manifold import plot_ellipses
from seams.plotting.style import beta_label

__all__ = ["averages_figure", "collapse_figure"]

_TINTS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # of the circles' posteriors


def averages_figure(
    x: np.ndarray,
    circle: Sequence[int],
    near: np.ndarray,
    pictures: Mapping[float, Mapping[str, np.ndarray]],
) -> Figure:
    """Points of circles, what is made of them, and their posteriors, a column a beta.

    Args:
        x: The data `[point, 2]`.
        circle: Which each is of.
        near: Centre of the circle that is drawn larger `[2]`.
        pictures: By beta, as of `seams.paper.two_latents.circle_scores`.

    Returns:
        All points, one circle, and the plane of latents, from the top.
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


def collapse_figure(
    spreads: Mapping[str, np.ndarray],
    marks: Sequence[float],
    rates: Mapping[str, np.ndarray],
    theory: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> Figure:
    """Spread of reconstructions that is kept, and KL, against beta.

    Args:
        spreads: By label: betas and shares kept, one a run `[2, run]`.
        marks: Variances to mark on the axis of beta; at the last a linear VAE keeps nothing.
        rates: By label: shares of the beta of collapse and nats, one a run `[2, run]`.
        theory: As `rates`, for each of them: lines.

    Returns:
        Two panels, the shares and the nats.
    """
    figure = Figure(figsize=(6.75, 2.5))
    left, right = figure.subplots(1, 2)
    dotted = {"color": "0.4", "linestyle": ":", "linewidth": 0.9}
    tints = ("#332288", "#DD7711")
    for (label, (betas, kept)), colour in zip(spreads.items(), tints, strict=True):
        left.plot(betas, kept, ".", color=colour, markersize=4, alpha=0.6)
        values = np.unique(betas)
        left.plot(values, [kept[betas == b].mean() for b in values], color=colour, label=label)
    grid = np.geomspace(min(b.min() for b, _ in spreads.values()), marks[-1], 200)
    linear = {"color": "0.4", "linestyle": "--", "linewidth": 0.9, "label": "linear VAE"}
    left.plot(grid, 1 - grid / marks[-1], **linear)
    for variance in marks:
        left.axvline(variance, **dotted)
    left.set(xscale="log", ylim=(-0.03, 1.12), ylabel="spread kept")
    left.set_xlabel(r"$\beta$ (here also $\sigma_{\rm eff}^2 = \beta\sigma^2$)")
    left.legend(loc="lower left")
    looks = (("#0072B2", "--"), ("#117733", "-"))
    pairs = zip(rates.items(), theory.items(), looks, strict=True)
    for (label, (shares, nats)), (told, (x, y)), (colour, dash) in pairs:
        right.plot(x, y, dash, color=colour, linewidth=0.9, label=told)
        right.plot(shares, nats, "o", color=colour, markersize=3.5, label=label)
    right.axvline(1, **dotted)
    right.set(xlabel=r"$s = \beta\,/\,\beta_{\rm collapse}$", ylabel="KL (nats)")
    right.legend(loc="upper right")
    return figure
