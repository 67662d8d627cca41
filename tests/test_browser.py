"""The book in a browser, from the file system: errors, requests, links, formulas, width."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from browser import Tab, browser, needs_browser
from test_book import PAGES, needs_jupyter_book, write_result

from seams import book

WIDTHS = (1300, 390)
PHONE = WIDTHS[1]

# What is wider than the window and cannot be scrolled by itself; formulas that were not set;
# images that did not load, or have no word for those who cannot see them.
FAULTS = r"""(() => {
  const first = (name) => document.querySelector(name);
  const article = first("article.bd-article") ?? first("main") ?? document.body;
  const short = (text) => text.slice(0, 80);
  const edge = document.documentElement.clientWidth + 1, found = [];
  const scrolls = (node) => node && node !== document.body
    && (getComputedStyle(node).overflowX !== "visible" || scrolls(node.parentElement));
  for (const node of article.querySelectorAll("*")) {
    const { right, width } = node.getBoundingClientRect();
    const wide = width && right > edge && !scrolls(node.parentElement);
    if (wide) found.push(`wide: ${short(node.outerHTML)}`);
  }
  if (document.documentElement.scrollWidth > edge) found.push("the page scrolls sideways");
  for (const node of article.querySelectorAll(".math")) {
    if (!node.querySelector("mjx-container")) found.push(`not set: ${short(node.textContent)}`);
  }
  if (article.querySelector("mjx-merror, [data-mjx-error]")) found.push("a formula has an error");
  for (const node of article.querySelectorAll("img")) {
    if (!node.alt) found.push(`no words: ${node.src}`);
    if (node.complete && !node.naturalWidth) found.push(`no picture: ${node.src}`);
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def looked_at(tab: Tab, page: Path, width: int, theme: str) -> list[str]:
    """Everything wrong with a page."""
    tab.open(page.as_uri(), width, theme=theme)
    outside = [url for url in tab.requests if not url.startswith(("file:", "data:"))]
    return [*tab.problems, *map("asks for {}".format, outside), *tab.value(FAULTS)]


def dead_links(site: Path) -> list[str]:
    """Links between pages that lead nowhere, or to no place on their page."""
    files = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    pages = {path: path.read_text(encoding="utf-8") for path in files}
    ids = {page: set(re.findall(r'\bid="([^"]+)"', text)) for page, text in pages.items()}
    dead = []
    for page, text in pages.items():
        body = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
        for link in set(re.findall(r'<a\b[^>]*\bhref="([^"]+)"', body)):
            if re.match(r"[a-z]+:|#$", link):
                continue
            name, place = urldefrag(link)
            target = (page.parent / unquote(name)).resolve() if name else page
            known = ids.get(target, set()) if place else None
            if not target.is_file() or (known is not None and unquote(place) not in known):
                dead.append(f"{page.name}: {link}")
    return dead


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pages of the real book, in its real clothes."""
    folder = tmp_path_factory.mktemp("small")
    source = folder / "pages"
    shutil.copytree(PAGES, source, ignore=shutil.ignore_patterns("*.md", "_toc.yml", "art.py"))
    chapters = "chapters: [{file: fig05}, {file: glossary}]\n"
    (source / "_toc.yml").write_text(f"format: jb-book\nroot: index\n{chapters}")
    words = "```{glossary}\nneedle\n  A thin & sharp thing.\n\nMIG\n  A gap.\n```\n"
    (source / "glossary.md").write_text(f"# Glossary\n\n{words}")
    (source / "index.md").write_text("# Seams\n\nA first paragraph.\n\n$$a^2$$ (eq-1)\n")
    front = "---\nfigure: fig05\ncaptions: {figure: 'A picture of $x^2$.'}\n---\n"
    text = "# Figure 5\n\nA claim about needles.\n\nNo `needle`, mig, MIGs, one needle.\n\n"
    text += "{{ fig05.figure }}\n\n{{ fig05.evidence }}\n"
    (source / "fig05.md").write_text(front + text + "\n{{ live.surface }}\n")
    write_result(folder / "results" / "quick", "fig05", "quick", values={"long_" * 20: 1e-9})
    write_result(folder / "record" / "figures", "fig05", "desk")
    book.build(folder / "results", folder / "site", record=folder / "record", source=source)
    return folder / "site"


@needs_browser
@needs_jupyter_book
def test_a_small_book_is_whole(tab: Tab, small: Path) -> None:
    for width in WIDTHS:
        assert looked_at(tab, small / "fig05.html", width, "light") == []
    assert looked_at(tab, small / "index.html", PHONE, "dark") == []
    assert dead_links(small) == []
    assert (
        '<meta name="description" content="A first paragraph.">'
        in (small / "index.html").read_text()
    )


@needs_browser
@needs_jupyter_book
def test_the_first_of_each_word_is_explained(tab: Tab, small: Path) -> None:
    tab.open((small / "fig05.html").as_uri())
    words = "[...document.querySelectorAll('a.word')].map((a) => [a.textContent, a.title])"
    assert tab.value(words) == [["needles", "A thin & sharp thing."], ["MIGs", "A gap."]]


@needs_browser
@needs_jupyter_book
def test_the_search_has_excerpts_from_a_file(tab: Tab, small: Path) -> None:
    tab.open((small / "search.html").as_uri() + "?q=needles")
    tab.value(
        "new Promise((done) => { const ask = () => document.querySelector('.context') ? done()"
        " : setTimeout(ask, 20); ask(); })"
    )
    found = tab.value("[...document.querySelectorAll('.context')].map((p) => p.textContent)")
    assert len(found) == 2 and any("A claim about needles." in text for text in found)
    assert tab.problems == []


@needs_browser
def test_the_look_finds_what_is_wrong(tab: Tab, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        "<!doctype html><meta name=viewport content='width=device-width'>"
        "<p style='width: 900px'>wide</p><span class=math>x^2</span><img src=none.png>"
        "<script src='https://seams.invalid/x.js'></script><script>throw Error('mine')</script>"
    )
    found = " ".join(looked_at(tab, page, PHONE, "light"))
    for fault in ("wide: <p", "not set: x^2", "no words", "seams.invalid", "Error: mine"):
        assert fault in found, fault
    (tmp_path / "other.html").write_text('<a id="a" href="page.html#b"></a><a href="no.html"></a>')
    assert {*dead_links(tmp_path)} == {"other.html: page.html#b", "other.html: no.html"}


@pytest.mark.slow
@needs_browser
@needs_jupyter_book
def test_every_page_of_the_book_is_whole(tab: Tab, tmp_path: Path) -> None:
    site = book.build(tmp_path / "results", tmp_path / "site", source=PAGES).parent
    wrong = {}
    for page in sorted(site.glob("*.html")):
        for width, theme in [(WIDTHS[0], "light"), (WIDTHS[0], "dark"), (PHONE, "light")]:
            if found := looked_at(tab, page, width, theme):
                wrong[page.name, width, theme] = found
            tab.picture(tmp_path / f"{page.stem}-{width}-{theme}.png")
    assert wrong == {}
    assert dead_links(site) == []
