import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.figure import Figure

from seams.plotting import (
    BETA,
    COLOURS,
    beta_label,
    plot_against_beta,
    plot_curves,
    plot_images,
    plot_information,
    plot_magnitude,
    plot_moving_beta,
    plot_unit_diagonal,
    plot_vectors,
    use_style,
)

BETAS = [0.1, 1.0, 4.0]
VALUES = np.array([[0.1, 0.2], [0.3, 0.7], [0.5, 0.5]])  # [beta, seed]


@pytest.fixture
def ax() -> Iterator[Axes]:
    figure = Figure()
    yield figure.subplots()
    figure.canvas.draw()  # what is only wrong when drawn is wrong too


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with matplotlib.rc_context():
        yield


def test_style_is_the_project_s() -> None:
    matplotlib.rcParams["lines.linewidth"] = 17  # a user's own matplotlibrc
    matplotlib.rcParams["axes.facecolor"] = "black"
    use_style()
    assert matplotlib.rcParams["lines.linewidth"] < 3
    assert matplotlib.rcParams["axes.facecolor"] == "white"
    assert matplotlib.rcParams["svg.hashsalt"] == "seams"  # the same figure has the same bytes
    assert matplotlib.rcParams["pdf.fonttype"] == 42  # fonts are embedded
    assert matplotlib.rcParams["savefig.facecolor"] == "white"  # for a dark page


def test_equal_figures_have_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_style()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    for name in ("a", "b"):
        figure = Figure()
        plot_against_beta(figure.subplots(), BETAS, VALUES, VALUES[:, 0], VALUES[:, 1])
        for suffix in ("svg", "pdf"):
            figure.savefig(tmp_path / f"{name}.{suffix}")
    for suffix in ("svg", "pdf"):
        first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
        assert first == second


def test_colours_differ() -> None:
    assert len({to_rgba(colour) for colour in COLOURS.values()}) == len(COLOURS)
    assert {"diagonal", "full"} <= set(COLOURS)


@pytest.mark.parametrize(
    ("beta", "text"), [(0.3, "0.3"), (1.0, "1"), (0.001, "0.001"), (1e-5, "1e-05")]
)
def test_label_of_beta(beta: float, text: str) -> None:
    assert beta_label(beta) == rf"$\beta={text}$"


# --- against beta ------------------------------------------------------------------------------


def test_mean_band_and_seeds_against_beta(ax: Axes) -> None:
    low, high = VALUES.min(1) - 0.01, VALUES.max(1) + 0.01
    line = plot_against_beta(ax, BETAS, VALUES, low, high, color="#0072B2", label="diagonal")
    np.testing.assert_array_equal(line.get_xdata(), BETAS)
    np.testing.assert_allclose(line.get_ydata(), [0.15, 0.5, 0.5])
    assert line.get_color() == "#0072B2" and line.get_label() == "diagonal"
    seeds = [other for other in ax.lines if other is not line]
    assert len(seeds) == 2
    for seed, column in zip(seeds, VALUES.T, strict=True):
        np.testing.assert_array_equal(seed.get_ydata(), column)
        assert seed.get_color() == "#0072B2" and seed.get_linestyle() == "None"
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    for x, ends in zip(BETAS, zip(low, high, strict=True), strict=True):
        assert set(ends) <= set(corners[corners[:, 0] == x, 1])
    np.testing.assert_allclose(band.get_facecolor()[0][:3], to_rgba("#0072B2")[:3])


def test_values_of_beta_are_the_ticks(ax: Axes) -> None:
    plot_against_beta(ax, BETAS, VALUES, VALUES[:, 0], VALUES[:, 1])
    assert ax.get_xscale() == "log"
    assert ax.get_xticks().tolist() == BETAS
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.1", "1", "4"]


def test_values_of_beta_can_have_equal_widths(ax: Axes) -> None:
    line = plot_against_beta(ax, BETAS, VALUES, VALUES[:, 0], VALUES[:, 1], "even")
    assert ax.get_xscale() == "linear" and ax.get_xlim() == (-0.5, 2.5)
    assert all(list(other.get_xdata()) == [0, 1, 2] for other in [line, *ax.lines])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.1", "1", "4"]
    assert set(ax.collections[0].get_paths()[0].vertices[:, 0]) == {0, 1, 2}


