r"""Any encoder and decoder, diagnosed against the theory in one call.

`diagnose` asks, of a trained VAE that need not be ours: which latents are active, does Eq. 6 hold,
is each of its two terms diagonal (P1), are C1 and C2 satisfied, is the manifold flat, do latents
and factors correspond, and which latents could be told apart at all. All that compares latents is
over the active ones (`seams.metrics.active_latents`): a score of an inactive latent is undefined.

**Bernoulli.** With logits $a$ and means $p$, the Hessian of $\log p(x|z)$ is $-(G - H)$, where
$G = \sum_k p_k (1 - p_k)\, \nabla a_k \nabla a_k^\top$ and $H = (x - p)^\top \nabla^2 a$: what the
two terms of Eq. 6 are for a Gaussian. $G$ is the Gram matrix of the Jacobian of $2 \arcsin \sqrt
p$, the map of $p$ that has the same noise everywhere; C1, C2, the contrast and the curvature are
taken of that map instead of the mean.

**Any other likelihood.** With $\ell(a) = \log p(x|a)$ of the decoder's output $a$, the same
Hessian is $-(G - H)$ with $G = -J^\top \nabla_a^2 \ell\, J$ and $H = \nabla_a \ell^\top \nabla^2
a$. C1, C2 and the curvature are taken of $a$ as it is.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from seams import metrics
from seams.derivatives import Precision
from seams.derivatives.checks import sign_fault
from seams.diagnosis.alone import MOVES, DecoderDiagnosis, diagnose_decoder
from seams.diagnosis.encoder import (
    Second,
    count_of,
    evaluating,
    posteriors,
)
from seams.diagnosis.inputs import as_tensor, factor_fault, name_fault, option_fault, whole_fault
from seams.diagnosis.model import LogLikelihood, Output, model_of
from seams.diagnosis.pairs import pairs_of
from seams.diagnosis.paths import along_paths
from seams.diagnosis.report import Diagnosis
from seams.diagnosis.result import Estimate, Pair
from seams.diagnosis.scores import (
    FEWEST,
    constraints,
    diagonality,
    implied_variance,
    information,
    root_mean_square,
)
from seams.distributions import FullGaussian
from seams.networks import Covariance
from seams.scores import (
    Sides,
    cancelled_share,
    compare_sides,
    relative_difference,
    turned_off_diagonality,
)
from seams.scores.sides import scaled
from seams.vae import Likelihood

__all__ = [
    "MOVES",
    "DecoderDiagnosis",
    "Diagnosis",
    "Estimate",
    "Pair",
    "Sides",
    "cancelled_share",
    "compare_sides",
    "diagnose",
    "diagnose_decoder",
    "relative_difference",
    "turned_off_diagonality",
]

_MOST_DRAWS = 10_000  # more are of no use, and fill the memory
_DECODED = 1_024  # data decoded for the distortion, 128 at a time


def diagnose(
    encoder: Callable[..., Any],
    decoder: Callable[..., Any],
    x: Tensor | np.ndarray,
    *,
    factors: Tensor | np.ndarray | None = None,
    factor_names: Sequence[str] = (),
    likelihood: Likelihood | LogLikelihood = "gaussian",
    sigma: float = 1.0,
    beta: float = 1.0,
    second: Second = "log_variance",
    output: Output = "mean",
    samples: int = 128,
    draws: int = 2,
    seed: int = 0,
) -> Diagnosis:
    r"""Test everything the theory says of one trained model, and say what was found.

    Modules, and methods of modules, are copied, put in `eval()` and, for the decoder, in float64;
    yours stay as they are. Other callables are used as they are: in `eval()`, and in float64 if
    they can.

    Rate, distortion, activity and information use all of `x`; derivatives use `samples` of it,
    chosen at random, with `draws` posterior draws each, by `seed`. Of these, 32 serve for C2 and 4
    to 32 for the curvature. The noise of the draws is taken out of `difference` and `cancelled`
    for any number. Information from few data is overstated (see
    `seams.metrics.mutual_information`): pass thousands. Where a score needs derivatives in the
    active latents alone, inactive ones are held at 0.

    Args:
        encoder: From a batch of data, shaped as `x`, to their posteriors: a distribution of
            `torch.distributions` (Normal, Independent Normal, MultivariateNormal), one of
            `seams.distributions`, or a pair of the mean `[n, latent]` and what `second` names.
        decoder: From one latent `[latent]` or a batch `[n, latent]` to means of any shape, one
            value a column of `x`.
        x: Data `[n, ...]`, floating point; all but the first axis are flattened for derivatives.
        factors: True factors `[n, factor]` as integers, if they are known.
        factor_names: One a column of `factors`; default their numbers.
        likelihood: Of x given z; "bernoulli" for data in [0, 1]; or a function of the decoder's
            output for one datum and of that datum, both `[data]`, that returns $\log p(x|z)$ in
            nats, a scalar, twice differentiable in torch.
        sigma: Standard deviation of a Gaussian likelihood, in the unit of x.
        beta: Weight of the KL term, where the loss is $-\log p(x|z) + \beta\,$KL, summed over a
            datum. A loss with another reduction has another beta.
        second: What an encoder that returns a pair puts second: "log_variance", "std" or
            "scale_tril", the Cholesky factor of a full covariance.
        output: What the decoder of a Bernoulli likelihood returns: "mean" or "logits".
        samples: Data whose derivatives are taken.
        draws: Posterior draws of each.
        seed: Of the choice and of the draws.

    Returns:
        The diagnosis: scores, matrices, `.table()`, `.plot()` and `.verdict`.

    Raises:
        ValueError: An argument or a result of encoder, decoder or likelihood has another shape,
            type or range, or is not finite, or depends on the rest of the batch.

    Source: Eq. 6, P1, C1, C2, Appendix E; the verdict on gaps: Eq. 4 and Theorem 6.5.
    """
    x = as_tensor("x", x)
    factors = None if factors is None else as_tensor("factors", factors)
    if fault := _data_fault(x, factors):
        raise ValueError(fault)
    fault = _option_fault(x, likelihood, sigma, beta, second, output, samples, draws, seed)
    if fault := fault or name_fault(factors, factor_names):
        raise ValueError(fault)
    flags: list[str] = []
    sigma = sigma if likelihood == "gaussian" else 1.0
    generator = torch.Generator().manual_seed(seed)
    posterior = posteriors(evaluating(encoder, "encoder", flags), x, second)
    latents = posterior.reparameterise(
        torch.randn(posterior.mean.shape, generator=generator, dtype=torch.float64)
    )
    activity = posterior.mean.var(0, correction=0)
    active = metrics.active_latents(posterior.mean)
    model = model_of(decoder, x, latents, likelihood, output, flags)

    shuffled = torch.randperm(len(x), generator=generator)
    chosen, decoded = shuffled[:samples], shuffled[:_DECODED]
    noise = torch.randn(
        (draws, len(chosen), latents.shape[1]), generator=generator, dtype=torch.float64
    )
    mean, L = posterior.mean[chosen], posterior.scale_tril[chosen]
    z = mean + (L @ noise.unsqueeze(-1)).squeeze(-1)
    gram, hessian = model.terms(z, x.flatten(1)[chosen])
    found = Precision.of_draws(gram, hessian, beta * sigma**2)
    left = torch.cholesky_inverse(L)
    missed = along_paths(model.natural, z[0].to(model.dtype), generator, model.chunk)
    kinked = missed.told(
        "Eq. 6 cannot close (see seams.derivatives.optimal_precision_one_derivative), and the "
        "second term's scores, C2 and flatness are",
        flags,
    )
    covariance: Covariance = "full" if isinstance(posterior, FullGaussian) else "diagonal"
    names = tuple(factor_names) or tuple(
        f"factor {k}" for k in range(0 if factors is None else factors.shape[1])
    )
    rate = posterior.kl_to_prior()
    informed = information(factors, names, latents, posterior.mean, active, flags)
    difference = relative_difference(L, found.precision)
    noise = scaled(found.precision_error, left)
    terms = diagonality(gram, hessian, found, active, beta * sigma**2, kinked, flags)
    data = x.flatten(1)[chosen]
    along = constraints(model, gram, z[0], data, active, kinked, flags)
    if (random := along.pop("c2_random", None)) is not None:
        terms["random"]["c2"] = random
    return Diagnosis(
        likelihood=likelihood if isinstance(likelihood, str) else "custom",
        beta=float(beta),
        sigma=float(sigma),
        covariance=covariance,
        data=len(x),
        activity=activity,
        active=active,
        kl=posterior.kl_per_latent().mean(0),
        rate=Estimate.of(rate),
        distortion=Estimate.of(model.distortion(latents[decoded], x.flatten(1)[decoded])),
        grams=found.gram,
        hessians=found.hessian,
        left=left,
        right=found.precision,
        right_error=found.precision_error,
        difference=root_mean_square(
            difference, scaled(found.precision_error, left), active, covariance
        ),
        implied_variance=implied_variance(found, left, active),
        **terms,
        **along,
        pairs=pairs_of(found.gram, active, beta, beta * sigma**2, informed.shares),
        factor_names=informed.names,
        information=informed.matrix,
        mig=informed.mig,
        aas=informed.aas,
        known=informed.known,
        probe=informed.probe,
        flags=tuple(flags),
    )


def _data_fault(x: Tensor, factors: Tensor | None) -> str | None:
    if x.ndim < 2 or not x.is_floating_point():
        return (
            "`x` must be data [n, ...] in floating point; got "
            f"{list(x.shape)} of {x.dtype}. Give them as the encoder takes them."
        )
    return factor_fault(factors, len(x))


def _option_fault(
    x: Tensor,
    likelihood: str | LogLikelihood,
    sigma: float,
    beta: float,
    second: str,
    output: str,
    samples: int,
    draws: int,
    seed: int,
) -> str | None:
    if not callable(likelihood) and likelihood not in get_args(Likelihood):
        known = ", ".join(get_args(Likelihood))
        return f"`likelihood` must be one of {known}, or a function; got {likelihood!r}."
    fault = option_fault("second", second, get_args(Second))
    if fault := fault or option_fault("output", output, get_args(Output)):
        return fault
    if fault := sign_fault(beta=beta, sigma=sigma):
        return fault
    if not 0 < beta * sigma * sigma < math.inf:
        return f"beta sigma^2 must be positive and finite; got beta={beta} and sigma={sigma}."
    fault = whole_fault("samples", samples) or whole_fault("draws", draws, _MOST_DRAWS)
    if fault := fault or whole_fault("seed", seed):
        return fault
    if len(x) < FEWEST or samples < FEWEST or draws < 2:
        return (
            f"A diagnosis needs {FEWEST} data and `samples` or more, and 2 `draws` or more, for "
            f"its errors; got {len(x)}, {samples} and {draws}."
        )
    if not x.isfinite().all():
        return f"`x` must be finite; {count_of(~x.isfinite())} values are not. Drop these data."
    if likelihood == "bernoulli" and (x.min() < 0 or x.max() > 1):
        return (
            "Data of a Bernoulli likelihood must lie in [0, 1]; `x` goes from "
            f"{x.min().item():.3g} to {x.max().item():.3g}. Scale them, or say "
            'likelihood="gaussian".'
        )
    return None
