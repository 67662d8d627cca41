"""The book: the pages of `book/`, with what the notebooks measured, as one web site.

A page quotes a run through substitutions in double braces. They are resolved here, before Sphinx
sees the page, so that a page reads the same whether its figure has been run or not:

* `{{ fig05.values.KEY | .2f }}`: one entry of `numbers.json`, in the chosen profile; where that
  has not been run, of the run of record, marked as such. In one profile and no other by
  `{{ fig05.paper.values.KEY }}`; likewise `parameters`, `runs`, `environment` and `verdicts`.
* `{{ fig05.evidence }}`: picture, claims, numbers and provenance, for the chosen profile and then
  for the run of record.
* `{{ fig05.rerun | betas=[2.5] }}`: how to run the notebook with another value.
* `{{ fig05.gallery }}`: its traversals, with a slider, if the notebook wrote any.
* `{{ statements }}` and `{{ tally }}`: the paper's statements with their verdicts, and how many
  there are of each.
* `{{ claims }}`, `{{ cover }}`, `{{ record }}` and `{{ live }}`: the table of all claims, notebook
  by notebook, the picture of the first page, the runs of record, and their decoders to play with.
* `{{ failing }}`: the claims that the run of record does not support; `{{ record.tally }}`: as
  `tally`, of the run of record.
* `{{ benchmark.derivatives | ratio_to_ours > gram/vmap of jacrev }}`: an entry of the benchmark's
  result.
* `{{ test.vae }}`: the file that tests `seams.vae`, if there is one.

A number that no run has written is printed as "not run", never invented.
"""

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from seams.book import markup
from seams.book.tables import failing_table, statements_table
from seams.paper.findings import tally
from seams.paper.reading import PROFILES, RECORDS, VERDICTS, Result, read_results
from seams.project import project_root

__all__ = ["PROFILES", "Result", "assemble", "build", "read_results"]

COVER = "fig05"
"""The figure on the first page."""

_SUBSTITUTION = re.compile(r"\{\{\s*([A-Za-z][\w.-]*)\s*(?:\|\s*([^{}]+?)\s*)?\}\}")
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PROBLEM = re.compile(r"WARNING|ERROR|CRITICAL|[A-Z]\w*(?:Error|Exception):")
_FIELDS = ("values", "parameters", "runs", "environment", "verdicts")
_NOT_RUN = "[not run]{.pending}"
_UNDEFINED = "[not defined]{.pending}"  # of runs too short to have a value
_OF_RECORD = "\u00a0[{} record]{{.of-record}}"
_BETAS_LISTED = 8  # in a row of the record; more are told by their ends


@dataclass
class _Book:
    """What the pages may ask for while they are assembled."""

    profile: str
    source: Path
    results: dict[tuple[str, str], Result]
    runs: Path
    pages: dict[str, str] = field(default_factory=dict)
    captions: dict[str, dict[str, str]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)

    def record(self, name: str) -> str:
        """Profile of a figure's run of record; of what it would be, if there is none."""
        return next((p for p in RECORDS if (name, p) in self.results), RECORDS[0])

    def shown(self, name: str) -> tuple[str, ...]:
        """The chosen profile, then that of the run of record."""
        return tuple(dict.fromkeys((self.profile, self.record(name))))

    @property
    def names(self) -> list[str]:
        """Every figure that has a page or a result, in order."""
        return sorted({*self.pages, *(name for name, _ in self.results)})

    def best(self, name: str) -> Result | None:
        """The run of record if there is one, else the run of the chosen profile."""
        found = self.results.get((name, self.record(name)))
        return found or self.results.get((name, self.profile))


