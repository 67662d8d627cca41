"""Which runs a figure needs: one function a figure, from the parameters of its notebook.

The notebook loads these runs and `seams sweep` trains them, by the same call, so that what was
trained elsewhere is what the notebook finds. Parameters that change the figure alone are taken and
ignored. Every name in `__all__` is the short name of a notebook.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from seams import data
from seams.paper.results import Results
from seams.sweep import grid, train_or_load
from seams.training import Run, Store, TrainConfig

__all__ = ["FIGURES", "Figure", "load"]

_KINDS = ("diagonal", "full")  # of posterior covariance, the comparison of the paper


def fig01(
    *,
    seeds: int,
    beta: float,
    width: int,
    images: int,
    batch: int,
    learning_rate: float,
    **_: object,
) -> list[TrainConfig]:
    """Networks with two latents on a curved sheet in space, of which the seams are known.

    Args:
        seeds: Runs of each covariance, 1 or more.
        beta: Weight of the KL term; the noise of the data has its true variance.
        width: Units of each hidden layer.
        images: Training data of each run, with repetition.
        batch: Data a step.
        learning_rate: Of Adam.
        **_: Unused.

    Returns:
        `seeds` runs with a full posterior, then as many with a diagonal one.

    Source: Figure 1.
    """
    base = TrainConfig(
        dataset="sheet",
        resolution=1,
        network="mlp",
        width=width,
        latent=2,
        sigma=data.sheet().sigma,
        beta=beta,
        images=images,
        batch=batch,
        learning_rate=learning_rate,
    )
    return grid(base, covariance=_KINDS[::-1], seed=_seeds(seeds))


def fig02(
    *, seeds: int, beta: float, images: int, batch: int, learning_rate: float, **_: object
) -> list[TrainConfig]:
    """Linear VAEs on linear Gaussian data, their weights kept along training.

    Args:
        seeds: Runs of each covariance, 1 or more.
        beta: Weight of the KL term.
        images: Training data of each run, with repetition.
        batch: Data a step.
        learning_rate: Of Adam.
        **_: Unused.

    Returns:
        `seeds` runs with a diagonal posterior, then as many with a full one.

    Source: Figure 2.
    """
    truth = data.linear()
    base = TrainConfig(
        dataset="linear",
        resolution=1,
        network="linear",
        latent=len(truth.s),
        sigma=truth.sigma,
        beta=beta,
        images=images,
        batch=batch,
        learning_rate=learning_rate,
        warmup=0,
        snapshots=60,
    )
    return grid(base, covariance=_KINDS, seed=_seeds(seeds))


def fig03(*, beta: float, **of_fig05: Any) -> list[TrainConfig]:
    """Runs of Figure 5 at one beta.

    Args:
        beta: In the unit of the variance of a 64 x 64 pixel.
        **of_fig05: What else `fig05` takes.

    Returns:
        Seeds with a diagonal posterior, then as many with a full one.

    Source: Figure 3.
    """
    return fig05(betas=[beta], **of_fig05)


def fig05(
    *,
    dataset: str,
    resolution: int,
    network: str,
    width: int,
    betas: Sequence[float],
    seeds: int,
    images: int,
    batch: int,
    learning_rate: float,
    heatmap_beta: float = 0.0,
    **_: object,
) -> list[TrainConfig]:
    """Posteriors x betas x seeds on dSprites.

    A pixel that is the mean of k pixels has 1/k of their noise's variance: sigma follows the
    resolution, so that beta means the same at each.

    Args:
        dataset: Name of the data; "dsprites", all positions, in the paper.
        resolution: Side of the images in pixels.
        network: As in `TrainConfig`; "burgess" in the paper.
        width: Units of each hidden layer of "mlp".
        betas: In the unit of the variance of a 64 x 64 pixel.
        seeds: Runs of each beta and covariance, 1 or more.
        images: Training images of each run.
        batch: Images a step.
        learning_rate: Of Adam.
        heatmap_beta: Trained with diagonal posteriors too, for the maps of the terms of Eq. 6; 0
            for none.
        **_: Unused.

    Returns:
        Diagonal posteriors, then full ones, beta rising and seeds fastest; last the runs at
        `heatmap_beta` if `betas` lack it.

    Raises:
        ValueError: No beta.

    Source: Figure 5.
    """
    if not betas:
        raise ValueError("`betas` must hold one value or more; got none.")
    base = _dsprites(dataset, resolution, network, width, images, batch, learning_rate)
    runs = grid(base, covariance=_KINDS, beta=sorted(betas), seed=_seeds(seeds))
    if heatmap_beta and heatmap_beta not in betas:
        runs += grid(replace(base, beta=heatmap_beta), seed=_seeds(seeds))
    return runs


eq06 = fig05  # both sides of Eq. 6 are compared at the optima of Figure 5
own = fig03  # its models are diagnosed, at one beta


def grids(
    *,
    resolution: int,
    width: int,
    betas: Sequence[float],
    seeds: int,
    images: int,
    batch: int,
    learning_rate: float,
    conv_width: int,
    conv_beta: float,
    conv_seeds: int,
    conv_images: int,
    conv_batch: int,
    conv_learning_rate: float,
    **_: object,
) -> list[TrainConfig]:
    """Two networks on two grids of dSprites: all positions, and the vertical one restricted.

    Args:
        resolution: Side of the images in pixels.
        width: Units of each hidden layer of the MLPs.
        betas: Of the MLPs, in the unit of the variance of a 64 x 64 pixel.
        seeds: MLPs of each beta, grid and covariance, 1 or more.
        images: Training images of each MLP.
        batch: Images a step.
        learning_rate: Of Adam.
        conv_width: As `width`, and so on, of the convolutional networks of Figure 5.
        conv_beta: Their only beta.
        conv_seeds: As `seeds`.
        conv_images: As `images`.
        conv_batch: As `batch`.
        conv_learning_rate: As `learning_rate`.
        **_: Unused.

    Returns:
        Runs of `fig05`: MLPs on the full grid, on half height, then convolutional networks.

    Source: ours.
    """
    mlp: dict[str, Any] = {
        "network": "mlp",
        "width": width,
        "betas": betas,
        "seeds": seeds,
        "images": images,
        "batch": batch,
        "learning_rate": learning_rate,
    }
    convolutional: dict[str, Any] = {
        "network": "burgess",
        "width": conv_width,
        "betas": [conv_beta],
        "seeds": conv_seeds,
        "images": conv_images,
        "batch": conv_batch,
        "learning_rate": conv_learning_rate,
    }
    return [
        run
        for network in (mlp, convolutional)
        for dataset in ("dsprites", "dsprites_half_height")
        for run in fig05(dataset=dataset, resolution=resolution, **network)
    ]


def fig06(
    *,
    betas: Sequence[float],
    shares: Sequence[float],
    width: int,
    seeds: int,
    images: int,
    batch: int,
    learning_rate: float,
    **_: object,
) -> list[TrainConfig]:
    r"""VAEs on circles in the plane, over beta, and on coins near the beta where they collapse.

    Both data sets have a $\beta$ above which linear theory leaves no latent active: the largest
    eigenvalue of the circles' covariance over $\sigma^2 = 1$; for coins 1, the variance of a coin
    over that of its likelihood.

    Args:
        betas: Of the circles drawn; sigma is 1.
        shares: Values of beta over that one, for the circles and for the coins.
        width: Units of each of the two hidden layers.
        seeds: Runs of each beta, 1 or more.
        images: Training data of each run, with repetition.
        batch: Data a step.
        learning_rate: Of Adam.
        **_: Unused.

    Returns:
        The circles drawn, the circles near collapse, and the coins; beta rises, seeds vary
        fastest.

    Source: Figure 6; Appendix B, posterior collapse.
    """
    base = TrainConfig(
        dataset="circles",
        resolution=1,
        network="mlp",
        width=width,
        latent=2,
        images=images,
        batch=batch,
        learning_rate=learning_rate,
    )
    largest = float(data.load("circles", 1).x.double().T.cov(correction=0).diagonal().max())
    near = [float(f"{share * largest:.6g}") for share in sorted(shares)]
    axes = {"seed": _seeds(seeds)}
    coins = replace(base, dataset="coins", latent=4, likelihood="bernoulli")
    return (
        grid(base, beta=sorted(betas), **axes)
        + grid(base, beta=near, **axes)
        + grid(coins, beta=sorted(shares), **axes)
    )


def fig08(
    *,
    dataset: str,
    resolution: int,
    network: str,
    width: int,
    latent: int,
    betas: Sequence[float],
    seeds: int,
    images: int,
    batch: int,
    learning_rate: float,
    **_: object,
) -> list[TrainConfig]:
    """Posteriors x betas x seeds on faces, shared by Figures 7 to 10.

    The KL term rises over half of the run, and MLPs have one hidden layer: with few images a short
    rise ends with half of the latents collapsed that pay for themselves.

    Args:
        dataset: As in `seams.data.load_faces`; its part "train" is trained on.
        resolution: Side of the images in pixels; sigma follows it, as in `fig05`.
        network: As in `TrainConfig`; "burgess" in the paper.
        width: Units of the hidden layer of "mlp".
        latent: Latents d; the paper shows the 20 most active and does not state d.
        betas: In the unit of the variance of a 64 x 64 pixel.
        seeds: Runs of each beta and covariance, 1 or more.
        images: Training images of each run, with repetition.
        batch: Images a step.
        learning_rate: Of Adam.
        **_: Unused.

    Returns:
        Diagonal posteriors, then full ones; beta rises, seeds vary fastest.

    Raises:
        ValueError: No beta.

    Source: Figures 7-10; Appendix F.
    """
    if not betas:
        raise ValueError("`betas` must hold one value or more; got none.")
    base = TrainConfig(
        dataset=dataset,
        resolution=resolution,
        sigma=resolution / 64,
        network=network,  # type: ignore[arg-type]  # checked there
        width=width,
        depth=1,
        latent=latent,
        images=images,
        batch=batch,
        learning_rate=learning_rate,
        warmup=0.5,
    )
    return grid(base, covariance=_KINDS, beta=sorted(betas), seed=_seeds(seeds))


fig07 = fig09 = fig10 = celeba = fig08  # one set of runs for four figures, and on other faces


def fig11(
    *,
    dataset: str,
    resolution: int,
    network: str,
    width: int,
    betas: Sequence[float],
    seeds: int,
    images: int,
    batch: int,
    learning_rate: float,
    snapshots: int,
    hold: float = 0.0,
    **_: object,
) -> list[TrainConfig]:
    """Diagonal posteriors at constant betas, and with beta falling from the largest to the least.

    Runs at a constant beta are those of Figure 5 where the parameters agree.

    Args:
        dataset: Name of the data.
        resolution: Side of the images in pixels.
        network: As in `TrainConfig`; "burgess" in the paper.
        width: Units of each hidden layer of "mlp".
        betas: In the unit of the variance of a 64 x 64 pixel.
        seeds: Runs of each beta and of the falling one, 1 or more.
        images: Training images of each run.
        batch: Images a step.
        learning_rate: Of Adam.
        snapshots: Points of training at which the falling ones are evaluated.
        hold: Fraction of the run in which further runs stay at the largest beta before it falls;
            0 for none.
        **_: Unused.

    Returns:
        The runs at a constant beta, by rising beta, those with a falling one, and last those that
        hold it first.

    Raises:
        ValueError: Fewer than two betas.

    Source: Figure 11, Appendix G; to hold beta first is ours.
    """
    if len(set(betas)) < 2:
        raise ValueError(f"`betas` must hold two values or more to move between; got {betas}.")
    base = _dsprites(dataset, resolution, network, width, images, batch, learning_rate)
    runs = grid(base, beta=sorted(set(betas)), seed=_seeds(seeds))
    falling = replace(base, beta=min(betas), beta_start=max(betas), snapshots=snapshots)
    return runs + grid(falling, hold=sorted({0.0, hold}), seed=_seeds(seeds))


def _dsprites(
    dataset: str,
    resolution: int,
    network: str,
    width: int,
    images: int,
    batch: int,
    learning_rate: float,
) -> TrainConfig:
    """What the runs on dSprites share, so that figures find each other's."""
    return TrainConfig(
        dataset=dataset,
        resolution=resolution,
        sigma=resolution / 64,
        network=network,  # type: ignore[arg-type]  # checked there
        width=width,
        images=images,
        batch=batch,
        learning_rate=learning_rate,
        snapshots=8,
    )


