"""The run store: one folder a run, named by the hash of its configuration.

A folder is moved into place whole, so that a reader never sees half a run. Processes may share a
store: who trains a run holds its lock, which the kernel releases if that process dies. The
*record* is such a folder, committed, of what was evaluated; of weights it has a few decoders'.
"""

import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seams import files
from seams.data import checksum_here
from seams.project import project_root, say, shown
from seams.training.config import TrainConfig
from seams.training.runs import (
    FILES,
    FORMAT,
    Damaged,
    Run,
    as_json,
    as_npz,
    parse,
    read_config,
    run_id,
    table,
)
from seams.training.stack import Stack

try:
    import fcntl
    import resource
except ImportError:  # not a POSIX system
    fcntl = resource = None  # type: ignore[assignment]

__all__ = ["FILES", "FORMAT", "Run", "Store", "run_id", "table"]

_OPEN_FILES = 8192
_CHECKPOINT, _LOCKS, _DAMAGED = "checkpoint", ".locks", ".damaged"  # folders beside the runs


class Store:
    """Runs on disk; finished ones are looked up here first, then in the record.

    Args:
        root: Folder of the store; default `.runs` under the project, or SEAMS_STORE.
        record: Folder of the record, or None to ignore it.
    """

    def __init__(self, root: Path | str | None = None, record: Path | str | None = None) -> None:
        default = os.environ.get("SEAMS_STORE") or project_root() / ".runs"
        self.root = Path(root or default)
        self.record = Path(record) if record else None
        stamp = self.root / "store.json"
        if stamp.is_file():
            found = parse(stamp.name, stamp.read_bytes()).get("format")
            if found != FORMAT:
                raise ValueError(
                    f"The run store {self.root} has format {found}, this version reads {FORMAT}: "
                    "name another folder in SEAMS_STORE, or move this one away."
                )
            files.clean(self.root)
            files.clean(self.root / _CHECKPOINT)
        else:
            self.root.mkdir(parents=True, exist_ok=True)
            files.write(stamp, json.dumps({"format": FORMAT}))

    def find(self, config: TrainConfig, *, weights: bool = False) -> Run | None:
        """A run that is trained and evaluated, of the store, else of the record; see `trained`."""
        run = self.trained(config, weights=weights)
        if run and run.is_evaluated:
            return run
        folder = self.record / run_id(config) if self.record and not weights else None
        if folder is None or not (folder / FILES.config).is_file():
            return None
        recorded = Run(config, folder)
        if problem := recorded.damage():
            say(f"{shown(folder)} does not count: {problem}")
            return None
        if _is_of_other_data(config, recorded.provenance.get("data_checksum")):
            _say_once(f"The record's runs on {config.dataset} are of other images than are here.")
        return recorded if recorded.is_evaluated else None

    def trained(self, config: TrainConfig, *, weights: bool = False) -> Run | None:
        """A run of this store, evaluated or not; None if it had to be set aside."""
        # For damage, or because it was trained on other images than are here now.
        run = Run(config, self.root / run_id(config))
        if not (run.folder / FILES.config).is_file():
            return None
        if _problem(run, weights):
            with self.lock(config) as mine:  # not while its writer puts it in place
                problem = _problem(Run(config, run.folder), weights)
                if problem and mine:
                    self._set_aside(run.folder, problem)
                if problem:
                    return None
        return run if run.has_weights or run.is_evaluated else None

    def finish(self, stack: Stack, run: int, provenance: Mapping[str, Any]) -> Run:
        """Keep what a run of a stack has learned, in place of what was there; see `update`."""
        config, state = stack.configs[run], stack.state(run)
        part = lambda kind: {
            k.removeprefix(f"{kind}/"): v for k, v in state.items() if k.startswith(f"{kind}/")
        }
        content = {
            FILES.config: as_json({item.name: config[item.name] for item in fields(config)}),
            FILES.provenance: as_json(provenance),
            FILES.history: as_npz({k: v.numpy() for k, v in part("history").items()}),
            FILES.weights: safetensors.torch.save(part("params")),
        }
        if snapshots := part("snapshot"):
            content[FILES.snapshots] = safetensors.torch.save(snapshots)
        self._publish(config, content)
        self._checkpoint(config).unlink(missing_ok=True)
        return Run(config, self.root / run_id(config))

    def update(self, run: Run, scores: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Run:
        """Store or replace an evaluation; ValueError for infinite scores or arrays of objects."""
        for name, value in scores.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(
                    f"The score {name!r} of run {run.id} must be finite, or None where it is not "
                    f"defined; got {value}."
                )
        new = {FILES.evaluation: as_json(scores), FILES.arrays: as_npz(arrays)}
        self._publish(run.config, new, run)
        return Run(run.config, run.folder)

    def save(
        self,
        stack: Stack,
        run: int,
        provenance: Mapping[str, Any],
        scores: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
    ) -> Run:
        """`finish` and `update` in one."""
        return self.update(self.finish(stack, run, provenance), scores, arrays)

    def _publish(
        self, config: TrainConfig, content: dict[str, bytes], old: Run | None = None
    ) -> None:
        """A folder with these files, and with the others of the old one."""
        folder = files.scratch(self.root)
        try:
            for name, value in content.items():
                (folder / name).write_bytes(value)
            sums = {name: hashlib.sha256(value).hexdigest() for name, value in content.items()}
            if old:
                sums = old.checksums() | sums
                for path in old.folder.iterdir():
                    if path.name not in (*content, FILES.checksums):
                        _link(path, folder / path.name)
            (folder / FILES.checksums).write_bytes(as_json(sums))
            files.publish(folder, self.root / run_id(config))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def save_checkpoint(
        self, stack: Stack, seconds: Sequence[float] | None = None, data: Sequence[str] = ()
    ) -> None:
        """Keep the state of each run of a stack to go on from.

        With it go the seconds spent on each run, and the checksum of the data of each.
        """
        (self.root / _CHECKPOINT).mkdir(exist_ok=True)
        spent = torch.tensor(seconds or [0.0] * len(stack.configs), dtype=torch.float64)
        for run, config in enumerate(stack.configs):
            state = stack.state(run) | {"seconds": spent[run].clone()}
            facts = {"run": run_id(config), "sha256": _digest(state)}
            facts |= {"data": data[run]} if data else {}
            files.write(self._checkpoint(config), safetensors.torch.save(state, facts))

    def checkpoint(self, config: TrainConfig) -> dict[str, Tensor] | None:
        """What `Stack.resume` takes, and `seconds`; None if the run was never begun."""
        return self._opened(self._checkpoint(config), lambda names: names, config)

    def step(self, config: TrainConfig) -> int:
        """Steps that an unfinished run has behind it; 0 if it was never begun."""
        found = self._opened(self._checkpoint(config), lambda names: ["step"], config)
        return int(found["step"]) if found else 0

    def _opened(
        self,
        path: Path,
        choose: Callable[[list[str]], list[str]],
        config: TrainConfig | None = None,
    ) -> dict[str, Tensor] | None:
        """Some tensors of a checkpoint; the others are not read."""
        try:
            with safe_open(path, "pt") as file:
                facts, names = file.metadata() or {}, list(file.keys())
                state = {key: file.get_tensor(key) for key in choose(names)}
            if facts.get("run", path.stem) != path.stem:
                raise ValueError("it is another run's")
            if len(state) == len(names) and facts.get("sha256", "") not in ("", _digest(state)):
                raise ValueError("its checksum differs")
            if config and _is_of_other_data(config, facts.get("data")):
                raise ValueError(f"it was trained on other images than {config.dataset} has now")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            self._set_aside(path, f"The checkpoint of run {path.stem} is unfit: {reason}.")
            return None
        return state

    @contextmanager
    def lock(self, config: TrainConfig) -> Iterator[bool]:
        """Be the one who writes a run; False if another is, True where files have no locks."""
        with ExitStack() as held:
            mine = True
            try:
                (self.root / _LOCKS).mkdir(exist_ok=True)
                _allow_open_files()
                file = held.enter_context((self.root / _LOCKS / run_id(config)).open("ab"))
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                mine = False
            except OSError:
                pass
            yield mine

    def is_locked(self, config: TrainConfig) -> bool:
        """Whether somebody, this process included, writes a run."""
        with self.lock(config) as free:
            return not free

    def check(self) -> tuple[int, list[str]]:
        """Set aside the damaged: how many runs and checkpoints are well, a line for each other."""
        good, problems = 0, list[str]()
        for path in sorted(self.root.glob(f"[!.]*/{FILES.config}")):
            folder = path.parent
            try:
                run = Run(read_config(folder), folder)
                problem = run.damage(weights=run.has_weights)
                if not problem and run.id != folder.name:
                    problem = f"Run {folder.name} has the configuration of {run.id}."
            except Damaged as error:
                problem = f"Run {folder.name}: {error}"
            except ValueError as error:  # of a later version
                problems.append(f"Run {folder.name}: {error}")
                continue
            good += not problem
            if problem:
                problems.append(problem)
                self._set_aside(folder, problem)
        for path in sorted(self.root.glob(f"{_CHECKPOINT}/*.safetensors")):
            well = self._opened(path, lambda names: names) is not None
            good += well
            if not well:
                problems.append(f"The checkpoint of run {path.stem} was damaged.")
        return good, problems

    def _set_aside(self, path: Path, problem: str) -> None:
        target = self.root / _DAMAGED / f"{path.name}-{uuid.uuid4().hex[:8]}"
        target.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another process did
            path.rename(target)
            say(f"{problem} It lies in {shown(target)} now, and does not count.")

    def _checkpoint(self, config: TrainConfig) -> Path:
        return self.root / _CHECKPOINT / f"{run_id(config)}.safetensors"


@cache
def _allow_open_files() -> None:
    """A lock is an open file, and some stacks have hundreds of runs."""
    if resource:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        if soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _problem(run: Run, weights: bool) -> str:
    if found := run.damage(weights=weights):
        return found
    if _is_of_other_data(run.config, run.provenance.get("data_checksum")):
        return f"Run {run.id} was trained on other images than {run.config.dataset} has now."
    return ""


def _is_of_other_data(config: TrainConfig, checksum: Any) -> bool:
    """Whether what a name stands for has changed; False where it cannot, or is not here."""
    here = checksum_here(config.dataset, config.resolution) if checksum else None
    return here is not None and here != checksum


_say_once = cache(say)


def _digest(state: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
