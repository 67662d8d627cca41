"""The book: what is assembled from pages and results, and what Jupyter Book makes of it."""

import ast
import importlib.util
import json
import re
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from seams import book
from seams.paper.reading import read_results
from seams.training import TrainConfig, run_id

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "book"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 3"><path d="M0,0 4,3"/></svg>'
CLAIM = {
    "id": "mig",
    "statement": "Diagonal posteriors have the higher MIG.",
    "value": 0.0812,
    "uncertainty": [-0.01, 0.13],
    "n": 3,
    "unit": "",
    "tolerance": "> 0",
    "verdict": "supported",
    "note": "All seeds\nagree.",
}

needs_jupyter_book = pytest.mark.skipif(
    importlib.util.find_spec("jupyter_book") is None,
    reason="Jupyter Book is not installed: pip install 'seams[book]'",
)


def notebook(*outputs: dict[str, Any]) -> dict[str, Any]:
    code = {"cell_type": "code", "id": "b", "execution_count": 1, "metadata": {}}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# The notebook"},
            {**code, "source": "print(1)", "outputs": list(outputs)},
        ],
    }


def write_result(root: Path, name: str, profile: str, /, **changes: Any) -> Path:
    """What a notebook leaves, with some of `numbers.json` replaced."""
    folder = root / name
    folder.mkdir(parents=True)
    numbers = {
        "name": name,
        "profile": profile,
        "parameters": {"betas": [0.3, 1.0], "beta": 1.0, "seeds": 3},
        "values": {"mig_diagonal": 0.123456, "images": 1536000, "best": "diagonal"},
        "claims": [CLAIM],
        "runs": {
            "count": 12,
            "trained_images": 1536000,
            "seconds": 341.2,
            "device": "cpu",
            "commits": ["0123456789ab"],
        },
        "environment": {
            "seams": "0.1.0",
            "python": "3.11.9",
            "torch": "2.13.0",
            "platform": "Linux x86_64",
            "cpu": "a processor",
            "cores": 2,
            "device": "cpu",
            "commit": "0123456789abcdef",
            "dirty": True,
        },
    }
    (folder / "numbers.json").write_text(json.dumps(numbers | changes))
    (folder / "figure.svg").write_text(SVG)
    (folder / "notebook.ipynb").write_text(json.dumps(notebook()))
    return folder


def write_pages(folder: Path, figure: str = "", index: str = "") -> Path:
    """The smallest book that has a figure."""
    folder.mkdir()
    (folder / "_config.yml").write_text("title: Small\nexecute: {execute_notebooks: 'off'}\n")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters: [{file: fig05}]\n")
    (folder / "index.md").write_text(f"# Small\n\n{index}\n")
    front = "---\nfigure: fig05\ncaptions: {figure: 'Seeds: {{ fig05.parameters.seeds }}.'}\n---\n"
    (folder / "fig05.md").write_text(f"{front}# Figure 5: sprites\n\n{figure}\n")
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def page_with(tmp_path: Path, text: str, profile: str = "quick") -> str:
    """The small book's figure page, assembled from whatever is in `tmp_path/results`."""
    source = write_pages(tmp_path / "pages", text)
    work = tmp_path / "work"
    book.assemble(tmp_path / "results", work, profile, tmp_path / "record", source=source)
    return (work / "fig05.md").read_text()


# --- quoting a run ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "printed"),
    [
        ("fig05.quick.values.mig_diagonal", "0.123"),
        ("fig05.quick.values.mig_diagonal | .4f", "0.1235"),
        ("fig05.quick.values.mig_diagonal | .1%", "12.3%"),
        ("fig05.quick.values.images", "1,536,000"),
        ("fig05.quick.values.best", "diagonal"),
        ("fig05.quick.parameters.betas", "0.3, 1"),
        ("fig05.quick.runs.count", "12"),
        ("fig05.quick.environment.dirty", "yes"),
        ("fig05.quick.verdicts.mig", "[supported]{.verdict .verdict-supported}"),
        ("fig05.paper.values.mig_diagonal", "[not run]{.pending}"),
    ],
)
def test_a_page_quotes_numbers(tmp_path: Path, results: Path, asked: str, printed: str) -> None:
    write_result(results / "quick", "fig05", "quick")
    assert f"<{printed}>" in page_with(tmp_path, "<{{ " + asked + " }}>")


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (-0.00012345, "−0.000123"),
        (1.11e-16, "0 (10⁻¹⁶)"),
        (2.5e-9, "2.5 · 10⁻⁹"),
        (12345.6, "12,346"),
        (1.5e12, "1.5 · 10¹²"),
        (7, "7"),
        (None, "–"),
        ([0.5, 2], "0.5, 2"),
    ],
)
def test_numbers_are_set_for_reading(
    tmp_path: Path, results: Path, value: Any, printed: str
) -> None:
    write_result(results / "quick", "fig05", "quick", values={"x": value})
    assert f"<{printed}>" in page_with(tmp_path, "<{{ fig05.quick.values.x }}>")