def ident(
    *,
    dimensions: Sequence[int],
    laws: Sequence[str],
    ratio: float,
    degrees: Sequence[float],
    bends: Sequence[float],
    strengths: Sequence[float],
    beta: float,
    seeds: int,
    width: int,
    images: int,
    batch: int,
    learning_rate: float,
    **_: object,
) -> list[TrainConfig]:
    """VAEs on generators whose latents are known: where C1-C2 hold, and where they fail.

    Args:
        dimensions: Numbers of latents of products of curves, all normal.
        laws: Of the latents of further products of two curves.
        ratio: Of one singular value to the next.
        degrees: By which the columns of a linear generator leave the right angle.
        bends: Of polar coordinates.
        strengths: Of the twist of two latents.
        beta: Weight of the KL; the noise has unit variance, as has the least direction.
        seeds: Runs of each, 1 or more.
        width: Units of each hidden layer.
        images: Training data of each run.
        batch: Data a step.
        learning_rate: Of Adam.
        **_: Unused.

    Returns:
        Generators with C1-C2, equal ranges last, diagonal posteriors, then full; then the scans of
        violation, diagonal posteriors alone.

    Source: Theorem 6.5, Corollary 6.7; the scans are ours.
    """
    base = TrainConfig(
        resolution=1,
        network="mlp",
        width=width,
        latent=2,
        sigma=1.0,
        beta=beta,
        images=images,
        batch=batch,
        learning_rate=learning_rate,
    )
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
    resolution: int,
    width: int,
    blobs_beta: float,
    squares_beta: float,
    images: int,
    batch: int,
    learning_rate: float,
    **_: object,
) -> list[TrainConfig]:
    """VAEs on data that differ in nothing but the ratio of two ranges, followed along training.

    Args:
        ratios: Of the larger range to the smaller.
        seeds: Runs of each, 1 or more.
        plane_beta: Weight of the KL of linear VAEs on the plane; its noise has unit variance.
        plane_images: Training data of each of them.
        plane_learning_rate: Of Adam, for them.
        resolution: Side of the images in pixels.
        width: Units of each hidden layer.
        blobs_beta: As `squares_beta` for blobs, in the unit of the variance of a 16 x 16 pixel.
        squares_beta: Weight of the KL on dSprites' squares, in the unit of the variance of a
            64 x 64 pixel.
        images: Training images of each run on images.
        batch: Data a step.
        learning_rate: Of Adam, for runs on images.
        **_: Unused.

    Returns:
        Runs on the plane, on blobs and on squares, diagonal posteriors, then full, each.

    Source: Lemma 6.3, "pairwise distinct"; the dial is ours.
    """
    base = TrainConfig(
        latent=2,
        resolution=resolution,
        network="mlp",
        width=width,
        images=images,
        batch=batch,
        learning_rate=learning_rate,
        snapshots=20,
    )
    arms = {
        "plane": replace(
            base,
            network="linear",
            resolution=1,
            beta=plane_beta,
            images=plane_images,
            learning_rate=plane_learning_rate,
            warmup=0.0,
        ),
        "blobs": replace(base, sigma=resolution / 16, beta=blobs_beta),
        "dsprites_square": replace(base, sigma=resolution / 64, beta=squares_beta),
    }
    return [
        run
        for name, arm in arms.items()
        for run in grid(
            arm,
            covariance=_KINDS,
            dataset=[f"{name}-{ratio:g}" for ratio in ratios],
            seed=_seeds(seeds),
        )
    ]


