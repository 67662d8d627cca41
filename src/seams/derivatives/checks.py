"""What is wrong with an argument, in words, and what counts as rounding."""

import torch
from torch import Tensor
from torch.func import vmap

from seams.derivatives.mapping import Decoder

__all__ = ["decoder_fault", "half_of_digits", "sign_fault"]


def decoder_fault(decoder: Decoder, z: Tensor, x: Tensor | None = None) -> str | None:
    """What to say if this is not a function of one latent alone, to a mean of the size of `x`."""
    # Two rows are enough to see a wrong shape, and values that differ under vmap.
    rows = z[:2]
    with torch.no_grad():
        try:
            mapped = vmap(decoder, randomness="different")(rows)
        except (RuntimeError, ValueError):
            decoder(rows[0])  # if this raises too, its own message says what is wrong
            return (
                "`decoder` must be a function of one latent alone; it runs on one but not under "
                "vmap. Is it in train mode, with batch norm? Call decoder.eval()."
            )
        alone = torch.stack([decoder(row) for row in rows])
    if alone.ndim != 2:
        return (
            "`decoder` must return one mean [data] for one latent [latent]; got the shape "
            f"{list(alone.shape[1:])}. Flatten its output, without a batch axis."
        )
    if x is not None and alone.shape[1] != x.shape[1]:
        return (
            f"`decoder` must return one value per column of `x`; got {alone.shape[1]} for "
            f"{x.shape[1]} columns. Is this the decoder of another dataset?"
        )
    # Batched and single kernels round differently, in the last digits; what leaks between samples
    # or calls (batch norm, dropout) changes the first ones.
    difference = (mapped - alone).abs().max().item()
    if difference > half_of_digits(alone.dtype) * alone.abs().max().item():
        return (
            "`decoder` must depend on its own latent alone and repeat itself; under vmap and one "
            f"by one its outputs differ by {difference:.1e}. Is it in train mode, with dropout or "
            "batch norm? Call decoder.eval()."
        )
    return None


def sign_fault(**values: float) -> str | None:
    """What to say if one of these is not positive."""
    for name, value in values.items():
        if not value > 0:
            return f"`{name}` must be positive; got {value}. Use a small positive value instead."
    return None


def half_of_digits(dtype: torch.dtype) -> float:
    """A relative difference that leaves half of the digits equal: the square root of eps."""
    return torch.finfo(dtype).eps ** 0.5
