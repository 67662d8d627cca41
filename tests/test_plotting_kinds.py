"""Both posteriors side by side, schedules, Eq. 6 and recovery, read back from what is drawn."""

from collections.abc import Iterator

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from seams import plotting
from seams.plotting import BETA, COLOURS

BETAS = [0.1, 1.0, 4.0]
FACTORS = ("shape", "posX")


@pytest.fixture
def figure() -> Iterator[Figure]:
    with matplotlib.rc_context():
        plotting.use_style()
        figure = Figure(figsize=(6, 4))
        yield figure
        figure.canvas.draw()  # what is only wrong when drawn is wrong too


def sweep(**scores: float) -> pd.DataFrame:
    """Two posteriors at three betas with three seeds; scores are these plus beta / 100."""
    kinds = [["diagonal", "full"], BETAS, [0, 1, 2]]
    keys = pd.MultiIndex.from_product(kinds, names=["covariance", "beta", "seed"])
    frame = keys.to_frame(index=False)
    shift = frame["beta"] / 100 + frame["seed"] / 10 + (frame["covariance"] == "full")
    return frame.assign(**{name: value + shift for name, value in scores.items()})


def interval(values: list[float]) -> tuple[float, float, float]:
    return float(np.mean(values)), min(values), max(values)


def test_kinds_have_their_colours_means_bands_and_seeds(figure: Figure) -> None:
    ax = figure.subplots()
    frame = sweep(mig=0.2)
    frame.loc[0, "mig"] = np.nan
    diagonal, full = plotting.plot_kinds(ax, frame, "mig", interval, label="{} posteriors")
    assert [to_hex(line.get_color()).upper() for line in (diagonal, full)] == [
        COLOURS["diagonal"],
        COLOURS["full"],
    ]
    np.testing.assert_allclose(diagonal.get_ydata(), [0.351, 0.31, 0.34])
    np.testing.assert_allclose(full.get_ydata(), [1.301, 1.31, 1.34])
    assert full.get_label() == "full posteriors"
    ends = ax.collections[1].get_paths()[0].vertices
    assert ends[:, 1].min() == pytest.approx(1.201) and ends[:, 1].max() == pytest.approx(1.44)
    of_two = ax.collections[0].get_paths()[0].vertices[:, 0]  # two runs have no band
    assert of_two.min() == BETAS[1]


def test_scores_beside_are_dotted_and_in_sight(figure: Figure) -> None:
    higher = sweep(mig=2.0)
    ax = plotting.plot_kind_panels(figure, sweep(mig=0.2), {"mig": "MIG"}, interval, beside=higher)
    styles = [line.get_linestyle() for line in ax["mig"].get_lines()]
    assert [style for style in styles if style != "None"] == ["-", "-", ":", ":"]
    assert ax["mig"].get_ylim()[1] > higher["mig"].max()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["diagonal", "full"]


def test_panels_begin_at_zero_and_share_a_scale_where_asked(figure: Figure) -> None:
    names = {"mig": "MIG", "aas": "AAS", "dto": "DtO", "loss": "loss"}
    frame = sweep(mig=0.1, aas=0.5, dto=2.0, loss=40.0)
    panels = plotting.plot_kind_panels(figure, frame, names, interval, rows=2, shared=True)
    assert [ax.get_ylabel() for ax in panels.values()] == list(names.values())
    assert panels["mig"].get_ylim() == panels["aas"].get_ylim()
    assert panels["dto"].get_ylim() == panels["loss"].get_ylim() != panels["mig"].get_ylim()
    assert panels["loss"].get_ylim()[0] == 0 and panels["loss"].get_ylim()[1] > 41
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["diagonal", "full"]
    assert panels["loss"].get_xlabel() == r"$\beta$" and panels["mig"].get_xlabel() == ""


