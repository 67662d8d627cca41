"""One function a kind of panel: arrays and an axis in, the artist out.

Nothing here computes, loads, saves or makes a figure. Diagonal and full posteriors have their two
colours everywhere, which the colour-blind can tell apart; beta is a sequence. So have paths, seams
and traversals, in the latent plane and on the manifold alike.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from mpl_toolkits.mplot3d import Axes3D  # type: ignore[import-untyped]
from mpl_toolkits.mplot3d.art3d import Poly3DCollection  # type: ignore[import-untyped]

__all__ = [
    "BETA",
    "COLOURS",
    "CURVES",
    "DENSITY",
    "beta_label",
    "plot_against_beta",
    "plot_curves",
    "plot_density",
    "plot_ellipses",
    "plot_images",
    "plot_information",
    "plot_magnitude",
    "plot_marginal",
    "plot_moving_beta",
    "plot_path",
    "plot_surface",
    "plot_unit_diagonal",
    "plot_vectors",
    "use_style",
    "use_view",
]

Kind = Literal["path", "seam", "traversal"]

COLOURS = {"diagonal": "#0072B2", "full": "#D55E00", "em": "#666666", "truth": "#000000"}
"""Of the two posteriors, of EM and of the ground truth (Okabe and Ito's palette)."""

CURVES = {"path": "#2166AC", "seam": "#B2182B", "traversal": "#1B9E5A"}
"""Of singular-vector paths, of seams, and of axis traversals with their images."""

DENSITY = LinearSegmentedColormap.from_list(
    "density", ["#F3F1EA", "#D9E0E8", "#A9BCD3", "#7F9BC0"]
)
"""Light throughout, so that curves drawn over it stay legible."""

BETA = LinearSegmentedColormap.from_list("beta", ["#FDB863", "#D7566B", "#7A2A84", "#1B1047"])
"""Of values of beta, the larger the darker; no colour is too light for a line on white."""

_UNIT = colormaps["magma_r"].with_extremes(bad="#DDDDDD")
_DASHES = (0, (4, 2.2))  # of paths and seams; a traversal below them shows through the gaps
_LAYERS = {"surface": 1.0, "marginal": 1.5, "traversal": 2.0, "path": 3.0, "seam": 3.0}
_LIGHT = np.array([-0.5, -0.35, 0.8])  # towards the lamp, from the left and above
_SHADE = 0.2  # share of the brightness that the lamp decides: shape without hiding the density

_SEEN = 0.9708  # width of what matplotlib shows at zoom 1, in diagonals of the box of the axes

_SINGLE_RUNS = 8  # up to so many seeds are drawn one by one beside their mean


def use_style() -> None:
    """Set matplotlib to the project's style sheet."""
    matplotlib.style.use(Path(__file__).with_name("seams.mplstyle"))


def beta_label(beta: float) -> str:
    r"""Short text for a value of beta.

    Args:
        beta: The value.

    Returns:
        Such as `$\beta=0.3$`.
    """
    return rf"$\beta={beta:g}$"


def plot_against_beta(
    ax: Axes,
    betas: Sequence[float],
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    scale: Literal["log", "even"] = "log",
    **style: Any,
) -> Line2D:
    """Mean over seeds against beta, with a band, and every seed as a dot.

    Args:
        ax: Where to draw.
        betas: Values of beta, rising.
        values: One a beta and seed `[beta, seed]`; NaN is left out.
        low: Lower end of the band `[beta]`.
        high: Upper end of the band `[beta]`.
        scale: Of the axis of beta; "even" gives each value the same width, so that something can
            stand above it.
        **style: For the line.

    Returns:
        The line of the means.
    """
    style.setdefault("marker", "o")
    x = list(betas) if scale == "log" else list(range(len(betas)))
    with _gaps():
        (line,) = ax.plot(x, np.nanmean(values, axis=1), **style)
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    for seed in values.T:
        ax.plot(x, seed, ".", color=line.get_color(), alpha=0.45, markersize=2.5, zorder=1)
    if scale == "log":
        ax.set_xscale("log")
    else:
        ax.set_xlim(-0.5, len(betas) - 0.5)
    ax.set_xticks(x, [f"{b:g}" for b in betas])
    ax.minorticks_off()
    return line


@contextmanager
def _gaps() -> Iterator[None]:
    """Where every seed is NaN a mean is NaN too, without a word: a line has a gap there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice|All-NaN slice", RuntimeWarning)
        yield


def plot_curves(ax: Axes, x: np.ndarray, values: np.ndarray, **style: Any) -> Line2D:
    """Mean over seeds along training, with every seed as a thin line if there are few.

    With more than eight, a band from the 5 % to the 95 % quantile of the seeds stands for them.

    Args:
        ax: Where to draw.
        x: Progress of training `[point]`.
        values: One a seed and point `[seed, point]`; NaN is left out.
        **style: For the line of the mean.

    Returns:
        The line of the mean.
    """
    with _gaps():
        (line,) = ax.plot(x, np.nanmean(values, axis=0), **style)
    if 1 < len(values) <= _SINGLE_RUNS:
        for seed in values:
            ax.plot(x, seed, color=line.get_color(), alpha=0.35, linewidth=0.6)
    elif len(values) > 1:
        with _gaps():
            low, high = np.nanquantile(values, (0.05, 0.95), axis=0)
        ax.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    return line


def plot_information(
    ax: Axes, information: np.ndarray, factors: Sequence[str], top: float, **style: Any
) -> AxesImage:
    """Mutual information of factors (rows) and latents (columns) as a heatmap.

    Args:
        ax: Where to draw.
        information: Nats `[latent, factor]`, already ordered.
        factors: Names of the columns of `information`.
        top: End of the colour range, shared by all maps that are compared.
        **style: For `imshow`.

    Returns:
        The image.
    """
    style.setdefault("vmin", 0)
    style.setdefault("vmax", top)
    style.setdefault("cmap", "Blues")
    image = ax.imshow(information.T, **style)
    ax.set_yticks(range(len(factors)), factors)
    ax.set_xticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return image


def plot_magnitude(
    ax: Axes, matrix: np.ndarray, floor: float, top: float, **style: Any
) -> AxesImage:
    """Absolute entries of a matrix on a logarithmic colour scale.

    Args:
        ax: Where to draw.
        matrix: Square, already ordered; entries below `floor` are drawn as `floor`.
        floor: Lower end of the colour range, to be stated in the caption.
        top: Upper end, shared by all maps that are compared.
        **style: For `imshow`.

    Returns:
        The image.

    Raises:
        ValueError: The range is empty or not positive, as for a matrix of zeros.
    """
    if not 0 < floor < top:
        raise ValueError(
            f"A logarithmic scale needs 0 < `floor` < `top`; got {floor} and {top}. Is the matrix "
            "zero?"
        )
    style.setdefault("norm", LogNorm(floor, top))
    style.setdefault("cmap", "magma")
    image = ax.imshow(np.clip(np.abs(matrix), floor, None), **style)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return image


def plot_unit_diagonal(ax: Axes, matrix: np.ndarray, **style: Any) -> AxesImage:
    r"""A matrix scaled to a unit diagonal, $D^{-1/2}|M|D^{-1/2}$, on a linear scale from 0 to 1.

    Args:
        ax: Where to draw.
        matrix: Square, already scaled and ordered; entries above 1 are drawn as 1, and NaN, for a
            latent that is inactive, in grey.
        **style: For `imshow`.

    Returns:
        The image.

    Source: Appendix E, the matrix whose off-diagonal is the score.
    """
    style.setdefault("vmin", 0)
    style.setdefault("vmax", 1)
    style.setdefault("cmap", _UNIT)
    image = ax.imshow(matrix, **style)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return image


def plot_images(ax: Axes, images: np.ndarray, gap: int = 1, **style: Any) -> AxesImage:
    """Small images in rows, grey or in colour.

    Args:
        ax: Where to draw.
        images: `[row, column, side, side]`, 0..255; or `[row, column, channel, side, side]` with 1
            channel or with 3: red, green and blue.
        gap: White pixels between them.
        **style: For `imshow`.

    Returns:
        The image of the whole sheet.
    """
    if images.ndim == 4:
        images = images[:, :, None]
    rows, columns, channels, height, width = images.shape
    sheet = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8
    )
    for row, column in np.ndindex(rows, columns):
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = np.moveaxis(images[row, column], 0, -1)
    style.setdefault("cmap", "gray")
    style.setdefault("vmin", 0)
    style.setdefault("vmax", 255)
    image = ax.imshow(sheet.squeeze(-1) if channels == 1 else sheet, **style)
    ax.set_axis_off()
    return image


def plot_vectors(ax: Axes, vectors: np.ndarray, **style: Any) -> list[Line2D]:
    """Vectors of the plane as lines from the origin, with a marker, if any, at the end alone.

    Args:
        ax: Where to draw; its aspect is made equal.
        vectors: `[vector, 2]`.
        **style: For the lines; `colors` may give one colour each.

    Returns:
        The lines.
    """
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
    """A density on the latent plane as a shaded disc about the origin, without a frame.

    Args:
        ax: Where to draw; its aspect is made equal.
        density: `[row, column]` over the square of half side `reach`, rows along the first latent.
        reach: Radius of the disc; dimensionless.
        **style: For `imshow`.

    Returns:
        The image.
    """
    style.setdefault("cmap", DENSITY)
    style.setdefault("interpolation", "bilinear")
    image = ax.imshow(density.T, origin="lower", extent=(-reach, reach) * 2, **style)
    image.set_clip_path(Circle((0, 0), reach, transform=ax.transData))
    ax.set_axis_off()
    return image


def plot_ellipses(
    ax: Axes, mean: np.ndarray, scale_tril: np.ndarray, **style: Any
) -> EllipseCollection:
    """Gaussians of the plane as ellipses of one standard deviation.

    Args:
        ax: Where to draw; its aspect is made equal.
        mean: Centres `[n, 2]`.
        scale_tril: Cholesky factors of the covariances `[n, 2, 2]`.
        **style: For the collection.

    Returns:
        The ellipses.
    """
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
    """A surface in space, coloured by a density and lit from the upper left.

    Drawn as pixels also in SVG and PDF, and below all other panels' functions: choose a view in
    which no part of the surface hides another.

    Args:
        ax: Where to draw; made with `computed_zorder=False`.
        points: A grid on the surface `[row, column, 3]`.
        density: One value a point `[row, column]`; colours run from 0 to its maximum.
        **style: For the collection; `cmap` for the colours.

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
    """A singular-vector path, a seam, or a traversal, in the plane or in space.

    Args:
        ax: Where to draw.
        points: `[point, 2]`, or `[point, 3]` in a 3-D axis.
        kind: What it is: paths and seams are dashed, a traversal is broad and lies below them.
        **style: For the line.

    Returns:
        The line.
    """
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
    """A one-dimensional density, standing on a curve like a flap beside what it is a margin of.

    Args:
        ax: Where to draw.
        base: The curve `[point, 2]`, or `[point, 3]` in a 3-D axis.
        direction: Where the flap rises, times what one unit of density is drawn as; as `base`.
        density: One value a point `[point]`.
        kind: What the curve is, for the colour.
        **style: For the area.

    Returns:
        The area between the curve and the density.
    """
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
    """Look at points in parallel projection, at a given scale and without a box.

    Args:
        ax: The axis, which is square.
        points: What shall be in the middle `[..., 3]`.
        elevation: Of the eye above the plane of the first two columns, in degrees.
        azimuth: Of the eye about the third column, in degrees.
        width: Of what is seen, in the unit of the points; equal widths give equal scales.
    """
    low, high = (end(points.reshape(-1, 3), axis=0) for end in (np.min, np.max))
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    ax.set_box_aspect(high - low, zoom=_SEEN * float(np.linalg.norm(high - low)) / width)
    ax.set_proj_type("ortho")
    ax.view_init(elevation, azimuth)
    ax.set_axis_off()
    ax.patch.set_visible(False)


def plot_moving_beta(
    ax: Axes, x: np.ndarray, y: np.ndarray, betas: np.ndarray, norm: Normalize, **style: Any
) -> LineCollection:
    """The path of one run through a plane of two scores, coloured by beta on the way.

    Args:
        ax: Where to draw; its limits are widened to hold the path.
        x: Horizontal score `[point]`; points where either score is NaN are left out.
        y: Vertical score `[point]`.
        betas: Value of beta `[point]`; a piece has the colour of its later end.
        norm: Of the colours, shared by all paths and dots that are compared.
        **style: For the path; `cmap` defaults to that of beta.

    Returns:
        The path.
    """
    known = np.isfinite(x) & np.isfinite(y)
    points = np.column_stack([x, y])[known]
    style = {"cmap": BETA, "linewidth": 1.0, "capstyle": "round", **style}
    path = LineCollection(list(np.stack([points[:-1], points[1:]], 1)), norm=norm, **style)
    path.set_array(betas[known][1:])
    ax.add_collection(path)
    ax.autoscale_view()
    return path
