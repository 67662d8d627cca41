"""Singular values and vectors of a decoder's Jacobian, which C1 and C2 speak of."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from seams.derivatives import pointwise
from seams.derivatives.checks import finite, half_of_digits
from seams.derivatives.mapping import Decoder, over_batch
from seams.derivatives.terms import jacobian
from seams.matching import best_columns
from seams.shapes import Float, Int

__all__ = [
    "Coinciding",
    "SingularFrame",
    "align_axes",
    "jacobian_svd",
    "relative_gap",
    "singular_frame",
    "singular_value_jacobian",
    "svd",
]

Coinciding = Literal["raise", "nan"]

# Two entries of a singular vector within this share of the largest count as tied, and the first
# decides the sign: otherwise the sign of (1, -1) / sqrt 2 would hang on the last bit.
SIGN_TIE = 1e-6


def jacobian_svd(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> tuple[
    Float[Tensor, "batch data latent"],
    Float[Tensor, "batch latent"],
    Float[Tensor, "batch latent latent"],
]:
    r"""Singular value decomposition of the Jacobian, $J_z = U\, \mathrm{diag}(s)\, V^\top$.

    Columns of U and V are the singular vectors $u^i$, $v^i$; $s$ descends; V is not transposed.
    The largest entry of each $v^i$ is positive (the first of those within `SIGN_TIE` of the
    largest), so V = I wherever C1 holds in this order. Where singular values coincide, only the
    space spanned by their vectors is defined.

    Returns:
        U (dimensionless), s (in the unit of x) and V (dimensionless).

    Raises:
        ValueError: There are fewer data columns than latents.

    Source: Section 2, notation; Section 5, "The Jacobian SVD".
    """
    J = jacobian(decoder, z, chunk_size=chunk_size)
    if J.shape[1] < J.shape[2]:
        raise ValueError(
            f"`decoder` must have at least as many data columns as latents; got {J.shape[1]} for "
            f"{J.shape[2]}. Is its output only a part of the mean?"
        )
    return svd(J)


def align_axes(
    V: Float[Tensor, "batch latent latent"],
) -> tuple[Int[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
    """Permutation (axis to column) and signs that bring V closest to I: the paper's "P&S"."""
    # Column k of `V[n][:, permutation[n]] * signs[n]` is the singular vector of latent axis k, by
    # a linear assignment on -|V|: the least Frobenius distance. Apply the same permutation to U, s
    # and the rows of `singular_value_jacobian` before comparing them (Lemma 4.1, C1).
    permutation = best_columns(V.abs())
    diagonal = torch.take_along_dim(V, permutation.unsqueeze(1), 2).diagonal(dim1=1, dim2=2)
    signs = torch.where(diagonal < 0, -torch.ones_like(diagonal), torch.ones_like(diagonal))
    return permutation, signs


def singular_value_jacobian(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    *,
    coinciding: Coinciding = "raise",
    chunk_size: int | None = None,
) -> Float[Tensor, "batch latent latent"]:
    r"""Derivatives of the singular values, $\partial s_i/\partial z_j = u_i^\top J_{,j}\, v_i$.

    With $s_i$ in the descending order of `jacobian_svd` and $J_{,j} = \partial J / \partial z_j$.
    C2 says that, with rows in the order of `align_axes`, it is diagonal.

    A singular value is differentiable only if it is simple and not zero: its distance to its
    neighbours and to zero, over the largest, must exceed the square root of the dtype's eps. (At a
    gap g, rounding turns singular vectors by eps / g; half of the digits are left there.) Where it
    is not, `coinciding` says whether to raise, or to return NaN in its row.

    Returns:
        One matrix per sample, in the unit of $x$.

    Source: Lemma 4.1, C2; Appendix A.
    """
    return singular_frame(decoder, z, coinciding, chunk_size).slopes


@dataclass(frozen=True)
class SingularFrame:
    r"""$J = U\, \mathrm{diag}(s)\, V^\top$ with its `slopes` $\partial s_i / \partial z_j$."""

    U: Tensor
    s: Tensor
    V: Tensor
    slopes: Tensor


def singular_frame(
    decoder: Decoder, z: Tensor, coinciding: Coinciding, chunk_size: int | None = None
) -> SingularFrame:
    """What `jacobian_svd` and `singular_value_jacobian` say, from one decomposition."""
    # Row i: the Hessian of u_i . d(z) times v_i. Forward over forward has no rule for SiLU.
    U, s, V = jacobian_svd(decoder, z, chunk_size=chunk_size)
    gap = relative_gap(s)
    simple = gap > half_of_digits(s.dtype)
    if coinciding == "raise" and not simple.all():
        sample, value = (~simple).nonzero()[0].tolist()
        raise ValueError(
            "`singular_value_jacobian` needs simple, nonzero singular values; value "
            f"{value} of sample {sample} has a relative gap of {gap[sample, value].item():.1e} to "
            'its neighbours or to zero. Leave the sample out, or pass coinciding="nan".'
        )

    def rows(z: Tensor, U: Tensor, V: Tensor) -> Tensor:
        def row(u: Tensor, v: Tensor) -> Tensor:
            return jvp(grad(partial(pointwise.component, decoder, u)), (z,), (v,))[1]

        return vmap(row, in_dims=(1, 1))(U, V)

    slopes = finite("singular_value_jacobian", over_batch(rows, z, U, V, chunk_size=chunk_size))
    return SingularFrame(U, s, V, torch.where(simple.unsqueeze(-1), slopes, torch.nan))


def svd(J: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U, s and V of one matrix or of a batch, with signs as in `jacobian_svd`."""
    U, s, Vt = torch.linalg.svd(J, full_matrices=False)
    V = Vt.mT
    size = V.abs()
    tied = size >= (1 - SIGN_TIE) * size.amax(-2, keepdim=True)
    leading = torch.take_along_dim(V, tied.int().argmax(-2, keepdim=True), -2)
    signs = torch.where(leading < 0, -torch.ones_like(leading), torch.ones_like(leading))
    return U * signs, s, V * signs


def relative_gap(s: Tensor) -> Tensor:
    """Distance of each singular value to its neighbours and to zero, over the largest one."""
    step = s[..., :-1] - s[..., 1:]
    above = torch.cat([torch.full_like(s[..., :1], torch.inf), step], -1)
    below = torch.cat([step, s[..., -1:]], -1)
    return torch.minimum(above, below) / s[..., :1].clamp_min(torch.finfo(s.dtype).tiny)