def test_a_page_names_only_tests_that_exist(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_vae.py").touch()
    text = page_with(tmp_path, "<{{ test.vae }}> <{{ test.train }}>")
    assert "<`tests/test_vae.py`> <none yet>" in text


def test_a_page_quotes_benchmarks(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    (folder / "speed.json").write_text('{"ratio": {"by rows/all": 68.04}}')
    text = page_with(
        tmp_path,
        "<{{ benchmark.speed | ratio > by rows/all }}> <{{ benchmark.other | ratio }}>",
    )
    assert "<68> <[not run]{.pending}>" in text


def test_a_page_asks_for_what_a_benchmark_has(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    (folder / "speed.json").write_text('{"ratio": 68.04}')
    with pytest.raises(ValueError, match=r"speed.json has no 'ratios', which fig05.*ratio"):
        page_with(tmp_path, "{{ benchmark.speed | ratios }}")


def test_front_matter_and_substitutions_do_not_reach_the_page(tmp_path: Path) -> None:
    text = page_with(tmp_path, "{{ fig05.evidence }} {{fig05.values.x}} {{ fig05.rerun | a=1 }}")
    assert text.startswith("# Figure 5: sprites\n")
    assert "{{" not in text


# --- the evidence of a figure -------------------------------------------------------------------


def test_evidence_says_what_was_found_and_on_what(tmp_path: Path, results: Path) -> None:
    folder = write_result(results / "quick", "fig05", "quick")
    (folder / "along_training.png").write_bytes(b"\x89PNG\r\n\x1a\n...")
    (folder / "figure.png").write_bytes(b"\x89PNG\r\n\x1a\n...")
    text = page_with(tmp_path, "{{ fig05.evidence }}")
    record, this = text.split("{tab-item} Your own run: quick profile")
    assert "{tab-item} Run of record: paper profile" in record
    assert "seams run fig05 --profile paper" in record and "Not run yet" in record
    assert "Not run yet" not in this

    assert ":::{figure} results/fig05-quick-figure.svg\n:name: fig05-quick-figure\n" in this
    assert "\nSeeds: 3.\n:::" in this
    assert ":name: fig05-quick-along-training\n" in this and "\nAlong training.\n:::" in this
    assert "figure.png" not in this
    copied = {path.name for path in (tmp_path / "work" / "results").iterdir()}
    shown = {"fig05-quick-figure.svg", "fig05-quick-along_training.png"}
    assert copied == shown | {"fig05-quick-claims.csv", "fig05-quick-numbers.csv"}

    assert f"{CLAIM['statement']} [mig]{{#claim-fig05-quick-mig .claim-id}}" in this
    flat = " ".join(this.split())
    assert (
        "- [supported]{.verdict .verdict-supported} 0.0812 (95 % interval −0.01 to 0.13)" in flat
    )
    assert "our bar \\> 0; n = 3" in flat
    assert ":::{div} claim-note All seeds agree. :::" in flat
    for row in (
        "Command\n  - `seams run fig05 --profile quick`",
        "Runs\n  - 12",
        "Training samples seen\n  - 1,536,000",
        "Training time\n  - 5 min 41 s",
        "Drawn on\n  - a processor, 2 cores",
        "Trained by\n  - `0123456789ab`",
        "Drawn by\n  - `seams` 0.1.0, commit `0123456789ab`, with uncommitted changes",
    ):
        assert row in this
    assert "All 3 numbers of this run" in this


def test_the_figure_comes_first_once_and_its_data_with_it(tmp_path: Path, results: Path) -> None:
    figures = tmp_path / "record" / "figures"
    drawn = write_result(figures, "fig05", "desk", values={"a": 1e-9, "b": "one, two"})
    (drawn / "figure.pdf").write_bytes(b"%PDF")
    write_result(results / "quick", "fig05", "quick")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "fig05_beta_sweep.ipynb").write_text("{}")
    text = page_with(tmp_path, "{{ fig05.figure }}\n\n{{ fig05.evidence }}")
    first, rest = text.split("{tab-set}")
    assert first.count("{figure}") == 1 and ":target: _images/fig05-desk-figure.svg" in first
    assert ':alt: "Seeds: 3"\n' in first
    assert "`seams run fig05 --profile desk`, 12 runs, 5 min 41 s of training" in first
    assert "fig05-desk-figure.svg" not in rest and "fig05-quick-figure.svg" in rest
    for name in re.findall(r"\{download\}`[^<]*<([^>]*)>`", text):
        assert (tmp_path / "work" / name).is_file(), name
    csv = (tmp_path / "work" / "results" / "fig05-desk-numbers.csv").read_text()
    assert csv == 'name,value\na,1e-09\nb,"one, two"\n'
    claims = (tmp_path / "work" / "results" / "fig05-desk-claims.csv").read_text().splitlines()
    assert claims[1].endswith("supported,0.0812,-0.01,0.13,3,,> 0")


@pytest.mark.parametrize(
    ("verdict", "style"),
    [("not supported", "not-supported"), ("not testable at this scale", "not-testable")],
)
def test_a_failing_claim_is_shown_as_failing(
    tmp_path: Path, results: Path, verdict: str, style: str
) -> None:
    claim = {**CLAIM, "verdict": verdict, "uncertainty": 0.02, "note": "", "unit": "nats"}
    write_result(results / "quick", "fig05", "quick", claims=[claim])
    text = page_with(tmp_path, "{{ fig05.evidence }}")
    assert f"- [{verdict}]{{.verdict .verdict-{style}}}" in text
    assert "verdict-supported" not in text
    assert "0.0812 ± 0.02 nats" in text


def test_smoke_results_are_not_passed_off_as_evidence(tmp_path: Path, results: Path) -> None:
    write_result(results / "smoke", "fig05", "smoke")
    quick = page_with(tmp_path, "{{ fig05.evidence }}{{ fig05.quick.values.images }}")
    assert "[not run]" in quick and "smoke" not in quick and "claim-supported" not in quick
    write_pages(tmp_path / "again", "{{ fig05.evidence }}")
    book.assemble(results, tmp_path / "w", "smoke", tmp_path / "r", source=tmp_path / "again")
    assert "read no verdict below as one" in (tmp_path / "w" / "fig05.md").read_text()


def test_what_short_runs_do_not_define_is_said(tmp_path: Path, results: Path) -> None:
    """A score may be undefined for hardly trained models, so that their notebook leaves it out."""
    for profile in ("smoke", "quick"):
        write_result(results / profile, "fig05", profile, values={"x": 1})
    page = "<{{ fig05.smoke.values.x }}><{{ fig05.smoke.values.y }}>"
    source = write_pages(tmp_path / "pages", page)
    book.assemble(results, tmp_path / "w", "smoke", tmp_path / "r", source=source)
    assert "<1><[not defined]{.pending}>" in (tmp_path / "w" / "fig05.md").read_text()
    source = write_pages(tmp_path / "others", page.replace("smoke", "quick"))
    with pytest.raises(ValueError, match=r"only quote what its notebook wrote; .* values\.y"):
        book.assemble(results, tmp_path / "w", "quick", tmp_path / "r", source=source)


def test_run_of_record_stands_in_for_a_missing_paper_profile(
    tmp_path: Path, results: Path
) -> None:
    write_result(tmp_path / "record" / "figures", "fig05", "paper", values={"x": 1})
    assert "<1>" in page_with(tmp_path, "<{{ fig05.paper.values.x }}>")
    write_result(results / "paper", "fig05", "paper", values={"x": 2})
    found = read_results(results, tmp_path / "record")
    assert found["fig05", "paper"].numbers["values"] == {"x": 2}


def test_desk_record_stands_where_there_is_no_better_one(tmp_path: Path, results: Path) -> None:
    figures = tmp_path / "record" / "figures"
    write_result(figures, "fig05", "desk", values={"x": 1}, claims=[CLAIM])
    write_result(results / "quick", "fig05", "quick")
    page = "{{ fig05.evidence }}\n{{ tally }}"
    source = write_pages(tmp_path / "pages", page, index="{{ claims }}")
    for profile in ("quick", "desk"):
        book.assemble(results, tmp_path / "work", profile, figures.parent, source=source)
        assert "Run of record: desk profile" in (tmp_path / "work" / "fig05.md").read_text()
        assert "Run of record (desk)" in (tmp_path / "work" / "index.md").read_text()
        text = (tmp_path / "work" / "fig05.md").read_text()
        assert "In the run of record (desk profile), of " in text
        assert "1 supported, 34 not run" in text
    write_result(results / "paper", "fig05", "paper")
    book.assemble(results, tmp_path / "work", "quick", figures.parent, source=source)
    text = (tmp_path / "work" / "fig05.md").read_text()
    assert "Run of record: paper profile" in text and "desk" not in text


def test_the_record_is_listed(tmp_path: Path, results: Path) -> None:
    assert page_with(tmp_path, "{{ record }}").endswith("There is no run of record yet.\n")
    base = TrainConfig(network="mlp", beta=0.5)
    for config in (
        base,
        replace(base, seed=1),
        replace(base, beta_start=1.0),
        replace(base, dataset="blobs-1", resolution=8),
        replace(base, dataset="blobs-1.5", resolution=8),
        replace(base, dataset="rolled-1.5", resolution=1),
    ):
        folder = tmp_path / "record" / "runs" / run_id(config)
        folder.mkdir(parents=True)
        values = {item.name: config[item.name] for item in fields(config)}
        (folder / "config.json").write_text(json.dumps(values))
        origin = {
            "seconds": 60.0,
            "device": "cpu",
            "threads": 1,
            "cpu": "Z80",
            "commit": "f00d" * 9,
        }
        (folder / "provenance.json").write_text(json.dumps(origin))
    source = write_pages(tmp_path / "listed", "{{ record }}")
    book.assemble(results, tmp_path / "w", "quick", tmp_path / "record", source=source)
    text = (tmp_path / "w" / "fig05.md").read_text()
    assert "6 runs, 6 min 0 s of training." in text
    text = " ".join(text.split())
    for row in (
        "`dsprites` 64 × 64 - mlp, diagonal - 0.5, 1 to 0.5 - 3 - 512,000 - 3 min 0 s",
        "`blobs`, 2 sets 8 × 8 - mlp, diagonal - 0.5 - 2 - 512,000 - 2 min 0 s",
        "`rolled-1.5` - mlp, diagonal - 0.5 - 1 - 512,000 - 1 min 0 s - 1 thread of Z80",
    ):
        assert row in text
    assert text.count("`f00df00`") == 6


OWN = "\u00a0[quick profile]{.of-profile}"


@pytest.mark.parametrize(
    ("asked", "printed"),
    [
        ("fig05.values.mig_diagonal | .4f", "0.1235"),
        ("fig05.parameters.seeds", "3"),
        ("fig05.verdicts.mig", "[supported]{.verdict .verdict-supported}"),
        ("fig05.values.newer | .1f", f"−1.0{OWN}"),
        ("fig05.verdicts.aas", f"[not supported]{{.verdict .verdict-not-supported}}{OWN}"),
        ("fig05.quick.values.mig_diagonal", "9"),
        ("fig05.quick.values.images", "[not run]{.pending}"),
        ("fig05.paper.values.images", "[not run]{.pending}"),
        ("fig05.desk.values.images", "1,536,000"),
    ],
)
def test_prose_argues_from_the_record_and_says_where_it_does_not(
    tmp_path: Path, results: Path, asked: str, printed: str
) -> None:
    write_result(tmp_path / "record" / "figures", "fig05", "desk")
    if asked != "fig05.quick.values.images":
        aas = {**CLAIM, "id": "aas", "verdict": "not supported"}
        values = {"mig_diagonal": 9.0, "newer": -1.0}
        write_result(results / "quick", "fig05", "quick", values=values, claims=[aas])
    assert f"<{printed}>" in page_with(tmp_path, "<{{ " + asked + " }}>")


def test_without_a_record_a_number_names_its_profile(tmp_path: Path, results: Path) -> None:
    write_result(results / "quick", "fig05", "quick")
    text = page_with(tmp_path, "<{{ fig05.values.mig_diagonal | .1f }}> {{ tally }}")
    assert f"<0.1{OWN}>" in text and "In your own run (quick profile), of " in text


def test_a_page_newer_than_the_record_says_not_run(tmp_path: Path) -> None:
    write_result(tmp_path / "record" / "figures", "fig05", "desk")
    assert "<[not run]{.pending}>" in page_with(tmp_path, "<{{ fig05.values.newer }}>")


def test_a_caption_quotes_the_run_it_stands_under(tmp_path: Path, results: Path) -> None:
    write_result(results / "quick", "fig05", "quick")
    figures = tmp_path / "record" / "figures"
    write_result(figures, "fig05", "desk", parameters={"seeds": 5})
    source = write_pages(tmp_path / "pages", "{{ fig05.evidence }}", index="{{ cover }}")
    book.assemble(results, tmp_path / "work", "quick", figures.parent, source=source)
    record, this = (tmp_path / "work" / "fig05.md").read_text().split("} Your own run")
    assert "\nSeeds: 3.\n:::" in this and "\nSeeds: 5.\n:::" in record
    assert "\nSeeds: 5.\n:::" in (tmp_path / "work" / "index.md").read_text()


def test_unfinished_folders_are_no_results(tmp_path: Path, results: Path) -> None:
    write_result(results / "quick", "fig05", "quick").rename(results / "quick" / ".fig05-x7")
    (results / "quick" / "fig02").mkdir()
    assert read_results(results, tmp_path) == {}


# --- running again ------------------------------------------------------------------------------


def test_rerun_names_every_way(tmp_path: Path, results: Path) -> None:
    write_result(results / "quick", "fig05", "quick")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "fig05_beta_sweep.ipynb").touch()
    text = page_with(tmp_path, "{{ fig05.rerun | betas=[2.5] }}")
    assert "seams run fig05 -p 'betas=[2.5]'\n" in text
    assert "papermill notebooks/fig05_beta_sweep.ipynb out.ipynb -y 'betas: [2.5]'\n" in text
    assert "dvc exp run -S 'fig05.betas=[2.5]'\n" in text
    assert "`betas`\n  - `[0.3, 1.0]`" in text


# --- first page and contents --------------------------------------------------------------------


def test_claims_table_compares_profiles(tmp_path: Path, results: Path) -> None:
    other = {**CLAIM, "id": "aas", "value": None, "verdict": "not testable at this scale"}
    write_result(results / "quick", "fig05", "quick", claims=[CLAIM, other])
    write_result(results / "paper", "fig05", "paper", claims=[{**CLAIM, "value": 0.2}])
    source = write_pages(tmp_path / "pages", index="{{ claims }}\n\n{{ cover }}")
    book.assemble(results, tmp_path / "work", "quick", tmp_path, source=source)
    text = (tmp_path / "work" / "index.md").read_text()
    assert "* - Claim\n  - Your own run (quick)\n  - Run of record (paper)\n" in text
    mig, aas = text.split("* - ")[2:]
    assert mig.startswith(f"{CLAIM['statement']} [Figure 5](fig05.md)\n")
    assert re.findall(r"0\.\d+(?= \()", mig) == ["0.0812", "0.2"]
    assert "[not testable at this scale]" in aas and "[not run]{.verdict .verdict-pending}" in aas
    assert ":::{figure} results/fig05-paper-figure.svg\n:name: fig05-paper-cover\n" in text


def test_the_cover_has_every_verdict_at_a_glance(tmp_path: Path, results: Path) -> None:
    failing = {**CLAIM, "id": "aas", "verdict": "not supported"}
    write_result(results / "desk", "fig05", "desk", claims=[CLAIM, failing])
    text = page_with(tmp_path, "{{ matrix }}\n\n{{ statements }}", "desk")
    chips = re.findall(r"\[\[([^]]*)\]\(#(\S+)\)\]\{.verdict .verdict-(\S+)\}", text)
    assert ("Figure 5", "statement-fig-5", "in-part") in chips
    assert ("Equation 3", "statement-eq-3", "pending") in chips
    assert [name for name, *_ in chips if name.startswith("Figure ")][0] == "Figure 1"
    targets = re.findall(r"\]\{#(statement-\S+)\}", text)
    assert targets == list(dict.fromkeys(targets)) and {to for _, to, _ in chips} == {*targets}


def test_every_source_can_be_opened() -> None:
    entries = re.split(r"\n(?=@)", (PAGES / "references.bib").read_text())
    assert not [entry for entry in entries if not re.search(r"^  (url|doi)\s+= ", entry, re.M)]


@pytest.mark.parametrize(
    ("caption", "heard"),
    [
        ("Terms of {eq}`eq-6` over $\\beta\\sigma^2$. More.", "Terms of Eq. 6 over βσ²"),
        ("The gap of {prf:ref}`lem-6.3`, $J^\\top J$.", "The gap of Lemma 6.3, JᵀJ"),
        ("The network of {cite:t}`burgess2018understanding`.", "The network of Burgess 2018"),
        (
            "A run of [](fig05.md), $\\pm 2$ vs. [others](x.md). B.",
            "A run of Figure 5, ± 2 vs. others",
        ),
        ("Off by `f()`, see {eq}`eq-s10`.", "Off by `f()`, see Eq. S10"),
    ],
)
def test_a_picture_is_told_without_markup(
    tmp_path: Path, results: Path, caption: str, heard: str
) -> None:
    write_result(results / "quick", "fig05", "quick")
    source = write_pages(tmp_path / "pages", "{{ fig05.figure }}")
    page = source / "fig05.md"
    asked = json.dumps({"figure": caption})
    page.write_text(
        page.read_text().replace("{figure: 'Seeds: {{ fig05.parameters.seeds }}.'}", asked)
    )
    book.assemble(results, tmp_path / "w", "quick", tmp_path / "record", source=source)
    (told,) = re.findall(r"^:alt: (.*)$", (tmp_path / "w" / "fig05.md").read_text(), re.M)
    assert json.loads(told) == heard


def test_executed_notebook_becomes_a_page(tmp_path: Path, results: Path) -> None:
    write_result(results / "quick", "fig05", "quick")
    write_result(results / "paper", "fig05", "paper")
    page_with(tmp_path, "")
    copied = json.loads((tmp_path / "work" / "notebooks" / "fig05.ipynb").read_text())
    assert "quick profile" in copied["cells"][1]["source"]
    assert "[](../fig05.md)" in copied["cells"][1]["source"]
    assert len(copied["cells"]) == 3
    contents = (tmp_path / "work" / "_toc.yml").read_text()
    assert "file: notebooks/fig05\n" in contents and "Notebook (quick profile)" in contents


def test_a_page_of_a_notebook_is_a_chapter_without_being_listed(
    tmp_path: Path, results: Path
) -> None:
    source = write_pages(tmp_path / "pages")
    (source / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nparts: [{caption: A, chapters: [{file: other}]},"
        " {caption: Figures, chapters: [{figures: all}, {file: last}]}]\n"
    )
    for name, figure in (("celeba", 1), ("fig12", 1), ("other", 1), ("last", 0)):
        front = f"---\nfigure: {name}\n---\n" if figure else ""
        (source / f"{name}.md").write_text(f"{front}# {name}\n")
    write_result(results / "quick", "fig12", "quick")
    book.assemble(results, tmp_path / "w", "quick", tmp_path, source=source)
    first, second = yaml.safe_load((tmp_path / "w" / "_toc.yml").read_text())["parts"]
    assert [entry["file"] for entry in first["chapters"]] == ["other"]
    files = [entry["file"] for entry in second["chapters"]]
    assert files == ["fig05", "fig12", "celeba", "last"]
    assert second["chapters"][1]["sections"][0]["file"] == "notebooks/fig12"
    (source / "lost.md").write_text("# Lost\n")
    with pytest.raises(ValueError, match=r"must be in a chapter; lost is in none\. List it"):
        book.assemble(results, tmp_path / "w", "quick", tmp_path, source=source)


def test_assembling_leaves_the_pages_alone(tmp_path: Path, results: Path) -> None:
    write_result(results / "quick", "fig05", "quick")
    source = write_pages(tmp_path / "pages", "{{ fig05.evidence }}")
    before = {path: path.read_bytes() for path in source.iterdir()}
    work = tmp_path / "work"
    for _ in range(2):
        book.assemble(results, work, "quick", tmp_path, source=source)
        (work / "stale.md").touch()
    assert {path: path.read_bytes() for path in source.iterdir()} == before
    book.assemble(results, work, "quick", tmp_path, source=source)
    assert not (work / "stale.md").exists()


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{{ fig5.values.x }}",
            r"start with a figure.*fig05\.md asks for 'fig5.values.x'.*'fig05'",
        ),
        ("{{ fig05.value.x }}", r"asks for 'fig05.value.x'\. Did you mean 'values'"),
        ("{{ fig05.values.mig }}", r"values\.mig, which .*quick/fig05/numbers\.json lacks"),
        ("{{ fig05.values.mig_diagnal }}", r"Did you mean 'mig_diagonal'"),
        ("{{ fig05.rerun }}", r"`rerun` needs a parameter .*gives None"),
        ("{{ fig05.rerun | betas }}", r"`rerun` needs a parameter .*gives 'betas'"),
        ("{{ fig05.rerun | bettas=[1] }}", r"names 'bettas' for fig05\. Did you mean 'betas'"),
    ],
)
def test_a_page_out_of_step_is_refused(
    tmp_path: Path, results: Path, text: str, message: str
) -> None:
    write_result(results / "quick", "fig05", "quick")
    with pytest.raises(ValueError, match=message):
        page_with(tmp_path, text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": [1]}, r"must hold 'values' as a dict; .*fig05/numbers\.json does not"),
        ({"name": "fig02"}, r"must name its own folder, 'fig05' .*says 'fig02' in 'quick'"),
        ({"profile": "paper"}, r"in profile 'quick'; .*says 'fig05' in 'paper'"),
        ({"claims": [{**CLAIM, "verdict": "true"}]}, r"verdict among .*has 'mig' with 'true'"),
        ({"claims": [{"id": "a", "verdict": "supported"}]}, r"must have an id, a statement"),
    ],
)
def test_numbers_of_another_form_are_refused(
    results: Path, changes: dict[str, Any], message: str
) -> None:
    write_result(results / "quick", "fig05", "quick", **changes)
    with pytest.raises(ValueError, match=message):
        read_results(results, results)


