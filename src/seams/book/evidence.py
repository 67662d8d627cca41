"""What a figure's notebook found, as part of a page: pictures, claims, numbers, provenance."""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seams.book.contents import Book
from seams.book.markup import badge, code, duration, fence, line, measured, number, table, text
from seams.paper.figures import FIGURES
from seams.paper.reading import RECORDS, Result
from seams.training import Run, run_id
from seams.training import table as run_table

__all__ = ["COVER", "anchor", "bar", "cover", "data_files", "figure", "image_path", "of_figure"]

COVER = "fig05"  # the figure on the first page
Caption = Callable[[str, str], str]  # from its text and its run's profile to what is printed

_SPOKEN = {r"\beta": "β", r"\sigma": "σ", r"\pm": "±", r"\times": "×", r"^\top ": "ᵀ", "^2": "²"}
_NAMED = {"eq": "Eq.", "lem": "Lemma", "thm": "Theorem", "cor": "Corollary", "fig": "Figure"}
_COMMITS = 4  # named where runs are of more
_CLAIM_COLUMNS = ("id", "statement", "verdict", "value", "low", "high", "n", "unit", "our_bar")


def of_figure(book: Book, name: str, caption: Caption) -> str:
    """All that the run of record and the chosen profile found, as tabs if these are two."""
    page = book.figures.get(name)
    first = book.best(name) if page and f"{name}.figure" in page.text else None
    tabs = []
    for profile in sorted(book.shown(name), key=lambda p: p not in RECORDS):
        heading = "Run of record" if profile in RECORDS else "Your own run"
        result = book.results.get((name, profile))
        found = _missing(name, profile) if result is None else _found(
            book, result, caption, result is first
        )  # fmt: skip
        tabs.append(fence("tab-item", f"{heading}: {profile} profile", found, 5))
    return fence("tab-set", "", "\n\n".join(tabs), 6)


def _found(book: Book, result: Result, caption: Caption, seen: bool) -> str:
    """What one run found; without its first picture where that was seen."""
    page = book.figures.get(result.name)
    captions = page.captions if page else {}
    order = [*captions]
    place = lambda image: order.index(image.stem) if image.stem in order else len(order)
    parts = []
    if result.profile == "smoke":
        parts.append(
            "*The smoke profile shows that the notebook runs. Its runs are far too short to "
            "test anything: read no verdict below as one.*"
        )
    for image in sorted(result.images, key=place):
        if not (seen and image == result.images[0]):
            told = caption(captions.get(image.stem, ""), result.profile)
            parts.append(_figure(result, image, told, _label(result, image)))
    parts += [] if seen else [_made(book, result)]
    rows = [_claim(result, claim) for claim in result.claims]
    parts.append(table(["Claim", "Measured"], rows, "found") if rows else "No claim is tested.")
    parts.append(fence("dropdown", "What ran, on what", _provenance(result)))
    if values := result.numbers["values"]:
        rows = [[code(key), number(value)] for key, value in values.items()]
        title = f"All {len(rows)} numbers of this run"
        parts.append(fence("dropdown", title, table(["Name", "Value"], rows, "numbers")))
    return "\n\n".join(parts)


def figure(book: Book, name: str, caption: Caption, stem: str = "", page: str = "") -> str:
    """A picture of the run of record, if there is one, and what made it; the first by default."""
    result, own = book.best(name), book.figures.get(name)
    found = [i for i in result.images if stem in ("", i.stem)] if result else []
    if result is None or not found:
        return ""
    told = caption(own.captions.get(found[0].stem, ""), result.profile) if own else ""
    elsewhere = "" if not stem else f"-on-{page}"
    shown = _figure(result, found[0], told, _label(result, found[0]) + elsewhere)
    return f"{shown}\n\n{_made(book, result)}"


def cover(book: Book, caption: Caption) -> str:
    """The picture of the first page, if there is one yet."""
    result, page = book.best(COVER), book.figures.get(COVER)
    if result is None or not result.images:
        return ""
    told = caption(page.captions.get("figure", ""), result.profile) if page else ""
    return _figure(result, result.images[0], told, f"{COVER}-{result.profile}-cover")


def image_path(result: Result, image: Path) -> str:
    """Where a picture lies among the assembled pages."""
    return f"results/{result.name}-{result.profile}-{image.name}"


