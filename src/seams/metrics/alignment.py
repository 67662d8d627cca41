"""Scores of a matrix of information, and the orders in which it is shown.

Rows are latents, columns are factors; nats, and `entropies` one a factor; from any estimate, such
as `seams.metrics.information`. One that is negative or not finite is refused.
"""

import torch
from torch import Tensor

from seams.shapes import Float, Int

__all__ = [
    "axis_alignment_score",
    "greedy_columns",
    "greedy_order",
    "mutual_information_gap",
    "mutual_information_gaps",
]


def mutual_information_gaps(
    information: Float[Tensor, "*runs latent factor"],
    entropies: Float[Tensor, " factor"],
) -> Float[Tensor, "*runs factor"]:
    """Gap of each factor, $(I(z_{(1)}; v_k) - I(z_{(2)}; v_k)) / H(v_k)$, in [0, 1]."""
    # z_(1) and z_(2) are the two latents that know most about factor k (Chen et al. 2018, Sec. 4).
    if problem := _information_problem(information):
        raise ValueError(problem)
    if information.shape[-2] < 2:
        raise ValueError(
            f"The gap needs 2 or more latents; got {information.shape[-2]}. With one latent no "
            "second one can compete."
        )
    for factor, entropy in enumerate(entropies.tolist()):
        if not entropy > 0:
            raise ValueError(
                f"Every factor must vary; factor {factor} has entropy {entropy:g}. Drop its "
                "column (on dSprites: color) before calling."
            )
    first, second = information.topk(2, dim=-2).values.unbind(-2)
    return (first - second) / entropies


def mutual_information_gap(
    information: Float[Tensor, "latent factor"],
    entropies: Float[Tensor, " factor"],
) -> float:
    r"""MIG, $\frac1K \sum_k \big(I(z_{(1)}; v_k) - I(z_{(2)}; v_k)\big) / H(v_k)$.

    Latents $z_{(1)}$ and $z_{(2)}$ know most about factor $k$; there must be 2 or more, and every
    factor must vary. A low value does not mean that information is absent: rotate two latents and
    the gap closes; see `linear_probe_r2`.

    Returns:
        Between 0 and 1, no unit.

    Source: Chen et al. 2018, Sec. 4; plotted in Fig. 5.
    """
    return mutual_information_gaps(information, entropies).mean().item()


def axis_alignment_score(information: Float[Tensor, "latent factor"]) -> float:
    r"""AAS, sum of row and column maxima over twice the total of the information matrix.

    1 for a permuted diagonal. The floor is $\frac12 (1/d + 1/k)$ for $d$ latents and $k$ factors,
    reached by a constant matrix, all zeros too: 0.15 for 10 by 5, so values are comparable only at
    equal shapes.

    Returns:
        Between the floor and 1, no unit.

    Raises:
        ValueError: Information that is negative or not finite.

    Source: App. E, first listing.
    """
    if problem := _information_problem(information):
        raise ValueError(problem)
    total = information.sum().item()
    if total == 0:
        latent, factor = information.shape
        return 0.5 * (1 / latent + 1 / factor)
    peaks = information.amax(0).sum() + information.amax(1).sum()
    return 0.5 * peaks.item() / total


def greedy_order(
    information: Float[Tensor, "latent factor"],
) -> tuple[Int[Tensor, " latent"], Int[Tensor, " factor"]]:
    """Orders of latents and factors that put large entries on the diagonal, greedily (Sec. 7)."""
    # The largest entry of all comes first; then the largest outside its row and column, and so on.
    # What is left follows by its own largest entry. Show `information[latents][:, factors]`.
    latent, factor = information.shape
    left = information.detach().clone()
    latents: list[int] = []
    factors: list[int] = []
    for _ in range(min(latent, factor)):
        row, column = divmod(int(left.argmax()), factor)
        latents.append(row)
        factors.append(column)
        left[row] = -torch.inf
        left[:, column] = -torch.inf
    for order, peaks in ((latents, information.amax(1)), (factors, information.amax(0))):
        by_peak = peaks.argsort(descending=True, stable=True).tolist()
        order.extend(index for index in by_peak if index not in order)
    device = information.device
    return torch.tensor(latents, device=device), torch.tensor(factors, device=device)


def greedy_columns(information: Float[Tensor, "latent factor"]) -> Int[Tensor, " latent"]:
    """Order of latents that puts the greedy match of factor k at place k, unmatched ones last."""
    # As `greedy_order`, with the factors left where they are: maps of several runs can be
    # averaged.
    latents, factors = greedy_order(information)
    matched = min(information.shape)
    return torch.cat([latents[:matched][factors[:matched].argsort()], latents[matched:]])


def _information_problem(information: Tensor) -> str | None:
    # What is wrong with a matrix that cannot be mutual information.
    if (information >= 0).all() and information.isfinite().all():
        return None
    return (
        "`information` must be finite and not negative; got entries from "
        f"{information.min().item():g} to {information.max().item():g}. Mutual information is "
        "never below 0."
    )