def test_numbers_that_are_not_json_are_refused(results: Path) -> None:
    (write_result(results / "quick", "fig05", "quick") / "numbers.json").write_text("{")
    with pytest.raises(ValueError, match=r"must be JSON; .*Run its notebook again"):
        read_results(results, results)


def test_a_notebook_that_stores_an_error_is_refused(results: Path) -> None:
    folder = write_result(results / "quick", "fig05", "quick")
    failed = {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "", "traceback": []}
    (folder / "notebook.ipynb").write_text(json.dumps(notebook(failed)))
    with pytest.raises(ValueError, match=r"cell 1 of .*stores ZeroDivisionError\. Run it again"):
        read_results(results, results)


def test_unknown_profile_and_missing_pages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of smoke, quick, desk, paper; got 'fast'"):
        book.assemble(tmp_path, tmp_path / "work", "fast", source=PAGES)
    with pytest.raises(ValueError, match=r"must hold the book's _config\.yml"):
        book.assemble(tmp_path, tmp_path / "work", "quick", source=tmp_path)


def test_a_folder_with_other_files_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"new folder or an earlier book; .*out holds other"):
        book.build(tmp_path / "results", tmp_path / "out", source=PAGES)
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_missing_jupyter_book_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(RuntimeError, match=r"needs Jupyter Book 1\.x.*pip install 'seams\[book\]"):
        book.build(tmp_path / "results", tmp_path / "out", source=write_pages(tmp_path / "pages"))


