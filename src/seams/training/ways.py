"""Ways to compute the losses of a stack and their gradients, which all agree to rounding.

The reference is torch's own convolutions, run by run, in float32; `tuning` finds the fastest here.
"""

import copy
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import functional_call

from seams.networks import Form, compute_by
from seams.training.stack import Models, Stack

__all__ = ["Gradients", "Way", "arithmetic", "captured", "ways"]

_IN_HALF = ("encoder.features", "network")  # under bfloat16; heads and losses are float32
_STREAMS = 8
_TOGETHER = 16  # pixels up to which a CPU trains convolutional runs as one


@dataclass(frozen=True)
class Way:
    """How the losses of a stack and their gradients are computed."""

    form: Form = "convolution"  # of the convolutions, see `seams.networks.compute_by`
    parts: int = 1  # of the batch, in the gradients of weights
    to_images: Form | None = None  # of the layers that reduce the number of channels
    apart: bool = False  # run by run in place of all at once; on a GPU on parallel streams
    compiled: bool = False  # by `torch.compile`
    captured: bool = False  # as one CUDA graph: launching kernels takes longer than they run

    def __str__(self) -> str:
        last = f", to images {self.to_images}" if self.to_images else ""
        words = [f"{self.form}{f' in {self.parts} parts' if self.parts > 1 else ''}{last}"]
        words += [name for name in ("apart", "compiled", "captured") if getattr(self, name)]
        return ", ".join(words)


def ways(stack: Stack) -> list[Way]:
    """Those that apply, as they are tried: the first is the default, the last if none agrees."""
    config, alone = stack.configs[0], stack.count == 1
    convolutional = config.network == "burgess"
    if stack.device.type != "cuda":
        # The last layer is 4 to 5 % faster as a product at 16, 32 and 64 pixels; four runs
        # together were a fifth faster than apart at 16 pixels, and three no faster at 32.
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
    """Losses in one way; `leaves`, of the stack or each run, share its memory and get `grad`."""

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
        """Mean distortion and rate of each run `[2, run]`; gradients are left in the leaves."""
        found = []
        for other in self.streams:
            other.wait_stream(torch.cuda.current_stream())
        for run, inputs in enumerate(zip(*map(self.pieces, (x, noise, betas)), strict=True)):
            leaves = self.leaves[run]
            stream = self.streams[run % _STREAMS] if self.streams else None
            with torch.cuda.stream(stream) if stream else nullcontext():
                total, terms = self.losses(leaves, *inputs)
                grads = torch.autograd.grad(total, list(leaves.values()))
            for leaf, grad in zip(leaves.values(), grads, strict=True):
                # Fused optimisers take both as they lie in memory, whatever their strides say.
                alike = grad.stride() == leaf.stride()
                leaf.grad = grad if alike else torch.empty_like(leaf).copy_(grad)
            found.append(terms)
        for other in self.streams:
            torch.cuda.current_stream().wait_stream(other)
        return torch.stack(found, -1) if self.apart else found[0]

    def stacked(self) -> dict[str, Tensor]:
        """The gradients with a leading run axis, copied."""
        grads = {k: [leaves[k].grad for leaves in self.leaves] for k in self.leaves[0]}
        if self.apart:
            return {name: torch.stack(each) for name, each in grads.items()}  # type: ignore[arg-type]
        return {name: grad.clone() for name, (grad,) in grads.items()}  # type: ignore[union-attr]

    def _losses(
        self, params: dict[str, Tensor], x: Tensor, noise: Tensor, betas: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.half:
            params = {k: p.bfloat16() if k.startswith(_IN_HALF) else p for k, p in params.items()}
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
    """A function of inputs of one size as a CUDA graph, which reuses its result's memory."""
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
    for value, old in zip(changed, before, strict=True):  # the calls above do not count
        value.copy_(old)

    def replay(*values: Tensor) -> Tensor:
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)
        graph.replay()
        return result

    return replay
