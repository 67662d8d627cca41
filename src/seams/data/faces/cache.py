"""Images of faces on disk: pixels as .npy, what they were made from as .json beside it."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seams.data.faces.images import Faces

__all__ = ["cached", "store"]


def store(
    folder: Path,
    name: str,
    origin: Mapping[str, Any],
    images: Iterable[np.ndarray],
    shape: tuple[int, int, int],
    split: Mapping[str, range],
) -> Faces:
    """Write images as they come; `shape` is their number, channels and resolution."""
    import PIL
    from tqdm import tqdm

    count, channels, resolution = shape
    path, description = folder / f"{name}.npy", folder / f"{name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.{os.getpid()}.partial"
    digest = hashlib.sha256()
    header = {
        "descr": "|u1",
        "fortran_order": False,
        "shape": (count, channels, resolution, resolution),
    }
    try:
        with partial.open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for image in tqdm(images, name, count, unit="image", disable=None):
                stream.write(image.data)
                digest.update(image.data)
        record = dict(origin) | {
            "images": count,
            "split": {part: [places.start, places.stop] for part, places in split.items()},
            "decoder": f"Pillow {PIL.__version__}",
            "sha256": digest.hexdigest(),
        }
        # The description goes first and comes back last: no crash leaves it beside other bits.
        description.unlink(missing_ok=True)
        partial.replace(path)
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        partial.replace(description)
    finally:
        partial.unlink(missing_ok=True)
    return _mapped(path, record)


def cached(folder: Path, name: str, wanted: Mapping[str, Any]) -> Faces | None:
    """What `store` wrote, if it is complete and its origin is the wanted one."""
    try:
        record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        if not wanted.items() <= record.items():
            return None
        return _mapped(folder / f"{name}.npy", record)
    except (OSError, ValueError, EOFError):
        return None


def _mapped(path: Path, record: Mapping[str, Any]) -> Faces:
    # Copy on write: torch wants memory it may write to, and the file must stay as it is.
    images = np.load(path, mmap_mode="c", allow_pickle=False)
    return Faces(
        images=torch.from_numpy(images),
        split={part: range(*ends) for part, ends in record["split"].items()},
        source=record["source"],
        checksum=record["sha256"],
    )
