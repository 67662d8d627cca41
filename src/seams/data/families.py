"""Families of data whose latents are known, with a dial in the name: how far a condition holds.

A ratio is that of one singular value, or range, to the next; the least one of the points is 1,
and the ratio of "sheared", "polar" and "twisted" is 2. Points with d latents have 2 d columns, by
a rigid motion where fewer would do, so that runs on them can be stacked.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seams.data import dsprites
from seams.data.generators import (
    Generator,
    embedded,
    linear,
    polar,
    product_of_curves,
    rolled_sheet,
    twisted,
)
from seams.data.samples import Samples
from seams.data.synthetic import blob_images, linear_gaussian
from seams.shapes import Float

__all__ = ["FAMILIES", "LAWS", "Known", "columns", "is_member", "known", "samples", "transport"]

FAMILIES = (
    "plane-RATIO",  # flat, normal latents, exactly uncorrelated in the sample
    "curves-LAW-LATENTS-RATIO",  # `generators.product_of_curves`
    "rolled-RATIO",  # `generators.rolled_sheet`, normal latents, uneven speeds
    "sheared-DEGREES",  # flat, columns of W 90 - DEGREES apart: breaks C1
    "polar-BEND",  # `generators.polar`, normal latents: C1 holds, breaks C2
    "twisted-STRENGTH",  # `generators.twisted` of "curves-normal-2-2": breaks both
    "blobs-RATIO",  # images of `synthetic.blob_images`, uniform place
    "dsprites_square-RATIO",  # dSprites: upright squares of the largest scale
    "xy_square-SPACING-ROWS",  # one of 8 pixels on a grid of 8 columns, SPACING pixels apart
)
"""Names that `samples` knows, with words where numbers go."""

LAWS = ("normal", "uniform", "laplace", "arcsine")
"""Laws of a true latent, each of mean 0 and variance 1; see `transport`."""

_SAMPLES = 8_192  # of a family whose latents are drawn
_BLOB = 6  # a blob's standard deviations in the side of its image: wide, so the sheet bends little
_LATENTS = 100  # more curves than that are a slip, and would fill the memory
_IMAGES = ("blobs", "dsprites_square", "xy_square")
_GRID = 8  # columns of a grid of places, and pixels of the square on it: at most so far apart


# "arcsine" is U-shaped between -sqrt 2 and sqrt 2, with most mass at its ends; "uniform" and
# "laplace" have log densities without curvature, but for an edge or a peak. With a normal prior a
# decoder has to learn this axis-aligned map (Corollary 6.7).
def transport(law: str, z: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r"""Standard normal values as those of another law, mean 0, variance 1: $F^{-1}(\Phi(z))$."""
    if law == "normal":
        return z
    if law == "uniform":
        return math.sqrt(3) * torch.erf(z / math.sqrt(2))
    if law == "arcsine":
        return math.sqrt(2) * torch.sin(torch.pi / 2 * torch.erf(z / math.sqrt(2)))
    if law == "laplace":
        return -z.sign() * torch.log(torch.special.erfc(z.abs() / math.sqrt(2))) / math.sqrt(2)
    raise ValueError(f"`law` must be one of {LAWS}; got {law!r}.")


@dataclass(frozen=True)
class Known:
    """Data without noise whose latents are known, and a decoder that makes them.

    The latents are independent of one another; z are the same as standard normal values, by an
    increasing map of each. The decoder takes one `z` to its datum: with a standard normal prior it
    has exactly the density of the data, and it satisfies C1-C2 if the family does.
    """

    x: Float[Tensor, "n data"]
    latents: Float[Tensor, "n true"]
    z: Float[Tensor, "n true"]
    decoder: Callable[[Tensor], Tensor]


def known(name: str, side: int = 16) -> Known:
    """8,192 samples of a family in float64, with a decoder: all but squares have one."""
    law, latent = "normal", 2
    generator: Generator | Callable[[Tensor], Tensor]
    match _parts(name):
        case ["plane", ratio]:
            return _plane(ratio)
        case ["curves", law, latent, ratio]:
            generator = _curves(latent, ratio)
        case ["rolled", ratio]:
            generator = rolled_sheet((ratio, 1.0), warp=0.2, radius=ratio / 2)
        case ["sheared", degrees]:
            angle = math.radians(degrees)
            W = [[2.0, math.sin(angle)], [0.0, math.cos(angle)]]
            generator = linear(torch.tensor(W, dtype=torch.float64))
        case ["polar", bend]:
            generator = polar(bend)
        case ["twisted", strength]:
            generator = twisted(_curves(2, 2.0), strength)
        case ["blobs", ratio]:
            law, generator = "uniform", partial(_blob, side=side, ratio=ratio)
        case _:
            raise ValueError(f"`known` has no decoder of {name!r}: use `samples`.")
    if isinstance(generator, Generator):
        generator = embedded(generator, columns(name, side))
    decoder = lambda z: generator(transport(law, z))
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(_SAMPLES, latent, generator=draws, dtype=torch.float64)
    return Known(torch.vmap(decoder)(z), transport(law, z), z, decoder)


def samples(name: str, side: int) -> Samples:
    """Float32 data and true latents of a member: 8,192 points or blobs, or all squares."""
    family, *values = _parts(name)
    if family == "dsprites_square":
        return _squares(values[0], side)
    if family == "xy_square":
        spacing, rows = values
        return _on_grid(spacing, rows, side)
    found = known(name, side)
    return Samples(found.x.float(), latents=found.latents)


def is_member(name: str) -> bool:
    """Whether a name has the form of a family's members, be the values in it sense or not."""
    family, *values = name.split("-")
    return any(form.split("-")[0] == family for form in FAMILIES) and bool(values)


