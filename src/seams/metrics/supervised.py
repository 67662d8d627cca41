"""Scores that readers of disentanglement know, beside the paper's: SAP, DCI, InfoMEC, local MIG.

Of latents `[n, latent]` and factors `[n, factor]`; rows of a matrix are latents. `one_hot` and
`periods` are those of `linear_probe_r2`: factors without order, and circular ones.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seams.metrics.alignment import mutual_information_gap
from seams.metrics.information import BINS, entropies, mutual_information
from seams.metrics.recovery import factor_columns
from seams.shapes import Float, Int

__all__ = [
    "CompactAndModular",
    "Dci",
    "attribute_predictability",
    "compactness_and_modularity",
    "disentanglement_and_completeness",
    "explicitness",
    "linear_importance",
    "local_mutual_information_gap",
    "separated_attribute_predictability",
]

_FEWEST = 100  # samples of a neighbourhood of which a histogram of 20 bins says something
_STEPS = 500  # of L-BFGS: the fit is convex, and stops earlier by its own tolerance


class Dci(NamedTuple):
    """Disentanglement D and completeness C of a matrix of importance, each 0 to 1."""

    disentanglement: float  # 1: a latent serves one factor
    completeness: float  # 1: a factor is served by one latent


class CompactAndModular(NamedTuple):
    """InfoC and InfoM, each 0 to 1."""

    compactness: float  # 1: one latent knows a factor
    modularity: float  # 1: a latent knows one factor


def attribute_predictability(
    latents: Float[Tensor, "n latent"],
    factors: Int[Tensor, "n factor"] | Float[Tensor, "n factor"],
    one_hot: Collection[int] = (),
    periods: Mapping[int, float | int] | None = None,
) -> Float[Tensor, "latent factor"]:
    """$R^2$ of each factor by a line through each single latent; 0 of a constant latent."""
    z, columns = _centred(latents), factor_columns(factors, one_hot, periods)
    size = z.square().sum(0)
    scores: list[Tensor] = []
    for t in map(_centred, columns):
        explained = (z.mT @ t).square().sum(1) / size.where(size > 0, 1.0)
        scores.append(explained / _positive(t.square().sum(), len(scores)))
    return torch.stack(scores, 1).to(latents.dtype)


def separated_attribute_predictability(
    latents: Float[Tensor, "n latent"],
    factors: Int[Tensor, "n factor"] | Float[Tensor, "n factor"],
    one_hot: Collection[int] = (),
    periods: Mapping[int, float | int] | None = None,
) -> float:
    """SAP, gap of the two latents that predict a factor best, mean over factors (Kumar 2018)."""
    # There a support vector machine predicts what has no order; here a line, its indicators.
    scores = attribute_predictability(latents, factors, one_hot, periods)
    if len(scores) < 2:
        raise ValueError("SAP needs 2 or more latents; got 1. No second one can compete.")
    first, second = scores.topk(2, dim=0).values
    return (first - second).mean().item()


def linear_importance(
    latents: Float[Tensor, "n latent"],
    factors: Int[Tensor, "n factor"] | Float[Tensor, "n factor"],
    one_hot: Collection[int] = (),
    periods: Mapping[int, float | int] | None = None,
) -> Float[Tensor, "latent factor"]:
    """Size of each latent's weight for each factor, by least squares, all scaled to variance 1."""
    # Eastwood and Williams 2018 have the lasso or random forests, Locatello et al. 2019 boosted
    # trees; what is left without a penalty is linear, and the same for everybody.
    z = _centred(latents)
    z = z / z.std(0).where(z.std(0) > 0, 1.0)
    weights: list[Tensor] = []
    for t in map(_centred, factor_columns(factors, one_hot, periods)):
        scale = _positive(t.square().sum(), len(weights)).sqrt() / (len(t) - 1) ** 0.5
        weights.append((torch.linalg.pinv(z) @ t).norm(dim=1) / scale)
    return torch.stack(weights, 1).to(latents.dtype)


def disentanglement_and_completeness(importance: Float[Tensor, "latent factor"]) -> Dci:
    r"""D and C of DCI: one minus the entropy of each row, and column, mean by total importance.

    Entropies are in units of the largest one, so that both are 0 for a constant matrix and 1 for a
    permuted diagonal. The third, informativeness, is `linear_probe_r2` for a linear importance.

    Returns:
        Both.

    Source: Eastwood and Williams 2018; weights of the mean as in Locatello et al. 2019.
    """
    _check("importance", importance)
    table = importance.double() / importance.double().sum()

    def score(table: Tensor) -> float:
        rows = table.sum(1, keepdim=True)
        entropy = torch.special.entr(table / rows.where(rows > 0, 1.0)).sum(1)
        largest = torch.tensor(table.shape[1], dtype=table.dtype).log()
        return (rows[:, 0] * (1 - entropy / largest)).sum().item()

    return Dci(score(table), score(table.mT))


