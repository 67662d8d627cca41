"""How far from a posterior's mean derivatives stay diagonal (Section 4), and Eq. 6 with ReLU."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from seams import data as datasets
from seams.derivatives import (
    gram_and_hessian,
    optimal_precision,
    optimal_precision_one_derivative,
)
from seams.diagnosis.refine import refine_posterior
from seams.paper.frames import RATIOS, correlations
from seams.paper.optimum import active_of
from seams.paper.results import Results
from seams.scores import relative_difference, term_scores
from seams.training import Run

__all__ = [
    "at_distances",
    "by_network",
    "claim_closes",
    "claim_region",
    "closing",
    "first_images",
    "panels",
]

_NETWORKS = {
    ("mlp", "silu"): "MLP",
    ("mlp", "relu"): "MLP, ReLU",
    ("burgess", "silu"): "convolutional",
}
_NEAR, _FAR = 1.0, 2.0  # prior standard deviations, of the claims
_CHUNK = 64
_CLOSES, _OPEN = 0.05, 0.1  # relative difference of Eq. 6 up to which it holds, or does not
_STEPS, _DRAWS = 100, {"refine": 64, "two": 256, "one": 8_192}  # one derivative is noisier


def at_distances(
    runs: Sequence[Run], x: Tensor, distances: Sequence[float], draws: int
) -> pd.DataFrame:
    """`RATIOS` at points so far from each posterior mean, in prior standard deviations.

    Directions are uniform among active latents, the same for all runs with as many latents.

    Args:
        runs: Stored ones with weights.
        x: Data `[n, data]`, at the runs' resolution.
        distances: From the mean of each datum's posterior.
        draws: Directions a datum.

    Returns:
        One row a run and distance, with `network`, `activation`, `beta`, `seed`, `distance` and
        `spread`, the mean marginal standard deviation of active latents.

    Raises:
        ValueError: A distance that a claim needs is missing.
    """
    if missing := {0.0, _NEAR, _FAR} - set(distances):
        raise ValueError(
            f"`distances` must hold 0, {_NEAR:g} and {_FAR:g}, of which claims are; got none of "
            f"{sorted(missing)}."
        )
    rows = []
    for run in runs:
        vae, config, active = run.model(), run.config, active_of(run)
        posterior, exact = vae.encoder(x), deepcopy(vae).double()
        generator = torch.Generator().manual_seed(0)
        shape = (draws, *posterior.mean.shape)
        towards = torch.randn(shape, generator=generator, dtype=torch.float64) * active
        towards /= towards.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        spread = posterior.marginal_stddev[:, active].mean()
        common = {name: config[name] for name in ("network", "activation", "beta", "seed")}
        for distance in distances:
            z = (posterior.mean.double() + distance * towards).flatten(0, 1)
            near = x.double().repeat(draws, 1)
            terms = gram_and_hessian(exact.decoder, z, near, chunk_size=_CHUNK)
            found = term_scores(*terms, active).scores
            scores = {name: np.nan if found[name] is None else found[name] for name in RATIOS}
            rows.append(common | {"distance": distance, "spread": float(spread)} | scores)
    return pd.DataFrame(rows)


def by_network(
    runs: Sequence[Run], points: int, distances: Sequence[float], draws: int
) -> dict[str, pd.DataFrame]:
    """`at_distances` of the first images in a random order, by the network in words."""
    found = {}
    for kind, name in _NETWORKS.items():
        some = [run for run in runs if (run.config.network, run.config.activation) == kind]
        if some:
            found[name] = at_distances(some, first_images(some[0], points), distances, draws)
    return found


def first_images(run: Run, points: int) -> Tensor:
    """Of a run's data set, in a fixed random order, `[points, data]`."""
    data = datasets.load(run.config.dataset, run.config.resolution)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return data.batch(order[:points])


