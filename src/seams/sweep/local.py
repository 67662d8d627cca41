"""Jobs on this machine: one after another in this process, or on several processes at once."""

import multiprocessing
import os
import queue
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from seams.sweep.cost import available_memory
from seams.sweep.jobs import (
    CHECKPOINT_SECONDS,
    Engine,
    Job,
    Limits,
    Report,
    Show,
    Stop,
    divided,
    execute,
)
from seams.training import Store, TrainConfig

__all__ = ["engine"]

_POLL_SECONDS = 0.2  # how often the parent looks whether a worker has died
_ALONE_SECONDS = 5.0  # how often a worker without work looks whether the parent has

_WORTH_PROCESSES = 10.0
"""Expected seconds of work below which it is done in this process: another one imports torch
first, and two of them halve the rest at best."""

_START_SECONDS = 15.0  # a process with torch, on a busy machine; not begun close to a deadline

_USER_ERRORS = {"ValueError": ValueError, "FileNotFoundError": FileNotFoundError}


def engine(store: Store, device: str, workers: int, deadline: float | None = None) -> Engine:
    """Executes jobs on this machine.

    Args:
        store: Where results go.
        device: Where to train.
        workers: Processes at once, if there is enough to do for them; 1 is this one.
        deadline: `time.time()` before which all must have ended.

    Returns:
        The engine.
    """

    def run(jobs: Sequence[Job], show: Show, stop: Stop) -> list[TrainConfig]:
        count = min(workers, len(jobs))
        little = device == "cpu" and sum(job.core_seconds for job in jobs) < _WORTH_PROCESSES
        sharers = 1 if little else count
        memory = available_memory(device) / sharers if device == "cpu" else None
        limits = Limits(memory, sharers, deadline)
        if sharers == 1:
            with _threads(count):
                return _run_here(jobs, store, device, limits, show, stop)
        return _run_in_processes(jobs, store, device, count, limits, show, stop)

    return run


@contextmanager
def _threads(workers: int) -> Iterator[None]:
    """As many as one of these workers had, so that results are the same to the last digit."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_here(
    jobs: Sequence[Job],
    store: Store,
    device: str,
    limits: Limits,
    show: Show,
    stop: Stop,
) -> list[TrainConfig]:
    """Stacks in this process, one after another; returns the runs that diverged."""
    todo, failed = list(jobs), list[TrainConfig]()
    while todo and not stop.is_set():
        job = todo.pop(0)
        for report in execute(job, store, device, stop, limits):
            show(report)
            failed += report.failed
            if report.fits:
                todo[:0] = divided(job, store, report.fits)
    return failed


def _run_in_processes(
    jobs: Sequence[Job],
    store: Store,
    device: str,
    workers: int,
    limits: Limits,
    show: Show,
    interrupt: Stop,
) -> list[TrainConfig]:
    """Stacks on several processes, the longest first; returns the runs that diverged."""
    # A process takes one stack after another: it has imported torch and read the data by then.
    context = multiprocessing.get_context("spawn")
    stop, reports, todo = context.Event(), context.Queue(), list(jobs)
    order = store, device, limits, max(1, torch.get_num_threads() // workers)
    crew: dict[int, tuple[Any, Any]] = {}  # processes, and where their jobs go
    running: dict[int, Job] = {}
    failed: list[TrainConfig] = []
    try:
        while running or (todo and not interrupt.is_set()):
            if interrupt.is_set():
                stop.set()
            while todo and len(running) < workers and not interrupt.is_set():
                job = todo.pop(0)
                free = next((n for n in crew if n not in running), None)
                if limits.over(job.next_seconds + (_START_SECONDS if free is None else 0.0)):
                    continue  # it has its checkpoint, or nothing
                if free is None:
                    free, works = len(crew), context.Queue()
                    arguments = (free, works, order, stop, reports, os.getpid())
                    process = context.Process(target=_worker, args=arguments, daemon=True)
                    crew[free] = process, works
                    process.start()
                crew[free][1].put(job)
                running[free] = job
            try:
                number, report = reports.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                ended = [n for n in running if crew[n][0].exitcode is not None]
                if not ended or not reports.empty():
                    continue
                if interrupt.is_set():  # Ctrl-C reached a worker before it could ignore it
                    running = {n: job for n, job in running.items() if n not in ended}
                    continue
                raise RuntimeError(
                    f"A worker ended with exit code {crew[ended[0]][0].exitcode} (-9: killed, "
                    "often for memory: set `workers` lower). Finished runs are stored."
                ) from None
            show(report)
            failed += report.failed
            if report.done:
                job = running.pop(number)
                if report.fits:
                    todo[:0] = divided(job, store, report.fits)
            if report.error:
                raise _USER_ERRORS.get(report.kind, RuntimeError)(report.error)
    finally:
        stop.set()
        for _, works in crew.values():
            works.put(None)
        for process, _ in crew.values():
            process.join(timeout=CHECKPOINT_SECONDS)
            if process.is_alive():
                process.terminate()
    return failed


def _worker(
    number: int, works: Any, order: tuple[Any, ...], stop: Any, reports: Any, parent: int
) -> None:
    """Body of a process: stacks until there are none, their reports sent to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and sets `stop`
    store, device, limits, threads = order
    torch.set_num_threads(threads)
    while os.getppid() == parent:  # if it was killed, leave no orphan behind
        try:
            job = works.get(timeout=_ALONE_SECONDS)
        except queue.Empty:
            continue
        if job is None:
            break
        done = False
        try:
            for report in execute(job, store, device, stop, limits):
                reports.put((number, report))
                done = report.done
                if os.getppid() != parent:
                    stop.set()
            if not done:
                reports.put((number, Report(done=True)))
        except Exception as error:  # sent to the parent, which raises it
            kind, text = type(error).__name__, str(error)
            if kind not in _USER_ERRORS:
                traceback.print_exc()
                text = f"A worker failed with {kind}: {text}"
            reports.put((number, Report(error=text, kind=kind, done=True)))
    reports.close()
    reports.join_thread()