def build(
    results: Path | str = "results",
    output: Path | str = "build/book",
    profile: str = "quick",
    record: Path | str | None = None,
    *,
    source: Path | str | None = None,
) -> Path:
    """Assemble the book beside `output` and build it into `output`.

    A failed build leaves the last good book in place. The outcome holds no dates: the same pages
    and results give the same files.

    Args:
        results: Folder of the executed notebooks, `results/PROFILE/NAME/`; it may be absent.
        output: Folder to write. Sources and log lie beside it, under its name with `-src`.
        profile: Whose results are shown first; the run of record follows.
        record: Folder of the run of record, see `read_results`; default `record` in the project.
        source: Folder of the pages; default `book` in the project.

    Returns:
        The first page, `index.html` in `output`.

    Raises:
        ValueError: `output` holds something else; else as `assemble`.
        RuntimeError: Jupyter Book is not installed, or warned: of a broken reference, say.
    """
    output, source = Path(output).resolve(), Path(source or project_root() / "book")
    if output.exists() and any(output.iterdir()) and not (output / "searchindex.js").exists():
        raise ValueError(
            f"`output` must be a new folder or an earlier book; {output} holds other files. "
            "Name another folder."
        )
    work = output.with_name(f"{output.name}-src")
    assemble(results, work, profile, record, source=source)
    if problem := _build_site(work, source):
        raise RuntimeError(problem)
    site = work / "_build" / "html"
    (site / ".buildinfo").unlink(missing_ok=True)
    shutil.rmtree(output, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    site.rename(output)
    return output / "index.html"


def assemble(
    results: Path | str,
    work: Path | str,
    profile: str,
    record: Path | str | None = None,
    *,
    source: Path | str | None = None,
) -> None:
    """Write the sources of the book into `work`: pages with their numbers, figures, notebooks.

    Args:
        results: As in `build`.
        work: Folder to write; emptied first.
        profile: As in `build`.
        record: As in `build`.
        source: As in `build`.

    Raises:
        ValueError: Unknown profile, no book in `source`, a page that quotes what its notebook did
            not write, or a result that cannot be shown: see `read_results`.
    """
    source, work = Path(source or project_root() / "book"), Path(work)
    if profile not in PROFILES:
        raise ValueError(f"`profile` must be one of {', '.join(PROFILES)}; got {profile!r}.")
    if not (source / "_config.yml").is_file():
        raise ValueError(
            f"`source` must hold the book's _config.yml; {source} has none. "
            "Run this in the root of the project."
        )
    record = Path(record or project_root() / "record")
    book = _Book(profile, source, read_results(results, record), record / "runs")
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(source.glob("*.md"))}
    for path, text in texts.items():
        _read_front_matter(book, path.stem, text)

    assembled = {
        path.name: _substitute(book, path.name, _FRONT_MATTER.sub("", text))
        for path, text in texts.items()
    }
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(
        source, work, ignore=shutil.ignore_patterns("_build", "__pycache__", "*.py[co]")
    )
    for name, text in assembled.items():
        (work / name).write_text(text, encoding="utf-8")
    for result in book.results.values():
        for image in result.images:
            (work / "results").mkdir(exist_ok=True)
            shutil.copyfile(image, work / _image_path(result, image))
    _write_notebooks(book, work)


def _read_front_matter(book: _Book, stem: str, text: str) -> None:
    """Note which figure a page is about, its captions, and its title."""
    import yaml

    match = _FRONT_MATTER.match(text)
    matter = yaml.safe_load(match[1]) if match else {}
    name = matter.get("figure")
    if name is None:
        return
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    book.pages[name] = stem
    book.captions[name] = {
        key: markup.line(value) for key, value in matter.get("captions", {}).items()
    }
    book.titles[name] = title[1] if title else name


def _substitute(book: _Book, page: str, text: str) -> str:
    return _SUBSTITUTION.sub(lambda found: _resolve(book, page, found[1], found[2]), text)


def _resolve(book: _Book, page: str, path: str, argument: str | None) -> str:
    """What stands for `{{ path | argument }}` on `page`."""
    whole: dict[str, Callable[[_Book], str]] = {
        "claims": _claims_table,
        "cover": _cover,
        "failing": lambda book: failing_table(book.results, book.pages),
        "record": _record_table,
        "record.tally": _record_tally,
        "live": _live,
        "statements": lambda book: statements_table(book.results, book.profile, book.pages),
        "tally": lambda book: tally(book.results, book.profile),
    }
    if path in whole and argument is None:
        return whole[path](book)
    name, _, rest = path.partition(".")
    if name == "test":
        tests = book.source.resolve().parent / "tests" / f"test_{rest}.py"
        return f"`tests/{tests.name}`" if tests.is_file() else "none yet"
    if name == "benchmark":
        return _benchmark(book, page, rest, argument or "")
    if name not in book.names:
        raise ValueError(
            "A substitution must start with a figure, `benchmark`, `claims`, `cover`, `failing`, "
            f"`record`, `live`, `statements`, `tally` or `test`; {page} asks for {path!r}."
            + _nearest(name, [*book.names, *whole])
        )
    if rest == "gallery":
        return _gallery(book, name)
    if rest == "evidence":
        return _evidence(book, page, name)
    if rest == "rerun":
        return _rerun(book, page, name, argument)
    named, _, tail = rest.partition(".")
    if named in PROFILES:
        rest = tail
    kind, _, key = rest.partition(".")
    if kind not in _FIELDS:
        raise ValueError(
            f"A figure has {', '.join(_FIELDS)}, evidence and rerun; {page} asks for {path!r}."
            + _nearest(kind, [*_FIELDS, "evidence", "rerun"])
        )
    result = book.results.get((name, named if named in PROFILES else book.profile))
    if result is not None:
        return _quote(result, page, kind, key, argument)
    record = book.results.get((name, book.record(name)))
    # A page may be newer than the record, which is then no answer rather than an error.
    if named in PROFILES or record is None or key not in _entries(record, kind):
        return _NOT_RUN
    return _quote(record, page, kind, key, argument) + _OF_RECORD.format(record.profile)


