"""Data sets as checked files and tensors."""

import difflib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from seams.paths import project_root

__all__ = ["DATASETS", "Data", "folder", "load"]

DATASETS = ("dsprites", "dsprites_half_height")
"""Names that `load` knows."""


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
            and posY have different ranges, hence different singular values.
        resolution: Side of the images in pixels.

    Returns:
        The data, a `Data`, on the CPU; kept for the next call.

    Raises:
        ValueError: An unknown name.
    """
    from seams.data import dsprites

    if name == "dsprites":
        return dsprites.load(folder(), "full", resolution)
    if name == "dsprites_half_height":
        return dsprites.load(folder(), "half_height", resolution)
    close = difflib.get_close_matches(name, DATASETS, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"`dataset` must be one of {DATASETS}; got {name!r}.{hint}")
