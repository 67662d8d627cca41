"""What a browser and a search engine want of each page: a description, and no preload in vain."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PRELOAD = re.compile(r'<link rel="preload" as="font"[^>]*>\s*')
LENGTH = 300  # letters of a description


def describe(app: Sphinx, page: str, _: str, context: dict[str, Any], tree: Any) -> None:
    """Add the first paragraph of a page as its description."""
    if tree is None or not (first := next(tree.findall(nodes.paragraph), None)):
        return
    told = " ".join(first.astext().split())
    if len(told) > LENGTH:
        told = told[:LENGTH].rpartition(" ")[0] + "…"
    told = told.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    context["metatags"] = (
        f'{context.get("metatags", "")}<meta name="description" content="{told}">'
    )


def finish(app: Sphinx, failed: Exception | None) -> None:
    """Take out the preloaded fonts: from a file they are refused, with three errors a page."""
    for path in [] if failed else Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        path.write_text(PRELOAD.sub("", text), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("html-page-context", describe)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
