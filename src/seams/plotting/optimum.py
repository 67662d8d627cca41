"""Both sides of Eq. 6 against each other, and its two terms apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seams.plotting.scores import plot_magnitude
from seams.plotting.style import COLOURS, beta_label

__all__ = ["plot_refinement", "plot_sides", "plot_term_scores", "plot_terms"]

_LABELS = (r"$G/\beta\sigma^2$", r"$H/\beta\sigma^2$", r"$(G-H)/\beta\sigma^2$")


def plot_sides(ax: Axes, points: Mapping[int, tuple[np.ndarray, ...]], kind: str) -> None:
    """Right side, with its error, against left by steps of refinement, the last in colour."""
    for step, (left, right, error) in points.items():
        ax.errorbar(
            left,
            right,
            error,
            fmt=".",
            color=COLOURS[kind] if step == max(points) else "#aaaaaa",
            markersize=2,
            elinewidth=0.4,
            rasterized=True,
            label=f"{step} steps",
        )
    ends = np.concatenate([side for left, right, _ in points.values() for side in (left, right)])
    ends = np.quantile(ends, [0, 1]) if len(ends) else ends
    ax.plot(ends, ends, color="black", linewidth=0.6)
    ax.legend(handletextpad=0.1, loc="upper left")


def plot_refinement(ax: Axes, table: pd.DataFrame, near: float) -> None:
    """Difference of both sides, and its noise, against steps; runs of beta `near` are solid."""
    steps = sorted(set(table["step"]))
    groups: list[tuple[Any, pd.DataFrame]] = list(table.groupby(["covariance", "beta", "seed"]))
    for (kind, beta, seed), group in groups:
        style: dict[str, Any] = {"color": COLOURS[kind], "linewidth": 0.8}
        label = f"{kind}, {beta_label(beta)}" if seed == table["seed"].min() else None
        line = "-" if beta == near else "--"
        ax.plot(group["step"], group["difference"], line, label=label, **style)
        ax.plot(group["step"], group["noise"], ":", **style | {"linewidth": 0.6})
    ax.plot([], [], ":", color="black", linewidth=0.6, label="noise of the draws")
    ax.set_xscale("symlog", linthresh=min(step for step in steps if step), linscale=0.5)
    ax.set_yscale("log" if table["difference"].notna().any() else "linear")
    ax.set_xticks(steps, [f"{step}" for step in steps])
    ax.minorticks_off()
    ax.set(xlabel="refinement steps", ylabel="relative difference")
    ax.set_ylim(top=ax.get_ylim()[1] * 4)
    ax.legend(fontsize=6, handlelength=1.4, loc="upper right")


def plot_terms(
    figure: Figure,
    means: Mapping[str, np.ndarray],
    clouds: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
) -> None:
    """Terms and difference, means `[3, latent, latent]` over three decades; entries as clouds."""
    maps, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[2, 1])[0]
    panels = maps.subplots(len(means), len(_LABELS), squeeze=False)
    top = max(mean.max() for mean in means.values())
    images = []
    for row, (kind, terms) in zip(panels, means.items(), strict=True):
        row[0].set_ylabel(kind, color=COLOURS[kind])
        for ax, mean, label in zip(row, terms, _LABELS, strict=True):
            images.append(plot_magnitude(ax, mean, top / 1e3, top))
            ax.set_xlabel(label)
    maps.colorbar(images[0], ax=panels, shrink=0.8)
    axes = right.subplots(len(clouds), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for ax, (kind, pairs) in zip(axes, clouds.items(), strict=True):
        style: dict[str, Any] = {"markersize": 1.5, "alpha": 0.4, "rasterized": True}
        for first, second in pairs:
            ax.plot(first, second, ".", color=COLOURS[kind], **style)
        ax.axline((0, 0), slope=1, color="black", linewidth=0.6)
        ax.set_aspect("equal")
    right.supylabel("second term, scaled", fontsize=8)
    axes[-1].set_xlabel("first term, scaled")
    reach = 1.05 * np.abs([ax.dataLim.get_points() for ax in axes]).max((0, 1))
    axes[-1].set(xlim=(-reach[0], reach[0]), ylim=(-reach[1], reach[1]))


def plot_term_scores(figure: Figure, table: pd.DataFrame, terms: Sequence[str]) -> None:
    """Each term's `<term>_score` in the latent axes, joined to `<term>_turned`, a panel each."""
    panels = figure.subplots(1, len(terms), sharey=True)
    groups: list[tuple[Any, pd.DataFrame]] = list(table.groupby(["covariance", "beta"]))
    for ax, term, title in zip(panels, terms, _LABELS, strict=False):
        for place, ((kind, _), group) in enumerate(groups):
            x = place + np.linspace(-0.22, 0.22, len(group))
            style: dict[str, Any] = {"color": COLOURS[kind], "markersize": 3.5}
            own, turned = group[f"{term}_score"], group[f"{term}_turned"]
            ax.vlines(x, own, turned, color=COLOURS[kind], linewidth=0.7)
            ax.plot(x, own, "o", label="own axes", **style)
            ax.plot(x, turned, "o", mfc="white", label="random rotations", **style)
        names = [f"{kind}\n{beta_label(beta)}" for (kind, beta), _ in groups]
        ax.set_xticks(range(len(groups)), names)
        ax.set_title(title)
        ax.grid(axis="x", visible=False)
    panels[0].set_ylabel("off-diagonality (App. E)")
    panels[0].set_ylim(bottom=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[:2], labels[:2], loc="outside right center", handletextpad=0.1)
