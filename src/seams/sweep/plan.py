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
from seams.sweep.cost import Cost, available_memory, brief, measure, room
from seams.sweep.jobs import CHECKPOINT_SECONDS, Job, Place, stacks, unfinished
from seams.training import CHUNK, Store, TrainConfig, stack_key

__all__ = ["Plan", "duration", "make", "parse_seconds"]

_FLOPS, _BANDWIDTH = 989e12, 3.35e12  # H100 SXM's data sheet: dense bfloat16, bytes; a second
_CONSENT_SECONDS = 3600.0  # what is expected to take longer has to be asked for


@dataclass(frozen=True)
class Plan:
    """What is there and what is to be done."""

    runs: int  # how many are wanted
    stored: int  # of them, finished
    recorded: int  # of those, in the record alone
    begun: int  # of the others, with a checkpoint or lacking their evaluation alone
    jobs: tuple[Job, ...]  # in their order, each with its cost
    device: str
    workers: int  # jobs at once
    remote: bool = False  # on other machines, while the cost is that of a CPU here

    @property
    def seconds(self) -> float:
        """Expected time until the last worker is done."""
        ends = [0.0] * self.workers
        for job in self.jobs:
            heapq.heapreplace(ends, ends[0] + job.seconds)
        return max(ends)

    @property
    def best_seconds(self) -> tuple[float, float]:
        """Least time for all training on one H100: of its arithmetic, and of its memory."""
        steps = [(job.cost, len(job.configs) * job.steps) for job in self.jobs if job.cost]
        flops = sum(cost.step_flops * count for cost, count in steps)
        traffic = sum(cost.step_traffic * count for cost, count in steps)
        return flops / _FLOPS, traffic / _BANDWIDTH

    def needs_consent(self, limit: float | None = None) -> bool:
        """Whether it takes over an hour, also if it stops after so many seconds."""
        return min(self.seconds, limit or self.seconds) > _CONSENT_SECONDS

    def __str__(self) -> str:
        missing = self.runs - self.stored
        known = f" ({self.recorded} in the record alone)" if self.recorded else ""
        head = f"{self.runs} runs: {self.stored} stored{known}, {self.begun} begun, "
        lines = [head + f"{missing - self.begun} new."]
        if self.jobs:
            at_once = f"{min(self.workers, len(self.jobs))} at once"
            where = f"workers with {self.device}" if self.remote else f"the {self.device}"
            count = f"{len(self.jobs)} stack{'s' * (len(self.jobs) > 1)}"
            lines += [f"{count}, {at_once}, on {where}:", *_table(self.jobs)]
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
    """Look up what is stored, measure the rest (seconds a shape); ValueError if time is short."""
    # Stacks are so small that they report, and can stop, every `CHECKPOINT_SECONDS`: where steps
    # are that slow, stacking saves no time. Before a deadline (`time.monotonic()`) they also end
    # in time, what is begun comes first, then all runs of one seed: a slice leaves whole runs, at
    # every beta and with both posteriors. Of remote machines neither speed nor memory is known
    # here: jobs are divided when they arrive.
    configs = list(dict.fromkeys(configs))
    steps = dict.fromkeys(configs, 0) if retrain else unfinished(configs, store)
    found = [run for c in configs if c not in steps and (run := store.find(c))]
    if workers is None:
        workers = min(8, max(1, len(stacks(steps, 1))))
    jobs = stacks(steps, workers, retrain)
    at_once = max(1, min(workers, len(jobs)))
    measured = "cpu" if remote else device
    with _threads(torch.get_num_threads() // (1 if remote else at_once)):
        jobs = _with_costs(jobs, measured)
    memory = math.inf if remote else available_memory(device) / at_once
    left = math.inf if deadline is None or remote else deadline - time.monotonic()
    patience = min(CHECKPOINT_SECONDS, left / 4) if device == measured else math.inf
    share = left * at_once / max(len(jobs), 1)
    jobs = [part for job in jobs for part in _portions(job, memory, patience, share)]
    jobs.sort(key=lambda job: -job.seconds)
    if left < math.inf:
        jobs.sort(key=lambda job: (not job.step, job.configs[0].seed))
        chunk = max((job.chunk_seconds for job in jobs), default=0.0)
        evaluation = max((job.cost.evaluation_seconds for job in jobs if job.cost), default=0.0)
        if jobs and Place(store, device, deadline=deadline).over(max(chunk, evaluation)):
            raise ValueError(
                f"Too little time: {duration(max(0.0, left))} are left after planning; {CHUNK} "
                f"steps take {duration(chunk)} here and the evaluation of a run "
                f"{duration(evaluation)}. Allow more."
            )
    recorded = sum(run.folder.parent != store.root for run in found)
    begun = sum(step > 0 for step in steps.values())
    return Plan(len(configs), len(found), recorded, begun, tuple(jobs), device, workers, remote)


def _with_costs(jobs: Sequence[Job], device: str) -> list[Job]:
    """Jobs with their costs, each kind of step measured once, on the widest stack."""
    known: dict[tuple[TrainConfig, int], Job] = {}
    for job in sorted(jobs, key=lambda job: -len(job.configs)):
        kind, data = _kind(job)
        if kind not in known:
            known[kind] = replace(job, cost=measure(job.configs, data, device))
    return [replace(job, cost=known[_kind(job)[0]].of(job.configs).cost) for job in jobs]


def _kind(job: Job) -> tuple[tuple[TrainConfig, int], Data]:
    config = job.configs[0]
    data = datasets.load(config.dataset, config.resolution)
    size = data.batch(torch.zeros(1, dtype=torch.long)).shape[-1]
    shared = stack_key(config)
    alike = replace(brief(shared, 1), dataset="", learning_rate=1.0, sigma=1.0, warmup=0.0)
    alike = replace(alike, snapshots=shared.snapshots)
    return (alike, size), data


def _portions(job: Job, memory: float, patience: float, share: float) -> list[Job]:
    one = job.parts(1)[0]
    most = min(len(job.configs), patience / one.chunk_seconds, share / one.seconds)
    if one.cost and memory < math.inf:
        most = min(most, room(one.cost.run_bytes, memory))
    return job.parts(max(int(most), 1))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Measure with the threads that each worker will have."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _table(jobs: Sequence[Job]) -> list[str]:
    groups: dict[tuple[TrainConfig, int], list[tuple[Job, Cost]]] = {}
    for job in jobs:
        if job.cost:
            key = stack_key(job.configs[0]), len(job.configs)
            groups.setdefault(key, []).append((job, job.cost))
    rows = [("stacks", "runs", "of", "steps", "a step", "memory", "training", "evaluation")]
    for (config, runs), group in groups.items():
        cost = group[0][1]
        evaluation = len(group) * runs * cost.evaluation_seconds
        rows.append(
            (
                str(len(group)),
                str(runs),
                f"{config.network} {config.covariance}, {config.dataset} {config.resolution}",
                f"{config.steps:,}",
                duration(cost.step_seconds),
                _size(runs * cost.run_bytes),
                duration(sum(job.seconds for job, _ in group) - evaluation),
                duration(evaluation),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in rows)
    return ["  " + "  ".join(f"{cell:>{width}}" for cell, width in line) for line in lines]


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
