r"""Singular-vector paths, seams, manifold density and curvature of any decoder.

A decoder carries latents to the manifold $\mathcal{M} = \{d(z)\}$. Right singular vectors of its
Jacobian, followed through the latents, are *singular-vector paths* (D3); their images, which
follow the left singular vectors, are *seams* (D4). The manifold density factorises over seams at
each point (Lemma 5.1); it is disentangled if and only if C1 and C2 hold (Theorem 5.2).

**What flatness tells.** Under C1-C2 the metric $J^\top J$ is $\sum_i s_i(z_i)^2 dz_i^2 = \sum_i
du_i^2$ with the seam coordinates $u_i$, so its curvature is zero. Curvature belongs to the
manifold and not to its coordinates. If it is not zero, *no* choice of latents on this manifold
satisfies C1-C2, nor does any decoder that fits the same manifold. If it is zero, some latents do
(locally), but perhaps not these: polar coordinates of the plane are flat, and satisfy C1 without
C2; a twisted plane is flat, and satisfies neither. Flatness is necessary, and blind to all that C1
and C2 say of the latents. For d = 1 it is empty. Curvature has the unit $1/x^2$: compare it with
$1/s^2$, the squared inverse length of one latent unit, before calling it small.

Decoders are as in `seams.derivatives`; use a float64 copy, and a smooth one: third derivatives of
the decoder enter `manifold_hessian`, second ones the curvature. The manifold of a ReLU network is
flat but for its creases, and both see the flat parts alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import grad, jacfwd, jvp, vjp, vmap

from seams.derivatives import (
    Decoder,
    _component,
    _decoder_fault,
    _gram,
    _half_of_digits,
    _over_batch,
    _relative_gap,
    _svd,
    align_axes,
    jacobian,
    jacobian_gram,
    jacobian_svd,
    singular_value_jacobian,
)
from seams.metrics import off_diagonality
from seams.shapes import Float

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

LogPrior = Callable[[Tensor], Tensor]
"""A factorised prior: latents `[..., latent]` to the log density of each, `[..., latent]`."""

Stop = Literal["extent", "bounds", "crossing", "rank"]

# The prior's standard deviation is 1. The solver adapts to what it sees, and longer steps could
# jump over a crossing of singular values without seeing it.
MAX_STEP = 0.25

# Where s^i has a zero, a root search in t to 1e-12 leaves it far below this share of the largest
# singular value; where a seam only bends back, s^i stays above.
VANISHED = 1e-6

# The solver turns by a fraction of this angle in a step of a smooth field. At 45 degrees another
# vector is as near in two dimensions; 30 degrees leave no doubt.
MIN_OVERLAP = math.cos(math.radians(30))


@dataclass(frozen=True)
class SingularVectorPath:
    r"""A singular-vector path $z_t$, and the seam $x_t = d(z_t)$ that is its image.

    Attributes:
        index: The singular value followed, in descending order at t = 0.
        t: Arc length in the latents; dimensionless, 0 at the start.
        z: The path; dimensionless.
        x: The seam, in the unit of x.
        u: Seam coordinate $\int_0^t s^i d\tau$, the arc length of the seam, in the unit of x.
        direction: The singular vector $v^i$ that is followed; dimensionless.
        singular_value: Its singular value $s^i$, in the unit of x.
        gap: Distance of $s^i$ to its neighbours and to zero, over the largest singular value. A
            dip to nearly 0 is a crossing that the path was continued through.
        stopped: Why the path ends, backward and forward.
    """

    index: int
    t: Float[Tensor, " point"]
    z: Float[Tensor, "point latent"]
    x: Float[Tensor, "point data"]
    u: Float[Tensor, " point"]
    direction: Float[Tensor, "point latent"]
    singular_value: Float[Tensor, " point"]
    gap: Float[Tensor, " point"]
    stopped: tuple[Stop, Stop]


@dataclass(frozen=True)
class SeamDirections:
    r"""Eigenvectors of the on-manifold Hessian: directions that the density alone determines.

    Attributes:
        eigenvalues: Of the Hessian of $\log p_\mu$, ascending, in the unit of $1/x^2$.
        directions: Unit tangent vectors in data space, one column for each eigenvalue.
        gap: The least distance between two eigenvalues, over the largest in absolute value. The
            directions are unique up to permutation and sign only if it is not zero.
    """

    eigenvalues: Float[Tensor, "batch latent"]
    directions: Float[Tensor, "batch data latent"]
    gap: Float[Tensor, " batch"]


def singular_vector_path(
    decoder: Decoder,
    z: Float[Tensor, " latent"],
    index: int,
    *,
    extent: float = 3.0,
    points: int = 101,
    bounds: float | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-8,
) -> SingularVectorPath:
    r"""Path along the i-th right singular vector, $\dot z_t = v^i(z_t)$, and its seam.

    Integrated both ways from `z` by scipy's adaptive Runge-Kutta pair 5(4), together with the seam
    coordinate $\dot u = s^i$. The vector is continued by overlap: each step follows the singular
    vector nearest to the last direction, whatever its rank among the singular values. So the path
    goes straight through points where $s^i$ crosses another value: among vectors whose values
    coincide it takes the combination nearest to the last direction. It stops

    * at the `"extent"` asked for, or at the `"bounds"` of the box;
    * at a `"crossing"` where no vector lies within 30 degrees of the last direction, or where the
      vectors turn too fast to follow: the continuation is undefined there;
    * where $s^i$ vanishes, so that the latents leave the regular set: `"rank"`.

    Args:
        decoder: One latent to one mean, without a batch axis; continuously differentiable, or the
            steps become very small.
        z: The start; dimensionless.
        index: Which singular value, 0 for the largest at `z`.
        extent: Arc length each way; dimensionless, in standard deviations of the prior.
        points: Points returned, equally spaced in t.
        bounds: Half the side of a box around 0 that the path must not leave, such as the support
            of a uniform prior.
        rtol: Relative tolerance of the solver.
        atol: Absolute tolerance of the solver.

    Returns:
        The path, the seam, and what was met on the way.

    Raises:
        ValueError: There is no such singular value; `extent` is not positive or there are fewer
            than 2 points; the start is out of bounds, or its singular value is not simple or
            zero; or the decoder's output is not one row per latent, or depends on the batch.

    Source: Definitions D3 and D4, Lemma C.1.
    """
    import numpy as np

    if fault := _decoder_fault(decoder, z.unsqueeze(0)) or _path_fault(
        z, index, extent, points, bounds
    ):
        raise ValueError(fault)
    _, s, V = jacobian_svd(decoder, z.unsqueeze(0))
    gap = _relative_gap(s)[0, index].item()
    if not gap > _half_of_digits(s.dtype):
        raise ValueError(
            "A path must start where its singular value is simple and not zero; value "
            f"{index} has a relative gap of {gap:.1e}. Start elsewhere."
        )
    backward, forward = (
        _march(decoder, z, V[0, :, index], sign * extent, bounds, rtol, atol) for sign in (-1, 1)
    )
    t = np.linspace(backward.end, forward.end, points)
    marches = [forward if value >= 0 else backward for value in t]
    state = np.stack([march.solution(value) for march, value in zip(marches, t, strict=True)])
    latents = torch.as_tensor(state[:, :-1]).to(z)
    followed = [
        _follow(J, march.last_direction(value))
        for J, march, value in zip(jacobian(decoder, latents), marches, t, strict=True)
    ]
    with torch.no_grad():
        seam = vmap(decoder)(latents)
    return SingularVectorPath(
        index=index,
        t=torch.as_tensor(t).to(z),
        z=latents,
        x=seam,
        u=torch.as_tensor(state[:, -1]).to(z),
        direction=torch.stack([point.direction for point in followed]),
        singular_value=torch.stack([point.value for point in followed]),
        gap=torch.stack([point.gap for point in followed]),
        stopped=(backward.stopped, forward.stopped),
    )


def seam_density(
    path: SingularVectorPath, log_prior: LogPrior | None = None
) -> Float[Tensor, " point"]:
    r"""One-dimensional density over a seam, $f_i(u_i(t)) = p_i([z_t]_i) / s^i(z_t)$.

    Push-forward of a one-dimensional marginal of the prior along the path. Reading chosen for
    $[z_t]_i$ where paths are not parallel to an axis: with the standard normal prior it is the
    coordinate in the V-basis, $v^i \cdot z_t$, whose density is normal in any direction; the
    product of the factors of all d seams through a point is then $p_\mu$, as in Lemma 5.1. Another
    prior factorises over the axes alone, and the axis nearest to $v^i$ is taken, which is exact
    under C1. Integrates to 1 over u if the path is straight and complete.

    Args:
        path: As of `singular_vector_path`.
        log_prior: The prior; default is the standard normal one.

    Returns:
        Density along `path.u`, in the unit of $1/x$.

    Source: Eq. 14.
    """
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
    r"""Log density on the manifold, $\log p_\mu(d(z)) = \sum_i (\log p_i(z_i) - \log s_i(z))$.

    With respect to d-dimensional area. Holds for every injective decoder, with or without C1-C2.

    Args:
        decoder: One latent to one mean, without a batch axis; injective.
        z: Latents of the points; dimensionless.
        log_prior: The factorised prior; default is the standard normal one.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        Natural logarithm of the density, in units of $x^{-d}$.

    Raises:
        ValueError: A Jacobian has not full rank; there are fewer data columns than latents; or the
            decoder's output is not one row per latent, or depends on the batch.

    Source: Lemma 5.1, Eq. 7.
    """
    _, s, _ = jacobian_svd(decoder, z, chunk_size=chunk_size)
    if fault := _rank_fault(s, "log_manifold_density"):
        raise ValueError(fault)
    return (log_prior or _standard_normal)(z).sum(-1) - s.log().sum(-1)


def log_seam_factors(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    *,
    log_prior: LogPrior | None = None,
    chunk_size: int | None = None,
) -> Float[Tensor, "batch latent"]:
    r"""Log factors of the manifold density, $\log p_i(z_i) - \log s^i(z)$, one for each latent.

    Factor $k$ belongs to the seam whose path is nearest to latent axis $k$ (`align_axes`). Their
    sum is `log_manifold_density`, always. Under C1-C2, and only then, factor $k$ depends on $z_k$
    alone. The coordinate is read as in `seam_density`. Where singular values coincide the sum is
    defined, the factors are not.

    Args:
        decoder: One latent to one mean, without a batch axis; injective.
        z: Latents of the points; dimensionless.
        log_prior: The factorised prior; default is the standard normal one.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        Natural logarithm of each factor, in units of $1/x$.

    Raises:
        ValueError: A Jacobian has not full rank; there are fewer data columns than latents; or the
            decoder's output is not one row per latent, or depends on the batch.

    Source: Lemma 5.1; Theorem 5.2.
    """
    _, s, V = jacobian_svd(decoder, z, chunk_size=chunk_size)
    if fault := _rank_fault(s, "log_seam_factors"):
        raise ValueError(fault)
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
    r"""Hessian of $\log p_\mu$ along the manifold, $u_i^\top H_x u_j$, in the frame U.

    Entry $(i, j)$ is the second covariant derivative along the left singular vectors $u^i, u^j$ of
    `jacobian_svd`: with $f = \log p_\mu \circ d$ and $w = J (J^\top J)^{-1} \nabla f$,

    $$ s_i^{-1}\, {v^i}^\top \big(\nabla^2 f - \textstyle\sum_k w_k \nabla^2 d_k\big) v^j s_j^{-1}.
    $$

    The second term removes what is due to the coordinates: the result belongs to the density and
    the manifold, and another decoder with the same density gives the same form. (The proof of
    Lemma 6.3 differentiates in seam coordinates with a fixed basis; where those exist, under
    C1-C2, both agree, and the matrix is diagonal.)

    Args:
        decoder: One latent to one mean, without a batch axis; injective, thrice differentiable.
        z: Latents of the points; dimensionless.
        log_prior: The factorised prior, twice differentiable; default is the standard normal one.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        One symmetric matrix per sample, in the unit of $1/x^2$.

    Raises:
        ValueError: A Jacobian has not full rank; there are fewer data columns than latents; or the
            decoder's output is not one row per latent, or depends on the batch.

    Source: Lemma 6.3, Eq. 15; Lemma 6.4.
    """
    U, s, V = jacobian_svd(decoder, z, chunk_size=chunk_size)
    if fault := _rank_fault(s, "manifold_hessian"):
        raise ValueError(fault)
    prior = log_prior or _standard_normal

    def log_density(z: Tensor) -> Tensor:
        # Not slogdet: its second derivatives under vmap are silently wrong in torch 2.13.
        L = torch.linalg.cholesky(_gram(decoder, z))
        return prior(z).sum() - L.diagonal().log().sum()

    def hessian(z: Tensor, U: Tensor, s: Tensor, V: Tensor) -> Tensor:
        slope = grad(log_density)
        second = jacfwd(slope)(z)
        w = U @ ((V.mT @ slope(z)) / s)
        frame = V / s
        return frame.mT @ (second - jacfwd(grad(partial(_component, decoder, w)))(z)) @ frame

    return _over_batch(hessian, z, U, s, V, chunk_size=chunk_size)


def seam_directions(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    *,
    log_prior: LogPrior | None = None,
    chunk_size: int | None = None,
) -> SeamDirections:
    r"""Directions of the seams as the density alone determines them, eigenvectors of $H_x$.

    If $p_\mu$ factorises over seams and the eigenvalues are distinct, these are the seams, unique
    up to permutation and sign, whatever decoder was used to find them. Comparing them with the
    left singular vectors U tells whether the decoder follows the seams of its own density.

    Args:
        decoder: One latent to one mean, without a batch axis; injective, thrice differentiable.
        z: Latents of the points; dimensionless.
        log_prior: The factorised prior; default is the standard normal one.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        Eigenvalues, directions and the relative gap between eigenvalues.

    Raises:
        ValueError: As `manifold_hessian`, and if there are fewer than 2 latents.

    Source: Lemma 6.3.
    """
    if z.shape[1] < 2:
        raise ValueError("`seam_directions` compares seams and needs 2 latents or more; got 1.")
    hessian = manifold_hessian(decoder, z, log_prior=log_prior, chunk_size=chunk_size)
    eigenvalues, vectors = torch.linalg.eigh((hessian + hessian.mT) / 2)
    U, _, _ = jacobian_svd(decoder, z, chunk_size=chunk_size)
    largest = eigenvalues.abs().amax(-1).clamp_min(torch.finfo(z.dtype).tiny)
    gap = eigenvalues.diff(dim=-1).amin(-1) / largest
    return SeamDirections(eigenvalues=eigenvalues, directions=U @ vectors, gap=gap)


def riemann_curvature(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> Float[Tensor, "batch latent latent latent latent"]:
    r"""Riemann tensor of the manifold, $R_{abcd} = h_{ac} \cdot h_{bd} - h_{ad} \cdot h_{bc}$.

    Components along the orthonormal frame U of `jacobian_svd`; $h_{ab}$ is the part of the second
    derivative of the decoder along $v^a/s_a, v^b/s_b$ that is normal to the manifold. By Gauss
    this is the curvature of the metric $J^\top J$ alone, from second derivatives instead of the
    third that the metric's own formula takes. Zero under C1-C2; the module's page says what
    zero does not tell.

    Args:
        decoder: One latent to one mean, without a batch axis; twice differentiable.
        z: Latents of the points; dimensionless.
        chunk_size: Samples differentiated at once; each holds `[latent, latent, data]`.

    Returns:
        Tensor with $R_{abab}$ the sectional curvature of the plane $u^a, u^b$, in $1/x^2$.

    Raises:
        ValueError: A Jacobian has not full rank; there are fewer data columns than latents; or the
            decoder's output is not one row per latent, or depends on the batch.

    Source: Not in the paper; a consequence of C1-C2 by Theorem 5.2 (Gauss's equation).
    """
    U, s, V = jacobian_svd(decoder, z, chunk_size=chunk_size)
    if fault := _rank_fault(s, "riemann_curvature"):
        raise ValueError(fault)

    def curvature(z: Tensor, U: Tensor, s: Tensor, V: Tensor) -> Tensor:
        def second(a: Tensor, b: Tensor) -> Tensor:
            return jvp(lambda z: _push(decoder, z, a), (z,), (b,))[1]

        frame = (V / s).mT
        h = vmap(vmap(second, in_dims=(None, 0)), in_dims=(0, None))(frame, frame)
        h = h - (h @ U) @ U.mT
        products = torch.einsum("abk,cdk->abcd", h, h)
        return products.permute(0, 2, 1, 3) - products.permute(0, 2, 3, 1)

    return _over_batch(curvature, z, U, s, V, chunk_size=chunk_size)


def gaussian_curvature(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> Float[Tensor, " batch"]:
    r"""Gaussian curvature K of a surface, $R_{1212}$ of `riemann_curvature`; two latents.

    $K \sqrt{\det J^\top J}$ is the angle, in radians, by which a direction turns when it is
    carried round one unit of latent area: dimensionless, and comparable between decoders.

    Args:
        decoder: One latent to one mean, without a batch axis; twice differentiable.
        z: Latents of the points; dimensionless.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        One curvature per sample, in the unit of $1/x^2$; $1/R^2$ on a sphere.

    Raises:
        ValueError: There are not 2 latents; or as `riemann_curvature`.

    Source: Not in the paper; a consequence of C1-C2 by Theorem 5.2.
    """
    if z.shape[1] != 2:
        raise ValueError(
            f"`gaussian_curvature` is for surfaces, of 2 latents; got {z.shape[1]}. Use "
            "`scalar_curvature` or `riemann_curvature`."
        )
    return riemann_curvature(decoder, z, chunk_size=chunk_size)[:, 0, 1, 0, 1]


def scalar_curvature(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> Float[Tensor, " batch"]:
    r"""Scalar curvature $\sum_{ab} R_{abab}$ of the manifold; $2K$ for a surface.

    Zero if the manifold is flat. For three latents or more the converse fails, as sectional
    curvatures of both signs may cancel: then take the norm of `riemann_curvature`.

    Args:
        decoder: One latent to one mean, without a batch axis; twice differentiable.
        z: Latents of the points; dimensionless.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        One curvature per sample, in the unit of $1/x^2$.

    Source: Not in the paper; a consequence of C1-C2 by Theorem 5.2.
    """
    return torch.einsum("nabab->n", riemann_curvature(decoder, z, chunk_size=chunk_size))


def c1_violation(
    decoder: Decoder, z: Float[Tensor, "batch latent"], *, chunk_size: int | None = None
) -> Float[Tensor, " batch"]:
    r"""How far C1 is from holding: mean $|\cos|$ of the angles between the columns of $J_z$.

    `off_diagonality` of $J^\top J$; 0 if and only if V is a signed permutation, or may be chosen
    so where singular values coincide. Unlike the angle of V itself it is well-conditioned there.

    Args:
        decoder: One latent to one mean, without a batch axis.
        z: Points of differentiation; dimensionless.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        One number in [0, 1] per sample.

    Source: Lemma 4.1, C1; Appendix E.
    """
    return off_diagonality(jacobian_gram(decoder, z, chunk_size=chunk_size))


def c2_violation(
    decoder: Decoder,
    z: Float[Tensor, "batch latent"],
    *,
    coinciding: Literal["raise", "nan"] = "raise",
    chunk_size: int | None = None,
) -> Float[Tensor, " batch"]:
    r"""How far C2 is from holding: share of $|\partial s_i / \partial z_j|$ off the diagonal.

    Rows are brought to the order of the latents by `align_axes`. 0 if each singular value changes
    along its own latent only; also 0, by definition, if none changes at all: if no entry, per unit
    of latent, exceeds the square root of the dtype's eps times the largest singular value (below
    that, the entries are rounding). A linear decoder satisfies C2.

    Args:
        decoder: One latent to one mean, without a batch axis; twice differentiable.
        z: Points of differentiation; dimensionless.
        coinciding: What to do where singular values coincide: raise, or return NaN.
        chunk_size: Samples differentiated at once; bounds the memory.

    Returns:
        One number in [0, 1] per sample.

    Source: Lemma 4.1, C2.
    """
    slopes = singular_value_jacobian(decoder, z, coinciding=coinciding, chunk_size=chunk_size)
    _, s, V = jacobian_svd(decoder, z, chunk_size=chunk_size)
    permutation, _ = align_axes(V)
    size = torch.take_along_dim(slopes.abs(), permutation.unsqueeze(2), 1)
    total = size.sum((1, 2))
    rest = size - torch.diag_embed(size.diagonal(dim1=1, dim2=2))
    constant = size.amax((1, 2)) <= _half_of_digits(s.dtype) * s[:, 0]
    return torch.where(constant, torch.zeros_like(total), rest.sum((1, 2)) / total)


@dataclass(frozen=True)
class _Followed:
    direction: Tensor  # v^i, continued
    push: Tensor  # J v^i = s^i u^i
    value: Tensor
    gap: Tensor
    share: float  # of the largest singular value
    overlap: float  # cosine to the last direction


def _follow(J: Tensor, last: Tensor) -> _Followed:
    # The singular vector nearest to the last direction.
    _, s, V = _svd(J)
    overlaps = V.mT @ last
    nearest = overlaps.abs().argmax()
    # Vectors of coinciding values span a space in which any basis is as good: project.
    same = (s - s[nearest]).abs() <= _half_of_digits(s.dtype) * s[0]
    projected = V[:, same] @ overlaps[same]
    direction = projected / projected.norm()
    return _Followed(
        direction=direction,
        push=J @ direction,
        value=s[nearest],
        gap=_relative_gap(s)[nearest],
        share=(s[nearest] / s[0]).item(),
        overlap=projected.norm().item(),
    )


@dataclass(frozen=True)
class _March:
    end: float
    stopped: Stop
    solution: Callable[[float], Any]  # time to latent and seam coordinate
    times: list[float]
    directions: list[Tensor]

    def last_direction(self, t: float) -> Tensor:
        nearest = min(range(len(self.times)), key=lambda n: abs(self.times[n] - t))
        return self.directions[nearest]


def _march(
    decoder: Decoder,
    z: Tensor,
    direction: Tensor,
    extent: float,
    bounds: float | None,
    rtol: float,
    atol: float,
) -> _March:
    # scipy's solver, stepped by hand: the direction to compare with changes after accepted steps
    # only, so that within a step the right-hand side is a function of the latent alone.
    import numpy as np
    from scipy.integrate import RK45, OdeSolution
    from scipy.optimize import brentq

    def at(state: "np.ndarray", last: Tensor) -> _Followed:
        return _follow(_columns(decoder, torch.as_tensor(state[:-1]).to(z)), last)

    def slope(t: float, state: "np.ndarray") -> "np.ndarray":
        point = at(state, here.direction)
        return np.append(point.direction.cpu().numpy(), point.value.item())

    def outside(t: float) -> float:
        assert bounds is not None
        return float(np.abs(piece(t)[:-1]).max()) - bounds

    def turned(t: float) -> float:
        return float(before.push @ at(piece(t), before.direction).push)

    start = np.append(z.cpu().numpy().astype(float), 0.0)
    here = at(start, direction)
    solver = RK45(slope, 0.0, start, extent, max_step=MAX_STEP, rtol=rtol, atol=atol)
    times, directions, pieces = [0.0], [direction], []
    stopped: Stop = "extent"
    end = 0.0
    while solver.status == "running" and stopped == "extent":
        solver.step()
        point = at(solver.y, here.direction)
        if solver.status == "failed" or point.overlap <= MIN_OVERLAP:
            stopped = "crossing"
            break
        piece, before, here = solver.dense_output(), here, point
        pieces.append(piece)
        times.append(solver.t)
        directions.append(here.direction)
        end = solver.t
        if bounds is not None and outside(end) > 0:
            end, stopped = brentq(outside, times[-2], end), "bounds"
        elif turned(end) <= 0:
            # The seam turned back: at a zero of s^i, or in a bend of its own.
            root = brentq(turned, times[-2], end)
            if at(piece(root), before.direction).share <= VANISHED:
                end, stopped = root, "rank"
    solution = OdeSolution(times, pieces) if pieces else lambda t: start
    return _March(end, stopped, solution, times, directions)


def _columns(decoder: Decoder, z: Tensor) -> Tensor:
    # J of a single latent, from two reverse passes a column: several times faster than forward
    # mode, which decomposes its operations in Python. Over a batch that cost vanishes.
    mean, pull = vjp(decoder, z)[:2]
    push = vjp(lambda w: pull(w)[0], torch.zeros_like(mean))[1]
    axes = torch.eye(len(z), dtype=z.dtype, device=z.device)
    return torch.stack([push(axis)[0] for axis in axes], -1).detach()


def _push(decoder: Decoder, z: Tensor, v: Tensor) -> Tensor:
    # J v from two reverse passes, for forward over forward has no rule for SiLU in torch.
    mean, pull = vjp(decoder, z)[:2]
    return vjp(lambda w: pull(w)[0], torch.zeros_like(mean))[1](v)[0]


def _standard_normal(z: Tensor) -> Tensor:
    return -0.5 * (z.square() + math.log(2 * math.pi))


def _rank_fault(s: Tensor, caller: str) -> str | None:
    # The rule of torch.linalg.matrix_rank: below it a singular value is rounding.
    low = s[:, -1] <= s.shape[1] * torch.finfo(s.dtype).eps * s[:, 0]
    if not low.any():
        return None
    sample = int(low.nonzero()[0])
    return (
        f"`{caller}` needs Jacobians of full rank; the singular values of sample {sample} go down "
        f"to {s[sample, -1].item():.1e}. Leave inactive latents out of the decoder."
    )


def _path_fault(
    z: Tensor, index: int, extent: float, points: int, bounds: float | None
) -> str | None:
    if not 0 <= index < len(z):
        return f"`index` must be one of 0..{len(z) - 1}, a singular value; got {index}."
    if not extent > 0 or points < 2:
        return (
            "A path needs a positive `extent` and 2 `points` or more; got "
            f"{extent} and {points}. Both directions are integrated anyway."
        )
    if bounds is not None and z.abs().max() > bounds:
        return (
            f"The start must lie inside `bounds` {bounds}; it has an entry of "
            f"{z.abs().max().item()}. Move it or widen the box."
        )
    return None
