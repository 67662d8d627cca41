r"""First and second derivatives of any decoder: $J$, $J^\top J$, directed Hessian, Eq. 6, SVD.

Latents are few and data columns many, so Jacobians are made of forward passes (one JVP a latent),
and Hessians are those of a scalar, forward over reverse: no array grows beyond
`[chunk, data, latent]`, and `chunk_size` bounds `chunk` (default: the whole batch; for means over
draws, as many as have 2^20 columns of data). No NaN is returned in silence: a result that is not
finite raises, and names its sample.

Where a function says no more: `decoder` maps one latent `[latent]` to one mean `[data]`, without a
batch axis; `z` are the points of differentiation, dimensionless, since the prior is standard
normal; `x` are data, in the unit of the decoder's output. A decoder whose output is not one row
per latent or depends on the batch, an empty batch, and sizes or signs that do not fit are refused
with a ValueError. Pass a float64 copy for diagnostics; the dtype is kept. Results carry no graph.
"""

from seams.derivatives.mapping import Decoder
from seams.derivatives.precision import (
    Precision,
    optimal_precision,
    optimal_precision_one_derivative,
)
from seams.derivatives.singular import align_axes, jacobian_svd, singular_value_jacobian
from seams.derivatives.terms import (
    directed_hessian,
    gram_and_hessian,
    jacobian,
    jacobian_gram,
    log_likelihood_hessian,
)

__all__ = [
    "Decoder",
    "Precision",
    "align_axes",
    "directed_hessian",
    "gram_and_hessian",
    "jacobian",
    "jacobian_gram",
    "jacobian_svd",
    "log_likelihood_hessian",
    "optimal_precision",
    "optimal_precision_one_derivative",
    "singular_value_jacobian",
]
