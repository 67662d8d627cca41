"""The registry of the paper's statements: whole, reachable, and read from results alone."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from seams.book import tables
from seams.cli import main
from seams.paper import findings as claims
from seams.paper.checks import CHECKS
from seams.paper.figures import FIGURES
from seams.paper.reading import PROFILES, Result, read_results
from seams.paper.statements import DEFINITIONS, OURS, STATEMENTS

ROOT = Path(__file__).parents[1]
NOTEBOOKS = {path.stem.partition("_")[0] for path in (ROOT / "notebooks").glob("*.ipynb")}
NUMBERED = r"\b((?:prop|lem|thm|cor|rem|def)-[A-Z]?[\d.]*\d|eq-\d+)\b"


def result(name: str, profile: str = "quick", **verdicts: str) -> Result:
    found = [
        {"id": id, "statement": f"Of {id}.", "value": 0.25, "uncertainty": [0.2, 0.3], "n": 3,
         "unit": "", "tolerance": "> 0.1", "verdict": verdict.replace("_", " "), "note": ""}
        for id, verdict in verdicts.items()
    ]  # fmt: skip
    return Result(name, profile, Path(), {"claims": found}, (), None)


def results(*found: Result) -> dict[tuple[str, str], Result]:
    return {(r.name, r.profile): r for r in found}


def finding(id: str, *found: Result, profile: str = "quick") -> claims.Finding:
    (one,) = (f for f in claims.find(results(*found), profile) if f.statement.id == id)
    return one


# --- the registry -------------------------------------------------------------------------------


def test_every_numbered_statement_of_the_theory_has_a_row() -> None:
    text = (ROOT / "book" / "theory.md").read_text()
    labels = set(re.findall(rf"(?::label: |\$\$ \(){NUMBERED}", text))
    assert len(labels) > 20
    rows = [label for row in STATEMENTS for label in row.labels]
    assert labels == {*rows, *DEFINITIONS}


def test_every_numbered_statement_of_the_paper_has_a_row() -> None:
    names = {row.name for row in STATEMENTS}
    wanted = {f"Figure {k}" for k in range(1, 12)} | {f"Equation {k}" for k in (3, 4, 6)}
    wanted |= {f"Lemma {k}" for k in ("4.1", "C.1", "5.1", "6.3", "6.4")} | {"Property P1"}
    wanted |= {"Theorem 5.2, if", "Theorem 5.2, only if", "Theorem 6.5"}
    wanted |= {"Corollary 6.1", "Corollary 6.7"} | {f"Remark 6.{k}" for k in (2, 6, 8)}
    wanted |= {"Appendix B, noise", "Appendix B, collapse", "Appendix E"}
    assert names == wanted | {
        "Appendix H, first",
        "Appendix H, second",
        "Appendix H, third",
        "Figure 9, suspicion",
        "Ours, not the paper's",
    }
    ids = [row.id for row in claims.ROWS]
    assert len(set(ids)) == len(ids)


def test_rows_name_notebooks_that_exist_or_are_being_written() -> None:
    named = {name for row in claims.ROWS for name in row.notebooks}
    assert named <= NOTEBOOKS
    assert named >= NOTEBOOKS, "say in the entry of its figure what the new notebook claims"


def test_no_claim_is_without_a_row() -> None:
    found = read_results(ROOT / "results", ROOT / "record")
    assert {name for name, _ in found} >= NOTEBOOKS, "the record lacks a figure"
    assert claims.orphans(found) == []
    named = {t[7:] for row in STATEMENTS for t in row.tests if t.startswith("claims:")}
    assert named == {check.id for check in CHECKS}


def test_a_claim_without_a_row_is_found() -> None:
    stray = result("fig04", thm_5_2_if="supported", stray="supported")
    other = result("fig99", mig="supported")
    assert claims.orphans(results(stray, other, result("fig05", new="supported"))) == ["fig99:mig"]
    only = results(result("eq06", gram="supported", stray="supported"))
    assert claims.orphans(only) == ["eq06:stray"]


def test_a_notebook_that_no_statement_names_has_a_row_from_its_figure() -> None:
    found = finding("gap", result("gap", squares="supported", plane="not_supported"))
    assert (found.statement.name, found.verdict, found.count) == (OURS, "in part", "1 of 2")
    assert found.statement.says == FIGURES["gap"].says
    whole = {test for row in STATEMENTS for test in row.tests}
    assert not whole & {row.id for row in claims.ROWS[len(STATEMENTS) :]}


# --- verdicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "verdict", "count"),
    [
        ({}, "not run", ""),
        ({"a": "supported", "b": "supported"}, "supported", "2 of 2"),
        ({"a": "not_supported", "b": "not_supported"}, "not supported", "0 of 2"),
        ({"a": "supported", "b": "not_supported"}, "in part", "1 of 2"),
        (
            {"a": "supported", "b": "not_testable_at_this_scale"},
            "in part",
            "1 of 1, 1 not testable",
        ),
        (
            {"a": "not_supported", "b": "not_testable_at_this_scale"},
            "not supported",
            "0 of 1, 1 not testable",
        ),
        ({"a": "not_testable_at_this_scale"}, "not testable at this scale", ""),
    ],
)
def test_one_failing_claim_is_never_lost(
    verdicts: dict[str, str], verdict: str, count: str
) -> None:
    found = finding("fig-5", result("fig05", **verdicts))
    assert (found.verdict, found.count) == (verdict, count)


def test_a_row_takes_its_own_claims_alone() -> None:
    found = finding("eq-6", result("eq06", closes_full="supported", p1="not_supported"))
    assert [claim["id"] for _, _, claim in found.claims] == ["closes_full"]
    found = finding("p1", result("eq06", closes_full="supported", p1="not_supported"))
    assert (found.verdict, found.missing) == ("not supported", ())
    found = finding("terms", result("eq06", sum="supported", p1="not_supported"))
    assert (found.verdict, found.missing) == ("supported", ("fig05",))


def test_the_record_counts_where_the_profile_has_nothing() -> None:
    quick = result("fig05", mig="not_supported")
    desk, paper = (result("fig05", p, mig="supported") for p in ("desk", "paper"))
    assert finding("fig-5", quick, desk).verdict == "not supported"
    assert finding("fig-5", desk, paper).claims[0][1] == "paper"
    assert finding("fig-5", desk, profile="paper").claims[0][1] == "desk"
    assert finding("fig-5", quick, profile="paper").verdict == "not run"


# --- shown --------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 200])
def test_one_line_a_statement_fits_the_terminal(width: int) -> None:
    lines = claims.printed(claims.find(results(result("fig05", mig="supported")), "quick"), width)
    rows = lines.splitlines()
    assert len(rows) == len(claims.ROWS)
    assert max(map(len, rows)) <= width
    if width > 40:
        row = next(row for row in rows if row.startswith("Figure 5 "))
        assert "supported 1 of 1" in row and " fig05" in row
        assert "(fig06)" in next(row for row in rows if row.startswith("Figure 6 "))
        assert any(row.startswith("Ours: terms ") for row in rows), "each row has its own name"


def shown(found: dict[tuple[str, str], Result], pages: dict[str, str] | None = None) -> str:
    table = tables.statements_table(found, "quick", pages or {})
    return table.replace("\N{NO-BREAK SPACE}", " ")


def test_the_page_shows_value_interval_tolerance_and_n() -> None:
    found = results(result("fig05", mig="supported", aas="not_supported"))
    table = shown(found, {"fig05": "fig05"})
    row = next(row for row in table.split("* - ") if row.startswith("[**Figure 5**]"))
    assert "[in part, 1 of 2]{.verdict .verdict-in-part}" in row
    assert "[fig05](fig05.md)" in row
    assert "[`mig`](#claim-fig05-quick-mig) 0.25 (0.2 to 0.3), our bar \\> 0.1, n = 3\n" in row
    aas = "[`aas`](#claim-fig05-quick-aas) 0.25 (0.2 to 0.3)"
    assert f"{aas}, our bar \\> 0.1, n = 3, *not supported*" in row
    assert "{prf:ref}`Lemma 4.1 <lem-4.1>`" in table and "{eq}`eq-6`" in table
    beside = shown(results(result("fig05", "desk", gram="supported")))
    assert "`fig05:gram` 0.25 (0.2 to 0.3), our bar \\> 0.1, n = 3, desk profile\n" in beside


def test_the_tally_counts_every_row_of_the_paper() -> None:
    said = claims.tally(results(result("fig05", a="supported", b="not_supported")), "quick")
    total = sum(row.name != OURS for row in STATEMENTS)
    assert said.startswith(f"Of {total} statements and figures of the paper: ")
    assert sum(int(n) for n in re.findall(r"[:,] (\d+)", said)) == total
    assert "1 in part" in said
    assert "by runs of" not in said
    said = claims.tally(results(result("fig05", "desk", a="supported")), "paper")
    assert said.endswith("; 1 of them by runs of the profile desk.")


def test_what_the_record_does_not_support_is_listed() -> None:
    recorded = result("fig05", "desk", mig="supported", aas="not_supported")
    own = result("fig06", "quick", points="not_supported")
    table = tables.failing_table(results(recorded, own), {"fig05": "fig05"})
    (row,) = table.split("* - ")[2:]
    assert "  - 0.25 (0.2 to 0.3); our bar \\> 0.1\n  - [fig05](fig05.md)\n" in row
    assert tables.failing_table(results(own), {}) == "There is none in the record."


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one recorded and one fresh result."""
    (tmp_path / "params.yaml").write_text("profile: quick\nprofiles: {quick: {}, smoke: {}}\n")
    monkeypatch.setenv("SEAMS_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    for name, profile, folder in (
        ("fig05", "desk", tmp_path / "record/figures/fig05"),
        ("fig04", "quick", tmp_path / "results/quick/fig04"),
    ):
        folder.mkdir(parents=True)
        content: dict[str, Any] = {"name": name, "profile": profile, "parameters": {}}
        content |= {"values": {}, "runs": {}, "environment": {}}
        content |= {"claims": result(name, mig="supported", lemma_5_1="supported").claims}
        (folder / "numbers.json").write_text(json.dumps(content))
    return tmp_path


def test_command_reads_results_and_the_record(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["claims"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(claims.ROWS) + 2
    assert "supported 2 of 2" in next(line for line in lines if line.startswith("Figure 5 "))
    assert "supported 1 of 1" in next(line for line in lines if line.startswith("Lemma 5.1"))
    assert main(["claims", "--json"]) == 0
    entries = {entry["id"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["fig-5"]["claims"][0] == {
        **result("fig05", mig="supported").claims[0],
        "notebook": "fig05",
        "profile": "desk",
    }
    assert main(["claims", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("```{list-table}")
    assert main(["claims", "--profile", "smoke"]) == 0
    left = sum(row.name != OURS for row in STATEMENTS) - 1
    assert "fig05" in (out := capsys.readouterr().out) and f"{left} not run" in out


def test_command_refuses_what_it_cannot_read(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["claims", "--profile", "full"]) == 2
    assert f"must be one of {', '.join(PROFILES)}; got 'full'" in capsys.readouterr().err
    (project / "record/figures/fig05/numbers.json").write_text('{"claims": []}')
    assert main(["claims"]) == 2
    assert "must hold 'name' as a str" in capsys.readouterr().err
