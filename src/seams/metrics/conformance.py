"""What a metric must do on data whose answer is known, for any project's implementation.

    python -m seams.metrics.conformance package.module:function [--kind KIND] [--torch]

| kind | function | from | to |
|---|---|---|---|
| information | mutual information, nats | latents, factors | [latent, factor] |
| gap | mutual information gap | latents, factors | a number |
| alignment | axis alignment score | information [latent, factor] | a number |
| off_diagonality | off-diagonality of App. E | matrices [n, d, d] | [n] |

Latents are `[n, latent]`, factors `[n, factor]`: numpy's arrays of float64 and int64, or torch's
with `--torch`. Latents take few, equally spaced
values, so that any sensible number of bins, or none, gives the same. A line a case; status 1 if
one fails, 2 if there is no such function.
"""

import argparse
import importlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["KINDS", "check", "main"]

_EXACT = 1e-9  # of closed forms and of what must not matter, in nats or of 1
_TURNED = 0.2  # gap of two latents turned by 45 degrees, which share what they know

Case = tuple[
    str, Any, Any, float
]  # what is claimed, what came, what is due, how far off it may be
Metric = Callable[..., Any]


def check(function: Metric, kind: str = "information") -> list[tuple[str, str]]:
    """Claims with what is wrong about each, "" if nothing; errors of the function are caught."""
    found = list[tuple[str, str]]()
    cases = KINDS[kind](lambda *arrays: np.asarray(function(*arrays), dtype=float))
    while True:
        try:
            claim, came, due, tolerance = next(cases)
        except StopIteration:
            return found
        except Exception as error:  # not our code
            name = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            return [*found, ("the function runs on every case", name)]
        came, due = np.asarray(came, float), np.asarray(due, float)
        wrong = came.shape != due.shape or not np.allclose(came, due, rtol=0, atol=tolerance)
        found.append((claim, f"got {_short(came)} for {_short(due)}" if wrong else ""))


def _short(values: np.ndarray) -> str:
    return np.array2string(values, precision=4, threshold=9).replace("\n", "")


def _grid(*sizes: int, times: int = 3) -> np.ndarray:
    """Every combination of factor values, so many times: exactly independent factors."""
    rows = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, len(sizes))
    return np.repeat(rows, times, axis=0)


def _entropy(labels: np.ndarray) -> float:
    p = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(p * np.log(p)).sum())


def _of_labels(a: np.ndarray, b: np.ndarray) -> float:
    """Information of two discrete variables, from their entropies."""
    joint = np.unique(np.stack([a, b], 1), axis=0, return_inverse=True)[1].ravel()
    return _entropy(a) + _entropy(b) - _entropy(joint)