def test_undefined_values_leave_a_gap_without_a_word(ax: Axes) -> None:
    """As where all runs of a beta are collapsed."""
    values = VALUES.copy()
    values[0] = np.nan
    values[1, 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        line = plot_against_beta(ax, BETAS, values, VALUES[:, 0], VALUES[:, 1])
    np.testing.assert_allclose(line.get_ydata(), [np.nan, 0.7, 0.5])


# --- with a moving beta ------------------------------------------------------------------------


def test_a_piece_of_the_path_has_the_colour_of_its_later_end(ax: Axes) -> None:
    x, y = np.array([3.0, 2.0, np.nan, 1.0]), np.array([0.0, 0.1, 0.2, 0.4])
    betas = np.array([1.0, 0.1, 0.05, 0.01])
    norm = LogNorm(0.01, 1)
    path = plot_moving_beta(ax, x, y, betas, norm)
    pieces = np.array([p.vertices for p in path.get_paths()])
    np.testing.assert_array_equal(pieces, [[[3, 0], [2, 0.1]], [[2, 0.1], [1, 0.4]]])
    path.update_scalarmappable()
    np.testing.assert_allclose(path.get_edgecolor(), BETA(norm([0.1, 0.01])))
    assert ax.get_xlim()[0] <= 1 and ax.get_xlim()[1] >= 3
    assert ax.get_ylim()[1] >= 0.4


def test_a_larger_beta_is_darker_and_the_lightest_is_seen_on_white() -> None:
    light = BETA(np.linspace(0, 1, 20))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(light) < 0)
    assert light[0] < 0.8


# --- along training ----------------------------------------------------------------------------

STEPS = np.array([1, 10, 100])


def test_curve_of_one_seed_is_that_seed(ax: Axes) -> None:
    line = plot_curves(ax, STEPS, VALUES.T[:1], color="C1")
    np.testing.assert_array_equal(line.get_xdata(), STEPS)
    np.testing.assert_array_equal(line.get_ydata(), VALUES[:, 0])
    assert ax.lines[:] == [line] and not ax.collections


@pytest.mark.parametrize("seeds", [2, 8])
def test_few_seeds_are_thin_lines(ax: Axes, seeds: int) -> None:
    values = np.random.default_rng(0).random((seeds, 3))
    line = plot_curves(ax, STEPS, values)
    np.testing.assert_allclose(line.get_ydata(), values.mean(0))
    others = [other for other in ax.lines if other is not line]
    for other, seed in zip(others, values, strict=True):
        np.testing.assert_array_equal(other.get_ydata(), seed)
        assert other.get_color() == line.get_color()
        assert other.get_linewidth() < line.get_linewidth()
    assert not ax.collections


def test_many_seeds_are_a_band(ax: Axes) -> None:
    values = np.arange(21.0)[:, None] + np.array([0.0, 10.0, 20.0])
    line = plot_curves(ax, STEPS, values)
    np.testing.assert_allclose(line.get_ydata(), [10, 20, 30])
    assert ax.lines[:] == [line]
    corners = ax.collections[0].get_paths()[0].vertices
    for x, low, high in zip(STEPS, [1, 11, 21], [19, 29, 39], strict=True):  # 5 and 95 %
        found = corners[corners[:, 0] == x, 1]
        assert (found.min(), found.max()) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("seeds", [1, 3, 12])
def test_curves_begin_where_they_are_defined(ax: Axes, seeds: int) -> None:
    values = np.ones((seeds, 3))
    values[:, 0] = np.nan
    values[0, 1] = np.nan if seeds > 1 else 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        line = plot_curves(ax, STEPS, values)
    np.testing.assert_array_equal(line.get_ydata(), [np.nan, 1, 1])


# --- maps --------------------------------------------------------------------------------------

MATRIX = np.array([[1.0, -0.2], [1e-6, 4.0], [0.0, 0.5]])


def test_information_has_factors_as_rows(ax: Axes) -> None:
    information = np.abs(MATRIX)  # [latent, factor]
    image = plot_information(ax, information, ("shape", "scale"), top=5.0)
    np.testing.assert_array_equal(image.get_array(), information.T)
    assert image.get_clim() == (0, 5)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["shape", "scale"]
    assert ax.get_yticks().tolist() == [0, 1]


