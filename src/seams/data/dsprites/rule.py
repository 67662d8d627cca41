"""The rule by which dSprites are drawn: places, classes, outlines and the filling of polygons."""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from seams.shapes import Int, UInt8

__all__ = [
    "FACTOR_NAMES",
    "FACTOR_SIZES",
    "IMAGES",
    "POSITIONS",
    "SIDE",
    "classes_at",
    "draw",
    "index_of",
    "pool",
    "render",
    "vertices",
]

FACTOR_NAMES = ("color", "shape", "scale", "orientation", "posX", "posY")
FACTOR_SIZES = (1, 3, 6, 40, 32, 32)
IMAGES = math.prod(FACTOR_SIZES)
SIDE = 64
POSITIONS = 32 * 32
"""Images that share shape, scale and orientation; consecutive in the set."""

_SUBPIXELS = 256
# Entry c is a line white from column c on, most significant bit first; entry 64 is all black.
_WHITE_FROM = np.array([(1 << (SIDE - c)) - 1 for c in range(SIDE + 1)], dtype=np.uint64)


def classes_at(index: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch 6"]:
    """Classes, color first, of the images at these places of the set: columns `FACTOR_NAMES`."""
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < IMAGES:
        worst = int(index.max()) if int(index.min()) >= 0 else int(index.min())
        raise ValueError(
            f"`index` must lie in 0..{IMAGES - 1}; got {worst}. Is it an index into a subset?"
        )
    return torch.stack(torch.unravel_index(index.long(), FACTOR_SIZES), -1)


def index_of(classes: Int[Tensor, "*batch 6"]) -> Int[Tensor, "*batch"]:
    """Places in the set, 0 to 737,279, of the images with these classes; undoes `classes_at`."""
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
    """Images with these classes, drawn by the rule of this package.

    Axes are image, row (top first), column (left first); columns of `classes` are `FACTOR_NAMES`.
    Arithmetic on rounded vertices is exact, and no vertex lies near a tie of the rounding, so
    every machine draws the same pixels. Not proven bit-identical to the original npz.

    The whole set takes 2 s of one core, and as long as the machine needs to hand out the 3.0 GB
    of the result (10 s or more); `write` stores it in 377 MB.

    Returns:
        1 where white, 0 where black, on the CPU.

    Source: rule recovered from the frames of the official animation (Matthey et al., 2017).
    """
    index = index_of(torch.as_tensor(classes).cpu()).numpy()
    images = np.empty((len(index), SIDE, SIDE), dtype=np.uint8)
    order = np.argsort(index, kind="stable")
    pose, start = np.unique(index[order] // POSITIONS, return_index=True)
    for p, members in zip(pose, np.split(order, start)[1:], strict=True):
        x, column = np.unique(index[members] // 32 % 32, return_inverse=True)
        y, row = np.unique(index[members] % 32, return_inverse=True)
        packed = draw(int(p), x, y)[column, row]
        images[members] = np.unpackbits(packed, axis=-1).reshape(-1, SIDE, SIDE)
    return torch.from_numpy(images)


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


def vertices(pose: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices before rounding, in 1/256 pixel, [posX, vertex] and [posY, vertex]."""
    shape, scale, orientation = np.unravel_index(pose, FACTOR_SIZES[1:4])
    u, v = _outline(int(shape))
    s, t = 0.5 + 0.1 * scale, 2 * np.pi * orientation / 39
    across, down = s * (u * np.cos(t) + v * np.sin(t)), s * (-u * np.sin(t) + v * np.cos(t))
    centre_x, centre_y = 16 + 32 * x[:, None] / 31, 16 + 32 * y[:, None] / 31
    return _SUBPIXELS * (centre_x + across), _SUBPIXELS * (centre_y + down)


def draw(pose: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Packed images, uint8 [posX, posY, 512], of one (shape, scale, orientation)."""
    return _fill(*(np.rint(c).astype(np.int64) for c in vertices(pose, x, y)))


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
    key = image * SIDE + line
    order = np.argsort(key, kind="stable")
    key, edge, line, place = key[order], edge[order], line[order], place[order]

    # First column whose centre is at or right of the crossing: left edges belong to the inside.
    # Integers below 2^30 over integers below 2^23: the correctly rounded quotient of float64 is on
    # the same side of every integer as the true one, so `ceil` is exact.
    rise, above = dy.ravel()[place], (256 * line + 128) - y.ravel()[place]
    column = np.ceil(((x[:, edge] - 128) * rise + above * dx[:, edge]) / (256 * rise))
    words = np.zeros((len(x), len(y) * SIDE), dtype=np.uint64)
    start = np.flatnonzero(np.diff(key, prepend=-1))
    inverted = _WHITE_FROM[column.astype(np.int64)]
    words[:, key[start]] = np.bitwise_xor.reduceat(inverted, start, axis=1)
    return words.astype(">u8").view(np.uint8).reshape(len(x), len(y), -1)


def pool(packed: np.ndarray, block: int) -> np.ndarray:
    """White pixels in each block x block square of packed images, uint8 [..., (64 / block)^2]."""
    side = SIDE // block
    counts = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    counts = counts.reshape(256, 8 // block, block).sum(-1, dtype=np.uint8)
    # One look-up per byte gives the counts of all its blocks, together as one wider integer.
    lines = counts.view(f"u{8 // block}")[:, 0][packed].view(np.uint8)
    lines = lines.reshape(*packed.shape[:-1], side, block, side)
    return sum(lines[..., row, :] for row in range(block)).reshape(*packed.shape[:-1], -1)
