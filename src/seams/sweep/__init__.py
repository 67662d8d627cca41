"""A sweep: many runs, trained where they are missing, loaded where they are not.

Runs that share their shapes train as one stack (`seams.training`), a stack a core, or one after
another on a GPU. What is trained is stored at once, what is not leaves a checkpoint: a stopped
sweep goes on where it was. Several may share a store; each run is trained by one of them.
"""

import itertools
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from seams.project import progress_stream, record_folder, say
from seams.sweep import local
from seams.sweep.jobs import Engine, Job, Outcome, Report, label, stacks, unfinished
from seams.training import Run, Store, TrainConfig

__all__ = [
    "Diverged",
    "Interrupted",
    "default_device",
    "default_workers",
    "grid",
    "progress_stream",
    "train_jobs",
    "train_or_load",
]

_MOST_RUNS = 20_000  # to look up as many takes a minute, and to train them years of a core
_POLL_SECONDS = 1.0  # between looks at what another process has in hand


class Diverged(RuntimeError):
    """The loss of a run is no longer a finite number."""


class Interrupted(KeyboardInterrupt):
    """The sweep was stopped; what is unfinished goes on from its checkpoint next time."""


def grid(base: TrainConfig, **axes: Iterable[Any]) -> list[TrainConfig]:
    """Every combination of values of fields of `TrainConfig`, the last axis varying fastest."""
    lists = {name: list(values) for name, values in axes.items()}
    if (runs := math.prod(map(len, lists.values()))) > _MOST_RUNS:
        raise ValueError(
            f"A sweep must have {_MOST_RUNS:,} runs or fewer; got {runs:,}: "
            f"{' x '.join(f'{len(v):,} of {n}' for n, v in lists.items())}."
        )
    combinations = itertools.product(*lists.values())
    return [replace(base, **dict(zip(lists, values, strict=True))) for values in combinations]


def train_or_load(
    configs: Sequence[TrainConfig],
    store: Store | None = None,
    *,
    device: str | None = None,
    workers: int | None = None,
    retrain: bool = False,
    weights: bool = False,
) -> list[Run]:
    """The runs of a sweep, each looked up in the store, then in the record, else trained.

    Runs whose evaluation lacks something are evaluated from their weights; those of the record
    have none and stay as they are. A second Ctrl-C does not wait for the steps under way. With
    several workers a script needs `if __name__ == "__main__":`, since each worker imports it anew.

    Args:
        configs: The runs; repeated ones are trained once.
        store: Where runs are kept; default the project's, with its record unless `weights`.
        device: "cpu" or "cuda"; default a GPU if there is one.
        workers: Processes at once; default one a core, 1 on a GPU. 1 trains in this process.
        retrain: Train all anew and do not look at the record.
        weights: Whether runs must have their weights, which those of the record lack.

    Returns:
        Evaluated runs, in the order of `configs`.

    Raises:
        RuntimeError: An evaluation failed, or a run vanished from the store; `Diverged` if a loss
            is not finite. All other runs are finished first.
        ValueError: `workers` is less than 1.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"`workers` must be 1 or more; got {workers}.")
    if store is None:
        store = Store(record=None if retrain or weights else record_folder())
    wanted = list(dict.fromkeys(configs))
    if weights and not retrain:
        store = Store(store.root)  # the record has none
        for config in wanted:
            store.find(config, weights=True)  # sets aside what is damaged
    steps = dict.fromkeys(wanted, 0) if retrain else unfinished(wanted, store)
    if steps:
        device = device or default_device()
        workers = workers or default_workers(device)
        engine = local.engine(store, device, workers)
        title = f"{len(steps)} of {len(wanted)} runs"
        train_jobs(stacks(steps, workers, retrain), engine, store, title)
    found = {config: store.find(config, weights=weights) for config in wanted}
    runs = [run for config in configs if (run := found[config])]
    if len(runs) < len(configs):
        raise RuntimeError(f"Runs vanished from {store.root} while others were trained: repeat.")
    return runs


def train_jobs(
    jobs: Sequence[Job],
    engine: Engine,
    store: Store,
    title: str = "",
    deadline: float | None = None,
) -> None:
    """Execute jobs under a bar; failures are raised when all is done, `Interrupted` by Ctrl-C."""
    runs = [c for job in jobs for c in job.configs]
    with _bar(sum(c.images for c in runs), title) as bar, _interruptible() as stop:
        seen: dict[TrainConfig, int] = {}
        show = lambda report: _show(bar, seen, report)
        outcome = engine(jobs, show, stop)
        outcome = _wait_for_others(outcome, engine, store, show, stop, deadline)
        if stop.is_set():
            raise Interrupted("Stopped. Call again to go on: what is finished is stored.")
    problems = []
    if outcome.diverged:
        names = "; ".join(label(c) for c in outcome.diverged)
        problems.append(
            f"The loss is not finite in {len(outcome.diverged)} of {len(runs)} runs ({names}): "
            "lower `learning_rate` or lengthen `warmup`. All other runs are stored."
        )
    if outcome.broken:
        names = "; ".join(f"{label(c)}: {reason}" for c, reason in outcome.broken)
        problems.append(
            f"The evaluation of {len(outcome.broken)} of {len(runs)} runs failed ({names}). They "
            "are stored as trained, and the same call evaluates them again."
        )
    if outcome.diverged:
        raise Diverged(" ".join(problems))
    if problems:
        raise RuntimeError(" ".join(problems))


def default_device() -> str:
    """Where to train if nothing is said: "cuda" if there is a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def default_workers(device: str) -> int:
    """Processes that train at once: one a core on a CPU, 1 on a GPU, which a stack fills."""
    if device != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1


def _wait_for_others(
    outcome: Outcome, engine: Engine, store: Store, show: Any, stop: Any, deadline: float | None
) -> Outcome:
    """What comes of all runs, in the end, also of those that another process had in hand."""
    said = False
    while outcome.busy and not stop.is_set() and time.monotonic() < (deadline or float("inf")):
        left = unfinished(outcome.busy, store)
        free = {c: step for c, step in left.items() if not store.is_locked(c)}
        outcome = replace(outcome, busy=tuple(left.keys() - free.keys()))
        if free:
            outcome += engine(stacks(free, 1), show, stop)
        elif left:
            if not said:
                say(f"{len(left)} runs are in the hands of another process: waiting for them")
            said = True
            stop.wait(_POLL_SECONDS)
    return outcome


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """A flag that Ctrl-C sets, so that the steps under way are finished and kept."""
    stop = threading.Event()

    def handle(*_: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop  # signals go to the main thread alone
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


@contextmanager
def _bar(images: int, title: str) -> Iterator[Any]:
    """A progress bar over training images, on the terminal or on the stream a runner asked for."""
    from tqdm import tqdm

    stream = progress_stream()
    try:
        with tqdm(
            total=images,
            unit="img",
            unit_scale=True,
            desc=title,
            file=stream,
            mininterval=0.5 if stream.isatty() else 5,
            dynamic_ncols=stream.isatty(),
        ) as bar:
            yield bar
    finally:
        if stream is not sys.stderr:
            stream.close()


def _show(bar: Any, seen: dict[TrainConfig, int], report: Report) -> None:
    images = {c: min(report.step * c.batch, c.images) for c in report.configs}
    moved = sum(n - seen.get(c, 0) for c, n in images.items())
    seen |= images
    if report.distortion or report.rate:  # not where a stack only says where it stands
        means = {"distortion": f"{report.distortion:.2f}", "rate": f"{report.rate:.2f}"}
        bar.set_postfix(means, refresh=False)
    bar.update(moved)
