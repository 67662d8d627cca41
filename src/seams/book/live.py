"""What a reader moves: decoders in the browser, and traversals under a slider.

A page of the book must open from a file, so everything is within it: parameters as 16-bit integers
with a scale for each tensor, which resolves them to 0.002 % of the largest; images as one PNG.
"""

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from seams.book.markup import fence
from seams.paper.gallery import FILE
from seams.training import Run
from seams.training.record import kept_decoders
from seams.training.store import FILES

__all__ = ["figure", "gallery", "models", "page"]

_LARGEST = 32767


def models(record: Path) -> list[dict[str, Any]]:
    """Decoders that a browser can run: one of each covariance, of large images, at beta near 1."""
    found: dict[tuple[Any, ...], dict[str, Run]] = {}
    for run in sorted(kept_decoders(record), key=lambda run: -run.config.seed):
        config = run.config
        if config.activation == "silu":
            near = -abs(math.log(config.beta))
            alike = (config.resolution, near, config.network, config.dataset)
            found.setdefault(alike, {})[config.covariance] = run
    pairs = [alike for alike, runs in found.items() if {"diagonal", "full"} <= runs.keys()]
    return [_model(run) for _, run in sorted(found[max(pairs)].items())] if pairs else []


def _model(run: Run) -> dict[str, Any]:
    weights = load_file(run.folder / FILES.decoder)
    activity = run.arrays["activity"]
    layers = sorted({int(name.partition(".")[0]) for name in weights})
    return {
        "covariance": run.config.covariance,
        "beta": run.config.beta,
        "activity": [round(float(a), 4) for a in activity],
        "order": np.argsort(-activity).tolist(),
        "layers": [
            {kind: _packed(weights[f"{i}.{kind}"]) for kind in ("weight", "bias")} for i in layers
        ],
    }


def page(record: Path, programs: Path) -> str:
    """The page where latents are moved: `models` of the record and the program that runs them."""
    runs = models(record)
    if not runs:
        return "No decoder is kept in the record yet."
    pixels = _pixels(runs[0]["layers"])
    content = _json({"models": runs, "pixels": pixels})
    html = _with_program(
        f'<div class="live"></div>\n<script type="application/json">{content}</script>',
        programs / "live.js",
    )
    return f"{html}\n\n*β = {runs[0]['beta']:g}; {len(html) / 1e6:.1f} MB, all within this page.*"


def figure(name: str, programs: Path) -> str:
    """One of the live figures that need no run: `linear`, `surface` or `noise`."""
    return _with_program(f'<div class="live live-{name}"></div>', programs / f"{name}.js")


def _pixels(layers: list[dict[str, Any]]) -> int:
    """Of a decoder's image: convolutions double 4 x 4, an affine layer has a value each."""
    doubled = sum(len(layer["weight"]["shape"]) == 4 for layer in layers)
    return (4 << doubled) ** 2 if doubled else layers[-1]["weight"]["shape"][0]


def gallery(folder: Path, programs: Path) -> str:
    """What `write_gallery` left in a folder of results, with its slider; empty if nothing."""
    path = folder / FILE
    if not path.is_file():
        return ""
    content = _json(json.loads(path.read_text(encoding="utf-8")))
    return _with_program(
        f'<div class="live gallery"><script type="application/json">{content}</script></div>',
        programs / "gallery.js",
    )


def _json(content: object) -> str:
    """On one line, and without a character that could end its script."""
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _with_program(html: str, program: Path) -> str:
    parts = (program.with_name("parts.js")).read_text(encoding="utf-8")
    script = program.read_text(encoding="utf-8")
    told = "Moving this figure needs JavaScript; pictures on this page show it at rest."
    return fence(
        "raw",
        "html",
        f"{html}\n<script>\n{{\n{parts}{script}}}</script>\n<noscript>{told}</noscript>",
    )


def _packed(values: np.ndarray) -> dict[str, Any]:
    scale = float(np.abs(values).max()) / _LARGEST or 1.0
    rounded = np.round(values / scale).astype("<i2")
    packed = base64.b64encode(rounded.tobytes()).decode()
    return {"values": packed, "scale": scale, "shape": list(values.shape)}
