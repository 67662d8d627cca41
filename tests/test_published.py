"""The tasks of Rolinek et al. 2019 beside what they published."""

import math
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from stored import add

from seams.paper import published
from seams.paper.results import Results
from seams.plotting import GroupPanel, plot_group_panels
from seams.training import Run, TrainConfig

SHORT = TrainConfig(resolution=1, latent=2, width=4, images=8, batch=4)
CONFIG = replace(SHORT, network="linear", dataset="square:matrix")
SPRITES = replace(SHORT, network="mlp", dataset="dsprites")


def run(folder: Path, config: TrainConfig, dto: float) -> Run:
    made = add(folder, config)
    made.scores.update(dto=dto, dto_ratio=dto / 2, distortion=1.0, rate=None, active=2)
    return made


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """DtO of 0.1 plus the seed for diagonal, 0.5 for full posteriors and 0.8 for autoencoders."""
    sets = [CONFIG, replace(CONFIG, dataset="square:network", network="mlp")]
    sets += [replace(CONFIG, dataset=f"square:{ratio}") for ratio in ("1.5", "1")]
    sets += [replace(SPRITES, beta=beta) for beta in (4.0, 1.0)]  # autoencoders at the last one
    made = []
    for config in sets:
        ranges = config.dataset[7:].replace(".", "").isdigit()
        for kind, dto in (("diagonal", 0.1), ("full", 0.5), ("none", 0.8)):
            for seed in range(0 if kind == "none" and (ranges or config.beta == 4.0) else 3):
                chosen = replace(config, covariance=kind, seed=seed)
                made.append(run(tmp_path, chosen, dto + seed / 100 + config.beta / 10))
    return made


def test_a_task_is_told_by_its_data_and_dsprites_are_those_nearest_to_the_published_beta(
    runs: list[Run],
) -> None:
    rows = published.by_task(runs)
    assert set(rows["task"]) == {"matrix", "network", "1.5", "1", "dsprites"}
    assert published.of_task(rows, "dsprites") == {
        "diagonal": pytest.approx([0.5, 0.51, 0.52]),
        "full": pytest.approx([0.9, 0.91, 0.92]),
        "none": pytest.approx([0.9, 0.91, 0.92]),
    }
    assert list(published.of_task(rows, "1")) == ["diagonal", "full"]


def test_what_was_published_stands_beside_the_same_task_and_posterior(runs: list[Run]) -> None:
    two, sprites = published.panels(published.by_task(runs))
    bars = dict(zip(two.labels, two.bars, strict=True))
    assert bars["linear, diagonal"] == 0.0 and bars["nonlinear, autoencoder"] == 0.54
    assert bars["sides 1 : 1, diagonal"] == 0.49 and bars["sides 1.5 : 1, diagonal"] == 0.01
    assert bars["sides 1 : 1, full"] != bars["sides 1 : 1, full"]  # NaN: none was
    assert two.labels.index("sides 1 : 1, full") < two.labels.index("sides 1.5 : 1, diagonal")
    assert sprites.labels == ["dSprites, diagonal", "dSprites, full", "dSprites, autoencoder"]
    assert sprites.groups[2] == pytest.approx([0.45, 0.455, 0.46]) and sprites.null == 1.0
    assert len(published.panels(published.by_task(runs[:-15]))) == 1


def test_random_directions_of_two_latents_have_the_closed_form_of_their_distance() -> None:
    """A turn by an angle below 45 degrees is 2 sin(angle / 2) away in each of two columns."""
    mean = 2**0.5 * 4 * (1 - math.cos(math.pi / 8)) / (math.pi / 4)
    assert published.chance() == pytest.approx(mean, abs=0.03)  # of 1,000 draws


def test_claims_ask_for_the_published_order(runs: list[Run], tmp_path: Path) -> None:
    results = Results("rolinek", "quick", str(tmp_path / "out"), {})
    published.claim_published(results, published.by_task(runs))
    verdicts = {claim["id"]: claim["verdict"] for claim in results.content["claims"]}
    assert verdicts.pop("linear_diagonal") == "not supported"  # 0.2 and more, above 0.05
    assert verdicts.pop("nonlinear_diagonal") == "supported"
    assert verdicts.pop("ranges_apart") == verdicts.pop("ranges_gain") == "not supported"
    assert set(verdicts.values()) == {"supported"} and len(verdicts) == 6
    assert {"linear_none", "nonlinear_full", "dsprites_none"} < set(verdicts)


def test_panels_are_as_high_as_their_groups_and_begin_at_nothing() -> None:
    figure = plt.figure()
    few = GroupPanel(["a"], [[2.0, 4.0]], ["red"], [float("nan")], 1.0, "one")
    many = GroupPanel(["b", "c", "d"], [[0.1], [0.2], []], ["red"] * 3, [3.0, 0.1, 0.2], 1.0, "x")
    plot_group_panels(figure, [few, many])
    top, below = figure.axes
    assert below.get_position().height > 1.5 * top.get_position().height
    assert [t.get_text() for t in below.get_yticklabels()] == ["b", "c", "d"]
    assert top.get_xlim() == pytest.approx((-0.08, 4.24))
    assert below.get_xlim() == pytest.approx((-0.06, 3.18))
    plt.close(figure)