def _benchmark(book: _Book, page: str, name: str, keys: str) -> str:
    """One entry of `benchmarks/results/NAME.json`; `keys` lead to it, with `>` between them."""
    path = book.source.resolve().parent / "benchmarks" / "results" / f"{name}.json"
    if not path.is_file():
        return _NOT_RUN
    entry: Any = json.loads(path.read_text())
    for key in (part.strip() for part in keys.split(">")):
        if not isinstance(entry, dict) or key not in entry:
            known = entry if isinstance(entry, dict) else ()
            raise ValueError(
                f"{path.name} has no {key!r}, which {page} asks for." + _nearest(key, known)
            )
        entry = entry[key]
    return markup.number(entry)


def _entries(result: Result, kind: str) -> Mapping[str, Any]:
    if kind == "verdicts":
        return {claim["id"]: claim["verdict"] for claim in result.claims}
    return result.numbers[kind]


def _quote(result: Result, page: str, kind: str, key: str, layout: str | None) -> str:
    entries = _entries(result, kind)
    if key not in entries and kind == "values" and result.profile == "smoke":
        return _UNDEFINED
    if key not in entries:
        raise ValueError(
            f"A page may only quote what its notebook wrote; {page} asks for {kind}.{key}, which "
            f"{result.folder / 'numbers.json'} lacks." + _nearest(key, entries)
        )
    value = entries[key]
    if kind == "verdicts":
        return markup.badge(value)
    if layout is None or not isinstance(value, int | float):
        return markup.number(value)
    return format(value, layout)


