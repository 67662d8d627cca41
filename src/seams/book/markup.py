"""Pieces of the book's Markdown: numbers and times for reading, tables, fences, verdicts."""

from collections.abc import Mapping
from typing import Any

from seams.paper.reading import VERDICTS

__all__ = ["badge", "duration", "fence", "line", "measured", "number", "table"]


def badge(verdict: str) -> str:
    """Verdict as a coloured word.

    Args:
        verdict: A key of `seams.paper.reading.VERDICTS`.

    Returns:
        Markdown.
    """
    return f"[{verdict}]{{.verdict .verdict-{VERDICTS[verdict]}}}"


def measured(claim: Mapping[str, Any], interval: str = "") -> str:
    """Value with its spread: an interval if that has two ends, else plus or minus.

    Args:
        claim: As `seams.paper.results.Results.claim` writes it.
        interval: What to say before the interval.

    Returns:
        Text, with the unit if there is one.
    """
    value = number(claim.get("value"))
    spread = claim.get("uncertainty")
    if isinstance(spread, list):
        value += f" ({interval}{number(spread[0])} to {number(spread[1])})"
    elif spread is not None:
        value += f" ± {number(spread)}"
    return f"{value} {claim['unit']}" if claim.get("unit") else value


def fence(directive: str, argument: str, body: str, colons: int = 3) -> str:
    """A directive of MyST with a body.

    Args:
        directive: Its name.
        argument: What follows the name.
        body: Content.
        colons: Of the fence; more than those of a fence inside.

    Returns:
        Markdown.
    """
    return f"{':' * colons}{{{directive}}} {argument}\n{body}\n{':' * colons}"


def table(head: list[str], rows: list[list[str]], style: str, *, fitted: bool = False) -> str:
    """A table whose cells may hold paragraphs.

    Args:
        head: First row.
        rows: The others.
        style: Class, for the style sheet.
        fitted: Whether columns are as wide as their contents ask for, and not alike.

    Returns:
        Markdown.
    """

    def row(cells: list[str]) -> str:
        indented = [cell.replace("\n", "\n    ") for cell in cells]
        return "\n".join(f"{'* -' if k == 0 else '  -'} {cell}" for k, cell in enumerate(indented))

    body = "\n".join(row(cells) for cells in [head, *rows])
    options = f":header-rows: 1\n:class: {style}" + "\n:widths: auto" * fitted
    return f"```{{list-table}}\n{options}\n\n{body}\n```"


def line(text: object) -> str:
    """Text without line breaks.

    Args:
        text: Anything that prints.

    Returns:
        One line.
    """
    return " ".join(str(text).split())


def number(value: object) -> str:
    """A value for reading: three digits, thousands apart; text as it is.

    Args:
        value: Number, text, list of them, or None for nothing.

    Returns:
        Text.
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        whole = isinstance(value, int) or 1e3 <= abs(value) < 1e9
        return format(value, ",.0f" if whole else ".3g").replace("-", "−")
    if isinstance(value, list | tuple):
        return ", ".join(number(item) for item in value)
    return line(value)


def duration(seconds: object) -> str:
    """Time for reading.

    Args:
        seconds: A number, or anything else for a time that is not known.

    Returns:
        Text, in hours, minutes or seconds.
    """
    if not isinstance(seconds, int | float):
        return "not recorded"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
