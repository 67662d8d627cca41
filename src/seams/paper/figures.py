"""Which runs a figure needs: one function a figure, from the parameters of its notebook.

The notebook loads these runs and `seams sweep` trains them, by the same call, so that it finds
what was trained elsewhere. Parameters that change the figure alone are taken and ignored.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from seams import data
from seams.paper.results import Results
from seams.sweep import grid, train_or_load
from seams.training import Run, Store, TrainConfig

__all__ = ["FIGURES", "Figure", "load"]

_KINDS = ("diagonal", "full")  # of posterior covariance, the comparison of the paper


def fig01(*, seeds: int, **values: Any) -> list[TrainConfig]:
    """Two latents on a curved sheet in space: full posteriors, then diagonal ones; Figure 1."""
    true = dict[str, Any](dataset="sheet", resolution=1, latent=2, sigma=data.sheet().sigma)
    base = _config(values, "beta width images batch learning_rate", network="mlp", **true)
    return grid(base, covariance=_KINDS[::-1], seed=_seeds(seeds))


def fig02(*, seeds: int, **values: Any) -> list[TrainConfig]:
    """Linear VAEs on linear Gaussian data, their weights kept along training; Figure 2."""
    truth = data.linear()
    true = dict[str, Any](dataset="linear", resolution=1, latent=len(truth.s), sigma=truth.sigma)
    base = _config(values, "beta images batch learning_rate", network="linear", **true)
    base = replace(base, warmup=0, snapshots=60)
    return grid(base, covariance=_KINDS, seed=_seeds(seeds))


def fig05(
    *,
    betas: Sequence[float],
    seeds: int,
    full_seeds: int = 0,
    large_resolution: int = 0,
    **values: Any,
) -> list[TrainConfig]:
    """Posteriors x betas x seeds on dSprites, then on larger images; Figure 5."""
    base = _dsprites(values)
    runs = grid(base, covariance=_KINDS, beta=_betas(betas), seed=_seeds(seeds))
    if full_seeds:
        runs = [c for c in runs if c.covariance == "diagonal" or c.seed < full_seeds]
    if large_resolution:
        values |= {"resolution": large_resolution} | _prefixed("large_", values)
        runs += fig05(**values)
    return runs


def fig03(*, beta: float, **of_fig05: Any) -> list[TrainConfig]:
    """Runs of Figure 5 at one beta; Figure 3."""
    return fig05(betas=[beta], **of_fig05)


def grids(
    *, resolution: int, betas: Sequence[float], conv_beta: float, **values: Any
) -> list[TrainConfig]:
    """Runs of Figure 5 on two grids: MLPs over beta, then convolutional networks at one."""
    names = ("width", "seeds", "images", "batch", "learning_rate")
    mlp = {"network": "mlp", "betas": betas} | {name: values[name] for name in names}
    convolutional = {"network": "burgess", "betas": [conv_beta]} | _prefixed("conv_", values)
    return [
        run
        for network in (mlp, convolutional)
        for dataset in ("dsprites", "dsprites_half_height")
        for run in fig05(dataset=dataset, resolution=resolution, **network)
    ]


def fig06(
    *, betas: Sequence[float], shares: Sequence[float], seeds: int, **values: Any
) -> list[TrainConfig]:
    """Circles in the plane over beta, both near collapse, and coins; Figure 6, Appendix B."""
    true = dict[str, Any](dataset="circles", resolution=1, latent=2)
    base = _config(values, "width images batch learning_rate", network="mlp", **true)
    # Above this beta linear theory leaves no latent active: the largest eigenvalue of the circles'
    # covariance over sigma^2 = 1. For coins it is 1, their variance over that of the likelihood.
    largest = float(data.load("circles", 1).x.double().T.cov(correction=0).diagonal().max())
    near = [float(f"{share * largest:.6g}") for share in sorted(shares)]
    axes = {"seed": _seeds(seeds)}
    coins = replace(base, dataset="coins", latent=4, likelihood="bernoulli")
    return (
        grid(base, beta=sorted(betas), **axes)
        + grid(base, beta=near, **axes)
        + grid(coins, beta=sorted(shares), **axes)
    )


def fig08(*, betas: Sequence[float], seeds: int, **values: Any) -> list[TrainConfig]:
    """Posteriors x betas x seeds on faces, of which Figures 7 to 10 share the runs."""
    # On few images latents that pay for themselves collapse in a short rise of the KL term.
    common = "dataset resolution network width latent images batch learning_rate"
    base = _config(values, common, sigma=values["resolution"] / 64, depth=1, warmup=0.5)
    return grid(base, covariance=_KINDS, beta=_betas(betas), seed=_seeds(seeds))


def fig11(
    *, betas: Sequence[float], seeds: int, snapshots: int, hold: float = 0.0, **values: Any
) -> list[TrainConfig]:
    """Constant betas as in Figure 5, falling ones, and such as are held first; Figure 11."""
    if len(set(betas)) < 2:
        raise ValueError(f"`betas` must hold two values or more to move between; got {betas}.")
    base = _dsprites(values)
    runs = grid(base, beta=sorted(set(betas)), seed=_seeds(seeds))
    falling = replace(base, beta=min(betas), beta_start=max(betas), snapshots=snapshots)
    runs += grid(falling, hold=sorted({0.0, hold}), seed=_seeds(seeds))
    others = sorted({*values.get("lengths", ())} - {base.images})
    return runs + [replace(run, images=images) for images in others for run in runs]


def ident(
    *,
    dimensions: Sequence[int],
    laws: Sequence[str],
    ratio: float,
    degrees: Sequence[float],
    bends: Sequence[float],
    strengths: Sequence[float],
    seeds: int,
    **values: Any,
) -> list[TrainConfig]:
    """Generators with C1-C2, equal ranges last, then scans of violation; Theorem 6.5."""
    common = "beta width images batch learning_rate"
    base = _config(values, common, resolution=1, network="mlp", latent=2, sigma=1.0)
    names = [f"curves-normal-{d}-{ratio:g}" for d in dimensions] + [f"rolled-{ratio:g}"]
    names += [f"curves-{law}-2-{ratio:g}" for law in laws]
    names += ["curves-normal-2-1", "curves-uniform-2-1"]
    scans = [f"sheared-{x:g}" for x in degrees] + [f"polar-{x:g}" for x in bends]
    scans += [f"twisted-{x:g}" for x in strengths]
    runs = grid(base, covariance=_KINDS, dataset=names, seed=_seeds(seeds))
    runs += grid(base, dataset=scans, seed=_seeds(seeds))
    latents = {f"curves-normal-{d}-{ratio:g}": d for d in dimensions}
    return [replace(run, latent=latents.get(run.dataset, 2)) for run in runs]


def gap(
    *,
    ratios: Sequence[float],
    seeds: int,
    plane_beta: float,
    plane_images: int,
    plane_learning_rate: float,
    blobs_beta: float,
    squares_beta: float,
    **values: Any,
) -> list[TrainConfig]:
    """Data that differ in the ratio of two ranges alone, followed along training; Lemma 6.3."""
    common, side = "resolution width images batch learning_rate", values["resolution"]
    base = _config(values, common, network="mlp", latent=2, snapshots=20)
    plane = replace(base, network="linear", resolution=1, beta=plane_beta, warmup=0.0)
    plane = replace(plane, images=plane_images, learning_rate=plane_learning_rate)
    arms = {
        "plane": plane,
        "blobs": replace(base, sigma=side / 16, beta=blobs_beta),
        "dsprites_square": replace(base, sigma=side / 64, beta=squares_beta),
    }
    runs = []
    for name, arm in arms.items():
        sets = [f"{name}-{ratio:g}" for ratio in ratios]
        runs += grid(arm, covariance=_KINDS, dataset=sets, seed=_seeds(seeds))
    return runs


def switch(*, betas: Sequence[float], seeds: int, hold: float, **values: Any) -> list[TrainConfig]:
    """MLPs, then convolutional networks, whose posteriors change at `hold`, and controls."""
    arms = {"covariance_start": _KINDS, "covariance": _KINDS}
    changing = dict[str, Any](off_diagonal="relative", hold=hold, covariance_start="diagonal")
    mlp = replace(_dsprites(values | {"network": "mlp"}), **changing)
    runs = grid(mlp, **arms, beta=_betas(betas), seed=_seeds(seeds))
    more = {"beta": _betas(values["all_betas"]), "seed": _seeds(values["all_seeds"], 0)}
    runs += grid(replace(mlp, dataset="dsprites"), **arms, **more)
    return runs + _conv(values, changing, **arms)


def region(*, betas: Sequence[float], seeds: int, **values: Any) -> list[TrainConfig]:
    """Diagonal posteriors: smooth and ReLU MLPs over beta, then Figure 5's networks."""
    mlp = _dsprites(values | {"network": "mlp"})
    runs = grid(mlp, activation=["silu", "relu"], beta=_betas(betas), seed=_seeds(seeds))
    return runs + _conv(values)