def _seeds(count: int) -> range:
    if count < 1:
        raise ValueError(f"`seeds` must be 1 or more; got {count}.")
    return range(count)


@dataclass(frozen=True)
class Figure:
    """What a notebook loads.

    Attributes:
        runs: From its parameters to its runs.
        weights: Whether it differentiates, refines or decodes: most runs of the record have no
            weights for that.
    """

    runs: Callable[..., list[TrainConfig]]
    weights: bool = False


FIGURES = {
    "celeba": Figure(celeba),
    "eq06": Figure(eq06, weights=True),
    "fig01": Figure(fig01, weights=True),
    "fig02": Figure(fig02, weights=True),
    "fig03": Figure(fig03),
    "fig05": Figure(fig05),
    "fig06": Figure(fig06, weights=True),
    "fig07": Figure(fig07, weights=True),
    "fig08": Figure(fig08, weights=True),
    "fig09": Figure(fig09, weights=True),
    "fig10": Figure(fig10, weights=True),
    "fig11": Figure(fig11),
    "gap": Figure(gap),
    "grids": Figure(grids),
    "ident": Figure(ident),
    "own": Figure(own, weights=True),
}
"""By the short names of their notebooks."""


def load(results: Results, store: Store | None = None) -> list[Run]:
    """The runs of a notebook, trained where they are missing, and noted in its results.

    Args:
        results: Of the notebook, with its name and parameters.
        store: As in `seams.sweep.train_or_load`.

    Returns:
        Evaluated runs, in the order of the figure's function.
    """
    figure = FIGURES[results.name]
    runs = train_or_load(figure.runs(**results.parameters), store, weights=figure.weights)
    results.runs(runs)
    return runs
