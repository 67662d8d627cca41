"""A job: one stack of runs, from what is stored of it to results in the store.

Whoever executes jobs (this process, others on the machine, workers of a cluster) does the same:
take a job, show what it reports, and take up what comes back. The plan behind a job may be old, so
the store is asked again when it begins: what another process is training or has trained is left
out. Only the process that holds a device can tell that a stack is larger than its memory, so it is
there that a job is given up, before it starts or when memory runs out, and comes back as smaller
ones.
"""

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from seams import data as datasets
from seams.data import Data
from seams.sweep.cost import available_memory, fitting, is_out_of_memory
from seams.training import Run, Stack, Store, TrainConfig, data_of, stack_key, train
from seams.training.evaluate import at_once, evaluate, is_current
from seams.training.provenance import provenance

__all__ = [
    "CHECKPOINT_SECONDS",
    "Engine",
    "Job",
    "Limits",
    "Outcome",
    "Report",
    "Show",
    "execute",
    "label",
    "remaining",
    "stacks",
    "unfinished",
]

CHECKPOINT_SECONDS = 30.0
"""Training lost by a kill at most; a checkpoint of a stack takes well below a second."""

_PATIENCE = 1.5  # a chunk may take so many times the longest so far
_RESERVE_SECONDS = 5.0  # from the last checkpoint to the end of all processes


@dataclass(frozen=True)
class Job:
    """Runs to train and evaluate as one stack, all at the same step.

    Attributes:
        configs: The runs.
        step: Steps that they have behind them; all of them if only the evaluation is missing.
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
    def steps(self) -> int:
        """Steps that are left."""
        return max(0, self.configs[0].steps - self.step)

    @property
    def size(self) -> int:
        """Values of data that are left to train on, by which jobs are ordered."""
        config = self.configs[0]
        return len(self.configs) * self.steps * config.batch * config.resolution**2

    @property
    def next_seconds(self) -> float:
        """Expected time of the least that can be done."""
        return self.chunk_seconds if self.steps else self.evaluation_seconds

    def parts(self, most: int) -> list["Job"]:
        """The job as several of nearly equal size, with so many runs in each at most."""
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
        deadline: `time.monotonic()` at which the whole sweep shall have ended.
    """

    memory: float | None = None
    sharers: int = 1
    deadline: float | None = None

    def over(self, seconds: float) -> bool:
        """Whether something of this expected length would end too late."""
        if self.deadline is None:
            return False
        return time.monotonic() + _PATIENCE * seconds + _RESERVE_SECONDS > self.deadline


