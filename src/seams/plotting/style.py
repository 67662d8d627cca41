"""The style sheet, colours and labels that all figures share, told apart by the colour-blind."""

from pathlib import Path

import matplotlib.style
from matplotlib.colors import LinearSegmentedColormap

COLOURS = {
    "diagonal": "#0072B2",
    "full": "#D55E00",
    "none": "#009E73",
    "em": "#666666",
    "truth": "#000000",
}
"""Of the two posteriors, of autoencoders, EM and the ground truth (Okabe and Ito's palette)."""

CURVES = {"path": "#2166AC", "seam": "#B2182B", "traversal": "#1B9E5A"}
"""Of singular-vector paths, of seams, and of axis traversals with their images."""

DENSITY = LinearSegmentedColormap.from_list(
    "density", ["#F3F1EA", "#D9E0E8", "#A9BCD3", "#7F9BC0"]
)
"""Light throughout, so that curves drawn over it stay legible."""

BETA = LinearSegmentedColormap.from_list("beta", ["#FDB863", "#D7566B", "#7A2A84", "#1B1047"])
"""Of values of beta, the larger the darker; no colour is too light for a line on white."""


def use_style() -> None:
    """Set matplotlib to the project's style sheet, whatever the user's own settings are."""
    matplotlib.style.use(["default", Path(__file__).with_name("seams.mplstyle")])


def beta_label(beta: float) -> str:
    r"""Short text for a value of beta, such as `$\beta=0.3$`."""
    return rf"$\beta={beta:g}$"
