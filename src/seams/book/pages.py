"""What stands in a page for its double braces; the package's docstring lists what may stand there.

A number in prose is of the run of record, else of the chosen profile, whose name is then behind
it; a number in a caption is of the run under which it stands.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from seams.book import evidence, live, tables
from seams.book.contents import Book
from seams.book.markup import badge, code, fence, formatted, nearest, number, table
from seams.book.plan import plan_table
from seams.paper.reading import PROFILES, Result

__all__ = ["substitute"]

_SUBSTITUTION = re.compile(r"\{\{\s*([A-Za-z][\w.-]*)\s*(?:\|\s*([^{}]+?)\s*)?\}\}")
_FIELDS = ("values", "parameters", "runs", "environment", "verdicts")
_NOT_RUN = "[not run]{.pending}"
_UNDEFINED = "[not defined]{.pending}"  # of runs too short to have a value

_WHOLE: Mapping[str, Callable[[Book], str]] = {
    "claims": tables.claims_table,
    "failing": lambda book: tables.failing_table(book.results, _links(book)),
    "matrix": tables.matrix,
    "plan": plan_table,
    "record": tables.record_table,
    "live": lambda book: live.page(book.record / "runs", book.source / "_live"),
    "live.linear": lambda book: live.figure("linear", book.source / "_live"),
    "live.noise": lambda book: live.figure("noise", book.source / "_live"),
    "live.surface": lambda book: live.figure("surface", book.source / "_live"),
    "statements": lambda book: tables.statements_table(
        book.results, tables.of_record(book), _links(book)
    ),
    "tally": tables.tally,
}


def substitute(book: Book, page: str, text: str, profile: str = "") -> str:
    """A page's text with what stands for its braces; in a caption, of the profile of its run."""
    resolved = lambda found: _resolve(book, page, found[1], found[2], profile)
    return _SUBSTITUTION.sub(resolved, text)


def _links(book: Book) -> dict[str, str]:
    return {name: page.stem for name, page in book.figures.items()}


def _resolve(book: Book, page: str, path: str, argument: str | None, profile: str) -> str:
    """What stands for `{{ path | argument }}` on `page`."""
    if path in _WHOLE and argument is None:
        return _WHOLE[path](book)
    if path == "beside" or path.endswith(".beside"):
        return substitute(book, page, tables.beside(book, path.rpartition(".")[0]))
    caption = lambda text, of: substitute(book, page, text, of)
    if path == "cover":
        return evidence.cover(book, caption)
    name, _, rest = path.partition(".")
    if name == "test":
        tests = book.project / "tests" / f"test_{rest}.py"
        return f"`tests/{tests.name}`" if tests.is_file() else "none yet"
    if name == "benchmark":
        return _benchmark(book, page, rest, argument or "")
    if name not in book.names:
        raise ValueError(
            f"A substitution must start with a figure, `benchmark`, `cover`, `test` or one of "
            f"{', '.join(_WHOLE)}; {page} asks for {path!r}."
            + nearest(name, [*book.names, *_WHOLE])
        )
    if rest in ("gallery", "film"):
        return _moving(book, name, f"{rest}.json")
    if rest == "figure":
        return evidence.figure(book, name, caption, argument or "", page.partition(".")[0])
    if rest == "evidence":
        return evidence.of_figure(book, name, caption)
    if rest == "rerun":
        return _rerun(book, page, name, argument)
    named, _, tail = rest.partition(".")
    kind, _, key = (tail if named in PROFILES else rest).partition(".")
    if kind not in _FIELDS:
        raise ValueError(
            f"A figure has {', '.join(_FIELDS)}, evidence and rerun; {page} asks for {path!r}."
            + nearest(kind, [*_FIELDS, "evidence", "rerun"])
        )
    if named in PROFILES or profile:
        result = book.results.get((name, named if named in PROFILES else profile))
        return _quote(result, page, kind, key, argument) if result else _NOT_RUN
    record = book.results.get((name, book.recorded(name)))
    own = book.results.get((name, book.profile))
    if record is not None and key in _entries(record, kind):
        return _quote(record, page, kind, key, argument)
    if own is None or own is record:  # a page may be newer than the record
        return _NOT_RUN
    return f"{_quote(own, page, kind, key, argument)}\u00a0[{own.profile} profile]{{.of-profile}}"


def _benchmark(book: Book, page: str, name: str, keys: str) -> str:
    """One entry of `benchmarks/results/NAME.json`; `keys` lead to it, with `>` between them."""
    path = book.project / "benchmarks" / "results" / f"{name}.json"
    if not path.is_file():
        return _NOT_RUN
    entry: Any = json.loads(path.read_text(encoding="utf-8"))
    for key in (part.strip() for part in keys.split(">")):
        if not isinstance(entry, dict) or key not in entry:
            known = entry if isinstance(entry, dict) else ()
            raise ValueError(
                f"{path.name} has no {key!r}, which {page} asks for." + nearest(key, known)
            )
        entry = entry[key]
    return number(entry)


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
            f"{result.folder / 'numbers.json'} lacks." + nearest(key, entries)
        )
    value = entries[key]
    if kind == "verdicts":
        return badge(value)
    if layout is None or not isinstance(value, int | float):
        return number(value)
    return formatted(value, layout)


def _moving(book: Book, name: str, file: str) -> str:
    for profile in book.shown(name):
        result = book.results.get((name, profile))
        if result and (found := live.moving(result.folder / file, book.source / "_live")):
            return f"*The {profile} profile; {len(found) / 1e3:.0f} kB in this page.*\n\n{found}"
    return "No run of this figure has left anything to move here."


def _rerun(book: Book, page: str, name: str, argument: str | None) -> str:
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
            + nearest(key, result.numbers["parameters"])
        )
    lines = [f"seams run {name} -p '{argument}'"]
    notebooks = sorted((book.project / "notebooks").glob(f"{name}*.ipynb"))
    if notebooks:
        lines.append(f"papermill notebooks/{notebooks[0].name} out.ipynb -y '{key}: {value}'")
    lines.append(f"dvc exp run -S '{name}.{argument}'")
    shown = "```sh\n" + "\n".join(lines) + "\n```"
    if result is None:
        return shown
    rows = [[code(k), code(json.dumps(v))] for k, v in result.numbers["parameters"].items()]
    title = f"All parameters, with their values in the {result.profile} profile"
    return f"{shown}\n\n" + fence(
        "dropdown", title, table(["Parameter", "Value"], rows, "numbers")
    )
