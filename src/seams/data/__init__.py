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

from seams.project import project_root
from seams.shapes import Float, Int

if TYPE_CHECKING:
    from seams.data.faces import Faces
    from seams.data.generators import Generator
    from seams.data.synthetic import LinearGaussian

__all__ = [
    "DATASETS",
    "Data",
    "Samples",
    "Sheet",
    "alike",
    "coins",
    "faces_folder",
    "folder",
    "linear",
    "load",
    "load_faces",
    "sheet",
]

DATASETS = (
    "dsprites",
    "dsprites_half_height",
    "linear",
    "sheet",
    "circles",
    "alike",
    "coins",
    "orl",
    "celeba",
)
"""Names that `load` knows, beside those of `load_faces` that name a file or a folder."""


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
        latents: True latents of each datum as real numbers, if they are known.
    """

    x: Float[Tensor, "n data"]
    factors: Int[Tensor, "n factor"] | None = None
    factor_names: tuple[str, ...] = ()
    latents: Float[Tensor, "n true"] | None = None

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


@dataclass(frozen=True)
class Sheet:
    """Noisy points on a curved sheet in space, and what made them.

    Attributes:
        x: The points.
        z: Latents, standard normal; dimensionless.
        generator: From one latent to its place on the sheet.
        sigma: Standard deviation of the noise, in the unit of x.
    """

    x: Float[Tensor, "n 3"]
    z: Float[Tensor, "n 2"]
    generator: "Generator"
    sigma: float


def sheet() -> Sheet:
    """The curved manifold of Figures 1, 3 and 4: two latents in three dimensions, C1 and C2 hold.

    A strip that bends by 100 degrees within 2.3 standard deviations of the prior. Along it the
    singular value is exp(0.2 z_1), across it 0.45 (1 + 0.2 tanh z_2): the first is the larger at
    all points but 4, so that the seams are defined, and they change enough for densities over
    seams that are not normal. The noise has standard deviation 0.1. The paper draws such a
    manifold and states none.

    Returns:
        16,384 samples with what made them.
    """
    from seams.data.generators import rolled_sheet

    generator, sigma = rolled_sheet((1.0, 0.45), warp=0.2, radius=0.7), 0.1
    draws = torch.Generator().manual_seed(0)
    z, noise = (torch.randn(16_384, size, generator=draws, dtype=torch.float64) for size in (2, 3))
    x = torch.vmap(generator)(z) + sigma * noise
    dtype = torch.get_default_dtype()
    return Sheet(x.to(dtype), z.to(dtype), generator, sigma)


def coins() -> Float[Tensor, "n 4"]:
    """Four fair coins: every pattern of heads and tails once, so that nothing depends on chance.

    A Bernoulli decoder models them exactly without a latent: the likelihood of Appendix B that is
    expressive enough to leave the latents unused.

    Returns:
        16 rows of 0 and 1.
    """
    sides = torch.tensor([0.0, 1.0], dtype=torch.get_default_dtype())
    return torch.cartesian_prod(*[sides] * 4)


def folder() -> Path:
    """Where data files are: `data` under the project, or SEAMS_DATA.

    Returns:
        A path that need not exist.
    """
    return Path(os.environ.get("SEAMS_DATA") or project_root() / "data")


def faces_folder() -> Path:
    """Where files of faces are: `.faces` under the project, or SEAMS_FACES.

    Apart from `data`, whose contents the pipeline knows by a checksum, and ignored by git.

    Returns:
        A path that need not exist.
    """
    return Path(os.environ.get("SEAMS_FACES") or project_root() / ".faces")


def load_faces(name: str, resolution: int) -> "Faces":
    """A set of faces whole, with its parts: `part("test")` holds images that none is trained on.

    Args:
        name: "orl", downloaded by pip on first use (5.7 MB); "celeba", the official
            `img_align_celeba.zip` in `faces_folder()`; "celeba:NAME", the zip `NAME.zip` there,
            with some of its members; "folder:NAME", the images in the folder `NAME` there.
        resolution: Side of the images in pixels.

    Returns:
        The faces.

    Raises:
        ValueError: Another name.
    """
    from seams.data import faces

    home = faces_folder()
    kind, _, place = name.partition(":")
    if name == "orl":
        return faces.load_orl(faces.fetch_orl(home), resolution)
    if name == "celeba":
        return faces.load_celeba(
            home / "img_align_celeba.zip", home, resolution=resolution, md5=faces.CELEBA_MD5
        )
    if Path(place).name == place != "":
        if kind == "celeba":
            return faces.load_celeba(home / f"{place}.zip", home, resolution=resolution)
        if kind == "folder":
            return faces.load_folder(home / place, home, resolution=resolution)
    raise ValueError(
        f"`dataset` must be 'orl', 'celeba', 'celeba:NAME' or 'folder:NAME' for faces; got "
        f"{name!r}. NAME is that of a zip without its ending, or of a folder, in {home}."
    )


@lru_cache(maxsize=2)  # stacks that follow one another share their data
def load(name: str, resolution: Any) -> Any:
    """A data set by its name in a configuration.

    Args:
        name: One of `DATASETS`, or as in `load_faces`; of faces, the part that is trained on.
            "dsprites_half_height" holds posY index 8..23 alone, so that posX
            and posY have different ranges, hence different singular values; "linear", "sheet",
            "circles" and "coins" are the points that the functions of these names return. Or a
            member of a family such as "blobs-1.5": see `seams.data.families`.
        resolution: Side of the images in pixels.

    Returns:
        The data, a `Data`, on the CPU; kept for the next call.

    Raises:
        ValueError: An unknown name.
    """
    from seams.data import dsprites, families
    from seams.data.synthetic import circles

    if name == "linear":
        return Samples(linear().x.float())
    if name == "sheet":
        return Samples(sheet().x.float())
    if name == "circles":
        return Samples(circles().x.float())
    if name == "coins":
        return Samples(coins().float())
    if name == "dsprites":
        return dsprites.load(folder(), "full", resolution)
    if name == "dsprites_half_height":
        return dsprites.load(folder(), "half_height", resolution)
    if name.partition(":")[0] in ("orl", "celeba", "folder"):
        return load_faces(name, resolution).part("train")
    if families.is_member(name):
        return families.samples(name, resolution)
    names = (*DATASETS, *families.FAMILIES)
    close = difflib.get_close_matches(name, names, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"`dataset` must be one of {names}; got {name!r}.{hint}")


def alike(name: str, resolution: Any) -> str:
    """What data sets share whose runs may be trained as one stack: their number of columns.

    Args:
        name: A data set.
        resolution: Side of its images in pixels.

    Returns:
        The name itself, unless it is a member of a family.
    """
    from seams.data import families

    if not families.is_member(name):
        return name
    return f"families of {families.columns(name, resolution)} columns"
