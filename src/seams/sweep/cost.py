"""What a stack costs: memory, time and arithmetic, measured by a few real steps of training.

Memory is what autograd keeps, with a margin, and what a run owns: parameters, gradients, Adam's
moments, snapshots, random draws. A run's bytes and operations do not depend on the stack; time
does, so the whole stack is timed unless a CPU is slow enough for its runs to simply add up.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from seams.data import Data
from seams.networks import Heads
from seams.training import CHUNK, Stack, TrainConfig, build, evaluate, train

__all__ = [
    "Cost",
    "available_memory",
    "brief",
    "fitting",
    "is_out_of_memory",
    "measure",
    "room",
    "run_bytes",
]

_MARGIN = 1.5  # peak of a step over what autograd saves; 1.4 with the paper's net on a CPU
_USABLE = 0.8  # of the available memory; the rest is for data, evaluation and fragments
_OPTIMISER_TRAFFIC = 10  # moves of a parameter: read twice, gradient out; Adam: 4 in, 3 out
_SLOW_STEP = 0.1  # seconds; from here on a CPU the time of a stack is that of its runs
_TIMED = 0.3  # seconds of steps that are enough to time them
_MOST_TIMED = 8 * CHUNK  # steps
_REPEATS = 3  # of a timing, where it is short
_DERIVATIVE_SAMPLE = 16  # data whose derivatives are timed


@dataclass(frozen=True)
class Cost:
    """Of the runs of one stack."""

    step_seconds: float  # of one step of the whole stack
    evaluation_seconds: float  # of one run's evaluation, its snapshots' included
    run_bytes: float  # memory of a run on its device
    step_flops: float  # floating-point operations of a run in a step
    step_traffic: float  # bytes moved by a run in a step, what autograd saves once each way

    @property
    def chunk_seconds(self) -> float:
        """Time between two reports of training, which is how soon it can stop."""
        return CHUNK * self.step_seconds


def measure(configs: Sequence[TrainConfig], data: Data, device: str) -> Cost:
    """Cost by some steps, which take seconds, with torch's present threads; `data` on the CPU."""
    config, there = configs[0], data.to(torch.device(device))
    saved, parameters = _saved_bytes(configs, there, device)
    with FlopCounterMode(display=False) as counter:
        _train([config], data, "cpu", 1)
    return Cost(
        step_seconds=_step_seconds(configs, there, device),
        evaluation_seconds=_evaluation_seconds(config, there, device),
        run_bytes=_run_bytes(config, saved, parameters),
        step_flops=float(counter.get_total_flops()),
        step_traffic=2 * saved + _OPTIMISER_TRAFFIC * parameters,
    )


def run_bytes(
    configs: Sequence[TrainConfig], data: Data | Mapping[str, Any], device: str
) -> float:
    """Memory of each run of a stack while it trains, from one step of at most two of them."""
    return _run_bytes(configs[0], *_saved_bytes(configs, data, device))


def fitting(
    configs: Sequence[TrainConfig], data: Data | Mapping[str, Any], device: str, memory: float
) -> int:
    """How many runs of a stack fit into so many bytes of the device."""
    if len(configs) == 1:
        return 1
    return min(room(run_bytes(configs, data, device), memory), len(configs))


def room(bytes_per_run: float, memory: float) -> int:
    """How many runs fit into memory, less what is kept free for other things; at least 1."""
    return max(1, int(_USABLE * memory / bytes_per_run))


