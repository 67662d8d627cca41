"""Whatever a result says arrives on a page as the letters it has."""

import json
import random
from pathlib import Path

import pytest
import yaml
from test_book import CLAIM, PAGES, needs_jupyter_book, write_pages, write_result

from seams import book
from seams.book import markup
from seams.paper.gallery import image_bytes

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</div></section><iframe src=//evil>",
    "{include}`/etc/passwd`",
    "```{include} /etc/passwd\n```",
    "\n\n```{raw} html\n<script>alert(1)</script>\n```\n",
    ":::{include} /etc/passwd\n:::",
    "text\n:::\n::::\n:::::{raw} html\n<b>\n:::::",
    "{{ fig05.evidence }} and {{ live }}",
    "[a link](javascript:alert(1)) and <https://example.org>",
    "![x](file:///etc/passwd)",
    "`code` ``more`` $x$ $$y$$ \\(z\\) \\begin{align}",
    "| a | b |\n|---|---|\n| c | d |",
    "# heading",
    "> quote",
    "1. list",
    "12) list",
    "- list",
    "+ list",
    "* list",
    "(target)=",
    "% comment",
    "+++",
    "---",
    "===",
    ": definition",
    "&lt;b&gt; &#60; &amp;",
    "[^1] [cite] {cite}`x`{.class}",
    "~~~ ~a~ ^b^ _c_ **d**",
    "\u202egnp.exe \x00\x1b[31m",
    "\u2028```{raw} html\u2028<b>",
]


def shown(source: str) -> list[tuple[str, str]]:
    """What MyST reads with the extensions of the book: kinds of tokens and their text."""
    from myst_parser.config.main import MdParserConfig
    from myst_parser.mdit_to_docutils.base import DocutilsRenderer
    from myst_parser.parsers.mdit import create_md_parser

    extensions = {"amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"}
    parser = create_md_parser(MdParserConfig(enable_extensions=extensions), DocutilsRenderer)
    return [
        (child.type, child.content)
        for token in parser.parse(source)
        for child in (token.children or [token])
        if not token.type.startswith("paragraph")
    ]


def noise(seed: int) -> str:
    letters = "ab1 \n\t`*_{}[]()<>#|~$&!^:+-=.@\\\"'%;,/?é\u2028"
    draw = random.Random(seed)
    return "".join(draw.choice(letters) for _ in range(draw.randrange(1, 30)))


@needs_jupyter_book
@pytest.mark.parametrize("said", [*HOSTILE, *map(noise, range(200))])
def test_text_is_text(said: str) -> None:
    wanted = markup.line(said)
    for before in ("", "and "):
        found = shown(f"{before}{markup.text(said)}")
        assert {kind for kind, _ in found} <= {"text", "text_special"}, said
        assert "".join(content for _, content in found) == f"{before}{wanted}".strip()


@needs_jupyter_book
@pytest.mark.parametrize("said", [*HOSTILE, *map(noise, range(200))])
def test_code_is_code(said: str) -> None:
    wanted = markup.line(said) or "–"
    assert shown(f"of {markup.code(said)}")[1:] == [("code_inline", wanted)]


ASKED = ("fig05.evidence", "fig05.gallery", "failing", "fig05.rerun | seeds=1")


