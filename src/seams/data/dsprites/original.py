"""The original npz, packed a few images at a time."""

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seams.data.dsprites.rule import IMAGES, SIDE

__all__ = ["ORIGINAL_MD5", "READ", "packed_original"]

ORIGINAL_MD5 = "7da33b31b13a06f4b04a70402ce90c2e"
READ = 1024
"""Images taken at once: 4 MiB."""


def packed_original(
    source: Path, md5: str = ORIGINAL_MD5, images: int = IMAGES
) -> Iterator[np.ndarray]:
    """Images in order as packed bits `[images, 512]`, a few at once, out of the zip, no pickle."""
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
            if (shape, column_major, dtype) != ((images, SIDE, SIDE), False, np.uint8):
                order = "columns" if column_major else "rows"
                raise ValueError(
                    f"`imgs` of {source} must be uint8 {(images, SIDE, SIDE)} by rows; got "
                    f"{dtype} {shape} by {order}. Leave `source` out to render the images."
                )
            for first in range(0, images, READ):
                count = min(READ, images - first)
                pixels = np.frombuffer(member.read(count * SIDE * SIDE), dtype=np.uint8)
                yield np.packbits(pixels).reshape(count, -1)
