"""The paper's statements as numbers: each within its threshold, and only where it should be."""

import math

import pytest
import torch

from seams.data import generators
from seams.derivatives import jacobian
from seams.geometry import (
    c1_violation,
    c2_violation,
    log_manifold_density,
    singular_vector_path,
)
from seams.metrics import correlation_matrix
from seams.paper.checks import CHECKS, Check, base, gaussian, manifolds, readings

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
        patch.setattr(readings, "curves", base.tilted)
        assert MEASURES["lem_5_1_axes"](0) > 0.05
        patch.setattr(readings, "lengths", lambda z: torch.stack([z[0] + z[0] * z[1] ** 2, z[1]]))
        assert MEASURES["thm_5_2_letter"](0) > 0.1
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


def test_a_seam_of_a_turned_map_has_too_much_mass() -> None:
    """One over the cosine: 1.33 where it is three quarters."""
    turned = generators.rotated(
        generators.linear(torch.diag(torch.tensor([2.5, 1.0]))),
        base.turn(math.degrees(math.acos(0.75))),
    )
    path = singular_vector_path(turned, torch.zeros(2), 0, extent=16.0, points=401)
    assert readings.literal_mass(path) == pytest.approx(4 / 3, abs=1e-9)


def test_the_map_of_cycloids_is_what_it_says() -> None:
    g, z = readings.cycloid(2.0), base.points(0, 16)
    torch.testing.assert_close(torch.vmap(g.singular_values)(z), jacobian(g, z).norm(dim=1))
    # Sampled: the lengths of normal latents have no rank correlation, those of another map do.
    draws = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)).clamp(-5, 5)
    u = torch.vmap(readings.lengths)(draws)
    assert abs(correlation_matrix(u, u, "spearman")[0, 1]) < 4 / 20_000**0.5
    # And joint quartiles are as likely as independence says.
    low = u < u.quantile(0.25, dim=0)
    assert low.all(1).double().mean().item() == pytest.approx(1 / 16, abs=4 * 0.0017)


def test_the_creased_plane_is_one_continuous_sheet() -> None:
    g = readings.creased(2.0)
    t = torch.linspace(-2, 2, 9)
    sides = [torch.stack([t, t + shift], 1) for shift in (-1e-9, 1e-9)]
    torch.testing.assert_close(*(torch.vmap(g)(z) for z in sides), atol=1e-8, rtol=0)
    # Injective: both halves turn the plane the same way round, and meet in their common edge.
    assert (torch.linalg.det(jacobian(g, base.points(0))) > 1.99).all()
