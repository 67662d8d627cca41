r"""Training: one loop for one model or for many that share their shapes.

Runs that differ only in beta, its schedule and the seed are trained as one *stack*: each
parameter gets a leading `run` axis, and one step of Adam on the stack is one step of each run. So
are runs on several small data sets of one size (`seams.data.families`).
The randomness of a run depends on its seed and on the step alone, so a run gives the same result
alone, in any stack, and after an interruption.
"""

import ctypes
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from seams.data import Data, Samples
from seams.networks import by_products, has_convolutions
from seams.training.config import TrainConfig, beta_at
from seams.training.stack import Stack, data_of, seed_of
from seams.vae import VAE

__all__ = ["CHUNK", "Progress", "train"]

CHUNK = 128
"""Steps whose random draws are made at once; also the grain of logs, checkpoints and stops. Part
of the protocol: another value gives other draws."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST_KEPT = 2**30  # bytes


@dataclass(frozen=True)
class Progress:
    """Where a stack stands after a chunk of steps.

    Attributes:
        step: Steps done.
        distortion: Mean over the chunk of the negative log-likelihood, nats a datum `[run]`.
        rate: Mean over the chunk of the KL divergence, nats a datum `[run]`.
        beta: Weight of the KL term at the end of the chunk `[run]`.
        diverged: Positions of runs whose loss, or whose weights, are no longer finite.
    """

    step: int
    distortion: Tensor
    rate: Tensor
    beta: Tensor
    diverged: list[int]


def train(stack: Stack, data: Data | Mapping[str, Any]) -> Iterator[Progress]:
    """Train a stack to its end, yielding after every `CHUNK` steps.

    Stop by leaving the iteration; `stack.state` then holds all that is needed to go on. Runs that
    diverge are named in the progress; drop them with `stack.keep` before going on.

    Args:
        stack: Runs at any step; changed in place.
        data: What they train on, on the stack's device; by name if they differ in it.

    Yields:
        Progress after each chunk.
    """
    stepper = _Stepper(stack, data)
    while stack.step < stack.configs[0].steps:
        if stepper.configs is not stack.configs:  # some runs were dropped
            stepper = _Stepper(stack, data)
        yield _chunk(stack, data, stepper)


def _chunk(stack: Stack, data: Data | Mapping[str, Any], stepper: "_Stepper") -> Progress:
    """One chunk of steps: schedule, draws, steps, log."""
    config = stack.configs[0]
    first, last = stack.step, min(stack.step + CHUNK, config.steps)
    device = stepper.sums.device
    indices, noise = _draws(stack, [len(data_of(data, c)) for c in stack.configs], device)
    steps = torch.arange(first, last)
    betas = torch.stack([beta_at(c, steps) for c in stack.configs], dim=1).float().to(device)
    keep = _snapshot_steps(config)
    stepper.sums.zero_()
    for i in range(last - first):
        stepper(indices[:, i], noise[:, i], betas[i])
        if first + i + 1 in keep:
            stack.snapshots[first + i + 1] = {k: p.clone() for k, p in stack.params.items()}

    stack.step = last
    distortion, rate = (stepper.sums / (last - first)).cpu()
    finite = torch.isfinite(distortion + rate)
    for param in stack.params.values():  # the last step's update is in no loss yet
        finite &= param.isfinite().flatten(1).all(1).cpu()
    diverged = (~finite).nonzero().flatten().tolist()
    progress = Progress(last, distortion, rate, betas[-1].double().cpu(), diverged)
    row = {"step": torch.full_like(rate, last), "beta": progress.beta}
    for name, value in (row | {"distortion": distortion, "rate": rate}).items():
        stack.history.setdefault(name, []).append(value)
    return progress


class _Stepper:
    """One optimiser step of a stack: batch, loss, gradient, Adam.

    On a GPU the whole step is captured once as a graph and replayed, since at these sizes the time
    to launch its kernels one by one would exceed the time they run.
    """

    def __init__(self, stack: Stack, data: Data | Mapping[str, Any]) -> None:
        stack.moments = {k: (_laid_out(a), _laid_out(b)) for k, (a, b) in stack.moments.items()}
        leaves = {k: _laid_out(p).requires_grad_() for k, p in stack.params.items()}
        stack.params = {k: p.detach() for k, p in leaves.items()}  # the same memory
        self.configs, self.model, self.leaves = stack.configs, stack.model, leaves
        device = next(iter(leaves.values())).device
        self.data, self.first = _joined(stack.configs, data)
        self.first = self.first.to(device)
        self.sums = torch.zeros(2, len(self.configs), device=device, dtype=torch.float64)
        self.optimizer = _adam(stack, leaves)
        if device.type == "cpu":
            _keep_freed_memory()
        stacked_on_gpu = device.type == "cuda" and len(self.configs) > 1
        alone_on_cpu = device.type == "cpu" and len(self.configs) == 1
        # A CPU's transposed convolution is slow with few channels.
        by_products(self.model, stacked_on_gpu, to_images=stacked_on_gpu or alone_on_cpu)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()

    def __call__(self, indices: Tensor, noise: Tensor, betas: Tensor) -> None:
        """Take one step; `[run, batch]`, `[run, batch, latent]` and `[run]`."""
        if not self.sums.is_cuda:
            return self._step(indices, noise, betas)
        if self.graph is None:
            self._capture(indices, noise, betas)
        assert self.graph is not None
        for buffer, value in zip(self.inputs, (indices, noise, betas), strict=True):
            buffer.copy_(value)
        self.graph.replay()

    def _step(self, indices: Tensor, noise: Tensor, betas: Tensor) -> None:
        half = self.configs[0].precision == "bfloat16"
        x = self.data.batch(indices + self.first).float()
        with torch.autocast(self.sums.device.type, torch.bfloat16, half):
            distortion, rate = _losses(self.model, self.leaves, x, noise)
        (distortion + betas * rate).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.sums += torch.stack([distortion, rate]).detach()

    def _capture(self, *inputs: Tensor) -> None:
        """Record one step as a graph; what the steps before it change is put back."""
        self.inputs = tuple(value.clone() for value in inputs)
        states = [s for p in self.leaves.values() for s in self.optimizer.state[p].values()]
        changed = [p.detach() for p in self.leaves.values()] + states + [self.sums]
        before = [value.clone() for value in changed]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # libraries choose and initialise what capture must not
                self._step(*self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._step(*self.inputs)
        for value, old in zip(changed, before, strict=True):
            value.copy_(old)


def _losses(model: VAE, params: dict[str, Tensor], x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """Mean distortion and rate of each run; `x` and `noise` are `[run, batch, ...]`."""

    def one(params: dict[str, Tensor], x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        distortion, rate = functional_call(model, params, (x, noise))
        return distortion.mean(-1), rate.mean(-1)

    if len(x) == 1:  # a convolution with one set of weights is faster than a stack of one
        terms = one({k: p[0] for k, p in params.items()}, x[0], noise[0])
        return terms[0][None], terms[1][None]
    if has_convolutions(model):
        return vmap(one)(params, x, noise)
    return one(params, x, noise)  # its layers take a stack as it is, in fewer and cheaper calls


@cache
def _keep_freed_memory() -> None:
    """Let glibc reuse large blocks: it returns them, and each new one costs its page faults.

    The activations of a step are such blocks; on a virtual machine a fifth of its time went there.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_TRIM_THRESHOLD, _LARGEST_KEPT)


