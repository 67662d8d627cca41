"""Runs that train in a moment, and what tests of sweeps watch."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from seams import data as datasets
from seams.data import Samples
from seams.sweep import jobs, train_or_load
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

    def watch(stack: Stack, *rest: Any) -> Iterator[Any]:
        seen.append(note(stack))
        return train(stack, *rest)

    monkeypatch.setattr(jobs, "train", watch)
    return seen