def columns(name: str, side: int) -> int:
    """Size of one datum: twice the number of latents, or the number of pixels."""
    family, *values = _parts(name)
    return side**2 if family in _IMAGES else 2 * (values[1] if family == "curves" else 2)


def _plane(ratio: float) -> Known:
    s = (ratio, 1.0)
    sample = linear_gaussian(_SAMPLES, 4, s, sigma=0.0, seed=0, exact=True)
    W, z = sample.decoder.double(), sample.z.double()
    return Known(z @ W.mT, z, z, lambda z: W @ z)


def _curves(latent: int, ratio: float) -> Generator:
    scales = [ratio**step for step in reversed(range(latent))]
    return product_of_curves(scales, warp=0.0, radius=2 * scales[0])


def _blob(place: Tensor, side: int, ratio: float) -> Tensor:
    """Image of the blob whose place is given by two values of variance 1."""
    reach = (side - 4 * side / _BLOB) / math.sqrt(12)  # standard deviation, in pixels
    centre = side / 2 + reach * place / place.new_tensor([1, ratio])
    return blob_images(centre[None], side, side / _BLOB).flatten()


def _squares(ratio: float, side: int) -> Samples:
    if (rows := round(32 / ratio)) < 1 or 64 % side:
        raise ValueError(
            f"Squares need a ratio up to 32 and a side that divides 64; got {ratio:g} and {side}."
        )
    # The latents are the positions, posY from the middle, as few as its smaller range asks for.
    posY = torch.arange(32)[(32 - rows) // 2 :][:rows]
    one = torch.zeros(1, dtype=torch.long)
    classes = torch.cartesian_prod(one, one, one + 5, one, torch.arange(32), posY)
    images = dsprites.render(classes).float().unflatten(1, (side, -1)).unflatten(3, (side, -1))
    return Samples(images.mean((2, 4)).flatten(1), latents=classes[:, 4:].double())


def _on_grid(spacing: int, rows: int, side: int) -> Samples:
    """A square at every place of a grid in the middle of 64 x 64 pixels (Michlo et al. 2022)."""
    if max(spacing, rows) > _GRID or 64 % side:
        raise ValueError(
            f"A square on a grid needs a spacing and rows up to {_GRID} and a side that divides "
            f"64; got {spacing}, {rows} and {side}."
        )
    pixel, lines = torch.arange(64), []
    for count in (_GRID, rows):
        start = (64 - _GRID - (count - 1) * spacing) // 2 + spacing * torch.arange(count)[:, None]
        inside = (pixel >= start) & (pixel < start + _GRID)
        lines.append(inside.float().unflatten(1, (side, -1)).mean(2))
    images = lines[0][:, None, None, :] * lines[1][None, :, :, None]
    places = torch.cartesian_prod(torch.arange(_GRID), torch.arange(rows)).double()
    return Samples(images.flatten(0, 1).flatten(1), latents=places)


def _parts(name: str) -> list[Any]:
    """A family and its values."""
    family, *texts = name.split("-")
    forms = {form.partition("-")[0]: form.split("-")[1:] for form in FAMILIES}
    if family not in forms:
        raise ValueError(f"A family must be one of {FAMILIES}; got {name!r}.")
    if len(texts) != len(forms[family]):
        form = "-".join([family, *forms[family]])
        raise ValueError(f"A member of this family is named {form!r}; got {name!r}.")
    return [family, *(_value(*pair, name) for pair in zip(forms[family], texts, strict=True))]


def _value(word: str, text: str, name: str) -> Any:
    if word == "LAW":
        return text
    if word in ("LATENTS", "SPACING", "ROWS"):
        if not (text.isdecimal() and 0 < float(text) <= _LATENTS):
            what = {"LATENTS": "A number of latents", "ROWS": "A number of rows"}
            raise ValueError(
                f"{what.get(word, 'A spacing')} must be 1 to {_LATENTS}; got {text!r} in {name!r}."
            )
        return int(text)
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"A value in {name!r} must be a number; got {text!r}.") from None
    if word == "RATIO" and not 1 <= value < math.inf:
        raise ValueError(f"A ratio must be 1 or more; got {text!r} in {name!r}.")
    return value