# --- the real book ------------------------------------------------------------------------------


@needs_jupyter_book
def test_broken_reference_fails_and_keeps_the_last_good_book(tmp_path: Path) -> None:
    source = write_pages(tmp_path / "pages", index="[](nowhere.md)")
    out = tmp_path / "out"
    out.mkdir()
    (out / "searchindex.js").write_text("of an earlier book")
    with pytest.raises(RuntimeError, match=r"without a warning; .*index\.md.*nowhere") as caught:
        book.build(tmp_path / "results", out, record=tmp_path, source=source)
    assert "\n" not in str(caught.value)
    assert (out / "searchindex.js").read_text() == "of an earlier book"


def test_every_page_is_assembled_from_the_record_alone(tmp_path: Path) -> None:
    book.assemble(tmp_path / "results", tmp_path / "w", "quick", source=PAGES)
    pages = {path.stem: path.read_text() for path in (tmp_path / "w").glob("*.md")}
    assert pages.keys() == {path.stem for path in PAGES.glob("*.md")}
    listed = (tmp_path / "w" / "_toc.yml").read_text()
    for stem, text in pages.items():
        assert not re.findall(r"\{\{.*?\}\}", text), stem
        assert f"file: {stem}\n" in listed or stem == "index"
    marks = [stem for stem, text in pages.items() if "{.of-profile}" in text]
    assert marks == ["record"], "it shows what the mark looks like"
    order = re.findall(r"file: (fig\d+)\n", listed)
    assert order == sorted(order) and len(order) == 11


