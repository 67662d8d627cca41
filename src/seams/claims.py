"""The paper's statements and figures, and what was found about each.

A registry, without a number in it: the verdicts are read from what notebooks have written. Every
claim of a notebook belongs to a row or more; a row that names a notebook alone takes all of them.
"""

import json
import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seams import markup
from seams.outcomes import RECORDS, VERDICTS, Result

__all__ = [
    "DEFINITIONS",
    "STATEMENTS",
    "Finding",
    "Statement",
    "as_json",
    "find",
    "orphans",
    "printed",
    "statements_table",
    "tally",
]

NOT_RUN = "not run"
IN_PART = "in part"
"""Of several claims about one statement, some are supported and some are not."""


@dataclass(frozen=True)
class Statement:
    """One numbered statement or figure of the paper.

    Attributes:
        id: Short name.
        name: What the paper calls it.
        says: The statement in our words; plain text.
        tests: Where it is tested: short names of notebooks, or `notebook:claim` for one claim.
        labels: Labels on the page of the theory that belong to it; the first one is linked.
    """

    id: str
    name: str
    says: str
    tests: tuple[str, ...]
    labels: tuple[str, ...] = ()

    @property
    def notebooks(self) -> tuple[str, ...]:
        """Short names, each once."""
        return tuple(dict.fromkeys(test.partition(":")[0] for test in self.tests))

    def reaches(self, notebook: str, claim: str) -> bool:
        """Whether this row shows a claim.

        Args:
            notebook: Its short name.
            claim: The claim's id.

        Returns:
            True if the row takes it, by name or with all of its notebook.
        """
        return notebook in self.tests or f"{notebook}:{claim}" in self.tests


@dataclass(frozen=True)
class Finding:
    """What was found about a statement.

    Attributes:
        statement: The row of the registry.
        verdict: Of all its claims together; "in part" if only some are supported.
        claims: Notebook, profile and claim, in order.
        missing: Notebooks that left nothing.
    """

    statement: Statement
    verdict: str
    claims: tuple[tuple[str, str, Mapping[str, Any]], ...]
    missing: tuple[str, ...]

    @property
    def count(self) -> str:
        """How many of the testable claims are supported."""
        verdicts = [claim["verdict"] for _, _, claim in self.claims]
        testable = sum(verdict != "not testable at this scale" for verdict in verdicts)
        return f"{verdicts.count('supported')} of {testable}" if testable else ""


def _row(id: str, name: str, says: str, tests: str, labels: str = "") -> Statement:
    return Statement(id, name, says, tuple(tests.split()), tuple(labels.split()))


DEFINITIONS = ("eq-1", "eq-2", "eq-5", "def-D1", "def-D3", "def-D4")
"""Labels of what the paper defines, so that there is nothing to test."""

