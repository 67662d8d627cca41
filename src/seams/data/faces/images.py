"""Images of faces as a data set, and its parts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seams.shapes import Float, Int, UInt8

__all__ = ["Faces", "tenths"]


@dataclass(frozen=True, eq=False)
class Faces:
    """Images of faces, in memory or mapped from a file; `batch` makes floats of them.

    Attributes:
        images: Grey or red, green and blue; rows top first, columns left first.
        split: Places of the parts "train", "validation" and "test".
        source: What the images are, for a caption; with the credit due.
        checksum: sha256 of `images`, of the whole set where this is a part of it.
    """

    images: UInt8[Tensor, "image channel side side"]
    split: Mapping[str, range]
    source: str
    checksum: str

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
        """The same images on another device.

        Args:
            device: Where `batch` shall work.

        Returns:
            A data set whose images live there; shared with this one if they already do.
        """
        return replace(self, images=self.images.to(device))

    def part(self, name: str) -> "Faces":
        """One part of the split as a data set of its own, sharing memory with this one.

        Args:
            name: "train", "validation" or "test".

        Returns:
            Its images, counted from 0.

        Raises:
            ValueError: There is no such part, or it is empty.
        """
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
        """Images at these places, in [0, 1].

        Data are channel by channel, in it row by row:
        `unflatten(-1, (channels, resolution, resolution))` shows them.

        Args:
            indices: Places, on the device of `images`; any leading shape.
            dtype: Of the result; torch's default if not given.

        Returns:
            Pixels, 0 (dark) to 1 (bright), in steps of 1/255.
        """
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
