r"""Singular-vector paths of a decoder, and the seams that are their images (D3, D4)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from seams.derivatives import Decoder, jacobian, jacobian_svd
from seams.derivatives.checks import decoder_fault, half_of_digits
from seams.derivatives.singular import relative_gap
from seams.shapes import Float

__all__ = ["SingularVectorPath", "singular_vector_path"]

Stop = Literal["extent", "bounds", "crossing", "rank", "support"]

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
    """A singular-vector path $z_t$, and the seam $x_t = d(z_t)$ that is its image."""

    index: int  # of the singular value followed, in descending order at t = 0
    t: Float[Tensor, " point"]  # arc length in the latents, 0 at the start; dimensionless
    z: Float[Tensor, "point latent"]  # the path; dimensionless
    x: Float[Tensor, "point data"]  # the seam, in the unit of x
    u: Float[Tensor, " point"]  # arc length of the seam, $\int_0^t s^i d\tau$, in x
    direction: Float[Tensor, "point latent"]  # the singular vector $v^i$; dimensionless
    singular_value: Float[Tensor, " point"]  # $s^i$, in the unit of x
    gap: Float[Tensor, " point"]  # of $s^i$ to neighbours and 0, over the largest; near 0: crossed
    stopped: tuple[Stop, Stop]  # why the path ends, backward and forward


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

    Integrated both ways from `z`, for an arc length `extent` each, by scipy's adaptive Runge-Kutta
    pair 5(4), together with the seam coordinate $\dot u = s^i$; `points` are returned, equally
    spaced in t. `index` 0 is the largest singular value at `z`. Each step follows the singular
    vector nearest to the last direction, whatever its rank, so the path goes straight through
    points where $s^i$ crosses another value: among vectors whose values coincide it takes the
    combination nearest to the last direction. The decoder must be continuously differentiable, or
    the steps become very small. The path stops

    * at the `"extent"`, or at the `"bounds"`, half the side of a box around 0;
    * at a `"crossing"` where no vector lies within 30 degrees of the last direction, or where the
      vectors turn too fast to follow: the continuation is undefined there;
    * where $s^i$ vanishes, so that the latents leave the regular set: `"rank"`;
    * at the last point before the Jacobian is not finite, the edge of the decoder's domain:
      `"support"`, or `"bounds"` where both are the same.

    Returns:
        The path, the seam, and what was met on the way.

    Raises:
        ValueError: There is no such singular value, or at the start it is zero or not simple; the
            start is out of bounds; `extent` or `points` is too small; or `decoder` is not one.

    Source: Definitions D3 and D4, Lemma C.1.
    """
    if fault := decoder_fault(decoder, z.unsqueeze(0)) or _path_fault(
        z, index, extent, points, bounds
    ):
        raise ValueError(fault)
    _, s, V = jacobian_svd(decoder, z.unsqueeze(0))
    gap = relative_gap(s)[0, index].item()
    if not gap > half_of_digits(s.dtype):
        raise ValueError(
            "A path must start where its singular value is simple and not zero; value "
            f"{index} has a relative gap of {gap:.1e}. Start elsewhere."
        )
    start = V[0, :, index].cpu().numpy().astype(float)
    backward, forward = (
        _march(decoder, z, start, sign * extent, bounds, rtol, atol) for sign in (-1, 1)
    )
    t = np.linspace(backward.end, forward.end, points)
    marches = [forward if value >= 0 else backward for value in t]
    state = np.stack([march.solution(value) for march, value in zip(marches, t, strict=True)])
    latents = torch.as_tensor(state[:, :-1]).to(z)
    jacobians = jacobian(decoder, latents).cpu().numpy()
    followed = [
        _follow(J, march.last_direction(value))
        for J, march, value in zip(jacobians, marches, t, strict=True)
    ]
    gather = lambda values: torch.as_tensor(np.array(values)).to(z)
    with torch.no_grad():
        seam = vmap(decoder)(latents)
    return SingularVectorPath(
        index=index,
        t=torch.as_tensor(t).to(z),
        z=latents,
        x=seam,
        u=torch.as_tensor(state[:, -1]).to(z),
        direction=gather([point.direction for point in followed]),
        singular_value=gather([point.value for point in followed]),
        gap=gather([point.gap for point in followed]),
        stopped=(backward.stopped, forward.stopped),
    )


@dataclass(frozen=True)
class _Followed:
    direction: np.ndarray  # v^i, continued
    push: np.ndarray  # J v^i = s^i u^i
    value: float
    gap: float
    share: float  # of the largest singular value
    overlap: float  # cosine to the last direction


