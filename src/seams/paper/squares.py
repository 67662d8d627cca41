"""A square on a grid of places, apart or overlapping: what theory expects, and claims."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from seams import data as datasets
from seams.identify import matched_correlations
from seams.paper.results import Results
from seams.scores import COLLAPSED_RATE

__all__ = [
    "by_spacing",
    "chance_order",
    "claim_squares",
    "spectrum",
    "with_places",
    "worth_of_order",
]

_SPREAD = 1 - np.geomspace(0.5, 5e-4, 24)  # of a latent's means, its prior's being 1; and 0
_ALIVE = 0.9  # share of runs that theory has to place rightly
_GAIN = 0.02  # in MCC, as in the study of the gap


def with_places(rows: pd.DataFrame) -> pd.DataFrame:
    """With `spacing` in pixels, `lines` of the grid, and `above`: largest eigenvalue over beta."""
    parts = rows["dataset"].str.split("-", expand=True)
    rows = rows.assign(spacing=parts[1].astype(int), lines=parts[2].astype(int))
    largest = {
        name: spectrum(str(name), int(side), float(sigma))[0]
        for name, side, sigma in rows[["dataset", "resolution", "sigma"]].drop_duplicates().values
    }
    return rows.assign(above=rows["dataset"].map(largest) / rows["beta"])


def spectrum(name: str, side: int, sigma: float) -> np.ndarray:
    r"""Eigenvalues of the data's covariance over $\sigma^2$, falling: the unit of beta."""
    x = datasets.load(name, side).x.double()
    s = torch.linalg.svdvals(x - x.mean(0))
    return (s.square() / (len(x) * sigma**2)).numpy()


def chance_order(lines: int, draws: int = 2_000) -> float:
    """Mean MCC of two normal latents that know nothing of the places of a grid."""
    places = datasets.load(f"xy_square-8-{lines}", 8).latents
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(draws, *places.shape, generator=generator, dtype=torch.float64)
    return float(np.mean([float(matched_correlations(one, places).mean()) for one in z]))


def worth_of_order(name: str, side: int, sigma: float, beta: float, draws: int = 32) -> float:
    """Nats a datum that places lose when their images are dealt to them at random."""
    # Latents are normal scores of the places, spread as far as is best and as wide as the prior
    # leaves; the decoder is the best there is, the posterior mean of the image at a latent.
    found = datasets.load(name, side)
    rank = found.latents / (found.latents.amax(0) + 1)
    scores = torch.special.ndtri(rank + 0.5 / (found.latents.amax(0) + 1))
    scores = (scores - scores.mean(0)) / scores.std(0, correction=0)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(draws, *scores.shape, generator=generator, dtype=torch.float64)
    orders = [torch.arange(len(scores))]
    orders += [torch.randperm(len(scores), generator=generator) for _ in range(8)]
    x = found.x.double()
    losses = np.array([
        _losses(scores, spread, noise, [x[order] for order in orders], sigma, beta)
        for spread in (0.0, *_SPREAD)
    ]).min(0)  # fmt: skip
    return float(losses[1:].mean() - losses[0])


def _losses(
    scores: Tensor,
    spread: float,
    noise: Tensor,
    images: Sequence[Tensor],
    sigma: float,
    beta: float,
) -> list[float]:
    """Of Eq. 1, less its constant, for each way to deal the images."""
    width = (1 - spread**2) ** 0.5
    z = spread * scores + width * noise
    from_mean = (z[:, :, None] - spread * scores).square().sum(-1)
    weights = torch.softmax(-from_mean / (2 * width**2), -1)
    rate = float(
        0.5 * ((spread * scores).square() + width**2 - 1).sum(1).mean() - 2 * np.log(width)
    )
    return [
        float((x - weights @ x).square().sum(-1).mean()) / (2 * sigma**2) + beta * rate
        for x in images
    ]


def by_spacing(rows: pd.DataFrame, name: str, kind: str = "diagonal") -> pd.DataFrame:
    """A score of posteriors of a kind at the smallest beta, `[spacing, seed]`."""
    chosen = rows[(rows["covariance"] == kind) & (rows["beta"] == rows["beta"].min())]
    return chosen.pivot(index="spacing", columns="seed", values=name).astype(float)


def claim_squares(results: Results, rows: pd.DataFrame, chance: float) -> None:
    """Claim what theory says of overlap, of the plateau, and of two ranges; `chance` is MCC's."""
    lines = sorted(set(rows["lines"]))
    square, oblong = (rows[rows["lines"] == count] for count in (lines[-1], lines[0]))
    mcc = by_spacing(square, "mcc") - chance
    near, far = mcc.index[0], mcc.index[-1]
    says = "ordered (MCC above that of latents that know nothing of the places)"
    results.claim(
        "apart",
        f"Squares {far} pixels apart are not {says}.",
        mcc.loc[far].tolist(),
        0.1,
        above=False,
        note="Without overlap any naming of the places is as good as any other.",
    )
    results.claim(
        "overlap", f"Squares {near} pixels apart are {says}.", mcc.loc[near].tolist(), 0.5
    )
    spacing = pd.Series(mcc.index, mcc.index).rank()
    results.claim(
        "more_overlap",
        "The more they overlap, the better they are ordered (rank correlation of MCC with the "
        "spacing).",
        [float(mcc[seed].rank().corr(spacing)) for seed in mcc],
        -0.5,
        above=False,
    )
    plateau = square[square["covariance"] == "diagonal"]
    right = (plateau["rate"] > COLLAPSED_RATE) == (plateau["above"] > 1)
    results.claim(
        "plateau",
        "Latents come into use where the data's largest eigenvalue is above beta sigma^2, and "
        "nowhere else (share of the runs over beta and spacing).",
        right.groupby(plateau["seed"]).mean().tolist(),
        _ALIVE,
        note="Linear theory, of the plateau on which training begins.",
    )
    gains = {}
    for shape, some in (("square", square), ("oblong", oblong)):
        of_kinds = [by_spacing(some, "mcc", kind).loc[near] for kind in ("diagonal", "full")]
        gains[shape] = of_kinds[0] - of_kinds[1]
    results.claim(
        "axes",
        f"Squares {near} pixels apart on {lines[0]} rows are found along axes with diagonal "
        "posteriors, more than with full ones (MCC, difference).",
        gains["oblong"].tolist(),
        _GAIN,
    )
    if lines[0] != lines[-1]:
        results.claim(
            "ranges",
            f"The constraint is worth more on {lines[0]} rows than on {lines[-1]}, where both "
            "ranges are equal (the same difference, of both).",
            (gains["oblong"] - gains["square"]).tolist(),
            0.0,
        )
