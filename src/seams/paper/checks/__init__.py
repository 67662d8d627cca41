r"""The paper's statements as numbers: each on one random map, decoder or pair of vectors.

A check takes a seed and gives one number. It is the residual of what a statement says, 0 up to
rounding where it holds, or, where a statement says that something fails, the size of the failure.
Maps are drawn from `seams.data.generators`, so that C1 and C2 hold or not by construction; nothing
is trained.
"""

from seams.paper.checks import gaussian, manifolds
from seams.paper.checks.base import Check

__all__ = ["CHECKS", "Check"]

CHECKS: tuple[Check, ...] = (*gaussian.CHECKS, *manifolds.CHECKS)
"""All of them, in the order of the paper within each half."""
