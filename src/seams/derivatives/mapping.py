"""What a decoder is, and how a function of one sample is mapped over a batch of them."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vmap

__all__ = ["Decoder", "load_forward_rules", "over_batch"]

Decoder = Callable[[Tensor], Tensor]


def over_batch(
    function: Callable[..., Any], *arrays: Tensor, chunk_size: int | None = None
) -> Any:
    """What `function` of one sample gives for each, without a graph."""
    load_forward_rules()
    with torch.no_grad():
        return vmap(function, chunk_size=chunk_size)(*arrays)


@cache
def load_forward_rules() -> None:
    """Make torch load its forward-mode rules, once, without the warning that comes with it."""
    # It scripts them on first use, and warns that scripting is deprecated: nothing that a caller
    # could act on.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        jvp(torch.tanh, (torch.zeros(()),), (torch.ones(()),))
