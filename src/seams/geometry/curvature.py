r"""Curvature of the manifold of a decoder, zero under C1-C2 by Theorem 5.2; not in the paper.

Under C1-C2 the metric $J^\top J$ is $\sum_i s_i(z_i)^2 dz_i^2 = \sum_i du_i^2$ with the seam
coordinates $u_i$: flat. Curvature belongs to the manifold and not to its coordinates. If it is not
zero, *no* choice of latents on this manifold satisfies C1-C2, nor does any decoder that fits it.
If it is zero, some latents do (locally), but perhaps not these: polar coordinates of the plane are
flat, and satisfy C1 without C2; a twisted plane is flat, and satisfies neither. For d = 1 it is
empty. Curvature has the unit $1/x^2$: compare it with $1/s^2$, the squared inverse length of one
latent unit, before calling it small.
"""

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from seams.derivatives import Decoder, jacobian_svd
from seams.derivatives.checks import finite, require_full_rank
from seams.derivatives.mapping import over_batch
from seams.shapes import Float

__all__ = ["gaussian_curvature", "riemann_curvature", "scalar_curvature"]


def riemann_curvature(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> Float[Tensor, "batch latent latent latent latent"]:
    r"""Riemann tensor of the manifold, $R_{abcd} = h_{ac} \cdot h_{bd} - h_{ad} \cdot h_{bc}$."""
    # Components along the orthonormal frame U of `jacobian_svd`: R_abab is the sectional curvature
    # of the plane u^a, u^b, in 1/x^2. h_ab is the part of the second derivative of the decoder
    # along v^a/s_a, v^b/s_b that is normal to the manifold. By Gauss this is the curvature of the
    # metric J'J alone, from second derivatives, not third ones. Each sample differentiated at once
    # holds [latent, latent, data].
    U, s, V = jacobian_svd(decoder, z, chunk_size=chunk_size)
    require_full_rank(s, "riemann_curvature")

    def curvature(z: Tensor, U: Tensor, s: Tensor, V: Tensor) -> Tensor:
        def second(a: Tensor, b: Tensor) -> Tensor:
            return jvp(lambda z: _push(decoder, z, a), (z,), (b,))[1]

        frame = (V / s).mT
        h = vmap(vmap(second, in_dims=(None, 0)), in_dims=(0, None))(frame, frame)
        h = h - (h @ U) @ U.mT
        products = torch.einsum("abk,cdk->abcd", h, h)
        return products.permute(0, 2, 1, 3) - products.permute(0, 2, 3, 1)

    R = over_batch(curvature, z, U, s, V, chunk_size=chunk_size)
    return finite("riemann_curvature", R)


def gaussian_curvature(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> Float[Tensor, " batch"]:
    """Gaussian curvature K of a surface, $R_{1212}$ in $1/x^2$: $1/R^2$ on a sphere."""
    # K sqrt(det J'J) is the angle, in radians, by which a direction turns when it is carried round
    # one unit of latent area: dimensionless, and comparable between decoders.
    if z.shape[1] != 2:
        raise ValueError(
            f"`gaussian_curvature` is for surfaces, of 2 latents; got {z.shape[1]}. Use "
            "`scalar_curvature` or `riemann_curvature`."
        )
    return riemann_curvature(decoder, z, chunk_size=chunk_size)[:, 0, 1, 0, 1]


def scalar_curvature(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> Float[Tensor, " batch"]:
    r"""Scalar curvature, $\sum_{ab} R_{abab}$ in $1/x^2$: 2K of a surface, 0 if it is flat."""
    return torch.einsum("nabab->n", riemann_curvature(decoder, z, chunk_size=chunk_size))


def _push(decoder: Decoder, z: Tensor, v: Tensor) -> Tensor:
    # J v from two reverse passes, for forward over forward has no rule for SiLU in torch.
    mean, pull = vjp(decoder, z)[:2]
    return vjp(lambda w: pull(w)[0], torch.zeros_like(mean))[1](v)[0]
