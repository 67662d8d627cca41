"""The run of record: what was measured, committed with the project, for who has no machine for it.

`record/runs/` holds one folder a run, in the form of the run store but without weights; a few runs
keep their decoder. `record/figures/` holds the figures and numbers that were drawn from them. What
comes in is checked as a whole first: one bad run, and nothing changes.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch

from seams.files import clean, publish, scratch
from seams.training.runs import FILES, Run, as_npz, read_config

__all__ = [
    "FACES",
    "LARGEST_DECODER",
    "Imported",
    "import_runs",
    "kept_decoders",
    "listing",
]

FACES = ("celeba", "folder", "orl")
"""Data sets whose images the record does not keep; a figure may show a few."""

LARGEST_DECODER = 1_100_000
"""Bytes: the paper's network at 64 x 64, in colour, has 1.01 million in float32."""

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
    """What an import did.

    Attributes:
        added: Names that are new in the record.
        replaced: Names that were there with other contents.
        known: Names that were there with the same contents.
    """

    added: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


def import_runs(
    store: Path,
    record: Path,
    *,
    decoders: Sequence[str] = (),
    replace: bool = False,
) -> Imported:
    """Take the finished runs of a store into the record.

    Checked are: the files of each run and their checksums, its name against the hash of its
    configuration, that it was evaluated, its provenance (a commit without uncommitted changes; one
    checksum for each data set throughout the record), finite values, and that it is not already
    there with other contents.

    Args:
        store: Folder of a run store.
        record: Folder of the runs of the record; made if it is absent.
        decoders: Names of runs whose decoder is kept.
        replace: Whether a run that is there with other contents is replaced.

    Returns:
        What was taken.

    Raises:
        ValueError: Something is wrong; the message has one line for each problem, and nothing was
            changed.
    """
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
    """Every run of the record with what it was, how long it took and on what.

    Args:
        record: Folder of the runs of the record.

    Returns:
        One row a run, sorted: id, dataset, resolution, network, covariance, beta, beta_start,
        seed, images, seconds, device, commit, decoder (whether it is kept).
    """
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
    """The runs of the record whose decoder is kept.

    Args:
        record: Folder of the runs of the record.

    Returns:
        Runs that have `Run.decoder`.
    """
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
    try:
        run = Run(read_config(folder), folder)
        origin, scores, arrays = run.provenance, run.scores, run.arrays
        history = run.history
    except (OSError, KeyError) as error:
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
    """The parameters of a run's decoder as the bytes of a safetensors file."""
    if not run.has_weights:
        raise ValueError("has no weights, so its decoder cannot be kept")
    prefix = "network."
    own = {k.removeprefix(prefix): v for k, v in run.weights().items() if k.startswith(prefix)}
    content = safetensors.torch.save(own)
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


def _write(run: Run, decoder: bytes | None, record: Path) -> None:
    new, target = scratch(record), record / run.id
    for name in (FILES.config, FILES.provenance, FILES.evaluation, FILES.history):
        shutil.copyfile(run.folder / name, new / name)
    (new / FILES.arrays).write_bytes(as_npz(_kept_arrays(run)))
    if decoder is None and (target / FILES.decoder).is_file():
        decoder = (target / FILES.decoder).read_bytes()
    if decoder is not None:
        (new / FILES.decoder).write_bytes(decoder)
    publish(new, target)
