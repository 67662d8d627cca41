"""Traversals that a reader moves: one slider over the range, all latents of all models at once.

A page of the book must open from a file, so everything is within it, the images as one PNG.
"""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["FILE", "Panel", "markup", "write_gallery"]

FILE = "gallery.json"
"""Name of a gallery in a folder of results."""

_LARGEST = 220_000  # bytes of PNG in a page, 300 kB as text: a blink on a slow line


@dataclass(frozen=True)
class Panel:
    """Traversals of one model.

    Attributes:
        name: Of the model, such as "diagonal posterior".
        group: Panels of one group are seen together, such as those of one beta.
        traversals: `[latent, step, side, side]`, 0..255, by falling activity.
        activity: Variance of the posterior mean over the data `[latent]`, in the same order.
    """

    name: str
    group: str
    traversals: np.ndarray
    activity: np.ndarray


def write_gallery(
    folder: Path, panels: Sequence[Panel], low: float, high: float, note: str = ""
) -> Path:
    """Write `gallery.json`: all panels as one PNG, and what they show.

    Images are averaged over blocks of 2 x 2 pixels until the PNG is small enough for a page.

    Args:
        folder: Of the results.
        panels: One or more, with images of one size.
        low: First position of the traversal, in prior standard deviations.
        high: Last position.
        note: What they have in common, as text under the gallery.

    Returns:
        Path of the file.

    Raises:
        ValueError: No panel, or sizes that differ.
    """
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
        "note": note,
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
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def _sheet(rows: np.ndarray) -> bytes:
    """A PNG with a row for each latent `[latent, step, side, side]` and a column for each step."""
    from PIL import Image

    latents, steps, side, _ = rows.shape
    sheet = rows.transpose(0, 2, 1, 3).reshape(latents * side, steps * side)
    buffer = io.BytesIO()
    Image.fromarray(sheet.round().astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def markup(path: Path, programs: Path) -> str:
    """A gallery as a part of a page, with `gallery.js` of the folder `programs`: one text."""
    content = json.dumps(json.loads(path.read_text()), separators=(",", ":"))
    program = (programs / "gallery.js").read_text(encoding="utf-8")
    return (
        '<div class="live gallery"><script type="application/json">'
        + content.replace("<", "\\u003c")
        + "</script><noscript>Moving these latents needs JavaScript.</noscript></div>\n"
        + f"<script>\n{program}</script>"
    )
