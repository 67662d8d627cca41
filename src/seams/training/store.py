"""The run store: one folder a run, named by the hash of its configuration.

Only this module and `seams.training.record` know the files in such a folder. A folder is written
under another name and then moved, so a reader never sees half a run; two processes may share a
store.
Weights are safetensors and arrays are npz without pickles.

The *record* is a folder of the same form, committed with the project, that holds what was
evaluated but, for a few decoders, not the weights: figures can be drawn from it on a machine that
trained nothing.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seams.project import project_root
from seams.training.config import TrainConfig
from seams.training.stack import Stack, build
from seams.vae import VAE

__all__ = ["FILES", "FORMAT", "Run", "Store", "run_id", "table"]

FORMAT = 1
"""Of the store. A new field of `TrainConfig` does not change it; a changed default does."""

_CHECKPOINT = "checkpoint"  # folder of the unfinished runs


class FILES:
    """Names of the files in a run's folder; the record has no weights, but may have a decoder."""

    config, provenance, evaluation = "config.json", "provenance.json", "evaluation.json"
    arrays, history = "evaluation.npz", "history.npz"
    weights, snapshots = "weights.safetensors", "snapshots.safetensors"
    decoder = "decoder.safetensors"


def run_id(config: TrainConfig) -> str:
    """Name of a run: hash of the fields that differ from their defaults.

    Args:
        config: The run.

    Returns:
        16 hexadecimal digits. Fields added later with a default leave the name as it is.
    """
    chosen = {
        item.name: config[item.name]
        for item in fields(config)
        if item.default is MISSING or config[item.name] != item.default
    }
    text = json.dumps({"format": FORMAT, "config": chosen}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Run:
    """One finished run, read from its folder when asked.

    Attributes:
        config: What was trained.
        folder: Where it is stored.
    """

    config: TrainConfig
    folder: Path

    @property
    def id(self) -> str:
        """The run's name."""
        return run_id(self.config)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Where the run comes from: versions, device, wall time, commit, checksum of the data."""
        return json.loads((self.folder / FILES.provenance).read_text())

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Numbers of the evaluation; see `seams.training.evaluate`."""
        return json.loads((self.folder / FILES.evaluation).read_text())

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays of the evaluation; see `seams.training.evaluate`."""
        with np.load(self.folder / FILES.arrays, allow_pickle=False) as stored:
            return dict(stored)

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row a chunk of steps: step, images, beta, distortion and rate in nats."""
        with np.load(self.folder / FILES.history, allow_pickle=False) as stored:
            frame = pd.DataFrame(dict(stored))
        frame = frame.assign(images=frame["step"] * self.config.batch)
        return frame[["step", "images", "beta", "distortion", "rate"]]

    @property
    def has_weights(self) -> bool:
        """Whether the trained parameters are stored too; the record keeps none."""
        return (self.folder / FILES.weights).is_file()

    def weights(self) -> dict[str, Tensor]:
        """Trained parameters by name; FileNotFoundError if the run comes from the record.

        Returns:
            CPU tensors, float32.
        """
        return self._load(FILES.weights)

    def snapshots(self) -> dict[int, dict[str, Tensor]]:
        """Parameters by step at the configuration's `snapshots` points of training.

        As `weights`, the record does not hold them.

        Returns:
            Step to parameters, by rising step; empty if the configuration asks for none.
        """
        found: dict[int, dict[str, Tensor]] = {}
        for key, value in (self._load(FILES.snapshots) if self.config.snapshots else {}).items():
            step, _, name = key.partition("/")
            found.setdefault(int(step), {})[name] = value
        return dict(sorted(found.items()))

    def _load(self, name: str) -> dict[str, Tensor]:
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"Run {self.id} is known from the record, without its weights: train it again "
                "with `retrain=True`."
            )
        return load_file(path)

    def model(self, weights: Mapping[str, Tensor] | None = None) -> VAE:
        """The trained model.

        Args:
            weights: Another set of parameters, such as a snapshot's.

        Returns:
            In evaluation mode, float32, on the CPU.
        """
        vae = build(self.config, self.provenance["data_size"])
        vae.load_state_dict(dict(weights or self.weights()))
        return vae.eval().requires_grad_(False)

    def decoder(self) -> nn.Module:
        """The decoder's network, which a few runs of the record have too; see `VAE.network`.

        Returns:
            From latents to the mean of x, or logits of a Bernoulli; evaluation mode, float32, CPU.
        """
        if self.has_weights:
            return self.model().network
        network = build(self.config, self.provenance["data_size"]).network
        network.load_state_dict(self._load(FILES.decoder))
        return network.eval().requires_grad_(False)


