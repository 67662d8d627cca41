"""Ways to compute a step: they agree to rounding, and the machine at hand says which is fastest.

No one can tune for a card that they do not have. Before a long training on a GPU the ways that
apply are timed on a real batch, each after its losses and gradients were found to agree with those
of the reference: torch's own convolutions, run by run, in float32. What was found is kept for
stacks of the same shape, size, precision, device and version of torch.
"""

import copy
import gc
import importlib.util
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from seams.networks import Form, compute_by
from seams.training.stack import Models, Stack

__all__ = ["Gradients", "Verdict", "Way", "arithmetic", "captured", "fastest", "way_for", "ways"]

Outcome = dict[str, Tensor]
"""Losses of a step, and its gradients by parameter, with a leading run axis."""

_BATCHES = ("encoder.features", "network")  # what bfloat16 is for; heads and losses are float32

_WORTH = 1000  # steps; a shorter training ends before any choice has paid
_COMPILING = 60.0  # seconds; 38 were measured for the convolutional net
_GAIN = 0.3  # of the time, at the least, that compiling can be expected to save
_TIMED, _MOST_CALLS = 0.2, 20  # seconds, and calls, that are enough to time a way
_MARGIN = 0.05  # of its time that another way must save: ties shall not be left to chance
_STREAMS = 8
_TOGETHER = 16  # pixels up to which a CPU trains convolutional runs as one

_TOLERANCE = {"float32": 1e-3, "tf32": 0.1, "bfloat16": 0.4}
"""Of the relative error of a parameter's gradient. Cancellation magnifies a rounding a hundredfold
in the convolutional net (measured: 4e-6 in float32, 0.2 in bfloat16); this leaves a factor of two,
and ten more in float32 for kernels that transform before they multiply. A wrong way is off by the
order of one."""
_SMALL = 1e-3  # of the norm of all gradients: where a parameter's counts as nothing but rounding


@dataclass(frozen=True)
class Way:
    """How the losses of a stack and their gradients are computed.

    Attributes:
        form: Of the convolutions; `parts` and `to_images` as in `seams.networks.compute_by`.
        parts: Of the batch, in the gradients of weights.
        to_images: The form of the layers that reduce the number of channels.
        apart: Run by run in place of all at once; on a GPU on parallel streams.
        compiled: By `torch.compile`.
        captured: The step as one CUDA graph, since to launch its kernels one by one would take
            longer than they run.
    """

    form: Form = "convolution"
    parts: int = 1
    to_images: Form | None = None
    apart: bool = False
    compiled: bool = False
    captured: bool = False

    def __str__(self) -> str:
        """In words, as it is said, stored and looked up."""
        last = f", to images {self.to_images}" if self.to_images else ""
        words = [f"{self.form}{f' in {self.parts} parts' if self.parts > 1 else ''}{last}"]
        words += [name for name in ("apart", "compiled", "captured") if getattr(self, name)]
        return ", ".join(words)


def ways(stack: Stack) -> list[Way]:
    """The ways that apply to a stack.

    On a CPU the last layer of a convolutional net is a product (4 to 5 % faster at 16, 32 and 64
    pixels), all others are torch's own; four runs together were faster than apart by a fifth at 16
    pixels, and three no faster at 32.

    Args:
        stack: Whose runs are trained.

    Returns:
        In the order in which they are tried: the first is taken where none is, and the last where
        none agrees with the reference.
    """
    config, alone = stack.configs[0], stack.count == 1
    convolutional = config.network == "burgess"
    if stack.device.type != "cuda":
        if alone or not convolutional:
            return [Way(to_images="taps" if convolutional else None, apart=alone)]
        together = Way(to_images="taps")
        found = [together, replace(together, apart=True)]
        return found if config.resolution <= _TOGETHER else found[::-1]
    forms: list[tuple[Form, int]] = [("convolution", 1)]
    if convolutional:
        forms += [("product", 8), ("product", 1)]
    found = [Way(form, parts, apart=alone, captured=True) for form, parts in forms]
    if convolutional and not alone:
        found.append(Way(apart=True, captured=True))
    if importlib.util.find_spec("triton"):
        compiled = forms[1:] + forms[:1]
        found += [Way(f, n, apart=alone, compiled=True, captured=True) for f, n in compiled]
    return [*found, Way(apart=True)]


