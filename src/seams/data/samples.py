"""What a data set is, and the one that most are: vectors in memory."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from seams.shapes import Float, Int

__all__ = ["Data", "Samples"]


@runtime_checkable  # beartype has to ask
class Data(Protocol):
    """What a data set must offer to be trained on, and to be scored."""

    @property
    def checksum(self) -> str:
        """Of all that `batch` can return."""
        ...

    @property
    def factors(self) -> Tensor | None:
        """True factors of each datum as integers `[n, factor]`, if they are known."""
        ...

    @property
    def factor_names(self) -> tuple[str, ...]:
        """One a factor."""
        ...

    @property
    def latents(self) -> Tensor | None:
        """True latents of each datum as real numbers `[n, true]`, if they are known."""
        ...

    def __len__(self) -> int:
        """Number of data."""
        ...

    def batch(self, indices: Tensor) -> Tensor:
        """Data at `indices`, as floats `[*indices.shape, data]`."""
        ...

    def to(self, device: torch.device) -> "Data":
        """The same data on `device`."""
        ...


@dataclass(frozen=True, eq=False)
class Samples:
    """Vectors in memory as a data set."""

    x: Float[Tensor, "n data"]
    factors: Int[Tensor, "n factor"] | None = None  # true ones, if known
    factor_names: tuple[str, ...] = ()
    latents: Float[Tensor, "n true"] | None = None  # likewise, as real numbers

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def checksum(self) -> str:
        """Hash of the values."""
        return hashlib.sha256(self.x.cpu().numpy().tobytes()).hexdigest()

    def batch(self, indices: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch data"]:
        """Rows of `x` at these places, on its device."""
        return self.x[indices]

    def to(self, device: torch.device) -> "Samples":
        """The same data with `x` on another device."""
        return replace(self, x=self.x.to(device))
