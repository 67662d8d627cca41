"""Information of a mixture about its labels, with components of any widths.

An interval is halved until each part is narrow against every component that reaches into it. What
wider ones sum up to is a polynomial in each part, handed down from half to half: so each component
is evaluated in a few parts of its own width, however much narrower others are.
"""

import math

import torch
from torch import Tensor

from seams.shapes import Float, Int

__all__ = ["REACH", "mixture_information"]

REACH = 6.0  # standard deviations: all but 2e-9 of a Gaussian lies within, far below other errors

# A part is at most twice as wide as a component's standard deviation: 16 Gauss-Legendre nodes then
# hold its density to 1e-11 of the peak, and integrals of its logarithm to 1e-9.
_PART = 2.0
_NODES = 16
# Halvings of the range: 1e-10 of it, where rounding of the means is 2e-6 of a standard deviation.
_DEEPEST = 32
_PARTS = 2**22  # of densities, values times nodes times parts, held for one level at a time


def mixture_information(
    mean: Float[Tensor, " n"],
    scale: Float[Tensor, " n"],
    labels: Int[Tensor, "factor n"],
    sizes: list[int],
) -> Float[Tensor, " factor"]:
    """Nats that a mixture of equally weighted normals tells of labels, numbered through."""
    ends = lambda scale: ((mean - REACH * scale).min(), (mean + REACH * scale).max())
    low, high = ends(scale)
    scale = scale.clamp(min=((high - low) / 2.0**_DEEPEST).item())
    low, high = ends(scale)
    extent = high - low
    depth = (extent / (_PART * scale)).log2().ceil().clamp(min=0).long()
    total = sum(sizes)
    share = torch.bincount(labels.flatten(), minlength=total).to(mean) / len(mean)
    t, weight, halves = (a.to(mean) for a in _rule())
    most = max(1, _PARTS // (total * _NODES))
    information = mean.new_zeros(len(sizes))
    of_row = torch.repeat_interleave(torch.tensor(sizes)).to(mean.device)
    tiny = torch.finfo(mean.dtype).tiny
    at = lambda x, width, level: ((x - low) / width).floor().long().clamp(0, 2**level - 1)
    todo = [(0, labels.new_zeros(1), mean.new_zeros(1, total, _NODES))]
    while todo:
        level, parts, table = todo.pop()
        width = extent / 2.0**level
        here = depth == level
        m, s, label = mean[here], scale[here], labels[:, here]
        first, last = at(m - REACH * s, width, level), at(m + REACH * s, width, level)
        for step in range(int((last - first).max()) + 1 if len(m) else 0):
            part = first + step
            place = torch.searchsorted(parts, part).clamp(max=len(parts) - 1)
            near = ((part <= last) & (parts[place] == part)).nonzero()[:, 0]
            place, spread = place[near], s[near, None]
            u = (low + (part[near, None] + t) * width - m[near, None]) / spread
            density = (-0.5 * u.square()).exp() / (spread * math.sqrt(2 * math.pi) * len(mean))
            for values in label[:, near]:
                table.view(-1, _NODES).index_add_(0, place * total + values, density)
        m, s = mean[depth > level], scale[depth > level]
        first, last = (at(m + sign * REACH * s, width, level).sort()[0] for sign in (-1, 1))
        # How many narrower components began up to this part, and how many ended before it.
        divided = torch.searchsorted(first, parts, right=True) > torch.searchsorted(last, parts)
        whole = table[~divided]
        density = whole[:, : sizes[0]].sum(1)  # every label's rows sum to it
        # Most labels have no mass in most parts.
        part, row = (whole > 0).any(-1).nonzero().unbind(1)
        joint = whole[part, row]
        ratio = joint / density[part].clamp(min=tiny) / share[row, None]
        terms = width * (torch.special.xlogy(joint, ratio.clamp(min=tiny)) @ weight)
        information.index_add_(0, of_row[row], terms)
        if divided.any():
            children = (2 * parts[divided, None] + torch.arange(2, device=parts.device)).flatten()
            # Rounding may leave a density just below zero, which has no logarithm.
            inner = torch.einsum("pvk,hkl->phvl", table[divided], halves).clamp(min=0)
            todo += zip(
                [level + 1] * len(children),
                children.split(most),
                inner.flatten(0, 1).split(most),
                strict=False,
            )
    return information.clamp(min=0)


def _rule() -> tuple[Tensor, Tensor, Tensor]:
    """Nodes and weights on [0, 1], and the matrices that interpolate to those of each half."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    t, weight = torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)
    legendre = lambda x: torch.from_numpy(np.polynomial.legendre.legvander(x, _NODES - 1))
    back = torch.linalg.inv(legendre(nodes))
    halves = [(legendre((nodes + side) / 2) @ back).mT for side in (-1, 1)]
    return t, weight, torch.stack(halves)
