"""Nets of paths in the latent plane and of seams on the manifold: Figures 1, 3 and 4."""

from collections.abc import Sequence
from typing import Any, Protocol

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
    "plot_path_margins",
    "plot_seam_margins",
    "use_net_view",
]

_WIDTH, _SPACE = 6.75, 3.375  # of the figure and of the manifold's square; inches
_GAP, _HEIGHT = 0.08, 1.2  # of the margins on the manifold: distance, and unit of density


class Net(Protocol):
    """What is drawn of a `seams.geometry.nets.SeamNet`: arrays or tensors."""

    offsets: Sequence[float]
    V: Any
    z: Any
    seams: Any
    across: Any
    prior: Any
    density: Any


def net_panels(height: float, side: float, letter: str) -> tuple[Figure, list[Axes], list[Axes3D]]:
    """Two latent planes above two manifolds, an arrow from each plane to its manifold.

    Args:
        height: Of the figure, in inches.
        side: Of the squares of the planes, in inches.
        letter: Beside the arrow: the name of the map.

    Returns:
        The figure, the planes, and the spaces of the manifolds.
    """
    figure = Figure(figsize=(_WIDTH, height))
    left, top = 0.25 - side / _WIDTH / 2, 1 - (side + 0.225) / height
    square = (side / _WIDTH, side / height)
    planes = [figure.add_axes((left + half, top, *square)) for half in (0, 0.5)]
    box = (0.5, _SPACE / height)
    spaces = [
        figure.add_axes((half, -0.54 / height, *box), projection="3d", computed_zorder=False)
        for half in (0, 0.5)
    ]
    for half, plane in zip((0, 0.5), planes, strict=True):
        x, y = half + left + square[0], 0.595
        arrow = {"arrowstyle": "->", "connectionstyle": "arc3,rad=-0.35"}
        plane.annotate("", (x + 0.0425, y - 0.13), (x, y), "figure fraction", arrowprops=arrow)
        figure.text(x + 0.049, y - 0.05, f"${letter}$")
    return figure, planes, spaces


def net_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """What the curves of all panels are, each once, below them."""
    handles = {h.get_label(): h for ax in panels for h in ax.get_legend_handles_labels()[0]}
    figure.legend(handles=handles.values(), loc="lower center", ncols=4, handlelength=2.6)


def plot_net(
    plane: Axes,
    space: Axes3D,
    net: Net,
    surface: np.ndarray,
    density: np.ndarray,
    radius: float = np.inf,
) -> None:
    """Paths in the plane, and the manifold with the seams that are their images.

    Curves through the image of the origin are thicker.

    Args:
        plane: Of the latents.
        space: Of the manifold.
        net: Paths and seams.
        surface: The manifold `[row, column, 3]`.
        density: On it `[row, column]`.
        radius: Of the disc of latents in which paths are drawn.
    """
    plot_surface(space, np.asarray(surface), np.asarray(density))
    for paths, images in zip(np.asarray(net.z), np.asarray(net.seams), strict=True):
        for offset, path, seam in zip(net.offsets, paths, images, strict=True):
            inside = np.linalg.norm(path, axis=-1) < radius
            width = 0.8 if abs(offset) > _GAP else 1.4
            label = "singular-vector path"
            plot_path(plane, path[inside], "path", label=label, linewidth=width)
            plot_path(space, seam[inside], "seam", label="seam", linewidth=width)


def plot_seam_margins(space: Axes3D, rim: Net) -> np.ndarray:
    """Densities over two seams, standing outside of the manifold's edge along each.

    Args:
        space: Of the manifold.
        rim: One seam each way, at the edge where offsets are negative.

    Returns:
        Points of the densities, to be kept in view `[2 * point, 3]`.
    """
    tops = []
    arrays = (np.asarray(each)[:, 0] for each in (rim.seams, rim.across, rim.density))
    for i, (seam, inward, margin) in enumerate(zip(*arrays, strict=True)):
        base, up = seam - _GAP * inward, -_HEIGHT * inward
        plot_marginal(space, base, up, margin, "seam", label="density over a seam")
        middle = (base + 0.45 * up * margin[:, None])[len(base) // 2]
        space.text(*middle, f"$f_{i + 1}$", ha="center", va="center", color=CURVES["seam"])
        tops.append(base + up * margin[:, None])
    return np.concatenate(tops)


def plot_path_margins(plane: Axes, rim: Net) -> None:
    """Densities over two paths, standing beside the prior.

    Args:
        plane: Of the latents.
        rim: As of `plot_seam_margins`.
    """
    for i, (path, density) in enumerate(
        zip(np.asarray(rim.z), np.asarray(rim.prior), strict=True)
    ):
        down = np.broadcast_to(-np.asarray(rim.V)[:, 1 - i], path[0].shape)
        base, label = path[0] + 0.9 * down, "density over a path"
        plot_marginal(plane, base, 2 * down, density[0], "path", label=label)


def use_net_view(space: Axes3D, width: float, *points: np.ndarray) -> None:
    """One view for all manifolds, of a width as in `use_view`, around points `[..., 3]`."""
    use_view(
        space, np.concatenate([np.reshape(each, (-1, 3)) for each in points]), 42, -108, width
    )


def plot_axis_images(plane: Axes, space: Axes3D, lines: np.ndarray, images: np.ndarray) -> None:
    """Both latent axes, named, and their images.

    Args:
        plane: Of the latents.
        space: Of the manifold.
        lines: The axes `[2, point, 2]`.
        images: What they decode to `[2, point, 3]`.
    """
    for i, (line, image) in enumerate(zip(lines, images, strict=True)):
        plot_path(plane, line, "traversal", label="latent axis, and its image")
        plot_path(space, image, "traversal")
        x, y = 2.62 * np.eye(2)[i]
        plane.text(x, y, f"$z_{i + 1}$", ha="center", va="center", color=CURVES["traversal"])