def available_memory(device: str) -> float:
    """Bytes that can still be allocated on a device, within this process's limits."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        return float(torch.cuda.mem_get_info(device)[0])
    return float(min(_free_memory(), _free_in_group()))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what led to it, says that memory of a GPU or of the CPU has run out."""
    cause: BaseException | None = error
    while cause is not None:
        told = any(s in str(cause) for s in ("can't allocate memory", "out of memory"))
        if isinstance(cause, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(cause, RuntimeError) and told:
            return True
        cause = cause.__cause__ or cause.__context__  # a capture that breaks raises on top of it
    return False


def _free_memory() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return sys.maxsize


def _free_in_group(root: Path = Path("/sys/fs/cgroup"), me: str = "/proc/self/cgroup") -> int:
    """What the control groups of this process leave it, as batch systems and containers set it."""
    free = [sys.maxsize]
    try:
        own = Path(me).read_text(encoding="utf-8").splitlines()[-1].removeprefix("0::/")
        for group in (root / own, *(root / own).parents):
            limit = group / "memory.max"
            if limit.is_file() and (text := limit.read_text(encoding="utf-8").strip()) != "max":
                used = int((group / "memory.current").read_text(encoding="utf-8"))
                lines = (group / "memory.stat").read_text(encoding="utf-8").splitlines()
                cached = next((int(s[14:]) for s in lines if s.startswith("inactive_file ")), 0)
                free.append(int(text) - used + cached)
            if group == root:
                break
    except (OSError, ValueError):  # not Linux, or an older form
        pass
    return max(min(free), 0)


def brief(config: TrainConfig, steps: int) -> TrainConfig:
    """A run of so many steps, each of which costs as much: full if its posterior ever is."""
    kind: Heads = "full" if config.covariance_start == "full" else config.covariance
    plain = replace(config, covariance=kind, covariance_start=None, beta_start=None, hold=0.0)
    return replace(plain, images=steps * config.batch, snapshots=0)


def _train(
    configs: Sequence[TrainConfig], data: Data | Mapping[str, Any], device: str, steps: int
) -> Stack:
    short = [brief(c, steps) for c in configs]
    stack = Stack.start(short, data, device)
    for _ in train(stack, data):
        pass
    return stack


def _saved_bytes(
    configs: Sequence[TrainConfig], data: Data | Mapping[str, Any], device: str
) -> tuple[float, float]:
    """What autograd saves, each storage once, and what the parameters take, bytes a run."""
    saved: dict[int, int] = {}  # until the backward pass begins nothing of it is released

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        stack = _train(configs[:2], data, device, 1)
    parameters = sum(p.nbytes for p in stack.params.values())
    runs = len(stack.configs)
    return sum(saved.values()) / runs, parameters / runs


def _run_bytes(config: TrainConfig, saved: float, parameters: float) -> float:
    draws = CHUNK * config.batch * (8 + 4 * config.latent)
    return _MARGIN * saved + (4 + config.snapshots) * parameters + draws


def _step_seconds(configs: Sequence[TrainConfig], data: Data, device: str) -> float:
    """Slope of the time over the number of steps, which leaves out what starting costs."""

    def seconds(runs: Sequence[TrainConfig], steps: int) -> float:
        short = [brief(c, steps) for c in runs]
        taken = list[float]()
        while len(taken) < _REPEATS and sum(taken) < _TIMED * _REPEATS:
            stack = Stack.start(short, data, device)
            before = time.perf_counter()
            for _ in train(stack, data):
                pass
            taken.append(time.perf_counter() - before)
        return min(taken)  # other processes only ever add

    slow = device == "cpu" and seconds(configs[:2], 1) > _SLOW_STEP
    timed = configs[: 2 if slow else fitting(configs, data, device, available_memory(device))]
    one, steps = seconds(timed, 1), 2
    while (more := seconds(timed, steps)) - one < _TIMED and steps < _MOST_TIMED:
        steps *= 2
    return max(more - one, 1e-6) / (steps - 1) * len(configs) / len(timed)


def _evaluation_seconds(config: TrainConfig, data: Data, device: str) -> float:
    """From the two parts that grow: derivatives and encoding; of one by itself."""
    size = data.batch(torch.zeros(1, dtype=torch.long, device=device)).shape[-1]
    sample = max(_DERIVATIVE_SAMPLE, 2 * config.latent)
    small = replace(config, network="mlp", width=1, depth=1)
    seconds = []
    for kind in (small, config):  # the first loads what the second shall not be charged for
        vae = build(kind, size).to(device).eval().requires_grad_(False)
        before = time.perf_counter()
        evaluate.score_model(vae, data, sample, whole=False)
        between = time.perf_counter()
        evaluate.encode(vae, data, 4 * sample)
        seconds = [between - before, time.perf_counter() - between]
    snapshots = 0 if config.network == "linear" else config.snapshots
    images = evaluate.IMAGES + snapshots * evaluate.SNAPSHOT_IMAGES
    derivatives = (1 + snapshots) * evaluate.DERIVATIVE_IMAGES
    return (seconds[0] * derivatives + seconds[1] * images / 4) / sample
