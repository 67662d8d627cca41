r"""dSprites: 737,280 binary images of one white shape on black, rendered from its rule or read.

Images are 64 x 64. Their factors, the last of which varies fastest:

| factor | classes | value of class $k$ |
|---|---|---|
| color | 1 | white |
| shape | 3 | square, ellipse, heart |
| scale | 6 | $s = 0.5 + 0.1 k$ |
| orientation | 40 | $t = 2 \pi k / 39$; classes 0 and 39 are the same image |
| posX | 32 | centre $16 + 32 k / 31$ pixels from the left |
| posY | 32 | centre $16 + 32 k / 31$ pixels from the top |

A polygon with vertices $(u, v)$ is drawn, with $y$ down, at $x = c_x + s (u \cos t + v \sin t)$,
$y = c_y + s (-u \sin t + v \cos t)$, rounded to 1/256 pixel. A pixel is white if its centre lies
inside by the even-odd rule; a centre on an edge belongs to left and bottom edges only.

The rule was recovered from published images and reproduces the 320 frames of the official
animation without a wrong pixel. Not proven bit-identical to the original npz: 128,328,864 pixels
are white, and the mean published for the original implies 128,328,862.

On disk and, at full resolution, in memory, eight pixels share a byte: 377 MB for the set.

Source: Section 7 (dSprites); Matthey et al. (2017), github.com/google-deepmind/dsprites-dataset.
"""

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seams.shapes import Float, Int, UInt8

__all__ = [
    "FACTOR_NAMES",
    "FACTOR_SIZES",
    "IMAGES",
    "ORIGINAL_MD5",
    "RENDERED_SHA256",
    "RENDERED_WHITE_PIXELS",
    "DSprites",
    "classes_at",
    "index_of",
    "load",
    "render",
    "write",
]

FACTOR_NAMES = ("color", "shape", "scale", "orientation", "posX", "posY")
FACTOR_SIZES = (1, 3, 6, 40, 32, 32)
IMAGES = math.prod(FACTOR_SIZES)

ORIGINAL_MD5 = "7da33b31b13a06f4b04a70402ce90c2e"
RENDERED_SHA256 = "3a228f4037ef3d42a42588e0e01f1078aa2df13cfa17584e88c95ed9fb5672da"
RENDERED_WHITE_PIXELS = 128_328_864

_SIDE = 64
_POSITIONS = 32 * 32  # images that share shape, scale and orientation; consecutive in the set
_SUBPIXELS = 256
_POS_Y = {"full": slice(0, 32), "half_height": slice(8, 24)}
_POOLED = {64: 1, 32: 2, 16: 4}  # resolution -> side of a block of pixels
_READ = 1024  # images of the original taken at once: 4 MiB

# Entry c is a line white from column c on, most significant bit first; entry 64 is all black.
_WHITE_FROM = np.array([(1 << (_SIDE - c)) - 1 for c in range(_SIDE + 1)], dtype=np.uint64)


