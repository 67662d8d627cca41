"""What a diagnosis is given, as tensors, and what to say of what it cannot take."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seams.diagnosis.encoder import described

__all__ = ["as_tensor", "factor_fault", "name_fault", "option_fault", "whole_fault"]


def as_tensor(name: str, value: Any) -> Tensor:
    """What is given as numbers, on the CPU."""
    try:
        found = (
            value
            if isinstance(value, Tensor)
            else torch.as_tensor(np.require(value, requirements="W"))
        )
        return found.detach().cpu().to_dense()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"`{name}` must be a tensor or an array of numbers; got {described(value)}. Put all "
            "rows into one: torch.stack(rows), or torch.cat of the batches of a loader."
        ) from None


def factor_fault(factors: Tensor | None, count: int) -> str | None:
    """What is wrong with factors of so many data."""
    if factors is None:
        return None
    if factors.ndim != 2 or factors.is_floating_point() or factors.is_complex():
        return (
            "`factors` must be integers [n, factor]; got "
            f"{list(factors.shape)} of {factors.dtype}. Number the values of each factor, and "
            "give one column a factor."
        )
    if len(factors) != count:
        return (
            f"`factors` must have one row a datum; got {len(factors)} for {count} data. Are they "
            "of another part of the data?"
        )
    return None


def name_fault(factors: Tensor | None, names: Any) -> str | None:
    """What is wrong with names of factors."""
    columns = 0 if factors is None else factors.shape[1]
    listed = isinstance(names, Sequence) and all(isinstance(name, str) for name in names)
    if not listed or isinstance(names, str):
        return f"`factor_names` must be a list of names; got {names!r}."
    if len(names) in (0, columns):
        return None
    return (
        f"`factor_names` must name every column of `factors`, {columns}; got {len(names)}: "
        f"{', '.join(names)}."
    )


def option_fault(name: str, value: Any, options: Sequence[str]) -> str | None:
    """What is wrong with one of several words."""
    known = ", ".join(options)
    return None if value in options else f"`{name}` must be one of {known}; got {value!r}."


def whole_fault(name: str, count: Any, most: int = 2**63 - 1) -> str | None:
    """What is wrong with a whole number."""
    if type(count) is int and 0 <= count <= most:
        return None
    return f"`{name}` must be a whole number from 0 to {most}; got {count!r}."
