"""Runs as one tidy frame, and what figures read off it: by seed, in pairs, over beta, in training.

A value that a run lacks, because it is not defined there or was not computed, is NaN.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from seams import data as datasets
from seams.derivatives import jacobian_svd
from seams.linear import predicted_active
from seams.metrics import ACTIVE, distance_to_orthogonality, greedy_columns
from seams.training import Run, TrainConfig, build, table

__all__ = [
    "MOVED",
    "RATIOS",
    "against_diagonal",
    "by_kind",
    "correlations",
    "curves",
    "diagonality",
    "frame",
    "information",
    "means",
    "nearest",
    "paired",
    "predicted",
    "random_dto",
    "reconstructions",
    "traversals",
    "unit_diagonal",
    "untrained_dto",
]

_TERMS = {"gram": r"$J^\top J$", "hessian": r"$(x-d)^\top H$"}
RATIOS = tuple(f"off_diagonal_{term}_of_abs_ratio" for term in _TERMS)
"""Off-diagonality of both terms of Eq. 6 over its mean in random axes of the same latents."""

MOVED = (  # below a gallery of `traversals`
    "Seed 0; the most active latents of each model, each alone at the chosen position, the others "
    "at the posterior mean of one image. Under each its rank and its activity, the variance of "
    "its posterior mean."
)

_SPECTRUM = 6_000  # images whose covariance is taken


def frame(runs: Iterable[Run]) -> pd.DataFrame:
    """As `seams.training.table`, with `run`, `loss` of Eq. 1 less its constant, and `RATIOS`."""
    runs = list(runs)
    rows = table(runs)
    rows["run"] = pd.Series(runs, rows.index, dtype=object)
    for name in {name for run in runs for name in run.scores}:
        rows[name] = pd.to_numeric(rows[name], errors="coerce")
    rate = rows["rate"].mask(rows["covariance"] == "none", 0.0)  # no part of its loss
    rows["loss"] = rows["distortion"] / (2 * rows["sigma"] ** 2) + rows["beta"] * rate
    return rows.assign(**{name: math.nan for name in RATIOS if name not in rows})


def diagonality(rows: pd.DataFrame) -> dict[str, str]:
    """Columns with labels for an axis: `RATIOS`, or raw scores if a run has these alone."""
    raw = {f"off_diagonal_{term}_of_abs": text for term, text in _TERMS.items()}
    lacking = [
        rows[ratio].isna() & rows[name].notna() for ratio, name in zip(RATIOS, raw, strict=True)
    ]
    if any(missing.any() for missing in lacking):
        return {name: f"off-diag.\n{text}" for name, text in raw.items()}
    return {
        ratio: f"{text}\n/ random" for ratio, text in zip(RATIOS, _TERMS.values(), strict=True)
    }


def predicted(
    dataset: str, resolution: int, sigma: float, betas: Iterable[float], latent: int
) -> list[int]:
    """How many latents linear theory lets be active, at most `latent`, one number a beta."""
    images = datasets.load(dataset, resolution)
    x = images.batch(torch.arange(0, len(images), max(1, len(images) // _SPECTRUM))).double()
    spectrum = torch.linalg.eigvalsh(x.T.cov()).flip(0)
    alive = [predicted_active(spectrum, sigma=sigma, beta=beta) for beta in betas]
    return [min(int(count.sum()), latent) for count in alive]


def nearest(values: Iterable[float], to: float = 1.0) -> float:
    """The one of positive values that is nearest to another by their ratio."""
    return min(values, key=lambda value: abs(math.log(value / to)))


def by_kind(rows: pd.DataFrame, name: str) -> dict[str, pd.DataFrame]:
    """One score by posterior covariance, of runs on one data set: `[beta, seed]`."""
    return {
        str(kind): group.pivot(index="beta", columns="seed", values=name).astype(float)
        for kind, group in rows.groupby("covariance")
    }


def paired(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Score of diagonal minus that of full posteriors, `[beta, seed]`; NaN where one is."""
    found = by_kind(rows, name)
    return found["diagonal"] - found["full"]


def against_diagonal(rows: pd.DataFrame, name: str) -> pd.Series:
    """A score over its mean with diagonal posteriors on the same data at the same beta."""
    keys = ["dataset", "beta"]
    diagonal = rows[rows["covariance"] == "diagonal"].groupby(keys)[name].mean().rename("mean")
    return rows[name] / rows[keys].join(diagonal, on=keys)["mean"]


