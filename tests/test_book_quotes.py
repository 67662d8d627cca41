"""Every number that a page quotes was written by its notebook, in the run of record."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DRAWN_BEFORE = {"eq06"}  # whose figures of record are older than its page


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
    assert {name for name, _ in lacking} == DRAWN_BEFORE, sorted(lacking)
