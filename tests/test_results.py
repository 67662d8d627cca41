import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from seams.paper.results import Results, mean_with_interval
from seams.training import Run, TrainConfig


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results("fig99", "quick", str(tmp_path / "out"), {"betas": [1.0]})


def written(results: Results) -> dict:
    return json.loads(results.write().read_text())


def run(seed: int, seconds: float = 2.0, device: str = "cpu") -> Run:
    found = Run(TrainConfig(images=100, batch=64, seed=seed), Path("nowhere"))
    vars(found)["provenance"] = {
        "device": device,
        "seconds": seconds,
        "commit": "0123456789abcdef",
    }
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
        ([1.15, 1.2, 1.25], True, "supported"),
        ([1.15, 1.2, 1.25], False, "not supported"),
        ([0.75, 0.8, 0.85], True, "not supported"),
        ([0.75, 0.8, 0.85], False, "supported"),
        ([0.5, 1.0, 2.0], True, "not supported"),  # the interval holds the threshold
        ([0.5, 1.0, 2.0], False, "not supported"),
        ([1.0, 1.0, 1.0], True, "not supported"),  # on it is not beyond it
        ([1.19, 1.21], True, "supported"),
        ([1.19, 1.21], False, "not supported"),
        ([1.1, 1.2], True, "not testable at this scale"),  # of two, and as wide as it is
        ([1.1, 1.2], False, "not testable at this scale"),
        ([1.2], True, "not testable at this scale"),
        ([], True, "not testable at this scale"),
        ([1.2, math.nan], True, "not testable at this scale"),
        ([1.19, math.nan, 1.21], True, "supported"),
    ],
)
def test_verdicts(results: Results, values: list[float], above: bool, verdict: str) -> None:
    assert results.claim("c", "It is so.", values, 1.0, above=above) == verdict
    (claim,) = written(results)["claims"]
    assert claim["verdict"] == verdict
    assert claim["n"] == sum(math.isfinite(v) for v in values)


def test_a_claim_states_all_that_its_verdict_rests_on(results: Results) -> None:
    values = [0.1234567, 0.2, 0.25]
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


@pytest.mark.parametrize(
    ("values", "quantile"),  # of Student's t, from a printed table
    [([0.3, 0.5], 12.706), ([1.0, 2.0, 4.0], 4.303), ([3.0, 1.0, 2.0, 2.0, 5.0], 2.776)],
)
def test_interval_is_that_of_students_t(values: list[float], quantile: float) -> None:
    mean, low, high = mean_with_interval(values)
    half = quantile * np.std(values, ddof=1) / math.sqrt(len(values))
    assert mean == pytest.approx(np.mean(values))
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=1e-3)


def test_interval_holds_the_mean_in_95_of_100_cases() -> None:
    draws = np.random.default_rng(0).normal(1.0, 2.0, (2000, 3))
    held = [low < 1.0 < high for _, low, high in map(mean_with_interval, draws.tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 2000))


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
        "commits": ["0123456789ab"],
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
    shares = [0.1 + 0.2] * 3
    _, low, _ = mean_with_interval(shares)
    assert 0.3 < low < 0.3 + 1e-12
    assert results.claim("above", "", shares, 0.3) == "not supported"
    less = [0.3 - 1e-16] * 3
    assert results.claim("below", "", less, 0.3, above=False) == "not supported"


def test_a_notebook_names_its_parameters_by_annotating_them(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {}
    exec("profile: str = 'quick'\noutput: str = ''\nbetas: list[float] = [1.0]", namespace)
    exec("betas = [2.5]\nelse_ = 3", namespace)  # as papermill injects them
    namespace["output"] = str(tmp_path / "fig05")
    results = Results.of("fig05", namespace)
    assert results.parameters == {"betas": [2.5]}
    assert results.content["profile"] == "quick"
    assert results.folder == tmp_path / "fig05"


@pytest.mark.parametrize(
    ("injected", "message"),
    [
        ("betass = [2.5]", r"fig05 has no parameter 'betass'\. Did you mean 'betas'\?"),
        (
            'betas = "[1, 4]"',
            r"`betas` must be a list of float, such as betas=\[\]; got '\[1, 4\]'",
        ),
        ("seeds = 2.5", r"`seeds` must be int, such as 0; got 2\.5"),
    ],
)
def test_what_papermill_injects_is_checked(tmp_path: Path, injected: str, message: str) -> None:
    namespace: dict[str, Any] = {}
    exec("profile: str = 'quick'\noutput: str = ''\nbetas: list[float] = [1.0]", namespace)
    exec(f"seeds: int = 3\n{injected}\nout = 1", namespace)
    namespace["In"] = ["", "profile: str = ...", f"# Parameters\n{injected}\n", "out = 1"]
    with pytest.raises(ValueError, match=message):
        Results.of("fig05", namespace)


def test_a_whole_number_is_a_float_where_one_is_due(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {}
    exec("profile: str = 'quick'\noutput: str = ''\nbetas: list[float] = [1.0]", namespace)
    namespace |= {"output": str(tmp_path), "betas": [1, 4], "In": ["# Parameters\nbetas = [1, 4]"]}
    (first, second) = Results.of("fig05", namespace).parameters["betas"]
    assert (type(first), first, second) == (float, 1.0, 4.0)


def test_a_difference_of_groups_has_welchs_interval(tmp_path: Path) -> None:
    """Groups of 3 and 2 runs, one undefined left out; a single run bounds nothing."""
    results = Results("fig05", "desk", str(tmp_path / "out"), {})
    diagonal, full = [0.215, 0.172, 0.171, math.nan], [0.008, 0.029]
    assert results.claim("mig", "More.", diagonal, 0.0, minus=full) == "supported"
    claim = results.content["claims"][-1]
    assert claim["n"] == 2 and claim["value"] == pytest.approx(0.1675)
    low, high = claim["uncertainty"]
    assert low == pytest.approx(0.110503, abs=1e-6) and low + high == pytest.approx(2 * 0.1675)
    assert results.claim("reversed", "Less.", full, 0.0, minus=diagonal) == "not supported"
    for id, one, other in (("one", diagonal, full[:1]), ("none", diagonal, [])):
        assert results.claim(id, "More.", one, 0.0, minus=other) == "not testable at this scale"
