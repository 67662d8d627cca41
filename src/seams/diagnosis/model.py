"""A decoder and a likelihood of any form, brought to one."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn.functional import binary_cross_entropy_with_logits

from seams.derivatives import Decoder
from seams.derivatives.checks import decoder_fault, half_of_digits, module_of
from seams.derivatives.mapping import over_batch
from seams.derivatives.pointwise import Slope, likelihood_terms
from seams.diagnosis.encoder import (
    count_of,
    described,
    evaluating,
    first_line,
    through,
    tried,
)
from seams.vae import Likelihood

__all__ = ["LogLikelihood", "Model", "Output", "differentiating", "model_of"]

_ENTRIES = 2**16  # of means differentiated at once, 16 of 64 x 64 pixels: more is not faster
_LOGIT = 60.0  # beyond it a mean is 0 or 1 to 26 digits, and exp would overflow in float32
Output = Literal["mean", "logits"]
LogLikelihood = Callable[[Tensor, Tensor], Tensor]  # output [data], x [data] -> scalar


@contextmanager
def differentiating() -> Iterator[None]:
    """Say in a line that torch cannot differentiate a decoder."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(
            "`decoder` must have two derivatives that torch.func can take, forward over "
            f"reverse; it says {first_line(error)}"
        ) from None


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
        with differentiating():
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
    decoder: Any,
    x: Tensor | None,
    latents: Tensor,
    likelihood: Likelihood | LogLikelihood,
    output: Output,
    flags: list[str],
) -> Model:
    """The decoder as a function of one latent, in float64 if it can; `x` tells its size."""
    decoder = evaluating(decoder, "decoder", flags)
    size, module = None if x is None else x[0].numel(), module_of(decoder)
    forms: list[tuple[torch.dtype, Decoder]] = []
    for dtype in (torch.float64, torch.float32):
        own = decoder
        if module is not None and dtype == torch.float64:
            own = through(decoder, copy.deepcopy(module).double())
        forms += [(dtype, partial(_alone, own)), (dtype, partial(_in_batch, own))]
    wanted = "one latent [latent] or a batch of them [n, latent]"
    calls = [partial(form, latents[0].to(dtype)) for dtype, form in forms]
    found = tried("decoder", wanted, calls)
    # What answers in another precision computes in that: it is to be called in it.
    fits = [
        y is not None and y.dtype == dtype and size in (None, len(y))
        for y, (dtype, _) in zip(found, forms, strict=True)
    ]
    # Where no form has the right size, `decoder_fault` says what is wrong with one that runs.
    best = fits.index(True) if any(fits) else [o is not None for o in found].index(True)
    dtype, single = forms[best]
    batched = forms[best | 1][1]
    if fits[best | 1] and _means_batches(decoder, single, batched, latents[:2].to(dtype)):
        single = batched
        flags.append(
            "Without a batch axis the decoder is another function (a normalisation or a softmax "
            "over the wrong axis?), so it was called with one."
        )
    if dtype != torch.float64:
        flags.append("The decoder runs in float32 only: derivatives have half the digits.")
    rows = latents[:2].to(dtype)
    if fault := decoder_fault(single, rows, None if x is None else x.flatten(1)[:2].to(dtype)):
        raise ValueError(fault)
    means = single(rows[0])
    size = len(means)
    if not means.isfinite().all():
        raise ValueError(
            f"The decoder's output must be finite; {count_of(~means.isfinite())} of {size} values "
            "are not. Did the run diverge?"
        )
    if not isinstance(likelihood, str):
        assert x is not None
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


def _alone(decoder: Callable[..., Any], z: Tensor) -> Tensor:
    return _flattened(decoder(z))


def _in_batch(decoder: Callable[..., Any], z: Tensor) -> Tensor:
    return _flattened(decoder(z.unsqueeze(0)))


def _means_batches(
    decoder: Callable[..., Any], single: Decoder, batched: Decoder, rows: Tensor
) -> bool:
    """Whether a decoder takes batches row by row, and is another function of one latent."""
    near = partial(torch.allclose, rtol=half_of_digits(rows.dtype), atol=0.0)
    with torch.no_grad():
        one = torch.stack([batched(row) for row in rows])
        plain = torch.stack([single(row) for row in rows])
        if plain.shape == one.shape and near(one, plain):
            return False
        try:
            both = decoder(rows.to(one))
        except Exception:  # it takes one latent alone
            return False
    if not isinstance(both, Tensor) or len(both.shape) < 2:
        return False
    flat = both.flatten(1)
    return flat.shape == one.shape and near(one, flat.to(one))


def _flattened(mean: Any) -> Tensor:
    plain = isinstance(mean, Tensor) and mean.layout == torch.strided and mean.device.type == "cpu"
    if not plain or mean.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"it returns {described(mean)}, not a tensor of means in float32 or "
            "float64 on the CPU."
        )
    return mean.flatten()