class Store:
    """Runs on disk; finished ones are looked up here first, then in the record.

    Args:
        root: Folder of the store; default `.runs` under the project, or SEAMS_STORE.
        record: Folder of the record, or None to ignore it.

    Raises:
        ValueError: The folder was written in another format.
    """

    def __init__(self, root: Path | str | None = None, record: Path | str | None = None) -> None:
        default = os.environ.get("SEAMS_STORE") or project_root() / ".runs"
        self.root = Path(root or default)
        self.record = Path(record) if record else None
        stamp = self.root / "store.json"
        if stamp.is_file():
            found = json.loads(stamp.read_text()).get("format")
            if found != FORMAT:
                raise ValueError(
                    f"The run store {self.root} has format {found}, this version reads {FORMAT}: "
                    "name another folder in SEAMS_STORE, or move this one away."
                )
        else:
            self.root.mkdir(parents=True, exist_ok=True)
            _write(stamp, json.dumps({"format": FORMAT}))

    def find(self, config: TrainConfig) -> Run | None:
        """A finished and evaluated run, if there is one.

        Args:
            config: The run.

        Returns:
            The run from the store, else from the record, else None.

        Raises:
            ValueError: The folder of that name holds another configuration.
        """
        name = run_id(config)
        for parent in (self.root, self.record):
            folder = parent / name if parent else None
            if folder and all(
                (folder / f).is_file() for f in (FILES.config, FILES.evaluation, FILES.arrays)
            ):
                stored = json.loads((folder / FILES.config).read_text())
                if any(config[k] != v for k, v in stored.items() if hasattr(config, k)):
                    raise ValueError(f"{folder} holds another run than its name says; delete it.")
                return Run(config, folder)
        return None

    def save(
        self,
        stack: Stack,
        run: int,
        provenance: Mapping[str, Any],
        scores: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
    ) -> Run:
        """Write a finished run whole, replacing what was there.

        Args:
            stack: The stack it was trained in.
            run: Its position there.
            provenance: Where it comes from; must hold `data_size`.
            scores: Numbers of the evaluation.
            arrays: Arrays of the evaluation.

        Returns:
            The run as stored.

        Raises:
            ValueError: A score is not a finite number.
        """
        config, state = stack.configs[run], stack.state(run)
        for name, value in scores.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(
                    f"The score {name!r} of run {run_id(config)} must be finite, or None where it "
                    f"is not defined; got {value}."
                )
        part = lambda kind: {
            k.removeprefix(f"{kind}/"): v for k, v in state.items() if k.startswith(f"{kind}/")
        }
        folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
        chosen = {item.name: config[item.name] for item in fields(config)}
        for name, content in (
            (FILES.config, chosen),
            (FILES.provenance, dict(provenance)),
            (FILES.evaluation, dict(scores)),
        ):
            (folder / name).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
        np.savez_compressed(folder / FILES.arrays, allow_pickle=False, **dict[str, Any](arrays))
        history: dict[str, Any] = {k: v.numpy() for k, v in part("history").items()}
        np.savez_compressed(folder / FILES.history, allow_pickle=False, **history)
        save_file(part("params"), folder / FILES.weights)
        if snapshots := part("snapshot"):
            save_file(snapshots, folder / FILES.snapshots)
        folder.chmod(0o755)  # a store may be shared; mkdtemp makes folders for one user alone
        target = self.root / run_id(config)
        _replace(target, folder)
        self._checkpoint(config).unlink(missing_ok=True)
        return Run(config, target)

    def update(self, run: Run, scores: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Run:
        """Replace the evaluation of a stored run.

        Args:
            run: From this store.
            scores: Numbers of the new evaluation.
            arrays: Its arrays.

        Returns:
            The run as it is stored now.
        """
        partial = run.folder / f".{os.getpid()}-{FILES.arrays}"
        np.savez_compressed(partial, allow_pickle=False, **dict[str, Any](arrays))
        partial.replace(run.folder / FILES.arrays)
        text = json.dumps(dict(scores), indent=1, allow_nan=False) + "\n"
        _write(run.folder / FILES.evaluation, text)  # last: it holds the version
        return Run(run.config, run.folder)

    def save_checkpoint(self, stack: Stack, seconds: Sequence[float] | None = None) -> None:
        """Keep the state of each run of a stack, to go on after an interruption.

        Args:
            stack: At the end of a chunk.
            seconds: Time spent on each run so far; default none.
        """
        (self.root / _CHECKPOINT).mkdir(exist_ok=True)
        spent = torch.tensor(seconds or [0.0] * len(stack.configs), dtype=torch.float64)
        for run, config in enumerate(stack.configs):
            path = self._checkpoint(config)
            partial = path.with_suffix(f".{os.getpid()}")
            save_file(stack.state(run) | {"seconds": spent[run].clone()}, partial)
            partial.replace(path)

    def checkpoint(self, config: TrainConfig) -> dict[str, Tensor] | None:
        """State of an unfinished run.

        Args:
            config: The run.

        Returns:
            What `Stack.resume` takes, and `seconds`; None if the run was never begun.
        """
        path = self._checkpoint(config)
        return load_file(path) if path.is_file() else None

    def _checkpoint(self, config: TrainConfig) -> Path:
        return self.root / _CHECKPOINT / f"{run_id(config)}.safetensors"


def _replace(target: Path, folder: Path) -> None:
    """Move a whole folder into place, also while another process does the same."""
    old = folder.with_name(f"{folder.name}.old")
    while True:
        with suppress(FileNotFoundError):
            target.rename(old)
        shutil.rmtree(old, ignore_errors=True)
        try:
            folder.rename(target)
        except OSError:
            if not target.exists():
                raise
        else:
            return


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row a run: its configuration, then the numbers of its evaluation.

    Args:
        runs: Evaluated runs.

    Returns:
        A frame indexed by run id, in the order given.
    """
    rows = {}
    for run in runs:
        chosen = {item.name: run.config[item.name] for item in fields(run.config)}
        rows[run.id] = chosen | run.scores
    return pd.DataFrame.from_dict(rows, orient="index")
