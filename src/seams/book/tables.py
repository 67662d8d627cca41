"""Tables of what was found, as pages of the book."""

from collections.abc import Mapping

from seams.book import markup
from seams.paper.findings import IN_PART, NOT_RUN, Finding, find, taken
from seams.paper.reading import RECORDS, VERDICTS, Result
from seams.paper.statements import Statement

__all__ = ["failing_table", "statements_table"]


def statements_table(
    results: Mapping[tuple[str, str], Result], profile: str, pages: Mapping[str, str]
) -> str:
    """The statements with verdicts, what was measured, and links, as a page of the book.

    Args:
        results: As of `seams.paper.reading.read_results`.
        profile: As in `find`.
        pages: Page of each notebook, by short name.

    Returns:
        Markdown, one table.
    """
    rows = []
    for found in find(results, profile):
        row = found.statement
        link = lambda name: f"[{name}]({pages[name]}.md)" if name in pages else f"`{name}`"
        where = ", ".join(link(name) for name in row.notebooks)
        rows.append(
            [
                f"{_label(row)}\n\n{row.says}",
                f"{_badge(found)}\n\n{where}{_also_missing(found)}",
                _each(found, profile) or "–",
            ]
        )
    return markup.table(["Statement", "Verdict, notebook", "Measured"], rows, "statements")


def _label(row: Statement) -> str:
    if not row.labels:
        return f"**{row.name}**"
    first = row.labels[0]
    return f"{{eq}}`{first}`" if first.startswith("eq-") else f"{{prf:ref}}`{row.name} <{first}>`"


def _badge(found: Finding) -> str:
    style = {**VERDICTS, NOT_RUN: "pending", IN_PART: "not-testable"}[found.verdict]
    words = f"{found.verdict}, {found.count}" if found.count else found.verdict
    return f"[{words}]{{.verdict .verdict-{style}}}"


def _also_missing(found: Finding) -> str:
    if not found.claims or not found.missing:
        return ""
    return f"; {', '.join(found.missing)} {NOT_RUN}"


def _each(found: Finding, profile: str) -> str:
    lines = []
    for notebook, ran, claim in found.claims:
        value = "–" if claim.get("value") is None else markup.measured(claim)
        id = f"{notebook}:{claim['id']}" if len(found.statement.notebooks) > 1 else claim["id"]
        claimed = markup.line(claim.get("tolerance", "–")).replace("-", "−")
        # No line breaks inside.
        told = ", ".join(
            part.replace(" ", "\N{NO-BREAK SPACE}")
            for part in (f"claimed {claimed}", f"n = {markup.number(claim.get('n'))}")
        )
        told = f"`{id}` {value}, {told}"
        told += f", {ran} profile" if ran != profile else ""
        told += "" if claim["verdict"] == "supported" else f", *{claim['verdict']}*"
        lines.append(f"* {told}")
    return "\n".join(lines)


def failing_table(results: Mapping[tuple[str, str], Result], pages: Mapping[str, str]) -> str:
    """The claims that the run of record does not support, as a page of the book.

    Args:
        results: As of `seams.paper.reading.read_results`.
        pages: Page of each notebook, by short name.

    Returns:
        Markdown, one table; a sentence if there is none.
    """
    rows = []
    for name, result in taken(results, RECORDS[0]).items():
        for claim in result.claims if result.profile in RECORDS else []:
            if claim["verdict"] == "not supported":
                page = f"[{name}]({pages[name]}.md)" if name in pages else f"`{name}`"
                claimed = markup.line(claim["tolerance"]).replace("-", "−")
                measured = f"{markup.measured(claim)}; claimed {claimed}"
                rows.append([markup.line(claim["statement"]), measured, page])
    if not rows:
        return "There is none in the record."
    return markup.table(["Claim", "Measured", "Notebook"], rows, "failing", fitted=True)
