"""What a reader moves: decoders in the browser, and traversals under a slider.

A page of the book must open from a file, so everything is within it: parameters as 16-bit integers
with a scale for each tensor, which resolves them to 0.002 % of the largest; images as one PNG.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from seams.book.markup import fence
from seams.paper.gallery import FILE
from seams.training.record import kept_decoders
from seams.training.store import FILES

__all__ = ["gallery", "models", "page"]

_LARGEST = 32767


def models(record: Path) -> list[dict[str, Any]]:
    """Decoders that a browser can run, one run of each covariance, at betas that have both."""
    found = {}
    for run in kept_decoders(record):
        config = run.config
        if config.network == "mlp" and config.activation == "silu":
            found[config.covariance, config.beta] = run
    entries = []
    for (covariance, beta), run in sorted(found.items(), key=lambda item: item[0]):
        if {(kind, beta) for kind in ("diagonal", "full")} <= found.keys():
            weights = load_file(run.folder / FILES.decoder)
            layers = sorted({int(name.partition(".")[0]) for name in weights})
            activity = run.arrays["activity"]
            entries.append(
                {
                    "covariance": covariance,
                    "beta": beta,
                    "activity": [round(float(a), 4) for a in activity],
                    "order": np.argsort(-activity).tolist(),
                    "layers": [
                        {kind: _packed(weights[f"{i}.{kind}"]) for kind in ("weight", "bias")}
                        for i in layers
                    ],
                }
            )
    return entries


def page(record: Path, programs: Path) -> str:
    """The page where latents are moved: `models` of the record and the program that runs them."""
    found = models(record)
    if not found:
        return "No decoder is kept in the record yet."
    return _with_program(
        '<div id="seams-live" class="live"></div>\n'
        '<script type="application/json" id="seams-live-models">'
        f"{_json({'models': found})}</script>",
        programs / "live.js",
    )


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
    script = program.read_text(encoding="utf-8")
    told = "<noscript>Moving these latents needs JavaScript.</noscript>"
    return fence("raw", "html", f"{html}\n<script>\n{script}</script>\n{told}")


def _packed(values: np.ndarray) -> dict[str, Any]:
    scale = float(np.abs(values).max()) / _LARGEST or 1.0
    rounded = np.round(values / scale).astype("<i2")
    return {"values": base64.b64encode(rounded.tobytes()).decode(), "scale": scale}
