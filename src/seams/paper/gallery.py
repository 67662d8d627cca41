"""Traversals that a reader moves: one slider over the range, all latents of all models at once.

A page of the book must open from a file, so everything is within it, the images as one PNG.
"""

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["FILE", "Panel", "image_bytes", "write_gallery"]

FILE = "gallery.json"  # name of a gallery in a folder of results

_ACTIVE = re.compile(  # what matplotlib does not draw, and what does not stay where it is
    r"<\s*(script|foreignObject|iframe|embed|object|handler|a)\b|\son\w+\s*=|javascript:"
    r"|<!ENTITY|href\s*=\s*[\"'](?!#|data:image/)",
    re.IGNORECASE,
)

_LARGEST = 220_000  # bytes of PNG in a page, 300 kB as text: a blink on a slow line


@dataclass(frozen=True)
class Panel:
    """Traversals of one model."""

    name: str  # such as "diagonal posterior"
    group: str  # of panels that are seen together, such as those of one beta
    traversals: np.ndarray  # [latent, step, side, side], 0..255, by falling activity
    activity: np.ndarray  # variance of the posterior mean over the data [latent], same order


def write_gallery(
    folder: Path, panels: Sequence[Panel], low: float, high: float, note: str = ""
) -> Path:
    """Write `gallery.json`: panels of one shape as one PNG, moved `low` to `high` prior sd."""
    shapes = {panel.traversals.shape for panel in panels}
    if len(shapes) != 1:
        raise ValueError(
            f"The panels of a gallery must have traversals of one shape; got {sorted(shapes)}."
        )
    rows = np.concatenate([panel.traversals for panel in panels]).astype(np.float64)
    image = _sheet(rows)
    while len(image) > _LARGEST and rows.shape[-1] % 2 == 0:
        rows = rows.reshape(*rows.shape[:2], rows.shape[2] // 2, 2, -1, 2).mean((3, 5))
        image = _sheet(rows)
    latents, steps = panels[0].traversals.shape[:2]
    side = rows.shape[-1]
    content = {
        "low": low,
        "high": high,
        "steps": steps,
        "side": side,
        "latents": latents,
        "note": note,  # under the gallery
        "panels": [
            {
                "name": panel.name,
                "group": panel.group,
                "activity": [float(f"{value:.2g}") for value in panel.activity],
            }
            for panel in panels
        ],
        "png": base64.b64encode(image).decode(),
    }
    path = folder / FILE
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _sheet(rows: np.ndarray) -> bytes:
    """A PNG with a row for each latent `[latent, step, side, side]` and a column for each step."""
    from PIL import Image

    latents, steps, side, _ = rows.shape
    sheet = rows.transpose(0, 2, 1, 3).reshape(latents * side, steps * side)
    buffer = io.BytesIO()
    Image.fromarray(sheet.round().astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def image_bytes(path: Path) -> bytes:
    """Content of a figure's file; `ValueError` for a link, or what is not what its name says."""
    # In a page no script of a picture runs; but a reader may open one by itself.
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"A figure must be a file; {path} is a link or none. Draw it again.")
    content = path.read_bytes()
    sound = content.startswith(b"\x89PNG\r\n\x1a\n")
    if path.suffix == ".svg":
        text = content.decode("utf-8", "replace")
        sound = "<svg" in text[:4096] and not _ACTIVE.search(text)
    if not sound:
        kind = "an SVG without scripts and links" if path.suffix == ".svg" else "a PNG"
        raise ValueError(f"{path} must be {kind}, as its name says. Draw it again.")
    return content
