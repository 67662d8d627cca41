"""How far a decoder, its axes or its span are from the truth, up to what the data cannot tell."""

from dataclasses import dataclass

import torch
from torch import Tensor

from seams.matching import signed_distance
from seams.shapes import Float

__all__ = ["DecoderDistances", "axis_distance", "decoder_distances", "subspace_distance"]


@dataclass(frozen=True)
class DecoderDistances:
    """How far decoders are from the truth, one value a decoder; see `decoder_distances`."""

    U: Float[Tensor, " *batch"]
    s: Float[Tensor, " *batch"]
    V: Float[Tensor, " *batch"]


def decoder_distances(
    decoder: Float[Tensor, "*batch data latent"],
    U: Float[Tensor, "data latent"],
    s: Float[Tensor, " latent"],
) -> DecoderDistances:
    """The three curves of Figure 2: distance of a decoder's U, s and V to the truth, without unit.

    U and V are compared up to order and sign (`axis_distance`), V with the identity, as the true
    V is not in the data (Remark 6.2); s in descending order, relative to the norm of the truth.
    Where two of these coincide, U and V are arbitrary in their plane; `subspace_distance` is not.

    Returns:
        Three distances a decoder.

    Source: Figure 2, left and centre; the paper does not define its losses.
    """
    left, values, right = torch.linalg.svd(decoder, full_matrices=False)
    truth = s.sort(descending=True).values
    identity = torch.eye(len(s), dtype=decoder.dtype, device=decoder.device)
    return DecoderDistances(
        U=axis_distance(left, U),
        s=torch.linalg.vector_norm(values - truth, dim=-1) / torch.linalg.vector_norm(truth),
        V=axis_distance(right.mT, identity),
    )


def axis_distance(
    axes: Float[Tensor, "*batch space axis"], reference: Float[Tensor, "space axis"]
) -> Float[Tensor, " *batch"]:
    r"""Frobenius distance up to order and sign of orthonormal columns, $\min_Q \|A Q - B\|_F$.

    Exact, over signed permutations $Q$: a linear assignment on $|A^\top B|$. At most $\sqrt{2a}$
    for $a$ axes, when the two sets are orthogonal.

    Returns:
        One distance a matrix, without unit.

    Source: "P&S" of section 6; with $B = I$, the distance to orthogonality of Rolinek et al. 2019.
    """
    return signed_distance(axes, reference)


def subspace_distance(
    basis: Float[Tensor, "*batch space axis"], reference: Float[Tensor, "space axis"]
) -> Float[Tensor, " *batch"]:
    r"""Chordal distance of two spans, $\|(I - B B^\top) A\|_F$: root of summed squared sines.

    Unlike `axis_distance` it is defined, and goes to 0 in a fit, where singular values coincide.

    Returns:
        One distance a matrix, between 0 and $\sqrt a$ for $a$ axes.

    Source: Golub and Van Loan, section 6.4.3 (principal angles).
    """
    return torch.linalg.matrix_norm(basis - reference @ (reference.mT @ basis))
