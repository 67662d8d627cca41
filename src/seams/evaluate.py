r"""A trained model turned into numbers: rate and distortion, metrics, and both terms of Eq. 6.

Everything is computed on the CPU, from a float64 copy of the decoder where derivatives are taken,
on images and draws that depend on nothing but the constants below: the same weights give the same
numbers.
"""

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seams import derivatives, metrics
from seams.data import Data
from seams.identify import recovery_scores
from seams.networks import LinearEncoder
from seams.runs import Run
from seams.train import Stack
from seams.vae import VAE

__all__ = [
    "COLLAPSED_RATE",
    "VERSION",
    "Encoded",
    "diagnose",
    "encode",
    "evaluate",
    "reevaluate",
]

VERSION = 2
"""Of what is evaluated and how; runs stored with another are evaluated anew, not trained."""

IMAGES = 10_000
"""Images for information, rate and distortion, as in Locatello et al. 2019."""

DERIVATIVE_IMAGES = (
    128  # with one posterior draw each, where J'J and the directed Hessian are taken
)
SNAPSHOT_IMAGES = 2_000  # for the curves over training, where a trend is enough
PICTURES = 8  # images kept with their reconstructions
TRAVERSAL = (-2.0, 2.0, 9)  # range in prior standard deviations, and steps

COLLAPSED_RATE = 0.05
"""Nats an image below which a run counts as collapsed: its posterior ignores the image."""

NARROWEST = 1e-3
"""Posterior standard deviation that the density form of MIG resolves; narrower ones count as this
wide. Few of 10,000 means lie closer to one another, so next to nothing is told apart by it."""

_BATCH = 512  # images encoded at a time: more is no faster on a CPU, and takes memory
_CHUNK = 8  # draws at a time where derivatives are taken: half a gigabyte at 64 x 64

Scores = dict[str, Any]
Arrays = dict[str, np.ndarray]


def evaluate(stack: Stack, run: int, data: Data) -> tuple[Scores, Arrays]:
    """All diagnostics of one run of a stack, at its end and at its snapshots.

    Args:
        stack: A trained stack.
        run: Position of the run in it.
        data: What it was trained on.

    Returns:
        Scores and arrays of `diagnose`, and `curve_<score>` with one value a snapshot, NaN where
        the score was not defined yet; `curve_step` holds their steps.
    """
    vae = copy.deepcopy(stack.model).cpu().eval().requires_grad_(False)
    of_run = lambda params: {name: param[run].cpu() for name, param in params.items()}
    snapshots = {step: of_run(params) for step, params in stack.snapshots.items()}
    return _evaluate(vae, of_run(stack.params), snapshots, data)


def reevaluate(run: Run, data: Data) -> tuple[Scores, Arrays]:
    """The same for a run that is stored with its weights.

    Args:
        run: From the store.
        data: What it was trained on.

    Returns:
        As `evaluate`.
    """
    return _evaluate(run.model(), run.weights(), run.snapshots(), data)


def _evaluate(
    vae: VAE,
    weights: Mapping[str, Tensor],
    snapshots: Mapping[int, Mapping[str, Tensor]],
    data: Data,
) -> tuple[Scores, Arrays]:
    data = data.to(torch.device("cpu"))
    vae.load_state_dict(dict(weights))
    scores, arrays = diagnose(vae, data)
    rows = []
    if isinstance(vae.encoder, LinearEncoder) and "mcc" not in scores:
        snapshots = {}  # its decoder is its own Jacobian: nothing to add
    # Where the truth is known, recovery is what is followed: small models come in hundreds, and
    # their derivatives would take most of the time.
    derived = "mcc" not in scores
    for step, params in sorted(snapshots.items()):
        vae.load_state_dict(dict(params))
        found, _ = diagnose(vae, data, SNAPSHOT_IMAGES, pictures=False, derived=derived)
        rows.append(found | {"step": step})
    for name in rows[-1] if rows else ():
        values = [row.get(name) for row in rows]
        arrays[f"curve_{name}"] = np.array([np.nan if v is None else v for v in values], float)
    return scores | {"evaluation": VERSION}, arrays


@dataclass(frozen=True)
class Encoded:
    """Posteriors of a sample of the data.

    Attributes:
        indices: Which data `[n]`.
        means: Posterior means `[n, latent]`.
        scales: Marginal posterior standard deviations `[n, latent]`.
        latents: One draw of each posterior `[n, latent]`.
        kl: Mean KL of each latent's marginal to the prior, nats `[latent]`; their sum is the rate
            only if posteriors are diagonal.
        rate: Mean KL of the posterior to the prior, nats.
        distortion: Mean squared error of the decoded draw, summed over a datum.
    """

    indices: Tensor
    means: Tensor
    scales: Tensor
    latents: Tensor
    kl: Tensor
    rate: float
    distortion: float