STATEMENTS = (
    _row(
        "eq-3",
        "Equation 3",
        "The posterior and the maximum-likelihood decoder of the linear Gaussian model in closed "
        "form, up to any rotation of the latents.",
        "claims:eq_3_posterior claims:eq_3_decoder",
        "eq-3",
    ),
    _row(
        "eq-4",
        "Equation 4",
        "At the optimum the posterior covariance turns with the decoder: a diagonal one is "
        "optimal for signed permutations alone.",
        "claims:eq_4 claims:eq_4_rotation",
        "eq-4",
    ),
    _row(
        "eq-6",
        "Equation 6",
        "The inverse of the best posterior covariance is the identity minus the expected Hessian "
        "of the log-likelihood over β.",
        "eq06:closes_diagonal eq06:closes_full eq06:amortised",
        "eq-6",
    ),
    _row(
        "p1",
        "Property P1",
        "With diagonal posteriors each of the two terms of Eq. 6 is diagonal by itself.",
        "eq06:sum eq06:gram eq06:hessian eq06:no_cancellation eq06:p1 eq06:axes fig05:gram "
        "fig05:hessian",
        "prop-P1",
    ),
    _row(
        "lem-4.1",
        "Lemma 4.1",
        "If P1 holds, the Jacobian has orthogonal columns (C1) and each singular value depends on "
        "its own latent alone (C2).",
        "claims:lem_4_1 claims:lem_4_1_needed",
        "lem-4.1 eq-13",
    ),
    _row(
        "lem-C.1",
        "Lemma C.1",
        "The image of a singular-vector path is a seam.",
        "claims:lem_c_1 fig03:lemma_C_1",
        "lem-C.1",
    ),
    _row(
        "lem-5.1",
        "Lemma 5.1",
        "The density on the manifold is the product of the densities over its seams.",
        "claims:lem_5_1 fig04:lemma_5_1 fig04:crossing",
        "lem-5.1 eq-7 eq-14",
    ),
    _row(
        "thm-5.2-if",
        "Theorem 5.2, if",
        "With C1 and C2 the manifold density is disentangled.",
        "claims:thm_5_2_if fig04:thm_5_2_if fig01:independent_diagonal",
        "thm-5.2",
    ),
    _row(
        "thm-5.2-only-if",
        "Theorem 5.2, only if",
        "Without C1, without C2, or without both, it is not.",
        "claims:thm_5_2_without_c1 claims:thm_5_2_without_c2 claims:thm_5_2_without_both "
        "fig04:thm_5_2_only_if fig01:independent_full",
        "thm-5.2",
    ),
    _row(
        "cor-6.1",
        "Corollary 6.1",
        "A linear VAE with diagonal posteriors that fits linear Gaussian data with distinct "
        "singular values finds their components up to order and sign.",
        "claims:cor_6_1 claims:cor_6_1_full fig02",
        "cor-6.1",
    ),
    _row(
        "rem-6.2",
        "Remark 6.2",
        "The right singular vectors of the true decoder are not in the data.",
        "claims:rem_6_2",
        "rem-6.2",
    ),
    _row(
        "lem-6.3",
        "Lemma 6.3",
        "The density on the manifold alone determines its seams, as eigenvectors of its Hessian, "
        "where its eigenvalues are distinct.",
        "claims:lem_6_3 gap",
        "lem-6.3 eq-8",
    ),
    _row(
        "lem-6.4",
        "Lemma 6.4",
        "A decoder with C1 and C2 that produces the density has these seams and their factors.",
        "claims:lem_6_4_seams claims:lem_6_4_factors",
        "lem-6.4",
    ),
    _row(
        "thm-6.5",
        "Theorem 6.5",
        "A Gaussian VAE with diagonal posteriors that fits data made with C1 and C2 identifies "
        "their factors up to order and sign.",
        "ident",
        "thm-6.5",
    ),
    _row(
        "rem-6.6",
        "Remark 6.6",
        "Order and sign of the seams carry no meaning: a decoder with its latents relabelled is "
        "as good.",
        "claims:rem_6_6",
    ),
    _row(
        "cor-6.7",
        "Corollary 6.7",
        "The same with other factorised priors, up to a map of each axis by itself.",
        "claims:cor_6_7 ident",
        "cor-6.7",
    ),
    _row(
        "rem-6.8",
        "Remark 6.8",
        "With a normal prior the density does not identify the generator; C1 and C2 remove the "
        "freedom.",
        "claims:rem_6_8_density claims:rem_6_8_mixed",
    ),
    _row(
        "app-b-noise",
        "Appendix B, noise",
        "β is the variance of the likelihood: for the optimum only βσ² matters.",
        "claims:app_b fig06",
    ),
    _row(
        "app-b-collapse",
        "Appendix B, collapse",
        "Some β < 1 makes the collapse of posteriors onto the prior impossible.",
        "claims:app_b_collapse fig06",
    ),
    _row(
        "app-e",
        "Appendix E",
        "The axis alignment score is 1 if each factor has its own latent; its floor, which the "
        "paper does not name, is that of a constant matrix.",
        "claims:app_e_best claims:app_e_floor",
    ),
    _row(
        "app-h-1",
        "Appendix H, first",
        "The difference of two squared lengths may exceed the squared length of the difference; a "
        "proof elsewhere says it cannot.",
        "claims:app_h_1",
    ),
    _row(
        "app-h-2",
        "Appendix H, second",
        "The squared length of a difference may exceed the sum of both squared lengths; a proof "
        "elsewhere says it cannot.",
        "claims:app_h_2",
    ),
    _row("fig-1", "Figure 1", "Diagonal posteriors turn the latent axes onto the seams.", "fig01"),
    _row("fig-2", "Figure 2", "Diagonal posteriors break the rotation of a linear VAE.", "fig02"),
    _row(
        "fig-3",
        "Figure 3",
        "Singular-vector paths and seams of one decoder; its Jacobian is nearly diagonal.",
        "fig03",
    ),
    _row("fig-4", "Figure 4", "The prior is pushed forward from paths to seams.", "fig04"),
    _row(
        "fig-5",
        "Figure 5",
        "On dSprites diagonal posteriors make derivatives diagonal and disentangle, more so at "
        "larger β.",
        "fig05",
    ),
    _row("fig-6", "Figure 6", "β sets the variance of x given z.", "fig06"),
    _row("fig-7", "Figure 7", "On faces, traversals of latents have a meaning.", "fig07"),
    _row("fig-8", "Figure 8", "On faces, a larger β leaves fewer latents active.", "fig08"),
    _row("fig-9", "Figure 9", r"On faces, both terms of Eq. 6 are nearer to diagonal at larger "
         r"$\beta$.", "fig09"),
    _row("fig-10", "Figure 10", "On faces, a smaller β gives sharper images.", "fig10"),
    _row(
        "fig-11",
        "Figure 11",
        "Lowering β in training gives both disentanglement and sharp images.",
        "fig11",
    ),
    _row(
        "speed",
        "Ours, not the paper's",
        "How much faster this code computes what the paper computes.",
        "speed",
    ),
)  # fmt: skip
"""All numbered statements and figures of the paper, in its order; last, what is not of it."""