def test_a_sweep_has_a_map_above_each_beta_in_one_range(figure: Figure) -> None:
    maps = {
        (kind, beta): np.full((3, 2), beta + (kind == "full"))
        for kind in ("diagonal", "full")
        for beta in BETAS
    }
    names = {"mig": "MIG", "gram_ratio": "ratio"}
    frame = sweep(mig=0.1, gram_ratio=0.2)
    mig, ratio = plotting.plot_sweep(figure, frame, maps, FACTORS, names, interval)
    images = [ax.images[0] for above in figure.axes[:2] for ax in above.child_axes]
    found = [float(image.get_array().mean()) for image in images]
    assert found == pytest.approx([0.1, 1, 4, 1.1, 2, 5])
    assert {image.get_clim() for image in images} == {(0, 5)}
    places = [ax.get_position().x0 for ax in figure.axes[0].child_axes]
    assert places == sorted(places)
    dotted = [line for line in ratio.lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == [1]
    assert not [line for line in mig.lines if line.get_linestyle() == ":"]


def test_matrices_have_a_row_a_cell_and_a_column_a_term(figure: Figure) -> None:
    cells = {
        ("diagonal", 1.0): {"first": np.eye(2), "second": np.ones((2, 2))},
        ("full", 4.0): {"first": np.ones((2, 2)), "second": np.full((2, 2), np.nan)},
    }
    plotting.plot_unit_diagonals(figure, cells)
    panels = figure.axes[:4]
    assert [ax.get_title() for ax in panels] == ["first", "second", "", ""]
    assert panels[2].get_ylabel() == "full\n$\\beta=4$"
    drawn = [np.asarray(ax.images[0].get_array()) for ax in panels[:3]]
    assert [image.tolist() for image in drawn] == [[[1, 0], [0, 1]], [[1, 1]] * 2, [[1, 1]] * 2]


def test_a_grid_of_curves_places_each_pair(figure: Figure) -> None:
    x = np.array([1e3, 1e4])
    curves = {
        (row, column): {"diagonal": (x, np.array([[0.0, height]]))}
        for height, (row, column) in enumerate([("a", "p"), ("a", "q"), ("b", "q")], 1)
    }
    panels = plotting.plot_grid_of_curves(figure, curves, "MIG")
    assert panels.shape == (2, 2) and panels[1, 1].get_title() == "b, q"
    assert [ax.lines[0].get_ydata()[-1] for ax in (*panels[0], panels[1, 1])] == [1, 2, 3]
    assert not panels[1, 0].lines and panels[0, 0].get_xscale() == "log"


def test_ticks_of_a_logarithmic_axis_are_written_out(figure: Figure) -> None:
    ax = figure.subplots()
    ax.plot([1, 2], [0.3, 6])
    plotting.use_log_ticks(ax, "y")
    figure.canvas.draw()
    assert ax.get_yscale() == "log" and ax.get_xscale() == "linear"
    assert {"0.5", "1", "2", "5"} <= {text.get_text() for text in ax.get_yticklabels()}


# --- schedules ---------------------------------------------------------------------------------


def test_ways_end_in_a_diamond_where_their_run_does(figure: Figure) -> None:
    constant = sweep(distortion=1.0, mig=0.1).query("covariance == 'diagonal'")
    way = {"beta": [1.0, 0.1], "distortion": [3.0, 1.5], "mig": [0.0, 0.25]}
    path = {name: np.array(values) for name, values in way.items()}
    plotting.plot_tradeoff(figure, constant, {"falls": [path]}, {"mig": "MIG"}, {"falls": "green"})
    ax = figure.axes[0]
    (end,) = [line for line in ax.lines if line.get_marker() == "D"]
    assert end.get_xydata().tolist() == [[1.5, 0.25]] and end.get_color() == "green"
    dots, moving = ax.collections
    assert len(dots.get_offsets()) == 9
    moving.update_scalarmappable()
    np.testing.assert_allclose(moving.get_edgecolor()[0], BETA(moving.norm(0.1)))


def test_a_row_of_pictures_a_schedule(figure: Figure) -> None:
    pictures = [np.zeros((4, 2, 4, 4), np.uint8), np.full((4, 2, 4, 4), 9, np.uint8)]
    moved = [np.zeros((2, 5, 4, 4), np.uint8)] * 2
    maps = [np.eye(3, 2), 2 * np.eye(3, 2)]
    plotting.plot_schedules(figure, ["one", "two"], maps, FACTORS, pictures, moved)
    rows = np.reshape(figure.axes[:6], (2, 3))
    assert [row[0].get_ylabel() for row in rows] == ["one", "two"]
    assert {row[0].images[0].get_clim() for row in rows} == {(0, 2)}
    assert [np.asarray(row[1].images[0].get_array()).min() for row in rows] == [0, 9]


def test_curves_of_schedules_have_their_colours(figure: Figure) -> None:
    x = np.array([1e3, 1e4])
    curves = {name: {"one": (x, np.array([[1.0, 2.0]]))} for name in ("distortion", "mig")}
    names = {"distortion": "d", "mig": "MIG"}
    plotting.plot_schedule_curves(figure, curves, names, {"one": "#123456"})
    first, second = figure.axes
    assert (first.get_yscale(), second.get_yscale()) == ("log", "linear")
    assert second.lines[0].get_color() == "#123456" and second.get_ylabel() == "MIG"
    assert second.get_ylim()[0] == 0 and len(second.lines) == 1
    figure.clear()
    curves["mig"] = {"one": (x, np.array([[-1.0, 2.0]]))}
    plotting.plot_schedule_curves(figure, curves, names, {"one": "#123456"})
    below = figure.axes[1]
    assert below.get_ylim()[0] < -1 and below.lines[-1].get_ydata() == [0, 0]
    figure.clear()
    plotting.plot_schedule_curves(figure, curves, names, {"one": "#123456"}, 500.0, apart=True)
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert ticks == ["1k", "10k"] and figure.axes[0].lines[0].get_marker() == "o"


# --- Equation 6 --------------------------------------------------------------------------------


def test_both_sides_lie_on_the_line_where_they_are_equal(figure: Figure) -> None:
    ax = figure.subplots()
    before = (np.array([1.0, 2.0]), np.array([1.5, 2.5]), np.array([0.1, 0.1]))
    after = (np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.array([0.1, 0.1]))
    plotting.plot_sides(ax, {0: before, 30: after}, "full")
    grey, colour = (container.lines[0] for container in ax.containers)
    assert to_hex(colour.get_color()).upper() == COLOURS["full"]
    assert grey.get_ydata().tolist() == [1.5, 2.5]
    assert ax.lines[-1].get_xydata().tolist() == [[1, 1], [2.5, 2.5]]


def test_refinement_is_a_line_a_run_beside_the_noise(figure: Figure) -> None:
    ax = figure.subplots()
    steps = [(0, 0.5), (10, 0.1)]
    rows = [["full", 1.0, seed, step, value, 0.01] for seed in (0, 1) for step, value in steps]
    names = ["covariance", "beta", "seed", "step", "difference", "noise"]
    plotting.plot_refinement(ax, pd.DataFrame(rows, columns=names), near=1.0)
    solid = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert [line.get_ydata().tolist() for line in solid] == [[0.5, 0.1]] * 2
    assert len([text for text in ax.get_legend().get_texts() if "full" in text.get_text()]) == 1


def test_terms_have_three_maps_a_posterior_and_a_cloud(figure: Figure) -> None:
    means = {"diagonal": np.stack([np.eye(2) * v for v in (8, 2, 6)]), "full": np.ones((3, 2, 2))}
    clouds = {kind: [(np.array([0.1, 0.4]), np.array([0.2, 0.0]))] for kind in means}
    plotting.plot_terms(figure, means, clouds)
    maps = [ax.images[0] for ax in figure.axes if ax.images]
    assert {image.get_clim() for image in maps} == {(0.008, 8)} and len(maps) == 6
    dots = [ax for ax in figure.axes if ax.lines and ax.lines[0].get_marker() == "."]
    assert [ax.lines[0].get_xydata().tolist() for ax in dots] == [[[0.1, 0.2], [0.4, 0]]] * 2
    assert dots[0].get_xlim() == pytest.approx((-0.42, 0.42))


def test_scores_of_terms_are_joined_to_those_of_rotations(figure: Figure) -> None:
    frame = sweep(gram_score=0.1, gram_turned=0.4, hessian_score=0.2, hessian_turned=0.2)
    plotting.plot_term_scores(figure, frame, ("gram", "hessian"))
    first = figure.axes[0]
    assert len(first.lines) == 12 and len(first.collections) == 6
    own, turned = first.lines[0], first.lines[1]
    np.testing.assert_allclose(turned.get_ydata() - own.get_ydata(), 0.3)
    assert turned.get_markerfacecolor() == "white"


# --- recovery ----------------------------------------------------------------------------------


def recovery(time: float = 1e4) -> pd.DataFrame:
    keys = pd.MultiIndex.from_product(
        [["plane"], ["diagonal", "full"], [1.0, 2.0], [0, 1, 2]],
        names=["arm", "covariance", "ratio", "seed"],
    )
    frame = keys.to_frame(index=False)
    frame["mcc"] = 0.8 + frame["seed"] / 100 + 0.1 * (frame["covariance"] == "diagonal")
    frame["time"] = np.where(frame["ratio"] == 1, np.inf, time * (1 + frame["seed"]))
    return frame


def test_ends_are_dots_about_their_mean(figure: Figure) -> None:
    ax: Axes = figure.subplots()
    plotting.plot_ends(ax, recovery(), "mcc")
    full, dots, diagonal, _ = ax.lines
    np.testing.assert_allclose(full.get_ydata(), [0.81, 0.81])
    np.testing.assert_allclose(diagonal.get_ydata(), [0.91, 0.91])
    assert len(dots.get_xdata()) == 6 and min(dots.get_xdata()) > 1
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "2"]