def squares(
    *, spacings: Sequence[int], lines: Sequence[int], betas: Sequence[float], **values: Any
) -> list[TrainConfig]:
    """A square on grids of places, both posteriors at the first beta; Michlo et al. 2022."""
    common, seeds = "resolution width images batch learning_rate", _seeds(values["seeds"])
    base = _config(values, common, network="mlp", latent=2, sigma=values["resolution"] / 64)
    base = replace(base, off_diagonal="relative", beta=min(betas))
    sets = {count: [f"xy_square-{space}-{count}" for space in spacings] for count in lines}
    runs = grid(
        base, covariance=_KINDS, dataset=[n for some in sets.values() for n in some], seed=seeds
    )
    more = sorted(set(betas) - {min(betas)})
    return runs + grid(base, dataset=sets[max(lines)], beta=more, seed=seeds)


def rolinek(
    *, ratios: Sequence[float], seeds: int, linear_beta: float, network_beta: float, **values: Any
) -> list[TrainConfig]:
    """Linear VAEs on a square and oblongs, networks on a bent one, then dSprites; Rolinek 2019."""
    # Their loss is the squared error plus beta KL: sigma^2 is 1/2.
    common = {"resolution": 1, "latent": 2, "sigma": math.sqrt(0.5), "warmup": 0.0}
    base = _config(values, "batch learning_rate", **common)
    linear = replace(base, network="linear", beta=linear_beta, images=values["images"])
    network = replace(base, network="mlp", width=values["width"], depth=3, activation="tanh")
    network = replace(network, beta=network_beta, images=values["network_images"])
    network = replace(network, dataset="square:network")
    sets = ["square:matrix", *(f"square:{ratio:g}" for ratio in ratios)]
    axes, every = {"seed": _seeds(seeds)}, (*_KINDS, "none")
    runs = grid(linear, dataset=sets[:1], covariance=every, **axes)
    runs += grid(linear, dataset=sets[1:], covariance=_KINDS, **axes)
    runs += grid(network, covariance=every, **axes)
    runs += _conv(values, covariance=_KINDS)
    return runs + _conv(values | {"conv_betas": values["conv_betas"][-1:]}, covariance=["none"])


