"""Whether known latents are recovered: up to permutation and sign, and up to any linear map.

`latents` are learned ones, usually posterior means; `truth` generated the same samples.
"""

from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor

from seams.matching import matched_scores
from seams.shapes import Bool, Float, Int

__all__ = ["correlation_matrix", "factor_columns", "linear_probe_r2", "mean_correlation"]


def correlation_matrix(
    latents: Float[Tensor, "n latent"],
    truth: Float[Tensor, "n true"],
    method: Literal["pearson", "spearman"] = "pearson",
) -> Float[Tensor, "latent true"]:
    r"""Correlation of each latent (row) with each true latent, $\rho(z_j, t_k)$, with sign."""
    # A constant latent correlates with nothing: its row is 0. Pearson sees linear relations;
    # Spearman, on ranks, any monotonic one.
    for name, values in (("latents", latents), ("truth", truth)):
        if unfit := int((~values.isfinite()).sum()):
            raise ValueError(f"`{name}` must be finite; got {unfit} values that are not.")
    constant = (truth == truth[:1]).all(0)
    if constant.any():
        raise ValueError(
            f"`truth` must vary in every column; column {int(constant.nonzero()[0])} does not. "
            "Drop it."
        )
    columns = []
    for values in (latents, truth):
        varies = (values != values[:1]).any(0)
        if method == "spearman":
            values = _ranks(values)
        # Where nothing varies, the mean's rounding error must not become a direction.
        centred = (values - values.mean(0)) * varies
        columns.append(centred / torch.linalg.vector_norm(centred, dim=0).where(varies, 1.0))
    return columns[0].T @ columns[1]


def mean_correlation(
    latents: Float[Tensor, "n latent"],
    truth: Float[Tensor, "n true"],
    method: Literal["pearson", "spearman"] = "pearson",
) -> float:
    r"""MCC, $\max_\pi \frac1k \sum_k \lvert\rho(z_{\pi(k)}, t_k)\rvert$ over assignments $\pi$."""
    # Each latent is given to at most one of the k true ones; a true latent that goes without
    # counts as 0, and spare latents cost nothing. 1 if the latents are recovered up to
    # permutation, sign and, for Pearson, scale and shift or, for Spearman, a monotonic map each.
    # Source: Hyvarinen and Morioka 2016.
    magnitude = correlation_matrix(latents, truth, method).detach().abs()
    return float(matched_scores(magnitude.mT).mean())


def linear_probe_r2(
    latents: Float[Tensor, "n latent"],
    factors: Int[Tensor, "n factor"] | Float[Tensor, "n factor"],
    one_hot: Collection[int] = (),
    periods: Mapping[int, float | int] | None = None,
    train: Bool[Tensor, " n"] | None = None,
) -> Float[Tensor, " factor"]:
    r"""Held-out $R^2$ of each factor, predicted linearly from all latents, 1 at most.

    Least squares with intercept, so any invertible linear map of the latents, a rotation among
    them, leaves it unchanged: it says whether the information is there, where MIG says whether it
    is aligned. $R^2 = 1 - \mathrm{SSE} / \mathrm{SST}$ about the mean of the held-out half, summed
    over the columns that encode the factor; negative if the probe is worse than that mean.

    A factor is one column, its value, unless stated. A category without order (shape), in
    `one_hot`, has one indicator column per value. A circular one (orientation, of which index 0
    and 39 are the same image: period 39, in the unit of its column) in `periods` has cosine and
    sine. Symmetries of single shapes are not undone: they lower every score. `train` says which
    samples to fit on, the others being scored; None takes a random half, the same one at each
    call. Not in the paper: the rotation-invariant companion to App. E's metrics.

    Returns:
        One value per factor.

    Raises:
        ValueError: A value is not finite, `one_hot` and `periods` do not fit the columns, a side
            of the split is empty, or a factor does not vary in the held-out half.
    """
    if factors.ndim != 2 or len(factors) != len(latents):
        raise ValueError(
            f"`factors` must have one row a sample and one column a factor; got "
            f"{list(factors.shape)} for {len(latents)} samples."
        )
    n, factor = factors.shape
    for name, values in (("latents", latents), ("factors", factors)):
        if unfit := int((~values.isfinite()).sum()):
            raise ValueError(f"`{name}` must be finite; got {unfit} values that are not.")
    targets = factor_columns(factors, one_hot, periods)
    if train is None:
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        train = (order < n // 2).to(latents.device)
    if train.all() or not train.any():
        raise ValueError(
            f"`train` must leave samples on both sides; got {int(train.sum())} of {n} to fit on."
        )
    target = torch.cat(targets, 1)
    inputs = latents.detach().double()
    inputs, target = inputs - inputs[train].mean(0), target - target[train].mean(0)
    # The pseudo-inverse, since a collapsed latent is a column of zeros.
    residual = target - inputs @ (torch.linalg.pinv(inputs[train]) @ target[train])
    sizes = [part.shape[1] for part in targets]
    held_out = target[~train]
    error = residual[~train].square().sum(0).split(sizes)
    total = (held_out - held_out.mean(0)).square().sum(0).split(sizes)
    scores = []
    for column in range(factor):
        if (factors[~train, column] == factors[~train, column][0]).all():
            raise ValueError(
                f"Every factor must vary among the held-out samples; factor {column} does not. "
                "Drop its column, or pass another `train`."
            )
        scores.append(1 - error[column].sum() / total[column].sum())
    return torch.stack(scores).to(latents.dtype)


def factor_columns(
    factors: Int[Tensor, "n factor"] | Float[Tensor, "n factor"],
    one_hot: Collection[int] = (),
    periods: Mapping[int, float | int] | None = None,
) -> list[Tensor]:
    """Columns `[n, size]` that encode each factor, float64, as `linear_probe_r2` predicts them."""
    periods, factor = periods or {}, factors.shape[1]
    for column in (*one_hot, *periods):
        if column not in range(factor) or (column in one_hot and column in periods):
            raise ValueError(
                f"`one_hot` and `periods` must name different columns from 0 to {factor - 1}; got "
                f"{sorted(one_hot)} and {sorted(periods)}."
            )
    for column, period in periods.items():
        if not period > 0:
            raise ValueError(f"A period must be positive; got {period} for column {column}.")
    targets = []
    for column in range(factor):
        values = factors[:, column]
        if column in one_hot:
            targets.append(
                torch.nn.functional.one_hot(values.unique(return_inverse=True)[1]).double()
            )
        elif column in periods:
            angle = 2 * torch.pi * values.double() / periods[column]
            targets.append(torch.stack([angle.cos(), angle.sin()], 1))
        else:
            targets.append(values.double()[:, None])
    return targets


def _ranks(values: Tensor) -> Tensor:
    # Rank of each value within its column; ties share their mean rank.
    from scipy.stats import rankdata

    return torch.from_numpy(rankdata(values.detach().cpu().numpy(), axis=0)).to(values)
