"""Panels of the latent plane and of the manifold, read back from the artists that they draw."""

from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from mpl_toolkits.mplot3d import Axes3D, proj3d

from seams.plotting import (
    CURVES,
    DENSITY,
    plot_density,
    plot_ellipses,
    plot_marginal,
    plot_path,
    plot_surface,
    use_view,
)

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of a backend without a screen)


@pytest.fixture
def plane() -> Iterator[Axes]:
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


@pytest.fixture
def space() -> Iterator[Axes3D]:
    figure = plt.figure(figsize=(3, 3))
    yield figure.add_axes((0, 0, 1, 1), projection="3d", computed_zorder=False)
    plt.close(figure)


def grid(slope: float = 0.0) -> np.ndarray:
    """Points on the plane z = slope x over [0, 4] x [0, 3]."""
    x, y = np.meshgrid(np.arange(5.0), np.arange(4.0), indexing="ij")
    return np.stack([x, y, slope * x], -1)


def test_density_has_its_first_latent_to_the_right_and_its_second_up(plane: Axes) -> None:
    density = np.arange(6.0).reshape(3, 2)  # grows with the first latent, then with the second
    image = plot_density(plane, density, reach=2.5)
    assert image.get_extent() == [-2.5, 2.5, -2.5, 2.5]
    drawn = np.asarray(image.get_array())
    assert (drawn == density.T).all() and image.origin == "lower"
    assert plane.get_aspect() == 1 and not plane.axison


def test_density_is_a_disc(plane: Axes) -> None:
    image = plot_density(plane, np.ones((3, 3)), reach=2.0)
    outline = image.get_clip_path().get_fully_transformed_path()
    inside, corner = plane.transData.transform([(1.9, 0), (1.9, 1.9)])
    assert outline.contains_point(inside) and not outline.contains_point(corner)


def test_surface_is_coloured_by_its_density_from_zero_to_the_largest(space: Axes3D) -> None:
    density = np.full((5, 4), 6.0)
    density[2, 1] = 0
    colours = plot_surface(space, grid(), density).get_facecolor()[:, :3]
    # One face for each cell, in order of depth; a flat surface is lit alike everywhere.
    assert len(colours) == 4 * 3
    odd = colours[:, 0].argmax()
    rest = np.delete(colours, odd, axis=0)
    assert (rest == rest[0]).all()
    ratio = np.divide(DENSITY(0.0), DENSITY(1.0))[:3]
    np.testing.assert_allclose(colours[odd] / rest[0], ratio, rtol=1e-6)


def test_surface_is_lit_from_the_upper_left_whichever_way_the_grid_runs(space: Axes3D) -> None:
    brightness = {}
    for slope in (-1.0, 0.0, 1.0):
        points = grid(slope)
        for name, way in {"as is": points, "turned over": points[::-1]}.items():
            colours = plot_surface(space, way, np.ones(way.shape[:2])).get_facecolor()[:, :3]
            brightness[slope, name] = (colours / DENSITY(1.0)[:3]).mean()
        assert brightness[slope, "as is"] == pytest.approx(brightness[slope, "turned over"])
    # Where the surface rises to the right it faces left, towards the lamp.
    assert brightness[1.0, "as is"] > brightness[0.0, "as is"] > brightness[-1.0, "as is"]
    assert max(brightness.values()) <= 1


def test_surface_is_pixels_and_lies_below_curves(space: Axes3D) -> None:
    surface = plot_surface(space, grid(), np.ones((5, 4)))
    curves = [plot_path(space, grid()[0], kind) for kind in ("traversal", "path", "seam")]
    assert surface.get_rasterized()
    orders = [artist.get_zorder() for artist in (surface, *curves)]
    assert orders[0] < orders[1] < min(orders[2:])


def test_curve_is_drawn_where_it_is(plane: Axes, space: Axes3D) -> None:
    points = np.array([[0.0, 1.0, 5.0], [2.0, 3.0, 7.0], [4.0, -1.0, 9.0]])
    flat = plot_path(plane, points[:, :2], "path")
    assert (flat.get_xydata() == points[:, :2]).all()
    (x, y, z) = plot_path(space, points, "seam").get_data_3d()
    assert (np.stack([x, y, z], -1) == points).all()


