"""A sweep: many runs, trained where they are missing, loaded where they are not.

Runs that share their shapes are trained as one stack (`seams.training`), stacks on as many
processes as there are cores, or one after another on a GPU. Every finished run is in the store at
once, every unfinished one leaves a checkpoint there: a sweep that was stopped goes on where it
was.
"""

import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TextIO

import torch

from seams import data as datasets
from seams.project import record_folder
from seams.sweep import local
from seams.sweep.jobs import Engine, Job, Report, Stop, is_outdated, label, stacks, steps_done
from seams.training import Run, Store, TrainConfig
from seams.training.evaluate import VERSION, reevaluate

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


class Diverged(RuntimeError):
    """The loss of a run is no longer a finite number."""


class Interrupted(KeyboardInterrupt):
    """The sweep was stopped; what is unfinished goes on from its checkpoint next time."""


def grid(base: TrainConfig, **axes: Iterable[Any]) -> list[TrainConfig]:
    """Every combination of the given values, the last axis varying fastest.

    Args:
        base: What all runs share.
        **axes: Field of `TrainConfig` to its values.

    Returns:
        One configuration a combination.
    """
    combinations = itertools.product(*axes.values())
    return [replace(base, **dict(zip(axes, values, strict=True))) for values in combinations]


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

    Runs that were evaluated by another version are evaluated anew, from their weights; those of
    the record have none, do not count, and are trained, which is said in a line.

    A second Ctrl-C does not wait for the steps under way. With several workers a script needs
    `if __name__ == "__main__":` around its calls, since each worker imports it anew.

    Args:
        configs: The runs; repeated ones are trained once.
        store: Where runs are kept; default the project's, with its record unless `weights`.
        device: Where to train: "cpu", "cuda"; default a GPU if there is one.
        workers: Processes that train at once; default one a core on a CPU, 1 on a GPU, where the
            stack fills the device. 1 trains in this process.
        retrain: Train all anew and do not look at the record.
        weights: Whether runs must have their weights, which those of the record lack.

    Returns:
        Evaluated runs, in the order of `configs`.

    Raises:
        RuntimeError: A run that was just trained is no longer in the store. `Diverged` if a run's
            loss is not finite; all others are finished and stored first.
        ValueError: `workers` is less than 1.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"`workers` must be 1 or more; got {workers}.")
    if store is None:
        store = Store(record=None if retrain or weights else record_folder())
    found = {c: None if retrain else store.find(c) for c in configs}
    outdated = [c for c, run in found.items() if run and is_outdated(run)]
    if outdated:
        _say(f"{len(outdated)} runs of the record were evaluated by another version: trained anew")
    found |= dict.fromkeys(outdated)
    found = {c: run and _reevaluated(run, store) for c, run in found.items()}
    missing = [c for c, run in found.items() if run is None]
    if missing:
        device = device or default_device()
        workers = workers or default_workers(device)
        steps = {} if retrain else steps_done(missing, store)
        jobs = stacks(missing, steps, workers, retrain)
        engine = local.engine(store, device, workers)
        train_jobs(jobs, engine, f"{len(missing)} of {len(found)} runs")
        found |= {c: store.find(c) for c in missing}
    runs = [run for config in configs if (run := found[config])]
    if len(runs) < len(configs):
        raise RuntimeError(f"Runs vanished from {store.root} while others were trained: repeat.")
    return runs


def train_jobs(jobs: Sequence[Job], engine: Engine, title: str = "") -> None:
    """Execute jobs under a progress bar and an ear for Ctrl-C.

    Args:
        jobs: The longest first.
        engine: Of `seams.sweep.local` or `seams.sweep.cluster`.
        title: Of the bar.

    Raises:
        Diverged: A run's loss is not finite; all others are finished and stored first.
        Interrupted: Ctrl-C was pressed; what is finished is stored, the rest has a checkpoint.
    """
    runs = [c for job in jobs for c in job.configs]
    with _bar(sum(c.images for c in runs), title) as bar, _interruptible() as stop:
        seen: dict[TrainConfig, int] = {}
        failed = engine(jobs, lambda report: _show(bar, seen, report), stop)
        if stop.is_set():
            raise Interrupted("Stopped. Call again to go on: what is finished is stored.")
    if failed:
        names = "; ".join(label(c) for c in failed)
        raise Diverged(
            f"The loss is not finite in {len(failed)} of {len(runs)} runs ({names}): lower "
            "`learning_rate` or lengthen `warmup`. All other runs are stored."
        )


def default_device() -> str:
    """Where to train if nothing is said.

    Returns:
        "cuda" if there is a GPU, else "cpu".
    """
    return "cuda" if torch.cuda.is_available() else "cpu"


def default_workers(device: str) -> int:
    """How many processes train at once if nothing is said.

    Args:
        device: Where they train.

    Returns:
        One a core on a CPU; 1 on a GPU, where the stack fills the device.
    """
    if device != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1


def _reevaluated(run: Run, store: Store) -> Run:
    """The run, evaluated anew if that was done by another version and its weights are here."""
    if run.scores.get("evaluation") == VERSION:
        return run
    data = datasets.load(run.config.dataset, run.config.resolution)
    return store.update(run, *reevaluate(run, data))


@contextmanager
def _interruptible() -> Iterator[Stop]:
    """A flag that Ctrl-C sets, so that the steps under way are finished and kept."""
    stop = Stop()

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
def _bar(images: int, label: str) -> Iterator[Any]:
    """A progress bar over training images, on the terminal or on the stream a runner asked for."""
    from tqdm import tqdm

    stream = progress_stream()
    try:
        with tqdm(
            total=images,
            unit="img",
            unit_scale=True,
            desc=label,
            file=stream,
            mininterval=0.5 if stream.isatty() else 5,
            dynamic_ncols=stream.isatty(),
        ) as bar:
            yield bar
    finally:
        if stream is not sys.stderr:
            stream.close()


def _say(text: str) -> None:
    """A line where progress goes."""
    stream = progress_stream()
    print(text, file=stream, flush=True)
    if stream is not sys.stderr:
        stream.close()


def progress_stream() -> TextIO:
    """Where progress goes: the file named in SEAMS_PROGRESS, else standard error.

    Returns:
        An open text stream. A runner that executes notebooks names a file, so that executed
        notebooks hold results alone and stay the same from one execution to the next.
    """
    path = os.environ.get("SEAMS_PROGRESS")
    return open(path, "a") if path else sys.stderr  # noqa: SIM115


def _show(bar: Any, seen: dict[TrainConfig, int], report: Report) -> None:
    """Move the bar by the images that the report's runs have seen since their last report."""
    if report.configs:
        images = {c: min(report.step * c.batch, c.images) for c in report.configs}
        moved = sum(n - seen.get(c, 0) for c, n in images.items())
        seen |= images
        if report.distortion or report.rate:  # not where a stack only says where it stands
            means = {"distortion": f"{report.distortion:.2f}", "rate": f"{report.rate:.2f}"}
            bar.set_postfix(means, refresh=False)
        bar.update(moved)
