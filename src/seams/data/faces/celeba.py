"""CelebA, from the user's copy of its zip.

For non-commercial research only: neither its images nor the arrays made from them here may be
passed on, nor put under version control. Source: Liu et al., 2015.
"""

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seams.data.faces.images import Faces, cached, kept, tenths
from seams.data.faces.pixels import RECIPE, decode, square

__all__ = [
    "CELEBA_BYTES",
    "CELEBA_IMAGES",
    "CELEBA_MD5",
    "CELEBA_TERMS",
    "load_celeba",
    "official_parts",
]

CELEBA_BYTES = 1_443_490_838
CELEBA_MD5 = "00d2c5bc6d35e252742224ab0c1e8fcb"
CELEBA_IMAGES = 202_599
CELEBA_TERMS = "non-commercial research only; do not pass on"

_CELEBA_MEMBER = re.compile(r"img_align_celeba/([0-9]{6})\.jpg")
_CELEBA_ENDS = {"train": 162_770, "validation": 182_637, "test": CELEBA_IMAGES}
_CELEBA_CROP = (148, 178)  # side of the crop over width of the image
_MEMBER_BYTES = 2**20  # a CelebA file has about 7 kB: room for any, refusal of a bomb


def load_celeba(
    archive: Path | str,
    cache: Path | str,
    *,
    resolution: int = 64,
    md5: str | None = None,
) -> Faces:
    """CelebA, aligned and cropped, from `img_align_celeba.zip` or a zip of some of its members.

    The zip is read in place. The first call decodes every image, one at a time, and writes pixels
    and their origin to `cache` as .npy and .json. Later calls map the pixels from there, while the
    zip has the same name and size; it may then be absent. At 64 x 64 the set has 2.5 GB.

    The crop is centred, 148/178 of the width: 148 of 178 pixels officially, 74 of 89 at half
    size. Parts are the official ones, by number, in which no one appears twice. A zip without
    images after 162,770 has no other official part than train: its first eight tenths, the ninth
    and the last are taken, and people appear in several.

    Members other than `img_align_celeba/NNNNNN.jpg`, large ones and repeated ones are refused,
    as is whatever is not a JPEG image or leaves a crop smaller than `resolution`. The zip must
    have the checksum `md5`, if given, and the official one if it has the official size.

    Returns:
        Images of three channels, mapped from the cache, in the order of their numbers.

    Raises:
        FileNotFoundError: Neither zip nor cache is there.
        ValueError: The zip is not what it should be.
    """
    archive, cache = Path(archive), Path(cache)
    crop = "centred square, 148/178 of the width"
    wanted: dict[str, Any] = RECIPE | {"file": archive.name, "crop": crop}
    if archive.is_file():
        wanted["bytes"] = archive.stat().st_size
        if wanted["bytes"] == CELEBA_BYTES:
            md5 = md5 or CELEBA_MD5
    if md5 is not None:
        wanted["md5"] = md5
    path = cache / f"{archive.stem}_3x{resolution}x{resolution}.npy"
    if faces := cached(path, (3, resolution), wanted):
        return faces
    if not archive.is_file():
        raise FileNotFoundError(
            f"{archive} is missing, and {cache} holds no sound {path.name} made from it. Get "
            "img_align_celeba.zip from the authors of CelebA, or use `load_orl`."
        )
    if md5 == CELEBA_MD5 and wanted["bytes"] != CELEBA_BYTES:
        raise ValueError(
            f"img_align_celeba.zip has {CELEBA_BYTES} bytes; {archive} has {wanted['bytes']}. "
            "Download it again, or leave `md5` out for a zip of some of its members."
        )
    try:
        opened = zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{archive} is not a complete zip ({wanted['bytes']} bytes; the official one has "
            f"{CELEBA_BYTES}). Download it again."
        ) from error
    with opened:
        with archive.open("rb") as stream:
            came = hashlib.file_digest(stream, "md5").hexdigest()
        if md5 not in (None, came):
            raise ValueError(f"{archive} must have md5 {md5}; got {came}. Download it again.")
        members = _celeba_members(opened, archive)
        origin = wanted | {
            "md5": came,
            "terms": CELEBA_TERMS,
            "source": f"CelebA, {len(members):,} images of {archive.name}",
        }
        images = _celeba_images(opened, archive, members.values(), resolution)
        shape = (len(members), 3, resolution)
        return kept(path, shape, images, origin, official_parts(list(members)))


def _celeba_members(opened: zipfile.ZipFile, archive: Path) -> dict[int, zipfile.ZipInfo]:
    """Members by number, in ascending order."""
    members: dict[int, zipfile.ZipInfo] = {}
    for member in opened.infolist():
        if member.filename == "img_align_celeba/":
            continue
        name = _CELEBA_MEMBER.fullmatch(member.filename)
        number = int(name[1]) if name else 0
        if not 1 <= number <= CELEBA_IMAGES or number in members:
            raise ValueError(
                f"a CelebA zip holds img_align_celeba/000001.jpg to {CELEBA_IMAGES}.jpg, each "
                f"once; {archive} has {member.filename!r}. Download the official one."
            )
        if member.file_size > _MEMBER_BYTES:
            raise ValueError(
                f"a CelebA image has at most {_MEMBER_BYTES} bytes; {member.filename} in "
                f"{archive} has {member.file_size}. Download the official zip."
            )
        members[number] = member
    if not members:
        raise ValueError(f"a CelebA zip holds images; {archive} has none. Is it the right file?")
    return dict(sorted(members.items()))


def official_parts(numbers: list[int]) -> dict[str, range]:
    """Places of the parts, of images with these numbers; tenths if all are of the first part."""
    if numbers[-1] <= _CELEBA_ENDS["train"]:
        return tenths(len(numbers))
    split, start = {}, 0
    for part, end in _CELEBA_ENDS.items():
        stop = int(np.searchsorted(numbers, end, side="right"))
        split[part], start = range(start, stop), stop
    return split


def _celeba_images(
    opened: zipfile.ZipFile, archive: Path, members: Iterable[zipfile.ZipInfo], resolution: int
) -> Iterator[np.ndarray]:
    for member in members:
        name = f"{member.filename} in {archive}"
        try:
            raw = opened.read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
            raise ValueError(f"{name} is damaged ({error}). Download the zip again.") from error
        pixels = decode(io.BytesIO(raw), name, ("JPEG",), 3)
        width, (part, whole) = pixels.shape[1], _CELEBA_CROP
        yield square(pixels, resolution, name, (2 * width * part + whole) // (2 * whole))
