"""One run: its name and its folder, whose files only this, the store and the record know."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
from torch import Tensor, nn

from seams.training.config import TrainConfig
from seams.training.stack import build
from seams.vae import VAE

__all__ = [
    "FILES",
    "FORMAT",
    "Damaged",
    "Run",
    "as_json",
    "as_npz",
    "parse",
    "read_config",
    "run_id",
    "table",
]

FORMAT = 1  # a new field of `TrainConfig` does not change it; a changed default does


class Damaged(ValueError):
    """A file holds something else than what was written."""


class FILES:
    """Names of the files in a run's folder; the record has no weights, but may have a decoder."""

    config, provenance, evaluation = "config.json", "provenance.json", "evaluation.json"
    arrays, history, checksums = "evaluation.npz", "history.npz", "files.json"
    weights, snapshots = "weights.safetensors", "snapshots.safetensors"
    decoder = "decoder.safetensors"


_SMALL = (FILES.config, FILES.provenance, FILES.evaluation, FILES.arrays, FILES.history)
_LARGE = (FILES.weights, FILES.snapshots, FILES.decoder)


def read_config(folder: Path) -> TrainConfig:
    """The configuration in a folder; ValueError if this version does not know such a one."""
    values = parse(FILES.config, (folder / FILES.config).read_bytes())
    unknown = values.keys() - {item.name for item in fields(TrainConfig)}
    if unknown:
        raise ValueError(f"its configuration has fields unknown here: {', '.join(unknown)}")
    return TrainConfig(**values)


def run_id(config: TrainConfig) -> str:
    """16 hex digits, a hash of what differs from defaults: new fields leave it as it is."""
    chosen = {
        item.name: config[item.name]
        for item in fields(config)
        if item.default is MISSING or config[item.name] != item.default
    }
    text = json.dumps({"format": FORMAT, "config": chosen}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Run:
    """One finished run, read from its folder when asked."""

    config: TrainConfig
    folder: Path

    @property
    def id(self) -> str:
        """The run's name."""
        return run_id(self.config)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Where the run comes from: versions, device, wall time, commit, checksum of the data."""
        return self._parsed(FILES.provenance)

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Numbers of the evaluation; see `seams.training.evaluate`."""
        return self._parsed(FILES.evaluation)

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays of the evaluation; see `seams.training.evaluate`."""
        return self._parsed(FILES.arrays)

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row a chunk of steps: step, images, beta, distortion and rate in nats."""
        frame = pd.DataFrame(self._parsed(FILES.history))
        frame = frame.assign(images=frame["step"] * self.config.batch)
        return frame[["step", "images", "beta", "distortion", "rate"]]

    @property
    def is_evaluated(self) -> bool:
        """Whether scores and arrays are there; training may have ended just before."""
        return all((self.folder / name).is_file() for name in (FILES.evaluation, FILES.arrays))

    @property
    def has_weights(self) -> bool:
        """Whether the trained parameters are stored too; the record keeps none."""
        return (self.folder / FILES.weights).is_file()

    def weights(self) -> dict[str, Tensor]:
        """Trained parameters by name, float32; FileNotFoundError if the run is of the record."""
        return self._load(FILES.weights)

    def snapshots(self) -> dict[int, dict[str, Tensor]]:
        """Parameters by step along training; empty for none, or if the run came without them."""
        kept = (self.folder / FILES.snapshots).is_file() or not self.has_weights
        found: dict[int, dict[str, Tensor]] = {}
        wanted = kept and self.config.snapshots
        for key, value in (self._load(FILES.snapshots) if wanted else {}).items():
            step, _, name = key.partition("/")
            found.setdefault(int(step), {})[name] = value
        return dict(sorted(found.items()))

    def _load(self, name: str) -> dict[str, Tensor]:
        if not (self.folder / name).is_file():
            raise FileNotFoundError(
                f"Run {self.id} is known from the record, without its weights: train it again "
                "with `retrain=True`."
            )
        return self._parsed(name)

    def _parsed(self, name: str) -> dict[str, Any]:
        return parse(name, self._read(name))

    def _read(self, name: str) -> bytes:
        """Bytes of a file, its checksum compared; another process may replace an evaluation."""
        for _ in range(2):
            content = (self.folder / name).read_bytes()
            expected = self.checksums().get(name)
            if expected is None or hashlib.sha256(content).hexdigest() == expected:
                return content
        raise Damaged(f"{name} was damaged; `seams store check` sets such runs aside.")

    def checksums(self) -> dict[str, str]:
        """Of its files; none for runs of the record or from before there were any."""
        path = self.folder / FILES.checksums
        return parse(path.name, path.read_bytes()) if path.is_file() else {}

    def damage(self, *, weights: bool = False) -> str:
        """What is wrong with the files, in a line, if anything; those of weights on request."""
        try:
            stored, sums = self._parsed(FILES.config), self.checksums()
            known = {item.name for item in fields(self.config)}
            if any(self.config[k] != v for k, v in stored.items() if k in known):
                return f"{FILES.config} of run {self.id} is that of another run."
            if unknown := sums.keys() - {*_SMALL, *_LARGE}:
                return f"{FILES.checksums} of run {self.id} names {', '.join(sorted(unknown))}."
            for name in (*_SMALL, *(_LARGE if weights else ())):
                if not (self.folder / name).is_file():
                    if name in sums:
                        return f"{name} of run {self.id} is missing."
                elif name in sums:
                    self._read(name)
                elif weights or name.endswith(".json"):
                    self._parsed(name)
                elif not zipfile.is_zipfile(self.folder / name):  # decompressing takes longer
                    return f"{name} of run {self.id} cannot be read."
        except (OSError, ValueError) as error:
            return f"Run {self.id}: {error}"
        return f"Run {self.id} has no weights." if weights and not self.has_weights else ""

    def model(self, weights: Mapping[str, Tensor] | None = None) -> VAE:
        """The trained model, or one with other weights; evaluation mode, float32, on the CPU."""
        vae = build(self.config, self.provenance["data_size"])
        vae.load_state_dict(dict(weights or self.weights()))
        return vae.eval().requires_grad_(False)

    def decoder(self) -> nn.Module:
        """The decoder's network, see `VAE.network`, which a few runs of the record have too."""
        if self.has_weights:
            return self.model().network
        network = build(self.config, self.provenance["data_size"]).network
        network.load_state_dict(self._load(FILES.decoder))
        return network.eval().requires_grad_(False)


def as_npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the bytes of a compressed file without pickles."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **dict[str, Any](arrays))
    return file.getvalue()


def as_json(content: Mapping[str, Any]) -> bytes:
    """Names and plain values as the bytes of a file."""
    return (json.dumps(dict(content), indent=1, allow_nan=False) + "\n").encode()


def parse(name: str, content: bytes) -> dict[str, Any]:
    """What a file of this name holds; `Damaged` if that cannot be read."""
    try:
        if name.endswith(".json"):
            found = json.loads(content)
        elif name.endswith(".npz"):
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                found = dict(stored)
        else:
            found = safetensors.torch.load(content)
    except Exception as error:  # each reader has its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise Damaged(f"{name} cannot be read: {reason}") from None
    if not isinstance(found, dict):
        raise Damaged(f"{name} cannot be read: it holds no names")
    return found


def table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row a run, by its id: its configuration, then the numbers of its evaluation."""
    rows = {}
    for run in runs:
        chosen = {item.name: run.config[item.name] for item in fields(run.config)}
        rows[run.id] = chosen | run.scores
    return pd.DataFrame.from_dict(rows, orient="index")
