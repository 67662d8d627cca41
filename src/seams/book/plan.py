"""What it takes to check each claim: command, time, machine, the value to expect and our bar."""

from collections.abc import Mapping
from typing import Any

from seams.book.contents import Book
from seams.book.evidence import anchor, bar
from seams.book.markup import badge, code, duration, fence, measured, number, table, text
from seams.paper.findings import find, taken
from seams.paper.reading import RECORDS, Result

__all__ = ["plan_table", "printed"]


def plan_table(book: Book) -> str:
    """A row a claim of the run of record, below the command, the cost and the machine of each."""
    parts = []
    for name, result in taken(book.results, RECORDS[0]).items():
        if result.profile not in RECORDS or not result.claims:
            continue
        cost = fence("div", "made", f"{code(_command(result))}. {_cost(result)}.")
        rows = [
            [
                f"[{code(claim['id'])}](#{anchor(name, result.profile, claim['id'])})",
                ", ".join(_tested(book.results, name, claim["id"])) or "–",
                f"{measured(claim)}, n = {number(claim.get('n'))}",
                bar(claim),
                badge(claim["verdict"]),
            ]
            for claim in result.claims
        ]
        head = ["Claim", "Of", "Expected", "Our bar", "Verdict"]
        title = f"{name}: {len(rows)} claims, {_cost(result)}"
        inside = f"{cost}\n\n{book.link(name)}\n\n{table(head, rows, 'plan', fitted=True)}"
        parts.append(fence("dropdown", title, inside, 5))
    return "\n\n".join(parts) or "There is nothing in the record yet."


def printed(results: Mapping[tuple[str, str], Result], profile: str) -> str:
    """The same for a terminal: a line a notebook, and below it a line a claim."""
    lines = []
    for name, result in taken(results, profile).items():
        lines.append(f"{name}: {_command(result)}  # {_cost(result)}")
        cells = [_cells(claim) for claim in result.claims]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append(f"    {'  '.join(padded)}".rstrip())
    return "\n".join(lines)


def _cells(claim: Mapping[str, Any]) -> list[str]:
    value = "–" if claim.get("value") is None else measured(claim).replace("\\", "")
    threshold = f"bar {claim.get('tolerance') or '–'}".replace("-", "−")
    return [claim["id"], value, threshold, f"n = {number(claim.get('n'))}", claim["verdict"]]


def _tested(results: Mapping[tuple[str, str], Result], name: str, claim: str) -> list[str]:
    """The statements that a claim tests."""
    rows = [found.statement for found in find(results, RECORDS[0])]
    return [text(row.name) for row in rows if row.reaches(name, claim)]


def _command(result: Result) -> str:
    return f"seams run {result.name} --profile {result.profile}"


def _cost(result: Result) -> str:
    """What its runs took where they were trained; without runs, that it trains nothing."""
    runs = result.numbers["runs"]
    if not runs.get("count"):
        return "trains nothing"
    where = text(runs.get("device") or "a machine not recorded")
    took = duration(runs.get("seconds"))
    return f"{number(runs['count'])} runs, {took} of training on {where}"
