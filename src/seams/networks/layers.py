"""Layers that take one model or a stack of them, and compute a convolution in several exact ways.

The parameters of a stack have a leading run axis; then the input has it too,
`[run, batch, ...]`. A layer computes in the precision of its weights where these or its input are
bfloat16.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad

from seams.shapes import Float

__all__ = ["Affine", "DoublingConv", "Form", "HalvingConv", "compute_by"]

# A convolution with 4 x 4 kernels, stride 2 and padding 1 sees the larger image as cells of 2 x 2
# pixels, offset by one: in cells its kernel is 2 x 2 with stride 1. That is one matrix product
# over *patches*, gathered before, or for each *tap* of the kernel, shifted and added up after.
# Memory traffic is what it costs: the channels say which one holds less in between, and is faster.
Form = Literal["convolution", "product", "patches", "taps"]
"""How a convolution is computed: by torch's own, for a stack with one group a run and channels
last; as the matrix product that holds less in between; as either of them."""


def compute_by(
    module: nn.Module, form: Form, parts: int = 1, to_images: Form | None = None
) -> None:
    """Choose how the convolutions in a module compute, in place; all ways agree to rounding.

    A product's weight gradient is split into `parts` of the batch: a sum over many rows into a
    small matrix keeps little of a large GPU busy. Layers that reduce the number of channels take
    the form `to_images`, default `form`.

    Raises:
        ValueError: There is no such form.
    """
    for name in (form, to_images or form):
        if name not in get_args(Form):
            raise ValueError(f"`form` must be one of {get_args(Form)}; got {name!r}.")
    for layer in module.modules():
        if isinstance(layer, HalvingConv | DoublingConv):
            fewer = layer.out_channels < layer.in_channels
            layer.form, layer.parts = to_images if fewer and to_images else form, parts


class Affine(nn.Linear):
    """Affine map; of a stack one batched product."""

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Outputs of each row."""
        x = _as_weights(x, self.weight)
        if self.weight.dim() == 2:
            return super().forward(x)
        return _StackedAffine.apply(x, self.weight, self.bias)


class _StackedAffine(torch.autograd.Function):
    """Batched `x @ W.T + b` whose gradients come as they are laid out in memory, uncopied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias[:, None], x, weight.mT)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        before = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        return before, torch.bmm(grad.mT, x), grad.sum(1)


class HalvingConv(nn.Conv2d):
    """Convolution with 4 x 4 kernels, stride 2 and padding 1: half the height and width."""

    form: Form = "convolution"
    parts = 1

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "*batch c2 h2 w2"]:
        """Images of half the height and width; both must be even."""
        assert self.bias is not None
        x = _as_weights(x, self.weight)
        if self.form == "convolution":
            return _convolution(conv2d, x, self.weight, self.bias)
        height, width = x.shape[-2] // 2, x.shape[-1] // 2
        pixels, cells = height * width, (height + 1) * (width + 1)
        less = "patches" if 4 * self.in_channels * pixels < self.out_channels * cells else "taps"
        x = pad(x, (1, 1, 1, 1)).movedim(-3, -1).unflatten(-3, (-1, 2)).unflatten(-2, (-1, 2))
        x = x.movedim(-4, -3).flatten(-3)  # a cell of 2 x 2 pixels after the other
        kernel = _by_cell(self.weight).flatten(-4, -2)
        form = less if self.form == "product" else self.form
        found = _two_by_two(x, kernel, 0, form, self.parts)
        return (found + _of_each(self.bias)).movedim(-1, -3)


class DoublingConv(nn.ConvTranspose2d):
    """Adjoint of `HalvingConv`: a transposed convolution to twice the height and width."""

    form: Form = "convolution"
    parts = 1

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1)

    def forward(
        self, x: Float[Tensor, "*batch c h w"], output_size: list[int] | None = None
    ) -> Float[Tensor, "*batch c2 h2 w2"]:
        """Images of twice the height and width; `output_size` is that and ignored."""
        assert self.bias is not None
        x = _as_weights(x, self.weight)
        if self.form == "convolution":
            return _convolution(conv_transpose2d, x, self.weight, self.bias)
        height, width = x.shape[-2:]
        pixels, cells = height * width, (height + 1) * (width + 1)
        less = "patches" if self.in_channels * cells < 4 * self.out_channels * pixels else "taps"
        kernel = _by_cell(self.weight.transpose(-4, -3)).movedim(-2, -4).flatten(-3)
        # From a cell after, the pixels before that reach it lie the other way round.
        kernel = kernel.flip(-4, -3)
        form = less if self.form == "product" else self.form
        found = _two_by_two(x.movedim(-3, -1), kernel, 1, form, self.parts)
        image = found.unflatten(-1, (2, 2, -1)).movedim(-3, -4).flatten(-3, -2).flatten(-4, -3)
        return (image[..., 1:-1, 1:-1, :] + _of_each(self.bias)).movedim(-1, -3)


def _as_weights(x: Tensor, weight: Tensor) -> Tensor:
    """The input in the weights' precision if one of them is bfloat16; else unlike ones raise."""
    return x.to(weight.dtype) if torch.bfloat16 in (x.dtype, weight.dtype) else x


