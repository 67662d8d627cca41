"""Density on the manifold of a decoder: its factors over seams (Lemma 5.1), and its Hessian.

Where it factorises, the eigenvectors of its Hessian are the seams (Lemma 6.3).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import grad, jacfwd

from seams.derivatives import Decoder, align_axes, jacobian_svd
from seams.derivatives.checks import finite, require_full_rank
from seams.derivatives.mapping import over_batch
from seams.derivatives.pointwise import component, gram
from seams.geometry.paths import SingularVectorPath
from seams.shapes import Float

__all__ = [
    "LogPrior",
    "SeamDirections",
    "log_manifold_density",
    "log_seam_factors",
    "manifold_hessian",
    "seam_density",
    "seam_directions",
]

LogPrior = Callable[[Tensor], Tensor]  # factorised: [..., latent] -> log density of each


@dataclass(frozen=True)
class SeamDirections:
    """Eigenvectors of the on-manifold Hessian, unique up to order and sign if no `gap` is 0."""

    eigenvalues: Float[Tensor, "batch latent"]  # of $H_x$, ascending, in the unit of $1/x^2$
    directions: Float[Tensor, "batch data latent"]  # unit tangent vectors as columns
    gap: Float[Tensor, " batch"]  # least distance of two eigenvalues, over the largest in size


def seam_density(
    path: SingularVectorPath, log_prior: LogPrior | None = None
) -> Float[Tensor, " point"]:
    """Density over a seam, $f_i(u_i(t)) = p_i([z_t]_i) / s^i(z_t)$, in $1/x$ (Eq. 14)."""
    # Push-forward of a one-dimensional marginal of the prior along the path. Reading chosen for
    # [z_t]_i where paths are not parallel to an axis: with the standard normal prior it is the
    # coordinate in the V-basis, v^i . z_t, whose density is normal in any direction; the product
    # of the factors of all d seams through a point is then p_mu, as in Lemma 5.1. Another prior
    # factorises over the axes alone, and the axis nearest to v^i is taken, which is exact under
    # C1. Integrates to 1 over u if the path is straight and complete.
    if log_prior is None:
        log_density = _standard_normal((path.direction * path.z).sum(-1))
    else:
        axis = path.direction.abs().argmax(-1, keepdim=True)
        log_density = log_prior(path.z).gather(-1, axis).squeeze(-1)
    return log_density.exp() / path.singular_value


def log_manifold_density(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    *,
    log_prior: LogPrior | None = None,
    chunk_size: int | None = None,
) -> Float[Tensor, " batch"]:
    r"""Log density on the manifold, $\log p_\mu = \sum_i (\log p_i(z_i) - \log s_i(z))$, Eq. 7."""
    # With respect to d-dimensional area, in units of x^-d (Lemma 5.1). Of every injective decoder,
    # with or without C1-C2; minus infinity where the prior is zero.
    _, s, _ = jacobian_svd(decoder, z, chunk_size=chunk_size)
    require_full_rank(s, "log_manifold_density")
    return (log_prior or _standard_normal)(z).sum(-1) - s.log().sum(-1)


def log_seam_factors(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    *,
    log_prior: LogPrior | None = None,
    chunk_size: int | None = None,
) -> Float[Tensor, "batch latent"]:
    r"""Log factors of the manifold density, $\log p_i(z_i) - \log s^i(z)$, for each latent."""
    # Factor k belongs to the seam whose path is nearest to latent axis k (`align_axes`). Their sum
    # is `log_manifold_density`, always (Lemma 5.1). Under C1-C2, and only then, factor k depends
    # on z_k alone (Theorem 5.2). The coordinate is read as in `seam_density`. Where singular
    # values coincide the sum is defined, the factors, in units of 1/x, are not.
    _, s, V = jacobian_svd(decoder, z, chunk_size=chunk_size)
    require_full_rank(s, "log_seam_factors")
    permutation, signs = align_axes(V)
    s = s.gather(1, permutation)
    if log_prior is not None:
        return log_prior(z) - s.log()
    axes = torch.take_along_dim(V, permutation.unsqueeze(1), 2) * signs.unsqueeze(1)
    return _standard_normal((axes.mT @ z.unsqueeze(-1)).squeeze(-1)) - s.log()


def manifold_hessian(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    *,
    log_prior: LogPrior | None = None,
    chunk_size: int | None = None,
) -> Float[Tensor, "batch latent latent"]:
    r"""Hessian of $\log p_\mu$ along the manifold, $u_i^\top H_x u_j$, in the frame of $u^i$.

    Entry $(i, j)$ is the second covariant derivative along the left singular vectors $u^i, u^j$ of
    `jacobian_svd`: with $f = \log p_\mu \circ d$ and $w = J (J^\top J)^{-1} \nabla f$,

    $$s_i^{-1} {v^i}^\top \big(\nabla^2 f - \textstyle\sum_k w_k \nabla^2 d_k\big) v^j s_j^{-1}.$$

    The second term removes what is due to the coordinates: another decoder with the same density
    and manifold gives the same form. (The proof of Lemma 6.3 differentiates in seam coordinates;
    where those exist, under C1-C2, both agree, and the matrix is diagonal.)

    Returns:
        One symmetric matrix per sample, in the unit of $1/x^2$.

    Raises:
        ValueError: The prior is zero at a point.

    Source: Lemma 6.3, Eq. 15; Lemma 6.4.
    """
    U, s, V = jacobian_svd(decoder, z, chunk_size=chunk_size)
    require_full_rank(s, "manifold_hessian")
    prior = log_prior or _standard_normal
    if not (possible := prior(z).isfinite().all(1)).all():
        raise ValueError(
            "`manifold_hessian` needs points where the prior is positive; that of sample "
            f"{int((~possible).nonzero()[0])} is zero or undefined. Leave out what lies outside "
            "its support."
        )

    def log_density(z: Tensor) -> Tensor:
        # Not slogdet: its second derivatives under vmap are silently wrong in torch 2.13.
        L = torch.linalg.cholesky(gram(decoder, z))
        return prior(z).sum() - L.diagonal().log().sum()

    def hessian(z: Tensor, U: Tensor, s: Tensor, V: Tensor) -> Tensor:
        slope = grad(log_density)
        second = jacfwd(slope)(z)
        w = U @ ((V.mT @ slope(z)) / s)
        frame = V / s
        return frame.mT @ (second - jacfwd(grad(partial(component, decoder, w)))(z)) @ frame

    return finite("manifold_hessian", over_batch(hessian, z, U, s, V, chunk_size=chunk_size))


def seam_directions(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    *,
    log_prior: LogPrior | None = None,
    chunk_size: int | None = None,
) -> SeamDirections:
    """Seams as the density alone determines them, eigenvectors of $H_x$ (Lemma 6.3)."""
    # Where the density factorises over seams and eigenvalues are distinct these are the seams, up
    # to permutation and sign, whatever decoder found them: compared with the left singular vectors
    # U they tell whether the decoder follows the seams of its own density.
    if z.shape[1] < 2:
        raise ValueError("`seam_directions` compares seams and needs 2 latents or more; got 1.")
    hessian = manifold_hessian(decoder, z, log_prior=log_prior, chunk_size=chunk_size)
    eigenvalues, vectors = torch.linalg.eigh((hessian + hessian.mT) / 2)
    U, _, _ = jacobian_svd(decoder, z, chunk_size=chunk_size)
    largest = eigenvalues.abs().amax(-1).clamp_min(torch.finfo(z.dtype).tiny)
    gap = eigenvalues.diff(dim=-1).amin(-1) / largest
    return SeamDirections(eigenvalues=eigenvalues, directions=U @ vectors, gap=gap)


def _standard_normal(z: Tensor) -> Tensor:
    return -0.5 * (z.square() + math.log(2 * math.pi))
