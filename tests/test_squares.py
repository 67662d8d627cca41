"""Squares on a grid: what theory expects of them, and the claims."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seams.paper import squares
from seams.paper.results import Results


def test_without_overlap_all_eigenvalues_are_alike_and_order_is_worth_nothing() -> None:
    found = squares.spectrum("xy_square-8-8", 64, 1.0)
    np.testing.assert_allclose(found[:63], 1.0)
    np.testing.assert_allclose(found[63:], 0.0, atol=1e-9)
    assert squares.worth_of_order("xy_square-8-8", 8, 0.125, 0.5, draws=2) == pytest.approx(0)


def test_eigenvalues_are_those_of_what_neighbours_share() -> None:
    """At six pixels of eight, products of 8 + 4 cos(k pi / 9): the two slow waves lead."""
    along = 8 + 4 * np.cos(np.arange(1, 9) * np.pi / 9)
    found = squares.spectrum("xy_square-6-8", 64, 1.0)
    assert found[:2] == pytest.approx(along[0] * along[1] / 64)  # odd ones, which have no mean


def test_order_is_worth_more_the_more_squares_overlap() -> None:
    worth = [squares.worth_of_order(f"xy_square-{s}-4", 32, 0.5, 1.0, draws=4) for s in (2, 4)]
    assert worth[0] > worth[1] > 0


def test_chance_is_lower_where_there_is_more_to_guess() -> None:
    few, many = (squares.chance_order(lines, draws=50) for lines in (2, 8))
    assert 0.1 < many < few < 0.3


def table(full: float) -> pd.DataFrame:
    """Runs that do as theory says but for those with full posteriors."""
    rows = [
        {
            "dataset": f"xy_square-{spacing}-{lines}",
            "resolution": 64,
            "sigma": 1.0,
            "covariance": kind,
            "beta": beta,
            "seed": seed,
            "mcc": (0.95 if spacing == 2 else 0.5 if spacing == 4 else 0.13) + seed / 1e3,
            "rate": 0.0 if spacing == 8 and beta == 2.0 else 3.0,
        }
        for lines in (8, 4)
        for kind in ("diagonal", "full")
        for beta in (0.5, 2.0)
        for spacing in (2, 4, 8)
        for seed in range(4)
        if beta == 0.5 or (lines, kind) == (8, "diagonal")
    ]
    found = squares.with_places(pd.DataFrame(rows))
    turned = (found["covariance"] == "full") & (found["lines"] == 4)
    return found.assign(mcc=found["mcc"] - full * turned * (1 + found["seed"] / 10))


@pytest.mark.parametrize(("full", "verdict"), [(0.2, "supported"), (0.0, "not supported")])
def test_claims(tmp_path: Path, full: float, verdict: str) -> None:
    rows = table(full)
    assert rows[rows["spacing"] == 8]["above"].min() == pytest.approx(0.5)
    results = Results("squares", "quick", str(tmp_path), {})
    squares.claim_squares(results, rows, 0.13)
    found = {claim["id"]: claim for claim in results.content["claims"]}
    assert found["axes"]["verdict"] == found["ranges"]["verdict"] == verdict
    assert found["axes"]["value"] == pytest.approx(1.15 * full)
    assert found["plateau"]["value"] == 1 and found["more_overlap"]["value"] == -1
    for id in ("apart", "overlap", "plateau", "more_overlap"):
        assert found[id]["verdict"] == "supported"
    missed = rows.assign(rate=1.0, mcc=0.6)
    wrong = Results("squares", "quick", str(tmp_path), {})
    squares.claim_squares(wrong, missed, 0.13)
    assert {c["verdict"] for c in wrong.content["claims"]} <= {
        "not supported",
        "not testable at this scale",
    }
