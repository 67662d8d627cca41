"""The cases for other people's metrics: ours satisfy them, and each finds out who does not."""

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from seams import metrics
from seams.metrics import conformance
from seams.metrics.conformance import KINDS, check, main


def information(latents: np.ndarray, factors: np.ndarray, bins: int = 20) -> np.ndarray:
    return metrics.mutual_information(*map(torch.from_numpy, (latents, factors)), bins).numpy()


def gap(latents: np.ndarray, factors: np.ndarray) -> float:
    entropies = metrics.entropies(torch.from_numpy(factors))
    return metrics.mutual_information_gap(
        torch.from_numpy(information(latents, factors)), entropies
    )


OURS = {
    "information": information,
    "gap": gap,
    "alignment": lambda matrix: metrics.axis_alignment_score(torch.from_numpy(matrix)),
    "off_diagonality": lambda ms: metrics.off_diagonality(torch.from_numpy(ms)).numpy(),
}


def failing(function: Callable, kind: str = "information") -> set[str]:
    return {claim for claim, problem in check(function, kind) if problem}


@pytest.mark.parametrize("kind", KINDS)
def test_our_metrics_conform(kind: str) -> None:
    found = check(OURS[kind], kind)
    assert len(found) >= 6 and not [pair for pair in found if pair[1]]


def rounded(latents: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return information(latents.round(), factors)


def without_rare(latents: np.ndarray, factors: np.ndarray) -> np.ndarray:
    common = np.unique(factors[:, 0], return_counts=True)[1].min() > 1
    return information(latents, factors) * common


@pytest.mark.parametrize(
    ("kind", "function", "claim"),
    [
        ("information", lambda z, v: information(z, v) / np.log(2), "know their entropy"),
        ("information", lambda z, v: information(z, v) + 0.01, "constant latents know nothing"),
        ("information", lambda z, v: information(z, v, 2), "information of their table"),
        ("information", rounded, "unit of the latents does not matter (0.25"),
        ("information", lambda z, v: information(z, v.clip(0)), "names of a factor's values"),
        ("information", without_rare, "a class of one sample counts"),
        ("information", lambda z, v: information(z, v).T, "the function runs on every case"),
        ("information", lambda z, v: information(z[:-9], v[:-9]), "the order of samples"),
        ("information", lambda z, v: information(z, v) * (1 - 1 / len(z)), "sample twice"),
        ("information", lambda z, v: information(z[:, ::-1].copy(), v), "know their entropy"),
        ("gap", lambda z, v: gap(z, v) / 2, "a latent a factor has gap 1"),
        ("gap", lambda z, v: gap(z[:, :2], v), "duplicated latents have gap 0"),
        ("gap", lambda z, v: 1.0, "turned by 45 degrees"),
        ("alignment", lambda m: m.max(0).sum() / m.sum(), "a constant matrix has its floor"),
        ("alignment", lambda m: np.trace(m) / m.sum(), "a permuted diagonal has score 1"),
        ("off_diagonality", lambda m: np.abs(m).mean((1, 2)), "units of the axes"),
        ("off_diagonality", lambda m: np.tril(m, -1).sum((1, 2)) / 6, "signs do not matter"),
    ],
)
def test_each_case_finds_out_who_does_otherwise(kind: str, function: Callable, claim: str) -> None:
    assert any(claim in failed for failed in failing(function, kind)), failing(function, kind)


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert main(["seams.metrics:mutual_information", "--torch"]) == 0
    assert "14 of 14 hold" in capsys.readouterr().out
    monkeypatch.setattr(conformance, "other", lambda z, v: 1 / 0, raising=False)
    assert main([f"{conformance.__name__}:other"]) == 1
    assert "FAILS the function runs on every case: ZeroDivisionError" in capsys.readouterr().out
    for name in ("seams.metrics:nothing", "no_such_module:x", "x"):
        assert main([name]) == 2
        assert "write MODULE:FUNCTION" in capsys.readouterr().err


def test_scikit_learn_is_asked_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = type(sys)("sklearn.metrics")
    theirs.mutual_info_score = lambda a, b: 0.0
    monkeypatch.setitem(sys.modules, "sklearn", type(sys)("sklearn"))
    monkeypatch.setitem(sys.modules, "sklearn.metrics", theirs)
    assert failing(information) == {"scikit-learn agrees"}
