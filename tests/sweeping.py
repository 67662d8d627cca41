"""Runs that train in a moment, and what tests of sweeps watch or put in place of processes."""

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seams import data as datasets
from seams.data import Samples
from seams.sweep import jobs, local, train_or_load
from seams.training import Stack, Store, TrainConfig
from seams.training import loop as training

CHUNK = 4  # steps, of these tests, so that a run of a few steps has several
BASE = TrainConfig(
    dataset="linear",
    resolution=1,
    network="linear",
    latent=2,
    images=16 * 3 * CHUNK,
    batch=16,
    learning_rate=0.01,
    warmup=0.0,
)


def make_small(monkeypatch: pytest.MonkeyPatch, progress: Path, *scales: float) -> None:
    """Let every data set be 300 normal points with these deviations, and chunks be short."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, len(scales), generator=generator, dtype=torch.float32)
    data = Samples(x * torch.tensor(scales, dtype=torch.float32))
    monkeypatch.setattr(datasets, "load", lambda name, resolution: data)
    monkeypatch.setattr(training, "CHUNK", CHUNK)
    monkeypatch.setenv("SEAMS_PROGRESS", str(progress))


def trained(configs: Sequence[TrainConfig], store: Store, **how: Any) -> list[Any]:
    return train_or_load(configs, store, device="cpu", workers=1, **how)


def watched(monkeypatch: pytest.MonkeyPatch, note: Callable[[Stack], Any]) -> list[Any]:
    """A note on every stack that training begins with, in order."""
    seen: list[Any] = []
    train = jobs.train

    def watch(stack: Stack, data: Any) -> Iterator[Any]:
        seen.append(note(stack))
        return train(stack, data)

    monkeypatch.setattr(jobs, "train", watch)
    return seen


class Worker(threading.Thread):
    """A worker in a thread of this process, so that it sees a test's patches."""

    exitcode: int | None = None

    def run(self) -> None:
        super().run()
        self.exitcode = 0


class Reports(queue.Queue):
    def close(self) -> None: ...

    def join_thread(self) -> None: ...


def use_threads(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Give the least work to workers, which are threads; what stands for `multiprocessing`."""
    context = SimpleNamespace(Event=threading.Event, Queue=Reports, Process=Worker)
    execute, turn = local.execute, threading.Lock()

    def in_turn(*arguments: Any) -> Iterator[Any]:
        with turn:  # forward-mode derivatives are not for two threads at once
            yield from execute(*arguments)

    monkeypatch.setattr(local, "execute", in_turn)
    monkeypatch.setattr(local.multiprocessing, "get_context", lambda kind: context)
    monkeypatch.setattr(signal, "signal", lambda *_: signal.default_int_handler)
    monkeypatch.setattr(local.os, "getppid", os.getpid)
    monkeypatch.setattr(local.torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(local, "_WORTH_PROCESSES", 0.0)
    return context