@pytest.mark.slow
@needs_jupyter_book
def test_the_book_builds_offline(tmp_path: Path, results: Path) -> None:
    recorded = PAGES.parent / "record" / "figures" / "fig05" / "numbers.json"
    values = json.loads(recorded.read_text())["values"]  # the page quotes some of them
    write_result(results / "quick", "fig05", "quick", values=values)  # and fig02 has not been run
    index = book.build(results, tmp_path / "site", record=tmp_path, source=PAGES)
    pages = {
        path.relative_to(index.parent).as_posix(): path.read_text(encoding="utf-8")
        for path in index.parent.rglob("*.html")
        if "_static" not in path.parts
    }
    assert {"index.html", "theory.html", "fig02.html", "notebooks/fig05.html"} <= pages.keys()
    for name, html in pages.items():
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"([^\"]+)\"", html)
        remote = [url for url in loaded if re.match(r"(?:https?:)?//", url)]
        assert not remote, f"{name} loads {remote}"
        assert "{{" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL), name
    assert "mathjax/tex-svg.js" in pages["theory.html"]
    assert (index.parent / "_static" / "mathjax" / "tex-svg.js").stat().st_size > 1e6

    # The paper's numbers, not Sphinx's count.
    theory = re.sub(r"<[^>]+>", "", pages["theory.html"])
    for name in ("Eq. 6", "Lemma 4.1", "Theorem 6.5", "Definition D1", "Property P1", "(14)"):
        assert name in theory
    assert "Figure 5, quick profile." in re.sub(r"<[^>]+>", "", pages["fig05.html"])
    assert '<span class="verdict verdict-supported">supported</span>' in pages["fig05.html"]
    assert "Not run yet." in pages["fig02.html"]


