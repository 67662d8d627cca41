"""What a sweep is about to do: which runs, in which stacks, how long, in how much memory."""

import heapq
import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from seams import data as datasets
from seams.data import Data
from seams.sweep.cost import Cost, available_memory, measure, room
from seams.sweep.jobs import CHECKPOINT_SECONDS, Job, Limits, stacks, unfinished
from seams.training import CHUNK, Store, TrainConfig, stack_key

__all__ = ["Plan", "Work", "duration", "make", "parse_seconds"]

_FLOPS, _BANDWIDTH = 989e12, 3.35e12
"""Of one H100 SXM by its data sheet: dense bfloat16 operations, and bytes of memory, a second."""

_CONSENT_SECONDS = 3600.0  # what is expected to take longer has to be asked for


@dataclass(frozen=True)
class Work:
    """A job with what it costs."""

    job: Job
    cost: Cost

    @property
    def steps(self) -> int:
        """Steps that are left, of all its runs together."""
        return len(self.job.configs) * self.job.steps

    @property
    def training_seconds(self) -> float:
        """Expected time of the steps that are left."""
        return self.job.steps * self.cost.step_seconds

    @property
    def evaluation_seconds(self) -> float:
        """Expected time of all its evaluations."""
        return len(self.job.configs) * self.cost.evaluation_seconds

    @property
    def seconds(self) -> float:
        """Expected time of all of it."""
        return self.training_seconds + self.evaluation_seconds


@dataclass(frozen=True)
class Plan:
    """What is there and what is to be done.

    Attributes:
        runs: How many are wanted.
        stored: How many of them are finished.
        recorded: How many of those are known from the record alone.
        begun: How many of the others have a checkpoint, or lack their evaluation alone.
        works: What is to be done, in its order.
        device: Where.
        workers: Jobs at once.
        remote: Whether that is on other machines, while the cost is that of a CPU here.
    """

    runs: int
    stored: int
    recorded: int
    begun: int
    works: tuple[Work, ...]
    device: str
    workers: int
    remote: bool = False

    @property
    def jobs(self) -> list[Job]:
        """What is to be done, in its order."""
        return [work.job for work in self.works]

    @property
    def seconds(self) -> float:
        """Expected time until the last worker is done."""
        ends = [0.0] * self.workers
        for work in self.works:
            heapq.heapreplace(ends, ends[0] + work.seconds)
        return max(ends)

    @property
    def best_seconds(self) -> tuple[float, float]:
        """Least time for all training on one H100: of its arithmetic, and of its memory."""
        flops = sum(work.steps * work.cost.step_flops for work in self.works)
        traffic = sum(work.steps * work.cost.step_traffic for work in self.works)
        return flops / _FLOPS, traffic / _BANDWIDTH

    def needs_consent(self, limit: float | None = None) -> bool:
        """Whether it takes over an hour, also if it stops after so many seconds."""
        return min(self.seconds, limit or self.seconds) > _CONSENT_SECONDS

    def __str__(self) -> str:
        missing = self.runs - self.stored
        known = f" ({self.recorded} in the record alone)" if self.recorded else ""
        head = f"{self.runs} runs: {self.stored} stored{known}, {self.begun} begun, "
        lines = [head + f"{missing - self.begun} new."]
        if self.works:
            at_once = f"{min(self.workers, len(self.works))} at once"
            where = f"workers with {self.device}" if self.remote else f"the {self.device}"
            count = f"{len(self.works)} stack{'s' * (len(self.works) > 1)}"
            lines += [f"{count}, {at_once}, on {where}:", *_table(self.works)]
            as_here = ", were each worker this machine's cpu" if self.remote else ""
            lines += [f"Expected: {duration(self.seconds)} in all{as_here}."]
        if self.seconds > _CONSENT_SECONDS:
            arithmetic, traffic = self.best_seconds
            least, by = max((arithmetic, "arithmetic"), (traffic, "memory traffic"))
            lines[-1] += " That is more than an hour."
            lines += [
                f"A GPU would take more than {duration(least)}: that is a floor, the {by} alone "
                "of these steps on one H100 (989 TFLOP/s dense bfloat16, 3.35 TB/s), without "
                "launching kernels and without evaluation."
            ]
        return "\n".join(lines)


