"""How far from a posterior's mean the decoder's derivatives stay diagonal (Section 4)."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from seams import data as datasets
from seams.derivatives import gram_and_hessian
from seams.paper.frames import RATIOS, correlations
from seams.paper.optimum import active_of
from seams.paper.results import Results
from seams.scores import term_scores
from seams.training import Run

__all__ = ["at_distances", "by_network", "claim_region", "panels"]

_NETWORKS = {
    ("mlp", "silu"): "MLP",
    ("mlp", "relu"): "MLP, ReLU",
    ("burgess", "silu"): "convolutional",
}
_NEAR, _FAR = 1.0, 2.0  # prior standard deviations, of the claims
_CHUNK = 64


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
            data = datasets.load(some[0].config.dataset, some[0].config.resolution)
            order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
            found[name] = at_distances(some, data.batch(order[:points]), distances, draws)
    return found


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
