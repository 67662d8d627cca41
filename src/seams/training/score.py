"""Scores of models of one shape; what cannot be computed of one is None, with its reason."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seams import metrics
from seams.data import Data
from seams.derivatives import gram_and_hessian
from seams.identify import RECOVERY, recovery_scores
from seams.scores import (
    COLLAPSED_RATE,
    Along,
    Scored,
    along_axes,
    along_scores,
    term_scores,
)
from seams.training.encode import IMAGES, Encoded, budget, encode_models, sizes
from seams.training.stack import Models
from seams.vae import VAE

__all__ = [
    "DERIVATIVE_IMAGES",
    "IMAGES",
    "SNAPSHOT_IMAGES",
    "TRAVERSAL",
    "Arrays",
    "Scores",
    "score_model",
    "score_models",
]

DERIVATIVE_IMAGES = 128  # with one posterior draw each, for J'J and the directed Hessian
C2_IMAGES = 32  # of these, for C2 and the tangent part: one Hessian-vector product a latent more
SNAPSHOT_IMAGES = 2_000  # for the curves over training, where a trend is enough
PICTURES = 8  # images kept with their reconstructions
TRAVERSAL = (-2.0, 2.0, 9)  # range in prior standard deviations, and steps
# Posterior standard deviation below which the density form of MIG counts all as this wide; few of
# 10,000 means lie closer to one another, so next to nothing is told apart by it.
NARROWEST = 1e-3
_POINTS = "an autoencoder has no density of the latents given a datum"
_COPIES = 6  # of a decoder's values that derivatives of second order keep at once

Scores = dict[str, Any]
Arrays = dict[str, np.ndarray]


def score_model(
    vae: VAE, data: Data, images: int = IMAGES, whole: bool = True, derived: bool = True
) -> tuple[Scores, Arrays]:
    r"""Numbers and arrays of one model in evaluation mode.

    Scores; a value is None where it is not defined, and `reasons` then says why:

    * `distortion`: squared error, summed over a datum; `rate`: KL in nats; `active`: number of
      latents with $\mathrm{Var}_x[\mathrm E_q z_j] > 0.01$; `collapsed`: rate below
      `COLLAPSED_RATE`; an autoencoder has no rate, nor what is computed from densities, and the
      scale of its codes, on which `active` depends, is its own;
    * if `derived`, of $J^\top J$ and $(x - d(z))^\top H$ at one posterior draw an image, active
      latents only: `seams.scores.term_scores` and, if `whole`, at `C2_IMAGES` of them with
      inactive latents at 0, `seams.scores.along_scores`; each with `_random` and `_ratio`;
    * with known factors: `mig`, `mig4` (without the first factor if it is shape) and `aas`, from
      posterior draws; `mig_density`, `mig4_density`: without draws or bins, from the posteriors
      themselves; `mig_means`, `mig4_means`, `aas_means` from posterior means, inactive latents
      counted as uninformative; `mig_<factor>`; all of MIG is None with a single latent;
      `probe_<factor>`: R^2 of a linear probe of the means.

    Arrays: `information`, `information_means`, `information_density` `[latent, factor]`, nats;
    `kl` and `activity` `[latent]`; `gram`, `hessian` `[latent, latent]`, mean absolute entries
    over the batch; if `whole`, `images`, `reconstructions` `[picture, data]` and `traversals`
    `[latent, step, data]` of the first image, uint8, latents by falling activity.

    Returns:
        Scores and arrays.

    Source: Section 7, Appendix E.
    """
    ((found, arrays),) = score_models(Models.of(vae), data, images, whole, derived)
    return found.scores | {"reasons": found.reasons}, arrays


def score_models(
    models: Models, data: Data, images: int, whole: bool, derived: bool
) -> list[tuple[Scored, Arrays]]:
    """`score_model` of many models; of those that cannot be computed together, one by one."""
    with _double_by_default():  # the caller's default must not change the last digits
        encoded: list[Encoded] | None = None
        terms: Sequence[tuple[Tensor, Tensor] | None] = [None] * models.count
        try:
            encoded = encode_models(models, data, images)
            if derived:
                terms = _terms(models, data, encoded)
        except torch.OutOfMemoryError:
            raise
        except (ValueError, ArithmeticError, RuntimeError) as error:
            if models.count > 1:
                alone = (score_models(m, data, images, whole, derived) for m in models.groups(1))
                return [one for (one,) in alone]
            if encoded is None:
                nothing = dict.fromkeys(("distortion", "rate", "active", "collapsed"))
                return [(Scored(nothing, {"fit": " ".join(str(error).split())}), {})]
        found = []
        for model, posteriors, pair in zip(models.groups(1), encoded, terms, strict=True):
            scored, arrays, active = _fit(posteriors)
            if derived:
                arrays |= _derivatives(scored, model, data, posteriors, pair, active, whole)
            arrays |= _information(scored, data, posteriors, active)
            _recovery(scored, data, posteriors)
            found.append((scored, arrays))
        if whole and hasattr(data, "resolution"):
            for (_, arrays), drawn in zip(found, _pictures(models, data, encoded), strict=True):
                arrays |= drawn
    return found


@contextmanager
def _double_by_default() -> Iterator[None]:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def _terms(models: Models, data: Data, encoded: Sequence[Encoded]) -> list[tuple[Tensor, Tensor]]:
    """Both derivative terms of Eq. 6 of each model, `[image, latent, latent]`, on the CPU."""
    exact = models.double()
    x = data.batch(encoded[0].indices[:DERIVATIVE_IMAGES]).double()
    z = torch.stack([one.latents[:DERIVATIVE_IMAGES] for one in encoded])
    draws = _draws(exact, x)
    terms, done = [], 0
    for group in exact.groups(draws // len(x)):
        some = slice(done, done := done + group.count)

        def of_one(vae: VAE, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            return gram_and_hessian(vae.decoder, z, x, chunk_size=max(1, min(draws, len(x))))

        terms.append(group.map(of_one, z[some], shared=(x,)))
    grams, hessians = (torch.cat(column).cpu() for column in zip(*terms, strict=True))
    return list(zip(grams, hessians, strict=True))


def _draws(models: Models, x: Tensor) -> int:
    """Latents whose second derivatives fit into memory together."""
    latent, values = sizes(models, x[:1])
    return int(budget(x.device) / (_COPIES * values * x.element_size() * latent))


def _fit(encoded: Encoded) -> tuple[Scored, Arrays, Tensor]:
    found, means = Scored(), encoded.means.cpu()
    found.add("distortion", lambda: encoded.distortion)
    if encoded.is_points:
        found.scores["rate"], found.reasons["rate"] = None, _POINTS
    else:
        found.add("rate", lambda: encoded.rate)
    active = metrics.active_latents(means)
    finite = bool(means.isfinite().all())
    if not finite:
        found.reasons["active"] = "posterior means are not finite: did the run diverge?"
    rate = found.scores["rate"]
    found.scores["active"] = int(active.sum()) if finite else None
    found.scores["collapsed"] = None if rate is None else rate < COLLAPSED_RATE
    arrays = {"activity": means.var(0).numpy()}
    if not encoded.is_points:
        arrays["kl"] = encoded.kl.cpu().numpy()
    return found, arrays, active


def _derivatives(
    found: Scored,
    model: Models,
    data: Data,
    encoded: Encoded,
    terms: tuple[Tensor, Tensor] | None,
    active: Tensor,
    whole: bool,
) -> Arrays:
    """Both derivative terms of Eq. 6, and of the trained model what goes along the axes."""
    latent = len(active)
    failed = torch.full((1, latent, latent), torch.nan, dtype=torch.float64)
    gram, hessian = terms or (failed, failed)
    found.update(term_scores(gram, hessian, active))
    if whole:
        along = lambda: _along(model.double(), data, encoded, active)
        kinked = any(isinstance(part, nn.ReLU) for part in model.template.network.modules())
        found.update(along_scores(active, kinked, along))
    return {"gram": gram.abs().mean(0).numpy(), "hessian": hessian.abs().mean(0).numpy()}


def _along(model: Models, data: Data, encoded: Encoded, active: Tensor) -> Along:
    """C2 and the tangent part of one model, its inactive latents at the prior's mean."""
    x = data.batch(encoded.indices[:C2_IMAGES]).double()
    z = encoded.latents[:C2_IMAGES, active.to(encoded.latents.device)]
    places = torch.eye(len(active), dtype=z.dtype)[active].to(z.device)
    chunk = max(1, min(_draws(model, x), len(x)))

    def of_one(vae: VAE, z: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        found = along_axes(lambda z: vae.decoder(z @ places), z, x, chunk)
        return found.c2, found.c2_random, found.tangent_share, found.tangent_hessian

    return Along(*(part[0].cpu() for part in model.map(of_one, z[None], shared=(x,))))


def _information(found: Scored, data: Data, encoded: Encoded, active: Tensor) -> Arrays:
    factors, names = data.factors, data.factor_names
    if factors is None:
        return {}
    factors = factors[encoded.indices.to(factors.device)].to(encoded.means.device)
    entropies = metrics.entropies(factors).cpu()
    scales = encoded.scales.clamp(min=NARROWEST)
    kinds = {
        "": lambda: metrics.mutual_information(encoded.latents, factors),
        "_means": lambda: metrics.mutual_information(encoded.means, factors),
        "_density": lambda: metrics.density_mutual_information(encoded.means, scales, factors),
    }
    arrays = {}
    if encoded.is_points:
        kinds["_density"] = _without_density
    for suffix, compute in kinds.items():
        table = found.attempt(f"mig{suffix}", compute)
        if table is None:
            table = torch.full((len(active), len(names)), torch.nan)
        table = table.cpu() * active[:, None] if suffix == "_means" else table.cpu()
        found.scores |= _information_scores(table, entropies, names, suffix)
        if suffix != "_density" or not encoded.is_points:
            arrays[f"information{suffix}"] = table.numpy()
    rows = _for_probe(data, encoded.means, factors)
    probe = found.attempt("probe", lambda: metrics.linear_probe_r2(*rows))
    every = [None] * len(names) if probe is None else probe.tolist()
    found.scores |= {f"probe_{name}": value for name, value in zip(names, every, strict=True)}
    return arrays


def _without_density() -> Tensor:
    raise ValueError(_POINTS)


def _information_scores(
    information: Tensor, entropies: Tensor, names: Sequence[str], suffix: str
) -> Scores:
    known = bool(information.isfinite().all())
    gaps = None  # with one latent there is no second to compete
    if known and len(information) > 1:
        gaps = metrics.mutual_information_gaps(information, entropies)
    mean = lambda first: None if gaps is None else float(gaps[first:].mean())
    scores: Scores = {f"mig{suffix}": mean(0)}
    if names[0] == "shape":
        scores[f"mig4{suffix}"] = mean(1)
    some = known and bool(information.sum() > 0)
    scores[f"aas{suffix}"] = metrics.axis_alignment_score(information) if some else None
    if not suffix:
        every = [None] * len(names) if gaps is None else gaps.tolist()
        scores |= {f"mig_{name}": gap for name, gap in zip(names, every, strict=True)}
    return scores


def _recovery(found: Scored, data: Data, encoded: Encoded) -> None:
    if data.latents is None:
        return
    truth = data.latents.cpu()[encoded.indices.cpu()].double()
    rows = _for_probe(data, encoded.means.cpu(), truth)
    scores = found.attempt("mcc", lambda: recovery_scores(*rows))
    found.scores |= scores or dict.fromkeys(RECOVERY)


def _for_probe(data: Data, means: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Of data that were all encoded the probe would undo the order, and learn from the first."""
    return (means.flip(0), known.flip(0)) if len(means) == len(data) else (means, known)


def _pictures(models: Models, data: Data, encoded: Sequence[Encoded]) -> list[Arrays]:
    x = data.batch(encoded[0].indices[:PICTURES])
    steps = torch.linspace(*TRAVERSAL[:2], int(TRAVERSAL[2]), dtype=torch.float64)
    z = []
    for one in encoded:
        order = one.means.var(0).argsort(descending=True)
        moved = one.means[0].repeat(len(order), len(steps), 1)
        for row, latent in enumerate(order):
            moved[row, :, latent] = steps
        z.append(torch.cat([one.means[:PICTURES], moved.flatten(0, 1)]))
    decode = lambda vae, z: vae.decoder(z)
    as_bytes = lambda t: (t.nan_to_num(0).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return [
        {
            "images": as_bytes(x),
            "reconstructions": as_bytes(decoded[: len(x)]),
            "traversals": as_bytes(decoded[len(x) :].unflatten(0, (-1, len(steps)))),
        }
        for decoded in models.map(decode, torch.stack(z).to(models.dtype))
    ]
