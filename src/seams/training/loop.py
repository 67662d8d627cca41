"""Training: one loop for one model or for many that share their shapes.

Runs that differ only in beta, its schedule, the seed or a small data set (`seams.data.families`)
train as a *stack*: parameters get a leading `run` axis, and a step of Adam on it is one of each.
What is random depends on seed and step alone: a run is the same alone, stacked and interrupted.
"""

import ctypes
import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seams.data import Data, Samples
from seams.networks import set_covariance
from seams.training.config import CHUNK, TrainConfig, beta_at, covariance_at
from seams.training.initial import seed_of
from seams.training.stack import Stack, data_of
from seams.training.tuning import way_for
from seams.training.ways import Gradients, Way, arithmetic, captured

__all__ = ["CHUNK", "Progress", "train"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST_KEPT = 2**30  # bytes


@dataclass(frozen=True)
class Progress:
    """Where a stack stands after a chunk of steps."""

    step: int  # steps done
    distortion: Tensor  # mean over the chunk of the negative log-likelihood, nats a datum `[run]`
    rate: Tensor  # mean over the chunk of the KL divergence, nats a datum `[run]`
    beta: Tensor  # weight of the KL term at the end of the chunk `[run]`
    diverged: list[int]  # positions of runs whose loss, or weights, are no longer finite


def train(
    stack: Stack,
    data: Data | Mapping[str, Any],
    kept: Path | None = None,
    way: Way | None = None,
) -> Iterator[Progress]:
    """Train a stack in place to its end, yielding after every `CHUNK` steps.

    Leave the iteration to stop: `stack.state` holds all that is needed to go on. Runs that diverge
    are named in the progress; drop them with `stack.keep` before going on.

    Args:
        stack: Runs at any step.
        data: What they train on, on the stack's device; by name if they differ in it.
        kept: Folder in which the choice of a way is kept for the next stack of the kind.
        way: How to compute; default the fastest on this machine, see `seams.training.ways`.

    Yields:
        Progress after each chunk.
    """
    config, device = stack.configs[0], stack.device
    snapshots = _snapshot_steps(config)
    configs: list[TrainConfig] = []
    covariance = ""
    while stack.step < config.steps:
        first, last = stack.step, min(stack.step + CHUNK, config.steps)
        steps = torch.arange(first, last)
        betas = torch.stack([beta_at(c, steps) for c in stack.configs], dim=1).float().to(device)
        indices, noise = _draws(stack, [len(data_of(data, c)) for c in stack.configs], device)

        with arithmetic(config.precision, device):
            now = covariance_at(config, first)
            # At first, when some runs were dropped, and when the posterior changes.
            if configs is not stack.configs or now != covariance:
                configs, covariance = stack.configs, now
                set_covariance(stack.template, now)
                inputs = indices[:, 0], noise[:, 0], betas[0]
                step, way = _stepper(stack, data, inputs, kept, way)
            sums = torch.zeros(2, len(configs), device=device, dtype=torch.float64)
            for i in range(last - first):
                sums += step(indices[:, i], noise[:, i], betas[i])
                if first + i + 1 in snapshots:
                    stack.snapshots[first + i + 1] = {
                        k: p.clone() for k, p in stack.params.items()
                    }

        stack.step = last
        distortion, rate = (sums / (last - first)).cpu()
        finite = torch.isfinite(distortion + rate)
        for param in stack.params.values():  # the last step's update is in no loss yet
            finite &= param.isfinite().flatten(1).all(1).cpu()
        diverged = (~finite).nonzero().flatten().tolist()
        progress = Progress(last, distortion, rate, betas[-1].double().cpu(), diverged)
        row = {"step": torch.full_like(rate, last), "beta": progress.beta}
        for name, value in (row | {"distortion": distortion, "rate": rate}).items():
            stack.history.setdefault(name, []).append(value)
        yield progress


def _stepper(
    stack: Stack,
    data: Data | Mapping[str, Any],
    inputs: tuple[Tensor, ...],
    kept: Path | None,
    way: Way | None,
) -> tuple[Callable[..., Tensor], Way]:
    """One step of a stack: batch, losses and gradients, Adam; and the way in which it does."""
    stack.params = {k: _laid_out(p) for k, p in stack.params.items()}
    stack.moments = {k: (_laid_out(a), _laid_out(b)) for k, (a, b) in stack.moments.items()}
    if stack.device.type == "cpu":
        _keep_freed_memory()
    joined, begins = _joined(stack.configs, data)
    begins = begins.to(stack.device)
    batch = lambda indices: joined.batch(indices + begins).float()

    config = stack.configs[0]
    way = way or way_for(stack, batch(inputs[0]), inputs[1], kept)
    stack.way = f"{way}, {config.precision}"
    gradients = Gradients(stack, way, config.precision)
    optimizer = _adam(stack, gradients)

    def step(indices: Tensor, noise: Tensor, betas: Tensor) -> Tensor:
        losses = gradients(batch(indices), noise, betas)
        optimizer.step()
        return losses

    if not way.captured:
        return step, way
    states = [state for of_one in optimizer.state.values() for state in of_one.values()]
    return captured(step, inputs, [*stack.params.values(), *states]), way


@cache
def _keep_freed_memory() -> None:
    """Let glibc reuse large blocks: their page faults took a fifth of a virtual machine's time."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_TRIM_THRESHOLD, _LARGEST_KEPT)


def _laid_out(stacked: Tensor) -> Tensor:
    """Weights of convolutions with channels last, as torch's own like them best."""
    if stacked.dim() != 5:
        return stacked
    flat = stacked.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return flat.unflatten(0, stacked.shape[:2])


def _joined(configs: Sequence[TrainConfig], data: Data | Mapping[str, Any]) -> tuple[Any, Tensor]:
    """One data set that holds those of all runs, and where each run's begins in it `[run, 1]`."""
    if not isinstance(data, Mapping):
        return data, torch.zeros(1, 1, dtype=torch.long)
    names = list(dict.fromkeys(c.dataset for c in configs))
    ends = torch.tensor([len(data[name]) for name in names]).cumsum(0)
    first = dict(zip(names, [0, *ends[:-1].tolist()], strict=True))
    joined = Samples(torch.cat([data[name].x for name in names]))
    return joined, torch.tensor([[first[c.dataset]] for c in configs])


def _draws(stack: Stack, data: int | Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Indices `[run, step, batch]` and noise `[run, step, batch, latent]` of the coming chunk."""
    config = stack.configs[0]
    shape = (CHUNK, config.batch)
    sizes = [data] * len(stack.configs) if isinstance(data, int) else data
    kinds = [(c.seed, size) for c, size in zip(stack.configs, sizes, strict=True)]
    draws: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for seed, size in set(kinds):
        generator = torch.Generator(device).manual_seed(
            seed_of(seed, "draws", stack.step // CHUNK)
        )
        indices = torch.randint(size, shape, generator=generator, device=device)
        noise = torch.randn(
            (*shape, config.latent), generator=generator, device=device, dtype=torch.float32
        )
        draws[seed, size] = indices, noise
    pairs = [draws[kind] for kind in kinds]
    return torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])


def _adam(stack: Stack, gradients: Gradients) -> torch.optim.Adam:
    """Adam with the stack's own moments, so that they can be saved run by run."""
    leaves = [leaf for some in gradients.leaves for leaf in some.values()]
    rate, on_gpu = stack.configs[0].learning_rate, stack.device.type == "cuda"
    optimizer = torch.optim.Adam(leaves, rate, fused=True, capturable=on_gpu)
    moments = [[gradients.pieces(moment) for moment in pair] for pair in stack.moments.values()]
    for run, some in enumerate(gradients.leaves):
        for leaf, (first, second) in zip(some.values(), moments, strict=True):
            step = torch.tensor(float(stack.step), device=stack.device, dtype=torch.float32)
            state = {"step": step, "exp_avg": first[run], "exp_avg_sq": second[run]}
            optimizer.state[leaf] = state
    return optimizer


def _snapshot_steps(config: TrainConfig) -> set[int]:
    """Steps whose weights are kept, see `TrainConfig`: the last one, and the first or none."""
    if config.snapshots < 2:
        return {config.steps} if config.snapshots else set()
    if config.covariance_start:
        count = config.snapshots
        return {round(config.steps * part / count) for part in range(1, count + 1)}
    points = torch.logspace(0, math.log10(config.steps), config.snapshots, dtype=torch.float64)
    return {round(float(p)) for p in points}