def _nearest(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _evidence(book: _Book, page: str, name: str) -> str:
    parts = []
    captions = book.captions.get(name, {})
    for profile in book.shown(name):
        heading = "Run of record" if profile in RECORDS else "This run"
        parts.append(f"### {heading}: {profile} profile")
        result = book.results.get((name, profile))
        if result is None:
            parts.append(_missing(name, profile))
            continue
        order = [*captions]
        for image in sorted(
            result.images,
            key=lambda image: order.index(image.stem) if image.stem in order else len(order),
        ):
            its_own = replace(book, profile=profile)
            caption = _substitute(its_own, page, captions.get(image.stem, ""))
            parts.append(_figure(result, image, caption, f"{name}-{profile}-{image.stem}"))
        if profile == "smoke":
            parts.append(
                "*The smoke profile shows that the notebook runs. Its runs are far too short to "
                "test anything: read no verdict below as one.*"
            )
        parts.append(_claims_box(result))
        parts.append("#### What ran, on what\n\n" + _provenance(result))
        if result.numbers["values"]:
            rows = [
                [f"`{key}`", markup.number(value)]
                for key, value in result.numbers["values"].items()
            ]
            table = markup.table(["Name", "Value"], rows, "numbers")
            parts.append(markup.fence("dropdown", f"All {len(rows)} numbers of this run", table))
    return "\n\n".join(parts)


def _missing(name: str, profile: str) -> str:
    what = "It is the run of record, at the paper's scale. " if profile == "paper" else ""
    return markup.fence(
        "div",
        "pending-box",
        f"**Not run yet.** The {profile} profile of this figure has left no result here. {what}"
        f"To run it and build the book again:\n\n```sh\nseams run {name} --profile {profile}\n"
        "seams book\n```",
    )


def _figure(result: Result, image: Path, caption: str, label: str) -> str:
    alt = f"{image.stem.replace('_', ' ')} of {result.name}, {result.profile} profile"
    options = f":name: {label.replace('_', '-').lower()}\n:alt: {alt}"
    stem = "" if image.stem == "figure" else image.stem.replace("_", " ").capitalize() + "."
    return f":::{{figure}} {_image_path(result, image)}\n{options}\n\n{caption or stem}\n:::"


def _image_path(result: Result, image: Path) -> str:
    return f"results/{result.name}-{result.profile}-{image.name}"


def _claims_box(result: Result) -> str:
    if not result.claims:
        return "This notebook tests no claim."
    return "\n\n".join(_claim(claim) for claim in result.claims)


def _claim(claim: Mapping[str, Any]) -> str:
    parts = [
        f"{markup.badge(claim['verdict'])} [{claim['id']}]{{.claim-id}}",
        markup.line(claim["statement"]),
    ]
    if claim.get("value") is not None:
        words = [f"Measured: {markup.measured(claim, '95 % interval ')}"]
        if claim.get("n") is not None:
            words.append(f"n = {markup.number(claim['n'])}")
        if claim.get("tolerance") is not None:
            words.append(f"claimed: {markup.number(claim['tolerance'])}")
        parts.append("; ".join(words) + ".")
    if claim.get("note"):
        parts.append(markup.fence("div", "claim-note", markup.line(claim["note"])))
    return markup.fence(
        "div", f"claim claim-{VERDICTS[claim['verdict']]}", "\n\n".join(parts), colons=4
    )


def _provenance(result: Result) -> str:
    runs, where = result.numbers["runs"], result.numbers["environment"]
    known = lambda key: markup.line(where.get(key) or "not recorded")
    units = [f"{where[key]} {key}" for key in ("cores", "threads") if where.get(key)]
    dirty = ", with uncommitted changes" if where.get("dirty") else ""
    rows = [
        ["Runs", markup.number(runs.get("count"))],
        ["Training samples seen", markup.number(runs.get("trained_images"))],
        ["Training time", markup.duration(runs.get("seconds"))],
        ["Trained on", markup.line(runs.get("device") or "not recorded")],
        ["Drawn on", ", ".join([known("cpu"), *units])],
        ["Software", f"Python {known('python')}, torch {known('torch')}, {known('platform')}"],
        ["Code", f"seams {known('seams')}, commit `{known('commit')[:12]}`{dirty}"],
    ]
    return markup.table(["What", "Value"], rows, "provenance")


def _rerun(book: _Book, page: str, name: str, argument: str | None) -> str:
    if argument is None or not re.fullmatch(r"\w+=.+", argument):
        raise ValueError(
            "`rerun` needs a parameter and its value, as in betas=[2.5]; "
            f"{page} gives {argument!r}."
        )
    key, value = argument.split("=", 1)
    result = book.results.get((name, book.profile)) or book.best(name)
    if result is not None and key not in result.numbers["parameters"]:
        raise ValueError(
            f"`rerun` must name a parameter of the notebook; {page} names {key!r} for {name}."
            + _nearest(key, result.numbers["parameters"])
        )
    lines = [f"seams run {name} -p '{argument}'"]
    notebooks = sorted((book.source.resolve().parent / "notebooks").glob(f"{name}*.ipynb"))
    if notebooks:
        lines.append(f"papermill notebooks/{notebooks[0].name} out.ipynb -y '{key}: {value}'")
    lines.append(f"dvc exp run -S '{name}.{argument}'")
    parts = ["```sh\n" + "\n".join(lines) + "\n```"]
    if result is not None:
        rows = [[f"`{k}`", f"`{json.dumps(v)}`"] for k, v in result.numbers["parameters"].items()]
        title = f"All parameters, with their values in the {result.profile} profile"
        parts.append(
            markup.fence("dropdown", title, markup.table(["Parameter", "Value"], rows, "numbers"))
        )
    return "\n\n".join(parts)


def _claims_table(book: _Book) -> str:
    rows, records = [], dict[str, None]()
    columns = max((len(book.shown(name)) for name in book.names), default=1)
    for name in book.names:
        shown = [book.profile, book.record(name)][:columns]
        records |= dict.fromkeys(shown[1:])
        tested = {profile: book.results.get((name, profile)) for profile in shown}
        by_id: dict[str, dict[str, dict[str, Any]]] = {}
        for profile, result in tested.items():
            for claim in result.claims if result else ():
                by_id.setdefault(claim["id"], {})[profile] = claim
        for claims in by_id.values():
            statement = markup.line(next(iter(claims.values()))["statement"])
            cells = [_claim_cell(claims.get(profile)) for profile in shown]
            rows.append([f"{statement} {_link(book, name)}", *cells])
        if not by_id:
            rows.append([_link(book, name), *(_claim_cell(None) for _ in shown)])
    if not rows:
        return "No claim has been tested yet."
    heads = [f"This run ({book.profile})", f"Run of record ({', '.join(records)})"][:columns]
    return f"{_count(book)}\n\n{markup.table(['Claim', *heads], rows, 'claims')}"


def _link(book: _Book, name: str) -> str:
    short = book.titles.get(name, name).partition(":")[0]
    return f"[{short}]({book.pages[name]}.md)" if name in book.pages else f"`{name}`"


def _claim_cell(claim: Mapping[str, Any] | None) -> str:
    if claim is None:
        return "[not run]{.verdict .verdict-pending}"
    measured = "" if claim.get("value") is None else f"\n\n{markup.measured(claim)}"
    return markup.badge(claim["verdict"]) + measured


def _count(book: _Book) -> str:
    """One sentence for each profile shown."""
    sentences = []
    shown = {(name, profile) for name in book.names for profile in book.shown(name)}
    for profile in dict.fromkeys((book.profile, *reversed(PROFILES))):
        names = {name for name, ran in shown if ran == profile}
        if not names:
            continue
        verdicts = [
            claim["verdict"]
            for (name, ran), result in book.results.items()
            for claim in result.claims
            if ran == profile and name in names
        ]
        tally = [f"{verdicts.count(v)} {v}" for v in VERDICTS if v in verdicts]
        summary = f"{len(verdicts)} ({', '.join(tally)})" if tally else "none"
        sentences.append(f"Tested in the {profile} profile: {summary}.")
    return " ".join(sentences)


def _cover(book: _Book) -> str:
    result = book.best(COVER)
    if result is None or not result.images:
        return ""
    its_own = replace(book, profile=result.profile)
    caption = _substitute(its_own, "cover", book.captions.get(COVER, {}).get("figure", ""))
    return _figure(result, result.images[0], caption, f"{COVER}-{result.profile}-cover")


def _record_table(book: _Book) -> str:
    """Runs that differ only in beta, seed and member of a family as one row; all below."""
    from seams.data import families
    from seams.training.record import listing

    runs = listing(book.runs)
    if runs.empty:
        return "There is no run of record yet."
    rows = []
    family = lambda name: name.partition("-")[0] if families.is_member(name) else name
    alike = ["family", "resolution", "network", "covariance", "images", "device"]
    for key, group in runs.assign(family=runs["dataset"].map(family)).groupby(alike, sort=False):
        name, side, network, kind, images, device = cast("tuple[Any, ...]", key)
        members = group["dataset"].unique()
        dataset = f"`{members[0]}`" if len(members) == 1 else f"`{name}`, {len(members)} sets"
        annealed = group["beta_start"].notna()
        betas = [f"{beta:.4g}" for beta in sorted(group["beta"][~annealed].unique())]
        if len(betas) > _BETAS_LISTED:
            betas = [f"{betas[0]} to {betas[-1]}, {len(betas)} values"]
        pairs = group[annealed][["beta_start", "beta"]].drop_duplicates().itertuples(index=False)
        betas += [f"{start:g} to {end:g}" for start, end in pairs]
        size = f" {side} × {side}" if side > 1 else ""
        cells = [f"{dataset}{size}", f"{network}, {kind}", ", ".join(betas)]
        cells += [markup.number(len(group)), markup.number(int(images))]
        rows.append([*cells, markup.duration(float(group["seconds"].sum())), markup.line(device)])
    head = ["Data", "Network, posterior", "β", "Runs", "Images each", "Time in all", "On"]
    total = f"{len(runs)} runs, {markup.duration(float(runs['seconds'].sum()))} of training."
    each = [
        [f"`{run['id']}`", f"`{run['dataset']}`, {run['covariance']}", f"{run['beta']:g}"]
        + [f"{run['seed']}", markup.duration(run["seconds"]), markup.line(run["device"])]
        + [f"`{run['commit'][:7]}`"]
        for run in runs.to_dict("records")
    ]
    names = ["Run", "What", "β", "Seed", "Time", "On", "Commit"]
    table = lambda head, rows: markup.table(head, rows, "record", fitted=True)
    listed = markup.fence("dropdown", "Every run", table(names, each))
    return f"{total}\n\n{table(head, rows)}\n\n{listed}"


def _record_tally(book: _Book) -> str:
    recorded = {profile for _, profile in book.results}
    profile = next((profile for profile in RECORDS if profile in recorded), RECORDS[0])
    return tally(book.results, profile)


def _live(book: _Book) -> str:
    from seams.book.live import script

    decoders = script(book.runs, book.source / "_live")
    if not decoders:
        return "No decoder is kept in the record yet."
    return markup.fence("raw", "html", decoders)


def _gallery(book: _Book, name: str) -> str:
    from seams.paper import gallery

    for profile in book.shown(name):
        result = book.results.get((name, profile))
        if result is not None and (result.folder / gallery.FILE).is_file():
            page = gallery.markup(result.folder / gallery.FILE, book.source / "_live")
            return f"*The {profile} profile.*\n\n" + markup.fence("raw", "html", page)
    return "No run of this figure has left traversals here."


def _write_notebooks(book: _Book, work: Path) -> None:
    """Put one executed notebook below the page of each figure, in the table of contents too."""
    import yaml

    contents = yaml.safe_load((work / "_toc.yml").read_text(encoding="utf-8"))
    entries = [*contents.get("chapters", [])]
    entries += [entry for part in contents.get("parts", []) for entry in part["chapters"]]
    for name, page in book.pages.items():
        kept = [book.results.get((name, profile)) for profile in book.shown(name)]
        result = next((r for r in kept if r is not None and r.notebook is not None), None)
        if result is None:
            continue
        (work / "notebooks").mkdir(exist_ok=True)
        _write_notebook(result, page, work / "notebooks" / f"{name}.ipynb")
        for entry in entries:
            if entry["file"] == page:
                entry.setdefault("sections", []).append(
                    {"file": f"notebooks/{name}", "title": f"Notebook ({result.profile} profile)"}
                )
    (work / "_toc.yml").write_text(yaml.safe_dump(contents, sort_keys=False), encoding="utf-8")


def _write_notebook(result: Result, page: str, path: Path) -> None:
    assert result.notebook is not None
    notebook = json.loads(result.notebook.read_text(encoding="utf-8"))
    note = (
        f"*The notebook as it ran in the {result.profile} profile. "
        f"Claims, verdicts and machine: [](../{page}.md).*"
    )
    cell: dict[str, Any] = {"cell_type": "markdown", "metadata": {}, "source": note}
    if (notebook.get("nbformat", 4), notebook.get("nbformat_minor", 0)) >= (4, 5):
        cell["id"] = "seams-book"
    notebook["cells"].insert(1, cell)
    # Stripping may have removed what the highlighter asks for.
    lexer = {"name": "python", "pygments_lexer": "ipython3"}
    notebook["metadata"].setdefault("language_info", lexer)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _build_site(work: Path, source: Path) -> str | None:
    """Run Jupyter Book on the assembled sources; what went wrong, in one line, or None."""
    python = [sys.executable, "-c"]
    if subprocess.run([*python, "import jupyter_book"], capture_output=True).returncode:
        return (
            "`seams book` needs Jupyter Book 1.x, which is not installed. "
            "Install it with: pip install 'seams[book]'"
        )
    command = [*python, "from jupyter_book.cli.main import main; main()", "build", str(work)]
    ran = subprocess.run(
        [*command, "-W", "-n", "--keep-going", "-q"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        # The order of a set reaches the pages in places, and so would a colour terminal.
        env={**os.environ, "PYTHONHASHSEED": "0", "NO_COLOR": "1", "PYTHONWARNINGS": ""},
    )
    log = _COLOUR.sub("", ran.stdout).replace(f"{work}{os.sep}", f"{source}{os.sep}")
    (work / "build.log").write_text(log, encoding="utf-8")
    if ran.returncode == 0 and (work / "_build" / "html" / "index.html").is_file():
        return None
    problems = [line.strip() for line in log.splitlines() if _PROBLEM.search(line)]
    problems = problems or [f"exit status {ran.returncode}"]
    return (
        f"The book must build without a warning; {problems[0]} ({len(problems)} in all). "
        f"The whole log is {work / 'build.log'}."
    )
