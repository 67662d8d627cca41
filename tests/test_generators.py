import math

import pytest
import torch
from decoders import conditioned
from torch.func import jacrev, vmap

from seams.data import generators
from seams.data.generators import (
    embedded,
    linear,
    polar,
    product_of_curves,
    rolled_sheet,
    rotated,
    sphere,
    spherical,
    twisted,
)

EXACT = {"rtol": 1e-9, "atol": 1e-10}

C1_C2 = {
    "curves": product_of_curves(),
    "curves_of_three": product_of_curves((3.0, 2.0, 1.0), warp=-0.2, radius=1.0),
    "sheet": rolled_sheet(),
    "plane": polar(bend=0.0),
    "embedded": embedded(rolled_sheet(), 7),
}
C1_ONLY = {"polar": polar(), "spherical": spherical(), "sphere": sphere()}
C2_ONLY = {"linear": linear(torch.tensor([[2.0, 0.5], [0.0, 1.0], [1.0, 0.0]]))}


def turn(angle):
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)


NEITHER = {
    "rotated": rotated(product_of_curves(), turn(0.7)),
    "twisted": twisted(rolled_sheet(), 0.2),
    "twisted_three": twisted(spherical(), 0.1),
}
ALL = C1_C2 | C1_ONLY | C2_ONLY | NEITHER


def latents(generator, n=6):
    return torch.randn(n, generator.latent)


def metric(generator, z):
    """J'J by reverse mode: nothing of seams.derivatives."""
    J = vmap(jacrev(generator))(z)
    return J.mT @ J


def slopes(generator, z):
    return vmap(jacrev(generator.singular_values))(z)


def off_diagonal(matrices):
    return matrices - torch.diag_embed(matrices.diagonal(dim1=1, dim2=2))


@pytest.mark.parametrize("name", ALL)
def test_sizes_are_those_of_the_function(name):
    generator = ALL[name]
    x = generator(torch.randn(generator.latent))
    assert x.shape == (generator.data,)
    assert generator(torch.zeros(generator.latent, dtype=torch.float32)).dtype == torch.float32


@pytest.mark.parametrize("name", C1_C2 | C1_ONLY)
def test_metric_is_diagonal_under_c1(name):
    generator, z = ALL[name], latents(ALL[name])
    expected = torch.diag_embed(vmap(generator.singular_values)(z).square())
    torch.testing.assert_close(metric(generator, z), expected, **EXACT)


@pytest.mark.parametrize("name", C2_ONLY | NEITHER)
def test_metric_is_not_diagonal_without_c1(name):
    generator = ALL[name]
    G = metric(generator, latents(generator))
    scale = G.diagonal(dim1=1, dim2=2).sqrt()
    cosines = off_diagonal(G) / scale.unsqueeze(1) / scale.unsqueeze(2)
    assert cosines.abs().amax((1, 2)).median() > 0.05


@pytest.mark.parametrize("name", [n for n in ALL if ALL[n].singular_values is not None])
def test_singular_values_are_those_of_the_jacobian(name):
    generator, z = ALL[name], latents(ALL[name])
    values = torch.linalg.svdvals(vmap(jacrev(generator))(z))
    expected = vmap(generator.singular_values)(z).sort(-1, descending=True).values
    torch.testing.assert_close(values, expected, **EXACT)


@pytest.mark.parametrize("name", C1_C2 | C2_ONLY)
def test_each_singular_value_varies_along_its_own_latent_under_c2(name):
    change = slopes(ALL[name], latents(ALL[name]))
    assert (off_diagonal(change) == 0).all()


@pytest.mark.parametrize("name", [*C1_ONLY, "rotated"])
def test_singular_values_vary_across_latents_without_c2(name):
    change = off_diagonal(slopes(ALL[name], latents(ALL[name])))
    assert change.abs().amax((1, 2)).median() > 0.05


@pytest.mark.parametrize("name", ALL)
def test_volume_is_that_of_the_metric(name):
    generator, z = ALL[name], latents(ALL[name])
    expected = torch.linalg.det(metric(generator, z)).sqrt()
    torch.testing.assert_close(vmap(generator.volume)(z), expected, **EXACT)


