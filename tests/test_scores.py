"""Scores beside their null, against decoders that are turned in truth."""

import math

import pytest
import torch
from decoders import mlp
from torch import Tensor, nn
from torch.testing import assert_close

from seams import metrics
from seams.derivatives import gram_and_hessian, jacobian_gram
from seams.derivatives.singular import singular_frame
from seams.geometry import c1_violation, c2_violation
from seams.geometry.conditions import off_diagonal_share
from seams.scores import (
    ROTATIONS,
    Scored,
    along_axes,
    along_scores,
    in_random_axes,
    random_rotations,
    term_scores,
)
from seams.scores.axes import dto_in_random_axes

ON = lambda latent: torch.ones(latent, dtype=torch.bool)


def turned(decoder, Q: Tensor):
    return lambda w: decoder(Q @ w)


def test_rotations_are_orthogonal_uniform_and_always_the_same():
    Q = random_rotations(3)
    assert len(Q) == ROTATIONS // 3
    assert_close(Q.mT @ Q, torch.eye(3).expand_as(Q), rtol=0, atol=1e-12)
    torch.manual_seed(7)
    assert random_rotations.__wrapped__(3).equal(Q)
    # Uniform up to signs: squares of entries have mean 1/d and variance 2 (d - 1) / d^2 (d + 2).
    squares = random_rotations(3, 20_000).square()
    error = math.sqrt(4 / 45 / 20_000)
    assert (squares.mean(0) - 1 / 3).abs().max() < 5 * error
    assert (squares.var(0) - 4 / 45).abs().max() < 0.01


def test_scores_in_random_axes_are_those_of_turned_decoders():
    """Against derivatives of decoders that are turned in truth, one rotation after the other."""
    decoder, n = mlp(3, 8, nn.Tanh), 4
    z, x = torch.randn(n, 3), torch.randn(n, 8)
    found = term_scores(*gram_and_hessian(decoder, z, x), ON(3)).scores
    own: dict[str, list[Tensor]] = {name: [] for name in ("gram", "hessian", "ima")}
    for Q in random_rotations(3):
        w = z @ Q  # z = Q w
        G, H = gram_and_hessian(turned(decoder, Q), w, x)
        own["gram"].append(metrics.off_diagonality(G).mean())
        own["ima"].append(metrics.independent_mechanism_contrast(G).mean())
        own["hessian"].append(metrics.off_diagonality_of_mean(H.abs()))
    for name, score in (
        ("gram", "off_diagonal_gram"),
        ("hessian", "off_diagonal_hessian_of_abs"),
        ("ima", "c_ima"),
    ):
        expected = torch.stack(own[name]).mean().item()
        assert found[f"{score}_random"] == pytest.approx(expected, rel=1e-8), score
        ratio = found[score] / found[f"{score}_random"]
        assert found[f"{score}_ratio"] == pytest.approx(ratio)


def test_c2_in_random_axes_is_that_of_turned_decoders():
    """Derivatives of singular values turn as a covector; no decoder is differentiated anew."""
    decoder, z = mlp(3, 8, nn.Tanh), torch.randn(4, 3)
    frame = singular_frame(decoder, z, "nan")
    every = []
    for Q in random_rotations(3, 50):
        expected = c2_violation(turned(decoder, Q), z @ Q)
        every.append(expected)
        again = off_diagonal_share(frame.slopes @ Q, frame.s, Q.mT @ frame.V)
        assert_close(again, expected, rtol=1e-6, atol=1e-8)
    found = along_axes(decoder, z, torch.randn(4, 8)).c2_random
    spread = torch.stack(every)
    error = spread.std(0) * (1 / 50 + 3 / ROTATIONS) ** 0.5
    assert ((spread.mean(0) - found).abs() < 4 * error).all()


def test_distance_to_orthogonality_in_random_axes_depends_on_the_dimension_alone():
    rotations = random_rotations(3, 4000)
    for V in (torch.eye(3), torch.linalg.qr(torch.randn(3, 3)).Q):
        found = metrics.distance_to_orthogonality(rotations.mT @ V)
        error = found.std().item() / len(found) ** 0.5
        assert found.mean().item() == pytest.approx(dto_in_random_axes(3), abs=6 * error)
    # Two latents: an angle uniform in 0 to 45 degrees, at 2 sqrt(1 - cos) from the axes.
    angle = torch.linspace(0, math.pi / 4, 100_001)
    exact = (4 * (1 - angle.cos())).sqrt().mean().item()
    assert dto_in_random_axes(2) == pytest.approx(exact, rel=0.1)


def test_equal_lengths_have_nothing_to_turn():
    gram = torch.eye(3).expand(5, 3, 3)
    found = term_scores(gram, torch.zeros(5, 3, 3), ON(3))
    assert found.scores["off_diagonal_gram"] == 0
    assert found.scores["off_diagonal_gram_random"] < 1e-12
    assert found.scores["off_diagonal_gram_ratio"] is None
    assert found.scores["off_diagonal_hessian"] is None
    assert "does not curve" in found.reasons["off_diagonal_hessian"]


