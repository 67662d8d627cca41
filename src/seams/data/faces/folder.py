"""Any folder of JPEG and PNG images as a data set."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from seams.data.faces.cache import cached, store
from seams.data.faces.images import Faces, tenths
from seams.data.faces.pixels import RECIPE, decode, square

__all__ = ["load_folder"]


def load_folder(
    folder: Path | str,
    cache: Path | str,
    *,
    resolution: int = 64,
    channels: Literal[1, 3] = 3,
) -> Faces:
    """The JPEG and PNG images in a folder and those below it, in the order of their paths.

    Of each the largest centred square is kept, after turning it as its EXIF data say; alpha is
    ignored. Other files, and names that start with a dot, are passed over. Parts are blocks: the
    first eight tenths, the ninth and the last, so that neighbours by name, often alike, are
    rarely parted.

    The first call writes pixels and their origin to `cache` as .npy and .json. Later calls map
    the pixels from there, as long as the images have the same names and sizes in bytes. At no
    time is more than one image in memory.

    An unreadable image, one of more than 8 bits a channel, and one smaller than `resolution` are
    errors that name it.

    Args:
        folder: Where the images are.
        cache: Folder for the pixels; made if missing.
        resolution: Rows, and columns, of an image.
        channels: 3 for red, green and blue, 1 for grey (luma of ITU-R 601).

    Returns:
        The images, mapped from the cache.

    Raises:
        ValueError: There are no images.
    """
    folder, cache = Path(folder).resolve(), Path(cache)
    paths = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
        if path.is_file()
    }
    shown = sorted(name for name in paths if not re.search(r"(^|/)\.", name))
    paths = {name: paths[name] for name in shown}
    if not paths:
        raise ValueError(f"`folder` must hold .jpg, .jpeg or .png files; {folder} has none.")
    listing = "".join(f"{name}\t{path.stat().st_size}\n" for name, path in paths.items())
    wanted = RECIPE | {
        "file": folder.name,
        "crop": "largest centred square",
        "listing_sha256": hashlib.sha256(listing.encode()).hexdigest(),
    }
    name = f"{folder.name}_{channels}x{resolution}x{resolution}"
    if faces := cached(cache, name, wanted):
        return faces
    origin = wanted | {"source": f"{len(paths):,} images of {folder.name}"}
    images = _folder_images(paths.values(), resolution, channels)
    shape = (len(paths), channels, resolution)
    return store(cache, name, origin, images, shape, tenths(len(paths)))


def _folder_images(paths: Iterable[Path], resolution: int, channels: int) -> Iterator[np.ndarray]:
    for path in paths:
        with path.open("rb") as stream:
            pixels = decode(stream, str(path), ("JPEG", "PNG"), channels)
        yield square(pixels, resolution, str(path))
