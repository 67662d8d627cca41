"""The paper's statements as numbers: each within its threshold, and only where it should be."""

import pytest
import torch

from seams.geometry import c1_violation, c2_violation, log_manifold_density
from seams.paper.checks import CHECKS, Check, base, gaussian, manifolds

MEASURES = {check.id: check.measure for check in CHECKS}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_every_draw_is_on_the_claimed_side(check: Check) -> None:
    value = check.measure(3)
    assert value > check.threshold if check.above else value < check.threshold
    assert check.measure(3) == value or value < base.ROUNDING


def test_ids_and_names_are_unique() -> None:
    assert len({c.id for c in CHECKS}) == len({c.name for c in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("seed", range(3))
def test_maps_satisfy_what_they_are_drawn_for(seed: int) -> None:
    z = base.points(seed, 16)
    wanted = {"curves": (0, 0), "polar": (0, 1), "tilted": (1, 0), "twisted": (1, 1)}
    for name, broken in wanted.items():
        g = getattr(base, name)(seed)
        found = (c1_violation(g, z).mean() > 0.05, c2_violation(g, z).mean() > 0.05)
        assert tuple(map(int, found)) == broken, name


def test_untwisting_finds_the_same_points() -> None:
    z = base.points(1, 16)
    there = torch.vmap(base.curves(1))(base.untwist(1, z))
    torch.testing.assert_close(torch.vmap(base.twisted(1))(z), there)


def test_the_warped_prior_is_a_density_whose_image_is_normal() -> None:
    w = torch.linspace(-8, 8, 4001)
    density = base.warped_prior(w).exp()
    assert torch.trapezoid(density, w).item() == pytest.approx(1, abs=1e-9)
    second = torch.trapezoid(density * base.warp(w).square(), w)
    assert second.item() == pytest.approx(1, abs=1e-9)


def test_residuals_see_a_wrong_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each identity fails where its condition is taken away."""
    with monkeypatch.context() as patch:
        patch.setattr(manifolds, "curves", base.polar)
        assert MEASURES["thm_5_2_if"](0) > 0.1 and MEASURES["rem_6_6"](0) > 0.1
    with monkeypatch.context() as patch:
        patch.setattr(manifolds, "untwist", lambda seed, z: z)
        for check in ("lem_6_3", "lem_6_4_seams", "cor_6_7", "rem_6_8_density"):
            assert MEASURES[check](0) > 0.01, check
    monkeypatch.setattr(manifolds, "any_map", base.curves)
    wrong = lambda g, z: log_manifold_density(g, z) + 0.05
    monkeypatch.setattr(manifolds, "log_manifold_density", wrong)
    assert MEASURES["lem_5_1"](0) == pytest.approx(torch.tensor(0.05).exp().item() - 1, abs=1e-3)


def test_residuals_see_a_wrong_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gaussian.linear.decoder_mle
    monkeypatch.setattr(
        gaussian.linear, "decoder_mle", lambda *a, sigma, **k: right(*a, sigma=1.1 * sigma, **k)
    )
    assert MEASURES["eq_3_decoder"](0) > 1e-3
    assert MEASURES["eq_4"](0) > 1e-3
