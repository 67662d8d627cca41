"""Scores of models of faces: by hand, on models and evaluations that are given."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fixed import vae
from stored import CONFIG

from seams.derivatives import jacobian_gram
from seams.metrics import off_diagonality
from seams.paper.faces import (
    face_scores,
    late_fall,
    loss_curve,
    off_diagonality_in_use,
    reconstruction_scores,
    term_scores,
    traversal_cosine,
)
from seams.paper.measures import contrast, ordered_mean, record_means, verdicts
from seams.paper.results import Results
from seams.training import Run, TrainConfig


def run(config: TrainConfig = CONFIG, **known: object) -> Run:
    """A run of which some parts are known, without a folder."""
    made = Run(config, Path("nowhere"))
    vars(made).update(known)
    return made


def evaluated(kl: list[float], rate: float, **config: object) -> Run:
    scores = {"rate": rate, "distortion": 8.0, "active": 3}
    return run(replace(CONFIG, sigma=2.0, **config), scores=scores, arrays={"kl": np.array(kl)})


def test_latents_are_counted_and_full_posteriors_borrow_the_number() -> None:
    runs = [
        evaluated([0.5, 0.2, 0.05], 0.75, covariance="diagonal", beta=4.0, seed=1),
        evaluated([0.5, 0.05, 0.05], 1.0, covariance="full", beta=4.0, seed=1),
        evaluated([0.5, 0.5, 0.5], 1.5, covariance="diagonal", beta=1.0, seed=1),
        evaluated([0.0, 0.0, 0.0], 0.0, covariance="full", beta=1.0, seed=1),
    ]
    scores = face_scores(runs)
    assert scores.index.names == ["covariance", "beta", "seed"]
    assert scores["in_use"].tolist() == [2, 1, 3, 0]
    assert scores["kept"].tolist() == [2, 2, 3, 3]
    assert scores["varying"].tolist() == [3] * 4
    assert scores["shared"].tolist() == pytest.approx([0, 0.4, 0, 0])
    assert scores["loss"].tolist() == pytest.approx([1 + 3, 1 + 4, 1 + 1.5, 1])
    assert scores["run"].tolist() == runs


def test_loss_of_the_last_tenths() -> None:
    history = pd.DataFrame({"distortion": [50.0] * 16 + [20, 20, 10, 10], "rate": 0.0})
    known = run(replace(CONFIG, beta=3.0), history=history)
    assert late_fall(known) == pytest.approx(50)
    assert np.isnan(late_fall(run(history=history[:9])))
    history = pd.DataFrame({"distortion": [5.0, 4.0], "rate": [1.0, 2.0], "beta": [0.0, 3.0]})
    assert loss_curve(run(replace(CONFIG, beta=3.0), history=history)).tolist() == [8, 10]


def test_cosines_of_traversals_are_those_of_a_linear_decoder() -> None:
    J = torch.tensor([[3.0, 0, 0], [0, 2, 0.1], [0, 0, 0.1]])
    model = vae(lambda z: J @ z, torch.randn(5, 3))
    x = torch.zeros(5, 3)
    assert traversal_cosine(model, x, 2, 2.0) == pytest.approx(0, abs=1e-12)
    assert traversal_cosine(model, x, 1, 2.0) == traversal_cosine(model, x, 2, 2.0)
    assert traversal_cosine(model, x, 3, 2.0) == pytest.approx(0.5**0.5 / 3)


def test_matrices_are_scored_over_the_most_active_latents() -> None:
    gram = np.array([[1.0, 0.9, 0], [0.9, 1, 0.3], [0, 0.3, 1]])
    known = run(arrays={"activity": np.array([0.1, 0.5, 0.9]), "gram": gram})
    assert off_diagonality_in_use(known, "gram", 2) == pytest.approx(0.3)
    assert off_diagonality_in_use(known, "gram", 3) == pytest.approx(0.4)
    assert np.isnan(off_diagonality_in_use(known, "gram", 1))


def test_errors_and_sharpness_of_images() -> None:
    ramp = torch.arange(4.0).repeat(4, 1).flatten()[None]  # differences of 1 along one axis
    images = {"train": ramp, "test": ramp}
    decoded = {"train": ramp + 1, "test": ramp, "samples": 3 * ramp}
    found = reconstruction_scores(images, decoded, (1, 4, 4), 2.0)
    assert found == pytest.approx({"train": 4, "test": 0, "sharpness": 9})


def curved(z: torch.Tensor) -> torch.Tensor:
    return torch.stack([2 * z[0] + z[0] ** 2, z[1] + z[1] ** 2 + 0.2 * z[0], z[0] * z[1]])


def test_terms_are_averaged_over_draws() -> None:
    mean = torch.randn(3, 2)
    model, x = vae(curved, mean, scale=0.3), torch.randn(3, 3)
    table, first = term_scores(model, x, draws=4, shown=2, kept=2, varying=2)
    table = table.set_index(["term", "draws"])
    assert table.index.tolist() == [(t, n) for t in ("gram", "hessian") for n in (1, 2, 4)]
    noise = torch.randn((4, 3, 2), generator=torch.Generator().manual_seed(1))
    z = (mean + 0.3 * noise).flatten(0, 1)
    every = jacobian_gram(model.decoder, z).unflatten(0, (4, 3))
    torch.testing.assert_close(first["gram"], every[0])  # the first latent is the more active
    for n in (1, 2, 4):
        expected = off_diagonality(every[:n].mean(0).abs().mean(0)).item()
        assert table["score"]["gram", n] == pytest.approx(expected)
    assert table["varying"]["gram", 1] == table["score"]["gram", 1]
    errors = table["error"].unstack("draws")
    np.testing.assert_allclose(errors[1] / errors[4], 2)
    variance = every[..., 0, 1].var(0).mean().item()
    signal = every[..., 0, 1].mean(0).square().mean().item() - variance / 4
    assert table["share"]["gram", 1] == pytest.approx(variance / (variance + signal))


def test_one_draw_has_no_error() -> None:
    model = vae(curved, torch.randn(3, 2))
    table, _ = term_scores(model, torch.randn(3, 3), draws=1, shown=2, kept=2, varying=2)
    assert table["draws"].tolist() == [1, 1] and table["error"].isna().all()


# --- what notebooks share ------------------------------------------------------------------------


def frame() -> pd.DataFrame:
    rows = [
        ("diagonal", 1.0, 0, 1.0, 5.0),
        ("diagonal", 1.0, 1, 3.0, 5.0),
        ("diagonal", 0.25, 0, 2.0, np.nan),
        ("diagonal", 0.25, 1, 2.0, 1.0),
        ("full", 1.0, 0, 0.0, 2.0),
        ("full", 1.0, 1, 1.0, 2.0),
        ("full", 0.25, 0, 1.0, 2.0),
        ("full", 0.25, 1, 5.0, 2.0),
    ]
    columns = ["covariance", "beta", "seed", "a", "b"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:3])


def test_contrast_is_paired_by_seed() -> None:
    assert contrast(frame()["a"]) == [1.0, -0.5]


def test_means_are_recorded_where_all_runs_have_them(tmp_path: Path) -> None:
    results = Results("fig99", "quick", str(tmp_path), {})
    record_means(results, frame(), ["covariance", "beta"], {"a": "a", "b": "named"})
    assert results.content["values"] == {
        "a_diagonal_1": 2.0,
        "a_diagonal_0_25": 2.0,
        "a_full_1": 0.5,
        "a_full_0_25": 3.0,
        "named_diagonal_1": 5.0,
        "named_full_1": 2.0,
        "named_full_0_25": 2.0,
    }


def test_matrices_are_averaged_in_the_order_of_activity() -> None:
    first = run(arrays={"activity": np.array([1.0, 2.0]), "gram": np.array([[1.0, 5], [5, 2]])})
    second = run(arrays={"activity": np.array([2.0, 1.0]), "gram": np.array([[4.0, 1], [1, 3]])})
    assert ordered_mean([first, second], "gram").tolist() == [[3, 3], [3, 2]]
    assert ordered_mean([first, second], "gram", 1).tolist() == [[3]]


def test_verdicts_are_those_of_the_claims(tmp_path: Path) -> None:
    results = Results("fig99", "quick", str(tmp_path), {})
    long = "A claim of more letters than a table of pandas shows unless it is told to."
    results.claim("some", long, [-1.0, -1.0, -2.0], -1e-8, above=False)
    results.claim("none", "Nothing.", [], 0.0)
    shown = verdicts(results)
    assert shown.iloc[0].tolist() == [
        long, "−1.33", "−2.77 to 0.101", "<\N{NO-BREAK SPACE}−1e−08", 3, "not supported"
    ]  # fmt: skip
    assert shown.iloc[1]["value"] == "" and long in shown.to_html()