def _convolution(
    function: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """By torch's own; of a stack with one group a run."""
    if weight.dim() == 4:
        if x.shape[-3] == 1:  # either layout fits one channel: say that it is the last
            x = x.flatten(-3).unflatten(-1, (*x.shape[-2:], 1)).movedim(-1, -3)
        return function(x, weight, bias, stride=2, padding=1)
    runs, last = len(x), torch.channels_last
    x = x.movedim(0, 1).flatten(1, 2).contiguous(memory_format=last)
    weight = weight.flatten(0, 1).contiguous(memory_format=last)
    found = function(x, weight, bias.flatten(), stride=2, padding=1, groups=runs)
    return found.unflatten(1, (runs, -1)).movedim(1, 0)


def _by_cell(weight: Tensor) -> Tensor:
    """Kernel `[*, outputs, inputs, 4, 4]` as `[*, Y, X, y, x, inputs, outputs]`: cell, pixel."""
    weight = weight.unflatten(-1, (2, 2)).unflatten(-3, (2, 2))
    return weight.movedim((-4, -2, -3, -1, -5, -6), (-6, -5, -4, -3, -2, -1))


def _of_each(bias: Tensor) -> Tensor:
    """Biases of one model, or of each run of a stack, beside images with channels last."""
    return bias if bias.dim() == 1 else bias[:, None, None, None]


def _two_by_two(x: Tensor, kernel: Tensor, room: int, form: str, parts: int) -> Tensor:
    """Convolution with a kernel `[*, 2, 2, inputs, outputs]`, zeros of `room` around `x`."""
    corners = [(y, x) for y in (0, 1) for x in (0, 1)]
    if form == "patches":
        x = pad(x, (0, 0, room, room, room, room))
        height, width = x.shape[-3] - 1, x.shape[-2] - 1
        near = [x[..., b : b + height, a : a + width, :] for b, a in corners]
        return _product(torch.cat(near, -1), kernel.flatten(-4, -2), parts)
    each = _product(x, kernel.movedim(-2, -4).flatten(-3), parts).unflatten(-1, (4, -1))
    moved = [
        pad(tap, (0, 0, room - a, room + a - 1, room - b, room + b - 1))
        for tap, (b, a) in zip(each.unbind(-2), corners, strict=True)
    ]
    return moved[0] + moved[1] + moved[2] + moved[3]


def _product(x: Tensor, weight: Tensor, parts: int) -> Tensor:
    """`x @ weight` over the last axis, the gradient of the weight as a sum over parts."""
    if weight.dim() == 2:
        return x @ weight if parts == 1 else _product(x[None], weight[None], parts)[0]
    rows = x.reshape(len(x), math.gcd(parts, x.shape[1]), -1, x.shape[-1])
    return (rows @ weight[:, None]).reshape(*x.shape[:-1], -1)
