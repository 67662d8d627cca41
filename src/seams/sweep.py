"""A sweep: many runs, trained where they are missing, loaded where they are not.

Runs that share their shapes are trained as one stack (`seams.train`), stacks on as many processes
as there are cores, or one after another on a GPU. Every finished run is in the store at once,
every unfinished one leaves a checkpoint there: a sweep that was stopped goes on where it was.
"""

import itertools
import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TextIO

import torch

from seams import data as datasets
from seams.evaluate import evaluate
from seams.paths import project_root
from seams.provenance import provenance
from seams.runs import Run, Store
from seams.train import Progress, Stack, TrainConfig, stack_key, train

__all__ = ["Diverged", "Interrupted", "grid", "train_or_load"]

CHECKPOINT_SECONDS = 30.0
"""Training lost by a kill at most; a checkpoint of a stack takes well below a second."""

_POLL_SECONDS = 0.2  # how often the parent looks whether a worker has died


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

    Ctrl-C raises `Interrupted`: what is finished is stored, the rest has a checkpoint.

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
    """
    if store is None:
        store = Store(record=None if retrain else project_root() / "record")
    found = {c: None if retrain else store.find(c) for c in configs}
    missing = [c for c, run in found.items() if run is None]
    if missing:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        cores = (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        )
        workers = workers or (1 if device == "cuda" else cores or 1)
        jobs = _jobs(missing, {} if retrain else _steps_done(missing, store), workers)
        total = sum(c.images for c in missing)
        with _bar(total, f"{len(missing)} of {len(found)} runs") as bar:
            if workers == 1 or len(jobs) == 1:
                failed = [c for job in jobs for c in _run_here(job, store, device, bar)]
            else:
                failed = _run_in_processes(jobs, store, device, min(workers, len(jobs)), bar)
        if failed:
            names = "; ".join(_name(c) for c in failed)
            raise Diverged(
                f"The loss is not finite in {len(failed)} of {len(missing)} runs ({names}): lower "
                "`learning_rate` or lengthen `warmup`. All other runs are stored."
            )
        found |= {c: store.find(c) for c in missing}
    runs = [found[c] for c in configs]
    return [run for run in runs if run is not None]


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


def _run_here(job: _Job, store: Store, device: str, bar: Any) -> list[TrainConfig]:
    """One stack in this process; returns the runs that diverged."""
    stop = _Flag()
    failed: list[TrainConfig] = []
    reports = _execute(job, store, device, stop)
    while True:
        try:
            report = next(reports)
        except StopIteration:
            break
        _show(bar, report)
        failed += report.failed
    return failed


def _run_in_processes(
    jobs: Sequence[_Job], store: Store, device: str, workers: int, bar: Any
) -> list[TrainConfig]:
    """Stacks on several processes, the longest first; returns the runs that diverged."""
    context = multiprocessing.get_context("spawn")
    stop, reports, todo = context.Event(), context.Queue(), list(jobs)
    threads = max(1, torch.get_num_threads() // workers)
    running: dict[int, Any] = {}
    failed: list[TrainConfig] = []
    interrupted = False
    numbers = itertools.count()
    try:
        while todo or running:
            while todo and len(running) < workers and not interrupted:
                job, number = todo.pop(0), next(numbers)
                arguments = (number, job, store, device, threads, stop, reports, os.getpid())
                running[number] = context.Process(target=_worker, args=arguments, daemon=True)
                running[number].start()
            if interrupted and not running:
                break
            try:
                number, report = reports.get(timeout=_POLL_SECONDS)
                _show(bar, report)
                failed += report.failed
                if report.done:
                    running.pop(number).join()
                if report.error:
                    raise RuntimeError(report.error)
            except queue.Empty:
                for process in running.values():
                    if process.exitcode is not None and reports.empty():
                        raise RuntimeError(
                            f"A worker ended with exit code {process.exitcode} (-9: killed, often "
                            "for memory: set `workers` lower). Finished runs are stored."
                        ) from None
            except KeyboardInterrupt:
                interrupted = True
                stop.set()
    finally:
        stop.set()
        for process in running.values():
            process.join(timeout=CHECKPOINT_SECONDS)
            if process.is_alive():
                process.terminate()
    if interrupted:
        raise Interrupted("Stopped. Call again to go on: what is finished is stored.")
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
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and sets `stop`
    torch.set_num_threads(threads)
    try:
        for report in _execute(job, store, device, stop):
            reports.put((number, report))
            if os.getppid() != parent:  # the parent was killed: leave no orphan behind
                stop.set()
        if stop.is_set():
            reports.put((number, _Report(0, done=True)))
    except Exception as error:  # noqa: BLE001  (sent to the parent, which raises it)
        reports.put((number, _Report(0, error=f"{type(error).__name__}: {error}", done=True)))
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