def encode(vae: VAE, data: Data, images: int = IMAGES, seed: int = 0) -> Encoded:
    """Encode distinct data, drawn without replacement, and decode one draw of each.

    Args:
        vae: The model.
        data: The data set.
        images: How many, at most all.
        seed: Of the choice and of the draws.

    Returns:
        Posteriors and their mean rate and distortion.
    """
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randperm(len(data), generator=generator)[:images]
    dtype = next(vae.parameters()).dtype
    parts: list[tuple[Tensor, ...]] = []
    with torch.no_grad():
        for some in indices.split(_BATCH):
            x = data.batch(some).to(dtype)
            posterior = vae.encoder(x)
            noise = torch.randn(posterior.mean.shape, generator=generator, dtype=torch.float64)
            z = posterior.reparameterise(noise.to(dtype))
            error = (x - vae.decoder(z)).square().sum(-1)
            parts.append(
                (
                    posterior.mean,
                    posterior.marginal_stddev,
                    z,
                    posterior.kl_per_latent(),
                    posterior.kl_to_prior(),
                    error,
                )
            )
    means, scales, latents, kl, rate, error = (
        torch.cat(column).double() for column in zip(*parts, strict=True)
    )
    return Encoded(
        indices, means, scales, latents, kl.mean(0), float(rate.mean()), float(error.mean())
    )


