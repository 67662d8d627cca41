"""Finished runs for tests of what reads them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from seams.data import Samples
from seams.training import Run, Stack, Store, TrainConfig, train
from seams.training.evaluate import VERSION

CONFIG = TrainConfig(
    dataset="linear", resolution=1, network="mlp", width=4, latent=2, images=64, batch=16
)
FACTS = {
    "seams": "0.1.0",
    "torch": "2.13.0",
    "commit": "0123456789",
    "dirty": False,
    "device": "cpu",
    "threads": 2,
    "cpu": "Some CPU",
    "data_size": 6,
    "data_checksum": "abc",
    "seconds": 1.5,
    "finished": "2026-01-01T00:00:00+00:00",
}
SCORES = {"evaluation": VERSION, "rate": 0.25, "active": 2, "mig": None}
ARRAYS = {"information": np.array([[0.1, 1.0]]), "images": np.zeros((1, 4), np.uint8)}


def add(store: Path, config: TrainConfig = CONFIG, **changed: Any) -> Run:
    """Train a run for a moment and store it, with some facts, scores or arrays changed."""
    generator = torch.Generator().manual_seed(0)
    size = changed.get("size", 6)
    data = Samples(torch.randn(50, size, generator=generator, dtype=torch.float32))
    stack = Stack.start([config], data)
    for _ in train(stack, data):
        pass
    facts = FACTS | {"data_size": size} | {k: v for k, v in changed.items() if k in FACTS}
    scores = SCORES | {k: v for k, v in changed.items() if k in SCORES}
    arrays = ARRAYS | {k: v for k, v in changed.items() if isinstance(v, np.ndarray)}
    return Store(store).save(stack, 0, facts, scores, arrays)
