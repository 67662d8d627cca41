"""What a browser wants of each page: a description, no preload in vain, excerpts in the search."""

import json
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


def remember(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Keep the text of a page for the excerpts of the search."""
    texts = app.env.__dict__.setdefault("seams_texts", {})
    seen = (t for t in tree.findall(nodes.Text) if not isinstance(t.parent, nodes.raw))
    texts[page] = " ".join(" ".join(seen).split())


def finish(app: Sphinx, failed: Exception | None) -> None:
    """Take out preloaded fonts, refused from a file with three errors a page; complete the search.

    Sphinx fetches each page for its excerpt, which a browser refuses from a file as well.
    """
    if failed:
        return
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        path.write_text(PRELOAD.sub("", text), encoding="utf-8")
    search = Path(app.outdir) / "search.html"
    texts = json.dumps(app.env.__dict__.get("seams_texts", {}), sort_keys=True)
    program = (Path(app.confdir) / "_live" / "search.js").read_text(encoding="utf-8")
    (search.parent / "_static" / "texts.js").write_text(f"const texts = {texts};\n{program}")
    script = '<script src="_static/texts.js"></script></body>'
    search.write_text(search.read_text(encoding="utf-8").replace("</body>", script))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("html-page-context", describe)
    app.connect("doctree-resolved", remember)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
