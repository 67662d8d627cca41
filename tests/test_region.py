"""Derivatives at a distance from posterior means."""

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from stored import CONFIG
from torch import Tensor, nn

from seams.distributions import DiagonalGaussian
from seams.paper import region
from seams.paper.frames import RATIOS
from seams.paper.results import Results
from seams.plotting import plot_distances
from seams.training import Run
from seams.vae import VAE


class Centred(nn.Module):
    """Every posterior has the mean 0."""

    def forward(self, x: Tensor) -> DiagonalGaussian:
        return DiagonalGaussian(x.new_zeros(len(x), 3), x.new_full((len(x), 3), 0.25))


class Bent(nn.Module):
    """Columns of the Jacobian are orthogonal at z = 0 alone; a third latent is unused."""

    def forward(self, z: Tensor) -> Tensor:
        a, b = z[..., 0], z[..., 1]
        return torch.stack([a + a * a / 2, 2 * b + b * b, 3 * a * b], -1)


class Kinked(nn.Module):
    """Curvature is in the kinks alone, near which posteriors lie."""

    def forward(self, z: Tensor) -> Tensor:
        return 3 * torch.cat([torch.relu(z), z[..., :1]], -1)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    found = Run(CONFIG, Path())
    found.__dict__["arrays"] = {"activity": np.array([0.9, 0.8, 0.0])}
    monkeypatch.setattr(Run, "model", lambda self: VAE(Centred(), Bent()))
    return found


def test_the_ratio_is_zero_where_columns_are_orthogonal_and_rises_away(run: Run) -> None:
    x = torch.zeros(2, 3)
    table = region.at_distances([run], x, [0.0, 1.0, 2.0], draws=8)
    assert table["spread"].tolist() == pytest.approx([0.25] * 3)
    assert table[RATIOS[0]][0] == pytest.approx(0.0, abs=1e-9) and table[RATIOS[0]][1] > 0.3
    assert table["beta"].tolist() == [CONFIG.beta] * 3
    nearer = region.at_distances([run], x, [0.0, 0.1, 1.0, 2.0], draws=8)[RATIOS[0]][1]
    assert 0 < nearer < table[RATIOS[0]][1]
    with pytest.raises(ValueError, match=r"must hold 0, 1 and 2, .* got none of"):
        region.at_distances([run], x, [0.0, 1.0], draws=8)


def test_equation_6_closes_by_first_derivatives_where_second_ones_are_not_seen(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    smooth = Run(replace(CONFIG, sigma=0.1), Path())
    smooth.__dict__["arrays"] = run.arrays
    found = region.closing([smooth], torch.tensor([[0.2, -0.5, 0.1], [0.1, 0.4, -0.2]])).iloc[0]
    assert max(found[["one", "two", "noise"]]) < 0.03
    monkeypatch.setattr(Run, "model", lambda self: VAE(Centred(), Kinked()))
    x = torch.tensor([[0.05, -0.05, 0.3, 0.05], [0.1, 0.04, -0.1, 0.1]])
    found = region.closing([run], x).iloc[0]
    assert found["one"] < 0.08 < 0.12 < found["two"]  # the best on 64 draws is not quite the best
    run.__dict__["arrays"]["activity"][:] = 0
    assert region.closing([run], x)[["two", "one", "noise"]].isna().all(axis=None)


@pytest.mark.parametrize(("open_by_two", "verdict"), [(0.2, "supported"), (0.04, "not supported")])
def test_claims_of_both_forms(tmp_path: Path, open_by_two: float, verdict: str) -> None:
    rows = [
        {"activation": kind, "beta": 1.0, "seed": seed, "one": 0.02 + seed / 1e3, "two": two}
        for kind, two in (("silu", 0.01), ("relu", open_by_two))
        for seed in range(3)
    ]
    results = Results("region", "quick", str(tmp_path), {})
    region.claim_closes(results, pd.DataFrame(rows))
    found = {claim["id"]: claim["verdict"] for claim in results.content["claims"]}
    assert found.pop("relu_two") == verdict
    assert set(found.values()) == {"supported"} and len(found) == 3


def table(slope: float) -> pd.DataFrame:
    """The ratio rises with the distance, the faster the smaller beta if the slope is positive."""
    rows = [
        {"beta": beta, "seed": seed, "distance": r, "spread": beta / 4}
        | dict.fromkeys(RATIOS, 0.2 + 0.01 * seed + 0.1 * r + slope * r * (2 - np.log(beta)))
        for beta in (0.1, 0.3, 1.0, 4.0)
        for seed in range(3)
        for r in (0.0, 1.0, 2.0)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("slope", "verdict"), [(0.02, "supported"), (-0.01, "not supported")])
def test_a_region_that_beta_widens(tmp_path: Path, slope: float, verdict: str) -> None:
    results = Results("region", "quick", str(tmp_path), {})
    few = table(slope).query("beta >= 1")
    region.claim_region(results, table(slope), "", "All: ")
    region.claim_region(results, few, "few_", "Two: ")
    found = {claim["id"]: claim for claim in results.content["claims"]}
    assert found["ends"]["verdict"] == "supported"
    assert found["wider"]["value"] == pytest.approx(-np.sign(slope))
    assert found["few_wider"]["value"] == pytest.approx(-slope * np.log(4), rel=1e-5)
    # A correlation of -1 in every seed has no spread; a difference has hardly any.
    assert found["few_wider"]["verdict"] == verdict


def test_lines_are_of_betas_over_all_panels() -> None:
    figure = plt.figure()
    one, other = table(0.02), table(0.02).query("beta == 1")
    axes = plot_distances(figure, {"a": (one, RATIOS[0]), "b": (other, RATIOS[1])}, "ratio")
    assert [ax.get_title() for ax in axes] == ["a", "b"]
    assert len(figure.legends[0].get_texts()) == 4
    means = [
        line
        for line in axes[0].lines
        if line.get_linestyle() == "-" and len(line.get_xdata()) == 3
    ]
    assert len(means) == 4
    np.testing.assert_allclose(means[2].get_ydata(), [0.21, 0.35, 0.49])
