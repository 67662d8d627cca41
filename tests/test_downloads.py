"""What can be taken away below a figure."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from seams.book.contents import Book, read
from seams.book.evidence import data_files, figure

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    return read(tmp_path_factory.mktemp("none"), ROOT / "record", "quick", ROOT / "book")


def test_the_runs_behind_a_figure_are_a_table(book: Book) -> None:
    result = book.results["fig05", "desk"]
    files = data_files(book, result)
    rows = list(csv.DictReader(io.StringIO(files["results/fig05-desk-runs.csv"].decode())))
    assert len(rows) == result.numbers["runs"]["count"]
    group = ("diagonal", 1.0, result.numbers["parameters"]["resolution"])
    keys = [(row["covariance"], float(row["beta"]), int(row["resolution"])) for row in rows]
    near = [row for row, key in zip(rows, keys, strict=True) if key == group]
    mean = sum(float(row["mig"]) for row in near) / len(near)
    assert mean == pytest.approx(result.numbers["values"]["near_mig_diagonal"], abs=1e-5)


def test_runs_that_are_not_at_hand_are_not_offered(book: Book) -> None:
    result = book.results["fig05", "desk"]
    for changed in ({"images": 7}, {"unknown": 1}):
        parameters = result.numbers["parameters"] | changed
        other = replace(result, numbers=result.numbers | {"parameters": parameters})
        offered = "results/fig05-desk-runs.csv" in data_files(book, other)
        assert offered == ("unknown" in changed)  # a figure takes what it does not know


def test_a_figure_offers_its_drawing_and_says_where_it_comes_from(book: Book) -> None:
    shown = figure(book, "fig05", lambda text, _: text)
    assert "{download}`figure (SVG) <results/fig05-desk-figure.svg>`" in shown
    assert "{download}`runs (CSV) <results/fig05-desk-runs.csv>`" in shown
    commit = book.results["fig05", "desk"].numbers["environment"]["commit"][:12]
    assert f"by {commit})`" in shown and "{abbr}`Where from (trained on" in shown