def _random(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Latents and factors that depend on one another; each latent reaches 0 and 4."""
    rng = np.random.default_rng(seed)
    factors = rng.integers(0, [3, 4, 5], (600, 3))
    latents = (factors @ rng.integers(0, 3, (3, 4)) + rng.integers(0, 2, (600, 4))) % 5
    latents[:2] = [[0], [4]]
    return latents.astype(float), factors


def _information(f: Metric) -> Iterator[Case]:
    grid = _grid(2, 4, 5)
    logs = np.diag(np.log([2.0, 4.0, 5.0]))
    yield (
        "latents that are the factors know their entropy",
        f(grid.astype(float), grid),
        logs,
        _EXACT,
    )
    nothing = np.zeros((3, 3))
    yield "constant latents know nothing", f(0.0 * grid + 2.5, grid), nothing, _EXACT
    constant = np.zeros((len(grid), 1), dtype=int)
    yield (
        "nothing is known of a constant factor",
        f(grid.astype(float), constant),
        nothing[:, :1],
        _EXACT,
    )
    latents, factors = _random()
    due = np.array([[_of_labels(a, b) for b in factors.T] for a in latents.T])
    base = f(latents, factors)
    yield "dependent variables have the information of their table", base, due, _EXACT
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(len(latents)), [2, 0, 3, 1]
    yield "the order of samples does not matter", f(latents[rows], factors[rows]), base, _EXACT
    yield "rows follow the latents", f(latents[:, columns], factors), base[columns], _EXACT
    yield (
        "columns follow the factors",
        f(latents, factors[:, [2, 0, 1]]),
        base[:, [2, 0, 1]],
        _EXACT,
    )
    for unit, shift in ((0.25, 3.0), (-1.0, 0.0), (1024.0, -7.0)):
        claim = f"the unit of the latents does not matter ({unit:g} z + {shift:g})"
        yield claim, f(unit * latents + shift, factors), base, _EXACT
    names = np.array([7, -100, 0, 10**6, 3])[factors]
    yield "the names of a factor's values do not matter", f(latents, names), base, _EXACT
    twice = f(np.repeat(latents, 2, 0), np.repeat(factors, 2, 0))
    yield "each sample twice says the same", twice, base, _EXACT
    rare = np.zeros((1000, 1), dtype=int)
    rare[17] = 1
    yield (
        "a class of one sample counts",
        f(rare.astype(float), rare),
        [[_entropy(rare[:, 0])]],
        _EXACT,
    )
    tied = np.repeat([[0.0], [4.0]], [999, 1], 0)
    yield (
        "nearly constant latents know nearly nothing",
        f(tied, np.arange(1000)[:, None] % 2),
        [[_of_labels(tied[:, 0], np.arange(1000) % 2)]],
        _EXACT,
    )
    try:
        from sklearn.metrics import mutual_info_score  # type: ignore[import-not-found]
    except ImportError:
        return
    theirs = [[mutual_info_score(a, b) for b in factors.T] for a in latents.T]
    yield "scikit-learn agrees", base, theirs, _EXACT


def _gap(f: Metric) -> Iterator[Case]:
    grid = _grid(4, 4)
    z = grid.astype(float)
    yield "a latent a factor has gap 1", f(z, grid), 1.0, _EXACT
    yield "duplicated latents have gap 0", f(np.concatenate([z, z], 1), grid), 0.0, _EXACT
    yield (
        "constant latents beside them do not matter",
        f(np.concatenate([z, 0 * z], 1), grid),
        1.0,
        _EXACT,
    )
    yield "which latent knows a factor does not matter", f(z[:, ::-1].copy(), grid), 1.0, _EXACT
    yield "the unit of the latents does not matter", f(-8 * z + 1, grid), 1.0, _EXACT
    rows = np.random.default_rng(0).permutation(len(z))
    yield "the order of samples does not matter", f(z[rows], grid[rows]), 1.0, _EXACT
    turned = f(np.stack([z[:, 0] + z[:, 1], z[:, 0] - z[:, 1]], 1), grid)
    yield "latents turned by 45 degrees have a small gap", turned, 0.0, _TURNED


def _alignment(f: Metric) -> Iterator[Case]:
    known = np.diag([1.0, 2.0, 3.0])
    yield "a diagonal has score 1", f(known), 1.0, _EXACT
    yield "a permuted diagonal has score 1", f(known[[2, 0, 1]]), 1.0, _EXACT
    yield "a constant matrix has its floor", f(np.ones((4, 2))), 0.5 * (1 / 4 + 1 / 2), _EXACT
    some = np.random.default_rng(0).random((5, 3))
    due = 0.5 * (some.max(0).sum() + some.max(1).sum()) / some.sum()
    base = f(some)
    yield "maxima of rows and columns over twice the total", base, due, _EXACT
    yield "the order of latents does not matter", f(some[::-1].copy()), base, _EXACT
    yield "the order of factors does not matter", f(some[:, ::-1].copy()), base, _EXACT
    yield "the unit of information does not matter", f(some / math.log(2)), base, _EXACT


def _off_diagonality(f: Metric) -> Iterator[Case]:
    rng = np.random.default_rng(0)
    half = rng.standard_normal((6, 4, 4))
    matrices = half @ half.swapaxes(1, 2) + np.eye(4)
    base = f(matrices)
    yield "a diagonal has score 0", f(np.eye(4)[None] * rng.random((6, 1, 4))), np.zeros(6), _EXACT
    yield "all ones have score 1", f(np.ones((2, 4, 4))), np.ones(2), _EXACT
    scale = rng.random(4) + 0.5
    yield "the units of the axes do not matter", f(matrices * scale * scale[:, None]), base, _EXACT
    order = [3, 1, 0, 2]
    yield "the order of the axes does not matter", f(matrices[:, order][..., order]), base, _EXACT
    yield "each matrix is scored by itself", f(matrices[::-1].copy()), base[::-1], _EXACT
    yield "signs do not matter", f(-matrices), base, _EXACT


KINDS: dict[str, Callable[[Metric], Iterator[Case]]] = {
    "information": _information,
    "gap": _gap,
    "alignment": _alignment,
    "off_diagonality": _off_diagonality,
}
"""Cases of each kind of metric."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a function by its name; 0, 1 if a case fails, 2 if it cannot be found."""
    parser = argparse.ArgumentParser("seams.metrics.conformance", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("function", metavar="MODULE:FUNCTION")
    parser.add_argument("--kind", choices=KINDS, default="information")
    parser.add_argument("--torch", action="store_true", help="give it tensors, not arrays")
    chosen = parser.parse_args(arguments)
    module, _, name = chosen.function.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        print(f"seams: write MODULE:FUNCTION; {chosen.function!r}: {error}", file=sys.stderr)
        return 2
    tensors = lambda *arrays: function(*map(torch.from_numpy, arrays))
    found = check(tensors if chosen.torch else function, chosen.kind)
    for claim, problem in found:
        print(f"FAILS {claim}: {problem}" if problem else f"holds {claim}")
    failed = sum(bool(problem) for _, problem in found)
    print(f"{len(found) - failed} of {len(found)} hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
