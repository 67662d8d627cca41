"""What a reader's browser wants of each page, and Sphinx does not give.

A description; no font preloaded in vain; excerpts in the search; and the first of each word of the
glossary on a page linked to it, with its meaning under the pointer.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

PRELOAD = re.compile(r'<link rel="preload" as="font"[^>]*>\s*')
LENGTH = 300  # letters of a description


def learn(app: Sphinx, tree: nodes.document) -> None:
    """Keep the words of the glossary, with where they stand and what they mean."""
    for item in tree.findall(nodes.definition_list_item):
        if isinstance(item.parent.parent, addnodes.glossary):
            term, meaning = item[0], " ".join(item[-1].astext().split())
            words = app.env.__dict__.setdefault("seams_words", {})
            words[term.astext()] = (app.env.docname, term["ids"][0], meaning)


def explain(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Link the first of each word in running text; not in headings, captions, links or code."""
    words = dict(app.env.__dict__.get("seams_words", {}))
    if app.builder.format != "html" or page in {where for where, *_ in words.values()}:
        return
    sources = {p for source in tree.findall(nodes.citation) for p in source.children}
    for paragraph in [p for p in tree.findall(nodes.paragraph) if p not in sources]:
        for text in [node for node in paragraph.children if isinstance(node, nodes.Text)]:
            parts, rest = [], str(text)
            while words and (found := pattern(words).search(rest)):
                word = next(w for w in words if w.lower() == found[1].lower())
                where, place, meaning = words.pop(word)
                uri = f"{app.builder.get_relative_uri(page, where)}#{place}"
                link = nodes.reference("", found[0], refuri=uri, internal=True)
                link["reftitle"], link["classes"] = meaning, ["word"]
                parts += [nodes.Text(rest[: found.start()]), link]
                rest = rest[found.end() :]
            if parts:
                paragraph.replace(text, [*parts, nodes.Text(rest)])


def pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Any of the words, longest first, also in the plural; capitals as they are, but the first."""
    either = lambda w: f"[{w[0].upper()}{w[0]}]{re.escape(w[1:])}" if w.islower() else re.escape(w)
    longest = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])({'|'.join(map(either, longest))})s?(?![\w-])")


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
    program = (Path(app.srcdir) / "_live" / "search.js").read_text(encoding="utf-8")
    (search.parent / "_static" / "texts.js").write_text(f"const texts = {texts};\n{program}")
    script = '<script src="_static/texts.js"></script></body>'
    search.write_text(search.read_text(encoding="utf-8").replace("</body>", script))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("html-page-context", describe)
    app.connect("doctree-read", learn)
    app.connect("doctree-resolved", remember)
    app.connect("doctree-resolved", explain)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