def correlations(rows: pd.DataFrame, one: str, other: str, within: str) -> list[float]:
    """Spearman, by rising `within`; NaN of a constant score, or of fewer than four runs.

    Returns:
        One a group. Three ranks agree by chance in one case of six, and so without any spread.
    """
    found = []
    for _, group in rows.groupby(within):
        ranks = group[[one, other]].astype(float).dropna().rank()
        known = len(ranks) > 3 and bool((ranks.nunique() > 1).all())
        found.append(float(ranks[one].corr(ranks[other])) if known else math.nan)
    return found


def means(rows: pd.DataFrame, names: Sequence[str], by: Sequence[str]) -> dict[str, float]:
    """Means over seeds, such as `mig_diagonal_0_3`, of scores that all runs of a group have."""
    found = {}
    for key, group in rows.groupby(list(by)):
        label = "_".join(f"{k:g}" if isinstance(k, float) else f"{k}" for k in key)
        for name in names:
            if group[name].notna().all():
                key_of = f"{name}_{label}".replace(".", "_").replace("-", "_")
                found[key_of] = float(group[name].mean())
    return found


def curves(runs: Sequence[Run], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Training images `[point]` and a score along them `[run, point]`, NaN where not defined."""
    images = runs[0].arrays["curve_step"] * runs[0].config.batch
    return images, np.array([run.arrays[f"curve_{name}"] for run in runs])


def information(runs: Iterable[Run]) -> np.ndarray:
    """Mutual information in nats `[latent, factor]`, mean over runs, latents matched greedily."""
    maps = [torch.from_numpy(run.arrays["information"]) for run in runs]
    return np.mean([m[greedy_columns(m)].numpy() for m in maps], 0)


def unit_diagonal(runs: Iterable[Run], term: str) -> np.ndarray:
    """Mean over runs of $D^{-1/2} |M| D^{-1/2}$ (Appendix E), `[latent, latent]`."""
    # Latents by falling activity; over the runs in which both are active, NaN where there is none.
    found = []
    for run in runs:
        activity = run.arrays["activity"]
        active = activity > ACTIVE
        matrix = np.where(np.outer(active, active), np.abs(run.arrays[term]), np.nan)
        root = np.sqrt(matrix.diagonal())
        order = np.argsort(-activity)
        found.append((matrix / np.outer(root, root))[order][:, order])
    count = np.isfinite(found).sum(0)
    return np.where(count, np.nansum(found, 0) / np.maximum(count, 1), np.nan)


def reconstructions(run: Run) -> np.ndarray:
    """An even number of images above their reconstructions, `[4, column, side, side]`, 0..255."""
    side = run.config.resolution
    pairs = np.stack([run.arrays["images"], run.arrays["reconstructions"]])
    first, second = np.split(pairs, 2, axis=1)
    return np.concatenate([first, second]).reshape(4, -1, side, side)


def random_dto(active: pd.Series) -> pd.Series:
    """Mean `dto` of 1,000 draws of as many random orthogonal directions as are active."""
    generator = torch.Generator().manual_seed(0)
    chance = {}
    for count in sorted(set(active.clip(lower=1).astype(int))):
        draws = torch.randn(1000, count, count, generator=generator, dtype=torch.float64)
        chance[count] = float(distance_to_orthogonality(torch.linalg.qr(draws)[0]).mean())
    return active.clip(lower=1).map(chance)


def untrained_dto(config: TrainConfig, seeds: int = 100, draws: int = 128) -> list[float]:
    """Mean `dto` at draws of the prior of decoders that were not trained, by seed."""
    data = datasets.load(config.dataset, config.resolution).batch(torch.tensor([0])).numel()
    generator, found = torch.Generator().manual_seed(0), []
    for seed in range(seeds):
        decoder = build(replace(config, seed=seed), data).network.double()
        z = torch.randn(draws, config.latent, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            found.append(float(distance_to_orthogonality(jacobian_svd(decoder, z)[2]).mean()))
    return found


def traversals(run: Run, latents: int) -> tuple[np.ndarray, np.ndarray]:
    """Images `[latent, step, side, side]`, 0..255, and activities `[latent]`, largest first."""
    side = run.config.resolution
    moved = run.arrays["traversals"][:latents]
    activity = np.sort(run.arrays["activity"])[::-1][:latents]
    return moved.reshape(*moved.shape[:2], side, side), activity
