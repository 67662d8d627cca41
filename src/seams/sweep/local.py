"""Jobs on this machine: one after another in this process, then on several at once."""

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch

from seams.sweep.cost import available_memory
from seams.sweep.jobs import (
    CHECKPOINT_SECONDS,
    Engine,
    Job,
    Outcome,
    Pace,
    Place,
    Show,
    execute,
)
from seams.training import Store

__all__ = ["engine"]

_ALONE_SECONDS = 10.0  # of work here first: others import torch, too long for what is done by then
_START_SECONDS = 15.0  # a process with torch, on a busy machine; not begun close to a deadline
_POLL_SECONDS = 0.2


def engine(store: Store, device: str, workers: int, deadline: float | None = None) -> Engine:
    """Executes jobs on this machine, before a deadline by `time.monotonic()` if there is one."""

    def run(jobs: Sequence[Job], show: Show, stop: Any) -> Outcome:
        todo, count = list(jobs), min(workers, len(jobs))
        memory = available_memory(device)
        place = Place(store, device, memory if device == "cpu" else None, deadline)
        alone = device == "cpu" and not any(job.anew for job in jobs)
        seconds = _ALONE_SECONDS * alone if count > 1 else math.inf
        with _threads(count):
            outcome = _here(todo, place, show, stop, time.monotonic() + seconds)
        if todo and not stop.is_set():
            shared = replace(place, memory=memory / count)
            outcome += _in_processes(todo, shared, count, show, stop)
        return outcome

    return run


@contextmanager
def _threads(workers: int) -> Iterator[None]:
    """As many as one of these workers has, so that results are the same to the last digit."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _here(todo: list[Job], place: Place, show: Show, stop: Any, until: float) -> Outcome:
    """Stacks in this process; leaves some in `todo` once time is up and others could help."""
    outcome, pace = Outcome(), Pace()
    late = lambda: bool(todo) and time.monotonic() > until
    pause = SimpleNamespace(is_set=lambda: stop.is_set() or late())
    while todo and not stop.is_set() and not (len(todo) > 1 and late()):
        job, *later = pace.in_time(todo.pop(0), place)
        todo[:0], begun = later, time.monotonic()
        found = execute(job, place, pause, show)
        pace.note(job, begun, found)
        outcome += replace(found, again=())
        todo[:0] = found.again
    return outcome


def _in_processes(todo: list[Job], place: Place, workers: int, show: Show, stop: Any) -> Outcome:
    context, others = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
    asked, reports = context.Event(), context.Queue()
    shared = asked, reports, max(1, torch.get_num_threads() // workers)
    pool = ProcessPoolExecutor(workers, context, _begin, shared)
    outcome, pace, begun = Outcome(), Pace(), 0
    running: dict[Future[Outcome], tuple[Job, float]] = {}
    patience = CHECKPOINT_SECONDS
    try:
        while running or todo:
            if stop.is_set():
                asked.set()
                todo.clear()
            while todo and len(running) < workers:
                job, *later = pace.in_time(todo.pop(0), place)
                todo[:0] = later
                starting = _START_SECONDS if begun < workers else 0.0
                if not place.over(job.next_seconds + starting):  # else it has its checkpoint
                    running[pool.submit(_work, job, place)] = job, time.monotonic()
                    begun += 1
            done, _ = wait(running, _POLL_SECONDS, FIRST_COMPLETED)
            while not reports.empty():
                show(reports.get())
            for future in done:
                found = future.result()
                pace.note(*running.pop(future), found)
                outcome += replace(found, again=())
                todo[:0] = found.again
    except BrokenProcessPool:
        if not stop.is_set():  # else Ctrl-C reached one before it could ignore it
            raise RuntimeError(
                "A worker was killed, often for memory: set `workers` lower. Finished runs are "
                "stored, and the others go on from their checkpoints."
            ) from None
    except (ValueError, FileNotFoundError, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt):
            patience = 0.0
        raise
    except Exception as error:
        raise RuntimeError(f"A worker failed with {type(error).__name__}: {error}") from error
    finally:
        asked.set()
        wait(running, patience)
        for process in set(multiprocessing.active_children()) - others:
            if any(not future.done() for future in running):
                process.terminate()
        pool.shutdown(cancel_futures=True)
    return outcome


_shared: dict[str, Any] = {}  # of a worker
_at_work = threading.Lock()


def _begin(asked: Any, reports: Any, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and sets `asked`
    torch.set_num_threads(threads)
    _shared.update(asked=asked, reports=reports)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """Leave no orphan: if the parent is killed, keep a checkpoint and end."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    _shared["asked"].set()
    with _at_work:
        os._exit(1)


def _work(job: Job, place: Place) -> Outcome:
    with _at_work:
        return execute(job, place, _shared["asked"], _shared["reports"].put)
