"""An encoder and a decoder of any form, brought to one."""

import copy
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
)
from torch.func import grad, vmap
from torch.nn.functional import binary_cross_entropy_with_logits

from seams.derivatives import Decoder
from seams.derivatives.checks import decoder_fault, in_train_mode, module_of
from seams.derivatives.mapping import over_batch
from seams.derivatives.pointwise import Slope, likelihood_terms
from seams.distributions import DiagonalGaussian, FullGaussian, Posterior
from seams.vae import Likelihood

__all__ = [
    "LogLikelihood",
    "Model",
    "Output",
    "Second",
    "count_of",
    "evaluating",
    "model_of",
    "posteriors",
]

_ENTRIES = 2**16  # of means differentiated at once, 16 of 64 x 64 pixels: more is not faster
_BATCH = 1_024  # data encoded at a time
_LOGIT = 60.0  # beyond it a mean is 0 or 1 to 26 digits, and exp would overflow in float32
Second = Literal["log_variance", "std", "scale_tril"]
Output = Literal["mean", "logits"]
LogLikelihood = Callable[[Tensor, Tensor], Tensor]  # output [data], x [data] -> scalar


def count_of(wrong: Tensor) -> int:
    """How many are."""
    return int(wrong.sum())


def evaluating(function: Callable[..., Any], name: str, flags: list[str]) -> Callable[..., Any]:
    """A module, or a method of one, on a copy in evaluation mode; anything else as it is."""
    module = module_of(function)
    if module is None:
        return function
    if in_train_mode(function):
        flags.append(f"The {name} was in train mode; a copy in eval mode was diagnosed.")
    twin = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    return twin if function is module else types.MethodType(function.__func__, twin)  # type: ignore[attr-defined]


