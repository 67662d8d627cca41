"""What is wrong with an argument, in words, and what counts as rounding."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from seams.derivatives.mapping import Decoder

__all__ = [
    "decoder_fault",
    "finite",
    "half_of_digits",
    "in_train_mode",
    "module_of",
    "require",
    "require_full_rank",
    "sign_fault",
]

# Modules that mix the data of a batch, or draw, in train mode.
_TRAINS_DIFFERENTLY = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
_OF_SHAPE = (RuntimeError, ValueError, IndexError)  # what torch raises at a shape it cannot take


def require(decoder: Decoder, z: Tensor, x: Tensor | None = None, **positive: float) -> None:
    """Refuse a decoder that is not one, or a value that is not positive, in one line."""
    if fault := sign_fault(**positive) or decoder_fault(decoder, z, x):
        raise ValueError(fault)


def decoder_fault(decoder: Decoder, z: Tensor, x: Tensor | None = None) -> str | None:
    """What to say if this is not a function of one latent alone, to a mean of the size of `x`."""
    if len(z) == 0:
        return "A batch must hold one latent or more; got none. Were all of them filtered out?"
    if name := in_train_mode(decoder):  # before it is called, which would move running means
        return (
            f"`decoder` must be in evaluation mode; its {name} is in train mode. Call "
            "decoder.eval()."
        )
    # Two rows are enough to see a wrong shape, and values that differ under vmap.
    rows = z[:2]
    with torch.no_grad():
        try:
            mapped = vmap(decoder, randomness="different")(rows)
        except _OF_SHAPE as error:
            if fault := _batch_fault(decoder, rows):
                return fault
            decoder(rows[0])  # if this raises too, its own message says what is wrong
            return (
                "`decoder` must be a function of one latent alone; it runs on one but not under "
                f"vmap ({str(error).strip().partition(chr(10))[0]}). That is so of batch norm in "
                "train mode, `.item()`, `if` on values, numpy, recurrent layers, checkpointing."
            )
        alone = torch.stack([decoder(row) for row in rows])
    if alone.ndim != 2:
        return (
            "`decoder` must return one mean [data] for one latent [latent]; got the shape "
            f"{list(alone.shape[1:])}. Flatten its output, without a batch axis."
        )
    if alone.shape[1] == 0:
        return "`decoder` must return one value or more; got none. Does a slice leave nothing?"
    if x is not None and alone.shape[1] != x.shape[1]:
        return (
            f"`decoder` must return one value per column of `x`; got {alone.shape[1]} for "
            f"{x.shape[1]} columns. Is this the decoder of another dataset?"
        )
    # Batched and single kernels round differently, in the last digits; what leaks between samples
    # or calls (batch norm, dropout) changes the first ones.
    difference, largest = (mapped - alone).abs().max().item(), alone.abs().max().item()
    if difference > half_of_digits(alone.dtype) * largest:
        hint = (
            " If it computes in float32, let it return that."
            if difference < 1e-6 * largest
            else ""
        )
        return (
            "`decoder` must depend on its own latent alone and repeat itself; under vmap and one "
            f"by one its outputs differ by {difference:.1e}. Is it in train mode, with dropout or "
            f"batch norm? Call decoder.eval().{hint}"
        )
    return None


def _batch_fault(decoder: Decoder, rows: Tensor) -> str | None:
    """What to say of a decoder that takes a batch of latents but not one of them."""
    try:
        decoder(rows[0])
    except _OF_SHAPE as error:
        try:
            decoder(rows[:1])
        except _OF_SHAPE:
            return None
        return (
            "`decoder` must take one latent [latent], without a batch axis; it takes batches "
            f"alone ({str(error).strip().partition(chr(10))[0]}). Call decoder.eval() and wrap "
            "it: lambda z: decoder(z[None])[0]."
        )
    return None


def in_train_mode(function: Callable[..., Any]) -> str | None:
    """Kind of the first part of a module, or of a method's, that trains otherwise than it runs."""
    module = module_of(function)
    for part in module.modules() if module is not None else ():
        if part.training and isinstance(part, _TRAINS_DIFFERENTLY):
            return type(part).__name__
    return None


def module_of(function: Callable[..., Any]) -> nn.Module | None:
    """The module that this is, or is a method of."""
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def finite(caller: str, values: Tensor) -> Tensor:
    """These values, one a sample; a NaN among them is an error that names its sample."""
    if not values.isfinite().all():
        sample = int((~values.isfinite()).flatten(1).any(1).nonzero()[0])
        raise ValueError(
            f"`{caller}` must be finite; that of sample {sample} is not. Is the decoder "
            "differentiable there, and are its weights and all arguments finite?"
        )
    return values


def require_full_rank(s: Tensor, caller: str) -> None:
    """Refuse Jacobians, of these singular values, whose rank is not full: no regular points."""
    # The rule of torch.linalg.matrix_rank: below it a singular value is rounding.
    low = s[:, -1] <= s.shape[1] * torch.finfo(s.dtype).eps * s[:, 0]
    if low.any():
        sample = int(low.nonzero()[0])
        raise ValueError(
            f"`{caller}` needs Jacobians of full rank; the singular values of sample {sample} go "
            f"down to {s[sample, -1].item():.1e}. Leave inactive latents out of the decoder."
        )


def sign_fault(**values: Any) -> str | None:
    """What to say if one of these is not positive."""
    for name, value in values.items():
        try:
            positive = bool(0 < value < math.inf)
        except (TypeError, RuntimeError):  # no number, or a tensor of several
            positive = False
        if not positive:
            return f"`{name}` must be positive; got {value}. Use a small positive value instead."
    return None


def half_of_digits(dtype: torch.dtype) -> float:
    """Square root of eps: a relative difference that leaves half of the digits equal."""
    return torch.finfo(dtype).eps ** 0.5
