"""The paper's statements as numbers: each on one random map, decoder or pair of vectors.

From a seed to the residual of what a statement says, 0 up to rounding where it holds, or to the
size of the failure that it tells of. Maps are of `seams.data.generators`, so that C1 and C2 hold
or not by construction; nothing is trained.
"""

from seams.paper.checks import gaussian, manifolds, readings
from seams.paper.checks.base import Check

__all__ = ["CHECKS", "Check"]

CHECKS: tuple[Check, ...] = (*gaussian.CHECKS, *manifolds.CHECKS, *readings.CHECKS)
