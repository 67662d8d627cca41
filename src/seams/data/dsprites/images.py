"""dSprites as a file of packed bits, and as a data set in memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seams.data import arrays
from seams.data.dsprites.original import packed_original
from seams.data.dsprites.rule import (
    FACTOR_NAMES,
    FACTOR_SIZES,
    IMAGES,
    POSITIONS,
    SIDE,
    draw,
    pool,
)
from seams.shapes import Float, Int, UInt8

__all__ = ["RENDERED_SHA256", "RENDERED_WHITE_PIXELS", "DSprites", "load", "named", "write"]

RENDERED_SHA256 = "3a228f4037ef3d42a42588e0e01f1078aa2df13cfa17584e88c95ed9fb5672da"
RENDERED_WHITE_PIXELS = 128_328_864

_WIDTH = SIDE * SIDE // 8  # bytes of an image
_POS_Y = {"full": slice(0, 32), "half_height": slice(8, 24)}
_POOLED = {64: 1, 32: 2, 16: 4}  # resolution -> side of a block of pixels


@dataclass(frozen=True, eq=False)
class DSprites:
    """A subset of dSprites in memory, with its ground truth; `batch` makes images of it.

    At 64, `images` are packed bits, eight pixels a byte, leftmost highest; at 32 and 16 the number
    of white pixels in each block, 0..4 and 0..16. Rows, then columns.
    """

    images: UInt8[Tensor, "image stored"]
    factors: Int[Tensor, "image factor"]  # classes, from 0; color never varies
    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]  # number of classes
    scale: float  # what one unit of `images` adds to the mean of its block: 1, 1/4 or 1/16
    resolution: int  # rows, and columns, of an image: 64, 32 or 16
    source: str  # "original", or "rendered": Not proven bit-identical to the original npz.
    checksum: str  # sha256 of the packed bits of the whole set
    latents: None = None  # factors are classes here

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> "DSprites":
        """The same images and factors on another device; shared if they are there already."""
        return replace(self, images=self.images.to(device), factors=self.factors.to(device))

    def batch(
        self, indices: Int[Tensor, "*batch"], dtype: torch.dtype | None = None
    ) -> Float[Tensor, "*batch data"]:
        """Pixels at these places, means of blocks, 0 to 1, row by row; exact even in bfloat16."""
        stored = self.images[indices]
        dtype = dtype or torch.get_default_dtype()
        if self.resolution < SIDE:
            return stored.to(dtype) * self.scale
        byte = torch.arange(256, device=stored.device)
        pixels = (byte[:, None] >> torch.arange(7, -1, -1, device=stored.device)) & 1
        return torch.nn.functional.embedding(stored.int(), pixels.to(dtype)).flatten(-2)


def write(folder: Path | str, source: Path | str | None = None) -> dict[str, Any]:
    """Write the whole set as `dsprites.npy`, uint8 [737280, 512], with `dsprites.json` beside it.

    A row is one image, 64 lines of 8 bytes, as `numpy.packbits` makes them: leftmost pixel in the
    highest bit. The files are the same on every machine: what is rendered is checked against
    `RENDERED_SHA256`. Takes 2 to 4 s of one core and 377 MB on disk; from the npz about 10 s.

    With the original `dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz` as source, that is packed
    instead: its checksum is verified, and its pickled metadata is never read.

    Returns:
        What `dsprites.json` holds: source, images, white_pixels, sha256 (of the packed bits).
    """
    every, white = np.arange(32), 0
    poses = range(IMAGES // POSITIONS)
    rendered = (draw(pose, every, every).reshape(POSITIONS, -1) for pose in poses)

    def counted() -> Iterator[np.ndarray]:
        nonlocal white
        for part in packed_original(Path(source)) if source else rendered:
            white += int(np.bitwise_count(part).sum())
            yield part

    def described(sha256: str) -> Mapping[str, Any]:
        came, wanted = (white, sha256), (RENDERED_WHITE_PIXELS, RENDERED_SHA256)
        if not source and came != wanted:
            raise RuntimeError(
                f"White pixels and sha256 of the rendered dSprites must be {wanted}; got {came}. "
                "This machine's arithmetic, or the rule, differs: run tests/test_dsprites.py."
            )
        kind = "original" if source else "rendered"
        return {"source": kind, "images": IMAGES, "white_pixels": white}

    return arrays.store(Path(folder) / "dsprites.npy", (IMAGES, _WIDTH), counted(), described)


def load(
    folder: Path | str,
    subset: Literal["full", "half_height"] = "full",
    resolution: Literal[64, 32, 16] = 64,
) -> DSprites:
    """Read what `write` wrote, as a subset at a resolution, onto the CPU.

    `half_height` keeps posY classes 8..23, so that posY has half the range of posX, and the two
    can have distinct singular values; its classes are counted from 0. Lower resolutions are means
    over blocks of pixels. Memory for the full set: 377 MB at 64 (mapped from the file, so read as
    needed), 755 MB at 32, 189 MB at 16, and 29 MB for the factors; half as much for `half_height`,
    which at 64 is a copy. The checksum is computed once for a file that does not change.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: `write` has not been run for this folder.
        ValueError: The file is not what `write` makes.
    """
    try:
        packed, record = arrays.read(Path(folder) / "dsprites.npy", (IMAGES, _WIDTH))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}: run `seams data` (or `dvc repro`).") from None
    except ValueError as error:
        raise ValueError(f"{error}. Delete it and run `seams data` (or `dvc repro`).") from error
    block, rows = _POOLED[resolution], _POS_Y[subset]
    by_row = packed.reshape(-1, 32, _WIDTH)[:, rows]
    if block == 1:
        images = np.ascontiguousarray(by_row).reshape(-1, _WIDTH)
    else:
        images = np.empty((*by_row.shape[:2], resolution * resolution), dtype=np.uint8)
        for first in range(0, len(by_row), 32):
            part = slice(first, first + 32)
            images[part] = pool(by_row[part], block)
        images = images.reshape(-1, resolution * resolution)
    sizes = (*FACTOR_SIZES[1:-1], rows.stop - rows.start)
    return DSprites(
        images=torch.from_numpy(images),
        factors=torch.cartesian_prod(*(torch.arange(size) for size in sizes)),
        factor_names=FACTOR_NAMES[1:],
        factor_sizes=sizes,
        scale=1 / block**2,
        resolution=resolution,
        source=record["source"],
        checksum=record["sha256"],
    )


def named(name: str, resolution: Any) -> DSprites:
    """The set of the data folder by its name in a configuration; see `seams.data.load`."""
    if resolution not in _POOLED:
        raise ValueError(f"`resolution` of dSprites must be 64, 32 or 16; got {resolution}.")
    return load(arrays.folder(), "half_height" if "_" in name else "full", resolution)