@dataclass(frozen=True)
class Report:
    """What the execution of a job tells on its way.

    Attributes:
        configs: Runs that now stand at `step`.
        step: Steps they have behind them.
        distortion: Mean over the runs, nats; 0 if it only says where they stand.
        rate: Mean over the runs, nats.
    """

    configs: tuple[TrainConfig, ...]
    step: int
    distortion: float = 0.0
    rate: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What came of one job or of several; runs that are in none of these are done, or not begun.

    Attributes:
        diverged: Runs whose loss is not finite.
        broken: Runs that are stored without an evaluation, since that failed, each with the error.
        busy: Runs that another process has in hand.
        again: What is left of jobs that were given up for memory, or paused.
    """

    diverged: tuple[TrainConfig, ...] = ()
    broken: tuple[tuple[TrainConfig, str], ...] = ()
    busy: tuple[TrainConfig, ...] = ()
    again: tuple[Job, ...] = ()

    def __add__(self, other: "Outcome") -> "Outcome":
        """Of both, one after the other."""
        every = (item.name for item in fields(self))
        return Outcome(*(getattr(self, name) + getattr(other, name) for name in every))


Show = Callable[[Report], Any]

Engine = Callable[[Sequence[Job], Show, Any], Outcome]
"""Executes jobs, shows their reports, and ends early once the third, a `threading.Event`, is set.
`seams.sweep.local` and `seams.sweep.cluster` have one."""


def unfinished(configs: Iterable[TrainConfig], store: Store) -> dict[TrainConfig, int]:
    """Those among some runs that need training or evaluation, with the steps behind them.

    Args:
        configs: Any runs.
        store: Where they are looked up.

    Returns:
        Run to steps. A run whose evaluation lacks something needs it if its weights are there;
        else, as in the record, it counts as it is.
    """
    found: dict[TrainConfig, int] = {}
    for config in configs:
        run = store.find(config) or store.trained(config)
        if run is None:
            found[config] = store.step(config)
        elif run.has_weights and not (run.is_evaluated and is_current(run.scores)):
            found[config] = config.steps
    return found


def stacks(steps: Mapping[TrainConfig, int], workers: int, anew: bool = False) -> list[Job]:
    """Jobs for some runs, the longest first, and at least one a worker if there are enough runs.

    Args:
        steps: Those the runs have behind them; only runs at one step can be stacked.
        workers: How many jobs are executed at once.
        anew: Whether what is stored of the runs does not count.

    Returns:
        Jobs that hold each run once, those of one seed together.
    """
    groups: dict[tuple[TrainConfig, int], list[TrainConfig]] = {}
    for config in sorted(steps, key=lambda config: config.seed):
        groups.setdefault((stack_key(config), steps[config]), []).append(config)
    jobs = [Job(tuple(group), step, anew) for (_, step), group in groups.items()]
    while jobs and len(jobs) < workers:
        jobs.sort(key=lambda job: len(job.configs))
        widest = jobs.pop()
        jobs += widest.parts(max(1, (len(widest.configs) + 1) // 2))
        if len(widest.configs) == 1:
            break
    return sorted(jobs, key=lambda job: -job.size)


def remaining(job: Job, configs: Sequence[TrainConfig], store: Store) -> list[Job]:
    """What is left of some runs of a job, as the store has it now; those of one step together."""
    steps = dict.fromkeys(configs, 0) if job.anew else unfinished(configs, store)
    return [replace(job, configs=part.configs, step=part.step) for part in stacks(steps, 1)]


def label(config: TrainConfig) -> str:
    """What tells a run from others of its sweep."""
    return f"{config.covariance} beta={config.beta:g} seed={config.seed}"


def execute(
    job: Job,
    store: Store,
    device: str,
    stop: Any,
    limits: Limits | None = None,
    show: Show = lambda report: None,
) -> Outcome:
    """Train, store and evaluate one stack.

    Ends early, with a checkpoint, once `stop` is set or if what comes next would end too late.

    Args:
        job: What to train.
        store: Where results go.
        device: Where to train.
        stop: Anything with `is_set()`.
        limits: Of memory and time; default what the device has, and none.
        show: Called after every chunk of steps.

    Returns:
        What came of it.

    Raises:
        RuntimeError: A single run is larger than the memory.
    """
    limits, outcome = limits or Limits(), Outcome()
    with ExitStack() as held:
        mine = [c for c in job.configs if held.enter_context(store.lock(c))]
        outcome += Outcome(busy=tuple(c for c in job.configs if c not in mine))
        for part in remaining(job, mine, store):
            if stop.is_set() or limits.over(part.next_seconds):
                continue
            try:
                outcome += _train_and_evaluate(part, store, device, stop, limits, show)
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            if len(part.configs) == 1:
                raise RuntimeError(
                    f"One run alone is larger than the memory of the {device} device "
                    f"({label(part.configs[0])}): use a smaller batch, or another device."
                )
            gc.collect()  # what the traceback held
            outcome += Outcome(again=tuple(part.parts(len(part.configs) // 2)))
        if stop.is_set():
            ended = {*outcome.diverged, *(config for config, _ in outcome.broken)}
            left = remaining(job, [c for c in mine if c not in ended], store)
            outcome = replace(outcome, again=tuple(left))
    return outcome


def _train_and_evaluate(
    job: Job, store: Store, device: str, stop: Any, limits: Limits, show: Show
) -> Outcome:
    names = {c.dataset: c.resolution for c in job.configs}
    where = torch.device(device)
    loaded = {name: datasets.load(name, side).to(where) for name, side in names.items()}
    data = loaded if len(loaded) > 1 else loaded.popitem()[1]
    if not job.steps:
        runs = [run for c in job.configs if (run := store.trained(c)) and run.has_weights]
        show(Report(job.configs, job.configs[0].steps))
        return _evaluate(runs, data, store, device, job.evaluation_seconds, stop, limits)
    if len(job.configs) > 1:
        share = available_memory(device) / limits.sharers
        fits = fitting(job.configs, data, device, limits.memory or share)
        if fits < len(job.configs):
            return Outcome(again=tuple(job.parts(fits)))
    runs, outcome = _train(job, data, store, device, stop, limits, show)
    return outcome + _evaluate(runs, data, store, device, job.evaluation_seconds, stop, limits)


def _train(
    job: Job,
    data: Data | Mapping[str, Any],
    store: Store,
    device: str,
    stop: Any,
    limits: Limits,
    show: Show,
) -> tuple[list[Run], Outcome]:
    """Runs that are stored now, and what became of others; no runs if there was no time."""
    started, before, outcome = time.perf_counter(), dict.fromkeys(job.configs, 0.0), Outcome()
    if job.step:
        states = {c: s for c in job.configs if (s := store.checkpoint(c)) is not None}
        states = {c: s for c, s in states.items() if int(s["step"]) == job.step}
        lost = tuple(c for c in job.configs if c not in states)
        if lost:  # damaged, or removed by hand, since the step was looked up
            outcome += Outcome(again=(replace(job, configs=lost, step=0),))
        if not states:
            return [], outcome
        before |= {c: float(s["seconds"]) for c, s in states.items() if "seconds" in s}
        stack = Stack.resume(list(states), list(states.values()), data, device)
        show(Report(tuple(states), stack.step))
    else:
        stack = Stack.start(job.configs, data, device)

    def seconds() -> list[float]:
        """Share of each run in the time of its stacks, in this session and before."""
        share = (time.perf_counter() - started) / max(len(stack.configs), 1)
        return [before[c] + share for c in stack.configs]

    saved, saving, chunk = time.perf_counter(), 0.0, job.chunk_seconds
    steps = train(stack, data)
    while stack.configs and stack.step < stack.configs[0].steps:
        if stop.is_set() or limits.over(chunk + saving):
            if stack.step > job.step:
                store.save_checkpoint(stack, seconds())
            return [], outcome
        begun = time.perf_counter()
        progress = next(steps)
        chunk = max(chunk, time.perf_counter() - begun)
        reached = tuple(stack.configs)
        if progress.diverged:
            outcome += Outcome(diverged=tuple(reached[i] for i in progress.diverged))
            stack.keep([i for i in range(len(reached)) if i not in progress.diverged])
        means = float(progress.distortion.mean()), float(progress.rate.mean())
        show(Report(reached, progress.step, *means))
        if stack.configs and time.perf_counter() - saved > CHECKPOINT_SECONDS:
            begun = time.perf_counter()
            store.save_checkpoint(stack, seconds())
            saved = time.perf_counter()
            saving = saved - begun
    runs = []
    for position, (config, spent) in enumerate(zip(stack.configs, seconds(), strict=True)):
        facts = provenance(data_of(data, config), device)
        facts |= {"stacked": len(stack.configs), "seconds": spent}
        runs.append(store.finish(stack, position, facts))
    return runs, outcome


def _evaluate(
    runs: Sequence[Run],
    data: Data | Mapping[str, Any],
    store: Store,
    device: str,
    expected: float,
    stop: Any,
    limits: Limits,
) -> Outcome:
    """Scores of stored runs, as many at once as pays; one that fails leaves the others alone."""
    todo, most, longest, outcome = list(runs), at_once(device), 0.0, Outcome()
    while todo:
        some = [run for run in todo if run.config.dataset == todo[0].config.dataset][:most]
        if stop.is_set() or limits.over(len(some) * (longest or expected)):
            break
        begun = time.perf_counter()
        try:
            stack = _stack_of(some, device)
            own = data_of(data, some[0].config)
            found = evaluate(stack, range(len(some)), own)
            for run, (scores, arrays) in zip(some, found, strict=True):
                store.update(run, scores, arrays)
        except Exception as error:
            if len(some) > 1:  # find out whose it is, or what fits into memory
                most = 1
                continue
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            outcome += Outcome(broken=((some[0].config, reason),))
        longest = max(longest, (time.perf_counter() - begun) / len(some))
        todo = [run for run in todo if run not in some]
    return outcome


def _stack_of(runs: Sequence[Run], device: str) -> Stack:
    """Stored runs of one shape, as far as their evaluation needs it."""
    weights, snapshots = [run.weights() for run in runs], [run.snapshots() for run in runs]
    gather = lambda parts: {k: torch.stack([p[k] for p in parts]).to(device) for k in parts[0]}
    return Stack(
        configs=[run.config for run in runs],
        model=runs[0].model().to(device),
        params=gather(weights),
        moments={},
        step=runs[0].config.steps,
        snapshots={step: gather([s[step] for s in snapshots]) for step in snapshots[0]},
    )
