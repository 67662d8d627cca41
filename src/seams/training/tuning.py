"""The machine at hand says in which way to train.

Before a long training the ways that apply are timed on a real batch, if they agree with the
reference. The choice is kept for stacks of the same shape, size, precision, device and torch.
"""

import gc
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seams.training.stack import Stack
from seams.training.ways import Gradients, Way, arithmetic, captured, ways

__all__ = ["Outcome", "Verdict", "fastest", "way_for"]

Outcome = dict[str, Tensor]  # losses of a step and gradients by parameter, a leading axis of runs

_WORTH = 1000  # steps; a shorter training ends before any choice has paid
_COMPILING = 60.0  # seconds; 38 were measured for the convolutional net
_GAIN = 0.3  # of the time, at the least, that compiling can be expected to save
_MARGIN = 0.05  # of its time that another way must save: ties shall not be left to chance
_TIMED, _MOST_CALLS = 0.2, 20  # seconds, and calls, that are enough to time a way
# Relative errors of a gradient. Cancellation magnifies a rounding a hundredfold in convolutional
# nets (measured: 4e-6 in float32, 0.2 in bfloat16); this leaves a factor of two, and ten more in
# float32 for kernels that transform before they multiply. A wrong way is off by the order of one.
_TOLERANCE = {"float32": 1e-3, "tf32": 0.1, "bfloat16": 0.4}
_SMALL = 1e-3  # of the norm of all gradients: where a parameter's counts as nothing but rounding


@dataclass(frozen=True)
class Verdict:
    """What came of timing some ways."""

    way: str  # the fastest that agrees, or the first of those nearly so; empty if none does
    milliseconds: dict[str, float]  # of a step, by way
    refused: dict[str, str]  # reason, by way
    postponed: list[str]  # ways whose preparation would not have paid
    steps: int  # that were ahead

    def __str__(self) -> str:
        times = ", ".join(f"{name} {ms:.3g}" for name, ms in self.milliseconds.items())
        refused = "; ".join(f"{name}: {reason}" for name, reason in self.refused.items())
        chosen = f"{self.way or 'the reference'} (ms a step: {times or 'none'})"
        return f"{chosen}, not {refused}" if refused else chosen


def way_for(stack: Stack, x: Tensor, noise: Tensor, folder: Path | None = None) -> Way:
    """The only way to train a stack, or the fastest on a batch; `folder` keeps the choice."""
    config, steps = stack.configs[0], stack.configs[0].steps - stack.step
    known = {str(way): way for way in ways(stack)}
    default, *_, plain = [*known.values()] * 2
    if len(known) == 1 or steps < _WORTH:
        return default
    kept, key = folder / "ways.json" if folder else None, _key(stack, x)
    found = _read(kept).get(key)
    if found and found["way"] in known and (not found["postponed"] or steps <= found["steps"]):
        return known[found["way"]]
    inputs = x, noise, torch.ones(len(x), device=x.device, dtype=noise.dtype)
    with arithmetic("float32", x.device):
        reference = _prepared(stack, Way(apart=True), "float32", inputs)()
    if not all(bool(part.isfinite().all()) for part in reference.values()):
        return default  # a run that has diverged can say nothing
    trials = {
        name: lambda way=way: _prepared(stack, way, config.precision, inputs)  # type: ignore[misc]
        for name, way in known.items()
    }
    long = {name: _COMPILING for name, way in known.items() if way.compiled}
    verdict = fastest(trials, reference, _TOLERANCE[config.precision], steps, long)
    print(f"{key}: {verdict}", file=sys.stderr, flush=True)
    if kept and verdict.way:
        _write(kept, _read(kept) | {key: asdict(verdict)})
    return known.get(verdict.way, plain)


def fastest(
    trials: Mapping[str, Callable[[], Callable[[], Outcome]]],
    reference: Outcome,
    tolerance: float,
    steps: int,
    preparation: Mapping[str, float],
) -> Verdict:
    """Time what makes a call that takes a step, and choose; `preparation` must pay in `steps`."""
    seconds, refused, postponed = dict[str, float](), dict[str, str](), list[str]()
    for name, prepare in trials.items():
        if preparation.get(name, 0) > _GAIN * min(seconds.values(), default=math.inf) * steps:
            postponed.append(name)
            continue
        call = None
        try:
            call = prepare()
            if fault := _disagreement(call(), reference, tolerance):
                refused[name] = fault
            else:
                seconds[name] = _seconds(call)
        except Exception as error:  # whatever a library or a driver has against this way
            refused[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        del call
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    way = next(iter(seconds), "")
    for name, taken in seconds.items():
        if taken < (1 - _MARGIN) * seconds[way]:
            way = name
    times = {name: round(1e3 * taken, 4) for name, taken in seconds.items()}
    return Verdict(way, times, refused, postponed, steps)


def _prepared(
    stack: Stack, way: Way, precision: str, inputs: tuple[Tensor, ...]
) -> Callable[[], Outcome]:
    """A step without its update."""
    gradients = Gradients(stack, way, precision)
    call = captured(gradients, inputs) if way.captured else gradients

    def outcome() -> Outcome:
        distortion, rate = call(*inputs).clone()
        return {"distortion": distortion, "rate": rate} | gradients.stacked()

    return outcome


def _disagreement(found: Outcome, expected: Outcome, tolerance: float) -> str:
    norm = lambda value: value.reshape(len(value), -1).norm(dim=1)
    whole = torch.stack([norm(e) for e in expected.values() if e.dim() > 1]).norm(dim=0)
    for name, value in expected.items():
        size = norm(value) + (_SMALL * whole if value.dim() > 1 else 0)
        worst = float((norm(found[name] - value) / size.clamp(min=1e-30)).max())
        if not worst <= tolerance:
            return f"{name} is off by {worst:.1g} of its size"
    return ""


def _seconds(call: Callable[[], Any]) -> float:
    """Of a call, the shortest of some: other processes only ever add."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    call()
    wait()
    taken: list[float] = []
    while len(taken) < 3 or (sum(taken) < _TIMED and len(taken) < _MOST_CALLS):
        begun = time.perf_counter()
        call()
        wait()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def _key(stack: Stack, x: Tensor) -> str:
    device = torch.cuda.get_device_name(x.device) if x.is_cuda else "cpu"
    names = ("network", "width", "depth", "activation", "latent", "covariance", "likelihood")
    shape = " ".join(str(stack.configs[0][name]) for name in (*names, "precision"))
    return f"{device}, torch {torch.__version__}, {len(x)} x {tuple(x.shape[1:])} {shape}"


def _read(kept: Path | None) -> dict[str, Any]:
    try:
        return json.loads(kept.read_text(encoding="utf-8")) if kept else {}
    except (OSError, ValueError):  # none yet, or one that a full disk cut off
        return {}


def _write(kept: Path, found: dict[str, Any]) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=kept.parent, prefix=".ways")
    with os.fdopen(handle, "w") as file:
        json.dump(found, file, indent=1)
    os.replace(name, kept)