@needs_jupyter_book
def test_a_hostile_result_is_read_and_not_obeyed(tmp_path: Path) -> None:
    """One build of a small book whose every text is hostile; it has no script but Sphinx's own."""
    (tmp_path / "secret.txt").write_text("the password list")
    texts = [*HOSTILE, f"{{include}}`{tmp_path / 'secret.txt'}`"]
    texts += [f"```{{include}} {tmp_path / 'secret.txt'}\n```", "<script>mine()</script>"]
    claims = [
        {**CLAIM, "id": f"x{t}", "statement": t, "note": t, "unit": t, "tolerance": t}
        for t in texts
    ]
    every = " ".join(texts)
    environment = dict.fromkeys(("python", "torch", "platform", "cpu", "cores", "commit"), every)
    changes = {
        "claims": claims,
        "values": {t: t for t in texts},
        "parameters": {"seeds": every} | {t: [t] for t in texts},
        "runs": {"count": every, "trained_images": every, "seconds": every, "device": every},
        "environment": environment,
    }
    folder = write_result(tmp_path / "results" / "quick", "fig05", "quick", **changes)
    (folder / "notebook.ipynb").unlink()
    mine = "</script><script>mine()</script>"
    gallery = json.dumps({"note": mine, "png": f'">{mine}'})
    (folder / "gallery.json").write_text(gallery)
    recorded = write_result(tmp_path / "record" / "figures", "fig05", "desk", **changes)
    notebook = json.loads((recorded / "notebook.ipynb").read_text())
    notebook["cells"][0]["source"] = "<script>mine()</script>"
    (recorded / "notebook.ipynb").write_text(json.dumps(notebook))
    page = "\n\n".join(["## Found", *(f"{{{{ {part} }}}}" for part in ASKED)])
    source = write_pages(tmp_path / "pages", page, index="{{ claims }}\n\n{{ tally }}")
    extensions = yaml.safe_load((PAGES / "_config.yml").read_text())["parse"]
    config = {"title": "Small", "execute": {"execute_notebooks": "off"}, "parse": extensions}
    (source / "_config.yml").write_text(yaml.safe_dump(config))
    (source / "_live").mkdir()
    (source / "_live" / "gallery.js").write_text("run();")
    (source / "_live" / "parts.js").touch()
    index = book.build(
        tmp_path / "results", tmp_path / "out", "quick", tmp_path / "record", source=source
    )
    assert not (index.parent / "notebooks").exists(), "a record's notebooks are not shown"
    for name in ("index.html", "fig05.html"):
        html = (index.parent / name).read_text(encoding="utf-8")
        assert "the password list" not in html and "root:" not in html
        for live in ("<script>alert", "<script>mine", "<img src=x", "<iframe", '"javascript:al'):
            assert live not in html, (name, live)
        assert "example.org</a>" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
        assert "{include}" in html


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("figure.png", b"GIF89a"),
        ("figure.png", b"<svg></svg>"),
        ("figure.svg", b"\x89PNG\r\n\x1a\n"),
        ("figure.svg", b"<html><svg/></html><script>x</script>"),
        ("figure.svg", b'<svg xmlns="x"><SCRIPT >x</SCRIPT></svg>'),
        ("figure.svg", b'<svg onload="x()"/>'),
        ("figure.svg", b'<svg><a href="javascript:x()">y</a></svg>'),
        ("figure.svg", b'<svg><image xlink:href="https://example.org/x.png"/></svg>'),
        ("figure.svg", b'<svg><image href="file:///etc/passwd"/></svg>'),
        ("figure.svg", b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'),
    ],
)
def test_pictures_are_what_their_names_say(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"figure.* as its name says\. Draw it again"):
        image_bytes(tmp_path / name)


def test_pictures_are_no_links(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "results" / "quick", "fig05", "quick")
    (tmp_path / "other.svg").write_bytes((folder / "figure.svg").read_bytes())
    assert image_bytes(tmp_path / "other.svg").startswith(b"<svg")
    (folder / "more.svg").symlink_to(tmp_path / "other.svg")
    source = write_pages(tmp_path / "pages")
    with pytest.raises(ValueError, match=r"more\.svg is a link or none\. Draw it again"):
        book.assemble(tmp_path / "results", tmp_path / "w", "quick", tmp_path, source=source)


def test_names_of_results_are_names(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "results" / "quick", "fig05", "quick")
    (folder / "x\n:::{include} y.svg").write_bytes((folder / "figure.svg").read_bytes())
    source = write_pages(tmp_path / "pages")
    with pytest.raises(ValueError, match=r"Names of results have letters.*include.*Rename it"):
        book.assemble(tmp_path / "results", tmp_path / "w", "quick", tmp_path, source=source)
