"""The linear Gaussian model: closed forms (`closed`), and distances to the truth (`distances`)."""

from seams.linear.closed import (
    alignment_rate,
    decoder_mle,
    diagonal_gap,
    fitting_rate,
    linear_elbo,
    log_evidence,
    optimal_posterior,
    posterior_precision,
    ppca_em,
    predicted_active,
    rotation_curvature,
)
from seams.linear.distances import (
    DecoderDistances,
    axis_distance,
    decoder_distances,
    subspace_distance,
)

__all__ = [
    "DecoderDistances",
    "alignment_rate",
    "axis_distance",
    "decoder_distances",
    "decoder_mle",
    "diagonal_gap",
    "fitting_rate",
    "linear_elbo",
    "log_evidence",
    "optimal_posterior",
    "posterior_precision",
    "ppca_em",
    "predicted_active",
    "rotation_curvature",
    "subspace_distance",
]
