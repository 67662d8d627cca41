r"""Trained models turned into numbers: rate and distortion, metrics, and both terms of Eq. 6.

Images and draws depend on nothing but the constants below, and derivatives are taken of float64
copies of the decoders: the same weights give the same numbers. Models that share their shapes are
evaluated together, on the device where they are: the snapshots of a run, and on a GPU many runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seams import metrics
from seams.data import Data
from seams.derivatives import gram_and_hessian
from seams.identify import recovery_scores
from seams.networks import LinearEncoder
from seams.training.models import Models
from seams.training.stack import Stack
from seams.training.store import Run
from seams.vae import VAE

__all__ = [
    "COLLAPSED_RATE",
    "VERSION",
    "Encoded",
    "at_once",
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
_CPU_BYTES = 2.0**27  # of intermediate values at a time: more leaves the caches
_GPU_SHARE = 0.25  # of its free memory, for the same
_COPIES = 6  # of a decoder's values that derivatives of second order keep at once
_RUNS_ON_GPU = 16  # evaluated together there, between two looks at the clock

Scores = dict[str, Any]
Arrays = dict[str, np.ndarray]


def at_once(device: str) -> int:
    """How many runs `evaluate` should be given together.

    Args:
        device: Where their stack is.

    Returns:
        1 on a CPU, where a run's numbers then do not depend on its stack to the last digit.
    """
    return 1 if torch.device(device).type == "cpu" else _RUNS_ON_GPU


def evaluate(stack: Stack, runs: Sequence[int], data: Data) -> list[tuple[Scores, Arrays]]:
    """All diagnostics of some runs of a stack, at their end and at their snapshots.

    Args:
        stack: A trained stack.
        runs: Positions in it, of runs that were trained on the same data.
        data: What they were trained on, on the device of the stack.

    Returns:
        For each run scores and arrays of `diagnose`, and `curve_<score>` with one value a
        snapshot, NaN where the score was not defined yet; `curve_step` holds their steps.
    """
    of_run = lambda params, run: {name: param[run] for name, param in params.items()}
    ends = [of_run(stack.params, run) for run in runs]
    snapshots = [{s: of_run(p, run) for s, p in stack.snapshots.items()} for run in runs]
    return _evaluate(stack.model, ends, snapshots, data)


def reevaluate(run: Run, data: Data) -> tuple[Scores, Arrays]:
    """The same for a run that is stored with its weights.

    Args:
        run: From the store.
        data: What it was trained on, on the CPU.

    Returns:
        Its scores and arrays.
    """
    return _evaluate(run.model(), [run.weights()], [run.snapshots()], data)[0]


def _evaluate(
    vae: VAE,
    ends: Sequence[Mapping[str, Tensor]],
    snapshots: Sequence[Mapping[int, Mapping[str, Tensor]]],
    data: Data,
) -> list[tuple[Scores, Arrays]]:
    found = _diagnose(Models.of(vae, *ends), data, IMAGES, pictures=True, derived=True)
    # Where the truth is known, recovery is what is followed: small models come in hundreds, and
    # their derivatives would take most of the time.
    derived = "mcc" not in found[0][0]
    steps = sorted(snapshots[0])
    if isinstance(vae.encoder, LinearEncoder) and derived:
        steps = []  # its decoder is its own Jacobian: nothing to add
    if not steps:
        return [(scores | {"evaluation": VERSION}, arrays) for scores, arrays in found]
    early = Models.of(vae, *(params[step] for params in snapshots for step in steps))
    points = _diagnose(early, data, SNAPSHOT_IMAGES, pictures=False, derived=derived)
    whole = []
    for run, (scores, arrays) in enumerate(found):
        of_run = points[run * len(steps) : (run + 1) * len(steps)]
        rows = [point | {"step": step} for (point, _), step in zip(of_run, steps, strict=True)]
        curves = {f"curve_{name}": _curve([row.get(name) for row in rows]) for name in rows[-1]}
        whole.append((scores | {"evaluation": VERSION}, arrays | curves))
    return whole


def _curve(values: Sequence[Any]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], float)


@dataclass(frozen=True)
class Encoded:
    """Posteriors of a sample of the data.

    Attributes:
        indices: Which data `[n]`, the same for all models.
        means: Posterior means `[*models, n, latent]`.
        scales: Marginal posterior standard deviations `[*models, n, latent]`.
        latents: One draw of each posterior `[*models, n, latent]`.
        kl: Mean KL of each latent's marginal to the prior, nats `[*models, latent]`; their sum is
            the rate only if posteriors are diagonal.
        rate: Mean KL of the posterior to the prior, nats `[*models]`.
        distortion: Mean squared error of the decoded draw, summed over a datum `[*models]`.
    """

    indices: Tensor
    means: Tensor
    scales: Tensor
    latents: Tensor
    kl: Tensor
    rate: Tensor
    distortion: Tensor


def encode(vae: VAE, data: Data, images: int = IMAGES, seed: int = 0) -> Encoded:
    """Encode distinct data, drawn without replacement, and decode one draw of each.

    Args:
        vae: The model.
        data: The data set.
        images: How many, at most all.
        seed: Of the choice and of the draws.

    Returns:
        Posteriors and their mean rate and distortion, of this one model: without a model axis.
    """
    every = _encode(Models.of(vae), data, images, seed)
    return Encoded(every.indices, *(getattr(every, name)[0] for name in _PER_MODEL))


_PER_MODEL = ("means", "scales", "latents", "kl", "rate", "distortion")


def _encode(models: Models, data: Data, images: int, seed: int = 0) -> Encoded:
    """The same for many models, with the same data and noise for each."""
    generator = torch.Generator().manual_seed(seed)  # of the CPU, whatever the device
    indices = torch.randperm(len(data), generator=generator)[:images].to(models.device)
    parts: list[tuple[Tensor, ...]] = []
    together, latent = 0, 0
    for some in indices.split(_BATCH):
        x = data.batch(some).to(models.dtype)
        if not parts:
            latent, values = _sizes(models, x[:1])
            together = int(_budget(models.device) / (values * x.element_size() * len(x)))
        noise = torch.randn(len(x), latent, generator=generator, dtype=torch.float64)
        noise = noise.to(x)
        columns = zip(
            *(group.map(_encode_batch, shared=(x, noise)) for group in models.groups(together)),
            strict=True,
        )
        parts.append(tuple(torch.cat(column) for column in columns))
    means, scales, latents, kl, rate, error = (
        torch.cat(column, 1).double() for column in zip(*parts, strict=True)
    )
    return Encoded(indices, means, scales, latents, kl.mean(1), rate.mean(1), error.mean(1))


def _encode_batch(vae: VAE, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    posterior = vae.encoder(x)
    z = posterior.reparameterise(noise)
    error = (x - vae.decoder(z)).square().sum(-1)
    scales, kl = posterior.marginal_stddev, posterior.kl_per_latent()
    return posterior.mean, scales, z, kl, posterior.kl_to_prior(), error


def _sizes(models: Models, x: Tensor) -> tuple[int, int]:
    """Number of latents, and how many values a model computes for one datum `x` `[1, data]`."""
    one = next(models.groups(1))
    count = 0

    def add(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        nonlocal count
        count += output.numel() if isinstance(output, Tensor) else 0

    hooks = [part.register_forward_hook(add) for part in one.template.modules()]
    try:
        (means,) = one.map(lambda vae, x: (vae.encoder(x).mean,), shared=(x,))
        one.map(lambda vae, z: vae.decoder(z), means)
    finally:
        for hook in hooks:
            hook.remove()
    return means.shape[-1], max(count, x.shape[-1])


def _budget(device: torch.device) -> float:
    """Bytes that intermediate values may take."""
    if device.type == "cpu":
        return _CPU_BYTES
    return _GPU_SHARE * torch.cuda.mem_get_info(device)[0]


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
    return _diagnose(Models.of(vae), data, images, pictures, derived)[0]


def _diagnose(
    models: Models, data: Data, images: int, pictures: bool, derived: bool
) -> list[tuple[Scores, Arrays]]:
    """`diagnose` of many models."""
    with _double_by_default():  # the caller's default must not change the last digits
        encoded = _encode(models, data, images)
        means = encoded.means.cpu()
        active = torch.stack([metrics.active_latents(mean) for mean in means])
        found: list[tuple[Scores, Arrays]] = []
        for mean, known, kl, rate, distortion in zip(
            means,
            active,
            encoded.kl,
            encoded.rate.tolist(),
            encoded.distortion.tolist(),
            strict=True,
        ):
            scores: Scores = {
                "distortion": distortion,
                "rate": rate,
                "active": int(known.sum()),
                "collapsed": rate < COLLAPSED_RATE,
            }
            found.append((scores, {"kl": kl.cpu().numpy(), "activity": mean.var(0).numpy()}))
        parts = [
            _derivatives(models, data, encoded, active) if derived else (),
            _information(data, encoded, active),
            _recovery(data, means, encoded.indices),
            _pictures(models, data, encoded) if pictures and hasattr(data, "resolution") else (),
        ]
        for part in parts:
            for (scores, arrays), (more, others) in zip(found, part, strict=bool(part)):
                scores |= more
                arrays |= others
    return found


@contextmanager
def _double_by_default() -> Iterator[None]:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def _derivatives(
    models: Models, data: Data, encoded: Encoded, active: Tensor
) -> list[tuple[Scores, Arrays]]:
    """Both derivative terms of Eq. 6 and what is read off them."""
    exact = models.double()
    x = data.batch(encoded.indices[:DERIVATIVE_IMAGES]).double()
    z = encoded.latents[:, :DERIVATIVE_IMAGES]
    _, values = _sizes(exact, x[:1])
    draws = int(_budget(z.device) / (_COPIES * values * z.element_size() * z.shape[-1]))
    terms, done = [], 0
    for group in exact.groups(draws // len(x)):
        some = slice(done, done := done + group.count)

        def of_one(vae: VAE, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            return gram_and_hessian(vae.decoder, z, x, chunk_size=max(1, min(draws, len(x))))

        terms.append(group.map(of_one, z[some], shared=(x,)))
    grams, hessians = (torch.cat(column).cpu() for column in zip(*terms, strict=True))
    return [_derivative_scores(*one) for one in zip(grams, hessians, active, strict=True)]


def _derivative_scores(gram: Tensor, hessian: Tensor, active: Tensor) -> tuple[Scores, Arrays]:
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


def _information(data: Data, encoded: Encoded, active: Tensor) -> list[tuple[Scores, Arrays]]:
    """What the latents say of the true factors, if those are known."""
    factors = data.factors
    if factors is None:
        return []
    factors = factors[encoded.indices.to(factors.device)].to(encoded.means.device)
    entropies = metrics.entropies(factors).cpu()
    scales = encoded.scales.clamp(min=NARROWEST)
    drawn, means, density = (
        information.cpu()
        for information in (
            metrics.mutual_information(encoded.latents, factors),
            metrics.mutual_information(encoded.means, factors),
            metrics.density_mutual_information(encoded.means, scales, factors),
        )
    )
    probes = [metrics.linear_probe_r2(means, factors).cpu() for means in encoded.means]
    found = []
    for *kinds, known, probe in zip(drawn, means, density, active, probes, strict=True):
        kinds[1] = kinds[1] * known[:, None]
        by_kind = dict(zip(("", "_means", "_density"), kinds, strict=True))
        scores = _information_scores(by_kind, entropies, _names(data))
        scores |= {f"probe_{n}": float(r) for n, r in zip(_names(data), probe, strict=True)}
        arrays = {f"information{suffix}": value.numpy() for suffix, value in by_kind.items()}
        found.append((scores, arrays))
    return found


def _information_scores(
    by_kind: Mapping[str, Tensor], entropies: Tensor, names: Sequence[str]
) -> Scores:
    scores: Scores = {}
    for suffix, information in by_kind.items():
        gaps = None  # with one latent there is no second to compete
        if len(information) > 1:
            gaps = metrics.mutual_information_gaps(information, entropies)
        scores[f"mig{suffix}"] = None if gaps is None else float(gaps.mean())
        if names[0] == "shape":
            scores[f"mig4{suffix}"] = None if gaps is None else float(gaps[1:].mean())
        known = bool(information.sum() > 0)
        scores[f"aas{suffix}"] = metrics.axis_alignment_score(information) if known else None
        if not suffix:
            every = [None] * len(names) if gaps is None else gaps.tolist()
            scores |= {f"mig_{n}": g for n, g in zip(names, every, strict=True)}
    return scores


def _recovery(data: Data, means: Tensor, indices: Tensor) -> list[tuple[Scores, Arrays]]:
    """How well true latents are found, where they are known as real numbers."""
    if data.latents is None:
        return []
    truth = data.latents.cpu()[indices.cpu()].double()
    return [(dict(recovery_scores(mean, truth)), {}) for mean in means]


def _names(data: Data) -> tuple[str, ...]:
    return data.factor_names


def _pictures(models: Models, data: Data, encoded: Encoded) -> list[tuple[Scores, Arrays]]:
    """Images with their reconstructions, and traversals of every latent, for the eye."""
    x = data.batch(encoded.indices[:PICTURES])
    steps = torch.linspace(*TRAVERSAL[:2], int(TRAVERSAL[2]), dtype=torch.float64)
    steps = steps.to(encoded.means.device)
    z = []
    for means in encoded.means:
        order = means.var(0).argsort(descending=True)
        moved = means[0].repeat(len(order), len(steps), 1)
        for row, latent in enumerate(order):
            moved[row, :, latent] = steps
        z.append(torch.cat([means[:PICTURES], moved.flatten(0, 1)]))
    decode = lambda vae, z: vae.decoder(z)
    as_bytes = lambda t: (t.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    found: list[tuple[Scores, Arrays]] = []
    for decoded in models.map(decode, torch.stack(z).to(models.dtype)):
        reconstructions, traversals = decoded[: len(x)], decoded[len(x) :]
        arrays = {
            "images": as_bytes(x),
            "reconstructions": as_bytes(reconstructions),
            "traversals": as_bytes(traversals.unflatten(0, (-1, len(steps)))),
        }
        found.append(({}, arrays))
    return found
