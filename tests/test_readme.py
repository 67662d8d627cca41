"""README's table is what the run of record found; run this file to write it anew."""

import re
from pathlib import Path
from typing import Any

from seams.book.markup import line
from seams.diagnosis import Diagnosis
from seams.paper.findings import find, tally
from seams.paper.reading import RECORDS, read_results

ROOT = Path(__file__).parents[1]
SHOWN = "eq-6 p1 lem-4.1 thm-5.2-if thm-5.2-only-if cor-6.1 thm-6.5 fig-5 fig-8 fig-11".split()
START, END = "<!-- from record/figures -->\n", "<!-- end -->\n"


def table() -> str:
    results = read_results(ROOT / "nothing", ROOT / "record")
    profile = next(p for p in RECORDS if any(ran == p for _, ran in results))
    lines = ["| in the paper | says | verdict | claims | measured by |", "|---|---|---|---|---|"]
    for found in find(results, profile):
        row = found.statement
        if row.id not in SHOWN:
            continue
        where = ", ".join(f"`{name}`" for name in row.notebooks)
        cells = (row.name, line(row.says), found.verdict, found.count, where)
        lines.append("| " + " | ".join(cells) + " |")
    runs = [result.numbers["runs"] for result in results.values()]
    devices = sorted({one for r in runs if r["count"] for one in r["device"].split(", ")})
    machines = sorted({result.numbers["environment"]["cpu"] for result in results.values()})
    told = f"Profile `{profile}`, on {' and '.join(devices)} ({', '.join(machines)}). "
    return "\n".join(lines) + "\n\n" + told + tally(results, profile) + "\n"


def test_the_table_is_the_record() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.split(START)[1].split(END)[0] == table()


def test_the_examples_run(capsys) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2 and len(blocks[0].strip().splitlines()) <= 10
    names: dict[str, Any] = {}
    exec(compile("\n".join(blocks), "README.md", "exec"), names)
    assert isinstance(names["found"], Diagnosis) and names["gram"].shape == (32, 4, 4)
    assert "of 4 active" in capsys.readouterr().out


def test_recorded_claims_have_a_verdict_from_their_numbers() -> None:
    claims = [
        claim
        for result in read_results(ROOT / "nothing", ROOT / "record").values()
        for claim in result.claims
        if claim["uncertainty"] is not None and claim["verdict"] != "not testable at this scale"
    ]
    assert len(claims) > 50
    for claim in claims:
        sign, threshold = re.fullmatch(r"([<>]) (\S+)", claim["tolerance"]).groups()
        low, high = claim["uncertainty"]
        holds = low > float(threshold) if sign == ">" else high < float(threshold)
        assert claim["verdict"] == ("supported" if holds else "not supported"), claim["id"]


if __name__ == "__main__":
    readme = (ROOT / "README.md").read_text()
    before, rest = readme.split(START)
    (ROOT / "README.md").write_text(before + START + table() + END + rest.split(END)[1])