def _tried(name: str, wanted: str, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Outcomes of the calls that run; if none does, an error with what the last one said."""
    outcomes, said = [], ""
    for call in calls:
        try:
            with torch.no_grad():
                outcomes.append(call())
        except Exception as error:  # of any kind: this is not our code
            outcomes.append(None)
            said = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if all(outcome is None for outcome in outcomes):
        raise ValueError(f"`{name}` must take {wanted}; called with that, it says {said}")
    return outcomes


def posteriors(encoder: Callable[..., Any], x: Tensor, second: Second) -> Posterior:
    """Posteriors of all data, float64."""
    candidates = [x] if module_of(encoder) is None else []
    candidates += [x.float(), x.double()]
    wanted = f"a batch of data shaped as `x`, {[2, *x.shape[1:]]}"
    found = _tried("encoder", wanted, [partial(encoder, some[:2]) for some in candidates])
    data = next(c for c, outcome in zip(candidates, found, strict=True) if outcome is not None)
    with torch.no_grad():
        parts = [_gaussian(encoder(some), second, len(some)) for some in data.split(_BATCH)]
        # The same datum in another company: batch norm and dropout in train mode show here.
        alone = _gaussian(encoder(data[1:3]), second, 2)[0][0]
    mean, L = (torch.cat(column) for column in zip(*[part[:2] for part in parts], strict=True))
    for name, values in (("means", mean), ("scales", L)):
        if not values.isfinite().all():
            raise ValueError(
                f"The encoder's {name} must be finite; {count_of(~values.isfinite())} are not. "
                "Did the run diverge?"
            )
    smallest = L.diagonal(dim1=-2, dim2=-1).min().item()
    if smallest <= 0:
        raise ValueError(
            f"Posterior standard deviations must be positive; got {smallest:.3g}. Does the "
            f"encoder's pair hold log-variances? `second` is {second!r}."
        )
    apart = (alone - mean[1]).abs().max().item()
    if apart > 1e-3 * (1 + mean[1].abs().max().item()):
        raise ValueError(
            "`encoder` must treat each datum by itself and repeat itself; in another batch the "
            f"means of one differ by {apart:.1e}. Is it in train mode, with dropout or batch "
            "norm? Call encoder.eval()."
        )
    if all(part[2] == "diagonal" for part in parts):
        return DiagonalGaussian(mean, L.diagonal(dim1=-2, dim2=-1))
    return FullGaussian(mean, L)


def _gaussian(found: Any, second: Second, count: int) -> tuple[Tensor, Tensor, str]:
    """Mean, Cholesky factor and kind of whatever an encoder returned, float64."""
    kind = "diagonal"
    if isinstance(found, Distribution):
        plain = found.base_dist if isinstance(found, Independent) else found
        if isinstance(plain, Normal):
            mean, L = plain.mean, torch.diag_embed(plain.stddev)
        elif isinstance(plain, MultivariateNormal | LowRankMultivariateNormal):
            mean, L, kind = plain.mean, plain.scale_tril, "full"
        else:
            raise ValueError(
                "A posterior must be Gaussian: Normal or MultivariateNormal; got "
                f"{type(plain).__name__}. The theory is of Gaussian ones."
            )
    elif isinstance(found, tuple | list) and len(found) == 2:
        mean, spread = found
        if second == "scale_tril":
            L, kind = spread, "full"
        else:
            std = spread if second == "std" else (0.5 * spread.double()).exp()
            L = torch.diag_embed(std)
    else:
        raise ValueError(
            "`encoder` must return a Gaussian of torch.distributions, or a pair of mean and "
            f"`second`; got {described(found)}. Wrap it in a function that picks these two."
        )
    latent = mean.shape[-1]
    if mean.shape != (count, latent) or L.shape != (count, latent, latent):
        raise ValueError(
            "`encoder` must return one posterior a datum, of means [n, latent]; got means of "
            f"shape {list(mean.shape)} and Cholesky factors {list(L.shape)} for {count} data."
        )
    return mean.detach().cpu().double(), L.detach().cpu().double(), kind


def described(found: Any) -> str:
    size = f" of {len(found)}" if isinstance(found, tuple | list | dict) else ""
    return f"a {type(found).__name__}{size}"


@dataclass(frozen=True)
class Model:
    """The decoder as a function of one latent, and what the likelihood makes of it."""

    natural: Decoder  # logits if Bernoulli, else means
    likelihood: Likelihood | LogLikelihood
    dtype: torch.dtype
    data: int

    @property
    def chunk(self) -> int:
        """Points differentiated at once."""
        return max(1, _ENTRIES // self.data)

    def metric(self, z: Tensor) -> Tensor:
        """What has the same noise in every column: the mean, or 2 arcsin of its root."""
        if self.likelihood != "bernoulli":
            return self.natural(z)
        return 2 * (0.5 * self.natural(z).clamp(-_LOGIT, _LOGIT)).exp().atan()

    @property
    def slope(self) -> Slope:
        """Derivative of the log-likelihood in the output; of a Gaussian of unit variance."""
        if not isinstance(self.likelihood, str):
            return grad(self.likelihood)
        if self.likelihood == "gaussian":
            return lambda mean, x: x - mean
        return lambda logits, x: x - logits.sigmoid()

    def within(self, active: Tensor) -> Decoder:
        """`metric` as a function of the active latents alone, the others at 0."""
        places = torch.eye(len(active), dtype=self.dtype)[active]
        return lambda z: self.metric(z @ places)

    def terms(self, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both terms of Eq. 6 at `z` [draw, sample, latent], in float64."""
        one = partial(likelihood_terms, self.natural, self.slope)
        flat, target = z.flatten(0, 1).to(self.dtype), x.to(self.dtype).repeat(len(z), 1)
        gram, hessian = over_batch(one, flat, target, chunk_size=self.chunk)
        for name, values in (("first", gram), ("second", hessian)):
            if not values.isfinite().all():
                raise ValueError(
                    f"The {name} derivatives of the decoder must be finite; "
                    f"{count_of(~values.isfinite())} entries are not. Did the run diverge?"
                )
        shape = z.shape[:2]
        return gram.double().unflatten(0, shape), hessian.double().unflatten(0, shape)

    def distortion(self, z: Tensor, x: Tensor) -> Tensor:
        """Squared error or negative log-likelihood of each datum."""
        output = self(z.to(self.dtype)).double()
        if not isinstance(self.likelihood, str):
            return -vmap(self.likelihood)(output, x.double())
        if self.likelihood == "gaussian":
            return (x.double() - output).square().sum(-1)
        return binary_cross_entropy_with_logits(output, x.double(), reduction="none").sum(-1)

    def __call__(self, z: Tensor) -> Tensor:
        """Outputs of a batch of latents."""
        with torch.no_grad():
            return torch.cat([vmap(self.natural)(some) for some in z.split(128)])


def model_of(
    decoder: Callable[..., Any],
    x: Tensor,
    latents: Tensor,
    likelihood: Likelihood | LogLikelihood,
    output: Output,
    flags: list[str],
) -> Model:
    """The decoder as a function of one latent, in float64 if it can."""
    decoder = evaluating(decoder, "decoder", flags)
    size = x[0].numel()
    if module := module_of(decoder):
        module.double()
    forms: list[tuple[torch.dtype, Decoder]] = [
        (dtype, form)
        for dtype in (torch.float64, torch.float32)
        for form in (
            lambda z: _flattened(decoder(z)),
            lambda z: _flattened(decoder(z.unsqueeze(0))),
        )
    ]
    wanted = "one latent [latent] or a batch of them [n, latent]"
    calls = [partial(form, latents[0].to(dtype)) for dtype, form in forms]
    found = _tried("decoder", wanted, calls)
    fits = [outcome is not None and len(outcome) == size for outcome in found]
    # Where no form has the right size, `decoder_fault` says what is wrong with one that runs.
    best = fits.index(True) if any(fits) else [o is not None for o in found].index(True)
    dtype, single = forms[best]
    if dtype != torch.float64:
        flags.append("The decoder runs in float32 only: derivatives have half the digits.")
    rows = latents[:2].to(dtype)
    if fault := decoder_fault(single, rows, x.flatten(1)[:2].to(dtype)):
        raise ValueError(fault)
    means = single(rows[0])
    if not means.isfinite().all():
        raise ValueError(
            f"The decoder's output must be finite; {count_of(~means.isfinite())} of {size} values "
            "are not. Did the run diverge?"
        )
    if not isinstance(likelihood, str):
        if fault := _likelihood_fault(likelihood, means, x[0].flatten().to(dtype)):
            raise ValueError(fault)
        flags.append(
            "The likelihood is yours: its noise is not known to be alike in all columns, so C2 "
            "and flatness are those of the decoder's output as it is."
        )
    if likelihood != "bernoulli" or output == "logits":
        return Model(single, likelihood, dtype, size)
    if means.min() < 0 or means.max() > 1:
        raise ValueError(
            "The mean of a Bernoulli must lie in [0, 1]; the decoder returns values from "
            f'{means.min().item():.3g} to {means.max().item():.3g}. Pass output="logits".'
        )
    tiny = torch.finfo(dtype).eps  # a mean that rounds to 0 or 1 has no finite logit

    def logits(z: Tensor) -> Tensor:
        p = single(z).clamp(tiny, 1 - tiny)
        return p.log() - (-p).log1p()

    return Model(logits, likelihood, dtype, size)


def _likelihood_fault(likelihood: LogLikelihood, mean: Tensor, x: Tensor) -> str | None:
    """What is wrong with a log-likelihood, tried on one datum."""
    wanted = (
        "`likelihood` must return log p(x | mean) of one datum, a scalar, from the decoder's "
        "output [data] and x [data]"
    )
    try:
        found = likelihood(mean, x)
        slope = grad(likelihood)(mean, x) if found.ndim == 0 else None
    except Exception as error:
        return f"{wanted}; it fails: {' '.join(str(error).split())}"
    if slope is None:
        return f"{wanted}; got {list(found.shape)}. Sum over the columns."
    if not (found.isfinite() and slope.isfinite().all()):
        return (
            f"{wanted}; its value or slope is not finite at the first datum. Does the decoder's "
            "output lie where the density is defined?"
        )
    return None


def _flattened(mean: Any) -> Tensor:
    if not isinstance(mean, Tensor):
        raise ValueError(f"it returns {described(mean)}, not a tensor of means.")
    return mean.flatten()