def chain(
    *, blobs: str, blobs_beta: float, beta: float, seeds: int, **values: Any
) -> list[TrainConfig]:
    """A flat family and dSprites, by MLPs; Lemma 4.1."""
    common, side = "resolution width images batch learning_rate", values["resolution"]
    base = _config(values, common, network="mlp")
    flat = replace(base, dataset=blobs, latent=2, sigma=side / 16, beta=blobs_beta)
    axes = {"covariance": _KINDS, "seed": _seeds(seeds)}
    sprites = replace(base, dataset="dsprites", sigma=side / 64, beta=beta)
    return grid(flat, **axes) + grid(sprites, **axes)


def _config(values: dict[str, Any], names: str, **fixed: Any) -> TrainConfig:
    """A configuration of these parameters of the notebook, and of what is fixed."""
    return TrainConfig(**{name: values[name] for name in names.split()}, **fixed)


def _dsprites(values: dict[str, Any]) -> TrainConfig:
    """What the runs on dSprites share, so that figures find each other's."""
    # A pixel that is the mean of k pixels has 1/k of their noise's variance: sigma follows the
    # resolution, so that beta means the same at each.
    common = "dataset resolution network width images batch learning_rate"
    return _config(values, common, sigma=values["resolution"] / 64, snapshots=8)