@pytest.mark.slow
@needs_jupyter_book
def test_the_same_sources_give_the_same_files(tmp_path: Path, results: Path) -> None:
    write_result(results / "quick", "fig05", "quick")
    for name in ("a", "b"):
        book.build(results, tmp_path / name, record=tmp_path, source=PAGES)
    trees = [
        {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (tmp_path / "a", tmp_path / "b")
    ]
    assert trees[0].keys() == trees[1].keys()
    assert not [path for path in trees[0] if trees[0][path] != trees[1][path]]


def defined(module: str) -> set[str]:
    """Top-level names of a module of ours, without importing it; of a package, what it offers."""
    path = ROOT / "src" / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = ast.parse(file.read_text()).body
    imports = [node.names for node in body if isinstance(node, ast.ImportFrom)]
    offered = {alias.asname or alias.name for names in imports for alias in names}
    return {node.name for node in body if hasattr(node, "name")} | offered


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda path: path.stem)
def test_names_on_the_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for dotted in re.findall(r"`(seams\.[\w.]+)`", text):
        module, name = dotted.rsplit(".", 1)
        assert name in defined(module), dotted
    for path in re.findall(r"`((?:tests|notebooks|benchmarks)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path


def test_the_example_for_other_decoders_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (PAGES / "your-own.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    exec(compile("\n".join(blocks), "your-own.md", "exec"), {})


def test_a_gallery_is_shown_on_its_page(tmp_path: Path, results: Path) -> None:
    folder = write_result(results / "quick", "fig05", "quick")
    assert page_with(tmp_path, "{{ fig05.gallery }}").endswith("anything to move here.\n")
    (folder / "gallery.json").write_text('{"note": "some"}')
    source = write_pages(tmp_path / "again", "{{ fig05.gallery }}")
    (source / "_live").mkdir()
    (source / "_live" / "gallery.js").write_text("run();")
    (source / "_live" / "parts.js").touch()
    book.assemble(results, tmp_path / "w", "quick", tmp_path / "record", source=source)
    text = (tmp_path / "w" / "fig05.md").read_text()
    assert (
        "*The quick profile; 0 kB in this page.*" in text
        and '{"note":"some"}' in text
        and "run();" in text
    )
    assert "{raw} html" in text
