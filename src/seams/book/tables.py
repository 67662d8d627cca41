"""Tables of what was found, as pages of the book."""

from collections.abc import Mapping
from typing import Any, cast

from seams.book.contents import Book
from seams.book.evidence import anchor, bar
from seams.book.markup import badge, code, duration, fence, measured, number, table, text
from seams.paper import findings
from seams.paper.findings import IN_PART, NOT_RUN, UNTESTABLE, Finding, find, taken
from seams.paper.points import POINTS
from seams.paper.reading import RECORDS, VERDICTS, Result
from seams.paper.statements import OURS

__all__ = [
    "beside",
    "claims_table",
    "failing_table",
    "matrix",
    "of_record",
    "record_table",
    "statements_table",
    "tally",
]

_AGREES = {  # of a verdict, beside the paper's words; one that is not supported needs a look
    "supported": ("agrees", "supported"),
    IN_PART: ("in part", "in-part"),
    "not supported": ("", "not-supported"),
    UNTESTABLE: ("not comparable", "not-testable"),
}
_BETAS_LISTED = 8  # in a row of the record; more are told by their ends


def of_record(book: Book) -> str:
    """The profile that stands for the paper: the better one of record, else the chosen one."""
    recorded = {profile for _, profile in book.results}
    return next((profile for profile in RECORDS if profile in recorded), book.profile)


def tally(book: Book) -> str:
    """How many of the paper's statements have which verdict, and in which profile."""
    profile = of_record(book)
    where = "In the run of record" if profile in RECORDS else "In your own run"
    counted = findings.tally(book.results, profile)
    return f"{where} ({profile} profile), {counted[0].lower()}{counted[1:]}"


def matrix(book: Book) -> str:
    """The verdict of every statement at a glance, by what it rests on."""
    groups: dict[str, list[str]] = {
        "Theory, on maps drawn at random": [],
        "Theory, with trained models": [],
        "Figures of the paper": [],
        "Questions of ours": [],
    }
    for found in find(book.results, of_record(book)):
        row = found.statement
        ours, drawn = row.name == OURS, row.name.startswith("Figure")
        place = 3 if ours else 2 if drawn else row.notebooks != ("claims",)
        name = row.name
        if ours and (page := book.figures.get(row.notebooks[0])):
            name = page.title.partition(":")[0]
            name += "" if row.id in row.notebooks else f", {row.id.rpartition('-')[2]}"
        link = f"[{text(name)}](#{_anchor(found)})"
        groups[[*groups][place]].append(f"[{link}]{{.verdict .verdict-{_style(found)}}}")
    rows = [[name, " ".join(chips)] for name, chips in groups.items() if chips]
    order = dict.fromkeys((*VERDICTS.items(), (IN_PART, "in-part"), (NOT_RUN, "pending")))
    key = " ".join(badge(verdict, style) for verdict, style in order)
    return f"{table(['What', 'Verdicts'], rows, 'matrix', fitted=True)}\n\n{key}"


def _anchor(found: Finding) -> str:
    return f"statement-{found.statement.id.lower().replace('.', '-')}"


def _style(found: Finding) -> str:
    return {**VERDICTS, NOT_RUN: "pending", IN_PART: "in-part"}[found.verdict]


def statements_table(
    results: Mapping[tuple[str, str], Result], profile: str, pages: Mapping[str, str]
) -> str:
    """The statements with verdicts, what was measured, and links, as one table of the book."""
    link = lambda name: f"[{name}]({pages[name]}.md)" if name in pages else f"`{name}`"
    rows = []
    for found in find(results, profile):
        row = found.statement
        where = ", ".join(link(name) for name in row.notebooks)
        if found.claims and found.missing:
            where += f"; {', '.join(found.missing)} {NOT_RUN}"
        verdict = badge(found.verdict, _style(found), found.count)
        each = "\n".join(_each(found, profile, bool(pages))) or "–"
        label = f"[{_label(found)}]{{#{_anchor(found)}}}" if pages else _label(found)
        rows.append([f"{label}\n\n{row.says}", f"{verdict}\n\n{where}", each])
    return table(["Statement", "Verdict, notebook", "Measured"], rows, "statements")


def beside(book: Book, name: str = "") -> str:
    """What the paper says about a notebook's figure, or all, beside what was found: a table."""
    profile, rows = of_record(book), []
    for found in find(book.results, profile, POINTS):
        point = found.statement
        if name not in ("", point.id):
            continue
        page = "" if name else f" {_page_of(book, point.id)}"
        verdict = found.verdict if point.tests else UNTESTABLE
        words, style = _AGREES.get(verdict, (NOT_RUN, "pending"))
        if found.verdict == "not supported":
            words = "disagrees" if found.against else "undecided"
        elif verdict == UNTESTABLE and any(claim.get("n") == 2 for _, _, claim in found.claims):
            words = "undecided"  # two runs leave it open
        told = "\n".join(_each(found, profile, True)) or "–"
        says = f"“{text(point.says)}” [{text(point.name)}]{{.claim-id}}{page}"
        rows.append([says, f"{badge(words, style)}\n\n{point.limits}", told])
    return table(["The paper", "Beside it", "Measured here"], rows, "statements beside")


def _page_of(book: Book, name: str) -> str:
    page = book.figures.get(name)
    return book.link(name, page.title.partition(":")[0] if page else "")


