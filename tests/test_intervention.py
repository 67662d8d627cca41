"""Arms whose posterior changes: their frame, their curves, and the claims about them."""

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from stored import CONFIG

from seams.paper import intervention
from seams.paper.frames import RATIOS
from seams.paper.results import Results
from seams.plotting import COLOURS, plot_changes
from seams.training import Run

SEEDS = range(4)
RATIO = {"diagonal": 0.5, "full": 1.0}


def runs() -> list[Run]:
    """One run an arm and seed at two betas, all with the same losses."""
    found = []
    for beta in (1.0, 2.0):
        for before, after in intervention.ARMS:
            for seed in SEEDS:
                config = replace(CONFIG, beta=beta, sigma=0.5, seed=seed, images=64 * 512)
                config = replace(config, batch=64, hold=0.5, covariance_start=before)
                run = Run(replace(config, covariance=after), Path())
                curve = np.array([RATIO[before], RATIO[before], RATIO[after]]) + 0.01 * seed
                scores = dict.fromkeys(RATIOS, curve[-1]) | {"c2_ratio": curve[-1], "mig": 0.3}
                arrays = {"curve_step": np.array([128, 256, 512]), "curve_mig": curve}
                arrays |= {"curve_distortion": np.array([5.0, 4.0, 3.0]), "curve_rate": np.ones(3)}
                run.__dict__.update(arrays=arrays, scores=scores | {"distortion": 3, "rate": 1})
                found.append(run)
    return found


def test_curves_are_by_arm_and_losses_above_the_end_of_the_diagonal_one() -> None:
    rows = intervention.arms(runs())
    images, panels = intervention.along(rows, {"mig": "MIG", "loss": "loss"})
    assert images.tolist() == [64 * 128, 64 * 256, 64 * 512]
    assert list(panels) == [(n, rf"$\beta={b}$") for b in (1, 2) for n in ("MIG", "loss")]
    one = panels["MIG", r"$\beta=1$"]
    assert list(one) == list(intervention.ARMS)
    np.testing.assert_allclose(one["diagonal", "full"][2], [0.52, 0.52, 1.02])
    for values in panels["loss", r"$\beta=2$"].values():  # 2 (d + rate), from d = 5 to 3
        np.testing.assert_allclose(values, [[4.0, 2.0, 0.0]] * len(SEEDS))


def test_an_arm_that_changed_is_drawn_from_the_change_on() -> None:
    rows = intervention.arms(runs())
    figure = plt.figure()
    axes = plot_changes(figure, *intervention.along(rows, {"mig": "MIG"}), 64 * 300.0)
    assert axes.shape == (1, 2)
    lines = {line.get_label(): line for line in axes[0, 0].get_lines()}
    assert {"diagonal", "full", "diagonal, then full", "full, then diagonal"} < lines.keys()
    released = lines["diagonal, then full"]
    assert released.get_xdata()[0] == 64 * 256 and released.get_color() == COLOURS["full"]
    assert len(lines["full"].get_xdata()) == 3


def test_scores_of_one_setting_stand_side_by_side() -> None:
    rows = intervention.arms(runs()).query("beta == 1")
    scores = {"mig": "MIG", "loss": "loss"}
    axes = plot_changes(plt.figure(), *intervention.along(rows, scores), 64 * 256.0)
    assert [ax.get_ylabel() for ax in axes[:, 0]] == list(scores.values())
    assert len({round(ax.get_position().y0, 3) for ax in axes[:, 0]}) == 1
    assert all(ax.get_xlabel() for ax in axes[:, 0])


@pytest.mark.parametrize("shift, verdict", [(0.0, "supported"), (0.6, "not supported")])
def test_claims_compare_arms_seed_by_seed(tmp_path: Path, shift: float, verdict: str) -> None:
    rows = intervention.arms(runs())
    changed = rows["arm"].isin(["diagonal, then full"])
    rows.loc[changed, [*RATIOS, "c2_ratio", "loss"]] -= shift * np.array([1, 1, 1, -5])
    rows.loc[changed, "mig"] += shift - 0.1 - 0.01 * rows.loc[changed, "seed"]
    results = Results("switch", "quick", str(tmp_path / "out"), {})
    intervention.claim_switch(results, rows, "x_")
    found = {claim["id"]: claim for claim in results.content["claims"]}
    released = {id: c["verdict"] for id, c in found.items() if id.startswith("x_released")}
    assert len(released) == 6 and set(released.values()) == {verdict}
    assert found["x_released_gram"]["value"] == pytest.approx(0.5 - shift)
    assert found["x_constrained_gram"]["value"] == pytest.approx(-0.5)
    assert found["x_constrained_mig"]["verdict"] == "not supported"  # nothing changed
    assert {claim["n"] for claim in found.values()} == {len(SEEDS)}


def test_contrasts_at_equal_fit_leave_out_where_full_posteriors_fit_worse(tmp_path: Path) -> None:
    rows = intervention.arms(runs())
    worse = (rows["arm"] == "full") & (rows["beta"] == 2)
    rows.loc[worse, "loss"] += 0.1
    rows.loc[worse, [*RATIOS, "c2_ratio"]] = -9.0
    rows.loc[rows["arm"] == "diagonal", "mig"] += 0.1 + 0.01 * rows["seed"]
    results = Results("switch", "quick", str(tmp_path / "out"), {})
    intervention.claim_equal_fit(results, rows, "x_")
    intervention.claim_equal_fit(results, rows.query("beta == 2"), "none_")
    found = {claim["id"]: claim for claim in results.content["claims"]}
    assert found["x_equal_mig"]["value"] == pytest.approx(0.115)
    assert found["x_equal_gram"]["value"] == pytest.approx(-0.5)
    assert {c["verdict"] for id, c in found.items() if id[0] == "x"} == {"supported"}
    assert all(
        c["note"].startswith("Beta") and ": 1." in c["note"] for c in found.values() if c["n"]
    )
    nothing = [c for id, c in found.items() if id.startswith("none_")]
    assert {c["verdict"] for c in nothing} == {"not testable at this scale"}


def test_ordinary_runs_are_no_arms() -> None:
    ordinary = Run(CONFIG, Path())
    ordinary.__dict__["scores"] = {"distortion": 3.0, "rate": 1.0}
    with pytest.raises(KeyError):
        intervention.arms([ordinary])
