"""A job: one stack of runs, from what is stored of it to results in the store.

Whoever executes jobs (this process, others on the machine, workers of a cluster) does the same:
take a job, show its reports, and put back what it asks to be divided. Where a stack is larger than
the memory of its device, only the process that holds the device can tell, so it is there that a
job is refused, before it starts or when memory runs out, and comes back as smaller ones.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from seams import data as datasets
from seams.data import Data
from seams.sweep.cost import available_memory, fitting, is_out_of_memory
from seams.training import Run, Stack, Store, TrainConfig, data_of, stack_key, train
from seams.training.evaluate import VERSION, at_once, evaluate
from seams.training.provenance import provenance

__all__ = [
    "CHECKPOINT_SECONDS",
    "Engine",
    "Job",
    "Limits",
    "Report",
    "Show",
    "Stop",
    "divided",
    "execute",
    "finished",
    "is_outdated",
    "label",
    "stacks",
    "steps_done",
]

CHECKPOINT_SECONDS = 30.0
"""Training lost by a kill at most; a checkpoint of a stack takes well below a second."""

_STEP_SECONDS = 2e-3  # of the calls of a step, however small the model
_FLOPS_PER_SECOND = 3e10
_MLP_FLOPS = 12  # per weight and datum, forward and backward, of two nets that mirror each other
_BURGESS_FLOPS = 18_000  # per pixel
_POINT_SECONDS, _POINT_DATA = 0.03, 4_000  # to evaluate a run once: calls, and data it is worth

_PATIENCE = 1.5  # a chunk may take so many times the longest so far
_RESERVE_SECONDS = 5.0  # from the last checkpoint to the end of all processes


@dataclass(frozen=True)
class Job:
    """Runs to train as one stack, all at the same step.

    Attributes:
        configs: The runs.
        step: Steps that their checkpoints have behind them.
        anew: Whether what is stored of them does not count.
        chunk_seconds: Expected time between two reports, where it is known.
        evaluation_seconds: Expected time of one run's evaluation, where it is known.
    """

    configs: tuple[TrainConfig, ...]
    step: int = 0
    anew: bool = False
    chunk_seconds: float = 0.0
    evaluation_seconds: float = 0.0

    @property
    def next_seconds(self) -> float:
        """Expected time of the least that can be done."""
        trained = self.step >= self.configs[0].steps
        return self.evaluation_seconds if trained else self.chunk_seconds

    @property
    def core_seconds(self) -> float:
        """Expected time of what is left on one core of a CPU, to an order of magnitude.

        From sizes alone: it orders jobs and says which are not worth a process of their own. What
        is told to users is measured, by `seams.sweep.cost`.
        """
        config, runs = self.configs[0], len(self.configs)
        values, points = config.resolution**2, 1 + config.snapshots
        if config.network == "burgess":
            flops = _BURGESS_FLOPS * values
        elif config.network == "mlp":
            flops = _MLP_FLOPS * config.width * (values + config.depth * config.width)
        else:
            flops, points = _MLP_FLOPS * config.latent * values, 1
        data = (config.steps - self.step) * config.batch + points * _POINT_DATA
        calls = (config.steps - self.step) * _STEP_SECONDS + runs * points * _POINT_SECONDS
        return calls + runs * data * flops / _FLOPS_PER_SECOND

    def parts(self, most: int) -> list["Job"]:
        """The job as several of nearly equal size.

        Args:
            most: Runs in each at most.

        Returns:
            The job itself if it is small enough.
        """
        count = -(-len(self.configs) // most)
        bounds = [len(self.configs) * i // count for i in range(count + 1)]
        return [
            replace(self, configs=self.configs[first:last])
            for first, last in zip(bounds, bounds[1:], strict=False)
        ]


@dataclass(frozen=True)
class Limits:
    """What a job may use.

    Attributes:
        memory: Bytes for its stack; None for an equal share of what its device has available.
        sharers: Jobs among which that is shared.
        deadline: `time.time()` at which the whole sweep shall have ended.
    """

    memory: float | None = None
    sharers: int = 1
    deadline: float | None = None

    def over(self, seconds: float) -> bool:
        """Whether something of this length would end too late.

        Args:
            seconds: Its expected length.

        Returns:
            False where there is no deadline.
        """
        if self.deadline is None:
            return False
        return time.time() + _PATIENCE * seconds + _RESERVE_SECONDS > self.deadline


@dataclass(frozen=True)
class Report:
    """What the execution of a job tells on its way.

    Attributes:
        configs: Runs that now stand at `step`.
        step: Steps they have behind them.
        distortion: Mean over the runs, nats.
        rate: Mean over the runs, nats.
        failed: Runs whose loss is not finite; in the last report.
        fits: If not 0, nothing was trained since only so many of the runs fit into memory at
            once: the job is to be divided. In the last report.
        error: Message of an exception.
        kind: Name of its type.
        done: Whether this is the last report.
    """

    configs: tuple[TrainConfig, ...] = ()
    step: int = 0
    distortion: float = 0.0
    rate: float = 0.0
    failed: tuple[TrainConfig, ...] = ()
    fits: int = 0
    error: str = ""
    kind: str = ""
    done: bool = False


class Stop:
    """A flag to set once, within one process."""

    def __init__(self) -> None:
        self.value = False

    def is_set(self) -> bool:
        """Whether it was set.

        Returns:
            False before.
        """
        return self.value

    def set(self) -> None:
        """Set it."""
        self.value = True


Show = Callable[[Report], None]

Engine = Callable[[Sequence[Job], Show, Stop], list[TrainConfig]]
"""Executes jobs, shows their reports, ends early once the flag is set; returns runs that diverged.
`seams.sweep.local` and `seams.sweep.cluster` have one."""


def stacks(
    configs: Sequence[TrainConfig],
    steps: Mapping[TrainConfig, int],
    workers: int,
    anew: bool = False,
) -> list[Job]:
    """Jobs for these runs, the longest first, and at least one a worker if there are enough runs.

    Args:
        configs: Runs to train.
        steps: Where those stand that have been begun; only runs at one step can be stacked.
        workers: How many jobs are executed at once.
        anew: Whether what is stored of the runs does not count.

    Returns:
        Jobs that hold each run once.
    """
    groups: dict[tuple[TrainConfig, int], list[TrainConfig]] = {}
    for config in configs:
        groups.setdefault((stack_key(config), steps.get(config, 0)), []).append(config)
    jobs = [Job(tuple(group), step, anew) for (_, step), group in groups.items()]
    while jobs and len(jobs) < workers:
        jobs.sort(key=lambda job: len(job.configs))
        widest = jobs.pop()
        jobs += widest.parts(max(1, (len(widest.configs) + 1) // 2))
        if len(widest.configs) == 1:
            break
    return sorted(jobs, key=lambda job: -job.core_seconds)


def steps_done(configs: Sequence[TrainConfig], store: Store) -> dict[TrainConfig, int]:
    """Where the begun ones among some runs stand.

    Args:
        configs: Any runs.
        store: Where their checkpoints are.

    Returns:
        Run to steps.
    """
    states = {c: store.checkpoint(c) for c in configs}
    return {c: int(state["step"]) for c, state in states.items() if state is not None}


def finished(config: TrainConfig, store: Store) -> Run | None:
    """A run that needs no training.

    Args:
        config: The run.
        store: Where it is looked up.

    Returns:
        The run, or None; also None if it is outdated.
    """
    run = store.find(config)
    return run if run and not is_outdated(run) else None


def is_outdated(run: Run) -> bool:
    """Whether a run was evaluated by another version, and without weights cannot be again.

    Args:
        run: From the store or the record.

    Returns:
        False for runs that can be evaluated anew.
    """
    return run.scores.get("evaluation") != VERSION and not run.has_weights


def divided(job: Job, store: Store, most: int | None = None) -> list[Job]:
    """A job that was given up, as it stands in the store now.

    Args:
        job: Whose execution ended early, or whose process died.
        store: Where it left results and checkpoints.
        most: Runs in each new job at most; default as many as there were.

    Returns:
        Jobs for the runs that are not finished, those of one step together.
    """
    parts = job.parts(most or len(job.configs))
    if job.anew:
        return [replace(part, step=0) for part in parts]
    found = []
    for part in parts:
        left = [c for c in part.configs if finished(c, store) is None]
        for new in stacks(left, steps_done(left, store), 1):
            found.append(replace(part, configs=new.configs, step=new.step))
    return found


def execute(
    job: Job, store: Store, device: str, stop: Any, limits: Limits | None = None
) -> Iterator[Report]:
    """Train, evaluate and store one stack, reporting as it goes.

    Ends early, with a checkpoint, once `stop` is set or if what comes next would end too late.
    If all goes well, or the job has to be divided, the last report says `done`.

    Args:
        job: What to train.
        store: Where results go.
        device: Where to train.
        stop: Anything with `is_set()`.
        limits: Of memory and time; default what the device has, and none.

    Yields:
        A report after every chunk of steps.

    Raises:
        RuntimeError: A single run is larger than the memory.
    """
    fits = 0
    try:
        yield from _attempt(job, store, device, stop, limits or Limits())
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(job.configs) == 1:
            raise RuntimeError(
                f"One run alone is larger than the memory of the {device} device "
                f"({label(job.configs[0])}): use a smaller batch, or another device."
            ) from None
        fits = len(job.configs) // 2
    if fits:
        gc.collect()  # what the traceback held
        yield Report(fits=fits, done=True)


def label(config: TrainConfig) -> str:
    """What tells a run from others of its sweep.

    Args:
        config: The run.

    Returns:
        A few words.
    """
    return f"{config.covariance} beta={config.beta:g} seed={config.seed}"


def _attempt(job: Job, store: Store, device: str, stop: Any, limits: Limits) -> Iterator[Report]:
    """Train if there is time for some of it and room for all of it."""
    if stop.is_set() or limits.over(job.next_seconds):
        return
    data = _data(job, torch.device(device))
    if len(job.configs) > 1:
        share = available_memory(device) / limits.sharers
        fits = fitting(job.configs, data, device, limits.memory or share)
        if fits < len(job.configs):
            yield Report(fits=fits, done=True)
            return
    yield from _train_and_store(job, data, store, device, stop, limits)


def _data(job: Job, device: torch.device) -> Data | Mapping[str, Any]:
    """The data set of all runs, or those of each by name."""
    names = {c.dataset: c.resolution for c in job.configs}
    loaded = {name: datasets.load(name, side).to(device) for name, side in names.items()}
    return loaded if len(loaded) > 1 else loaded.popitem()[1]


def _train_and_store(
    job: Job,
    data: Data | Mapping[str, Any],
    store: Store,
    device: str,
    stop: Any,
    limits: Limits,
) -> Iterator[Report]:
    started, before = time.perf_counter(), dict.fromkeys(job.configs, 0.0)
    if job.step:
        states = {c: s for c in job.configs if (s := store.checkpoint(c)) is not None}
        before |= {c: float(s["seconds"]) for c, s in states.items() if "seconds" in s}
        stack = Stack.resume(job.configs, list(states.values()), data, device)
        yield Report(job.configs, stack.step)
    else:
        stack = Stack.start(job.configs, data, device)

    def seconds() -> list[float]:
        """Share of each run in the time of its stacks, in this session and before."""
        share = (time.perf_counter() - started) / max(len(stack.configs), 1)
        return [before[c] + share for c in stack.configs]

    failed: list[TrainConfig] = []
    saved, saving, chunk = time.perf_counter(), 0.0, job.chunk_seconds
    steps = train(stack, data)
    while stack.configs and stack.step < stack.configs[0].steps:
        if stop.is_set() or limits.over(chunk + saving):
            if stack.step > job.step:
                store.save_checkpoint(stack, seconds())
            return
        begun = time.perf_counter()
        progress = next(steps)
        chunk = max(chunk, time.perf_counter() - begun)
        reached = tuple(stack.configs)
        if progress.diverged:
            failed += [stack.configs[i] for i in progress.diverged]
            stack.keep([i for i in range(len(stack.configs)) if i not in progress.diverged])
        means = float(progress.distortion.mean()), float(progress.rate.mean())
        yield Report(reached, progress.step, *means)
        if stack.configs and time.perf_counter() - saved > CHECKPOINT_SECONDS:
            begun = time.perf_counter()
            store.save_checkpoint(stack, seconds())
            saved = time.perf_counter()
            saving = saved - begun

    spent, stacked = seconds(), len(stack.configs)
    expected, position, most = job.evaluation_seconds, 0, at_once(device)
    longest = 0.0  # of what a run's evaluation took; replaces what was expected
    while position < len(stack.configs):
        count = _alike(stack.configs[position : position + most])
        late = stop.is_set() or limits.over(count * (longest or expected) + saving)
        if late or (position and time.perf_counter() - saved > CHECKPOINT_SECONDS):
            stack.keep(range(position, len(stack.configs)))
            spent = spent[position:]
            store.save_checkpoint(stack, spent)
            saved, position = float("inf"), 0  # once is enough: these do not change any more
        if late:
            return
        begun, runs = time.perf_counter(), range(position, position + count)
        own = data_of(data, stack.configs[position])
        facts = provenance(own, device) | {"stacked": stacked}
        for run, (scores, arrays) in zip(runs, evaluate(stack, runs, own), strict=True):
            store.save(stack, run, facts | {"seconds": spent[run]}, scores, arrays)
        longest = max(longest, (time.perf_counter() - begun) / count)
        position += count
    yield Report(failed=tuple(failed), done=True)


def _alike(configs: Sequence[TrainConfig]) -> int:
    """How many runs at the beginning are on the data set of the first."""
    others = (i for i, c in enumerate(configs) if c.dataset != configs[0].dataset)
    return next(others, len(configs))
