"""The paper's own words beside what was found: of every figure, and with the right verdict."""

import json
import re
from pathlib import Path

import pytest
from test_book import write_result

from seams.book.contents import read
from seams.book.tables import beside
from seams.paper.points import POINTS

ROOT = Path(__file__).parents[1]
SIDES = [  # what the page says of the interval of one claim against a bar at 0, and of its runs
    ("agrees", [0.1, 0.3], "supported", 3),
    ("disagrees", [-0.3, -0.1], "not supported", 3),
    ("undecided", [-0.1, 0.3], "not supported", 3),
    ("undecided", [-0.9, 1.1], "not testable at this scale", 2),
    ("not comparable", None, "not testable at this scale", 1),
]


def test_every_figure_of_the_paper_has_its_words() -> None:
    assert {f"fig{k:02}" for k in range(1, 12)} < {point.id for point in POINTS}
    assert all(point.says and point.limits for point in POINTS)
    texts = {page.stem: page.read_text(encoding="utf-8") for page in ROOT.glob("book/*.md")}
    for name in {point.id for point in POINTS}:
        assert f"{{{{ {name}.beside }}}}" in texts[name], f"book/{name}.md has no room for it"


def test_claims_beside_the_paper_are_of_the_record() -> None:
    held = {
        f"{path.parent.name}:{claim['id']}"
        for path in ROOT.glob("record/figures/*/numbers.json")
        for claim in json.loads(path.read_text(encoding="utf-8"))["claims"]
    }
    assert not {test for point in POINTS for test in point.tests} - held


@pytest.mark.parametrize(("word", "interval", "verdict", "n"), SIDES)
def test_what_a_page_says_follows_from_the_interval(
    tmp_path: Path, word: str, interval: list[float] | None, verdict: str, n: int
) -> None:
    claim = {"id": "orthogonal", "statement": "It is.", "n": n, "tolerance": "> 0", "unit": ""}
    claim |= {"value": 0.1 if interval else None, "uncertainty": interval, "verdict": verdict}
    write_result(tmp_path / "record" / "figures", "fig07", "desk", claims=[claim])
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "_config.yml").write_text("title: x\n")
    (tmp_path / "book" / "fig07.md").write_text("---\nfigure: fig07\n---\n# Figure 7\n")
    book = read(tmp_path / "none", tmp_path / "record", "quick", tmp_path / "book")
    first, second = re.split(r"\n\* - ", beside(book, "fig07"))[2:]
    assert f"[{word}]" in first and "“For full covariance" in first
    assert ("orthogonal" in first) == (interval is not None or word == "not comparable")
    assert "[not comparable]" in second  # left to the eye: no claim stands beside it