def test_axes_that_mean_nothing_have_a_ratio_of_one():
    """Matrices turned at random from sample to sample score as in random axes."""
    Q = random_rotations(3, 1000)
    gram = Q.mT @ torch.diag(torch.tensor([1.0, 4.0, 9.0])) @ Q
    found = term_scores(gram, gram, ON(3)).scores
    for name in ("off_diagonal_gram", "off_diagonal_gram_of_abs", "dto", "c_ima"):
        assert found[f"{name}_ratio"] == pytest.approx(1, abs=0.1), name


def test_inactive_latents_are_left_out():
    decoder, z, x = mlp(4, 8, nn.Tanh), torch.randn(5, 4), torch.randn(5, 8)
    gram, hessian = gram_and_hessian(decoder, z, x)
    active = torch.tensor([True, False, True, True])
    part = lambda M: M[:, active][:, :, active]
    assert term_scores(gram, hessian, active) == term_scores(part(gram), part(hessian), ON(3))


def test_the_residual_is_split_into_its_tangent_part_and_the_rest():
    """d(z) = (a + b^2, b, c a^2, 0): the tangent space and both Hessians by hand."""
    decoder = lambda z: torch.stack([z[0] + z[1] ** 2, z[1], 3 * z[0] ** 2, 0 * z[0]])
    z = torch.tensor([[0.5, 0.25], [1.0, -1.0]])
    x = torch.randn(2, 4)
    found = along_axes(decoder, z, x)
    for sample in range(2):
        a, b = z[sample]
        J = torch.stack([torch.stack([1 + 0 * a, 0 * a, 6 * a, 0 * a]),
                         torch.stack([2 * b, 1 + 0 * b, 0 * b, 0 * b])], 1)  # fmt: skip
        r = x[sample] - decoder(z[sample])
        t = J @ torch.linalg.solve(J.T @ J, J.T @ r)
        share = (t.square().sum() / r.square().sum()).item()
        assert found.tangent_share[sample].item() == pytest.approx(share, rel=1e-10)
        H = torch.diag(torch.stack([6 * t[2], 2 * t[0]]))
        assert_close(found.tangent_hessian[sample], H, rtol=1e-10, atol=1e-12)
    assert_close(found.c2, c2_violation(decoder, z))


def test_c2_of_samples_where_values_coincide_is_left_out():
    def bent(z):
        there = torch.stack([2 * z[0] + z[0] ** 2, z[1] + 0.1 * z[1] ** 2])
        return torch.where(z[0] > 0, there, 2 * z)

    z = torch.tensor([[0.5, 1.0], [-0.5, 1.0]])
    found = along_scores(ON(2), False, lambda: along_axes(bent, z, z + 1.0))
    assert found.scores["c2"] == c2_violation(bent, z[:1]).item() < 1e-12
    nowhere = along_scores(ON(2), False, lambda: along_axes(bent, z[1:], z[1:] + 1.0))
    assert nowhere.scores["c2"] is None is nowhere.scores["c2_ratio"]
    assert nowhere.reasons["c2"] == "singular values coincide in every sample"
    assert nowhere.scores["tangent_share"] == pytest.approx(1)  # as many columns as latents


@pytest.mark.parametrize(
    ("active", "piecewise", "compute", "reason"),
    [
        (torch.tensor([True, False]), False, lambda: 1 / 0, "of which 1 are active"),
        (ON(2), True, lambda: 1 / 0, "piecewise linear"),
        (ON(2), False, lambda: 1 / 0, "division by zero"),
        (ON(3), False, lambda: along_axes(mlp(3, 2), torch.randn(4, 3), torch.randn(4, 2)),
         "at least as many data columns"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_along_the_axes_has_a_reason(active, piecewise, compute, reason):
    found = along_scores(active, piecewise, compute)
    assert set(found.scores.values()) == {None}
    assert {"c2", "c2_random", "c2_ratio", "tangent_share"} < set(found.scores)
    assert all(reason in said for said in found.reasons.values())


def test_a_lack_of_memory_is_not_a_property_of_a_model():
    def full():
        raise torch.OutOfMemoryError("of the moment")

    with pytest.raises(torch.OutOfMemoryError):
        Scored().add("c2", full)


def test_own_scores_are_those_of_the_geometry():
    decoder, z, x = mlp(3, 8, nn.Tanh), torch.randn(5, 3), torch.randn(5, 8)
    found = term_scores(*gram_and_hessian(decoder, z, x), ON(3)).scores
    own = c1_violation(decoder, z).mean().item()
    assert found["off_diagonal_gram"] == pytest.approx(own, rel=1e-12)
    mean = in_random_axes(jacobian_gram(decoder, z), metrics.off_diagonality)
    assert found["off_diagonal_gram_random"] == pytest.approx(mean, rel=1e-12)
