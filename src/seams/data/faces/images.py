"""Images of faces as a data set with its parts, in memory or kept on disk."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seams.data import arrays
from seams.shapes import Float, Int, UInt8

__all__ = ["Faces", "cached", "kept", "tenths"]


@dataclass(frozen=True, eq=False)
class Faces:
    """Images of faces, in memory or mapped from a file; `batch` makes floats of them."""

    images: UInt8[Tensor, "image channel side side"]  # grey or RGB; rows top first
    split: Mapping[str, range]  # places of the parts "train", "validation" and "test"
    source: str  # for a caption, with the credit due
    checksum: str  # sha256 of `images`, of the whole set where this is a part of it
    factors: None = None  # nothing is known of them, nor of latents
    factor_names: tuple[str, ...] = ()
    latents: None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """1 if grey, 3 if red, green and blue."""
        return self.images.shape[1]

    @property
    def resolution(self) -> int:
        """Rows, and columns, of an image."""
        return self.images.shape[-1]

    def to(self, device: torch.device | str) -> "Faces":
        """The same images on another device; shared if they are there already."""
        return replace(self, images=self.images.to(device))

    def part(self, name: str) -> "Faces":
        """One part of the split as a data set of its own, sharing memory; counted from 0."""
        chosen = self.split.get(name)
        if not chosen:
            parts = ", ".join(f"{key} {len(places)}" for key, places in self.split.items())
            raise ValueError(f"`name` must be a part that holds images ({parts}); got {name!r}.")
        return replace(
            self,
            images=self.images[chosen.start : chosen.stop],
            split={name: range(len(chosen))},
            source=f"{self.source}, {name}",
        )

    def batch(
        self, indices: Int[Tensor, "*batch"], dtype: torch.dtype | None = None
    ) -> Float[Tensor, "*batch data"]:
        """Images at these places, 0 (dark) to 1, flat: channel by channel, in it row by row."""
        stored = self.images[indices].flatten(-3)
        return stored.to(dtype or torch.get_default_dtype()) / 255


def tenths(count: int) -> dict[str, range]:
    """Parts of a set that has none of its own: eight tenths, the ninth and the last."""
    first, second = count - 2 * (count // 10), count - count // 10
    return {
        "train": range(first),
        "validation": range(first, second),
        "test": range(second, count),
    }


def cached(path: Path, sides: tuple[int, int], wanted: Mapping[str, Any]) -> Faces | None:
    """What `kept` wrote to `path`, if it is whole, of these channels and side and this origin."""
    try:
        images, record = arrays.read(path)
        split = {str(part): range(*ends) for part, ends in record["split"].items()}
        parts = [range(len(images))[places.start : places.stop] for places in split.values()]
        if not wanted.items() <= record.items() or images.shape[1:] != (*sides, sides[1]):
            return None
        if [*split.values()] != parts or sum(map(len, parts)) != len(images):
            return None
        source = str(record["source"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Faces(torch.from_numpy(images), split, source, record["sha256"])


def kept(
    path: Path,
    shape: tuple[int, int, int],
    images: Iterable[np.ndarray],
    origin: Mapping[str, Any],
    split: Mapping[str, range],
) -> Faces:
    """Write images as they come; `shape` is their number, channels and resolution."""
    import PIL
    from tqdm import tqdm

    record = {
        **origin,
        "images": shape[0],
        "split": {part: [places.start, places.stop] for part, places in split.items()},
        "decoder": f"Pillow {PIL.__version__}",
    }
    shown = iter(tqdm(images, path.stem, shape[0], unit="image", disable=None))
    arrays.store(path, (*shape, shape[2]), shown, lambda sha256: record)
    faces = cached(path, shape[1:], origin)
    assert faces is not None
    return faces
