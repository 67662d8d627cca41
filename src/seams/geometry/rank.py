"""Where a decoder's Jacobian has full rank: the regular points, which alone have a geometry."""

import torch
from torch import Tensor

from seams.shapes import Float

__all__ = ["rank_fault"]


def rank_fault(s: Float[Tensor, "batch latent"], caller: str) -> str | None:
    """What to say if the rank of a Jacobian, of these singular values, is not full."""
    # The rule of torch.linalg.matrix_rank: below it a singular value is rounding.
    low = s[:, -1] <= s.shape[1] * torch.finfo(s.dtype).eps * s[:, 0]
    if not low.any():
        return None
    sample = int(low.nonzero()[0])
    return (
        f"`{caller}` needs Jacobians of full rank; the singular values of sample {sample} go down "
        f"to {s[sample, -1].item():.1e}. Leave inactive latents out of the decoder."
    )