def compactness_and_modularity(
    information: Float[Tensor, "latent factor"], entropies: Float[Tensor, " factor"]
) -> CompactAndModular:
    r"""InfoC and InfoM of $N_{jk} = I(z_j; v_k) / H(v_k)$: shares of maxima, above their floor.

    The largest entry over the sum, of each column or row, mean, and scaled so that equal entries
    give 0. Latents must be active: a row of zeros has no largest share.

    Returns:
        Both.

    Raises:
        ValueError: Fewer than 2 latents or factors, negative information, or a row or column of
            zeros.

    Source: Hsu et al. 2023, InfoMEC.
    """
    _check("information", information)
    table = information / entropies
    if (empty := (table.sum(1) == 0).nonzero()[:, 0].tolist()) or (table.sum(0) == 0).any():
        raise ValueError(
            f"InfoC and InfoM need latents that know something; latents {empty} and some factor "
            "have none. Pass active latents alone, and factors that they know."
        )

    def score(table: Tensor) -> float:
        floor = 1 / table.shape[1]
        return (((table.amax(1) / table.sum(1)).mean() - floor) / (1 - floor)).item()

    return CompactAndModular(score(table.mT), score(table))


def explicitness(
    latents: Float[Tensor, "n latent"], factors: Int[Tensor, "n factor"]
) -> Float[Tensor, " factor"]:
    r"""InfoE of each factor, $1 - H(v \mid \text{softmax of a linear map of } z) / H(v)$."""
    # In sample, without a penalty, as in Hsu et al. 2023; 1 if a linear map separates the values.
    z = _centred(latents)
    z = torch.cat([z / z.std(0).where(z.std(0) > 0, 1.0), torch.ones_like(z[:, :1])], 1)
    found: list[float] = []
    for column, entropy in zip(factors.T, entropies(factors).tolist(), strict=True):
        labels = column.unique(return_inverse=True)[1]
        weights = z.new_zeros(z.shape[1], _positive(labels.max(), len(found)) + 1)
        found.append(1 - _cross_entropy(z, labels, weights) / entropy)
    return torch.tensor(found, dtype=latents.dtype)


def local_mutual_information_gap(
    latents: Float[Tensor, "n latent"],
    factors: Int[Tensor, "n factor"],
    reach: int,
    places: int = 20,
    seed: int = 0,
) -> float:
    """MIG of samples near one place, mean over `places`: near is `reach` values in each factor.

    High with a low MIG: latents are aligned with factors everywhere, but not with the same ones.

    Returns:
        Between 0 and 1, no unit.

    Raises:
        ValueError: A neighbourhood has fewer than 100 samples.

    Source: Rhodes and Lee 2021, where samples are drawn around each place.
    """
    draws = torch.Generator().manual_seed(seed)
    values = torch.stack([column.unique(return_inverse=True)[1] for column in factors.T], 1)
    gaps = []
    for centre in torch.randint(len(factors), (places,), generator=draws):
        near = ((values - values[centre]).abs() <= reach).all(1)
        if near.sum() < _FEWEST:
            raise ValueError(
                f"A neighbourhood must have {_FEWEST} samples; got {int(near.sum())} within "
                f"{reach} values of each factor. Pass more samples, or a larger `reach`."
            )
        table = mutual_information(latents[near], factors[near], BINS)
        gaps.append(mutual_information_gap(table, entropies(factors[near]).to(table)))
    return sum(gaps) / len(gaps)


def _cross_entropy(z: Tensor, labels: Tensor, weights: Tensor) -> float:
    """Least mean cross-entropy of a linear softmax, nats."""
    weights.requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(z @ weights, labels)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
        return loss().item()


def _centred(values: Tensor) -> Tensor:
    values = values.detach().double()
    return (values - values.mean(0)) * (values != values[:1]).any(0)


def _positive(size: Any, factor: int) -> Any:
    if not size > 0:
        raise ValueError(f"Every factor must vary; factor {factor} does not. Drop its column.")
    return size


def _check(name: str, table: Tensor) -> None:
    if min(table.shape) < 2 or not (table >= 0).all() or not table.sum() > 0:
        raise ValueError(
            f"`{name}` must have 2 latents and 2 factors or more, and entries that are not "
            f"negative, some positive; got {list(table.shape)} from {table.min().item():g} to "
            f"{table.max().item():g}."
        )
