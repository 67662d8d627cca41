"""Densities, curves and vectors of the latent plane, and the manifold that a decoder makes."""

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, PolyCollection
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from mpl_toolkits.mplot3d import Axes3D  # type: ignore[import-untyped]
from mpl_toolkits.mplot3d.art3d import Poly3DCollection  # type: ignore[import-untyped]

from seams.plotting.style import CURVES, DENSITY

Kind = Literal["path", "seam", "traversal"]

_DASHES = (0, (4, 2.2))  # of paths and seams; a traversal below them shows through the gaps

_LAYERS = {"surface": 1.0, "marginal": 1.5, "traversal": 2.0, "path": 3.0, "seam": 3.0}

_LIGHT = np.array([-0.5, -0.35, 0.8])  # towards the lamp, from the left and above

_SHADE = 0.2  # share of the brightness that the lamp decides: shape without hiding the density

_SEEN = 0.9708  # width of what matplotlib shows at zoom 1, in diagonals of the box of the axes


def plot_vectors(ax: Axes, vectors: np.ndarray, **style: Any) -> list[Line2D]:
    """Vectors `[vector, 2]` as lines from the origin, marked at the end; `colors` for each."""
    colours = style.pop("colors", [None] * len(vectors))
    style.setdefault("markevery", [1])
    lines: list[Line2D] = []
    for vector, colour in zip(vectors, colours, strict=True):
        if colour is not None:
            style["color"] = colour
        lines += ax.plot([0, vector[0]], [0, vector[1]], **style)
    ax.set_aspect("equal")
    return lines


def plot_density(ax: Axes, density: np.ndarray, reach: float, **style: Any) -> AxesImage:
    """A density `[row, column]` as a disc of radius `reach`; rows run along the first latent."""
    style.setdefault("cmap", DENSITY)
    style.setdefault("interpolation", "bilinear")
    image = ax.imshow(density.T, origin="lower", extent=(-reach, reach) * 2, **style)
    image.set_clip_path(Circle((0, 0), reach, transform=ax.transData))
    ax.set_axis_off()
    return image


def plot_ellipses(
    ax: Axes, mean: np.ndarray, scale_tril: np.ndarray, **style: Any
) -> EllipseCollection:
    """One standard deviation of Gaussians of means `[n, 2]`, Cholesky factors `[n, 2, 2]`."""
    axes, lengths, _ = np.linalg.svd(scale_tril)
    angles = np.degrees(np.arctan2(axes[:, 1, 0], axes[:, 0, 0]))
    style = {"linewidth": 0.5, "zorder": 2, **style}
    ellipses = EllipseCollection(
        2 * lengths[:, 0],
        2 * lengths[:, 1],
        angles,
        units="xy",
        offsets=mean,
        transOffset=ax.transData,
        **style,
    )
    ax.add_collection(ellipses)
    ax.set_aspect("equal")
    return ellipses


def plot_surface(
    ax: Axes3D, points: np.ndarray, density: np.ndarray, **style: Any
) -> Poly3DCollection:
    """A surface `[row, column, 3]`, coloured by a density from 0 up and lit from the upper left.

    Drawn as pixels also in SVG and PDF, and below all other panels' functions: choose a view in
    which no part hides another. `ax` must be made with `computed_zorder=False`.

    Returns:
        The surface.
    """
    colours = style.pop("cmap", DENSITY)(density / density.max())[..., :3]
    normals = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals *= np.sign(normals[..., 2].sum())  # whichever side looks up
    lit = np.clip(normals @ _LIGHT / np.linalg.norm(_LIGHT), 0, 1)
    style = {"linewidth": 0, "antialiased": False, "rasterized": True, **style}
    style.setdefault("zorder", _LAYERS["surface"])
    rows, columns = density.shape
    return ax.plot_surface(
        *np.moveaxis(points, -1, 0),
        facecolors=colours * (1 - _SHADE + _SHADE * lit[..., None]),
        shade=False,
        rcount=rows,
        ccount=columns,
        **style,
    )


def plot_path(ax: Axes, points: np.ndarray, kind: Kind, **style: Any) -> Line2D:
    """A path or seam (dashed), or a traversal (broad, below them): `[point, 2]`, or 3 in space."""
    style.setdefault("color", CURVES[kind])
    style.setdefault("zorder", _LAYERS[kind])
    if kind == "traversal":
        style = {"linewidth": 2.6, "alpha": 0.75, "solid_capstyle": "round", **style}
    else:
        style = {"linewidth": 0.9, "linestyle": _DASHES, **style}
    (line,) = ax.plot(*points.T, **style)
    return line


def plot_marginal(
    ax: Axes,
    base: np.ndarray,
    direction: np.ndarray,
    density: np.ndarray,
    kind: Kind,
    **style: Any,
) -> PolyCollection:
    """A density `[point]` on the curve `base` like a flap; `direction` is one unit of density."""
    top = base + density[:, None] * direction
    outline = np.concatenate([base, top[::-1]])
    colour = style.pop("color", CURVES[kind])
    layer = style.pop("zorder", _LAYERS["marginal"])
    style = {"facecolor": colour, "alpha": 0.18, "linewidth": 0, "zorder": layer, **style}
    area: PolyCollection
    if isinstance(ax, Axes3D):
        area = Poly3DCollection([outline], **style)
        ax.add_collection3d(area)
    else:
        area = PolyCollection([outline], **style)
        ax.add_collection(area)
    ax.plot(*base.T, color=colour, linewidth=0.5, zorder=layer)
    ax.plot(*top.T, color=colour, linewidth=1.1, zorder=layer)
    return area


def use_view(
    ax: Axes3D, points: np.ndarray, elevation: float, azimuth: float, width: float
) -> None:
    """Look at `[..., 3]` in parallel projection; angles in degrees, width in the points' unit."""
    low, high = (end(points.reshape(-1, 3), axis=0) for end in (np.min, np.max))
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    ax.set_box_aspect(high - low, zoom=_SEEN * float(np.linalg.norm(high - low)) / width)
    ax.set_proj_type("ortho")
    ax.view_init(elevation, azimuth)
    ax.set_axis_off()
    ax.patch.set_visible(False)
