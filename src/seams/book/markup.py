"""Pieces of the book's Markdown: text, numbers and times for reading, tables, fences, verdicts.

What a result says passes `text`, `code` or `number`: no markup, directive or HTML of it is obeyed.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from seams.paper.reading import VERDICTS

__all__ = [
    "badge",
    "code",
    "duration",
    "fence",
    "formatted",
    "line",
    "measured",
    "nearest",
    "number",
    "table",
    "text",
]

_RAISED = str.maketrans("−0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ROUNDING = 1e-12  # below it a number is what float64 makes of zero


def line(value: object) -> str:
    """Anything as one line, of what can be seen."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def text(value: object) -> str:
    """Anything as text of a page: one line, in which nothing is markup."""
    plain = re.sub(r"([\\`*_{}\[\]<&$^~|])", r"\\\1", line(value))
    # At the start of a line more is: lists, quotes, headings, fences, comments, targets.
    return re.sub(r"^(?=[!-/:-@])|^(\d+)(?=[.)](?: |$))", r"\1\\", plain)


def code(value: object) -> str:
    """Anything as code within a line, without line breaks."""
    plain = line(value) or "–"
    ticks = "`" * (max(map(len, re.findall("`+", plain)), default=0) + 1)
    return f"{ticks} {plain} {ticks}" if "`" in plain else f"`{plain}`"


def number(value: object) -> str:
    """A value for reading: three digits, thousands apart; of text its letters; None is a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if 0 < abs(value) < _ROUNDING:
            return f"0 ({formatted(value, '.0e')})"
        whole = isinstance(value, int) or 1e3 <= abs(value) < 1e9
        return formatted(value, ",.0f" if whole else ".3g")
    if isinstance(value, list | tuple):
        return ", ".join(number(item) for item in value)
    return text(value)


def formatted(value: float | int, layout: str) -> str:
    """A number in a format of Python's, with minus signs and powers of ten as they are printed."""
    digits, _, power = format(value, layout).replace("-", "−").partition("e")
    if not power:
        return digits
    raised = power.replace("−0", "−").lstrip("+0").translate(_RAISED)
    return f"{digits} · 10{raised}" if digits != "1" else f"10{raised}"


def measured(claim: Mapping[str, Any], interval: str = "") -> str:
    """Value of a claim with unit and spread: an interval if that has two ends, else ±."""
    value = number(claim.get("value"))
    spread = claim.get("uncertainty")
    if value.startswith("0 ("):
        pass  # of a zero up to rounding its size says enough
    elif isinstance(spread, list):
        value += f" ({interval}{' to '.join(number(end) for end in spread)})"
    elif spread is not None:
        value += f" ± {number(spread)}"
    return f"{value} {text(claim['unit'])}" if claim.get("unit") else value


def duration(seconds: object) -> str:
    """Time for reading, in hours, minutes or seconds; anything but a number is not recorded."""
    if not isinstance(seconds, int | float):
        return "not recorded"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def badge(verdict: str, style: str = "", count: str = "") -> str:
    """Verdict as a coloured word; the style is that of `VERDICTS` if none is given."""
    words = f"{verdict}, {count}" if count else verdict
    return f"[{words}]{{.verdict .verdict-{style or VERDICTS[verdict]}}}"


def fence(directive: str, argument: str, body: str, colons: int = 3) -> str:
    """A directive with a body; it needs more colons than a fence inside."""
    return f"{':' * colons}{{{directive}}} {argument}\n{body}\n{':' * colons}"


def table(head: list[str], rows: list[list[str]], style: str, *, fitted: bool = False) -> str:
    """A table whose cells may hold paragraphs; if fitted, with columns as wide as they need."""

    def row(cells: list[str]) -> str:
        indented = [cell.replace("\n", "\n    ") for cell in cells]
        return "\n".join(f"{'* -' if k == 0 else '  -'} {cell}" for k, cell in enumerate(indented))

    body = "\n".join(row(cells) for cells in [head, *rows])
    options = f":header-rows: 1\n:class: {style}" + "\n:widths: auto" * fitted
    return f"```{{list-table}}\n{options}\n\n{body}\n```"


def nearest(word: str, words: Iterable[str]) -> str:
    """The hint that ends an error about a word: the most similar of those that exist, if any."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
