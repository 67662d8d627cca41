import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from seams.metrics import bootstrap_interval
from seams.paper.results import Results, mean_with_interval
from seams.training import Run, TrainConfig


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results("fig99", "quick", str(tmp_path / "out"), {"betas": [1.0]})


def written(results: Results) -> dict:
    return json.loads(results.write().read_text())


def run(seed: int, seconds: float = 2.0, device: str = "cpu") -> Run:
    found = Run(TrainConfig(images=100, batch=64, seed=seed), Path("nowhere"))
    vars(found)["provenance"] = {"device": device, "seconds": seconds}
    return found


def test_numbers_say_what_ran(results: Results) -> None:
    content = written(results)
    assert content["name"] == "fig99" and content["profile"] == "quick"
    assert content["parameters"] == {"betas": [1.0]}
    assert content["environment"]["torch"] == torch.__version__
    assert content["runs"] == {"count": 0, "trained_images": 0, "seconds": 0.0, "device": "none"}


def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAMS_ROOT", str(tmp_path))
    path = Results("fig99", "quick", "", {}).write()
    assert path == tmp_path / "results" / "notebook" / "fig99" / "numbers.json"


def test_figures_are_saved_for_the_book_and_for_a_paper(results: Results) -> None:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    results.figure(figure)
    results.figure(figure, "other")
    assert {path.name for path in results.folder.iterdir()} == {
        "figure.svg",
        "figure.pdf",
        "other.svg",
        "other.pdf",
    }
    assert (results.folder / "figure.svg").read_text().startswith("<?xml")
    assert (results.folder / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_a_figure_is_laid_out_once_and_closed(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Figure] = []
    layout = ConstrainedLayoutEngine.execute
    monkeypatch.setattr(
        ConstrainedLayoutEngine, "execute", lambda self, f: done.append(f) or layout(self, f)
    )
    figure, ax = plt.subplots(layout="constrained")
    figure.colorbar(ax.imshow([[0, 1]]))  # its layout cannot be dropped, only frozen
    results.figure(figure)
    assert done == [figure]
    assert not plt.fignum_exists(figure.number)


def test_a_notebook_shows_what_was_saved(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, str]] = []
    shell = SimpleNamespace(display_pub=SimpleNamespace(publish=shown.append))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    results.figure(figure, "other")
    saved = (results.folder / "other.svg").read_text()
    assert shown == [{"image/svg+xml": saved, "text/plain": "other.svg"}]


# --- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.123456789, 0.123457),
        (123456789.0, 123457000.0),
        (1e-9 / 3, 3.33333e-10),
        (np.float32(0.1), 0.1),
        (torch.tensor(0.5), 0.5),
        (1234567, 1234567),
        (np.int64(1234567), 1234567),
        (True, True),
        ("text", "text"),
    ],
)
def test_values_keep_six_digits_and_counts_all(
    results: Results, value: object, expected: object
) -> None:
    results.value("x", value)
    found = written(results)["values"]["x"]
    assert found == expected and type(found) is type(expected)


def test_values_have_names_of_their_own(results: Results) -> None:
    results.value("x", 1.0)
    with pytest.raises(ValueError, match="The value 'x' is recorded twice; name one of them"):
        results.value("x", 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_undefined_values_are_refused(results: Results, value: float) -> None:
    with pytest.raises(ValueError, match=r"The value 'x' must be finite; got .*\. Leave it out\."):
        results.value("x", value)
    assert written(results)["values"] == {}


# --- claims ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "above", "verdict"),
    [
        ([1.1, 1.2, 1.3], True, "supported"),
        ([1.1, 1.2, 1.3], False, "not supported"),
        ([0.7, 0.8, 0.9], True, "not supported"),
        ([0.7, 0.8, 0.9], False, "supported"),
        ([0.5, 1.0, 2.0], True, "not supported"),  # the interval holds the threshold
        ([0.5, 1.0, 2.0], False, "not supported"),
        ([1.0, 1.0, 1.0], True, "not supported"),  # on it is not beyond it
        ([1.2], True, "not testable at this scale"),
        ([], True, "not testable at this scale"),
        ([1.2, math.nan], True, "not testable at this scale"),
        ([1.1, math.nan, 1.3], True, "supported"),
    ],
)
def test_verdicts(results: Results, values: list[float], above: bool, verdict: str) -> None:
    assert results.claim("c", "It is so.", values, 1.0, above=above) == verdict
    (claim,) = written(results)["claims"]
    assert claim["verdict"] == verdict
    assert claim["n"] == sum(math.isfinite(v) for v in values)