def closing(runs: Sequence[Run], x: Tensor) -> pd.DataFrame:
    """Relative difference of both sides of Eq. 6 on the diagonal, at each datum's best posterior.

    Args:
        runs: Stored ones with weights and diagonal posteriors.
        x: Data `[n, data]`, at the runs' resolution.

    Returns:
        A row a run: root mean square over active latents, NaN if there are none, of the right side
        by second derivatives, `two`, by first ones, `one`, and what the noise of the draws makes
        of the latter, `noise`.
    """
    rows = []
    for run in runs:
        vae, config, active = run.model(), run.config, active_of(run)
        options: dict[str, Any] = {"beta": config.beta, "sigma": config.sigma}
        start = vae.encoder(x)
        best = refine_posterior(
            vae.network, start.mean, start.scale_tril, x, steps=_STEPS, draws=_DRAWS["refine"],
            covariance="diagonal", **options,
        )  # fmt: skip
        at = [part.double() for part in (best.mean, best.scale_tril, x)]
        decoder, generator = deepcopy(vae.network).double(), torch.Generator().manual_seed(1)
        two = optimal_precision(
            decoder, *at, draws=_DRAWS["two"], generator=generator, chunk_size=512, **options
        ).precision
        one, error = optimal_precision_one_derivative(
            decoder, *at, draws=_DRAWS["one"], generator=generator, **options
        )
        left = torch.cholesky_inverse(at[1])
        apart = {"two": two, "one": one, "noise": left + error}
        row = {name: config[name] for name in ("activation", "beta", "seed")}
        for name, right in apart.items():
            some = relative_difference(at[1], right).diagonal(dim1=1, dim2=2)[:, active]
            row[name] = float(some.square().mean().sqrt())
        rows.append(row)
    return pd.DataFrame(rows)


def claim_closes(results: Results, rows: pd.DataFrame) -> None:
    """Claim that Eq. 6 closes by first derivatives with and without kinks, by second without."""
    note = "Mean over beta. Root mean square of the relative difference on the diagonal."
    for activation, who in (("silu", "Smooth networks"), ("relu", "Networks with ReLU")):
        of_seeds = rows[rows["activation"] == activation].groupby("seed")[["two", "one"]].mean()
        results.claim(
            f"{activation}_one",
            f"{who}: both sides of Eq. 6 agree by its form with one derivative.",
            of_seeds["one"].tolist(),
            _CLOSES,
            above=False,
            note=note,
        )
        smooth = activation == "silu"
        results.claim(
            f"{activation}_two",
            f"{who}: by that with two they {'agree as well' if smooth else 'do not agree'}.",
            of_seeds["two"].tolist(),
            _CLOSES if smooth else _OPEN,
            above=not smooth,
            note=note,
        )


def panels(tables: Mapping[str, pd.DataFrame]) -> dict[str, tuple[pd.DataFrame, str]]:
    """What to draw of each network: rows and a column, by title; of ReLUs no Hessian."""
    found = {}
    for name, rows in tables.items():
        labels = (r"$J^\top J$", r"$(x-d)^\top H$")
        for ratio, label in zip(RATIOS, labels, strict=True):
            if ratio != RATIOS[1] or name != _NETWORKS["mlp", "relu"]:
                found[f"{name}\n{label}"] = rows, ratio
    return found


def claim_region(results: Results, table: pd.DataFrame, prefix: str = "", who: str = "") -> None:
    """Claim that diagonality ends away from the mean, the sooner the smaller beta."""
    gram = table.pivot(index=["beta", "seed"], columns="distance", values=RATIOS[0])
    rise = (gram[_FAR] - gram[0.0]).groupby("seed").mean()
    results.claim(
        f"{prefix}ends",
        f"{who}JᵀJ is more diagonal at a posterior's mean than {_FAR:g} prior standard deviations "
        "away (own over random axes, difference).",
        rise.tolist(),
        0.0,
        note="Mean over beta.",
    )
    near = gram[_NEAR].rename("ratio").reset_index()
    says = f"{who}A larger beta keeps JᵀJ more diagonal {_NEAR:g} prior standard deviation away"
    betas = sorted(set(table["beta"]))
    if len(betas) > 3:
        values = correlations(near, "beta", "ratio", "seed")
        says += " (correlation over beta, a value a seed)."
    else:
        ends = near.pivot(index="seed", columns="beta", values="ratio")
        values = (ends[betas[-1]] - ends[betas[0]]).tolist()
        says += f" (beta = {betas[-1]:g} minus {betas[0]:g})."
    results.claim(f"{prefix}wider", says, values, 0.0, above=False)