def classes_at(index: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch 6"]:
    """Classes of the images at these places of the set; columns as in `FACTOR_NAMES`.

    Args:
        index: Places in the set, 0 to 737,279.

    Returns:
        One class per factor, color first, as int64.

    Raises:
        ValueError: A place lies outside the set.

    Source: order of the original npz.
    """
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < IMAGES:
        worst = int(index.max()) if int(index.min()) >= 0 else int(index.min())
        raise ValueError(
            f"`index` must lie in 0..{IMAGES - 1}; got {worst}. Is it an index into a subset?"
        )
    return torch.stack(torch.unravel_index(index.long(), FACTOR_SIZES), -1)


def index_of(classes: Int[Tensor, "*batch 6"]) -> Int[Tensor, "*batch"]:
    """Places in the set of the images with these classes; the inverse of `classes_at`.

    Args:
        classes: One class per factor, in the order of `FACTOR_NAMES`.

    Returns:
        Places in the set, 0 to 737,279, as int64.

    Raises:
        ValueError: A class lies outside its factor.

    Source: order of the original npz.
    """
    sizes = torch.tensor(FACTOR_SIZES, device=classes.device)
    outside = ((classes < 0) | (classes >= sizes)).reshape(-1, len(FACTOR_SIZES)).nonzero()
    if len(outside):
        row, factor = outside[0].tolist()
        came = int(classes.reshape(-1, len(FACTOR_SIZES))[row, factor])
        raise ValueError(
            f"classes of {FACTOR_NAMES[factor]} lie in 0..{FACTOR_SIZES[factor] - 1}; "
            f"got {came} in row {row}. Columns are {', '.join(FACTOR_NAMES)}."
        )
    strides = [math.prod(FACTOR_SIZES[k + 1 :]) for k in range(len(FACTOR_SIZES))]
    return (classes.long() * torch.tensor(strides, device=classes.device)).sum(-1)


def render(
    classes: Int[Tensor, "image 6"] | Int[np.ndarray, "image 6"],
) -> UInt8[Tensor, "image 64 64"]:
    """Images with these classes, drawn by the rule at the top of this module.

    Axes are image, row (top first), column (left first). Arithmetic on rounded vertices is exact,
    and no vertex lies near a tie of the rounding, so every machine draws the same pixels.
    Not proven bit-identical to the original npz.

    The whole set takes 2 s of one core, and as long as the machine needs to hand out the 3.0 GB
    of the result (10 s or more). One (shape, scale, orientation) is drawn at a time: beside the
    result, 10 MB and three times the size of `classes` are enough. `write` stores the set in
    377 MB.

    Args:
        classes: One class per factor in the original order, color first: see `FACTOR_NAMES`.

    Returns:
        1 where white, 0 where black, on the CPU.

    Source: rule recovered from the frames of the official animation (Matthey et al., 2017).
    """
    index = index_of(torch.as_tensor(classes).cpu()).numpy()
    images = np.empty((len(index), _SIDE, _SIDE), dtype=np.uint8)
    order = np.argsort(index, kind="stable")
    pose, start = np.unique(index[order] // _POSITIONS, return_index=True)
    for p, members in zip(pose, np.split(order, start)[1:], strict=True):
        x, column = np.unique(index[members] // 32 % 32, return_inverse=True)
        y, row = np.unique(index[members] % 32, return_inverse=True)
        packed = _draw(int(p), x, y)[column, row]
        images[members] = np.unpackbits(packed, axis=-1).reshape(-1, _SIDE, _SIDE)
    return torch.from_numpy(images)


@dataclass(frozen=True, eq=False)
class DSprites:
    """A subset of dSprites in memory, with its ground truth; `batch` makes images of it.

    Attributes:
        images: What `batch` reads. At 64, packed bits, eight pixels a byte, leftmost highest; at
            32 and 16 the number of white pixels in each block, 0..4 and 0..16. Rows, then columns.
        factors: Classes of shape, scale, orientation, posX, posY, from 0; color never varies.
        factor_names: Names of the columns of `factors`.
        factor_sizes: Number of classes of each column.
        scale: What one unit of `images` adds to the mean of its block: 1, 1/4 or 1/16.
        resolution: Rows, and columns, of an image: 64, 32 or 16.
        source: `"original"` or `"rendered"`. The latter: Not proven bit-identical to the original
            npz.
        checksum: sha256 of the packed bits of the whole set.
    """

    images: UInt8[Tensor, "image stored"]
    factors: Int[Tensor, "image factor"]
    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]
    scale: float
    resolution: int
    source: str
    checksum: str

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> "DSprites":
        """The same images and factors on another device.

        Args:
            device: Where `batch` shall work.

        Returns:
            A data set whose tensors live there; shared with this one if they already do.
        """
        return replace(self, images=self.images.to(device), factors=self.factors.to(device))

    def batch(
        self, indices: Int[Tensor, "*batch"], dtype: torch.dtype | None = None
    ) -> Float[Tensor, "*batch data"]:
        """Images at these places, each pixel the mean of its block, in [0, 1].

        Data are row by row, left to right: `unflatten(-1, (resolution, resolution))` shows them.
        Every value is exact in every floating dtype, bfloat16 included.

        Args:
            indices: Places in this subset, on the device of `images`; any leading shape.
            dtype: Of the result; torch's default if not given.

        Returns:
            Pixels, 0 (black) to 1 (white), on the device of `images`.
        """
        stored = self.images[indices]
        dtype = dtype or torch.get_default_dtype()
        if self.resolution < _SIDE:
            return stored.to(dtype) * self.scale
        byte = torch.arange(256, device=stored.device)
        pixels = (byte[:, None] >> torch.arange(7, -1, -1, device=stored.device)) & 1
        return torch.nn.functional.embedding(stored.int(), pixels.to(dtype)).flatten(-2)


def write(folder: Path | str, source: Path | str | None = None) -> dict[str, Any]:
    """Write the whole set as `dsprites.npy`, uint8 [737280, 512], with `dsprites.json` beside it.

    A row is one image, 64 lines of 8 bytes, as `numpy.packbits` makes them: leftmost pixel in the
    highest bit. Each file appears complete or not at all, and is the same on every machine. What
    is rendered is checked against `RENDERED_SHA256`. Not proven bit-identical to the original npz.

    Takes 2 to 4 s of one core, 377 MB on disk and 10 MB of memory; from the npz about 10 s and
    40 MB, since its 3.0 GB are unpacked a few images at a time.

    Args:
        folder: Where the files go; made if missing.
        source: The original `dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz`, to pack it instead.
            Its checksum is verified, and its pickled metadata is never read.

    Returns:
        What `dsprites.json` holds: source, images, white_pixels, sha256 (of the packed bits).

    Source: rule recovered from the frames of the official animation (Matthey et al., 2017).
    """
    if source is not None:
        return _store(Path(folder), _packed_original(Path(source)), "original")
    every = np.arange(32)
    chunks = (_draw(p, every, every).reshape(_POSITIONS, -1) for p in range(IMAGES // _POSITIONS))
    expected = {"white_pixels": RENDERED_WHITE_PIXELS, "sha256": RENDERED_SHA256}
    return _store(Path(folder), chunks, "rendered", expected=expected)


def load(
    folder: Path | str,
    subset: Literal["full", "half_height"] = "full",
    resolution: Literal[64, 32, 16] = 64,
) -> DSprites:
    """Read what `write` wrote, as a subset at a resolution.

    `half_height` keeps posY classes 8..23, so that posY has half the range of posX, and the two
    can have distinct singular values; its classes are counted from 0. Lower resolutions are means
    over blocks of pixels.

    Memory for the full set: 377 MB at 64 (mapped from the file, so read as needed), 755 MB at 32,
    189 MB at 16, and 29 MB for the factors; half as much for `half_height`, which at 64 is a copy.
    Time on one core: under 1 s at 64; at 32 and 16, 2 s and the reading of the file.

    Args:
        folder: Where `write` put its files.
        subset: Which images.
        resolution: Rows, and columns, of an image.

    Returns:
        The data set, on the CPU.

    Raises:
        FileNotFoundError: `write` has not been run for this folder.
        ValueError: The file is not what `write` makes.

    Source: Section 7 (dSprites); subset and block means are ours.
    """
    path, description = Path(folder) / "dsprites.npy", Path(folder) / "dsprites.json"
    for file in (path, description):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: run `seams data` (or `dvc repro`).")
    try:
        # Copy on write: torch wants memory it may write to, and the file must stay as it is.
        packed = np.load(path, mmap_mode="c", allow_pickle=False)
        came = f"{packed.dtype} {packed.shape}"
    except (ValueError, EOFError):
        came = f"{path.stat().st_size} bytes"
    width = _SIDE * _SIDE // 8
    if came != f"uint8 {(IMAGES, width)}":
        raise ValueError(
            f"{path} must hold uint8 {(IMAGES, width)}; got {came}. "
            "Delete it and run `seams data` (or `dvc repro`)."
        )
    record = json.loads(description.read_text(encoding="utf-8"))

    block, rows = _POOLED[resolution], _POS_Y[subset]
    by_row = packed.reshape(-1, 32, width)[:, rows]
    if block == 1:
        images = np.ascontiguousarray(by_row).reshape(-1, width)
    else:
        images = np.empty((*by_row.shape[:2], resolution * resolution), dtype=np.uint8)
        for first in range(0, len(by_row), 32):
            part = slice(first, first + 32)
            images[part] = _pool(by_row[part], block)
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


@cache
def _outline(shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (u, v) of a shape at scale 1 and orientation 0, in pixels from its pivot."""
    if shape == 0:
        return 9.6 * np.array([-1.0, 1.0, 1.0, -1.0]), 9.6 * np.array([-1.0, -1.0, 1.0, 1.0])
    if shape == 1:
        p = 2 * np.pi * np.arange(100) / 100
        return 9.6 * 1.33 * np.cos(p), 9.6 / 1.33 * np.sin(p)
    t = 2 * np.pi * np.arange(150) / 150
    lobes = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return 9.6 * np.sin(t) ** 3, -(19.2 / 29) * lobes - 1.44


def _vertices(pose: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices before rounding, in 1/256 pixel, [posX, vertex] and [posY, vertex]."""
    shape, scale, orientation = np.unravel_index(pose, FACTOR_SIZES[1:4])
    u, v = _outline(int(shape))
    s, t = 0.5 + 0.1 * scale, 2 * np.pi * orientation / 39
    across, down = s * (u * np.cos(t) + v * np.sin(t)), s * (-u * np.sin(t) + v * np.cos(t))
    centre_x, centre_y = 16 + 32 * x[:, None] / 31, 16 + 32 * y[:, None] / 31
    return _SUBPIXELS * (centre_x + across), _SUBPIXELS * (centre_y + down)


def _draw(pose: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Packed images, uint8 [posX, posY, 512], of one (shape, scale, orientation)."""
    return _fill(*(np.rint(c).astype(np.int64) for c in _vertices(pose, x, y)))


def _fill(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Packed images of a polygon for every pair of rows of `x` and `y`, in 1/256 pixel."""
    # A line through pixel centres meets the outline where edges cross it. Each crossing inverts
    # the pixels at and right of it; the line is the exclusive or of them all (even-odd rule).
    dx, dy = np.roll(x, -1, 1) - x, np.roll(y, -1, 1) - y
    # Centre of line i is 256 i + 128. An edge crosses it if low < 256 i + 128 <= high: this gives
    # bottom edges to the inside, and top edges to the outside.
    low, high = np.minimum(y, y + dy), np.maximum(y, y + dy)
    first, stop = (low + 128) >> 8, (high + 128) >> 8
    count = (stop - first).ravel()
    place = np.repeat(np.arange(count.size), count)
    within = np.arange(place.size) - np.repeat(np.cumsum(count) - count, count)
    image, edge = np.divmod(place, y.shape[1])
    line = first.ravel()[place] + within
    key = image * _SIDE + line
    order = np.argsort(key, kind="stable")
    key, edge, line, place = key[order], edge[order], line[order], place[order]

    # First column whose centre is at or right of the crossing: left edges belong to the inside.
    # Integers below 2^30 over integers below 2^23: the correctly rounded quotient of float64 is on
    # the same side of every integer as the true one, so `ceil` is exact.
    rise, above = dy.ravel()[place], (256 * line + 128) - y.ravel()[place]
    column = np.ceil(((x[:, edge] - 128) * rise + above * dx[:, edge]) / (256 * rise))
    words = np.zeros((len(x), len(y) * _SIDE), dtype=np.uint64)
    start = np.flatnonzero(np.diff(key, prepend=-1))
    inverted = _WHITE_FROM[column.astype(np.int64)]
    words[:, key[start]] = np.bitwise_xor.reduceat(inverted, start, axis=1)
    return words.astype(">u8").view(np.uint8).reshape(len(x), len(y), -1)


def _pool(packed: np.ndarray, block: int) -> np.ndarray:
    """White pixels in each block x block square of packed images, uint8 [..., (64 / block)^2]."""
    side = _SIDE // block
    counts = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    counts = counts.reshape(256, 8 // block, block).sum(-1, dtype=np.uint8)
    # One look-up per byte gives the counts of all its blocks, together as one wider integer.
    lines = counts.view(f"u{8 // block}")[:, 0][packed].view(np.uint8)
    lines = lines.reshape(*packed.shape[:-1], side, block, side)
    return sum(lines[..., row, :] for row in range(block)).reshape(*packed.shape[:-1], -1)


def _packed_original(
    source: Path, md5: str = ORIGINAL_MD5, images: int = IMAGES
) -> Iterator[np.ndarray]:
    # A few images at a time, straight out of the zip: `numpy.load` would make 3 GB of them.
    with source.open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise ValueError(
                f"`source` must be the original dSprites npz; {source} is not a complete zip "
                f"({source.stat().st_size} bytes). Download it again, or leave `source` out."
            )
        stream.seek(0)
        came = hashlib.file_digest(stream, "md5").hexdigest()
        if came != md5:
            raise ValueError(
                f"`source` must be the original dSprites npz, md5 {md5}; {source} has {came}. "
                "Download it again, or leave `source` out to render the images."
            )
        with zipfile.ZipFile(stream) as archive, archive.open("imgs.npy") as member:
            np.lib.format.read_magic(member)
            shape, column_major, dtype = np.lib.format.read_array_header_1_0(member)
            if (shape, column_major, dtype) != ((images, _SIDE, _SIDE), False, np.uint8):
                order = "columns" if column_major else "rows"
                raise ValueError(
                    f"`imgs` of {source} must be uint8 {(images, _SIDE, _SIDE)} by rows; got "
                    f"{dtype} {shape} by {order}. Leave `source` out to render the images."
                )
            for first in range(0, images, _READ):
                count = min(_READ, images - first)
                pixels = np.frombuffer(member.read(count * _SIDE * _SIDE), dtype=np.uint8)
                yield np.packbits(pixels).reshape(count, -1)


def _store(
    folder: Path,
    chunks: Iterable[np.ndarray],
    source: str,
    images: int = IMAGES,
    expected: dict[str, Any] | None = None,
) -> dict[str, Any]:
    # The description goes first and comes back last: no crash leaves it beside other bits.
    path, description = folder / "dsprites.npy", folder / "dsprites.json"
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".dsprites.{os.getpid()}.partial"
    digest, white = hashlib.sha256(), 0
    header = {"descr": "|u1", "fortran_order": False, "shape": (images, _SIDE * _SIDE // 8)}
    try:
        with partial.open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for chunk in chunks:
                stream.write(chunk.data)
                digest.update(chunk.data)
                white += int(np.bitwise_count(chunk).sum())
        record = {
            "source": source,
            "images": images,
            "white_pixels": white,
            "sha256": digest.hexdigest(),
        }
        for key, value in (expected or {}).items():
            if record[key] != value:
                raise RuntimeError(
                    f"{key} of the rendered dSprites must be {value}; got {record[key]}. "
                    "This machine's arithmetic, or the rule, differs: run tests/test_dsprites.py."
                )
        description.unlink(missing_ok=True)
        partial.replace(path)
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        partial.replace(description)
    finally:
        partial.unlink(missing_ok=True)
    return record