def find(results: Mapping[tuple[str, str], Result], profile: str) -> list[Finding]:
    """What was found about each statement, in one profile.

    Args:
        results: As of `seams.outcomes.read_results`.
        profile: Whose results are taken; those of the run of record where it has none.

    Returns:
        One finding a statement, in the paper's order.
    """
    taken = _taken(results, profile)
    findings = []
    for statement in STATEMENTS:
        claims = tuple(
            (name, taken[name].profile, claim)
            for name in statement.notebooks
            if name in taken
            for claim in taken[name].claims
            if statement.reaches(name, claim["id"])
        )
        missing = tuple(name for name in statement.notebooks if name not in taken)
        verdict = _verdict([claim["verdict"] for _, _, claim in claims])
        findings.append(Finding(statement, verdict, claims, missing))
    return findings


def orphans(results: Mapping[tuple[str, str], Result]) -> list[str]:
    """Claims that no row of the registry shows.

    Args:
        results: As of `seams.outcomes.read_results`.

    Returns:
        Each as `notebook:claim`.
    """
    found = {
        (name, claim["id"]) for (name, _), result in results.items() for claim in result.claims
    }
    reached = lambda name, claim: any(row.reaches(name, claim) for row in STATEMENTS)
    return sorted(f"{name}:{claim}" for name, claim in found if not reached(name, claim))


def _taken(results: Mapping[tuple[str, str], Result], profile: str) -> dict[str, Result]:
    names = {name for name, _ in results}
    order = (profile, *RECORDS)
    kept = {
        name: next((results[name, p] for p in order if (name, p) in results), None)
        for name in sorted(names)
    }
    return {name: result for name, result in kept.items() if result is not None}


def _verdict(verdicts: list[str]) -> str:
    testable = [verdict for verdict in verdicts if verdict != "not testable at this scale"]
    if not verdicts:
        return NOT_RUN
    if not testable:
        return "not testable at this scale"
    return testable[0] if len(set(testable)) == 1 else IN_PART


# --- in the book --------------------------------------------------------------------------------


def statements_table(
    results: Mapping[tuple[str, str], Result], profile: str, pages: Mapping[str, str]
) -> str:
    """The statements with verdicts, what was measured, and links, as a page of the book.

    Args:
        results: As of `seams.outcomes.read_results`.
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


def tally(results: Mapping[tuple[str, str], Result], profile: str) -> str:
    """How many statements have which verdict, in one sentence.

    Args:
        results: As of `seams.outcomes.read_results`.
        profile: As in `find`.

    Returns:
        Such as "Of 32 statements and figures: 20 supported, 3 in part, 9 not run."
    """
    verdicts = [found.verdict for found in find(results, profile)]
    order = (*list(VERDICTS)[:1], IN_PART, *list(VERDICTS)[1:], NOT_RUN)
    parts = [f"{verdicts.count(v)} {v}" for v in order if v in verdicts]
    return f"Of {len(verdicts)} statements and figures of the paper: {', '.join(parts)}."


# --- in a terminal ------------------------------------------------------------------------------


def printed(findings: list[Finding], width: int | None = None) -> str:
    """The table for a terminal, one line a statement.

    Args:
        findings: As of `find`.
        width: Columns; default those of the terminal.

    Returns:
        Lines of at most `width` columns.
    """
    width = width or shutil.get_terminal_size().columns
    cells = [
        (found.statement.name, f"{found.verdict} {found.count}".rstrip(), _where(found))
        for found in findings
    ]
    first, second, last = (max(len(row[k]) for row in cells) for k in range(3))
    room = width - first - second - last - 6
    lines = []
    for found, (name, verdict, where) in zip(findings, cells, strict=True):
        says = markup.line(found.statement.says)
        told = textwrap.shorten(says, room, placeholder="...") if room >= 20 else ""
        parts = [f"{name:{first}}", f"{verdict:{second}}", f"{where:{last}}", told]
        lines.append("  ".join(parts).rstrip()[:width])
    return "\n".join(lines)


def as_json(findings: list[Finding]) -> str:
    """The same with every claim, for programs.

    Args:
        findings: As of `find`.

    Returns:
        A JSON list, one entry a statement.
    """
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
