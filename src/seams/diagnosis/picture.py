"""A diagnosis as one figure."""

from typing import TYPE_CHECKING

from torch import Tensor

from seams.diagnosis.result import DecoderFindings, Findings

__all__ = ["drawn", "drawn_alone"]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def drawn(found: Findings) -> "Figure":
    """Six panels; see `Diagnosis.plot`."""
    import matplotlib
    import matplotlib.pyplot as plt

    from seams import plotting

    order = found.activity.argsort(descending=True)
    with matplotlib.rc_context():
        plotting.use_style()
        figure, panels = plt.subplots(2, 3, figsize=(6.75, 4.0))
        _draw_activity(panels[0, 0], found, order)
        _draw_singular_values(panels[0, 1], found, order)
        _draw_sides(panels[0, 2], found)
        terms = [m.abs().mean(0)[order][:, order].numpy() for m in (found.grams, found.hessians)]
        top = max(float(term.max()) for term in terms) or 1.0
        labels = (r"$J^\top J$", r"$(x-d)^\top H$")
        for ax, term, label in zip(panels[1], terms, labels, strict=False):
            image = plotting.plot_magnitude(ax, term, top / 1e4, top)
            ax.set_xlabel(f"{label}, mean |entry|")
        figure.colorbar(image, ax=list(panels[1, :2]), shrink=0.9)
        if found.information is not None:
            _draw_information(panels[1, 2], found, order)
        else:
            _draw_pairs(panels[1, 2], found)
    return figure


def drawn_alone(found: DecoderFindings) -> "Figure":
    """Four panels; see `DecoderDiagnosis.plot`."""
    import matplotlib
    import matplotlib.pyplot as plt

    from seams import plotting

    order = found.movement.argsort(descending=True)
    with matplotlib.rc_context():
        plotting.use_style()
        figure, panels = plt.subplots(2, 2, figsize=(5.0, 4.2))
        _draw_bars(panels[0, 0], found.movement, found.active, order, _colour(found))
        panels[0, 0].set_xlabel("latent, by what it moves")
        panels[0, 0].set_ylabel("movement of the output")
        _draw_singular_values(panels[0, 1], found, order)
        gram = found.grams.abs().mean(0)[order][:, order].numpy()
        top = float(gram.max()) or 1.0
        image = plotting.plot_magnitude(panels[1, 0], gram, top / 1e4, top)
        panels[1, 0].set_xlabel(r"$J^\top J$, mean |entry|")
        figure.colorbar(image, ax=panels[1, 0], shrink=0.9)
        if found.information is not None:
            _draw_information(panels[1, 1], found, order)
        else:
            _draw_pairs(panels[1, 1], found)
    return figure


def _colour(found: Findings | DecoderFindings) -> str:
    from seams.plotting import COLOURS

    return COLOURS[found.covariance if isinstance(found, Findings) else "none"]


def _draw_activity(ax: "Axes", found: Findings, order: Tensor) -> None:
    _draw_bars(ax, found.activity, found.active, order, _colour(found))
    ax.axhline(0.01, color="black", linewidth=0.6, linestyle=":")
    ax.set_xlabel("latent, by activity")
    ax.set_ylabel(r"activity $\mathrm{Var}_x\,\mu_j$")


def _draw_bars(ax: "Axes", values: Tensor, active: Tensor, order: Tensor, colour: str) -> None:
    colours = [colour if active[j] else "#bbbbbb" for j in order]
    ax.bar(range(len(order)), values[order].clamp(min=1e-6).tolist(), color=colours)
    ax.set_yscale("log")
    ax.set_xticks(range(len(order)), [str(j) for j in order.tolist()])


def _draw_singular_values(ax: "Axes", found: Findings | DecoderFindings, order: Tensor) -> None:
    kept = [j for j in order.tolist() if found.active[j]]
    lengths = found.grams.diagonal(dim1=1, dim2=2).sqrt()[:, kept]
    ax.errorbar(
        range(len(kept)),
        [length.mean().item() for length in lengths.T],
        [length.std().item() for length in lengths.T],
        fmt="o",
        color=_colour(found),
    )
    ax.set_xticks(range(len(kept)), [str(j) for j in kept])
    ax.set_ylim(0)
    ax.set_xlabel("active latent" if isinstance(found, Findings) else "moving latent")
    ax.set_ylabel(r"column of $J$, length $\pm$ sd")


def _draw_sides(ax: "Axes", found: Findings) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    from seams.plotting import COLOURS

    entries = lambda sides: sides.diagonal(dim1=1, dim2=2)[:, found.active].flatten().numpy()
    left, right = entries(found.left), entries(found.right)
    if len(left):
        ax.plot(left, right, ".", color=COLOURS[found.covariance], markersize=2, alpha=0.5)
        ends = (left.min(), left.max())
        ax.plot(ends, ends, color="black", linewidth=0.6)
        ax.set_xscale("log")
        ax.set_yscale("log", nonpositive="mask")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(r"$[\Sigma_x^{-1}]_{jj}$")
    ax.set_ylabel("right side of Eq. 6")


def _draw_information(ax: "Axes", found: Findings | DecoderFindings, order: Tensor) -> None:
    import seaborn

    assert found.information is not None
    seaborn.heatmap(
        found.information[order].T.numpy(),
        vmin=0,
        cmap="Blues",
        cbar=False,
        annot=True,
        fmt=".1f",
        annot_kws={"fontsize": 5},
        xticklabels=[str(j) for j in order.tolist()],
        yticklabels=list(found.factor_names),
        ax=ax,
    )
    ax.tick_params(length=0, labelrotation=0)
    ax.set_xlabel("latents; information, nats")


def _draw_pairs(ax: "Axes", found: Findings | DecoderFindings) -> None:
    for distinct, colour in ((True, _colour(found)), (False, "black")):
        some = [pair for pair in found.pairs if pair.distinct is distinct]
        label = "distinct" if distinct else "not distinct"
        ax.plot(
            [pair.ratio for pair in some], [pair.angle for pair in some], "o", color=colour,
            label=label,
        )  # fmt: skip
    ax.set_xlabel("ratio of singular values, a pair")
    ax.set_ylabel("angle to the axes, degrees")
    ax.set_ylim(0, 46)
    ax.legend()
