"""The run of record: what was measured, committed with the project, for who has no machine for it.

`record/runs/` holds one folder a run, in the form of the run store but without weights; a few runs
keep their decoder. `record/figures/` holds the figures and numbers that were drawn from them. What
comes in is checked as a whole first: one bad run, and nothing changes.
"""

import io
import math
import re
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch

from seams.files import clean, publish, scratch, write
from seams.training.runs import FILES, Run, as_npz, parse, read_config

__all__ = [
    "FACES",
    "LARGEST_DECODER",
    "Imported",
    "import_runs",
    "kept_decoders",
    "listing",
    "pack_runs",
]

FACES = ("celeba", "folder", "orl")  # whose images the record does not keep; figures show a few
LARGEST_DECODER = 1_100_000  # bytes; the paper's at 64 x 64 in colour has 1.01 million in float32
PACKS, PACK_BYTES = 8, 16_000_000  # files that `pack_runs` makes at most, and the size of each
_PACKED = re.compile(r"[0-9a-f]{16}/(config|provenance|evaluation|decoder|history)\.\w+")
_ENTRY_BYTES = 300  # what a zip file adds for each of its files, names included
_PICTURES = ("images", "reconstructions", "traversals")
_PROVENANCE: dict[str, Any] = {
    "seams": str,
    "torch": str,
    "commit": str,
    "dirty": bool,
    "device": str,
    "data_size": int,
    "data_checksum": str,
    "seconds": (int, float),
    "finished": str,
}


@dataclass(frozen=True)
class Imported:
    """What an import did, by names of runs."""

    added: tuple[str, ...] = ()  # new in the record
    replaced: tuple[str, ...] = ()  # there with other contents
    known: tuple[str, ...] = ()  # there with the same contents


def import_runs(
    store: Path,
    record: Path,
    *,
    decoders: Sequence[str] = (),
    replace: bool = False,
) -> Imported:
    """Take in the finished runs of a store or of packed files; ValueError, a line a problem."""
    if packs := sorted(store.glob("*.zip")):
        with tempfile.TemporaryDirectory() as unpacked:
            _unpack(packs, Path(unpacked))
            return import_runs(Path(unpacked), record, decoders=decoders, replace=replace)
    folders = sorted(path for path in store.glob("[!.]*") if (path / FILES.config).is_file())
    if not folders:
        raise ValueError(f"There is no finished run in {store}: name the folder of a run store.")
    problems: list[str] = []
    for name in decoders:
        if name not in {folder.name for folder in folders}:
            problems.append(f"{name}: there is no such run whose decoder could be kept")
    checksums = {key: value for run in _runs(record) for key, value in [_checksum(run)]}
    kept: list[tuple[Run, bytes | None]] = []
    for folder in folders:
        try:
            run = _checked(folder)
            key, checksum = _checksum(run)
            if checksums.setdefault(key, checksum) != checksum:
                raise ValueError(f"its {key[0]} data have another checksum than other runs'")
            kept.append((run, _decoder(run) if folder.name in decoders else None))
        except ValueError as error:
            problems.append(f"{folder.name}: {error}")
    added, replaced, known = [], [], []
    for run, decoder in kept:
        target = record / run.id
        if not target.exists():
            added.append(run.id)
        elif _same(run, target) and (decoder is None or (target / FILES.decoder).is_file()):
            known.append(run.id)
        elif replace or _same(run, target):
            replaced.append(run.id)
        else:
            problems.append(f"{run.id}: is in the record with other contents; --replace takes it")
    if problems:
        raise ValueError("Nothing was imported:\n" + "\n".join(problems))
    clean(record)
    for run, decoder in kept:
        if run.id not in known:
            _write(run, decoder, record)
    return Imported(tuple(added), tuple(replaced), tuple(known))


def listing(record: Path) -> pd.DataFrame:
    """Every run of the record with what it was, how long it took and on what; sorted."""
    rows = []
    for run in _runs(record):
        config, origin = run.config, run.provenance
        row: dict[str, Any] = {"id": run.id}
        names = "dataset resolution network covariance beta beta_start seed images"
        row |= {name: config[name] for name in names.split()}
        row |= {"seconds": origin["seconds"], "device": _device(origin)}
        row |= {"commit": origin["commit"], "decoder": (run.folder / FILES.decoder).is_file()}
        rows.append(row)
    frame = pd.DataFrame(rows)
    if rows:
        order = ["dataset", "resolution", "network", "covariance", "beta", "seed", "id"]
        frame = frame.sort_values(order, ignore_index=True)
    return frame


def kept_decoders(record: Path) -> list[Run]:
    """The runs of the record whose decoder is kept."""
    return [run for run in _runs(record) if (run.folder / FILES.decoder).is_file()]


def _device(origin: dict[str, Any]) -> str:
    if origin["device"] != "cpu":
        return str(origin["device"])
    count = origin.get("threads", 1)
    return f"{count} thread{'s' * (count > 1)} of {origin.get('cpu', 'a CPU')}"


def _runs(record: Path) -> list[Run]:
    folders = sorted(path for path in record.glob("[!.]*") if (path / FILES.config).is_file())
    return [Run(read_config(folder), folder) for folder in folders]