def data_files(book: Book, result: Result) -> dict[str, bytes]:
    """What can be downloaded below a figure: numbers, claims and runs as tables, and PDFs."""
    stem = f"results/{result.name}-{result.profile}"
    claims = []
    for claim in result.claims:
        spread = claim.get("uncertainty")
        low, high = spread if isinstance(spread, list) else (None, None)
        row = {**claim, "low": low, "high": high, "our_bar": claim.get("tolerance")}
        claims.append([row.get(column) for column in _CLAIM_COLUMNS])
    numbers = [list(item) for item in result.numbers["values"].items()]
    pdfs = {image.with_suffix(".pdf") for image in result.images}
    return {
        f"{stem}-claims.csv": _csv([list(_CLAIM_COLUMNS), *claims]),
        f"{stem}-numbers.csv": _csv([["name", "value"], *numbers]),
        **({f"{stem}-runs.csv": runs} if (runs := _runs(book, result)) else {}),
        **{image_path(result, path): path.read_bytes() for path in pdfs if path.is_file()},
    }


def _runs(book: Book, result: Result) -> bytes:
    """The runs behind a figure, a row each with all scores; empty unless all are at hand."""
    figure, found = FIGURES.get(result.name), []
    try:
        configs = figure.runs(**result.numbers["parameters"]) if figure and figure.runs else []
    except (KeyError, TypeError, ValueError):  # drawn with parameters of another version
        return b""
    folders = [book.record / "runs", Path(os.environ.get("SEAMS_STORE") or book.project / ".runs")]
    for config in configs:
        places = (folder / run_id(config) for folder in folders)
        run = next((Run(config, p) for p in places if Run(config, p).is_evaluated), None)
        if run is None:
            return b""
        found.append(run)
    rows = run_table(found).drop(columns=["reasons", "groups", "evaluation"], errors="ignore")
    return rows.rename_axis("run").to_csv().encode() if found else b""


def anchor(name: str, profile: str, claim: str) -> str:
    """Where a claim stands, as the target of a link; empty for an id that is no name."""
    known = re.fullmatch(r"[A-Za-z0-9_]+", claim)
    return f"claim-{name}-{profile}-{claim}".lower().replace("_", "-") if known else ""


def bar(claim: Mapping[str, Any]) -> str:
    """The threshold that a claim has to pass, which is ours and not the paper's."""
    tolerance = claim.get("tolerance")
    if tolerance is None:
        return "–"
    kind = re.fullmatch(r"([<>]) ([-+.e\d]+)", str(tolerance))
    return f"{text(kind[1])} {number(float(kind[2]))}" if kind else text(tolerance)