def make(
    configs: Sequence[TrainConfig],
    store: Store,
    device: str,
    workers: int | None,
    *,
    retrain: bool = False,
    deadline: float | None = None,
    remote: bool = False,
) -> Plan:
    """Look up what is stored, and measure what is not; takes seconds for each shape of stack.

    Stacks are kept so small that they report, and can stop, every `CHECKPOINT_SECONDS`: where
    steps are that slow, stacking saves no time. Before a deadline they are also so small that they
    end in time, what is begun comes first, and then all runs of one seed before those of the next:
    a slice then leaves whole runs, at every beta and with both posteriors.

    Args:
        configs: The runs; repeated ones count once.
        store: Where they are looked up.
        device: Where to train.
        workers: Jobs at once; default one a stack, 8 at most.
        retrain: Whether to train all anew.
        deadline: `time.monotonic()` before which all must have ended.
        remote: Whether `device` is another machine's. Its speed is not known here, nor its memory:
            there, jobs are divided when they arrive.

    Returns:
        The plan.
    """
    configs = list(dict.fromkeys(configs))
    steps = dict.fromkeys(configs, 0) if retrain else unfinished(configs, store)
    found = [run for c in configs if c not in steps and (run := store.find(c))]
    if workers is None:
        workers = min(8, max(1, len(stacks(steps, 1))))
    jobs = stacks(steps, workers, retrain)
    at_once = max(1, min(workers, len(jobs)))
    costs: dict[tuple[TrainConfig, int], Cost] = {}
    measured = "cpu" if remote else device
    with _threads(torch.get_num_threads() // (1 if remote else at_once)):
        for job in sorted(jobs, key=lambda job: -len(job.configs)):
            shape, data = _shape(job)
            if shape not in costs:
                cost = measure(job.configs, data, measured)
                costs[shape] = _of_runs(cost, 1 / len(job.configs))
    memory = math.inf if remote else available_memory(device) / at_once
    left = math.inf if deadline is None or remote else deadline - time.monotonic()
    patience = math.inf if remote else min(CHECKPOINT_SECONDS, left / 4)
    share = left * at_once / max(len(jobs), 1)
    works = [
        w for job in jobs for w in _portions(job, costs[_shape(job)[0]], memory, patience, share)
    ]
    if left < math.inf:
        works.sort(key=lambda w: (not w.job.step, w.job.configs[0].seed, -w.seconds))
        _check_time(works, deadline)
    else:
        works.sort(key=lambda w: -w.seconds)
    return Plan(
        runs=len(configs),
        stored=len(found),
        recorded=sum(run.folder.parent != store.root for run in found),
        begun=sum(step > 0 for step in steps.values()),
        works=tuple(works),
        device=device,
        workers=workers,
        remote=remote,
    )


def _check_time(works: Sequence[Work], deadline: float | None) -> None:
    """Refuse what could not even do a part of one run."""
    chunk = max((work.cost.chunk_seconds for work in works), default=0.0)
    evaluation = max((work.cost.evaluation_seconds for work in works), default=0.0)
    if works and deadline and Limits(deadline=deadline).over(max(chunk, evaluation)):
        raise ValueError(
            f"Too little time: {duration(max(0.0, deadline - time.monotonic()))} are left after "
            f"planning; {CHUNK} steps take {duration(chunk)} here and the evaluation of a run "
            f"{duration(evaluation)}. Allow more."
        )


def _shape(job: Job) -> tuple[tuple[TrainConfig, int], Data]:
    """What the cost of a step depends on, so that it is measured once; and the data."""
    config = job.configs[0]
    data = datasets.load(config.dataset, config.resolution)
    size = data.batch(torch.zeros(1, dtype=torch.long)).shape[-1]
    alike = replace(
        stack_key(config), dataset="", images=1, learning_rate=1.0, sigma=1.0, warmup=0.0
    )
    return (alike, size), data


def _of_runs(cost: Cost, runs: float) -> Cost:
    """Cost of a step of so many runs, from that of one: narrower stacks are as much faster."""
    return replace(cost, step_seconds=cost.step_seconds * runs)


def _portions(job: Job, cost: Cost, memory: float, patience: float, share: float) -> list[Work]:
    """The job, divided if it is too large or too slow; `cost` is that of one run."""
    one = Work(replace(job, configs=job.configs[:1]), cost).seconds
    most = min(len(job.configs), patience / cost.chunk_seconds, share / one)
    if memory < math.inf:
        most = min(most, room(cost.run_bytes, memory))
    works = []
    for part in job.parts(max(int(most), 1)):
        whole = _of_runs(cost, float(len(part.configs)))
        if patience < math.inf:
            seconds = whole.chunk_seconds, whole.evaluation_seconds
            part = replace(part, chunk_seconds=seconds[0], evaluation_seconds=seconds[1])
        works.append(Work(part, whole))
    return works


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Measure with the threads that each worker will have."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _table(works: Sequence[Work]) -> list[str]:
    """One line for stacks that are alike."""
    groups: dict[tuple[TrainConfig, int], list[Work]] = {}
    for work in works:
        key = stack_key(work.job.configs[0])
        groups.setdefault((key, len(work.job.configs)), []).append(work)
    head = ("stacks", "runs", "of", "steps", "a step", "memory", "training", "evaluation")
    rows = [head]
    for (config, runs), group in groups.items():
        first = group[0].cost
        what = f"{config.network} {config.covariance}, {config.dataset} {config.resolution}"
        rows.append(
            (
                str(len(group)),
                str(runs),
                what,
                f"{config.steps:,}",
                duration(first.step_seconds),
                _size(runs * first.run_bytes),
                duration(sum(work.training_seconds for work in group)),
                duration(sum(work.evaluation_seconds for work in group)),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return [
        "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def duration(seconds: float) -> str:
    """A time in words, to two digits: "1.5 ms", "40 s", "12 min", "3.4 h" or "5.1 days"."""
    for unit, size, most in (("ms", 1e-3, 1), ("s", 1, 120), ("min", 60, 7200), ("h", 3600, 2e5)):
        if seconds < most:
            return f"{_two_digits(seconds / size)} {unit}"
    return f"{_two_digits(seconds / 86400)} days"


def _size(count: float) -> str:
    return f"{_two_digits(count / 1e9)} GB" if count >= 1e9 else f"{_two_digits(count / 1e6)} MB"


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def parse_seconds(text: str) -> float:
    """Seconds from a number with a unit, such as "90s", "9m" or "1.5h"; else a ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not match or not float(match[1]):
        raise ValueError(
            f"A time must be a positive number with s, m or h, such as 90s or 1h; got {text!r}."
        )
    return float(match[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0}[match[2]]