def test_kinds_of_curves_differ_in_colour_and_dashes(plane: Axes) -> None:
    lines = {kind: plot_path(plane, np.eye(2), kind) for kind in ("path", "seam", "traversal")}
    assert {kind: line.get_color() for kind, line in lines.items()} == CURVES
    dashed = {kind: line.get_linestyle() == "--" for kind, line in lines.items()}
    assert dashed == {"path": True, "seam": True, "traversal": False}
    widths = [line.get_linewidth() for line in lines.values()]
    assert widths[2] > 2 * max(widths[:2])  # seen beside what is drawn over it


def test_style_of_a_curve_can_be_changed(plane: Axes) -> None:
    line = plot_path(plane, np.eye(2), "path", color="k", linewidth=3, label="here", zorder=9)
    assert (line.get_color(), line.get_linewidth(), line.get_label()) == ("k", 3, "here")
    assert line.get_zorder() == 9


def test_marginal_rises_from_its_curve_by_the_density(plane: Axes) -> None:
    base = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    direction = np.array([[0.0, -2.0]] * 3)
    area = plot_marginal(plane, base, direction, np.array([0.0, 0.5, 0.25]), "path")
    top = [[0, 0], [1, -1], [2, -0.5]]
    low, high = plane.get_lines()
    assert (low.get_xydata() == base).all() and (high.get_xydata() == top).all()
    (outline,) = area.get_paths()
    assert (outline.vertices[:6] == [*base.tolist(), *top[::-1]]).all()
    np.testing.assert_array_equal(area.get_facecolor()[0, :3], to_rgba(CURVES["path"])[:3])


def test_marginal_stands_in_space_too(space: Axes3D) -> None:
    base = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
    direction = np.array([[0.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    area = plot_marginal(space, base, direction, np.array([2.0, 1.0]), "seam", label="density")
    top = [[0, 0, 3], [1, 3, 1]]
    lines = [np.stack(line.get_data_3d(), -1) for line in space.get_lines()]
    assert (lines[0] == base).all() and (lines[1] == top).all()
    assert area in space.collections and area.get_label() == "density"


@pytest.mark.parametrize("size", [(4.0, 2.0, 1.0), (1.0, 5.0, 3.0)])
@pytest.mark.parametrize("width", [3.0, 8.0])
def test_view_has_the_width_and_the_middle_asked_for(
    space: Axes3D, size: tuple[float, ...], width: float
) -> None:
    shift = np.array([10.0, -3.0, 2.0])
    points = np.stack([shift - np.divide(size, 2), shift + np.divide(size, 2)])
    elevation, azimuth = 40.0, -110.0
    use_view(space, points, elevation, azimuth, width)
    space.figure.canvas.draw()
    turn = np.radians(azimuth)
    right = np.array([-np.sin(turn), np.cos(turn), 0])
    up = np.array([*(-np.sin(np.radians(elevation)) * np.array([np.cos(turn), np.sin(turn)])), 0])
    up[2] = np.cos(np.radians(elevation))
    ends = [shift, shift + width * right, shift + width * up]
    seen = [proj3d.proj_transform(*end, space.get_proj())[:2] for end in ends]
    middle, *others = space.transAxes.inverted().transform(space.transData.transform(seen))
    np.testing.assert_allclose(others - middle, np.eye(2), atol=1e-3)  # a fraction of a pixel
    np.testing.assert_allclose(middle, 0.5, atol=0.02)  # matplotlib itself misses it by 0.0135


def test_view_shows_neither_box_nor_background(space: Axes3D) -> None:
    use_view(space, grid(1.0), 30.0, -60.0, 5.0)
    assert not space.axison and not space.patch.get_visible()


def test_ellipses_have_the_axes_of_the_covariance(plane: Axes) -> None:
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    covariances = [np.diag([4.0, 0.25]), turn @ np.diag([9.0, 1.0]) @ turn.T]
    centres = np.array([[0.0, 1.0], [5.0, -2.0]])
    drawn = plot_ellipses(plane, centres, np.linalg.cholesky(covariances))
    np.testing.assert_allclose(drawn.get_widths(), [4, 6], rtol=1e-12)
    np.testing.assert_allclose(drawn.get_heights(), [1, 2], rtol=1e-12)
    angles = np.radians(drawn.get_angles())
    np.testing.assert_allclose(np.abs(np.cos(angles)), [1, 0.6], rtol=1e-12)
    np.testing.assert_allclose(np.tan(angles[1]), 4 / 3, rtol=1e-12)  # along (0.6, 0.8)
    np.testing.assert_allclose(drawn.get_offsets(), centres)
