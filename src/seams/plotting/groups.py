"""Single numbers in groups, each as a dot."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes

__all__ = ["plot_groups"]


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
