"""Where a decoder's Jacobian has full rank: the regular points, which alone have a geometry."""

import torch
from torch import Tensor

from seams.shapes import Float

__all__ = ["require_full_rank"]


def require_full_rank(s: Float[Tensor, "batch latent"], caller: str) -> None:
    """Refuse Jacobians, of these singular values, whose rank is not full."""
    # The rule of torch.linalg.matrix_rank: below it a singular value is rounding.
    low = s[:, -1] <= s.shape[1] * torch.finfo(s.dtype).eps * s[:, 0]
    if low.any():
        sample = int(low.nonzero()[0])
        raise ValueError(
            f"`{caller}` needs Jacobians of full rank; the singular values of sample {sample} go "
            f"down to {s[sample, -1].item():.1e}. Leave inactive latents out of the decoder."
        )