class Gradients:
    """Losses of a stack and their gradients, in one way.

    Attributes:
        leaves: Parameters by name that share the stack's memory, with `grad` after a call: of the
            stack, or of each run.
    """

    def __init__(self, stack: Models, way: Way, precision: str) -> None:
        self.apart, self.half = way.apart, precision == "bfloat16"
        self.model = copy.deepcopy(stack.template)
        compute_by(self.model, way.form, way.parts, way.to_images)
        self.leaves = [
            {name: p.detach().requires_grad_() for name, p in zip(stack.params, each, strict=True)}
            for each in zip(*map(self.pieces, stack.params.values()), strict=True)
        ]
        self.losses = self._losses
        if way.compiled:
            torch.compiler.reset()  # else the code of earlier stacks counts against this one
            self.losses = torch.compile(self._losses, dynamic=False, fullgraph=True)
        several = way.apart and len(self.leaves) > 1 and stack.device.type == "cuda"
        self.streams = [torch.cuda.Stream() for _ in self.leaves[:_STREAMS]] if several else []

    def pieces(self, stacked: Tensor) -> Sequence[Tensor]:
        """What is computed at once: the tensor, or that of each run."""
        return stacked.unbind() if self.apart else [stacked]

    def __call__(self, x: Tensor, noise: Tensor, betas: Tensor) -> Tensor:
        """Mean distortion and rate of each run `[2, run]`; gradients are left in the leaves.

        Args:
            x: Data `[run, batch, data]`, float32.
            noise: Standard normal draws `[run, batch, latent]`.
            betas: Weights of the rate `[run]`.

        Returns:
            Both, without a graph.
        """
        found = []
        for stream in self.streams:
            stream.wait_stream(torch.cuda.current_stream())
        for run, inputs in enumerate(zip(*map(self.pieces, (x, noise, betas)), strict=True)):
            leaves = self.leaves[run]
            with (
                torch.cuda.stream(self.streams[run % _STREAMS]) if self.streams else nullcontext()
            ):
                total, terms = self.losses(leaves, *inputs)
                for leaf, grad in zip(
                    leaves.values(),
                    torch.autograd.grad(total, list(leaves.values())),
                    strict=True,
                ):
                    leaf.grad = grad
            found.append(terms)
        for stream in self.streams:
            torch.cuda.current_stream().wait_stream(stream)
        return torch.stack(found, -1) if self.apart else found[0]

    def _losses(
        self, params: dict[str, Tensor], x: Tensor, noise: Tensor, betas: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.half:
            params = {k: p.bfloat16() if k.startswith(_BATCHES) else p for k, p in params.items()}
        distortion, rate = functional_call(self.model, params, (x, noise))
        distortion, rate = distortion.mean(-1), rate.mean(-1)
        return (distortion + betas * rate).sum(), torch.stack([distortion, rate]).detach()


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """Float32 on a GPU is what it says, unless TF32 is asked for; cuDNN times its kernels."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    if device.type == "cuda":
        matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
        cudnn.benchmark = True
    try:
        yield
    finally:
        if device.type == "cuda":
            matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


def captured(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], changed: Sequence[Tensor] = ()
) -> Callable[..., Tensor]:
    """A function of tensors as a CUDA graph.

    Args:
        function: Launches the same kernels at every call.
        inputs: Of the size of all that follow.
        changed: What it changes in place; put back after the calls that capturing takes.

    Returns:
        The same function; what it returns is overwritten by the next call.
    """
    buffers, before = [v.clone() for v in inputs], [v.clone() for v in changed]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # libraries choose and initialise what capture must not
            function(*buffers)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function(*buffers)
    for value, old in zip(changed, before, strict=True):
        value.copy_(old)

    def replay(*values: Tensor) -> Tensor:
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)
        graph.replay()
        return result

    return replay


@dataclass(frozen=True)
class Trial:
    """A candidate.

    Attributes:
        prepare: Makes a call that takes a step and returns its outcome.
        seconds: That preparing takes, about.
    """

    prepare: Callable[[], Callable[[], Outcome]]
    seconds: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What came of timing some ways.

    Attributes:
        way: The fastest that agrees, the first of those that are nearly so; empty if none does.
        milliseconds: Of a step, by way.
        refused: Reason, by way.
        postponed: Ways whose preparation would not have paid.
        steps: That were ahead.
    """

    way: str
    milliseconds: dict[str, float]
    refused: dict[str, str]
    postponed: list[str]
    steps: int

    def __str__(self) -> str:
        """In one line."""
        times = ", ".join(f"{name} {ms:.3g}" for name, ms in self.milliseconds.items())
        refused = "; ".join(f"{name}: {reason}" for name, reason in self.refused.items())
        chosen = f"{self.way or 'the reference'} (ms a step: {times or 'none'})"
        return f"{chosen}, not {refused}" if refused else chosen


def fastest(
    trials: Mapping[str, Trial],
    reference: Outcome,
    tolerance: float,
    steps: int,
    wait: Callable[[], None] = lambda: None,
) -> Verdict:
    """Time some ways and choose one.

    Args:
        trials: By name, in the order in which they are tried.
        reference: The outcome that each must have.
        tolerance: Of the relative error of each part of it.
        steps: Ahead; a long preparation must pay in them.
        wait: Returns when all that was called is done.

    Returns:
        The fastest that agrees, with the times of all and the reasons of those that were refused.
    """
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}
    postponed = []
    for name, trial in trials.items():
        best = min(seconds.values(), default=math.inf)
        if trial.seconds > _GAIN * best * steps:
            postponed.append(name)
            continue
        call = None
        try:
            call = trial.prepare()
            if fault := _disagreement(call(), reference, tolerance):
                refused[name] = fault
            else:
                seconds[name] = _seconds(call, wait)
        except Exception as error:  # whatever a library or a driver has against this way
            refused[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        del call
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    way = next(iter(seconds), "")
    for name, found in seconds.items():
        if found < (1 - _MARGIN) * seconds[way]:
            way = name
    times = {name: round(1e3 * value, 4) for name, value in seconds.items()}
    return Verdict(way, times, refused, postponed, steps)


def way_for(stack: Stack, x: Tensor, noise: Tensor, folder: Path | None = None) -> Way:
    """The way to train a stack: the only one, or the fastest on this machine.

    Args:
        stack: At any step.
        x: A batch of its data `[run, batch, data]`.
        noise: Draws for it.
        folder: Where choices are kept; None to keep none.

    Returns:
        A way that agrees with the reference.
    """
    config, steps = stack.configs[0], stack.configs[0].steps - stack.step
    known = {str(way): way for way in ways(stack)}
    default, *_, plain = [*known.values()] * 2
    if len(known) == 1 or steps < _WORTH:
        return default
    kept, key = folder / "ways.json" if folder else None, _key(stack, x)
    found = _read(kept).get(key)
    if found and found["way"] in known and (not found["postponed"] or steps <= found["steps"]):
        return known[found["way"]]
    inputs = x, noise, torch.ones(len(x), device=x.device)
    with arithmetic("float32", x.device):
        reference = _trial(stack, Way(apart=True), "float32", inputs)()
    if not all(bool(part.isfinite().all()) for part in reference.values()):
        return default  # a run that has diverged can say nothing
    trials = {
        name: Trial(
            lambda way=way: _trial(stack, way, config.precision, inputs),  # type: ignore[misc]
            _COMPILING if way.compiled else 0.0,
        )
        for name, way in known.items()
    }
    verdict = fastest(trials, reference, _TOLERANCE[config.precision], steps, _wait)
    print(f"{key}: {verdict}", file=sys.stderr, flush=True)
    if kept and verdict.way:
        _write(kept, _read(kept) | {key: asdict(verdict)})
    return known.get(verdict.way, plain)


def _trial(
    stack: Models, way: Way, precision: str, inputs: tuple[Tensor, ...]
) -> Callable[[], Outcome]:
    """A step without its update."""
    gradients = Gradients(stack, way, precision)
    call = captured(gradients, inputs) if way.captured else gradients

    def outcome() -> Outcome:
        losses = call(*inputs).clone()
        leaves = gradients.leaves
        grads = {
            name: torch.stack([leaf[name].grad for leaf in leaves])  # type: ignore[misc]
            for name in leaves[0]
        }
        if not way.apart:
            grads = {name: grad[0] for name, grad in grads.items()}
        return {"distortion": losses[0], "rate": losses[1]} | grads

    return outcome


def _disagreement(found: Outcome, expected: Outcome, tolerance: float) -> str:
    """What is wrong with an outcome, in words; empty if nothing is."""
    norms = {k: e.flatten(1).norm(dim=1) if e.dim() > 1 else e.abs() for k, e in expected.items()}
    gradient = torch.stack([n for k, n in norms.items() if expected[k].dim() > 1]).norm(dim=0)
    for name, value in expected.items():
        error = (
            (found[name] - value).flatten(1).norm(dim=1)
            if value.dim() > 1
            else found[name] - value
        )
        bound = norms[name] + (_SMALL * gradient if value.dim() > 1 else 0)
        worst = float((error.abs() / bound.clamp(min=1e-30)).max())
        if not worst <= tolerance:
            return f"{name} is off by {worst:.1g} of its size"
    return ""


def _seconds(call: Callable[[], Any], wait: Callable[[], None]) -> float:
    """Of a call, the shortest of some: other processes only ever add."""
    call()
    wait()
    taken: list[float] = []
    while len(taken) < 3 or (sum(taken) < _TIMED and len(taken) < _MOST_CALLS):
        begun = time.perf_counter()
        call()
        wait()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _key(stack: Stack, x: Tensor) -> str:
    device = torch.cuda.get_device_name(x.device) if x.is_cuda else "cpu"
    names = ("network", "width", "depth", "activation", "latent", "covariance", "likelihood")
    shape = " ".join(str(stack.configs[0][name]) for name in (*names, "precision"))
    return f"{device}, torch {torch.__version__}, {len(x)} x {tuple(x.shape[1:])} {shape}"


def _read(kept: Path | None) -> dict[str, Any]:
    try:
        return json.loads(kept.read_text()) if kept else {}
    except (OSError, ValueError):  # none yet, or one that a full disk cut off
        return {}


def _write(kept: Path, found: dict[str, Any]) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=kept.parent, prefix=".ways")
    with os.fdopen(handle, "w") as file:
        json.dump(found, file, indent=1)
    os.replace(name, kept)
