"""Disentanglement metrics of any latents, and diagonality of any matrices (Appendix E).

Everything here takes tensors and knows no model. Rows of an information matrix are latents,
columns are factors, always.
"""

from seams.metrics.alignment import (
    axis_alignment_score,
    greedy_columns,
    greedy_order,
    mutual_information_gap,
    mutual_information_gaps,
)
from seams.metrics.diagonality import (
    ACTIVE,
    active_latents,
    distance_to_orthogonality,
    independent_mechanism_contrast,
    latents_in_use,
    off_diagonality,
    off_diagonality_of_mean,
)
from seams.metrics.information import (
    BINS,
    density_mutual_information,
    entropies,
    mutual_information,
)
from seams.metrics.intervals import difference_interval, mean_interval
from seams.metrics.recovery import correlation_matrix, linear_probe_r2, mean_correlation
from seams.metrics.supervised import (
    attribute_predictability,
    compactness_and_modularity,
    disentanglement_and_completeness,
    explicitness,
    linear_importance,
    local_mutual_information_gap,
    separated_attribute_predictability,
)

__all__ = [
    "ACTIVE",
    "BINS",
    "active_latents",
    "attribute_predictability",
    "axis_alignment_score",
    "compactness_and_modularity",
    "correlation_matrix",
    "density_mutual_information",
    "difference_interval",
    "disentanglement_and_completeness",
    "distance_to_orthogonality",
    "entropies",
    "explicitness",
    "greedy_columns",
    "greedy_order",
    "independent_mechanism_contrast",
    "latents_in_use",
    "linear_importance",
    "linear_probe_r2",
    "local_mutual_information_gap",
    "mean_correlation",
    "mean_interval",
    "mutual_information",
    "mutual_information_gap",
    "mutual_information_gaps",
    "off_diagonality",
    "off_diagonality_of_mean",
    "separated_attribute_predictability",
]
