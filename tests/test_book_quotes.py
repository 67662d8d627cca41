"""What pages say is what the run of record holds: numbers are quoted, verdicts were read.

When a verdict of the record changes, read every page that argues from it; then run this file,
which writes the verdicts that the pages were read with.
"""

import json
import re
from pathlib import Path

import yaml

from seams.paper.reading import read_results

ROOT = Path(__file__).parent.parent
READ = ROOT / "book" / "_verdicts.yml"


def test_pages_quote_what_the_record_holds() -> None:
    """Else a reader of the record sees "not run", and a book with own results is refused."""
    quoted = {
        (name, key)
        for page in (ROOT / "book").glob("*.md")
        for name, key in re.findall(r"\{\{\s*(\w+)\.values\.(\w+)", page.read_text("utf-8"))
    }
    assert len(quoted) > 100
    figures = ROOT / "record" / "figures"
    held = {n: json.loads((figures / n / "numbers.json").read_text()) for n, _ in quoted}
    lacking = {(name, key) for name, key in quoted if key not in held[name]["values"]}
    assert not lacking, sorted(lacking)


def verdicts() -> dict[str, dict[str, list[str]]]:
    """Of the record: claims by notebook and verdict."""
    found: dict[str, dict[str, list[str]]] = {}
    for (name, _), result in sorted(read_results(ROOT / "nothing", ROOT / "record").items()):
        for claim in sorted(result.claims, key=lambda claim: claim["id"]):
            found.setdefault(name, {}).setdefault(claim["verdict"], []).append(claim["id"])
    return found


def test_pages_were_read_with_these_verdicts() -> None:
    read, held = yaml.safe_load(READ.read_text()), verdicts()
    pages = {
        name: sorted(
            page.name
            for page in (ROOT / "book").glob("*.md")
            if re.search(rf"\{{\{{\s*{name}\.", page.read_text("utf-8"))
        )
        for name in held
    }
    changed = {name: pages[name] for name in held if held[name] != read.get(name)}
    assert not changed, f"verdicts changed: read these pages, then python {Path(__file__).name}"
    assert read.keys() == held.keys()


if __name__ == "__main__":
    READ.write_text(yaml.safe_dump(verdicts(), width=110, default_flow_style=None))
