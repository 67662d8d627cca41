"""Data sets as checked files and tensors."""

import difflib
import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from seams.paths import project_root
from seams.shapes import Float, Int

if TYPE_CHECKING:
    from seams.data.synthetic import LinearGaussian

__all__ = ["DATASETS", "Data", "Samples", "folder", "linear", "load"]

DATASETS = ("dsprites", "dsprites_half_height", "linear")
"""Names that `load` knows."""


@runtime_checkable  # beartype has to ask
class Data(Protocol):
    """What a data set must offer to be trained on."""

    checksum: str

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
    """Vectors in memory as a data set.

    Attributes:
        x: The data.
        factors: True factors of each datum as integers, if they are known.
        factor_names: One a factor.
    """

    x: Float[Tensor, "n data"]
    factors: Int[Tensor, "n factor"] | None = None
    factor_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def checksum(self) -> str:
        """Hash of the values."""
        return hashlib.sha256(self.x.cpu().numpy().tobytes()).hexdigest()

    def batch(self, indices: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch data"]:
        """Data at these places.

        Args:
            indices: Places, on the device of `x`.

        Returns:
            Rows of `x`.
        """
        return self.x[indices]

    def to(self, device: torch.device) -> "Samples":
        """The same data on another device.

        Args:
            device: Where `batch` shall work.

        Returns:
            The data there.
        """
        return replace(self, x=self.x.to(device))


def linear() -> "LinearGaussian":
    """The linear Gaussian data of Figure 2: three components of ten values, known U, S and V.

    Singular values 3, 2 and 1 with noise of standard deviation 1, and a sample whose second moment
    is exactly that of the model, so that the truth is the optimum. The paper states no sizes.

    Returns:
        4,096 samples with what made them.
    """
    from seams.data.synthetic import linear_gaussian

    return linear_gaussian(4096, 10, (3.0, 2.0, 1.0), sigma=1.0, seed=0, exact=True)


def folder() -> Path:
    """Where data files are: `data` under the project, or SEAMS_DATA.

    Returns:
        A path that need not exist.
    """
    return Path(os.environ.get("SEAMS_DATA") or project_root() / "data")


@lru_cache(maxsize=2)  # stacks that follow one another share their data
def load(name: str, resolution: Any) -> Any:
    """A data set by its name in a configuration.

    Args:
        name: One of `DATASETS`. "dsprites_half_height" holds posY index 8..23 alone, so that posX
            and posY have different ranges, hence different singular values; "linear" is what
            `linear` returns.
        resolution: Side of the images in pixels.

    Returns:
        The data, a `Data`, on the CPU; kept for the next call.

    Raises:
        ValueError: An unknown name.
    """
    from seams.data import dsprites

    if name == "linear":
        return Samples(linear().x.float())
    if name == "dsprites":
        return dsprites.load(folder(), "full", resolution)
    if name == "dsprites_half_height":
        return dsprites.load(folder(), "half_height", resolution)
    close = difflib.get_close_matches(name, DATASETS, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"`dataset` must be one of {DATASETS}; got {name!r}.{hint}")
