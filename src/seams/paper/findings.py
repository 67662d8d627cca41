"""What was found about each of the paper's statements, read from what notebooks have written."""

import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seams.paper.figures import FIGURES
from seams.paper.reading import RECORDS, VERDICTS, Result
from seams.paper.statements import OURS, STATEMENTS, Statement

__all__ = ["ROWS", "Finding", "as_json", "find", "orphans", "printed", "taken", "tally"]

ROWS = STATEMENTS + tuple(  # and a row for each notebook that no statement names
    Statement(name, OURS, figure.says, (name,)) for name, figure in FIGURES.items() if figure.says
)

NOT_RUN = "not run"
IN_PART = "in part"  # of several claims about one statement, only some are supported
UNTESTABLE = "not testable at this scale"


@dataclass(frozen=True)
class Finding:
    """What was found about a statement."""

    statement: Statement
    verdict: str  # of all its claims together
    claims: tuple[tuple[str, str, Mapping[str, Any]], ...]  # notebook, profile and claim, in order
    missing: tuple[str, ...]  # notebooks that left nothing

    @property
    def against(self) -> bool:
        """Whether the whole interval of a claim lies on the other side of its bar."""
        return any(_against(claim) for _, _, claim in self.claims)

    @property
    def count(self) -> str:
        """How many of the testable claims are supported, and how many are not testable."""
        verdicts = [claim["verdict"] for _, _, claim in self.claims]
        rest = verdicts.count(UNTESTABLE)
        if rest == len(verdicts):
            return ""
        said = f"{verdicts.count('supported')} of {len(verdicts) - rest}"
        return f"{said}, {rest} not testable" if rest else said


def _against(claim: Mapping[str, Any]) -> bool:
    side, _, bar = str(claim.get("tolerance") or "").partition(" ")
    ends = claim.get("uncertainty")
    if not isinstance(ends, list) or None in ends or side not in ("<", ">"):
        return False
    return ends[0] > float(bar) if side == "<" else ends[1] < float(bar)


def find(
    results: Mapping[tuple[str, str], Result], profile: str, rows: Sequence[Statement] = ROWS
) -> list[Finding]:
    """What was found about each of `rows` in a profile, else in the record."""
    counted = taken(results, profile)
    findings = []
    for statement in rows:
        claims = tuple(
            (name, counted[name].profile, claim)
            for name in statement.notebooks
            if name in counted
            for claim in counted[name].claims
            if statement.reaches(name, claim["id"])
        )
        missing = tuple(name for name in statement.notebooks if name not in counted)
        verdict = _verdict([claim["verdict"] for _, _, claim in claims])
        findings.append(Finding(statement, verdict, claims, missing))
    return findings


def orphans(results: Mapping[tuple[str, str], Result]) -> list[str]:
    """Claims that no row shows, each as `notebook:claim`."""
    found = {
        (name, claim["id"]) for (name, _), result in results.items() for claim in result.claims
    }
    reached = lambda name, claim: any(row.reaches(name, claim) for row in ROWS)
    return sorted(f"{name}:{claim}" for name, claim in found if not reached(name, claim))


def taken(results: Mapping[tuple[str, str], Result], profile: str) -> dict[str, Result]:
    """The result of each notebook that counts in a profile: its own, else that of record."""
    kept: dict[str, Result] = {}
    for chosen in (profile, *RECORDS):
        kept = {name: result for (name, p), result in results.items() if p == chosen} | kept
    return dict(sorted(kept.items()))


def _verdict(verdicts: list[str]) -> str:
    if len(set(verdicts)) < 2:
        return verdicts[0] if verdicts else NOT_RUN
    # What cannot be tested leaves a statement that fails a failure, but supports none.
    return IN_PART if "supported" in verdicts else "not supported"


def tally(results: Mapping[tuple[str, str], Result], profile: str) -> str:
    """How many statements of the paper have which verdict, in a sentence; ours do not count."""
    rows = [found for found in find(results, profile) if found.statement.name != OURS]
    verdicts = [found.verdict for found in rows]
    order = (*list(VERDICTS)[:1], IN_PART, *list(VERDICTS)[1:], NOT_RUN)
    parts = [f"{verdicts.count(v)} {v}" for v in order if v in verdicts]
    others = [{ran for _, ran, _ in found.claims} - {profile} for found in rows]
    named = ", ".join(sorted(set().union(*others)))
    by = f"; {sum(map(bool, others))} of them by runs of the profile {named}" if named else ""
    return f"Of {len(verdicts)} statements and figures of the paper: {', '.join(parts)}{by}."


def printed(findings: list[Finding], width: int | None = None) -> str:
    """A line a statement, of at most `width` columns; default those of the terminal."""
    width = width or shutil.get_terminal_size().columns
    cells = [
        (_called(found.statement), f"{found.verdict} {found.count}".rstrip(), _where(found))
        for found in findings
    ]
    first, second, last = (max(len(row[k]) for row in cells) for k in range(3))
    room = width - first - second - last - 6
    lines = []
    for found, (name, verdict, where) in zip(findings, cells, strict=True):
        says = " ".join(found.statement.says.split())
        told = textwrap.shorten(says, room, placeholder="...") if room >= 20 else ""
        parts = [f"{name:{first}}", f"{verdict:{second}}", f"{where:{last}}", told]
        lines.append("  ".join(parts).rstrip()[:width])
    return "\n".join(lines)


def _called(statement: Statement) -> str:
    """A row of ours by its id: where there is no room for what it says, the name tells nothing."""
    return f"Ours: {statement.id}" if statement.name == OURS else statement.name


def as_json(findings: list[Finding]) -> str:
    """The same with every claim, for programs: a JSON list, one entry a statement."""
    entries = [
        {
            "id": found.statement.id,
            "name": found.statement.name,
            "says": found.statement.says,
            "verdict": found.verdict,
            "not_run": list(found.missing),
            "claims": [
                {"notebook": name, "profile": profile, **claim}
                for name, profile, claim in found.claims
            ],
        }
        for found in findings
    ]
    return json.dumps(entries, indent=1, ensure_ascii=False)


def _where(found: Finding) -> str:
    return ", ".join(
        f"({name})" if name in found.missing else name for name in found.statement.notebooks
    )
