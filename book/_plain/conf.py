"""The book by plain Sphinx 9 and MyST-NB, without Jupyter Book; see CONTRIBUTING.md."""

import sys
from pathlib import Path
from typing import Any

import yaml

book = Path(__file__).resolve().parents[1]
settings: dict[str, Any] = yaml.safe_load((book / "_config.yml").read_text(encoding="utf-8"))
sys.path.insert(0, str(book / "_ext"))

globals().update(settings["sphinx"]["config"])
extensions = [
    name
    for name in settings["sphinx"]["config"]["extensions"]
    if name not in ("jupyter_book", "sphinx_comments")
]
project, author, copyright = (settings[key] for key in ("title", "author", "copyright"))
exclude_patterns = ["_*", "**/_*", "results"]
myst_enable_extensions = settings["parse"]["myst_enable_extensions"]
nb_execution_mode = settings["execute"]["execute_notebooks"]
nb_output_stderr = settings["execute"]["stderr_output"]
bibtex_bibfiles = [str(book / name) for name in settings["bibtex_bibfiles"]]
numfig = True
html_theme = "sphinx_book_theme"
html_logo, html_favicon = str(book / settings["logo"]), str(book / settings["html"]["favicon"])
html_static_path = [str(book / "_assets")]
