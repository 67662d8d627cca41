"""A job: one stack of runs, from what is stored of it to results in the store.

Whoever executes jobs takes one, shows what it reports, and takes up what comes back. A plan may be
old: as a job begins, the store is asked what is left of it. Only who holds a device can tell that
a stack is larger than its memory: the job is given up there, and comes back as smaller ones.
"""

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from seams import data as datasets
from seams.sweep.cost import Cost, available_memory, fitting, is_out_of_memory
from seams.training import Run, Stack, Store, TrainConfig, data_of, stack_key, train
from seams.training.evaluate import at_once, evaluate, is_current
from seams.training.provenance import provenance

__all__ = [
    "CHECKPOINT_SECONDS",
    "Engine",
    "Job",
    "Outcome",
    "Pace",
    "Place",
    "Report",
    "Show",
    "execute",
    "label",
    "remaining",
    "stacks",
    "unfinished",
]

CHECKPOINT_SECONDS = 30.0  # lost by a kill at most; a checkpoint takes well below a second
_PATIENCE = 1.5  # a chunk may take so many times the longest so far
_RESERVE_SECONDS = 5.0  # from the last checkpoint to the end of all processes


@dataclass(frozen=True)
class Job:
    """Runs to train and evaluate as one stack."""

    configs: tuple[TrainConfig, ...]
    step: int = 0  # steps behind each; all if only the evaluation is missing
    anew: bool = False  # whether what is stored does not count
    cost: Cost | None = None  # of the stack, where it was measured

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
    def chunk_seconds(self) -> float:
        """Expected time between two reports; 0 where it is not known."""
        return self.cost.chunk_seconds if self.cost else 0.0

    @property
    def next_seconds(self) -> float:
        """Expected time of the least that can be done."""
        if self.steps or not self.cost:
            return self.chunk_seconds
        return self.cost.evaluation_seconds

    @property
    def seconds(self) -> float:
        """Expected time of all that is left."""
        if not self.cost:
            return 0.0
        evaluation = len(self.configs) * self.cost.evaluation_seconds
        return self.steps * self.cost.step_seconds + evaluation

    def of(self, configs: Sequence[TrainConfig], step: int | None = None) -> "Job":
        """The same for some of its runs: a narrower stack is as much faster."""
        share = len(configs) / len(self.configs)
        cost = self.cost and replace(self.cost, step_seconds=share * self.cost.step_seconds)
        step = self.step if step is None else step
        return replace(self, configs=tuple(configs), step=step, cost=cost)

    def parts(self, most: int) -> list["Job"]:
        """The job as several of nearly equal size, with so many runs in each at most."""
        count = -(-len(self.configs) // most)
        bounds = [len(self.configs) * i // count for i in range(count + 1)]
        pairs = zip(bounds, bounds[1:], strict=False)
        return [self.of(self.configs[first:last]) for first, last in pairs]


@dataclass(frozen=True)
class Place:
    """Where jobs are executed, and what each may use."""

    store: Store
    device: str = "cpu"
    memory: float | None = None  # bytes for a stack; None for all that the device has available
    deadline: float | None = None  # `time.monotonic()` at which the whole sweep shall have ended

    def over(self, seconds: float) -> bool:
        """Whether something of this expected length would end too late."""
        if self.deadline is None:
            return False
        return time.monotonic() + _PATIENCE * seconds + _RESERVE_SECONDS > self.deadline


class Pace:
    """What jobs took over what was expected of them; those to come are planned by it."""

    def __init__(self) -> None:
        self.ratio = 1.0

    def note(self, job: Job, begun: float, found: "Outcome") -> None:
        """A job came back that was begun then, by `time.monotonic()`."""
        if job.seconds and not found.again:
            self.ratio = (time.monotonic() - begun) / job.seconds

    def in_time(self, job: Job, place: Place) -> list[Job]:
        """The job, or first as many of its runs as will have ended by the deadline, if any."""
        if place.deadline is None or not job.seconds:
            return [job]
        left = place.deadline - time.monotonic() - _RESERVE_SECONDS
        most = int(len(job.configs) * left / (self.ratio * job.seconds))
        if not 0 < most < len(job.configs):
            return [job]
        return [job.of(job.configs[:most]), job.of(job.configs[most:])]


@dataclass(frozen=True)
class Report:
    """Runs that now stand at a step, with their means; those are 0 if nothing was trained."""

    configs: tuple[TrainConfig, ...]
    step: int
    distortion: float = 0.0
    rate: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What came of jobs; runs that are in none of these are done, or not begun."""

    diverged: tuple[TrainConfig, ...] = ()  # whose loss is not finite
    broken: tuple[tuple[TrainConfig, str], ...] = ()  # whose evaluation failed, and why
    busy: tuple[TrainConfig, ...] = ()  # in the hands of another process
    again: tuple[Job, ...] = ()  # what is left where memory was short, or paused

    def __add__(self, other: "Outcome") -> "Outcome":
        every = (item.name for item in fields(self))
        return Outcome(*(getattr(self, name) + getattr(other, name) for name in every))


Show = Callable[[Report], Any]
Engine = Callable[[Sequence[Job], Show, Any], Outcome]  # ends early once the third is set


def unfinished(configs: Iterable[TrainConfig], store: Store) -> dict[TrainConfig, int]:
    """Those among some runs that need training or evaluation, with the steps behind them."""
    found: dict[TrainConfig, int] = {}
    for config in configs:
        run = store.find(config) or store.trained(config)
        if run is None:
            found[config] = store.step(config)
        # What an evaluation lacks is computed from the weights; the record counts as it is.
        elif run.has_weights and not (run.is_evaluated and is_current(run.scores)):
            found[config] = config.steps
    return found


def stacks(steps: Mapping[TrainConfig, int], workers: int, anew: bool = False) -> list[Job]:
    """Jobs for runs with these steps behind them, the longest first, one a worker at least."""
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
    return [job.of(part.configs, part.step) for part in stacks(steps, 1)]


def label(config: TrainConfig) -> str:
    """What tells a run from others of its sweep."""
    return f"{config.covariance} beta={config.beta:g} seed={config.seed}"


def execute(job: Job, place: Place, stop: Any, show: Show = lambda report: None) -> Outcome:
    """Train, store and evaluate one stack, until `stop.is_set()` or the deadline comes."""
    outcome = Outcome()
    with ExitStack() as held:
        mine = [c for c in job.configs if held.enter_context(place.store.lock(c))]
        outcome += Outcome(busy=tuple(c for c in job.configs if c not in mine))
        for part in remaining(job, mine, place.store):
            if stop.is_set() or place.over(part.next_seconds):
                continue
            try:
                outcome += _train_and_evaluate(part, place, stop, show)
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            if len(part.configs) == 1:
                raise RuntimeError(
                    f"One run alone is larger than the memory of the {place.device} device "
                    f"({label(part.configs[0])}): use a smaller batch, or another device."
                )
            gc.collect()  # what the traceback held
            outcome += Outcome(again=tuple(part.parts(len(part.configs) // 2)))
        if stop.is_set():
            ended = {*outcome.diverged, *(config for config, _ in outcome.broken)}
            left = remaining(job, [c for c in mine if c not in ended], place.store)
            outcome = replace(outcome, again=tuple(left))
    return outcome


def _train_and_evaluate(job: Job, place: Place, stop: Any, show: Show) -> Outcome:
    names, where = {c.dataset: c.resolution for c in job.configs}, torch.device(place.device)
    loaded = {name: datasets.load(name, side).to(where) for name, side in names.items()}
    data = loaded if len(loaded) > 1 else loaded.popitem()[1]
    if not job.steps:
        show(Report(job.configs, job.configs[0].steps))
        runs = [run for c in job.configs if (run := place.store.trained(c)) and run.has_weights]
        return _evaluate(runs, data, job, place, stop)
    if len(job.configs) > 1:
        memory = place.memory or available_memory(place.device)
        fits = fitting(job.configs, data, place.device, memory)
        if fits < len(job.configs):
            return Outcome(again=tuple(job.parts(fits)))
    runs, outcome = _train(job, data, place, stop, show)
    return outcome + _evaluate(runs, data, job, place, stop)


def _train(job: Job, data: Any, place: Place, stop: Any, show: Show) -> tuple[list[Run], Outcome]:
    """Runs that are stored now, and what became of others; no runs if there was no time."""
    started, before, outcome = time.perf_counter(), dict.fromkeys(job.configs, 0.0), Outcome()
    if job.step:
        states = {c: s for c in job.configs if (s := place.store.checkpoint(c)) is not None}
        states = {c: s for c, s in states.items() if int(s["step"]) == job.step}
        if lost := tuple(c for c in job.configs if c not in states):  # damaged: see the store
            outcome += Outcome(again=(job.of(lost, 0),))
        if not states:
            return [], outcome
        before |= {c: float(s["seconds"]) for c, s in states.items() if "seconds" in s}
        stack = Stack.resume(list(states), list(states.values()), data, place.device)
        show(Report(tuple(states), stack.step))
    else:
        stack = Stack.start(job.configs, data, place.device)

    def seconds() -> list[float]:
        """Share of each run in the time of its stacks, in this session and before."""
        share = (time.perf_counter() - started) / max(len(stack.configs), 1)
        return [before[c] + share for c in stack.configs]

    def sources() -> list[str]:
        return [data_of(data, config).checksum for config in stack.configs]

    saved, saving, chunk = time.perf_counter(), 0.0, job.chunk_seconds
    steps = train(stack, data, place.store.root)
    while stack.configs and stack.step < stack.configs[0].steps:
        if stop.is_set() or place.over(chunk + saving):
            if stack.step > job.step:
                place.store.save_checkpoint(stack, seconds(), sources())
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
            place.store.save_checkpoint(stack, seconds(), sources())
            saved = time.perf_counter()
            saving = saved - begun
    runs = []
    for position, (config, spent) in enumerate(zip(stack.configs, seconds(), strict=True)):
        facts = provenance(data_of(data, config), place.device)
        facts |= {"stacked": len(stack.configs), "way": stack.way, "seconds": spent}
        runs.append(place.store.finish(stack, position, facts))
    return runs, outcome


def _evaluate(runs: Sequence[Run], data: Any, job: Job, place: Place, stop: Any) -> Outcome:
    """Scores of stored runs, as many at once as pays; one that fails leaves the others alone."""
    todo, most, longest, outcome = list(runs), at_once(place.device), 0.0, Outcome()
    expected = job.cost.evaluation_seconds if job.cost else 0.0
    while todo:
        some = [run for run in todo if run.config.dataset == todo[0].config.dataset][:most]
        if stop.is_set() or place.over(len(some) * (longest or expected)):
            break
        begun = time.perf_counter()
        try:
            stack, own = _stack_of(some, place.device), data_of(data, some[0].config)
            found = evaluate(stack, range(len(some)), own)
            for run, (scores, arrays) in zip(some, found, strict=True):
                place.store.update(run, scores, _curves(run) | arrays)
        except Exception as error:
            if len(some) > 1:  # find out whose it is, or what fits into memory
                most = 1
                continue
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            outcome += Outcome(broken=((some[0].config, reason),))
        longest = max(longest, (time.perf_counter() - begun) / len(some))
        todo = [run for run in todo if run not in some]
    return outcome


def _curves(run: Run) -> dict[str, Any]:
    """What was computed along training, and cannot be again where no snapshots are left."""
    stored = run.arrays if run.is_evaluated else {}
    return {name: array for name, array in stored.items() if name.startswith("curve_")}


def _stack_of(runs: Sequence[Run], device: str) -> Stack:
    """Stored runs of one shape, as far as their evaluation needs it."""
    weights, snapshots = [run.weights() for run in runs], [run.snapshots() for run in runs]
    gather = lambda parts: {k: torch.stack([p[k] for p in parts]).to(device) for k in parts[0]}
    return Stack(
        configs=[run.config for run in runs],
        template=runs[0].model().to(device),
        params=gather(weights),
        moments={},
        step=runs[0].config.steps,
        snapshots={step: gather([s[step] for s in snapshots]) for step in snapshots[0]},
    )
