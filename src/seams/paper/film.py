"""Training as a film: JᵀJ, information and traversals of runs at each of their snapshots.

One PNG holds it, a row for each run and a column for each snapshot, so that a reader without
scripts sees it whole, as a sheet. A clone has no snapshots: there the record's film of the very
same runs is taken.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seams import data as datasets
from seams.data import Data
from seams.derivatives import jacobian_gram
from seams.metrics import ACTIVE, entropies, mutual_information
from seams.networks import set_covariance
from seams.project import project_root
from seams.training import Run
from seams.training.config import covariance_at
from seams.training.encode import encode
from seams.training.evaluate import DERIVATIVE_IMAGES, SNAPSHOT_IMAGES, TRAVERSAL
from seams.traversals import traverse

__all__ = ["CELL", "FILM", "Shot", "shots", "write_film"]

FILM = "film.json"  # name of a film in a folder of results
CELL = 8  # pixels of an entry of a matrix
LATENTS, STEPS = 4, 5  # traversals of a shot, and images of each

_SCORES = ("mig", "off_diagonal_gram_of_abs_ratio")
_LEVELS = 16  # of grey, and of blue; more double the file
_PAPER, _NONE = (250, 249, 246), (216, 214, 208)  # behind all; where a latent is inactive
_DARK = (8, 48, 90)
_PALETTE = [
    *((round(255 * k / (_LEVELS - 1)),) * 3 for k in range(_LEVELS)),
    *(
        tuple(round(a + (b - a) * k / (_LEVELS - 1)) for a, b in zip(_PAPER, _DARK, strict=True))
        for k in range(_LEVELS)
    ),
    _NONE,
]


@dataclass(frozen=True)
class Shot:
    """One snapshot; latents by falling activity at the end of the run."""

    images: int  # seen so far
    covariance: str  # of the posterior until then
    gram: np.ndarray  # mean |JᵀJ| to a unit diagonal [latent, latent]; NaN of inactive latents
    information: np.ndarray  # share of each factor's entropy [factor, latent]
    traversals: np.ndarray  # of the first latents [latent, step, side, side], 0..1


def shots(run: Run, data: Data) -> list[Shot]:
    """All snapshots of a run, scored as its curves are; FileNotFoundError if it has none here."""
    factors = data.factors
    assert factors is not None
    most, found = entropies(factors).double(), []
    for step, weights in run.snapshots().items():
        model = run.model(weights)
        set_covariance(model, kind := covariance_at(run.config, step - 1))
        encoded = encode(model, data, SNAPSHOT_IMAGES)
        model.double()
        gram = jacobian_gram(model.decoder, encoded.latents[:DERIVATIVE_IMAGES]).abs().mean(0)
        gram = gram / gram.diagonal().sqrt().outer(gram.diagonal().sqrt())
        activity = encoded.means.var(0)
        gram[activity <= ACTIVE] = gram[:, activity <= ACTIVE] = torch.nan
        information = mutual_information(encoded.latents, factors[encoded.indices])
        found.append((step, kind, model, encoded.means[0], gram, information / most))
    order, side = activity.argsort(descending=True), run.config.resolution
    return [
        Shot(
            step * run.config.batch,
            kind,
            gram[order][:, order].numpy(),
            information[order].T.numpy(),
            traverse(model.decoder, z, order[:LATENTS], TRAVERSAL[1], STEPS)
            .clamp(0, 1)
            .unflatten(-1, (side, side))
            .numpy(),
        )
        for step, kind, model, z, gram, information in found
    ]


def write_film(
    folder: Path, runs: Mapping[tuple[str, str], Run], figure: str, note: str = ""
) -> Path | None:
    """Write `film.json` of runs by group and name; without snapshots the record's of a figure."""
    ids, path = [run.id for run in runs.values()], folder / FILM
    if not all(run.has_weights for run in runs.values()):
        kept = project_root() / "record" / "figures" / figure / FILM
        if not kept.is_file() or json.loads(kept.read_text(encoding="utf-8"))["runs"] != ids:
            return None
        path.write_bytes(kept.read_bytes())
        return path
    first = next(iter(runs.values())).config
    data = datasets.load(first.dataset, first.resolution)
    reels = [shots(run, data) for run in runs.values()]
    most = float(max(shot.information.max() for reel in reels for shot in reel))
    content: dict[str, Any] = {
        "runs": ids,
        "side": first.resolution,
        "cell": CELL,
        "steps": STEPS,
        "rows": len(reels[0][0].traversals),
        "latents": first.latent,
        "factors": list(data.factor_names),
        "reach": TRAVERSAL[1],
        "beta": first.beta,
        "change": first.change * first.batch,
        "note": note,
        "darkest": round(most, 3),  # share of a factor's entropy
        "panels": [
            {"group": group, "name": name, "frames": _frames(run, reel)}
            for ((group, name), run), reel in zip(runs.items(), reels, strict=True)
        ],
        "png": base64.b64encode(_sheet(reels, most)).decode(),
    }
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _frames(run: Run, reel: Sequence[Shot]) -> list[dict[str, Any]]:
    """What is written below each shot: of the evaluation's curves, which have the same points."""
    curves = {
        name: run.arrays[f"curve_{name}"].astype(float).round(3).tolist() for name in _SCORES
    }
    return [
        {
            "images": shot.images,
            "covariance": shot.covariance,
            **{
                name: None if isnan(curve[k]) else float(curve[k])
                for name, curve in curves.items()
            },
        }
        for k, shot in enumerate(reel)
    ]


def _sheet(reels: Sequence[Sequence[Shot]], most: float) -> bytes:
    """A PNG of the shots: JᵀJ, information (darkest at `most`) beside it, traversals below."""
    from PIL import Image

    tiles = np.block([[_tile(shot, most) for shot in reel] for reel in reels])
    image = Image.fromarray(tiles, "P")
    image.putpalette([part for colour in _PALETTE for part in colour])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _tile(shot: Shot, most: float) -> np.ndarray:
    """Places in the palette."""
    latents, (rows, steps, side, _) = len(shot.gram), shot.traversals.shape
    wide, blank = latents * CELL, _LEVELS  # the lightest blue is the paper
    tile = np.full((wide + rows * side, max(2 * wide, steps * side)), blank, np.uint8)
    grow = lambda m: np.kron(m, np.ones((CELL, CELL), np.uint8))
    level = lambda m: np.round(np.nan_to_num(m).clip(0, 1) * (_LEVELS - 1)).astype(np.uint8)
    gram = np.where(np.isnan(shot.gram), 2 * _LEVELS, level(shot.gram) + _LEVELS)
    tile[:wide, :wide] = grow(gram.astype(np.uint8))
    seen = grow(level(shot.information / most) + _LEVELS)
    tile[: len(seen), wide : 2 * wide] = seen
    moved = shot.traversals.transpose(0, 2, 1, 3).reshape(rows * side, steps * side)
    tile[wide:, : steps * side] = level(moved)
    return tile
