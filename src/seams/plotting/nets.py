"""Nets of paths in the latent plane and of seams on the manifold: Figures 1, 3 and 4.

A net is a `seams.geometry.nets.SeamNet`, of arrays or tensors.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D  # type: ignore[import-untyped]

from seams.plotting.manifold import plot_marginal, plot_path, plot_surface, use_view
from seams.plotting.style import CURVES

__all__ = [
    "net_legend",
    "net_panels",
    "plot_axis_images",
    "plot_net",
    "plot_seam_margins",
    "use_net_view",
]

_WIDTH, _SPACE = 6.75, 3.375  # of the figure and of the manifold's square; inches
_GAP, _HEIGHT = 0.08, 1.2  # of the margins on the manifold: distance, and unit of density


def net_panels(height: float, side: float, letter: str) -> tuple[Figure, list[Axes], list[Axes3D]]:
    """Two latent planes above two manifolds, and an arrow named `letter`; sizes in inches."""
    figure, square = Figure(figsize=(_WIDTH, height)), (side / _WIDTH, side / height)
    left, bottom = 0.25 - square[0] / 2, 1 - square[1] - 0.225 / height
    planes, spaces = [], []
    for half in (0, 0.5):
        planes.append(figure.add_axes((half + left, bottom, *square)))
        box = (half, -0.54 / height, 0.5, _SPACE / height)
        spaces.append(figure.add_axes(box, projection="3d", computed_zorder=False))
        x, y = half + left + square[0], 0.595
        arrow = {"arrowstyle": "->", "connectionstyle": "arc3,rad=-0.35"}
        end = (x + 0.0425, y - 0.13)
        planes[-1].annotate("", end, (x, y), "figure fraction", arrowprops=arrow)
        figure.text(x + 0.049, y - 0.05, f"${letter}$")
    return figure, planes, spaces


def net_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """What the curves of all panels are, each once, below them."""
    handles = {h.get_label(): h for ax in panels for h in ax.get_legend_handles_labels()[0]}
    figure.legend(handles=handles.values(), loc="lower center", ncols=4, handlelength=2.6)


def plot_net(
    plane: Axes,
    space: Axes3D,
    net: Any,
    surface: np.ndarray,
    density: np.ndarray,
    radius: float = np.inf,
) -> None:
    """Paths within `radius`, and seams on a surface `[row, column, 3]`; the origin's are thick."""
    plot_surface(space, np.asarray(surface), np.asarray(density))
    for paths, images in zip(np.asarray(net.z), np.asarray(net.seams), strict=True):
        for offset, path, seam in zip(net.offsets, paths, images, strict=True):
            inside = np.linalg.norm(path, axis=-1) < radius
            width = 0.8 if abs(offset) > _GAP else 1.4
            label = "singular-vector path"
            plot_path(plane, path[inside], "path", label=label, linewidth=width)
            plot_path(space, seam[inside], "seam", label="seam", linewidth=width)


def plot_seam_margins(space: Axes3D, rim: Any) -> np.ndarray:
    """Densities over the first seam each way, standing beyond it; their points `[point, 3]`."""
    tops = []
    arrays = (np.asarray(each)[:, 0] for each in (rim.seams, rim.across, rim.density))
    for i, (seam, inward, margin) in enumerate(zip(*arrays, strict=True)):
        base, up = seam - _GAP * inward, -_HEIGHT * inward
        plot_marginal(space, base, up, margin, "seam", label="density over a seam")
        middle = (base + 0.45 * up * margin[:, None])[len(base) // 2]
        space.text(*middle, f"$f_{i + 1}$", ha="center", va="center", color=CURVES["seam"])
        tops.append(base + up * margin[:, None])
    return np.concatenate(tops)


def plot_axis_images(plane: Axes, space: Axes3D, lines: np.ndarray, images: np.ndarray) -> None:
    """Both latent axes `[2, point, 2]`, named, and their images `[2, point, 3]`."""
    for i, (line, image) in enumerate(zip(lines, images, strict=True)):
        plot_path(plane, line, "traversal", label="latent axis, and its image")
        plot_path(space, image, "traversal")
        x, y = 2.62 * np.eye(2)[i]
        plane.text(x, y, f"$z_{i + 1}$", ha="center", va="center", color=CURVES["traversal"])


def use_net_view(space: Axes3D, width: float, *points: np.ndarray) -> None:
    """One view for all manifolds, of a width as in `use_view`, around points `[..., 3]`."""
    every = np.concatenate([np.asarray(each).reshape(-1, 3) for each in points])
    use_view(space, every, 42.0, -108.0, width)
