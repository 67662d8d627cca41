"""Whether torch's derivatives are the decoder's own: compared with its values, along short paths.

What a path adds to a function is the integral of its derivative. That fails for first derivatives
where a part is cut off from torch (`detach`, `no_grad`, numpy) or jumps (rounding), and for second
ones where the slope has kinks (ReLU), which torch differentiates on either side and not across.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp

from seams.derivatives import Decoder
from seams.derivatives.checks import half_of_digits
from seams.derivatives.mapping import over_batch

__all__ = ["Missed", "along_paths"]

_PATHS = 8  # from as many latents, in random directions; a net of 64 units has 30 kinks on them
_LENGTH = 0.25  # of the prior's standard deviation: far below where a trained decoder turns
_INTERVALS = 16  # of Simpson's rule, and of half as many, whose difference is its error
_LARGEST = 0.05  # of what may be missed; smooth decoders miss 1e-6
_ERRORS = 3.0  # of the rule, within which nothing is missed


@dataclass(frozen=True)
class Missed:
    """Share of the change along the paths that derivatives do not explain; 0 for nothing found."""

    first: float
    second: float

    def told(self, without: str, flags: list[str]) -> bool:
        """Whether there are kinks; then a flag says what cannot do without second derivatives.

        Returns:
            It.

        Raises:
            ValueError: First derivatives are not the decoder's.
        """
        if self.first:
            raise ValueError(
                "`decoder` must be differentiable by torch: along short paths its derivatives "
                f"miss {self.first:.0%} of the change of its output. Is there a `detach`, a "
                "`no_grad`, numpy or rounding inside?"
            )
        if self.second:
            flags.append(
                "The decoder has kinks (ReLU), or a part of its second derivatives is cut off: "
                f"along short paths they miss {self.second:.0%} of the change of its slope. So "
                f"{without} left out."
            )
        return self.second > 0


def along_paths(decoder: Decoder, z: Tensor, generator: torch.Generator, chunk: int) -> Missed:
    """What both orders miss between some of these latents `[n, latent]` and points nearby."""
    start, data = z[:_PATHS], len(decoder(z[0]))
    count, latent = start.shape
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(z)
    direction = torch.nn.functional.normalize(normal(count, latent), dim=1)
    weight = normal(count, data)  # one sum of the outputs a path: all of them count alike
    time = torch.linspace(0, _LENGTH, _INTERVALS + 1).to(z)
    points = start[:, None] + time[:, None] * direction[:, None]

    def at(z: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        value = lambda z: w @ decoder(z)
        both: Any = jvp(grad(value), (z,), (v,))
        slope, curve = both
        return (*jvp(value, (z,), (v,)), slope @ v, curve @ v)

    many = lambda part: part[:, None].expand(-1, len(time), -1).flatten(0, 1)
    found = over_batch(at, points.flatten(0, 1), many(direction), many(weight), chunk_size=chunk)
    if not all(part.isfinite().all() for part in found):
        raise ValueError(
            "The decoder and its derivatives must be finite along short paths from its latents; "
            "they are not everywhere. Did the run diverge?"
        )
    value, forward, reverse, curve = (f.double().unflatten(0, (count, -1)) for f in found)
    digits = half_of_digits(z.dtype)
    first = max(_missed(value, slope, digits) for slope in (forward, reverse))
    return Missed(first, _missed(forward, curve, digits))


def _missed(value: Tensor, slope: Tensor, digits: float) -> float:
    """Relative size, over all paths, of the changes that the integral of the slope misses."""
    fine, coarse = _simpson(slope, 1), _simpson(slope, 2)
    change = value[:, -1] - value[:, 0]
    missing, error = (change - fine).norm(), (fine - coarse).norm()
    smallest = max(_LARGEST * change.norm(), _ERRORS * error, digits * value.norm())
    return (missing / change.norm()).item() if missing > smallest else 0.0


def _simpson(values: Tensor, stride: int) -> Tensor:
    weights = torch.tensor([4.0, 2.0] * (_INTERVALS // stride // 2), dtype=values.dtype)
    weights = torch.cat([weights.new_ones(1), weights[:-1], weights.new_ones(1)])
    return values[:, ::stride] @ weights * (stride * _LENGTH / _INTERVALS / 3)