def test_a_claim_states_all_that_its_verdict_rests_on(results: Results) -> None:
    values = [0.1234567, 0.2, 0.4]
    results.claim("mig", "It rises.", values, -0.05, unit="nats", note="Mean over beta.")
    (claim,) = written(results)["claims"]
    mean, low, high = mean_with_interval(values)
    assert claim == {
        "id": "mig",
        "statement": "It rises.",
        "value": pytest.approx(mean, rel=1e-5),
        "uncertainty": [pytest.approx(low, rel=1e-5), pytest.approx(high, rel=1e-5)],
        "n": 3,
        "unit": "nats",
        "tolerance": "> -0.05",
        "verdict": "supported",
        "note": "Mean over beta.",
    }
    results.claim("below", "It falls.", values, 0.5, above=False)
    assert written(results)["claims"][1]["tolerance"] == "< 0.5"


def test_nothing_is_claimed_where_nothing_is_defined(results: Results) -> None:
    results.claim("c", "It is so.", [math.nan], 1.0)
    (claim,) = written(results)["claims"]
    assert claim["value"] is None and claim["uncertainty"] == [None, None]


def test_the_smoke_profile_gives_no_verdicts(tmp_path: Path) -> None:
    results = Results("fig99", "smoke", str(tmp_path), {})
    assert results.claim("c", "It is so.", [2.0, 3.0], 1.0) == "not testable at this scale"


def test_claims_have_ids_of_their_own(results: Results) -> None:
    results.claim("c", "It is so.", [2.0, 3.0], 1.0)
    with pytest.raises(ValueError, match="The claim 'c' is recorded twice; name one of them"):
        results.claim("c", "It is otherwise.", [2.0, 3.0], 1.0)


@pytest.mark.parametrize("values", [[0.3, 0.5], [1.0, 2.0, 4.0]])
def test_interval_is_that_of_the_bootstrap(values: Sequence[float]) -> None:
    mean, low, high = mean_with_interval(values)
    sample = torch.tensor(values)[:, None]
    expected = bootstrap_interval(sample, generator=torch.Generator().manual_seed(0))
    assert mean == pytest.approx(np.mean(values))
    assert (low, high) == tuple(map(float, expected))
    assert low < mean < high
    assert mean_with_interval(values) == (mean, low, high), "the same each time"


def test_one_value_has_no_interval() -> None:
    assert mean_with_interval([0.3]) == (0.3, 0.3, 0.3)


def test_an_undefined_value_leaves_the_mean_undefined() -> None:
    assert all(math.isnan(v) for v in mean_with_interval([0.3, math.nan, 0.4]))


# --- runs --------------------------------------------------------------------------------------


def test_runs_are_counted_once(results: Results) -> None:
    results.runs([run(0), run(1, seconds=0.54), run(0)])
    assert written(results)["runs"] == {
        "count": 2,
        "trained_images": 2 * 128,  # whole batches
        "seconds": 2.5,
        "device": "cpu",
    }
    results.runs([run(2, device="GPU of tomorrow")])
    known = written(results)["runs"]
    assert known["count"] == 3 and known["device"] == "GPU of tomorrow, cpu"


def test_numbers_are_the_same_each_time(results: Results) -> None:
    results.value("b", 1.0)
    results.value("a", 2.0)
    text = results.write().read_text()
    assert text == results.write().read_text()
    assert text.endswith("}\n") and text.index('"a"') < text.index('"b"')


def test_an_end_on_the_threshold_does_not_pass_by_a_rounding_error(tmp_path: Path) -> None:
    results = Results("x", "quick", str(tmp_path), {})
    shares = [0.8, 0.8, 0.8, 1.0, 1.0]
    _, low, _ = mean_with_interval(shares)
    assert 0.8 < low < 0.8 + 1e-12
    assert results.claim("above", "", shares, 0.8) == "not supported"
    assert results.claim("below", "", [1 - v for v in shares], 0.2, above=False) == "not supported"


def test_a_notebook_names_its_parameters_by_annotating_them(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {}
    exec("profile: str = 'quick'\noutput: str = ''\nbetas: list[float] = [1.0]", namespace)
    exec("betas = [2.5]\nelse_ = 3", namespace)  # as papermill injects them
    namespace["output"] = str(tmp_path / "fig05")
    results = Results.of("fig05", namespace)
    assert results.parameters == {"betas": [2.5]}
    assert results.content["profile"] == "quick"
    assert results.folder == tmp_path / "fig05"
