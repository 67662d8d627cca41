"""Assemble the pages, and have Jupyter Book make a web site of them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from seams.book.contents import Book, read, table_of_contents
from seams.book.evidence import data_files, image_path
from seams.book.pages import substitute
from seams.paper.gallery import image_bytes
from seams.paper.reading import Result
from seams.project import project_root

__all__ = ["assemble", "build"]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PROBLEM = re.compile(r"WARNING|ERROR|CRITICAL|[A-Z]\w*(?:Error|Exception):")


def build(
    results: Path | str = "results",
    output: Path | str = "build/book",
    profile: str = "quick",
    record: Path | str | None = None,
    *,
    source: Path | str | None = None,
) -> Path:
    """Assemble the book beside `output` (its name with `-src`), build it, give its first page."""
    # A failure leaves the last good book. No dates: the same pages and results, the same files.
    output, source = Path(output).resolve(), Path(source or project_root() / "book")
    if output.exists() and any(output.iterdir()) and not (output / "searchindex.js").exists():
        raise ValueError(
            f"`output` must be a new folder or an earlier book; {output} holds other files. "
            "Name another folder."
        )
    work = output.with_name(f"{output.name}-src")
    assemble(results, work, profile, record, source=source)
    if problem := _build_site(work, source):
        raise RuntimeError(problem)
    site = work / "_build" / "html"
    (site / ".buildinfo").unlink(missing_ok=True)
    shutil.rmtree(output, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    site.rename(output)
    return output / "index.html"


def assemble(
    results: Path | str,
    work: Path | str,
    profile: str,
    record: Path | str | None = None,
    *,
    source: Path | str | None = None,
) -> None:
    """Write the sources into `work`, emptied first; `ValueError` for what cannot be shown."""
    import yaml

    source, work = Path(source or project_root() / "book"), Path(work)
    book = read(results, Path(record or project_root() / "record"), profile, source)
    pages = {
        f"{page.stem}.md": substitute(book, f"{page.stem}.md", page.text)
        for page in book.pages.values()
    }
    files = {
        image_path(result, image): image_bytes(image)
        for result in book.results.values()
        for image in result.images
    }
    for result in book.results.values():
        files |= data_files(book, result)
    for path in sorted((book.project / "notebooks").glob("*_*.ipynb")):
        files[f"results/{path.stem.partition('_')[0]}.ipynb"] = path.read_bytes()
    shown = _notebooks(book)
    profiles = {name: result.profile for name, result in shown.items()}
    pages["_toc.yml"] = yaml.safe_dump(table_of_contents(book, profiles), sort_keys=False)
    notebooks = {
        f"notebooks/{name}.ipynb": _with_link(result, book.figures[name].stem)
        for name, result in shown.items()
    }
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(
        source, work, ignore=shutil.ignore_patterns("_build", "__pycache__", "*.py[co]")
    )
    written = {name: page.encode() for name, page in (pages | notebooks).items()} | files
    for name, content in written.items():
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_bytes(content)


def _notebooks(book: Book) -> dict[str, Result]:
    """The result whose executed notebook is shown below each figure; those of a record are not."""
    found, recorded = {}, book.record / "figures"
    for name in book.figures:
        for profile in reversed(book.shown(name)):
            result = book.results.get((name, profile))
            if result and result.notebook and not result.folder.is_relative_to(recorded):
                found[name] = result
    return found


def _with_link(result: Result, page: str) -> str:
    assert result.notebook is not None
    notebook = json.loads(result.notebook.read_text(encoding="utf-8"))
    note = (
        f"*The notebook as it ran in the {result.profile} profile. "
        f"Claims, verdicts and machine: [](../{page}.md).*"
    )
    cell: dict[str, Any] = {"cell_type": "markdown", "metadata": {}, "source": note}
    if (notebook.get("nbformat", 4), notebook.get("nbformat_minor", 0)) >= (4, 5):
        cell["id"] = "seams-book"
    notebook["cells"].insert(1, cell)
    # Stripping may have removed what the highlighter asks for.
    lexer = {"name": "python", "pygments_lexer": "ipython3"}
    notebook["metadata"].setdefault("language_info", lexer)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _build_site(work: Path, source: Path) -> str | None:
    """Run Jupyter Book on the assembled sources; what went wrong, in one line, or None."""
    python = [sys.executable, "-c"]
    if subprocess.run([*python, "import jupyter_book"], capture_output=True).returncode:
        return (
            "`seams book` needs Jupyter Book 1.x, which is not installed. "
            "Install it with: pip install 'seams[book]'"
        )
    command = [*python, "from jupyter_book.cli.main import main; main()", "build", str(work)]
    ran = subprocess.run(
        [*command, "-W", "-n", "--keep-going", "-q"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        # The order of a set reaches the pages in places, and so would a colour terminal.
        env={**os.environ, "PYTHONHASHSEED": "0", "NO_COLOR": "1", "PYTHONWARNINGS": ""},
    )
    log = _COLOUR.sub("", ran.stdout).replace(f"{work}{os.sep}", f"{source}{os.sep}")
    (work / "build.log").write_text(log, encoding="utf-8")
    if ran.returncode == 0 and (work / "_build" / "html" / "index.html").is_file():
        return None
    problems = [line.strip() for line in log.splitlines() if _PROBLEM.search(line)]
    problems = problems or [f"exit status {ran.returncode}"]
    return (
        f"The book must build without a warning; {problems[0]} ({len(problems)} in all). "
        f"The whole log is {work / 'build.log'}."
    )
