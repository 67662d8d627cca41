"""Traversals under a slider: the tile that the page shows is the image that was decoded."""

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seams.book.live import moving
from seams.paper.gallery import FILE, Panel, write_gallery

PROGRAMS = Path(__file__).parents[1] / "book" / "_live"
LATENTS, STEPS, SIDE = 2, 3, 4

# A page of plain objects, as much of it as the program uses.
PAGE = """
class Node {
  constructor(tag) { this.tag = tag; this.children = []; this.style = { setProperty() {} };
    this.attributes = {}; this.listeners = {}; }
  append(...nodes) { this.children.push(...nodes); }
  setAttribute(name, value) { this.attributes[name] = value; }
  addEventListener(name, f) { this.listeners[name] = f; }
  all(test) { return [...(test(this) ? [this] : []),
    ...this.children.flatMap((c) => (c instanceof Node ? c.all(test) : []))]; }
}
const root = new Node("div");
const still = { src: "data:image/png;base64,", remove() { root.still = false; } };
root.querySelector = (name) => (name === "img" ? still : { textContent: CONTENT });
globalThis.document = { currentScript: { previousElementSibling: root },
  createElement: (tag) => new Node(tag), querySelectorAll: () => [root] };
globalThis.matchMedia = () => ({ matches: STILL });
{ PROGRAM }
const [control] = root.all((n) => n.type === "range");
control.value = "2";
control.listeners.input();
const seen = root.all((n) => n.tag === "section").map((section) => ({ hidden: section.hidden,
  tiles: section.all((n) => n.attributes.role === "img").map((tile) =>
    [tile.style.backgroundPosition, tile.attributes["aria-label"]]) }));
const told = control.attributes["aria-valuetext"];
console.log(JSON.stringify({ seen, told, still: root.still,
  buttons: root.all((n) => n.tag === "button").length }));
"""


def panel(name: str, group: str, seed: int, side: int = SIDE) -> Panel:
    images = np.random.default_rng(seed).integers(0, 256, (LATENTS, STEPS, side, side))
    return Panel(name, group, images.astype(np.uint8), np.array([0.912, 0.0]))


PANELS = [
    panel("diagonal", "β = 0.1", 0),
    panel("diagonal", "β = 1", 1),
    panel("full", "β = 1", 2),
]


def test_the_sheet_has_a_row_for_each_latent_and_a_column_for_each_step(tmp_path: Path) -> None:
    path = write_gallery(tmp_path, PANELS, -2.0, 2.0)
    assert path == tmp_path / FILE
    content = json.loads(path.read_text())
    sheet = np.array(Image.open(io.BytesIO(base64.b64decode(content["png"]))))
    for p, shown in enumerate(PANELS):
        for latent in range(LATENTS):
            for step in range(STEPS):
                top, left = (p * LATENTS + latent) * SIDE, step * SIDE
                tile = sheet[top : top + SIDE, left : left + SIDE]
                np.testing.assert_array_equal(tile, shown.traversals[latent, step])
    assert (content["low"], content["high"], content["steps"], content["side"]) == (-2, 2, 3, 4)
    first = {"name": "diagonal", "group": "β = 0.1", "activity": [0.91, 0.0]}
    assert content["panels"][0] == first


def test_equal_galleries_have_equal_bytes(tmp_path: Path) -> None:
    first, second = (write_gallery(tmp_path, PANELS, -2.0, 2.0).read_bytes() for _ in range(2))
    assert first == second


def test_a_page_holds_all_that_it_needs(tmp_path: Path) -> None:
    note = "Seed 0, </script> and all."
    write_gallery(tmp_path, PANELS, -2.0, 2.0, note)
    html = moving(tmp_path / FILE, PROGRAMS)
    content = re.search(r'application/json">(.*?)</script>', html, re.DOTALL)
    assert content and json.loads(content[1])["note"] == note
    assert html.count("</script>") == 2
    namespace = "http://www.w3.org/2000/svg"  # a name, which nothing fetches
    assert not re.search(r'https?://|src="(?!data:)|import ', html.replace(namespace, ""))
    png = json.loads((tmp_path / FILE).read_text())["png"]
    assert html.count(png) == 1  # as an image, which is there without scripts
    assert moving(tmp_path / "film.json", PROGRAMS) == ""


@pytest.mark.skipif(not shutil.which("node"), reason="the program is JavaScript")
@pytest.mark.parametrize("still", [True, False])
def test_the_slider_shows_the_same_step_of_every_latent(tmp_path: Path, still: bool) -> None:
    content = write_gallery(tmp_path, PANELS, -2.0, 2.0).read_text()
    program = PAGE.replace("CONTENT", json.dumps(content)).replace("STILL", json.dumps(still))
    program = program.replace(
        "PROGRAM", "".join((PROGRAMS / f"{name}.js").read_text() for name in ("parts", "gallery"))
    )
    done = subprocess.run(["node", "-"], input=program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["still"] is False  # the program took the sheet's place
    assert found["told"] == "2.0 prior standard deviations"
    assert found["buttons"] == (0 if still else 1)  # no animation for who asked for none
    assert [s["hidden"] for s in found["seen"]] == [True, False, False]  # the last group is shown
    places = [place for s in found["seen"] for place, _ in s["tiles"]]
    assert places == [f"-128px {-64 * row}px" for row in range(6)]
    assert found["seen"][2]["tiles"][1][1] == "full, latent 2 in activity, at 2.0"


def test_panels_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must have traversals of one shape"):
        write_gallery(tmp_path, [PANELS[0], panel("x", "y", 0, side=8)], -2.0, 2.0)
    with pytest.raises(ValueError, match=r"must have traversals of one shape; got \[\]"):
        write_gallery(tmp_path, [], -2.0, 2.0)


def test_images_too_large_for_a_page_are_averaged(tmp_path: Path) -> None:
    large = panel("x", "y", 0, side=256)  # noise: nothing to compress
    content = json.loads(write_gallery(tmp_path, [large], -2.0, 2.0).read_text())
    assert content["side"] == 128 and len(content["png"]) < 300_000
    tile = np.array(Image.open(io.BytesIO(base64.b64decode(content["png"]))))[128:, :128]
    expected = large.traversals[1, 0].astype(float).reshape(128, 2, 128, 2).mean((1, 3))
    assert np.abs(tile - expected).max() <= 0.5