def _follow(J: np.ndarray, last: np.ndarray) -> _Followed:
    # The singular vector nearest to the last direction. In numpy, as the solver: a path asks for
    # thousands of matrices of a few entries each.
    _, s, V = np.linalg.svd(J, full_matrices=False)
    overlaps = V @ last
    nearest = int(np.abs(overlaps).argmax())
    # Vectors of coinciding values span a space in which any basis is as good: project.
    same = np.abs(s - s[nearest]) <= np.finfo(J.dtype).eps ** 0.5 * s[0]
    projected = overlaps[same] @ V[same]
    overlap = float(np.linalg.norm(projected))
    direction = projected / overlap
    neighbours = np.concatenate([[np.inf], s, [0.0]])
    gap = min(neighbours[nearest] - s[nearest], s[nearest] - neighbours[nearest + 2])
    return _Followed(
        direction=direction,
        push=J @ direction,
        value=float(s[nearest]),
        gap=float(gap / s[0]) if s[0] > 0 else 0.0,
        share=float(s[nearest] / s[0]) if s[0] > 0 else 0.0,
        overlap=overlap,
    )


@dataclass(frozen=True)
class _March:
    end: float
    stopped: Stop
    solution: Callable[[float], Any]  # time to latent and seam coordinate
    times: list[float]
    directions: list[np.ndarray]

    def last_direction(self, t: float) -> np.ndarray:
        nearest = min(range(len(self.times)), key=lambda n: abs(self.times[n] - t))
        return self.directions[nearest]


def _march(
    decoder: Decoder,
    z: Tensor,
    direction: np.ndarray,
    extent: float,
    bounds: float | None,
    rtol: float,
    atol: float,
) -> _March:
    # scipy's solver, stepped by hand: the direction to compare with changes after accepted steps
    # only, so that within a step the right-hand side is a function of the latent alone.
    from scipy.integrate import RK45, OdeSolution
    from scipy.optimize import brentq

    def columns(state: np.ndarray) -> np.ndarray:
        return _columns(decoder, torch.as_tensor(state[:-1]).to(z))

    def at(state: np.ndarray, last: np.ndarray) -> _Followed:
        return _follow(columns(state), last)

    start = np.append(z.cpu().numpy().astype(float), 0.0)
    here = latest = at(start, direction)
    undefined = False

    def slope(t: float, state: np.ndarray) -> np.ndarray:
        nonlocal latest, undefined
        J = columns(state)
        if not np.isfinite(J).all():
            undefined = True
            return np.full_like(state, np.nan)  # which makes the solver try a shorter step
        latest = _follow(J, here.direction)
        return np.append(latest.direction, latest.value)

    def outside(t: float) -> float:
        assert bounds is not None
        return float(np.abs(piece(t)[:-1]).max()) - bounds

    def turned(t: float) -> float:
        return float(before.push @ at(piece(t), before.direction).push)

    solver = RK45(slope, 0.0, start, extent, max_step=MAX_STEP, rtol=rtol, atol=atol)
    times, directions = [0.0], [direction]
    pieces: list[Any] = []
    stopped: Stop = "extent"
    end = 0.0
    while solver.status == "running" and stopped == "extent":
        undefined = False
        solver.step()
        if solver.status == "failed" and undefined:
            # However short the step: the edge of the support lies within rounding, which the
            # interpolation of the last steps may cross.
            while pieces and not np.isfinite(columns(pieces[-1](times[-1]))).all():
                del pieces[-1], times[-1], directions[-1]
            end, reach = times[-1], np.abs(solver.y[:-1]).max()
            near = bounds is not None and reach >= bounds * (1 - half_of_digits(z.dtype))
            stopped = "bounds" if near else "support"
            break
        # The pair 5(4) evaluates the end of a step last, unless it fails to end one.
        point = latest if solver.status != "failed" else at(solver.y, here.direction)
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
        elif before.push @ here.push <= 0:
            # The seam turned back: at a zero of s^i, or in a bend of its own.
            root = brentq(turned, times[-2], end)
            if at(piece(root), before.direction).share <= VANISHED:
                end, stopped = root, "rank"
    solution = OdeSolution(times, pieces) if pieces else lambda t: start
    return _March(end, stopped, solution, times, directions)


def _columns(decoder: Decoder, z: Tensor) -> np.ndarray:
    # J of a single latent, from two reverse passes a column: several times faster than forward
    # mode, which decomposes its operations in Python. Over a batch that cost vanishes.
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        mean = decoder(z)
        weights = torch.zeros_like(mean, requires_grad=True)
        (pulled,) = torch.autograd.grad(mean, z, weights, create_graph=True)
        columns = [
            torch.autograd.grad(entry, weights, retain_graph=True)[0] for entry in pulled.unbind()
        ]
    return torch.stack(columns, -1).cpu().numpy()


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