def diagnose(
    vae: VAE, data: Data, images: int = IMAGES, pictures: bool = True, derived: bool = True
) -> tuple[Scores, Arrays]:
    r"""Numbers and arrays of one model.

    Scores; a value is None where it is not defined, as off-diagonality with fewer than two active
    latents:

    * `distortion`: squared error a datum, summed over it; `rate`: KL in nats; `active`: number of
      latents with $\mathrm{Var}_x[\mathrm E_q z_j] > 0.01$; `collapsed`: rate below
      `COLLAPSED_RATE`;
    * `off_diagonal_gram`, `off_diagonal_hessian`: mean over the batch of the normalised
      off-diagonal (App. E) of $J^\top J$ and $(x - d(z))^\top H$ at one posterior draw an image,
      active latents only; `..._of_abs`: the same score of the batch's mean absolute matrix;
      `..._of_mean`: of its mean matrix with signs; `dto` and `c_ima`: means over the batch, active
      latents only. The Hessian is indefinite: where its diagonal passes through zero the score of
      a single matrix is unbounded, and only `..._of_abs` has a stable mean;
    * with known factors: `mig`, `mig4` (without the first factor if it is shape) and `aas`, from
      posterior draws; `mig_density`, `mig4_density`: without draws or bins, from the posteriors
      themselves; `mig_means`, `mig4_means`, `aas_means` from posterior means, inactive latents
      counted as uninformative; `mig_<factor>`; all of MIG is None with a single latent;
      `probe_<factor>`: R^2 of a linear probe of the means.

    Arrays: `information`, `information_means`, `information_density` `[latent, factor]`, nats;
    `kl` and `activity` `[latent]`; `gram`, `hessian` `[latent, latent]`, mean absolute entries
    over the batch; with pictures, `images`, `reconstructions` `[picture, data]` and `traversals`
    `[latent, step, data]` of the first image, uint8, latents by falling activity.

    Args:
        vae: The model, in evaluation mode.
        data: Its data; `factors` and `factor_names` are used if it has them.
        images: Data used for information, rate and distortion.
        pictures: Whether to keep pictures and traversals.
        derived: Whether to take derivatives of the decoder.

    Returns:
        Scores and arrays.

    Source: Section 7, Appendix E.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # the caller's must not change the last digits
    try:
        return _diagnose(vae, data, images, pictures, derived)
    finally:
        torch.set_default_dtype(default)


def _diagnose(
    vae: VAE, data: Data, images: int, pictures: bool, derived: bool
) -> tuple[Scores, Arrays]:
    encoded = encode(vae, data, images)
    active = metrics.active_latents(encoded.means)
    scores: Scores = {
        "distortion": encoded.distortion,
        "rate": encoded.rate,
        "active": int(active.sum()),
        "collapsed": encoded.rate < COLLAPSED_RATE,
    }
    arrays: Arrays = {"kl": encoded.kl.numpy(), "activity": encoded.means.var(0).numpy()}
    for found, more in (
        _derivatives(vae, data, encoded, active) if derived else ({}, {}),
        _information(data, encoded, active),
        _recovery(data, encoded),
        _pictures(vae, data, encoded) if pictures and hasattr(data, "resolution") else ({}, {}),
    ):
        scores |= found
        arrays |= more
    return scores, arrays


def _derivatives(vae: VAE, data: Data, encoded: Encoded, active: Tensor) -> tuple[Scores, Arrays]:
    """Both derivative terms of Eq. 6 and what is read off them."""
    exact = copy.deepcopy(vae).double()
    x = data.batch(encoded.indices[:DERIVATIVE_IMAGES]).double()
    z = encoded.latents[:DERIVATIVE_IMAGES]
    gram = derivatives.jacobian_gram(exact.decoder, z, chunk_size=_CHUNK)
    hessian = derivatives.directed_hessian(exact.decoder, z, x, chunk_size=_CHUNK)
    arrays = {"gram": gram.abs().mean(0).numpy(), "hessian": hessian.abs().mean(0).numpy()}
    names = ("off_diagonal_gram", "off_diagonal_hessian")
    if active.sum() < 2:
        every = [f"{name}{suffix}" for name in names for suffix in ("", "_of_mean", "_of_abs")]
        every += ["dto", "c_ima"]
        return dict.fromkeys(every), arrays
    scores: Scores = {}
    for name, matrices in zip(names, (gram, hessian), strict=True):
        if bool((matrices.diagonal(dim1=-2, dim2=-1)[:, active] == 0).any()):
            # a decoder without curvature
            scores |= {name: None, f"{name}_of_mean": None, f"{name}_of_abs": None}
            continue
        scores[name] = float(metrics.off_diagonality(matrices, active).mean())
        scores[f"{name}_of_mean"] = float(metrics.off_diagonality_of_mean(matrices, active))
        scores[f"{name}_of_abs"] = float(metrics.off_diagonality_of_mean(matrices.abs(), active))
    kept = gram[:, active][:, :, active]
    _, V = torch.linalg.eigh(kept)
    scores["dto"] = float(metrics.distance_to_orthogonality(V).mean())
    scores["c_ima"] = None
    with suppress(ValueError):  # dependent columns: a piecewise linear decoder, or d > m
        scores["c_ima"] = float(metrics.independent_mechanism_contrast(kept).mean())
    return scores, arrays


def _information(data: Data, encoded: Encoded, active: Tensor) -> tuple[Scores, Arrays]:
    """What the latents say of the true factors, if those are known."""
    if getattr(data, "factors", None) is None:
        return {}, {}
    factors = data.factors[encoded.indices]  # type: ignore[attr-defined]
    entropies = metrics.entropies(factors)
    drawn = metrics.mutual_information(encoded.latents, factors)
    means = metrics.mutual_information(encoded.means, factors) * active[:, None]
    scores: Scores = {}
    scales = encoded.scales.clamp(min=NARROWEST)
    density = metrics.density_mutual_information(encoded.means, scales, factors)
    for suffix, information in (("", drawn), ("_means", means), ("_density", density)):
        gaps = None  # with one latent there is no second to compete
        if len(information) > 1:
            gaps = metrics.mutual_information_gaps(information, entropies)
        scores[f"mig{suffix}"] = None if gaps is None else float(gaps.mean())
        if _names(data)[0] == "shape":
            scores[f"mig4{suffix}"] = None if gaps is None else float(gaps[1:].mean())
        known = bool(information.sum() > 0)
        scores[f"aas{suffix}"] = metrics.axis_alignment_score(information) if known else None
        if not suffix:
            every = [None] * len(_names(data)) if gaps is None else gaps.tolist()
            scores |= {f"mig_{n}": g for n, g in zip(_names(data), every, strict=True)}
    probe = metrics.linear_probe_r2(encoded.means, factors)
    scores |= {f"probe_{n}": float(r) for n, r in zip(_names(data), probe, strict=True)}
    return scores, {
        "information": drawn.numpy(),
        "information_means": means.numpy(),
        "information_density": density.numpy(),
    }


def _recovery(data: Data, encoded: Encoded) -> tuple[Scores, Arrays]:
    """How well true latents are found, where they are known as real numbers."""
    if getattr(data, "latents", None) is None:
        return {}, {}
    truth = data.latents[encoded.indices].double()  # type: ignore[attr-defined]
    return dict(recovery_scores(encoded.means, truth)), {}


def _names(data: Data) -> tuple[str, ...]:
    return data.factor_names  # type: ignore[attr-defined]


def _pictures(vae: VAE, data: Data, encoded: Encoded) -> tuple[Scores, Arrays]:
    """Images with their reconstructions, and traversals of every latent, for the eye."""
    dtype = next(vae.parameters()).dtype
    x = data.batch(encoded.indices[:PICTURES])
    order = encoded.means.var(0).argsort(descending=True)
    steps = torch.linspace(*TRAVERSAL[:2], int(TRAVERSAL[2]), dtype=torch.float64)
    z = encoded.means[0].repeat(len(order), len(steps), 1)
    for row, latent in enumerate(order):
        z[row, :, latent] = steps
    with torch.no_grad():
        decoded = vae.decoder(encoded.means[:PICTURES].to(dtype))
        traversals = vae.decoder(z.to(dtype).flatten(0, 1)).unflatten(0, z.shape[:2])
    as_bytes = lambda t: (t.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return {}, {
        "images": as_bytes(x),
        "reconstructions": as_bytes(decoded),
        "traversals": as_bytes(traversals),
    }
