r"""How far a decoder is from C1 and C2, by one number each a point."""

import torch
from torch import Tensor

from seams.derivatives import Decoder, jacobian_gram
from seams.derivatives.checks import half_of_digits
from seams.derivatives.singular import Coinciding, singular_frame
from seams.matching import best_columns
from seams.metrics import off_diagonality
from seams.shapes import Float

__all__ = ["c1_violation", "c2_violation", "off_diagonal_share"]


def c1_violation(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> Float[Tensor, " batch"]:
    r"""Violation of C1: mean $|\cos|$ of the columns of $J_z$, in [0, 1] (Lemma 4.1, App. E)."""
    # 0 if and only if V is a signed permutation, or may be chosen so where singular values
    # coincide: there, unlike the angle of V itself, it is well-conditioned.
    return off_diagonality(jacobian_gram(decoder, z, chunk_size=chunk_size))


def c2_violation(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    *,
    coinciding: Coinciding = "raise",
    chunk_size: int | None = None,
) -> Float[Tensor, " batch"]:
    r"""Violation of C2: share of $|\partial s_i / \partial z_j|$ off the diagonal, in [0, 1]."""
    # Rows are brought to the order of the latents by `align_axes`. 0 if each singular value
    # changes along its own latent only (Lemma 4.1, C2); also, by definition, if no entry, per unit
    # of latent, exceeds the square root of the dtype's eps times the largest singular value (below
    # that, entries are rounding), as for a linear decoder. Where values coincide, `coinciding`
    # says whether to raise or to return NaN.
    frame = singular_frame(decoder, z, coinciding, chunk_size)
    return off_diagonal_share(frame.slopes, frame.s, frame.V)


def off_diagonal_share(
    slopes: Float[Tensor, "... latent latent"],
    s: Float[Tensor, "... latent"],
    V: Float[Tensor, "... latent latent"],
) -> Float[Tensor, "..."]:
    r"""Share of $|\partial s_i / \partial z_j|$ off the diagonal in V's order; NaN if one is."""
    columns = best_columns(V.abs()).unsqueeze(-1)
    every, rows = torch.broadcast_tensors(slopes.abs(), columns)
    size = torch.take_along_dim(every, rows, -2)
    rest = size - torch.diag_embed(size.diagonal(dim1=-2, dim2=-1))
    total = size.sum((-2, -1))
    constant = size.amax((-2, -1)) <= half_of_digits(s.dtype) * s[..., 0]
    return torch.where(constant, 0, rest.sum((-2, -1)) / total)
