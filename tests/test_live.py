"""The page where latents are moved by hand shows what torch computes."""

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stored import add
from torch.testing import assert_close

from seams.book import live
from seams.derivatives import jacobian_gram
from seams.metrics import off_diagonality
from seams.training import Run, TrainConfig
from seams.training.record import import_runs

CONFIG = TrainConfig(
    dataset="linear", resolution=2, network="mlp", width=8, latent=3, images=64, batch=16
)
PAGES = Path(__file__).parents[1] / "book" / "_live"
ACTIVITY = np.array([0.5, 0.0, 0.9])  # the second latent is inactive


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Both covariances at one beta, one alone at another."""
    kinds = [("diagonal", 1.0), ("full", 1.0), ("diagonal", 0.5)]
    runs = [
        add(
            tmp_path / "store",
            replace(CONFIG, covariance=kind, beta=beta),
            size=4,
            information=ACTIVITY,
            activity=ACTIVITY,
        )
        for kind, beta in kinds
    ]
    import_runs(tmp_path / "store", tmp_path / "record", decoders=[run.id for run in runs])
    return tmp_path / "record"


def run_of(record: Path, covariance: str) -> Run:
    runs = [Run(config, record / name) for name, config in configs(record)]
    return next(r for r in runs if (r.config.covariance, r.config.beta) == (covariance, 1.0))


def configs(record: Path) -> list[tuple[str, TrainConfig]]:
    files = sorted(record.glob("*/config.json"))
    return [(f.parent.name, TrainConfig(**json.loads(f.read_text()))) for f in files]


def unpacked(tensor: dict) -> torch.Tensor:
    values = np.frombuffer(base64.b64decode(tensor["values"]), "<i2")
    return torch.from_numpy(values * tensor["scale"])


def test_models_are_those_with_a_partner(record: Path) -> None:
    found = live.models(record)
    assert [(m["covariance"], m["beta"]) for m in found] == [("diagonal", 1.0), ("full", 1.0)]
    assert found[0]["order"] == [2, 0, 1] and found[0]["activity"] == [0.5, 0.0, 0.9]


def test_parameters_survive_packing(record: Path) -> None:
    (model, _) = live.models(record)
    decoder = run_of(record, "diagonal").decoder().double()
    z = torch.randn(5, 3)
    x = z
    for i, layer in enumerate(model["layers"]):
        weight = unpacked(layer["weight"]).unflatten(0, (-1, x.shape[-1]))
        x = (torch.nn.functional.silu(x) if i else x) @ weight.T + unpacked(layer["bias"])
    assert_close(x, decoder(z), rtol=0, atol=1e-4)


def test_nothing_without_decoders(tmp_path: Path) -> None:
    assert live.page(tmp_path, PAGES).startswith("No decoder is kept")


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs the browser chromium")
def test_the_browser_computes_what_torch_does(record: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    (html,) = re.findall(r":::{raw} html\n(.*)\n:::", live.page(record, PAGES), re.DOTALL)
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{html}")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    scores = [
        float(s) for s in re.findall(r"Normalised off-diagonal of J'J here: ([\d.]+)", shown)
    ]
    assert len(scores) == 2 and shown.count("2 active latents") == 2
    for score, kind in zip(scores, ("diagonal", "full"), strict=True):
        decoder = run_of(record, kind).decoder().double()
        gram = jacobian_gram(decoder, torch.zeros(1, 3))
        expected = off_diagonality(gram, torch.tensor([True, False, True]))
        assert score == pytest.approx(float(expected), abs=0.006)
