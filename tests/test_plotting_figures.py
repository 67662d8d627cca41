"""Figures of many panels, read back from the artists that they draw."""

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color, to_rgba
from matplotlib.figure import Figure

from seams.plotting import plot_groups
from seams.plotting.circles import averages_figure
from seams.plotting.faces import (
    activity_figure,
    some_betas,
    term_maps_figure,
    term_strips_figure,
)

matplotlib.use("Agg")


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


def test_groups_lie_beside_each_other_from_the_top(ax: Axes) -> None:
    plot_groups(ax, [[1.0, 2.0, 3.0], [5.0]], ["red", "blue"], spread=0.2, bars=[2.0, 4.0])
    first, second, *bars = ax.get_lines()
    np.testing.assert_allclose(first.get_xydata(), [[1, -0.2], [2, 0], [3, 0.2]])
    np.testing.assert_allclose(second.get_xydata(), [[5, 0.8]])
    assert same_color(first.get_color(), "red") and same_color(second.get_color(), "blue")
    assert [bar.get_xdata()[0] for bar in bars] == [2, 4]
    assert ax.yaxis.get_inverted()


def test_groups_may_stand(ax: Axes) -> None:
    plot_groups(ax, [[1.0], [2.0]], ["red", "blue"], "y")
    np.testing.assert_allclose([line.get_xydata()[0] for line in ax.get_lines()], [[0, 1], [1, 2]])


@pytest.mark.parametrize(
    ("betas", "shown"),
    [
        ([4.0], [4]),
        ([4.0, 1.0], [1, 4]),
        ([3.0, 1.0, 2.0], [1, 2, 3]),
        ([1, 2, 3, 4, 5], [1, 3, 5]),
    ],
)
def test_at_most_three_betas_are_shown(betas: list[float], shown: list[float]) -> None:
    assert some_betas([float(beta) for beta in betas]) == shown


def test_activity_has_a_panel_a_covariance_and_a_colour_a_beta() -> None:
    activity = {
        ("diagonal", 1.0): np.array([[4.0, 1.0], [2.0, 1.0]]),
        ("diagonal", 4.0): np.array([[9.0, 0.5], [9.0, 0.5]]),
        ("full", 1.0): np.ones((2, 2)),
        ("full", 4.0): np.ones((2, 2)),
    }
    panels = activity_figure(activity, "upper right").axes
    assert [ax.get_xlabel() for ax in panels] == [
        "latents by activity, diagonal posteriors",
        "latents by activity, full posteriors",
    ]
    first, second = panels[0].get_lines()
    np.testing.assert_allclose(first.get_xydata(), [[1, 3], [2, 1]])
    for line, same in zip(panels[1].get_lines(), (first, second), strict=True):
        assert same_color(line.get_color(), same.get_color())
    band = panels[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == 4 and band[band[:, 0] == 1, 1].min() == 2, "mean and deviation"
    assert panels[0].get_yscale() == "log"


def matrices(shape: tuple[int, ...], betas: tuple[float, ...]) -> dict:
    keys = [(k, b, t) for k in ("diagonal", "full") for b in betas for t in ("gram", "hessian")]
    return {key: np.full(shape, float(i + 1)) for i, key in enumerate(keys)}


def test_strips_share_one_range_a_term_and_have_gaps_between_data() -> None:
    figure = term_strips_figure(matrices((3, 2, 2), (1.0, 4.0)))
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 8
    assert [ax.images[0].norm.vmax for ax in panels] == [7, 8] * 4
    assert [ax.images[0].norm.vmin for ax in panels] == pytest.approx([7e-4, 8e-4] * 4)
    drawn = np.ma.filled(panels[2].images[0].get_array(), np.nan)
    assert drawn.shape == (2, 10) and np.isnan(drawn[0]).sum() == 4
    assert np.nanmax(drawn) == 3
    assert [ax.get_title() for ax in panels[::4]] == ["diagonal posteriors", "full posteriors"]
    assert panels[2].get_ylabel().startswith("$\\beta=4$")


def test_maps_have_a_row_a_beta_and_a_column_a_term_and_covariance() -> None:
    maps = matrices((2, 2), (1.0, 4.0))
    figure = term_maps_figure(maps)
    drawn = [float(np.max(ax.images[0].get_array())) for ax in figure.axes if ax.images]
    assert drawn == [1, 5, 2, 6, 3, 7, 4, 8], "JᵀJ diagonal and full, then the Hessian"
    titles = [ax.get_title() for ax in figure.axes[:4]]
    assert [title.rpartition("\n")[2] for title in titles] == ["diagonal", "full"] * 2


def test_averages_show_data_and_what_is_made_of_them() -> None:
    x = np.array([[10.0, 0.0], [0.0, 10.0]])
    picture = {
        "trained": 0.5 * x,
        "predicted": 0.9 * x,
        "mean": 0.1 * x,
        "scale_tril": np.broadcast_to(np.diag([0.2, 0.4]), (2, 2, 2)),
    }
    figure = averages_figure(x, [0, 1], np.array([0.0, 10.0]), {0.5: picture, 2.0: picture})
    panels = np.array(figure.axes).reshape(3, 2)
    lines = {line.get_label(): line.get_xydata() for line in panels[0, 1].get_lines()}
    np.testing.assert_allclose(lines["data"], x)
    np.testing.assert_allclose(lines["trained"], 0.5 * x)
    np.testing.assert_allclose(lines["posterior-weighted mean"], 0.9 * x)
    assert panels[1, 0].get_ylim() == pytest.approx((6.9, 13.1)), "the circle at the top"
    posteriors, prior = panels[2, 0].collections
    np.testing.assert_allclose(posteriors.get_offsets(), 0.1 * x)
    assert len(prior.get_offsets()) == 1
    edges = posteriors.get_edgecolor()
    assert tuple(edges[0]) == to_rgba("#0072B2") and tuple(edges[1]) == to_rgba("#D55E00")
