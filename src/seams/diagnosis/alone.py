"""A decoder without an encoder, a GAN's or an autoencoder's: C1, C2 and what follows of them.

What needs data and posteriors is not asked: Eq. 6, P1, rate and activity. Latents count in units
of their own standard deviation, as those of a prior do, and such as hardly move the output are
left out in the place of inactive ones.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor

from seams.derivatives import jacobian_gram
from seams.diagnosis.encoder import count_of
from seams.diagnosis.inputs import as_tensor, factor_fault, name_fault, option_fault, whole_fault
from seams.diagnosis.model import Model, Output, differentiating, model_of
from seams.diagnosis.pairs import pairs_of
from seams.diagnosis.paths import along_paths
from seams.diagnosis.picture import drawn_alone
from seams.diagnosis.report import table_of
from seams.diagnosis.result import DecoderFindings
from seams.diagnosis.scores import FEWEST, constraints, gram_diagonality, information
from seams.diagnosis.words import sentences_alone
from seams.vae import Likelihood

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["MOVES", "DecoderDiagnosis", "diagnose_decoder"]

MOVES = 0.01
"""Of what the latent that moves the output most moves it by: what moves less is left out. Of the
models in the record, 2 % have a latent above it that their posteriors ignore, and 20 % one below
it that they use: most faces with 32 latents, and one in eight with ten."""


@dataclass(frozen=True, eq=False)
class DecoderDiagnosis(DecoderFindings):
    """What `diagnose_decoder` found; see `DecoderFindings` for its attributes."""

    @property
    def verdict(self) -> str:
        """The findings in words, one sentence a line."""
        return "\n".join([*sentences_alone(self), *self.flags])

    def table(self) -> "pd.DataFrame":
        """Every score, one a row, with its error, its value in random axes, ideal and meaning."""
        return table_of(self, {"moving": int(self.active.sum())})

    def plot(self) -> "Figure":
        """What each latent moves, lengths of columns, J'J, and information or pairs of latents."""
        return drawn_alone(self)


def diagnose_decoder(
    decoder: Callable[..., Any],
    z: Tensor | np.ndarray,
    *,
    factors: Tensor | np.ndarray | None = None,
    factor_names: Sequence[str] = (),
    likelihood: Likelihood = "gaussian",
    output: Output = "mean",
    least: float = MOVES,
    samples: int = 128,
    seed: int = 0,
) -> DecoderDiagnosis:
    r"""Test C1, C2 and what follows of them of a decoder alone, at latents that it is used at.

    A generator, an autoencoder's decoder, or a VAE's whose encoder is not at hand. Derivatives use
    `samples` of the latents, chosen by `seed`; information uses all. Each latent is taken in units
    of its standard deviation in `z`: else random axes, with which scores are compared, would mix
    units. Those that move the output little are held at their mean and left out of all that
    compares latents.

    Args:
        decoder: As `diagnose` takes it: from one latent or a batch to outputs of any shape.
        z: Latents `[n, latent]`: draws of the generator's own prior, or codes.
        factors: True factors of the same `n`, as integers, if they are known.
        factor_names: One a column of `factors`; default their numbers.
        likelihood: "bernoulli" for outputs that are probabilities: what is diagnosed is then $2
            \arcsin\sqrt p$, in which all have the same noise.
        output: What a Bernoulli decoder returns: "mean" or "logits".
        least: Of $\mathrm{Var}(z_j)\, \mathrm E \lVert \partial d/\partial z_j \rVert^2$ over its
            largest value: latents below it are left out.
        samples: Latents at which derivatives are taken.
        seed: Of the choice.

    Returns:
        The diagnosis: scores, matrices, `.table()`, `.plot()` and `.verdict`.

    Raises:
        ValueError: An argument or what the decoder returns has another shape, type or range, or is
            not finite, or depends on the rest of the batch.

    Source: C1 and C2 (Lemma 4.1), Eq. S5, Theorem 6.5.
    """
    z = as_tensor("z", z)
    factors = None if factors is None else as_tensor("factors", factors)
    fault = _fault(z, likelihood, output, least, samples, seed)
    fault = fault or factor_fault(factors, len(z)) or name_fault(factors, factor_names)
    if fault:
        raise ValueError(fault)
    flags: list[str] = []
    latents = z.double()
    generator = torch.Generator().manual_seed(seed)
    chosen = latents[torch.randperm(len(z), generator=generator)[:samples]]
    mean, std = latents.mean(0), latents.std(0)
    model = _standardised(model_of(decoder, None, chosen, likelihood, output, flags), mean, std)
    chosen = (chosen - mean) / std.where(std > 0, 1.0)
    z = chosen.to(model.dtype)
    with differentiating():
        missed = along_paths(model.natural, z, generator, model.chunk)
        gram = jacobian_gram(model.metric, z, chunk_size=model.chunk).double()
    kinked = missed.told("C2 and flatness are", flags)
    if not gram.isfinite().all():
        raise ValueError(
            f"The decoder's derivatives must be finite; {count_of(~gram.isfinite())} entries of "
            "J'J are not."
        )
    reach = gram.diagonal(dim1=1, dim2=2).mean(0)
    movement = reach / reach.max() if reach.max() > 0 else reach
    active = movement > least
    names = tuple(factor_names) or tuple(
        f"factor {k}" for k in range(0 if factors is None else factors.shape[1])
    )
    informed = information(factors, names, latents, latents, active, flags, alone=True)
    terms = gram_diagonality(gram, active, flags)
    along = constraints(model, gram[None], chosen, None, active, kinked, flags)
    if (random := along.pop("c2_random", None)) is not None:
        terms["random"]["c2"] = random
    for name in ("tangent_share", "tangent_off_diagonal"):
        along.pop(name)
    return DecoderDiagnosis(
        likelihood=likelihood,
        data=len(z),
        movement=movement,
        active=active,
        grams=gram,
        **terms,
        **along,
        pairs=pairs_of(gram, active, math.nan, math.nan, informed.shares),
        factor_names=informed.names,
        information=informed.matrix,
        mig=informed.mig,
        aas=informed.aas,
        known=informed.known,
        probe=informed.probe,
        flags=tuple(flags),
    )


def _standardised(model: Model, mean: Tensor, std: Tensor) -> Model:
    """The decoder as a function of latents in units of their own standard deviation."""
    mean, std, natural = mean.to(model.dtype), std.to(model.dtype), model.natural
    return replace(model, natural=lambda w: natural(mean + std * w))


def _fault(
    z: Tensor, likelihood: Any, output: Any, least: Any, samples: Any, seed: Any
) -> str | None:
    if z.ndim != 2 or not z.is_floating_point() or not z.isfinite().all():
        return (
            "`z` must be latents [n, latent], finite and floating; got the shape "
            f"{list(z.shape)} of {z.dtype}. Draws of the prior, torch.randn(1000, 10), say?"
        )
    fault = option_fault("likelihood", likelihood, get_args(Likelihood))
    fault = fault or option_fault("output", output, get_args(Output))
    fault = fault or whole_fault("samples", samples) or whole_fault("seed", seed)
    if fault:
        return fault
    if not isinstance(least, float | int) or not 0 <= least < 1:
        return f"`least` is a share, 0 <= least < 1; got {least!r}."
    if len(z) < FEWEST or samples < FEWEST:
        return (
            f"A diagnosis needs {FEWEST} latents and `samples` or more, for its errors; got "
            f"{len(z)} and {samples}."
        )
    return None
