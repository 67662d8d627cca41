"""Decoders for the reader's browser: the page where latents are moved by hand.

A page of the book must open from a file, so everything is within it: parameters as 16-bit integers
with a scale for each tensor, which resolves them to 0.002 % of the largest.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from seams.training.record import kept_decoders
from seams.training.store import FILES

__all__ = ["models", "script"]

_LARGEST = 32767


def models(record: Path) -> list[dict[str, Any]]:
    """The decoders of a record that a browser can run: fully connected with SiLU.

    Args:
        record: Folder of the runs of the record.

    Returns:
        For each its covariance, beta, activity of each latent, the latents by falling activity,
        and layers with weight and bias. Only values of beta for which there are both covariances,
        one run of each.
    """
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


def script(record: Path, source: Path) -> str:
    """Markup of the page: the models and the program that runs them.

    Args:
        record: As in `models`.
        source: Folder of the program, `book/_live`.

    Returns:
        HTML; empty if the record keeps no such decoder.
    """
    found = models(record)
    if not found:
        return ""
    content = json.dumps({"models": found}, separators=(",", ":"))
    program = (source / "live.js").read_text(encoding="utf-8")
    return (
        '<div id="seams-live" class="live"></div>\n'
        f'<script type="application/json" id="seams-live-models">{content}</script>\n'
        f"<script>\n{program}</script>"
    )


def _packed(values: np.ndarray) -> dict[str, Any]:
    scale = float(np.abs(values).max()) / _LARGEST or 1.0
    rounded = np.round(values / scale).astype("<i2")
    return {"values": base64.b64encode(rounded.tobytes()).decode(), "scale": scale}
