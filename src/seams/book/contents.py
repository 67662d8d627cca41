"""What there is to show: the pages, what each is about, and the results they may quote."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seams.paper.reading import PROFILES, RECORDS, Result, read_results

__all__ = ["Book", "Page", "read", "table_of_contents"]

_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # goes into links, paths and options as it is


@dataclass(frozen=True)
class Page:
    """A page of the book: its text, and of which notebook it shows what."""

    stem: str
    text: str
    title: str
    figure: str | None
    captions: Mapping[str, str]


@dataclass(frozen=True)
class Book:
    """What the pages may ask for while they are assembled."""

    profile: str
    source: Path
    record: Path
    results: Mapping[tuple[str, str], Result]
    pages: Mapping[str, Page]

    @property
    def figures(self) -> dict[str, Page]:
        """The page of each notebook, by its short name."""
        return {page.figure: page for page in self.pages.values() if page.figure}

    @property
    def names(self) -> list[str]:
        """Every notebook that has a page or a result, in order."""
        return sorted({*self.figures, *(name for name, _ in self.results)})

    @property
    def project(self) -> Path:
        """The folder that holds the book's."""
        return self.source.resolve().parent

    def recorded(self, name: str) -> str:
        """Profile of a notebook's run of record; of what it would be, if there is none."""
        return next((p for p in RECORDS if (name, p) in self.results), RECORDS[0])

    def shown(self, name: str) -> tuple[str, ...]:
        """The chosen profile, then that of the run of record."""
        return tuple(dict.fromkeys((self.profile, self.recorded(name))))

    def best(self, name: str) -> Result | None:
        """The run of record if there is one, else the run of the chosen profile."""
        found = self.results.get((name, self.recorded(name)))
        return found or self.results.get((name, self.profile))

    def link(self, name: str, words: str = "") -> str:
        """To the page of a notebook, if it has one."""
        page = self.figures.get(name)
        return f"[{words or name}]({page.stem}.md)" if page else f"`{name}`"


def read(results: Path | str, record: Path, profile: str, source: Path) -> Book:
    """The pages of `source` and what notebooks have left; arguments as of `seams.book.build`."""
    if profile not in PROFILES:
        raise ValueError(f"`profile` must be one of {', '.join(PROFILES)}; got {profile!r}.")
    if not (source / "_config.yml").is_file():
        raise ValueError(
            f"`source` must hold the book's _config.yml; {source} has none. "
            "Run this in the root of the project."
        )
    found = read_results(results, record)
    for result in found.values():
        for name in (result.name, *(image.name for image in result.images)):
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"Names of results have letters, digits, dots, - and _; {result.folder} has "
                    f"{name!r}. Rename it."
                )
    pages = {path.stem: _page(path) for path in sorted(source.glob("*.md"))}
    return Book(profile, source, record, found, pages)


def _page(path: Path) -> Page:
    import yaml

    text = path.read_text(encoding="utf-8")
    match = _FRONT_MATTER.match(text)
    matter = yaml.safe_load(match[1]) if match else {}
    body = text[match.end() :] if match else text
    title = re.search(r"^# (.+)$", body, re.MULTILINE)
    captions = {key: " ".join(value.split()) for key, value in matter.get("captions", {}).items()}
    return Page(path.stem, body, title[1] if title else path.stem, matter.get("figure"), captions)


def table_of_contents(book: Book, notebooks: Mapping[str, str]) -> dict[str, Any]:
    """The book's `_toc.yml`; `figures: all` in it are the pages of notebooks that it lacks."""
    import yaml

    # Numbered figures by their number, then the others by name; below each its executed notebook.
    contents = yaml.safe_load((book.source / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [contents, *contents.get("parts", [])]
    listed = {entry.get("file") for part in chapters for entry in part.get("chapters", ())}
    listed.add(contents["root"])
    order = lambda page: (not re.fullmatch(r"fig\d+", page.stem), page.stem)
    figures = sorted((p for p in book.figures.values() if p.stem not in listed), key=order)
    for part in chapters:
        entries: list[dict[str, Any]] = []
        for entry in part.get("chapters", ()):
            named = [{"file": page.stem} for page in figures] if "figures" in entry else [entry]
            entries += named
        for entry in entries:
            name = book.pages[entry["file"]].figure if entry["file"] in book.pages else None
            if name is not None and name in notebooks:
                title = f"Notebook ({notebooks[name]} profile)"
                entry["sections"] = [{"file": f"notebooks/{name}", "title": title}]
        if "chapters" in part:
            part["chapters"] = entries
        listed |= {entry["file"] for entry in entries}
    if lost := sorted(book.pages.keys() - listed):
        raise ValueError(
            f"Every page must be in a chapter; {', '.join(lost)} is in none. List it in _toc.yml, "
            "or say in front of it, as `figure: NAME`, of which notebook it is."
        )
    return contents