def _conv(
    values: dict[str, Any], also: dict[str, Any] | None = None, **axes: Any
) -> list[TrainConfig]:
    """Runs of the paper's network on all of dSprites, if any, from parameters `conv_...`."""
    own = _prefixed("conv_", values)
    base = _dsprites({"dataset": "dsprites", "network": "burgess"} | own)
    axes |= {"beta": _betas(own["betas"]), "seed": _seeds(own["seeds"], 0)}
    return grid(replace(base, **(also or {})), **axes)


def _prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def _betas(betas: Sequence[float]) -> list[float]:
    if not betas:
        raise ValueError("`betas` must hold one value or more; got none.")
    return sorted(betas)


def _seeds(count: int, least: int = 1) -> range:
    if not least <= count <= 10_000:
        raise ValueError(f"`seeds` must be {least} to 10,000; got {count}.")
    return range(count)


@dataclass(frozen=True)
class Figure:
    """What a notebook loads."""

    runs: Callable[..., list[TrainConfig]] | None = None  # from its parameters, if it loads any
    weights: bool = False  # to differentiate, refine or decode; most runs of the record have none
    says: str = ""  # by its claims together, where no statement of the paper names them


# By the short names of their notebooks.
FIGURES = {
    "celeba": Figure(fig08),
    "chain": Figure(
        chain,
        says="The chain from P1 to C2 holds on flat data; on dSprites C2 is further off.",
    ),
    "eq06": Figure(fig05, weights=True),
    "fig01": Figure(fig01, weights=True),
    "fig02": Figure(fig02, weights=True),
    "fig03": Figure(fig03),
    "fig05": Figure(fig05),
    "fig06": Figure(fig06, weights=True),
    "fig07": Figure(fig08, weights=True),
    "fig08": Figure(fig08, weights=True),
    "fig09": Figure(fig08, weights=True),
    "fig10": Figure(fig08, weights=True),
    "fig11": Figure(fig11),
    "gap": Figure(
        gap, says="The ratio of two ranges decides whether their factors are found, and how soon."
    ),
    "grids": Figure(
        grids,
        says="On dSprites the network, the grid and the length of training decide whether factors "
        "are separated.",
    ),
    "ident": Figure(ident),
    "own": Figure(fig03, weights=True),
    "region": Figure(
        region,
        weights=True,
        says="A larger beta widens the region around a posterior's mean in which both terms of "
        "Eq. 6 are diagonal.",
    ),
    "switch": Figure(
        switch,
        says="The constraint causes alignment with axes and maintains it: lifted in the middle of "
        "training, axes are lost at no cost of fit; imposed there, they are found.",
    ),
    "rolinek": Figure(
        rolinek,
        says="Published distances of singular vectors to the axes are found again.",
    ),
    "squares": Figure(
        squares,
        says="Squares that do not overlap are not ordered; the more they overlap, the better.",
    ),
    "speed": Figure(says="How much faster this code computes what the paper computes."),
}


def load(results: Results, store: Store | None = None) -> list[Run]:
    """Evaluated runs of a notebook, in its figure's order: trained if missing, and noted."""
    figure = FIGURES[results.name]
    if figure.runs is None:
        raise ValueError(
            f"`FIGURES` names no runs of {results.name!r}: give its entry a function."
        )
    runs = train_or_load(figure.runs(**results.parameters), store, weights=figure.weights)
    results.runs(runs)
    return runs
