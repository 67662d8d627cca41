"""A sweep: many runs, trained where they are missing, loaded where they are not.

Runs that share their shapes are trained as one stack (`seams.train`), stacks on as many processes
as there are cores, or one after another on a GPU. Every finished run is in the store at once,
every unfinished one leaves a checkpoint there: a sweep that was stopped goes on where it was.
"""

import itertools
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TextIO

import torch

from seams import data as datasets
from seams.evaluate import VERSION, evaluate, reevaluate
from seams.paths import project_root
from seams.provenance import provenance
from seams.runs import Run, Store
from seams.train import Progress, Stack, TrainConfig, stack_key, train

__all__ = ["Diverged", "Interrupted", "grid", "train_or_load"]

CHECKPOINT_SECONDS = 30.0
"""Training lost by a kill at most; a checkpoint of a stack takes well below a second."""

_POLL_SECONDS = 0.2  # how often the parent looks whether a worker has died

_USER_ERRORS = {"ValueError": ValueError, "FileNotFoundError": FileNotFoundError}


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
) -> list[Run]:
    """The runs of a sweep, each looked up in the store, then in the record, else trained.

    A second Ctrl-C does not wait for the steps under way. With several workers a script needs
    `if __name__ == "__main__":` around its calls, since each worker imports it anew.

    Args:
        configs: The runs; repeated ones are trained once.
        store: Where runs are kept; default the project's, with its record.
        device: Where to train: "cpu", "cuda"; default a GPU if there is one.
        workers: Processes that train at once; default one a core on a CPU, 1 on a GPU, where the
            stack fills the device. 1 trains in this process.
        retrain: Train all anew and do not look at the record.

    Returns:
        Evaluated runs, in the order of `configs`.

    Raises:
        Diverged: A run's loss is not finite; all others are finished and stored first.
        Interrupted: Ctrl-C was pressed; what is finished is stored, the rest has a checkpoint.
        RuntimeError: A run that was just trained is no longer in the store.
        ValueError: `workers` is less than 1.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"`workers` must be 1 or more; got {workers}.")
    if store is None:
        store = Store(record=None if retrain else project_root() / "record")
    found = {c: None if retrain else store.find(c) for c in configs}
    found = {c: run and _reevaluated(run, store) for c, run in found.items()}
    missing = [c for c, run in found.items() if run is None]
    if missing:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        cores = (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        )
        workers = workers or (1 if device == "cuda" else cores or 1)
        jobs = _jobs(missing, {} if retrain else _steps_done(missing, store), workers)
        total = sum(c.images for c in missing)
        with _bar(total, f"{len(missing)} of {len(found)} runs") as bar, _interruptible() as stop:
            if workers == 1 or len(jobs) == 1:
                failed = _run_here(jobs, store, device, bar, stop)
            else:
                workers = min(workers, len(jobs))
                failed = _run_in_processes(jobs, store, device, workers, bar, stop)
            if stop.is_set():
                raise Interrupted("Stopped. Call again to go on: what is finished is stored.")
        if failed:
            names = "; ".join(_name(c) for c in failed)
            raise Diverged(
                f"The loss is not finite in {len(failed)} of {len(missing)} runs ({names}): lower "
                "`learning_rate` or lengthen `warmup`. All other runs are stored."
            )
        found |= {c: store.find(c) for c in missing}
    runs = [run for config in configs if (run := found[config])]
    if len(runs) < len(configs):
        raise RuntimeError(f"Runs vanished from {store.root} while others were trained: repeat.")
    return runs


def _reevaluated(run: Run, store: Store) -> Run:
    """The run, evaluated anew if that was done by another version and its weights are here."""
    if run.scores.get("evaluation") == VERSION or not run.has_weights:
        return run
    data = datasets.load(run.config.dataset, run.config.resolution)
    return store.update(run, *reevaluate(run, data))


@dataclass(frozen=True)
class _Job:
    """Runs to train as one stack, all at the same step."""

    configs: tuple[TrainConfig, ...]
    step: int

    @property
    def cost(self) -> float:
        """Remaining work, in an arbitrary unit that orders the jobs."""
        config = self.configs[0]
        size = config.resolution**2 * (1 if config.network == "burgess" else config.width / 1e4)
        return len(self.configs) * (config.steps - self.step) * config.batch * size


def _jobs(configs: Sequence[TrainConfig], steps: Mapping, workers: int) -> list[_Job]:
    """Stacks to train, the longest first, and at least one a worker if there are enough runs."""
    groups: dict[tuple[TrainConfig, int], list[TrainConfig]] = {}
    for config in configs:
        groups.setdefault((stack_key(config), steps.get(config, 0)), []).append(config)
    jobs = [_Job(tuple(group), step) for (_, step), group in groups.items()]
    while len(jobs) < workers:
        jobs.sort(key=lambda job: len(job.configs))
        widest = jobs.pop()
        half = len(widest.configs) // 2
        if not half:
            jobs.append(widest)
            break
        parts = widest.configs[:half], widest.configs[half:]
        jobs += [_Job(part, widest.step) for part in parts]
    return sorted(jobs, key=lambda job: -job.cost)


def _steps_done(configs: Sequence[TrainConfig], store: Store) -> dict[TrainConfig, int]:
    states = {c: store.checkpoint(c) for c in configs}
    return {c: int(state["step"]) for c, state in states.items() if state is not None}


def _name(config: TrainConfig) -> str:
    return f"{config.covariance} beta={config.beta:g} seed={config.seed}"


@dataclass(frozen=True)
class _Report:
    """What a worker tells: images trained since the last report, and where its stack stands."""

    images: int
    distortion: float = 0.0
    rate: float = 0.0
    failed: tuple[TrainConfig, ...] = ()
    error: str = ""
    kind: str = ""
    done: bool = False


def _execute(job: _Job, store: Store, device: str, stop: Any) -> Iterator[_Report]:
    """Train, evaluate and store one stack, reporting as it goes; ends early if `stop` is set."""
    started = time.perf_counter()
    data = datasets.load(job.configs[0].dataset, job.configs[0].resolution).to(
        torch.device(device)
    )
    if job.step:
        states = [store.checkpoint(c) for c in job.configs]
        stack = Stack.resume(job.configs, [s for s in states if s is not None], data, device)
        yield _Report(stack.step * stack.configs[0].batch * len(job.configs))
    else:
        stack = Stack.start(job.configs, data, device)
    failed: list[TrainConfig] = []
    before, saved = stack.step, time.perf_counter()
    for progress in train(stack, data):
        images = (progress.step - before) * stack.configs[0].batch * len(stack.configs)
        before = progress.step
        if progress.diverged:
            failed += [stack.configs[i] for i in progress.diverged]
            healthy = [i for i in range(len(stack.configs)) if i not in progress.diverged]
            stack.keep(healthy)
        yield _report(images, progress)
        if not stack.configs:
            break
        if stop.is_set():
            store.save_checkpoint(stack)
            return
        if time.perf_counter() - saved > CHECKPOINT_SECONDS:
            store.save_checkpoint(stack)
            saved = time.perf_counter()
    seconds = (time.perf_counter() - started) / max(len(stack.configs), 1)
    for run in range(len(stack.configs)):
        if stop.is_set():
            stack.keep(range(run, len(stack.configs)))
            store.save_checkpoint(stack)
            return
        scores, arrays = evaluate(stack, run, data)
        facts = provenance(data, device) | {"seconds": seconds, "stacked": len(stack.configs)}
        store.save(stack, run, facts, scores, arrays)
    yield _Report(0, failed=tuple(failed), done=True)


def _report(images: int, progress: Progress) -> _Report:
    return _Report(images, float(progress.distortion.mean()), float(progress.rate.mean()))


class _Flag:
    """An event for a single process."""

    def __init__(self) -> None:
        self.value = False

    def is_set(self) -> bool:
        return self.value

    def set(self) -> None:
        self.value = True


@contextmanager
def _interruptible() -> Iterator[_Flag]:
    """A flag that Ctrl-C sets, so that the steps under way are finished and kept."""
    stop = _Flag()

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


def _run_here(
    jobs: Sequence[_Job], store: Store, device: str, bar: Any, stop: _Flag
) -> list[TrainConfig]:
    """Stacks in this process, one after another; returns the runs that diverged."""
    failed: list[TrainConfig] = []
    for job in jobs:
        if not stop.is_set():
            for report in _execute(job, store, device, stop):
                _show(bar, report)
                failed += report.failed
    return failed


def _run_in_processes(
    jobs: Sequence[_Job], store: Store, device: str, workers: int, bar: Any, interrupt: _Flag
) -> list[TrainConfig]:
    """Stacks on several processes, the longest first; returns the runs that diverged."""
    context = multiprocessing.get_context("spawn")
    stop, reports, todo = context.Event(), context.Queue(), list(jobs)
    threads = max(1, torch.get_num_threads() // workers)
    running: dict[int, Any] = {}
    failed: list[TrainConfig] = []
    numbers = itertools.count()
    try:
        while running or (todo and not interrupt.is_set()):
            if interrupt.is_set():
                stop.set()
            while todo and len(running) < workers and not interrupt.is_set():
                job, number = todo.pop(0), next(numbers)
                arguments = (number, job, store, device, threads, stop, reports, os.getpid())
                running[number] = context.Process(target=_worker, args=arguments, daemon=True)
                running[number].start()
            try:
                number, report = reports.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                ended = [n for n, process in running.items() if process.exitcode is not None]
                if not ended or not reports.empty():
                    continue
                if interrupt.is_set():  # Ctrl-C reached a worker before it could ignore it
                    running = {n: p for n, p in running.items() if n not in ended}
                    continue
                raise RuntimeError(
                    f"A worker ended with exit code {running[ended[0]].exitcode} (-9: killed, "
                    "often for memory: set `workers` lower). Finished runs are stored."
                ) from None
            _show(bar, report)
            failed += report.failed
            if report.done:
                running.pop(number).join()
            if report.error:
                raise _USER_ERRORS.get(report.kind, RuntimeError)(report.error)
    finally:
        stop.set()
        for process in running.values():
            process.join(timeout=CHECKPOINT_SECONDS)
            if process.is_alive():
                process.terminate()
    return failed


def _worker(
    number: int,
    job: _Job,
    store: Store,
    device: str,
    threads: int,
    stop: Any,
    reports: Any,
    parent: int,
) -> None:
    """Body of a process: one stack, its reports sent to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and sets `stop`
    torch.set_num_threads(threads)
    done = False
    try:
        for report in _execute(job, store, device, stop):
            reports.put((number, report))
            done = report.done
            if os.getppid() != parent:  # the parent was killed: leave no orphan behind
                stop.set()
        if not done:
            reports.put((number, _Report(0, done=True)))
    except Exception as error:  # sent to the parent, which raises it
        kind, text = type(error).__name__, str(error)
        if kind not in _USER_ERRORS:
            traceback.print_exc()
            text = f"A worker failed with {kind}: {text}"
        reports.put((number, _Report(0, error=text, kind=kind, done=True)))
    reports.close()
    reports.join_thread()


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


def progress_stream() -> TextIO:
    """Where progress goes: the file named in SEAMS_PROGRESS, else standard error.

    Returns:
        An open text stream. A runner that executes notebooks names a file, so that executed
        notebooks hold results alone and stay the same from one execution to the next.
    """
    path = os.environ.get("SEAMS_PROGRESS")
    return open(path, "a") if path else sys.stderr  # noqa: SIM115


def _show(bar: Any, report: _Report) -> None:
    if report.images:
        bar.set_postfix(
            distortion=f"{report.distortion:.2f}", rate=f"{report.rate:.2f}", refresh=False
        )
        bar.update(report.images)
