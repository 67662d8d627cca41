"""Bytes on disk: an array as .npy, what it was made from as .json beside it.

The description goes first and comes back last, so that no crash leaves it beside other bits; and
an array is what its description says only if its checksum, computed here, is the one in it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from seams import files
from seams.project import project_root

__all__ = ["faces_folder", "folder", "read", "store"]

Described = Mapping[str, Any]


def folder() -> Path:
    """Where data files are: `data` under the project, or SEAMS_DATA; it need not exist."""
    return Path(os.environ.get("SEAMS_DATA") or project_root() / "data")


def faces_folder() -> Path:
    """Where files of faces are: `.faces` under the project, or SEAMS_FACES; it need not exist."""
    # Apart from `data`, whose contents the pipeline knows by a checksum, and ignored by git.
    return Path(os.environ.get("SEAMS_FACES") or project_root() / ".faces")


def store(
    path: Path,
    shape: tuple[int, ...],
    parts: Iterable[np.ndarray],
    describe: Callable[[str], Described],
) -> dict[str, Any]:
    """Write an array as its parts come, with what `describe` says of their sha256 (or refuses)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.clean(path.parent)
    partial = files.partial(path)
    digest = hashlib.sha256()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    try:
        with partial.open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for part in parts:
                stream.write(part.data)
                digest.update(part.data)
        record = {**describe(digest.hexdigest()), "sha256": digest.hexdigest()}
        path.with_suffix(".json").unlink(missing_ok=True)
        partial.replace(path)
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        partial.replace(path.with_suffix(".json"))
    finally:
        partial.unlink(missing_ok=True)
    return record


def read(path: Path, shape: tuple[int, ...] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """What `store` wrote, mapped copy on write: array, of this shape if given, and description."""
    description = path.with_suffix(".json")
    for file in (path, description):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing")
    try:
        # Copy on write: torch wants memory it may write to.
        array = np.load(path, mmap_mode="c", allow_pickle=False)
        came, fits = f"{array.dtype} {array.shape}", array.shape == (shape or array.shape)
    except (ValueError, EOFError):
        came, fits = f"{path.stat().st_size} bytes", False
    if not fits or array.dtype != np.uint8:
        raise ValueError(f"{path} must hold uint8 {shape or 'values'}; got {came}")
    record, sha256 = None, _sha256(path, array)
    with suppress(ValueError, RecursionError):
        record = json.loads(description.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or record.get("sha256") != sha256:
        raise ValueError(f"{path} must be the array of {description.name}; got sha256 {sha256}")
    return array, record


def _sha256(path: Path, array: np.memmap) -> str:
    """Checksum of the bytes; the one computed before, if the file has not changed since."""
    # What is known lies in the project's `build`; without a project it is computed each time.
    facts, root = path.stat(), project_root()
    stamp = [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, array.offset]
    place, kept = str(path.resolve()), root / "build" / "checksums.json"
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        known = dict(json.loads(kept.read_text(encoding="utf-8")))
    match known.get(place):
        case [*before, str(sha256)] if before == stamp:
            return sha256
    with path.open("rb") as stream:
        stream.seek(array.offset)
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    known = {name: entry for name, entry in known.items() if Path(name).is_file()}
    if (root / "params.yaml").is_file():
        with suppress(OSError):  # a project that may not be written to
            kept.parent.mkdir(exist_ok=True)
            files.clean(kept.parent)
            files.write(kept, json.dumps(known | {place: [*stamp, sha256]}))
    return sha256