def _csv(rows: list[list[Any]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()


def _missing(name: str, profile: str) -> str:
    what = "It is the run of record, at the paper's scale. " if profile == "paper" else ""
    return fence(
        "div",
        "pending-box",
        f"**Not run yet.** The {profile} profile of this figure has left no result here. {what}"
        f"To run it and build the book again:\n\n```sh\nseams run {name} --profile {profile}\n"
        "seams book\n```",
    )


def _label(result: Result, image: Path) -> str:
    return f"{result.name}-{result.profile}-{image.stem}"


def _figure(result: Result, image: Path, caption: str, label: str) -> str:
    """A picture that opens large."""
    panel = image.stem.replace("_", " ")
    path = image_path(result, image)
    spoken = _spoken(caption) or f"{panel} of {result.name}, {result.profile} profile"
    options = [
        f":name: {label.replace('_', '-').lower()}",
        f":alt: {json.dumps(spoken, ensure_ascii=False)}",
        f":target: _images/{Path(path).name}",
    ]
    caption = caption or ("" if image.stem == "figure" else f"{panel.capitalize()}.")
    return fence("figure", path, "\n".join(options) + f"\n\n{caption}")


def _spoken(caption: str) -> str:
    """The first sentence of a caption without markup, for those who hear it."""
    cited = re.sub(r"\{cite\S*?\}`([a-z]+)(\d+)\w*`", lambda m: f"{m[1].title()} {m[2]}", caption)
    plain = re.sub(r"\{\S+?\}`(?:[^`<]*<)?([^`>]*)>?`|\[\]\((\w+)\.md\)", _name, cited)
    plain = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", plain)
    for mark, word in _SPOKEN.items():
        plain = plain.replace(mark, word)
    plain = re.sub(r"[$*^\\]", "", plain)
    return " ".join(re.split(r"(?<=[\w)])(?<!Eq)\.(?= [A-Z]|$)", plain)[0].split())


def _name(link: re.Match[str]) -> str:
    """What a label or a page is called: Eq. 6 for eq-6, Figure 5 for fig05."""
    kind = re.fullmatch(r"([a-z]+)-?0?([\w.]+)", label := link[1] or link[2])
    return f"{_NAMED[kind[1]]} {kind[2].upper()}" if kind and kind[1] in _NAMED else label


def _made(book: Book, result: Result) -> str:
    """The command that makes a figure, what its runs cost, and what can be taken away."""
    stem = f"results/{result.name}-{result.profile}"
    command = f"`seams run {result.name} --profile {result.profile}`"
    runs = result.numbers["runs"]
    cost = f", {number(runs['count'])} runs" if runs.get("count") else ""
    cost += f", {duration(runs['seconds'])} of training" if runs.get("seconds") else ""
    files = {"numbers (CSV)": f"{stem}-numbers.csv", "claims (CSV)": f"{stem}-claims.csv"}
    files |= {"runs (CSV)": f"{stem}-runs.csv"} if _runs(book, result) else {}
    files |= {
        f"{path.stem.replace('_', ' ')} ({path.suffix[1:].upper()})": image_path(result, path)
        for image in result.images
        for path in (image, image.with_suffix(".pdf"))
        if path.is_file()
    }
    if sorted((book.project / "notebooks").glob(f"{result.name}_*.ipynb")):
        files["notebook"] = f"results/{result.name}.ipynb"
    links = [f"{{download}}`{words} <{path}>`" for words, path in files.items()]
    where, by = result.numbers["environment"], ", ".join(runs.get("commits", ())[:_COMMITS])
    trained = f"trained on {runs.get('device')} by {by or 'this commit'}; " if cost else ""
    drawn = f"drawn on {where.get('cpu')} by {str(where.get('commit') or 'no commit')[:12]}"
    origin = f"{{abbr}}`Where from ({line(trained + drawn).replace('`', '')})`"
    return fence("div", "made", f"{command}{cost}. {origin}. Take it away: {', '.join(links)}.")


def _claim(result: Result, claim: Mapping[str, Any]) -> list[str]:
    """A row: what is claimed, and what was measured."""
    target = anchor(result.name, result.profile, claim["id"])
    attributes = f"#{target} .claim-id" if target else ".claim-id"
    says = f"{text(claim['statement'])} [{text(claim['id'])}]{{{attributes}}}"
    if claim.get("note"):
        says += "\n\n" + fence("div", "claim-note", text(claim["note"]))
    told = [badge(claim["verdict"])]
    if claim.get("value") is not None:
        told.append(measured(claim, "95 % interval "))
        bars = [f"our bar {bar(claim)}"] * (claim.get("tolerance") is not None)
        bars += [f"n = {number(claim['n'])}"] * (claim.get("n") is not None)
        told.append("; ".join(bars))
    return [says, "\n\n".join(filter(None, told))]


def _provenance(result: Result) -> str:
    runs, where = result.numbers["runs"], result.numbers["environment"]
    known = lambda key: text(where.get(key) or "not recorded")
    units = [f"{text(where[key])} {key}" for key in ("cores", "threads") if where.get(key)]
    commit = code(str(where.get("commit") or "not recorded")[:12])
    dirty = ", with uncommitted changes" if where.get("dirty") else ""
    by = [code(commit) for commit in runs.get("commits", ())]
    commits = ", ".join(by[:_COMMITS]) + f" and {len(by) - _COMMITS} more" * (len(by) > _COMMITS)
    rows = [
        ["Command", f"`seams run {result.name} --profile {result.profile}`"],
        ["Runs", number(runs.get("count"))],
        ["Training samples seen", number(runs.get("trained_images"))],
        ["Training time", duration(runs.get("seconds"))],
        ["Trained on", text(runs.get("device") or "not recorded")],
        *([["Trained by", commits]] if commits else []),
        ["Drawn on", ", ".join([known("cpu"), *units])],
        ["Software", f"Python {known('python')}, torch {known('torch')}, {known('platform')}"],
        ["Drawn by", f"`seams` {known('seams')}, commit {commit}{dirty}"],
    ]
    return table(["What", "Value"], rows, "provenance")