def test_information_maps_share_their_range(ax: Axes) -> None:
    small, large = np.full((2, 2), 0.1), np.full((2, 2), 2.0)
    images = [plot_information(ax, m, ("a", "b"), top=2.0) for m in (small, large)]
    colours = [image.to_rgba(image.get_array())[0, 0] for image in images]
    assert images[0].get_clim() == images[1].get_clim()
    assert not np.allclose(colours[0], colours[1])


def test_magnitudes_are_logarithmic_from_a_floor(ax: Axes) -> None:
    image = plot_magnitude(ax, MATRIX, floor=1e-3, top=10.0)
    expected = [[1, 0.2], [1e-3, 4], [1e-3, 0.5]]
    np.testing.assert_allclose(image.get_array(), expected)
    assert isinstance(image.norm, LogNorm)
    assert image.get_clim() == (1e-3, 10.0)
    assert image.norm(0.1) == pytest.approx(0.5)  # half way, in decades


@pytest.mark.parametrize(("floor", "top"), [(0.0, 0.0), (1.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_an_empty_range_of_magnitudes_is_refused(floor: float, top: float) -> None:
    ax = Figure().subplots()
    message = rf"needs 0 < `floor` < `top`; got {floor} and {top}\. Is the matrix zero\?"
    with pytest.raises(ValueError, match=message):
        plot_magnitude(ax, MATRIX, floor, top)


def test_a_unit_diagonal_is_drawn_from_0_to_1_and_inactive_latents_in_grey(ax: Axes) -> None:
    image = plot_unit_diagonal(ax, np.array([[1, 0.25, np.nan], [1.5, 1, np.nan], [np.nan] * 3]))
    colours = image.to_rgba(image.get_array())
    assert image.get_clim() == (0, 1)
    assert image.norm(0.25) == 0.25
    np.testing.assert_array_equal(colours[1, 0], colours[0, 0])  # above 1 as 1
    assert np.ptp(colours[2, :, :3], axis=-1).max() == 0  # grey
    assert np.ptp(colours[[0, 0], [0, 1], :3], axis=-1).min() > 0


def test_images_lie_in_rows_with_white_between(ax: Axes) -> None:
    images = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(2, 3, 2, 2)
    image = plot_images(ax, images, gap=1)
    sheet = np.asarray(image.get_array())
    assert sheet.shape == (2 * 3 - 1, 3 * 3 - 1)
    for row in range(2):
        for column in range(3):
            part = sheet[3 * row : 3 * row + 2, 3 * column : 3 * column + 2]
            np.testing.assert_array_equal(part, images[row, column])
    assert (sheet[2] == 255).all() and (sheet[:, [2, 5]] == 255).all()
    assert image.get_clim() == (0, 255), "grey of a dark image stays dark"
    wide = plot_images(ax, images, gap=3)
    assert np.asarray(wide.get_array()).shape == (2 * 5 - 3, 3 * 5 - 3)


def test_images_in_colour_keep_their_channels(ax: Axes) -> None:
    images = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(1, 2, 3, 2, 2)
    sheet = np.asarray(plot_images(ax, images, gap=1).get_array())
    assert sheet.shape == (2, 5, 3)
    for column in range(2):
        part = sheet[:, 3 * column : 3 * column + 2]
        np.testing.assert_array_equal(np.moveaxis(part, -1, 0), images[0, column])
    grey = plot_images(ax, images[:, :, :1], gap=1)
    np.testing.assert_array_equal(grey.get_array(), plot_images(ax, images[:, :, 0]).get_array())


# --- vectors -----------------------------------------------------------------------------------


def test_vectors_start_at_the_origin(ax: Axes) -> None:
    vectors = np.array([[1.0, 2.0], [-3.0, 0.5]])
    lines = plot_vectors(ax, vectors, color="C2", marker="o")
    assert len(lines) == 2
    for line, (x, y) in zip(lines, vectors, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), [[0, 0], [x, y]])
        assert line.get_color() == "C2"
        assert line.get_markevery() == [1], "the marker is at the end"
    assert ax.get_aspect() == 1


def test_vectors_may_have_a_colour_each(ax: Axes) -> None:
    lines = plot_vectors(ax, np.eye(2), colors=["C0", "C3"], linewidth=1)
    assert [line.get_color() for line in lines] == ["C0", "C3"]
    assert [line.get_linewidth() for line in lines] == [1, 1]
