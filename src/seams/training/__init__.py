"""Training: configurations, stacks of runs, the loop, evaluation, the run store and the record."""

from seams.training.config import TrainConfig, beta_at, stack_key
from seams.training.loop import CHUNK, Progress, train
from seams.training.runs import Run, run_id, table
from seams.training.stack import Stack, build, data_of
from seams.training.store import Store

__all__ = [
    "CHUNK",
    "Progress",
    "Run",
    "Stack",
    "Store",
    "TrainConfig",
    "beta_at",
    "build",
    "data_of",
    "run_id",
    "stack_key",
    "table",
    "train",
]
