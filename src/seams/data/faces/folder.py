"""Any folder of JPEG and PNG images as a data set."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from seams.data.faces.images import Faces, cached, kept, tenths
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
    ignored. Links are followed; other files, and names with a dot before them, are passed over.
    Parts are blocks: the first eight tenths, the ninth and the last, so that neighbours by name,
    often alike, are rarely parted.

    The first call writes pixels and their origin to `cache` as .npy and .json. Later calls map
    the pixels from there, as long as the images have the same names, sizes and times of change.

    Returns:
        The images, mapped from the cache; with one channel, grey by the luma of ITU-R 601.

    Raises:
        ValueError: No image, or an unreadable one, of more than 8 bits a channel, or too small.
    """
    folder, cache = Path(folder).resolve(), Path(cache)
    paths = dict(sorted(_images_below(folder)))
    if not paths:
        raise ValueError(f"`folder` must hold .jpg, .jpeg or .png files; {folder} has none.")
    facts = {name: path.stat() for name, path in paths.items()}
    listing = "".join(f"{name}\t{f.st_size}\t{f.st_mtime_ns}\n" for name, f in facts.items())
    wanted = RECIPE | {
        "file": folder.name,
        "crop": "largest centred square",
        "listing_sha256": hashlib.sha256(listing.encode()).hexdigest(),
    }
    path = cache / f"{folder.name}_{channels}x{resolution}x{resolution}.npy"
    if faces := cached(path, (channels, resolution), wanted):
        return faces
    origin = wanted | {"source": f"{len(paths):,} images of {folder.name}"}
    images = _folder_images(paths.values(), resolution, channels)
    return kept(path, (len(paths), channels, resolution), images, origin, tenths(len(paths)))


def _images_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and place of each image, also behind links; each folder once, should they go round."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in files if not name.startswith(".")):
            if path.suffix.lower() in {".jpg", ".jpeg", ".png"} and path.is_file():
                yield path.relative_to(folder).as_posix(), path


def _folder_images(paths: Iterable[Path], resolution: int, channels: int) -> Iterator[np.ndarray]:
    for path in paths:
        with path.open("rb") as stream:
            pixels = decode(stream, str(path), ("JPEG", "PNG"), channels)
        yield square(pixels, resolution, str(path))
