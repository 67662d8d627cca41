"""An encoder of any form, brought to Gaussian posteriors; and what any callable is given."""

import copy
import types
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)

from seams.derivatives.checks import in_train_mode, module_of
from seams.distributions import DiagonalGaussian, FullGaussian, Point, Posterior

__all__ = [
    "Second",
    "count_of",
    "described",
    "evaluating",
    "first_line",
    "posteriors",
    "through",
    "tried",
]

_BATCH = 1_024  # data encoded at a time
Second = Literal["log_variance", "std", "scale_tril"]


def count_of(wrong: Tensor) -> int:
    """How many are."""
    return int(wrong.sum())


def evaluating(function: Any, name: str, flags: list[str]) -> Callable[..., Any]:
    """A module, or a method of one, on a copy in evaluation mode; anything else as it is."""
    if not callable(function):
        raise ValueError(f"`{name}` must be a function or a module; got {described(function)}.")
    module = module_of(function)
    if module is None:
        return function
    if in_train_mode(function):
        flags.append(f"The {name} was in train mode; a copy in eval mode was diagnosed.")
    try:
        if isinstance(module, torch.jit.ScriptModule):
            raise RuntimeError("TorchScript cannot be differentiated twice")
        twin = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"`{name}` must be a module that can be copied; it says {first_line(error)}. "
            "Pass the module that was scripted, with today's parametrizations.weight_norm, or a "
            "function that calls it."
        ) from None
    return through(function, twin)


def through(function: Any, twin: nn.Module) -> Callable[..., Any]:
    """What a module, or a method of one, is of its twin."""
    if isinstance(function, nn.Module):
        return twin
    return types.MethodType(function.__func__, twin)


def first_line(error: Exception) -> str:
    """Kind of an error and what it says, as far as its first line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def tried(name: str, wanted: str, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Outcomes of the calls that run, else None; if none does, an error with what one said."""
    outcomes, said = [], list[str]()
    for call in calls:
        try:
            with torch.no_grad():
                found = call()
            if found is None:
                raise ValueError("it returns None")
            outcomes.append(found)
        except Exception as error:  # of any kind: this is not our code
            outcomes.append(None)
            said.append(first_line(error))
    if len(said) == len(calls):
        # That one of the dtypes does not fit is no cause: say something else if there is.
        said.sort(key=lambda text: "dtype" not in text and "Double" not in text)
        raise ValueError(f"`{name}` must take {wanted}; called with that, it says {said[-1]}")
    return outcomes


def posteriors(encoder: Callable[..., Any], x: Tensor, second: Second) -> Posterior:
    """Posteriors of all data, float64."""
    candidates = [x] if module_of(encoder) is None else []
    candidates += [x.float(), x.double()]
    wanted = f"a batch of data shaped as `x`, {[2, *x.shape[1:]]}"
    found = tried("encoder", wanted, [partial(encoder, some[:2]) for some in candidates])
    data = next(c for c, outcome in zip(candidates, found, strict=True) if outcome is not None)
    with torch.no_grad():
        parts = [_gaussian(encoder(some), second, len(some)) for some in data.split(_BATCH)]
        # The same datum in another company: batch norm and dropout in train mode show here.
        alone = _gaussian(encoder(data[1:3]), second, 2)[0][0]
    mean, L = (torch.cat(column) for column in zip(*[part[:2] for part in parts], strict=True))
    for name, values in (("means", mean), ("scales", L)):
        if not values.isfinite().all():
            raise ValueError(
                f"The encoder's {name} must be finite; {count_of(~values.isfinite())} are not. "
                "Did the run diverge?"
            )
    smallest = L.diagonal(dim1=-2, dim2=-1).min().item()
    if smallest <= 0:
        raise ValueError(
            f"Posterior standard deviations must be positive; got {smallest:.3g}. Does the "
            f"encoder's pair hold log-variances? `second` is {second!r}."
        )
    apart = (alone - mean[1]).abs().max().item()
    if apart > 1e-3 * (1 + mean[1].abs().max().item()):
        raise ValueError(
            "`encoder` must treat each datum by itself and repeat itself; in another batch the "
            f"means of one differ by {apart:.1e}. Is it in train mode, with dropout or batch "
            "norm? Call encoder.eval()."
        )
    if all(part[2] == "diagonal" for part in parts):
        return DiagonalGaussian(mean, L.diagonal(dim1=-2, dim2=-1))
    return FullGaussian(mean, L)


def _gaussian(found: Any, second: Second, count: int) -> tuple[Tensor, Tensor, str]:
    """Mean, Cholesky factor and kind of whatever an encoder returned, float64."""
    kind = "diagonal"
    if isinstance(found, Distribution):
        plain = found.base_dist if isinstance(found, Independent) else found
        if isinstance(plain, Normal):
            mean, L = plain.mean, torch.diag_embed(plain.stddev)
        elif isinstance(plain, MultivariateNormal | LowRankMultivariateNormal):
            mean, L, kind = plain.mean, plain.scale_tril, "full"
        else:
            raise ValueError(
                "A posterior must be Gaussian: Normal or MultivariateNormal; got "
                f"{type(plain).__name__}. The theory is of Gaussian ones."
            )
    elif (
        isinstance(found, tuple | list)
        and len(found) == 2
        and all(isinstance(part, Tensor) and part.is_floating_point() for part in found)
    ):
        mean, spread = found
        if second == "scale_tril":
            L, kind = spread, "full"
        else:
            std = spread if second == "std" else (0.5 * spread.double()).exp()
            L = torch.diag_embed(std)
    elif isinstance(found, Point):
        raise ValueError(
            "`encoder` must return a Gaussian; got an autoencoder's points. Diagnose its decoder "
            "at its codes: diagnose_decoder(decoder, codes)."
        )
    else:
        raise ValueError(
            "`encoder` must return a Gaussian of torch.distributions, or a pair of mean and "
            f"`second`, real tensors; got {described(found)}. Wrap it in a function that picks "
            "these two."
        )
    latent = mean.shape[-1]
    if mean.shape != (count, latent) or L.shape != (count, latent, latent):
        raise ValueError(
            "`encoder` must return one posterior a datum, of means [n, latent]; got means of "
            f"shape {list(mean.shape)} and Cholesky factors {list(L.shape)} for {count} data."
        )
    return mean.detach().cpu().double(), L.detach().cpu().double(), kind


def described(found: Any) -> str:
    """A thing in words."""
    if isinstance(found, Tensor):
        kind = "tensor" if found.layout == torch.strided else "sparse tensor"
        place = "" if found.device.type == "cpu" else f" on {found.device}"
        return f"a {kind} of {found.dtype}{place}"
    if isinstance(found, tuple | list | dict):
        return f"a {type(found).__name__} of {len(found)}"
    name = type(found).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
