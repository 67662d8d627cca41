"""Frames of runs, and what figures read off them."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stored import CONFIG, add

from seams.paper import frames
from seams.training import Run, TrainConfig, build


def sweep(**columns: list[float]) -> pd.DataFrame:
    """Two posteriors at three values of beta with two seeds; scores in this order."""
    keys = pd.MultiIndex.from_product(
        [["diagonal", "full"], [0.1, 1.0, 4.0], [0, 1]], names=["covariance", "beta", "seed"]
    )
    return keys.to_frame(index=False).assign(dataset="some", **columns)


MIG = [0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.0, 0.1, 0.1, 0.1, 0.2, 0.0]


def run_with(tmp_path: Path, **arrays: np.ndarray) -> Run:
    run = add(tmp_path / "store", replace(CONFIG, seed=len(list(tmp_path.glob("store/*/")))))
    object.__setattr__(run, "arrays", arrays)
    return run


def test_a_frame_has_numbers_the_loss_and_no_ratio_where_a_run_has_none(tmp_path: Path) -> None:
    run = add(tmp_path, replace(CONFIG, sigma=0.5, beta=2.0))
    run.scores.update(distortion=3.0, rate=1.5, mig=None)
    (row,) = frames.frame([run]).to_dict("records")
    assert row["loss"] == 3.0 / (2 * 0.25) + 2.0 * 1.5
    assert row["run"] is run and math.isnan(row["mig"])
    assert all(math.isnan(row[ratio]) for ratio in frames.RATIOS)
    point = add(tmp_path, replace(CONFIG, sigma=0.5, covariance="none"))
    point.scores.update(distortion=3.0, rate=None)
    assert frames.frame([run, point])["loss"].tolist() == [9.0, 6.0]
    run.scores.update(dict.fromkeys(frames.RATIOS, 0.5))
    assert (frames.frame([run])[list(frames.RATIOS)] == 0.5).all(axis=None)


def test_ratios_are_shown_unless_a_run_has_the_raw_score_alone() -> None:
    raw = ["off_diagonal_gram_of_abs", "off_diagonal_hessian_of_abs"]
    rows = pd.DataFrame({name: [0.5, 0.5] for name in (*frames.RATIOS, *raw)})
    assert list(frames.diagonality(rows)) == list(frames.RATIOS)
    rows.loc[0, list(frames.RATIOS)] = np.nan
    assert list(frames.diagonality(rows)) == raw
    rows.loc[0, raw] = np.nan  # as with a single active latent
    assert list(frames.diagonality(rows)) == list(frames.RATIOS)


def test_nearest_is_by_ratio() -> None:
    assert frames.nearest([0.3, 4.0]) == 0.3
    assert frames.nearest([0.2, 4.0]) == 4.0
    assert frames.nearest([0.2, 4.0], to=0.3) == 0.2


def test_pairs_are_of_equal_seed_whatever_the_order_of_rows() -> None:
    rows = sweep(mig=MIG).sample(frac=1, random_state=0)
    expected = [[0.1, 0.1], [0.2, 0.4], [0.4, 0.7]]
    np.testing.assert_allclose(frames.paired(rows, "mig"), expected)
    assert frames.by_kind(rows, "mig")["full"].loc[4.0].tolist() == [0.2, 0.0]


def test_a_score_against_the_mean_of_diagonal_posteriors_at_that_beta() -> None:
    rows = pd.concat([sweep(loss=MIG), sweep(loss=MIG).assign(dataset="other", loss=1.0)])
    found = frames.against_diagonal(rows, "loss")
    assert found.iloc[2] == pytest.approx(0.3 / 0.4) and found.iloc[10] == pytest.approx(
        0.2 / 0.65
    )
    assert (found.iloc[12:] == 1).all()


def test_correlations_over_beta_and_within_a_beta() -> None:
    rows = pd.concat([sweep(mig=MIG), sweep(mig=MIG).assign(seed=lambda r: r["seed"] + 2)])
    rows = pd.concat([rows, rows.assign(beta=rows["beta"] * 100, mig=rows["mig"] + 1)])
    rows = rows[rows["covariance"] == "diagonal"].assign(score=lambda r: -r["beta"])
    assert frames.correlations(rows, "mig", "score", "seed") == pytest.approx([-1] * 4)
    within = frames.correlations(rows, "mig", "score", "beta")
    assert len(within) == 6 and all(map(math.isnan, within)), "beta is all that moves it"
    rows["score"] = -rows["mig"]
    assert frames.correlations(rows, "mig", "score", "beta") == pytest.approx([-1] * 6)
    few = rows[rows["seed"] < 3]
    assert all(map(math.isnan, frames.correlations(few, "mig", "score", "beta")))


def test_means_are_named_by_their_group_and_leave_out_what_is_not_known() -> None:
    rows = sweep(mig=MIG, aas=[np.nan] + [1.0] * 11)
    found = frames.means(rows, ["mig", "aas"], ["covariance", "beta"])
    assert found["mig_diagonal_0_1"] == pytest.approx(0.15)
    assert found["mig_full_4"] == pytest.approx(0.1)
    assert "aas_diagonal_0_1" not in found and found["aas_diagonal_1"] == 1
    assert len(found) == 11


def test_curves_count_images(tmp_path: Path) -> None:
    arrays = {"curve_step": np.array([1, 4]), "curve_mig": np.array([np.nan, 0.5])}
    seen, values = frames.curves([run_with(tmp_path, **arrays)] * 2, "mig")
    assert seen.tolist() == [CONFIG.batch, 4 * CONFIG.batch]
    np.testing.assert_array_equal(values, [[np.nan, 0.5]] * 2)


def test_information_of_permuted_latents_is_the_same(tmp_path: Path) -> None:
    one = np.array([[0.1, 2.0], [1.0, 0.2], [0.0, 0.1]])
    runs = [run_with(tmp_path, information=m) for m in (one, one[[2, 0, 1]])]
    np.testing.assert_allclose(frames.information(runs), one[[1, 0, 2]])


def test_matrices_have_a_unit_diagonal_where_a_run_is_active(tmp_path: Path) -> None:
    full = np.array([[4.0, -1.0, 0.3], [-1.0, 1.0, 0.2], [0.3, 0.2, 9.0]])
    few = run_with(tmp_path, gram=full, activity=np.array([0.2, 0.9, 0.0]))
    more = run_with(tmp_path, gram=np.eye(3), activity=np.array([0.9, 0.5, 0.3]))
    alone = frames.unit_diagonal([few], "gram")
    np.testing.assert_allclose(alone[:2, :2], [[1, 0.5], [0.5, 1]])
    assert np.isnan(alone[2]).all() and np.isnan(alone[:, 2]).all()
    both = frames.unit_diagonal([few, more], "gram")
    np.testing.assert_allclose(both, [[1, 0.25, 0], [0.25, 1, 0], [0, 0, 1]])


def test_pictures_are_square_and_the_most_active_first(tmp_path: Path) -> None:
    side = CONFIG.resolution
    run = run_with(
        tmp_path,
        activity=np.array([0.1, 0.9, 0.5]),
        traversals=np.arange(3 * 2 * side**2).reshape(3, 2, -1),
        images=np.arange(4 * side**2).reshape(4, -1),
        reconstructions=-np.arange(4 * side**2).reshape(4, -1),
    )
    moved, activity = frames.traversals(run, 2)
    assert moved.shape == (2, 2, side, side) and activity.tolist() == [0.9, 0.5]
    sheet = frames.reconstructions(run)
    assert sheet[:, :, 0, 0].tolist() == [[0, 1], [0, -1], [2, 3], [-2, -3]]


def test_random_directions_are_as_far_from_the_axes_as_theory_says() -> None:
    """A turn by an angle uniform in +-45 degrees has the mean distance 2 E[sqrt(1 - cos a)]."""
    found = frames.random_dto(pd.Series([0, 1, 2]))
    angles = np.linspace(-np.pi / 4, np.pi / 4, 10_001)
    expected = 2 * np.sqrt(1 - np.cos(angles)).mean()
    assert found.tolist()[:2] == [0, 0]
    assert found[2] == pytest.approx(expected, abs=0.03)


def test_untrained_decoders_have_the_distance_of_their_own_weights() -> None:
    config = TrainConfig(dataset="square:matrix", resolution=1, network="linear", latent=2)
    found = frames.untrained_dto(config, seeds=3, draws=4)
    signs = [np.diag(s) for s in itertools.product((1, -1), repeat=2)]
    axes = [P @ s for P in (np.eye(2), np.eye(2)[::-1]) for s in signs]
    for seed, distance in enumerate(found):
        W = build(replace(config, seed=seed), 3).network.state_dict()
        (W,) = (part.double().numpy() for part in W.values() if part.ndim == 2)
        V = np.linalg.svd(W)[2].T
        assert distance == pytest.approx(min(np.linalg.norm(V - P) for P in axes), rel=1e-6)
    assert len(set(found)) == 3


def test_predicted_latents_are_eigenvalues_above_the_noise() -> None:
    counts = frames.predicted("circles", 1, 1.0, [1.0, 30.0, 1e4], 10)
    assert counts == [2, 2, 0]
    assert frames.predicted("circles", 1, 1.0, [1.0], 1) == [1]