def _label(found: Finding) -> str:
    name, labels = found.statement.name, found.statement.labels
    if not labels:
        return f"**{name}**"
    return (
        f"{{eq}}`{labels[0]}`" if labels[0][:3] == "eq-" else f"{{prf:ref}}`{name} <{labels[0]}>`"
    )


def _each(found: Finding, profile: str, linked: bool) -> list[str]:
    lines = []
    for notebook, ran, claim in found.claims:
        value = "–" if claim.get("value") is None else measured(claim)
        id = f"{notebook}:{claim['id']}" if len(found.statement.notebooks) > 1 else claim["id"]
        at = anchor(notebook, ran, claim["id"]) if linked else ""
        told = [f"[{code(id)}](#{at}) {value}" if at else f"{code(id)} {value}"]
        # No line breaks inside.
        for part in (f"our bar {bar(claim)}", f"n = {number(claim.get('n'))}"):
            told.append(part.replace(" ", "\N{NO-BREAK SPACE}"))
        told += [f"{ran} profile"] * (ran != profile)
        told += [f"*{claim['verdict']}*"] * (claim["verdict"] != "supported")
        lines.append(f"* {', '.join(told)}")
    return lines


def failing_table(results: Mapping[tuple[str, str], Result], pages: Mapping[str, str]) -> str:
    """The claims that the run of record does not support: one table, or a sentence if none."""
    rows = []
    for name, result in taken(results, RECORDS[0]).items():
        for claim in result.claims if result.profile in RECORDS else []:
            if claim["verdict"] == "not supported":
                page = f"[{name}]({pages[name]}.md)" if name in pages else f"`{name}`"
                found = f"{measured(claim)}; our bar {bar(claim)}"
                rows.append([text(claim["statement"]), found, page])
    if not rows:
        return "There is none in the record."
    return table(["Claim", "Measured", "Notebook"], rows, "failing", fitted=True)


def claims_table(book: Book) -> str:
    """Every claim of every notebook, in the chosen profile beside the run of record."""
    rows, records = [], dict[str, None]()
    columns = max((len(book.shown(name)) for name in book.names), default=1)
    for name in book.names:
        link = _page_of(book, name)
        shown = [book.profile, book.recorded(name)][:columns]
        records |= dict.fromkeys(shown[1:])
        by_id: dict[str, dict[str, dict[str, Any]]] = {}
        for profile in shown:
            result = book.results.get((name, profile))
            for claim in result.claims if result else ():
                by_id.setdefault(claim["id"], {})[profile] = claim
        for claims in by_id.values():
            statement = text(next(iter(claims.values()))["statement"])
            rows.append([f"{statement} {link}", *(_cell(claims.get(p)) for p in shown)])
        if not by_id:
            rows.append([link, *(_cell(None) for _ in shown)])
    if not rows:
        return "No claim has been tested yet."
    heads = [f"Your own run ({book.profile})", f"Run of record ({', '.join(records)})"]
    if book.profile in RECORDS:
        heads[0] = f"Run of record ({book.profile})"
    return table(["Claim", *heads[:columns]], rows, "claims")


def _cell(claim: Mapping[str, Any] | None) -> str:
    if claim is None:
        return badge("not run", "pending")
    return badge(claim["verdict"]) + (
        "" if claim.get("value") is None else f"\n\n{measured(claim)}"
    )


def record_table(book: Book) -> str:
    """Runs that differ only in beta, seed and member of a family as one row; all below."""
    from seams.data import families
    from seams.training.record import listing

    runs = listing(book.record / "runs")
    if runs.empty:
        return "There is no run of record yet."
    rows = []
    family = lambda name: name.partition("-")[0] if families.is_member(name) else name
    alike = ["family", "resolution", "network", "covariance", "images", "device"]
    for key, group in runs.assign(family=runs["dataset"].map(family)).groupby(alike, sort=False):
        name, side, network, kind, images, device = cast("tuple[Any, ...]", key)
        members = group["dataset"].unique()
        data = code(members[0]) if len(members) == 1 else f"{code(name)}, {len(members)} sets"
        annealed = group["beta_start"].notna()
        betas = [f"{beta:.4g}" for beta in sorted(group["beta"][~annealed].unique())]
        if len(betas) > _BETAS_LISTED:
            betas = [f"{betas[0]} to {betas[-1]}, {len(betas)} values"]
        pairs = group[annealed][["beta_start", "beta"]].drop_duplicates().itertuples(index=False)
        betas += [f"{start:g} to {end:g}" for start, end in pairs]
        size = f" {side} × {side}" if side > 1 else ""
        cells = [f"{data}{size}", text(f"{network}, {kind}"), ", ".join(betas)]
        cells += [number(len(group)), number(int(images))]
        rows.append([*cells, duration(float(group["seconds"].sum())), text(device)])
    head = ["Data", "Network, posterior", "β", "Runs", "Images each", "Time in all", "On"]
    total = f"{len(runs)} runs, {duration(float(runs['seconds'].sum()))} of training."
    each = [
        [code(run["id"]), f"{code(run['dataset'])}, {text(run['covariance'])}", f"{run['beta']:g}"]
        + [f"{run['seed']}", duration(run["seconds"]), text(run["device"])]
        + [code(str(run["commit"])[:7])]
        for run in runs.to_dict("records")
    ]
    names = ["Run", "What", "β", "Seed", "Time", "On", "Commit"]
    listed = fence("dropdown", "Every run", table(names, each, "record", fitted=True))
    return f"{total}\n\n{table(head, rows, 'record', fitted=True)}\n\n{listed}"
