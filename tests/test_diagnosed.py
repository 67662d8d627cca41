"""Claims about trained models from their decoders alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from seams.diagnosis import MOVES, diagnose_decoder
from seams.paper.diagnosed import claim_alone
from seams.paper.results import Results

ROOT = Path(__file__).parents[1]


def separable(z: torch.Tensor) -> torch.Tensor:
    a, b = z[..., 0], z[..., 1]
    return torch.stack([3 * a.sin(), 3 * a.cos(), b.sinh()], -1)


def test_decoders_alone_tell_aligned_axes_from_turned_ones(tmp_path: Path) -> None:
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    z = torch.randn(200, 2)
    decoders = {"diagonal": separable, "full": lambda z: separable(z @ turn)}
    found = {
        (kind, seed): diagnose_decoder(decoder, z, seed=seed)
        for kind, decoder in decoders.items()
        for seed in range(3)
    }
    results = Results("own", "quick", str(tmp_path), {})
    claim_alone(results, found)
    values = results.content["values"]
    assert values["alone_moving_diagonal"] == values["alone_moving_full"] == 2
    assert values["alone_gram_diagonal"] < 1e-9 and values["alone_gram_full"] > 0.5
    verdicts = {claim["id"]: claim["verdict"] for claim in results.content["claims"]}
    assert verdicts == {"alone_gram": "supported", "alone_c2": "supported"}
    assert "2 latents of 2 move the output" in values["alone_verdict_full"]


def test_what_is_not_defined_is_left_out(tmp_path: Path) -> None:
    one = lambda z: z[..., :1] * torch.ones(3)
    z = torch.randn(200, 2)
    found = {
        (k, s): diagnose_decoder(d, z, seed=s)
        for k, d in {"diagonal": separable, "full": one}.items()
        for s in range(2)
    }
    results = Results("own", "quick", str(tmp_path), {})
    claim_alone(results, found)
    claims = {claim["id"]: claim for claim in results.content["claims"]}
    assert claims["alone_gram"]["n"] == 0
    assert claims["alone_gram"]["verdict"] == "not testable at this scale"
    assert "alone_gram_full" not in results.content["values"]
    assert results.content["values"]["alone_moving_full"] == pytest.approx(1)


def test_the_bar_for_a_moving_latent_is_what_the_record_says() -> None:
    """Of models with five latents and more, those whose posteriors and bar disagree."""
    ignored, missed = [], []
    for folder in (ROOT / "record" / "runs").iterdir():
        config = json.loads((folder / "config.json").read_text())
        if config["latent"] < 5 or config["covariance"] == "none":
            continue
        with np.load(folder / "evaluation.npz") as arrays:
            used, reach = arrays["activity"] > 0.01, arrays["gram"].diagonal()
        if used.any():
            moves = reach > MOVES * reach.max()
            ignored.append((moves & ~used).any())
            missed.append((used & ~moves).any())
    assert len(ignored) > 500
    assert round(np.mean(ignored), 2) <= 0.02 and round(np.mean(missed), 1) <= 0.2
