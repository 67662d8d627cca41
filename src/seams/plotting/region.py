"""Scores against the distance from posterior means, a line a beta."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from seams.plotting.style import BETA, beta_label

__all__ = ["plot_distances"]


def plot_distances(
    figure: Figure, panels: Mapping[str, tuple[pd.DataFrame, str]], label: str
) -> list[Axes]:
    """A panel a title: a score of some rows over `distance`, a line a beta; below, `spread`."""
    axes = list(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0])
    betas = sorted({beta for rows, _ in panels.values() for beta in rows["beta"]})
    norm, drawn = LogNorm(betas[0], max(betas[-1], 1.001 * betas[0])), {}
    for ax, (title, (rows, score)) in zip(axes, panels.items(), strict=True):
        for beta in sorted(set(rows["beta"])):
            group, colour = rows[rows["beta"] == beta], BETA(norm(beta))
            by_seed = group.pivot(index="distance", columns="seed", values=score).astype(float)
            (drawn[beta],) = ax.plot(by_seed.index, by_seed.mean(axis=1), color=colour)
            ax.plot(by_seed.index, by_seed, ".", color=colour, alpha=0.4, markersize=2.5)
            ax.plot(group["spread"].mean(), 0.03, "^", color=colour, markersize=4)
        ax.axhline(1, color="0.6", linewidth=0.6, zorder=0)
        ax.set_title(title)
        ax.set_xlabel("distance (prior s.d.)")
    axes[0].set_ylim(0, 1.15)
    axes[0].set_ylabel(label)
    labels = [beta_label(beta) for beta in betas]
    lines = [drawn[beta] for beta in betas]
    figure.legend(lines, labels, loc="outside upper center", ncols=len(betas))
    return axes