def _laid_out(stacked: Tensor) -> Tensor:
    """A single run's convolution weights with channels last, which is faster on a CPU."""
    if stacked.dim() != 5 or len(stacked) > 1:
        return stacked
    return stacked[0].contiguous(memory_format=torch.channels_last)[None]


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


def _adam(stack: Stack, leaves: dict[str, Tensor]) -> torch.optim.Adam:
    """Adam with the stack's own moments, so that they can be saved run by run."""
    on_gpu = next(iter(leaves.values())).is_cuda
    rate = stack.configs[0].learning_rate
    optimizer = torch.optim.Adam(list(leaves.values()), rate, fused=True, capturable=on_gpu)
    for name, param in leaves.items():
        first, second = stack.moments[name]
        step = torch.tensor(float(stack.step), device=param.device, dtype=torch.float32)
        optimizer.state[param] = {"step": step, "exp_avg": first, "exp_avg_sq": second}
    return optimizer


def _snapshot_steps(config: TrainConfig) -> set[int]:
    """Steps, equally spaced in the logarithm, whose weights are kept: the last one, the first."""
    if config.snapshots < 2:
        return {config.steps} if config.snapshots else set()
    points = torch.logspace(0, math.log10(config.steps), config.snapshots, dtype=torch.float64)
    return {round(float(p)) for p in points}