def test_bend_is_the_violation_of_c2_and_ends_at_cartesian_coordinates():
    z = torch.tensor([[0.4, -0.7]])
    for bend in (0.0, 0.1, 0.3):
        assert slopes(polar(bend, scale=2.0), z)[0, 1, 0].item() == pytest.approx(2 * bend)
    near = vmap(polar(1e-6, scale=2.0))(z)
    torch.testing.assert_close(near, torch.tensor([[0.4, -1.4]]), rtol=0, atol=1e-5)


def test_curves_do_not_meet_themselves_and_the_roll_keeps_its_arms_apart():
    z = torch.linspace(-4, 4, 400)
    line = torch.stack([z, torch.zeros_like(z)], 1)
    for generator, step in ((product_of_curves(), 3), (rolled_sheet(), 40)):
        x = vmap(generator)(line)
        distance = torch.cdist(x, x)
        apart = (torch.arange(400)[:, None] - torch.arange(400)).abs() >= step
        neighbours = distance.diagonal(1).max()
        assert distance[apart].min() > neighbours


def test_a_rotation_and_a_twist_keep_the_manifold_and_its_density():
    z, base = torch.randn(6, 2), product_of_curves()
    normal = torch.distributions.Normal(0.0, 1.0)
    for changed, angle in (
        (rotated(base, turn(0.7)), torch.full((6,), 0.7)),
        (twisted(base, 0.3), 0.3 * z.square().sum(1)),
    ):
        moved = torch.stack([turn(a) @ row for a, row in zip(angle.tolist(), z, strict=True)])
        torch.testing.assert_close(vmap(changed)(z), vmap(base)(moved), **EXACT)
        density = normal.log_prob(z).sum(1) - vmap(changed.volume)(z).log()
        expected = normal.log_prob(moved).sum(1) - vmap(base.volume)(moved).log()
        torch.testing.assert_close(density, expected, **EXACT)


def test_a_twist_of_strength_zero_is_the_generator_itself():
    z = torch.randn(3)
    same = twisted(spherical(), 0.0)
    torch.testing.assert_close(same(z), spherical()(z), **EXACT)
    torch.testing.assert_close(same.singular_values(z), spherical().singular_values(z), **EXACT)
    assert twisted(spherical(), 0.1).singular_values is None


def test_embedding_is_rigid_and_repeatable():
    base, z = rolled_sheet(), torch.randn(8, 2)
    wide = embedded(base, 9, seed=4)
    x = vmap(wide)(z)
    torch.testing.assert_close(torch.cdist(x, x), torch.cdist(*2 * [vmap(base)(z)]), **EXACT)
    assert torch.equal(vmap(embedded(base, 9, seed=4))(z), x)
    assert not torch.allclose(vmap(embedded(base, 9, seed=5))(z), x)


def test_the_sphere_is_a_sphere():
    z = torch.randn(8, 2)
    norms = vmap(sphere(radius=3.0))(z).norm(dim=1)
    torch.testing.assert_close(norms, torch.full((8,), 3.0), **EXACT)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: product_of_curves(warp=1.0), r"`warp` must lie inside \(-1, 1\).*got 1.0"),
        (lambda: product_of_curves((1.0, 0.0)), "must be positive; got 0.0"),
        (lambda: rolled_sheet(warp=-0.1), "must be positive; got -0.1"),
        (lambda: sphere(radius=-2.0), "must be positive; got -2.0"),
        (lambda: spherical(spreads=(0.5, 0.0)), "must be positive; got 0.0"),
        (lambda: polar(bend=-0.1), "`bend` must not be negative; got -0.1"),
        (lambda: polar(scale=0.0), "must be positive; got 0.0"),
        (lambda: rotated(polar(), conditioned(2, 2)), "`rotation` must be orthonormal"),
        (lambda: twisted(product_of_curves((1.0,)), 0.1), "needs 2 latents; got 1"),
        (lambda: embedded(sphere(), 2), "at least the 3 columns of the generator; got 2"),
    ],
)
def test_impossible_generators_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_all_names_are_public():
    assert all(hasattr(generators, name) for name in generators.__all__)
