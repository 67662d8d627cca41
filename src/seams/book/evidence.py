"""What a figure's notebook found, as part of a page: pictures, claims, numbers, provenance."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seams.book.contents import Book
from seams.book.markup import badge, code, duration, fence, measured, number, table, text
from seams.paper.reading import RECORDS, VERDICTS, Result

__all__ = ["COVER", "bar", "cover", "image_path", "of_figure"]

COVER = "fig05"  # the figure on the first page
Caption = Callable[[str, str], str]  # from its text and its run's profile to what is printed


def of_figure(book: Book, name: str, caption: Caption) -> str:
    """All that the chosen profile and the run of record found; last, what has not been run."""
    page = book.figures.get(name)
    captions = page.captions if page else {}
    order = [*captions]
    parts = []
    for profile in sorted(book.shown(name), key=lambda p: (name, p) not in book.results):
        heading = "Run of record" if profile in RECORDS else "Your own run"
        parts.append(f"### {heading}: {profile} profile")
        result = book.results.get((name, profile))
        if result is None:
            parts.append(_missing(name, profile))
            continue
        place = lambda image: order.index(image.stem) if image.stem in order else len(order)
        for image in sorted(result.images, key=place):
            told = caption(captions.get(image.stem, ""), profile)
            parts.append(_figure(result, image, told, f"{name}-{profile}-{image.stem}"))
        if profile == "smoke":
            parts.append(
                "*The smoke profile shows that the notebook runs. Its runs are far too short to "
                "test anything: read no verdict below as one.*"
            )
        parts += [_claim(claim) for claim in result.claims] or ["This notebook tests no claim."]
        parts.append(f"#### What ran, on what\n\n{_provenance(result)}")
        if values := result.numbers["values"]:
            rows = [[code(key), number(value)] for key, value in values.items()]
            title = f"All {len(rows)} numbers of this run"
            parts.append(fence("dropdown", title, table(["Name", "Value"], rows, "numbers")))
    return "\n\n".join(parts)


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


def bar(claim: Mapping[str, Any]) -> str:
    """The threshold that a claim has to pass, which is ours and not the paper's."""
    tolerance = claim.get("tolerance")
    return text("–" if tolerance is None else str(tolerance).replace("-", "−"))


def _missing(name: str, profile: str) -> str:
    what = "It is the run of record, at the paper's scale. " if profile == "paper" else ""
    return fence(
        "div",
        "pending-box",
        f"**Not run yet.** The {profile} profile of this figure has left no result here. {what}"
        f"To run it and build the book again:\n\n```sh\nseams run {name} --profile {profile}\n"
        "seams book\n```",
    )


def _figure(result: Result, image: Path, caption: str, label: str) -> str:
    panel = image.stem.replace("_", " ")
    alt = f"{panel} of {result.name}, {result.profile} profile"
    options = f":name: {label.replace('_', '-').lower()}\n:alt: {alt}"
    caption = caption or ("" if image.stem == "figure" else f"{panel.capitalize()}.")
    return f":::{{figure}} {image_path(result, image)}\n{options}\n\n{caption}\n:::"


def _claim(claim: Mapping[str, Any]) -> str:
    parts = [
        f"{badge(claim['verdict'])} [{text(claim['id'])}]{{.claim-id}}",
        text(claim["statement"]),
    ]
    if claim.get("value") is not None:
        words = [f"Measured: {measured(claim, '95 % interval ')}"]
        if claim.get("n") is not None:
            words.append(f"n = {number(claim['n'])}")
        if claim.get("tolerance") is not None:
            words.append(f"our bar: {bar(claim)}")
        parts.append("; ".join(words) + ".")
    if claim.get("note"):
        parts.append(fence("div", "claim-note", text(claim["note"])))
    style = f"claim claim-{VERDICTS[claim['verdict']]}"
    return fence("div", style, "\n\n".join(parts), colons=4)


def _provenance(result: Result) -> str:
    runs, where = result.numbers["runs"], result.numbers["environment"]
    known = lambda key: text(where.get(key) or "not recorded")
    units = [f"{text(where[key])} {key}" for key in ("cores", "threads") if where.get(key)]
    commit = code(str(where.get("commit") or "not recorded")[:12])
    dirty = ", with uncommitted changes" if where.get("dirty") else ""
    rows = [
        ["Command", f"`seams run {result.name} --profile {result.profile}`"],
        ["Runs", number(runs.get("count"))],
        ["Training samples seen", number(runs.get("trained_images"))],
        ["Training time", duration(runs.get("seconds"))],
        ["Trained on", text(runs.get("device") or "not recorded")],
        ["Drawn on", ", ".join([known("cpu"), *units])],
        ["Software", f"Python {known('python')}, torch {known('torch')}, {known('platform')}"],
        ["Code", f"seams {known('seams')}, commit {commit}{dirty}"],
    ]
    return table(["What", "Value"], rows, "provenance")
