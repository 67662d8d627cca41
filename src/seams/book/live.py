"""What a reader moves: decoders in the browser, and traversals under a slider.

A page of the book must open from a file, so everything is within it: parameters as 16-bit integers
with a scale for each tensor, which resolves them to 0.002 % of the largest; images as one PNG.
"""

import base64
import io
import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from safetensors.numpy import load_file

from seams.book.markup import fence
from seams.derivatives import jacobian
from seams.metrics import ACTIVE
from seams.paper.film import FILM
from seams.paper.gallery import FILE
from seams.training import Run
from seams.training.record import kept_decoders
from seams.training.store import FILES

__all__ = ["figure", "models", "moving", "page", "shown_pair", "still"]

_LARGEST = 32767
_START = 0.8  # of latents, in turn to either side, as the program has it
_STILLS = {
    FILE: "A row for each latent of each model, a column for each position of it.",
    FILM: "A row for each run, a column for each snapshot: JᵀJ, information, and traversals.",
}


def models(pair: Sequence[Run]) -> list[dict[str, Any]]:
    """The decoders of `shown_pair`, as the program reads them."""
    return [_model(run) for run in pair]


def shown_pair(record: Path) -> list[Run]:
    """Whose decoders a browser can run: one of each covariance, of large images, beta near 1."""
    found: dict[tuple[Any, ...], dict[str, Run]] = {}
    for run in sorted(kept_decoders(record), key=lambda run: -run.config.seed):
        config = run.config
        if config.activation == "silu":
            near = -abs(math.log(config.beta))
            alike = (config.resolution, near, config.network, config.dataset)
            found.setdefault(alike, {})[config.covariance] = run
    pairs = [alike for alike, runs in found.items() if {"diagonal", "full"} <= runs.keys()]
    return [run for _, run in sorted(found[max(pairs)].items())] if pairs else []


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
    pair = shown_pair(record)
    if not pair:
        return "No decoder is kept in the record yet."
    told = "For each model the decoded image, JᵀJ, and the change of the image with each latent."
    image = _image(base64.b64encode(still(pair)).decode(), told)
    content = models(pair)
    data = _json({"models": content, "pixels": _pixels(content[0]["layers"])})
    html = _with_program(
        f'<div class="live">{image}</div>\n<script type="application/json">{data}</script>',
        programs / "live.js",
    )
    return f"{html}\n\n*β = {content[0]['beta']:g}; {len(html) / 1e6:.1f} MB, all in this page.*"


def still(pair: Sequence[Run]) -> bytes:
    """What `page` shows at first, as a PNG: a row a model, latents by falling activity."""
    from PIL import Image

    activity = [run.arrays["activity"] for run in pair]
    most = max((of_run > ACTIVE).sum() for of_run in activity)
    colour = lambda name, values: colormaps[name].with_extremes(bad="#e4e2dc")(values)
    bands = []
    for run, of_run in zip(pair, activity, strict=True):
        order, used = np.argsort(-of_run), int((of_run > ACTIVE).sum())
        z = torch.zeros(1, len(order), dtype=torch.float64)
        z[0, order[:most].copy()] = _START * (-1.0) ** torch.arange(most, dtype=z.dtype)
        decoder, side = run.decoder().double(), run.config.resolution
        columns = jacobian(decoder, z)[0].T.numpy()[order[:used]]
        norms = np.linalg.norm(columns, axis=1)
        gram = np.full((most, most), np.nan)
        gram[:used, :used] = np.abs(columns @ columns.T) / np.outer(norms, norms)
        places = np.arange(side) * most // side
        image = decoder(z)[0].clamp(0, 1).view(side, side).numpy()
        tiles = [colour("gray", image), colour("Blues", gram[places][:, places])]
        changes = np.full((most, side, side), np.nan)
        changes[:used] = (1 + columns.reshape(-1, side, side) / np.abs(columns).max()) / 2
        bands.append(np.hstack([*tiles, *colour("RdBu_r", changes)]))
    buffer = io.BytesIO()
    sheet = (255 * np.vstack(bands)[..., :3]).round().astype(np.uint8)
    Image.fromarray(sheet).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def figure(name: str, programs: Path) -> str:
    """One of the live figures that need no run, above what its program draws at first."""
    at_rest = (programs / f"{name}.html").read_text(encoding="utf-8")
    return _with_program(f'<div class="live live-{name}">{at_rest}</div>', programs / f"{name}.js")


def _pixels(layers: list[dict[str, Any]]) -> int:
    """Of a decoder's image: convolutions double 4 x 4, an affine layer has a value each."""
    doubled = sum(len(layer["weight"]["shape"]) == 4 for layer in layers)
    return (4 << doubled) ** 2 if doubled else layers[-1]["weight"]["shape"][0]


def moving(path: Path, programs: Path) -> str:
    """A gallery or film of a folder of results with its program; empty if there is none."""
    if not path.is_file():
        return ""
    content = json.loads(path.read_text(encoding="utf-8"))
    image = _image(str(content.pop("png", "")), _STILLS[path.name])  # all that there is to see
    data = f'<script type="application/json">{_json(content)}</script>'
    html = f'<div class="live {path.stem}">{image}{data}</div>'
    return _with_program(html, programs / f"{path.stem}.js")


def _image(png: str, told: str) -> str:
    """What is seen before a program runs, and without one."""
    return f'<img class="live-still" alt="{told}" src="data:image/png;base64,{escape(png)}">'


def _json(content: object) -> str:
    """On one line, and without a character that could end its script."""
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _with_program(html: str, program: Path) -> str:
    parts = (program.with_name("parts.js")).read_text(encoding="utf-8")
    script = program.read_text(encoding="utf-8")
    told = "Without JavaScript this figure stands still."
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
