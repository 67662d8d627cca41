"""What a trained model is scored by, whoever asks: its evaluation, a diagnosis, a figure.

A score of "diagonal" stands beside its mean over random rotations of the same active latents
(`axes`): a low score is no merit where any axes would score as low.
"""

from seams.scores.axes import ROTATIONS, in_random_axes, random_rotations
from seams.scores.derived import (
    Along,
    Scored,
    along_axes,
    along_scores,
    term_scores,
)
from seams.scores.sides import (
    Sides,
    cancelled_share,
    compare_sides,
    relative_difference,
    turned_off_diagonality,
)

__all__ = [
    "COLLAPSED_RATE",
    "ROTATIONS",
    "Along",
    "Scored",
    "Sides",
    "along_axes",
    "along_scores",
    "cancelled_share",
    "compare_sides",
    "in_random_axes",
    "random_rotations",
    "relative_difference",
    "term_scores",
    "turned_off_diagonality",
]

COLLAPSED_RATE = 0.05  # nats a datum: below, posteriors count as collapsed, ignoring the data
