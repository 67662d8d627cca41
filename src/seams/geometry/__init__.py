r"""Singular-vector paths, seams, manifold density and curvature of any decoder.

Right singular vectors of a decoder's Jacobian, followed through the latents, are *singular-vector
paths* (D3); their images on the manifold $\mathcal{M} = \{d(z)\}$ are *seams* (D4). The manifold
density factorises over seams at each point (Lemma 5.1). It is disentangled if and only if C1 and
C2 hold (Theorem 5.2). They imply that the manifold is flat: `curvature` says what that leaves out.

Arguments are as in `seams.derivatives`; where a density is asked for, decoders are injective and
`log_prior` is standard normal by default, and Jacobians must have full rank. Use a float64 copy,
and a smooth one: third derivatives of the decoder enter `manifold_hessian`, second ones the
curvature. Of a ReLU network, flat but for its creases, both see the flat parts alone.
"""

from seams.geometry.conditions import c1_violation, c2_violation
from seams.geometry.curvature import gaussian_curvature, riemann_curvature, scalar_curvature
from seams.geometry.densities import (
    LogPrior,
    SeamDirections,
    log_manifold_density,
    log_seam_factors,
    manifold_hessian,
    seam_density,
    seam_directions,
)
from seams.geometry.paths import SingularVectorPath, singular_vector_path

__all__ = [
    "LogPrior",
    "SeamDirections",
    "SingularVectorPath",
    "c1_violation",
    "c2_violation",
    "gaussian_curvature",
    "log_manifold_density",
    "log_seam_factors",
    "manifold_hessian",
    "riemann_curvature",
    "scalar_curvature",
    "seam_density",
    "seam_directions",
    "singular_vector_path",
]
