"""How much faster are our Jacobian Gram and directed Hessian than what public code does?

On the 64 x 64 decoder of Burgess 2018 (10 latents, SiLU, linear output, untrained), in float64:

* Gram: one JVP a latent (ours), against one reverse pass a pixel in a Python loop, and against
  `torch.func.vmap(torch.func.jacrev(decoder))`, both 4,096 passes.
* Directed Hessian: that of one scalar, forward over reverse (ours), against the whole tensor
  [pixel, latent, latent] contracted with the residual, as `torch.func.hessian` gives it, and
  against `torch.autograd.functional.hessian` of the same scalar, in a Python loop over samples.
  The whole tensor is taken for every 64th pixel, and its time multiplied by 64.

Run as `python benchmarks/derivatives.py`; writes `benchmarks/results/derivatives.json`. Times are
CPU seconds of one thread per sample, since other programs may share the machine. Ours runs on a
batch of 8 and the others on one sample of it, which favours none of them: they are bound by their
number of passes.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from summaries import summary
from torch import Tensor
from torch.func import hessian, jacrev, vmap

from seams.derivatives import directed_hessian, jacobian_gram
from seams.networks import burgess_decoder
from seams.training.provenance import environment

LATENT, SIDE, BATCH, REPEATS = 10, 64, 8, 3
EVERY = 64  # pixels of which one enters the whole Hessian tensor
# Rows of the reverse pass at once: 4,096 would need gigabytes.
CHUNK = 256
RESULT = Path(__file__).parent / "results" / "derivatives.json"


def gram_by_pixel(decoder: torch.nn.Module, z: Tensor) -> Tensor:
    """One reverse pass for each pixel, in a Python loop.

    Returns:
        The Gram matrices [sample, latent, latent].
    """
    grams = []
    for latent in z:
        latent = latent.clone().requires_grad_()
        mean = decoder(latent)
        # By index: iterating over `mean` would make each pass fill zeros for all other pixels.
        rows = [
            torch.autograd.grad(mean[k], latent, retain_graph=True)[0] for k in range(len(mean))
        ]
        J = torch.stack(rows)
        grams.append(J.mT @ J)
    return torch.stack(grams)


def gram_by_jacrev(decoder: torch.nn.Module, z: Tensor) -> Tensor:
    """All reverse passes at once, in chunks.

    Returns:
        The Gram matrices [sample, latent, latent].
    """
    J = vmap(jacrev(decoder, chunk_size=CHUNK))(z)
    return J.mT @ J


def hessian_by_tensor(decoder: torch.nn.Module, z: Tensor, residual: Tensor) -> Tensor:
    """The Hessians of some pixels, [pixel, latent, latent], and then the contraction.

    Returns:
        The directed Hessians of those pixels [sample, latent, latent].
    """
    H = torch.stack([hessian(lambda z: decoder(z)[::EVERY])(latent) for latent in z])
    return torch.einsum("nk,nkij->nij", residual[:, ::EVERY], H)


def hessian_by_autograd(decoder: torch.nn.Module, z: Tensor, residual: Tensor) -> Tensor:
    """Reverse over reverse, of the scalar, one sample after another.

    Returns:
        The directed Hessians [sample, latent, latent].
    """
    return torch.stack(
        [
            torch.autograd.functional.hessian(lambda z, r=r: r @ decoder(z), latent)
            for latent, r in zip(z, residual, strict=True)
        ]
    )


def timed(function: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """One call.

    Returns:
        The result and CPU seconds.
    """
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def difference(ours: Tensor, other: Tensor) -> float:
    """Largest difference of two results, over the largest entry of the first.

    Returns:
        A share.
    """
    return ((ours[: len(other)] - other).abs().max() / ours.abs().max()).item()


def main() -> None:
    """Time all in turn, compare them, write the result."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    decoder = burgess_decoder(LATENT, SIDE).double().requires_grad_(False)
    z = torch.randn(BATCH, LATENT, dtype=torch.float64)
    x = torch.rand(BATCH, SIDE**2, dtype=torch.float64)
    one, residual = z[:1], (x - decoder(z))[:1]
    cases: dict[str, Callable[[], Tensor]] = {
        "gram/ours": lambda: jacobian_gram(decoder, z),
        "gram/loop over pixels": lambda: gram_by_pixel(decoder, one),
        "gram/vmap of jacrev": lambda: gram_by_jacrev(decoder, one),
        "hessian/ours": lambda: directed_hessian(decoder, z, x),
        "hessian/whole tensor": lambda: hessian_by_tensor(decoder, one, residual),
        "hessian/autograd.functional": lambda: hessian_by_autograd(decoder, one, residual),
    }
    cases["gram/ours"]()
    cases["hessian/ours"]()
    times: dict[str, list[float]] = {name: [] for name in cases}
    values: dict[str, Tensor] = {}
    # In turn, so that a busy phase of the machine meets all.
    for _ in range(REPEATS):
        for name, function in cases.items():
            values[name], seconds = timed(function)
            share = EVERY if name == "hessian/whole tensor" else 1
            times[name].append(seconds * share / len(values[name]))
    # What the whole tensor was taken of: the decoder cut down to some of its pixels.
    expected = values | {
        "hessian/some": directed_hessian(lambda z: decoder(z)[::EVERY], one, x[:1, ::EVERY])
    }
    compared = {
        "gram/loop over pixels": "gram/ours",
        "gram/vmap of jacrev": "gram/ours",
        "hessian/whole tensor": "hessian/some",
        "hessian/autograd.functional": "hessian/ours",
    }
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    result = {
        "question": "forward-mode Gram and scalar Hessian against reverse passes over pixels",
        "decoder": f"Burgess 2018, {SIDE} x {SIDE}, {LATENT} latents, SiLU, untrained",
        "samples": {name: len(value) for name, value in values.items()},
        "extrapolated": {"hessian/whole tensor": f"from 1 in {EVERY} pixels"},
        "cpu_seconds_per_sample": {name: summary(seconds) for name, seconds in times.items()},
        "ratio_to_ours": {
            name: float(f"{medians[name] / medians[name.split('/')[0] + '/ours']:.3g}")
            for name in compared
        },
        "largest_relative_difference_to_ours": {
            name: difference(expected[ours], values[name]) for name, ours in compared.items()
        },
        "environment": environment() | {"threads": torch.get_num_threads(), "dtype": "float64"},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