def _checked(folder: Path) -> Run:
    """The run in a folder of a store; ValueError says what is wrong with it."""
    for name in (FILES.provenance, FILES.evaluation, FILES.arrays, FILES.history):
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing")
    if links := [path.name for path in folder.iterdir() if path.is_symlink()]:
        raise ValueError(f"{', '.join(links)} must be a file of its own, not a link")
    try:
        run = Run(read_config(folder), folder)
        origin, scores, arrays = run.provenance, run.scores, run.arrays
        history = run.history
    except (OSError, KeyError, TypeError) as error:
        raise ValueError(f"cannot be read: {error}") from None
    if run.id != folder.name:
        raise ValueError(f"its configuration is that of {run.id}")
    for name, kind in _PROVENANCE.items():
        if not isinstance(origin.get(name), kind):
            raise ValueError(f"its provenance holds no usable {name!r}: {origin.get(name)!r}")
    if origin["dirty"]:
        raise ValueError("was trained with uncommitted changes")
    if "evaluation" not in scores:
        raise ValueError("its evaluation does not say by which version it was made")
    for name, value in scores.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"the score {name!r} is not finite")
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise ValueError(f"the array {name!r} must hold numbers; it holds {array.dtype}")
        # Along training a score may not be defined yet.
        if not name.startswith("curve_") and not np.isfinite(array).all():
            raise ValueError(f"the array {name!r} is not finite")
    if not np.isfinite(history.to_numpy(float)).all():
        raise ValueError("its history is not finite")
    return run


def _checksum(run: Run) -> tuple[tuple[str, int], str]:
    config = run.config
    return (config.dataset, config.resolution), run.provenance["data_checksum"]


def _decoder(run: Run) -> bytes:
    if run.has_weights:
        weights, prefix = run.weights(), "network."
        own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        content = safetensors.torch.save(own)
    elif (run.folder / FILES.decoder).is_file():
        content = (run.folder / FILES.decoder).read_bytes()
        parse(FILES.decoder, content)
    else:
        raise ValueError("has no weights, so its decoder cannot be kept")
    if len(content) > LARGEST_DECODER:
        raise ValueError(f"its decoder has {len(content)} bytes, more than {LARGEST_DECODER}")
    return content


def _same(run: Run, target: Path) -> bool:
    """Whether the record holds these very results; when and where they were made may differ."""
    other = Run(run.config, target)
    kept = _kept_arrays(run)
    return (
        run.scores == other.scores
        and kept.keys() == other.arrays.keys()
        and all(np.array_equal(a, other.arrays[k], equal_nan=True) for k, a in kept.items())
    )


def _kept_arrays(run: Run) -> dict[str, np.ndarray]:
    left_out = _PICTURES if run.config.dataset.partition(":")[0] in FACES else ()
    kept = {k: v for k, v in run.arrays.items() if k not in left_out}
    # float32 resolves every figure, and halves the record.
    return {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in kept.items()}


def _files(run: Run) -> dict[str, bytes]:
    plain = (FILES.config, FILES.provenance, FILES.evaluation, FILES.history)
    found = {name: (run.folder / name).read_bytes() for name in plain}
    return found | {FILES.arrays: as_npz(_kept_arrays(run))}


def _write(run: Run, decoder: bytes | None, record: Path) -> None:
    new, target = scratch(record), record / run.id
    if decoder is None and (target / FILES.decoder).is_file():
        decoder = (target / FILES.decoder).read_bytes()
    for name, content in (_files(run) | ({FILES.decoder: decoder} if decoder else {})).items():
        (new / name).write_bytes(content)
    publish(new, target)


def pack_runs(runs: Sequence[Run], folder: Path) -> tuple[int, int]:
    """Put runs into a few files, with decoders while there is room; counts of both."""
    packs: list[dict[str, bytes]] = [{} for _ in range(PACKS)]
    room = [PACK_BYTES] * PACKS

    def add(parts: dict[str, bytes]) -> bool:
        size = sum(map(len, parts.values())) + _ENTRY_BYTES * len(parts)
        place = next((i for i, left in enumerate(room) if left >= size), None)
        if place is not None:
            packs[place] |= parts
            room[place] -= size
        return place is not None

    packed = [run for run in runs if add({f"{run.id}/{k}": v for k, v in _files(run).items()})]
    decoders = sum(add({f"{run.id}/{FILES.decoder}": _decoder(run)}) for run in packed)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("runs-*.zip"):
        old.unlink()
    for number, parts in enumerate(filter(None, packs)):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as file:  # what it holds is compressed, or noise
            for name, value in parts.items():
                file.writestr(name, value)
        write(folder / f"runs-{number}.zip", content.getvalue())
    return len(packed), decoders


def _unpack(packs: Sequence[Path], folder: Path) -> None:
    for path in packs:
        try:
            with zipfile.ZipFile(path) as file:
                for entry in file.infolist():
                    if not _PACKED.fullmatch(entry.filename) or entry.file_size > PACK_BYTES:
                        raise ValueError(f"{path} holds {entry.filename!r}, which is no run's.")
                    target = folder / entry.filename
                    target.parent.mkdir(exist_ok=True)
                    target.write_bytes(file.read(entry))
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from None