def test_runs_that_did_not_arrive_are_triangles_at_the_ceiling(figure: Figure) -> None:
    ax = figure.subplots()
    median = plotting.plot_times(ax, recovery(), limit=1e5, ceiling=2e5)
    done, left = ax.lines[:2]
    assert sorted(done.get_ydata()) == [1e4, 2e4, 3e4]
    assert left.get_marker() == "^" and set(left.get_ydata()) == {2e5}
    assert median.to_dict() == {2.0: 2e4}


def test_theory_has_the_unit_of_time_of_the_median_run(figure: Figure) -> None:
    theory = {"plane": (np.array([1.0, 2.0, 4.0]), np.array([100.0, 5.0, 1.0]))}
    begun = {"plane": pd.Series({1.0: 10.0, 2.0: 20.0})}
    limits = {"plane": 1e5}
    plotting.plot_arms(figure, recovery(), {"plane": "Plane"}, limits, 0.89, theory, begun)
    below = figure.axes[1]
    lines = {line.get_label(): line for line in below.lines}
    np.testing.assert_allclose(lines["theory, 1 / rate"].get_ydata(), [4e5, 2e4, 4e3])
    assert lines["both latents in use"].get_ydata().tolist() == [10, 20]


def test_exponents_are_drawn_from_the_largest_ratio_and_written(figure: Figure) -> None:
    ax = figure.subplots()
    times = {"runs": (np.array([[40.0], [10.0]]), "r", "o", 0.5)}
    plotting.plot_exponents(ax, np.array([16.0, 1.0]), times)
    assert ax.lines[0].get_ydata().tolist() == [4, 1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["runs: 0.50", "theory: 1"]


def test_a_fan_is_darker_for_larger_ratios(figure: Figure) -> None:
    ax = figure.subplots()
    x = np.array([1e3, 1e4])
    plotting.plot_fan(ax, {r: (x, np.array([[0.6, 0.9]])) for r in (1.0, 1.5, 2.0)}, 0.89)
    lines = [line for line in ax.lines if line.get_label()[0].isdigit()]
    light = [sum(matplotlib.colors.to_rgb(line.get_color())) for line in lines]
    assert light == sorted(light, reverse=True) and len(lines) == 3


def test_generators_stand_in_groups_with_what_chance_scores(figure: Figure) -> None:
    frame = pd.DataFrame(
        [[n, k, 2, 0.9, 0.1] for n in ("a", "b") for k in ("diagonal", "full") for _ in range(2)],
        columns=["dataset", "covariance", "latent", "mcc", "dto"],
    )
    plotting.plot_generators(figure, frame, [{"a": "A"}, {"b": "B"}], {2: 0.88}, without=["b"])
    left, right = figure.axes
    assert left.get_yticks().tolist() == [0, -1.4]
    ticks = [line for line in left.lines if list(line.get_xdata()) == [0.88] * 2]
    assert len(ticks) == 4
    heights = [y for line in right.lines for y in line.get_ydata()]
    assert min(heights) > -1, "no distance of b"


def test_a_dial_has_a_dot_a_run(figure: Figure) -> None:
    ax = figure.subplots()
    plotting.plot_dial(ax, [0.0, 10.0], np.array([[1.0, 0.8], [0.6, 0.4]]))
    assert ax.lines[0].get_ydata().tolist() == pytest.approx([0.9, 0.5])
    assert [line.get_ydata().tolist() for line in ax.lines[1:]] == [[1, 0.6], [0.8, 0.4]]
