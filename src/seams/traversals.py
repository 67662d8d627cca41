"""Traversals: what the decoder shows as one latent moves and the others stay, at `z`.

`reach` is in standard deviations of the prior; means are in the unit of x, variances in its
square.
"""

import torch
from torch import Tensor
from torch.func import vmap

from seams.derivatives import Decoder
from seams.shapes import Float, Int

__all__ = ["latent_activity", "traversal_changes", "traverse"]


def traverse(
    decoder: Decoder,
    z: Float[Tensor, " latent"],
    latents: Int[Tensor, " k"],
    reach: float = 2.0,
    steps: int = 9,
) -> Float[Tensor, "k step data"]:
    """Decoded latents, of which one runs from -`reach` to `reach` in equal steps."""
    values = torch.linspace(-reach, reach, steps, dtype=z.dtype, device=z.device)
    moved = z.repeat(len(latents), steps, 1)
    rows = torch.arange(len(latents), device=z.device)
    moved[rows, :, latents] = values
    return vmap(vmap(decoder))(moved)


def traversal_changes(
    decoder: Decoder, z: Float[Tensor, "batch latent"], reach: float = 2.0
) -> Float[Tensor, "batch latent data"]:
    r"""Change from end to end per unit of latent j, $(d(z_{j \to r}) - d(z_{j \to -r})) / 2r$."""
    # With latent j set to the reach r: column j of the Jacobian for small r, or a linear decoder.
    kept = z.unsqueeze(1) * (1 - torch.eye(z.shape[1], dtype=z.dtype, device=z.device))
    ends = reach * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    decode = vmap(vmap(decoder))
    return (decode(kept + ends) - decode(kept - ends)) / (2 * reach)


def latent_activity(
    decoder: Decoder, z: Float[Tensor, "batch latent"], reach: float = 2.0
) -> Float[Tensor, " latent"]:
    """Variance of x that each latent accounts for, from the ends of its traversals (Fig. 8)."""
    # The squared distance between both ends, over (2 r)^2, in the mean over the batch. A linear
    # decoder gives its squared column norms, lambda - beta sigma^2 at the optimum, comparable with
    # the noise and with the eigenvalues of the data. The caption gives no reach and no scale.
    return traversal_changes(decoder, z, reach).square().sum(-1).mean(0)
