"""The book without Jupyter Book: its sources by plain Sphinx, warnings as errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_book import PAGES, needs_jupyter_book

from seams import book

# Of the lock; SEAMS_SPHINX names that of another environment, such as one with Sphinx 9.
SPHINX = os.environ.get("SEAMS_SPHINX") or Path(sys.executable).with_name("sphinx-build")


@pytest.mark.slow
@needs_jupyter_book
def test_plain_sphinx_builds_the_same_pages(tmp_path: Path) -> None:
    work = tmp_path / "pages"
    book.assemble(tmp_path / "results", work, "quick", source=PAGES)
    command = [SPHINX, "-q", "-W", "-n", "--keep-going", "-c", work / "_plain"]
    done = subprocess.run([*command, work, tmp_path / "site"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in PAGES.glob("*.md"):
        assert (tmp_path / "site" / f"{page.stem}.html").is_file(), page
    text = (tmp_path / "site" / "theory.html").read_text(encoding="utf-8")
    assert "Eq. 6" in text and "Theorem 6.5" in text  # numbered as the paper does
