"""Which latents could be told apart, two by two, and whether they are on their axes."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from seams.diagnosis.result import CONFIDENCE, MIXED, NEAR, Pair

__all__ = ["Shares", "pair_of", "pairs_of"]

Shares = Mapping[str, Tensor]  # by factor, the share of its entropy that each latent knows


def pairs_of(
    grams: Tensor, active: Tensor, beta: float, variance: float, shares: Shares
) -> tuple[Pair, ...]:
    """Every two active latents, the least distinct first."""
    kept = active.nonzero()[:, 0].tolist()
    pairs = [
        pair_of(grams[:, [i, j]][:, :, [i, j]], (i, j), beta, variance, shares)
        for place, i in enumerate(kept)
        for j in kept[place + 1 :]
    ]
    return tuple(sorted(pairs, key=lambda pair: pair.ratio))


def pair_of(
    block: Tensor, latents: tuple[int, int], beta: float, variance: float, shares: Shares
) -> Pair:
    """The plane of two latents, from its blocks of J'J [sample, 2, 2]."""
    n = len(block)
    centre = ((block[:, 0, 0] + block[:, 1, 1]) / 2).clamp(min=torch.finfo(block.dtype).tiny)
    d, c = (block[:, 0, 0] - block[:, 1, 1]) / 2 / centre, block[:, 0, 1] / centre
    pull = torch.stack([d.square() - c.square(), 2 * d * c], 1)
    mean = pull.mean(0)
    gap = 2 * mean.norm().sqrt().item()
    # Rounding alone must not decide where samples do not differ, as with a linear decoder.
    covariance = pull.T.cov() + torch.finfo(pull.dtype).eps * torch.eye(2).to(pull)
    statistic = n * (mean @ torch.linalg.solve(covariance, mean)).item()
    bound = (n - 1) * ((1 - CONFIDENCE) ** (-2 / (n - 2)) - 1)
    return Pair(
        latents=latents,
        ratio=math.sqrt((2 + gap) / (2 - gap)) if gap < 2 else math.inf,
        angle=math.degrees(0.25 * abs(math.atan2(mean[1].item(), mean[0].item()))),
        turn_cost=_turn_cost(block, beta, variance),
        distinct=gap >= NEAR and statistic > bound,
        mixed=_mixed(latents, shares),
    )


def _turn_cost(block: Tensor, beta: float, variance: float) -> float:
    """What the worst rotation of the plane costs a diagonal posterior against the best."""
    if math.isnan(variance):  # without a posterior
        return math.nan
    P = torch.eye(2).to(block) + block / variance
    angle = torch.deg2rad(torch.arange(90, dtype=block.dtype))[:, None]  # then it repeats
    centre, across = (P[:, 0, 0] + P[:, 1, 1]) / 2, (P[:, 0, 0] - P[:, 1, 1]) / 2
    swing = across * (2 * angle).cos() + P[:, 0, 1] * (2 * angle).sin()
    loss = 0.5 * beta * ((centre + swing).log() + (centre - swing).log()).mean(1)
    return (loss.max() - loss.min()).item()


def _mixed(latents: tuple[int, int], shares: Shares) -> tuple[str, ...]:
    known = torch.stack([share[list(latents)] for share in shares.values()]) if shares else None
    if known is None:
        return ()
    low, high = known.aminmax(dim=1)
    both = (low > MIXED[0]) & (low >= MIXED[1] * high)
    return tuple(name for name, mixed in zip(shares, both, strict=True) if mixed)
