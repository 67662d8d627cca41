"""Data sets as checked files and tensors, by name."""

import difflib
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from seams.data import dsprites, faces, families
from seams.data.arrays import faces_folder, folder, read
from seams.data.faces import load_faces
from seams.data.samples import Data, Samples
from seams.data.synthetic import Sheet, circles, coins, linear, sheet, square

__all__ = [
    "DATASETS",
    "Data",
    "Samples",
    "Sheet",
    "alike",
    "checksum_here",
    "coins",
    "faces_folder",
    "folder",
    "linear",
    "load",
    "load_faces",
    "sheet",
]

DATASETS: Mapping[str, Callable[[str, Any], Data]] = {
    "dsprites": dsprites.named,
    "dsprites_half_height": dsprites.named,
    "linear": lambda name, resolution: Samples(linear().x.float()),
    "sheet": lambda name, resolution: Samples(sheet().x.float()),
    "circles": lambda name, resolution: Samples(circles().x.float()),
    "coins": lambda name, resolution: Samples(coins().float()),
    "square:KIND": lambda name, resolution: _square(name),
    "orl": faces.named,
    "celeba": faces.named,
    "celeba:NAME": faces.named,
    "folder:NAME": faces.named,
    **dict.fromkeys(families.FAMILIES, families.samples),
}
"""What makes a data set from its name and the side of its images; capitals stand for values."""


@lru_cache(maxsize=2)  # stacks that follow one another share their data
def load(name: str, resolution: Any) -> Any:
    """A data set by its name in a configuration.

    Args:
        name: One of `DATASETS`: "dsprites_half_height" holds posY index 8..23 alone, so that posX
            and posY have different ranges, hence different singular values; "linear", "sheet",
            "circles", "coins" and "square" are what the functions of these names return; for
            faces, of which the part "train" is taken, see `load_faces`; the others are members of
            a family, such as "blobs-1.5": see `seams.data.families.FAMILIES`.
        resolution: Side of the images in pixels.

    Returns:
        The data, a `Data`, on the CPU; kept for the next call.

    Raises:
        ValueError: An unknown name.
    """
    forms = {_head(form): form for form in DATASETS}
    if _head(name) not in forms:
        close = difflib.get_close_matches(_head(name), forms, 1)
        hint = f" Did you mean {forms[close[0]]!r}?" if close else ""
        raise ValueError(f"`dataset` must be one of {', '.join(DATASETS)}; got {name!r}.{hint}")
    return DATASETS[forms[_head(name)]](name, resolution)


def _square(name: str) -> Samples:
    x, places = square(name.partition(":")[2])
    return Samples(x.float(), latents=places)


def checksum_here(name: str, resolution: Any) -> str | None:
    """Checksum of data whose name leaves open what is in them; None for others, and if absent."""
    # Open are dSprites (rendered or original), folders and zips of images. Found out once in a
    # process, as the data are loaded once.
    return _checksum_in(name, resolution, folder(), faces_folder())


@cache
def _checksum_in(name: str, resolution: Any, data: Path, faces_home: Path) -> str | None:
    with suppress(OSError, ValueError):  # absent or unfit, as `load` says
        if name.startswith(("celeba:", "folder:")):
            return load_faces(name, resolution).checksum
        if DATASETS.get(name) is dsprites.named:
            return str(read(data / "dsprites.npy")[1]["sha256"])
    return None


def _head(name: str) -> str:
    """A name without what may vary in it, as in "celeba:" and "blobs-"."""
    return re.sub(r"(?<=[:-]).*", "", name, flags=re.DOTALL)


def alike(name: str, resolution: Any) -> str:
    """What data sets share whose runs may be stacked: a name, or a family's number of columns."""
    if _head(name) == "square:" and name != "square:network":
        return "squares in space"
    if not families.is_member(name):
        return name
    return f"families of {families.columns(name, resolution)} columns"
