import math

import pytest
import torch
from decoders import conditioned, mlp, symmetric
from torch import nn
from torch.distributions import MultivariateNormal, Normal
from torch.func import jacrev, vmap

from seams import geometry
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
from seams.derivatives import align_axes, jacobian, jacobian_svd
from seams.geometry import (
    c1_violation,
    c2_violation,
    gaussian_curvature,
    log_manifold_density,
    log_seam_factors,
    manifold_hessian,
    riemann_curvature,
    scalar_curvature,
    seam_density,
    seam_directions,
    singular_vector_path,
)

EXACT = {"rtol": 1e-9, "atol": 1e-10}
SOLVED = {"rtol": 1e-6, "atol": 1e-6}  # what the solver is asked for in these tests


def turn(angle):
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)


C1_C2 = {
    "curves": product_of_curves(),
    "curves_of_three": product_of_curves((4.0, 2.0, 1.0)),
    "sheet": rolled_sheet(),
    "embedded": embedded(rolled_sheet(), 7),
}
C1_ONLY = {"polar": polar(), "spherical": spherical(), "sphere": sphere()}
NEITHER = {
    "rotated": rotated(product_of_curves(), turn(0.7)),
    "twisted": twisted(rolled_sheet(), 0.2),
}
ALL = C1_C2 | C1_ONLY | NEITHER


def latents(generator, n=5):
    return 0.7 * torch.randn(n, generator.latent)


def path(decoder, z, index, **options):
    return singular_vector_path(decoder, z, index, **{"rtol": 1e-8, "atol": 1e-9} | options)


def off_diagonal(matrices):
    return matrices - torch.diag_embed(matrices.diagonal(dim1=-2, dim2=-1))


def intrinsic_curvature(decoder, z):
    """Riemann tensor R_{ijkl} of J'J by Christoffel symbols: derivatives of the metric alone."""
    gram = lambda z: jacrev(decoder)(z).mT @ jacrev(decoder)(z)

    def christoffel(z):
        d = jacrev(gram)(z)  # [i, j, k] = d g_ij / d z_k
        first = (d + d.permute(0, 2, 1) - d.permute(2, 1, 0)) / 2  # [l, i, j], lowered
        return torch.einsum("kl,lij->kij", torch.linalg.inv(gram(z)), first)

    c, dc = christoffel(z), jacrev(christoffel)(z)  # dc[i, k, l, j] = d_j Gamma^i_kl
    riemann = (
        dc.permute(0, 1, 3, 2)  # d_k Gamma^i_lj, as [i, j, k, l] below
        - dc.permute(0, 1, 2, 3)
        + torch.einsum("ikm,mlj->ijkl", c, c)
        - torch.einsum("ilm,mkj->ijkl", c, c)
    )
    # R^i_jkl = d_k G^i_lj - d_l G^i_kj + G^i_km G^m_lj - G^i_lm G^m_kj
    return torch.einsum("ai,ijkl->ajkl", gram(z), riemann)


# --- curvature


@pytest.mark.parametrize("name", ALL)
def test_curvature_is_the_closed_form(name):
    generator, z = ALL[name], latents(ALL[name])
    expected = vmap(generator.scalar_curvature)(z)
    torch.testing.assert_close(scalar_curvature(generator, z), expected, rtol=1e-9, atol=1e-9)
    if generator.latent == 2:
        K = gaussian_curvature(generator, z)
        torch.testing.assert_close(K, expected / 2, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Tanh])
@pytest.mark.parametrize("latent", [2, 3])
def test_curvature_agrees_with_the_intrinsic_formula(latent, activation):
    decoder, z = mlp(latent, 5, activation), torch.randn(3, latent)
    U, s, V = jacobian_svd(decoder, z)
    frame = V / s.unsqueeze(1)
    for n in range(3):
        slow = torch.einsum(
            "ijkl,ia,jb,kc,ld->abcd", intrinsic_curvature(decoder, z[n]), *4 * [frame[n]]
        )
        scale = slow.abs().max().item()
        assert scale > 1e-6
        measured = riemann_curvature(decoder, z)[n]
        torch.testing.assert_close(measured, slow, rtol=1e-7, atol=1e-9 * scale)
    chunked = riemann_curvature(decoder, z, chunk_size=2)
    torch.testing.assert_close(chunked, riemann_curvature(decoder, z), **EXACT)


def test_curvature_of_a_graph_is_that_of_its_hessians():
    # At the top of the graph x = (z, h(z)) with grad h = 0, R = H_ac H_bd - H_ad H_bc.
    H = symmetric(1, 4)[0]
    decoder = lambda z: torch.cat([z * torch.arange(4.0, 0, -1), (z @ H @ z / 2)[None]])
    z, scale = torch.zeros(1, 4), torch.arange(4.0, 0, -1)
    h = H / torch.outer(scale, scale)
    expected = torch.einsum("ac,bd->abcd", h, h) - torch.einsum("ad,bc->abcd", h, h)
    torch.testing.assert_close(riemann_curvature(decoder, z)[0], expected, **EXACT)


def test_a_rescaled_manifold_has_curvature_of_inverse_area():
    decoder, z = mlp(3, 5), torch.randn(3, 3)
    wide = lambda z: 10 * decoder(z)
    torch.testing.assert_close(
        scalar_curvature(wide, z), scalar_curvature(decoder, z) / 100, **EXACT
    )


# --- densities


def test_density_of_a_linear_decoder_is_gaussian_on_its_plane():
    D, z = conditioned(6, 3), torch.randn(5, 3)
    U, s, _ = torch.linalg.svd(D, full_matrices=False)
    plane = MultivariateNormal(torch.zeros(3), torch.diag(s**2))
    expected = plane.log_prob(z @ D.mT @ U)
    torch.testing.assert_close(log_manifold_density(lambda z: D @ z, z), expected, **EXACT)


def test_density_of_points_uniform_on_a_sphere():
    # Latitude with density cos / 2 and uniform longitude cover the sphere evenly.
    radius, z = 3.0, torch.stack([torch.rand(6) * 2 - 1, torch.rand(6) * 6 - 3], 1)

    def log_prior(z):
        latitude, longitude = z.unbind(-1)
        return torch.stack(
            [(latitude.cos() / 2).log(), torch.full_like(longitude, -math.log(2 * math.pi))], -1
        )

    globe = sphere(radius, (1.0, 1.0))
    expected = torch.full((6,), -math.log(4 * math.pi * radius**2))
    density = log_manifold_density(globe, z, log_prior=log_prior)
    torch.testing.assert_close(density, expected, **EXACT)
    # A constant density has no Hessian, in any coordinates and on a curved manifold.
    hessian = manifold_hessian(globe, z, log_prior=log_prior)
    torch.testing.assert_close(hessian, torch.zeros_like(hessian), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_density_is_prior_over_volume_and_the_sum_of_its_factors(name):
    generator, z = ALL[name], latents(ALL[name])
    expected = Normal(0.0, 1.0).log_prob(z).sum(1) - vmap(generator.volume)(z).log()
    torch.testing.assert_close(log_manifold_density(generator, z), expected, **EXACT)
    factors = log_seam_factors(generator, z)
    torch.testing.assert_close(factors.sum(1), expected, **EXACT)
    chunked = log_manifold_density(generator, z, chunk_size=2)
    torch.testing.assert_close(chunked, expected, **EXACT)


def test_factors_follow_the_axes_and_the_given_prior():
    # The second axis has the larger singular value, and each axis its own prior.
    generator = product_of_curves((1.0, 4.0))
    log_prior = lambda z: torch.stack(
        [Normal(0.5, 1.0).log_prob(z[..., 0]), Normal(0.0, 2.0).log_prob(z[..., 1])], -1
    )
    z = latents(generator)
    expected = log_prior(z) - vmap(generator.singular_values)(z).log()
    torch.testing.assert_close(
        log_seam_factors(generator, z, log_prior=log_prior), expected, **EXACT
    )
    normal = Normal(0.0, 1.0).log_prob(z) - vmap(generator.singular_values)(z).log()
    torch.testing.assert_close(log_seam_factors(generator, z), normal, **EXACT)


def test_factors_of_a_linear_decoder_are_its_principal_gaussians():
    # No path is along a latent, but the standard normal prior factorises in any direction.
    D, z = conditioned(5, 3), torch.randn(4, 3)
    U, s, V = torch.linalg.svd(D, full_matrices=False)
    expected = Normal(0.0, s).log_prob(z @ D.mT @ U)
    permutation, _ = align_axes(V.mT[None])
    factors = log_seam_factors(lambda z: D @ z, z)
    torch.testing.assert_close(factors, expected[:, permutation[0]], **EXACT)


# --- the on-manifold Hessian


def second_derivative_along_seam(generator, axis):
    """(1/s) d/dz of (1/s) d/dz of log p - log s for one latent: Lemma 6.4 under C1-C2."""

    def log_factor(t, z):
        moved = torch.where(torch.arange(len(z)) == axis, t, z)
        return -0.5 * t**2 - generator.singular_values(moved)[axis].log()

    def speed(t, z):
        moved = torch.where(torch.arange(len(z)) == axis, t, z)
        return generator.singular_values(moved)[axis]

    score = lambda t, z: jacrev(log_factor)(t, z) / speed(t, z)
    return lambda z: jacrev(score)(z[axis], z) / speed(z[axis], z)


@pytest.mark.parametrize("name", C1_C2)
def test_hessian_under_c1_c2_is_diagonal_with_the_seams_own_derivatives(name):
    generator, z = C1_C2[name], latents(C1_C2[name])
    hessian = manifold_hessian(generator, z)
    expected = torch.stack(
        [vmap(second_derivative_along_seam(generator, i))(z) for i in range(generator.latent)], 1
    )
    permutation, _ = align_axes(jacobian_svd(generator, z)[2])
    diagonal = hessian.diagonal(dim1=1, dim2=2).gather(1, permutation)
    torch.testing.assert_close(diagonal, expected, **EXACT)
    assert off_diagonal(hessian).abs().max() < 1e-9


def test_hessian_of_a_gaussian_is_minus_the_inverse_variances():
    D, z = conditioned(6, 3), torch.randn(4, 3)
    s = torch.linalg.svdvals(D)
    hessian = manifold_hessian(lambda z: D @ z, z)
    torch.testing.assert_close(hessian, torch.diag(-(s**-2)).expand(4, -1, -1), **EXACT)


@pytest.mark.parametrize("decoder", [mlp(2, 4, nn.SiLU), mlp(3, 4, nn.Softplus)])
def test_hessian_agrees_with_geodesic_differences(decoder):
    # The second derivative of f along the geodesic with velocity u is u' H u. A geodesic starts as
    # z + t a - t^2/2 Gamma(a, a), with Gamma from derivatives of the metric.
    decoder = decoder.double()
    latent = decoder[0].in_features
    z = torch.randn(latent)
    gram = lambda z: jacrev(decoder)(z).mT @ jacrev(decoder)(z)
    log_density = lambda z: -0.5 * z @ z - 0.5 * torch.linalg.slogdet(gram(z))[1]
    d = jacrev(gram)(z)
    first = (d + d.permute(0, 2, 1) - d.permute(2, 1, 0)) / 2
    gamma = torch.einsum("kl,lij->kij", torch.linalg.inv(gram(z)), first)
    _, s, V = (value[0] for value in jacobian_svd(decoder, z[None]))
    hessian = manifold_hessian(decoder, z[None])[0]
    for _ in range(3):
        mix = torch.randn(latent)
        a = V @ (mix / s)
        curve = lambda t, a=a: z + t * a - t**2 / 2 * torch.einsum("kij,i,j->k", gamma, a, a)
        along = lambda t, curve=curve: log_density(curve(t))
        expected = jacrev(jacrev(along))(torch.zeros(()))
        torch.testing.assert_close(mix @ hessian @ mix, expected, rtol=1e-8, atol=1e-8)


def test_seams_are_those_of_the_density_whatever_the_decoder():
    base = product_of_curves((2.0, 1.0), warp=0.2)
    z = torch.tensor([[0.3, -0.4], [1.1, 0.2], [-0.5, 0.9]])
    strength = 0.3
    seams = seam_directions(base, z)
    U, _, _ = jacobian_svd(base, z)
    # The generator follows the seams of its own density ...
    cosines = (U.mT @ seams.directions).abs()
    torch.testing.assert_close(cosines.amax(1), torch.ones(3, 2), **EXACT)
    # ... and a twist that keeps the density finds the same ones, although its own U differs.
    angle = -strength * z.square().sum(1)
    back = torch.stack([turn(a) @ row for a, row in zip(angle.tolist(), z, strict=True)])
    other = twisted(base, strength)
    torch.testing.assert_close(vmap(other)(back), vmap(base)(z), **EXACT)
    found = seam_directions(other, back)
    torch.testing.assert_close(found.eigenvalues, seams.eigenvalues, rtol=1e-8, atol=1e-8)
    same = (found.directions * seams.directions).sum(1).abs()
    torch.testing.assert_close(same, torch.ones(3, 2), rtol=1e-7, atol=0)
    own = (jacobian_svd(other, back)[0].mT @ seams.directions).abs().amax(1)
    assert own.min() < 0.99
    spread = (seams.eigenvalues[:, 1] - seams.eigenvalues[:, 0]) / seams.eigenvalues.abs().amax(1)
    torch.testing.assert_close(seams.gap, spread, **EXACT)


def test_equal_scales_leave_no_gap_between_eigenvalues():
    D = torch.linalg.qr(torch.randn(4, 2))[0] * 3
    seams = seam_directions(lambda z: D @ z, torch.randn(3, 2))
    assert (seams.gap < 1e-12).all()


# --- Theorem 5.2, in both directions


def factor_slopes(decoder, z):
    """Entry k, j: change of log factor k with latent j, by differences."""
    h = 1e-5
    columns = [
        (log_seam_factors(decoder, z + h * e) - log_seam_factors(decoder, z - h * e)) / (2 * h)
        for e in torch.eye(z.shape[1])
    ]
    return torch.stack(columns, -1)


@pytest.mark.parametrize("name", C1_C2)
def test_c1_c2_disentangle(name):
    generator, z = C1_C2[name], latents(C1_C2[name])
    assert c1_violation(generator, z).max() < 1e-12
    assert c2_violation(generator, z).max() < 1e-9
    assert off_diagonal(factor_slopes(generator, z)).abs().max() < 1e-8
    # The image of the axis is the seam, and the seam coordinate ignores the other latents.
    followed = path(generator, z[0], 0, extent=0.5, points=9)
    axis = followed.direction[0].abs().round()
    line = z[0] + followed.t.unsqueeze(1) * axis
    torch.testing.assert_close(followed.z, line, **SOLVED)
    torch.testing.assert_close(followed.x, vmap(generator)(line), **SOLVED)
    elsewhere = torch.where(axis == 1, z[0], z[0] + 0.3)
    other = path(generator, elsewhere, 0, extent=0.5, points=9)
    torch.testing.assert_close(other.u, followed.u, **SOLVED)


@pytest.mark.parametrize("name", C1_ONLY)
def test_c1_alone_follows_seams_but_does_not_disentangle(name):
    generator, z = C1_ONLY[name], latents(C1_ONLY[name])
    assert c1_violation(generator, z).max() < 1e-12
    assert c2_violation(generator, z).min() > 0.2
    assert off_diagonal(factor_slopes(generator, z)).abs().amax((1, 2)).min() > 1e-3
    assert off_diagonal(manifold_hessian(generator, z)).abs().amax((1, 2)).median() > 1e-3
    moving = int(vmap(jacrev(generator.singular_values))(z)[0].abs().sum(1).argmax())
    s = generator.singular_values(z[0])
    index = s.sort(descending=True).indices.tolist().index(moving)
    followed = path(generator, z[0], index, extent=0.5, points=5)
    line = z[0] + followed.t.unsqueeze(1) * torch.eye(generator.latent)[moving]
    torch.testing.assert_close(followed.z, line, **SOLVED)
    # Moving another latent stretches the seam coordinate: the u_i are not independent.
    shift = 0.3 * (torch.arange(generator.latent) != moving)
    other = path(generator, z[0] + shift, index, extent=0.5, points=5)
    assert (other.u - followed.u).abs().max() > 1e-3


@pytest.mark.parametrize("name", NEITHER)
def test_without_c1_the_image_of_an_axis_leaves_the_seam(name):
    generator, z = NEITHER[name], latents(NEITHER[name])
    assert c1_violation(generator, z).median() > 0.05
    assert c2_violation(generator, z).median() > 0.05
    assert off_diagonal(factor_slopes(generator, z)).abs().amax((1, 2)).median() > 1e-2
    followed = singular_vector_path(generator, z[0], 0, extent=0.7, points=21)
    nearest = [
        torch.cdist(vmap(generator)(z[0] + followed.t.unsqueeze(1) * axis), followed.x)
        .amin(1)
        .max()
        .item()
        for axis in torch.eye(2)
    ]
    assert min(nearest) > 0.1


def test_a_linear_map_without_c1_has_c2():
    D, z = torch.tensor([[2.0, 0.5], [0.0, 1.0], [1.0, 0.0]]), torch.randn(4, 2)
    assert (c2_violation(linear(D), z) == 0).all()
    cosine = (D[:, 0] @ D[:, 1] / D[:, 0].norm() / D[:, 1].norm()).expand(4)
    torch.testing.assert_close(c1_violation(linear(D), z), cosine, **EXACT)


def test_c2_ignores_rounding_in_constant_singular_values():
    still = rotated(product_of_curves((2.0, 1.0), warp=0.0), turn(0.7))
    assert (c2_violation(still, torch.randn(50, 2)) == 0).all()


def test_c2_puts_rows_in_the_order_of_the_latents():
    # The larger singular value belongs to the second latent, where C2 holds all the same.
    assert c2_violation(product_of_curves((1.0, 4.0)), torch.randn(6, 2)).max() < 1e-9


def test_violations_grow_with_strength_and_vanish_without():
    z = torch.tensor([[0.8, -0.5]])
    twists = [twisted(product_of_curves(), strength) for strength in (0.0, 0.05, 0.1, 0.2)]
    for violation in (c1_violation, c2_violation):
        scores = torch.cat([violation(generator, z) for generator in twists])
        assert scores[0] < 1e-12
        assert (scores.diff() > 0).all()


def test_flatness_is_blind_to_both_conditions():
    z = torch.randn(4, 2)
    flat = twisted(polar(bend=0.3), 0.3)
    assert gaussian_curvature(flat, z).abs().max() < 1e-9
    assert c1_violation(flat, z).max() > 0.05
    assert c2_violation(flat, z).max() > 0.05


def test_c2_is_nan_where_singular_values_coincide_if_asked():
    globe = sphere(1.0, (0.5, 0.5))
    z = torch.tensor([[0.0, 0.3], [1.0, 0.3]])
    scores = c2_violation(globe, z, coinciding="nan")
    assert scores.isnan().tolist() == [True, False]
    with pytest.raises(ValueError, match="sample 0 has a relative gap"):
        c2_violation(globe, z)


# --- paths and seams


@pytest.mark.parametrize("decoder", [mlp(2, 5, nn.SiLU), twisted(rolled_sheet(), 0.2)])
def test_path_and_seam_satisfy_their_definitions(decoder):
    decoder = decoder.double() if isinstance(decoder, nn.Module) else decoder
    z = torch.tensor([0.4, -0.6])
    followed = path(decoder, z, 1, extent=0.4, points=81)
    assert followed.stopped == ("extent", "extent")
    assert followed.t[[0, 40, -1]].tolist() == pytest.approx([-0.4, 0.0, 0.4])
    torch.testing.assert_close(followed.z[40], z, **EXACT)
    assert followed.u[40].abs() < 1e-12
    # D3: unit speed along a right singular vector, which stays the same one.
    J = jacobian(decoder, followed.z)
    images = J.mT @ J @ followed.direction.unsqueeze(-1)
    expected = followed.direction * followed.singular_value.square().unsqueeze(1)
    torch.testing.assert_close(images.squeeze(-1), expected, **SOLVED)
    h = followed.t[1] - followed.t[0]
    slope = lambda value: (value[:-4] - 8 * value[1:-3] + 8 * value[3:-1] - value[4:]) / (12 * h)
    inner = slice(2, -2)
    numerical = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(slope(followed.z), followed.direction[inner], **numerical)
    # Lemma C.1 and D4: the image moves along s^i u^i, and u is its arc length.
    pushed = (J @ followed.direction.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(slope(followed.x), pushed[inner], **numerical)
    torch.testing.assert_close(slope(followed.u), followed.singular_value[inner], **numerical)
    torch.testing.assert_close(pushed.norm(dim=1), followed.singular_value, **SOLVED)


def test_path_of_polar_coordinates_is_a_circle_after_a_rotation():
    # Turned latents do not see the polar axes, but the seams through a point are the same curves.
    generator = rotated(polar(), turn(0.5))
    start = torch.tensor([0.4, -0.3])
    around = path(generator, start, 0, extent=0.5, points=11)
    centre = torch.tensor([-5.0, 0.0])
    radii = (around.x - centre).norm(dim=1)
    torch.testing.assert_close(radii, radii[:1].expand(11), **SOLVED)
    straight = path(generator, start, 1, extent=0.5, points=11)
    steps = straight.x.diff(dim=0)
    unit = steps / steps.norm(dim=1, keepdim=True)
    torch.testing.assert_close(unit, unit[:1].expand(10, -1), **SOLVED)


def test_path_goes_straight_through_a_crossing():
    # s_1 = 1 + 0.3 tanh z_1 passes s_2 = 1 at z_1 = 0; the vector keeps its direction.
    decoder = lambda z: torch.stack([z[0] + 0.3 * z[0].cosh().log(), z[1]])
    followed = path(decoder, torch.tensor([-1.0, 0.2]), 1, extent=2.0, points=41)
    assert followed.stopped == ("extent", "extent")
    line = torch.stack([-1 + followed.t, torch.full((41,), 0.2)], 1)
    torch.testing.assert_close(followed.z, line, **SOLVED)
    torch.testing.assert_close(followed.singular_value, 1 + 0.3 * line[:, 0].tanh(), **SOLVED)
    assert followed.gap.argmin() == 30  # t = 1, where the values meet
    assert followed.gap.min() < 1e-6


def test_path_goes_straight_on_where_values_coincide():
    # s_0 is 1 - 2 z_0 for z_0 < 0 and 1 beyond, as s_1 is throughout: any pair of vectors will do
    # for the SVD there, which in turned latents is not the pair that the path comes with.
    R, Q = turn(0.6), torch.linalg.qr(torch.randn(3, 2))[0]
    curve = lambda y: torch.stack([y[0] - torch.relu(-y[0]) ** 2, y[1]])
    decoder = lambda z: Q @ curve(R @ z)
    start = R.mT @ torch.tensor([-0.4, 0.3])
    followed = path(decoder, start, 0, extent=0.8, points=9)
    assert followed.stopped == ("extent", "extent")
    line = start + followed.t.unsqueeze(1) * followed.direction[0]
    torch.testing.assert_close(followed.z, line, **SOLVED)
    assert (followed.direction[0] @ R.mT[:, 0]).abs().item() == pytest.approx(1.0)
    assert followed.gap[-1] < 1e-9


def test_path_stops_where_no_vector_continues_it():
    # The latents are turned by 40 degrees beyond z_0 = 0.5: the field jumps.
    level, turned = torch.tensor([2.0, 1.0]), turn(math.radians(-40))
    decoder = lambda z: level * torch.where(z[0] > 0.5, turned @ z, z)
    followed = singular_vector_path(decoder, torch.zeros(2), 0, extent=1.0)
    assert followed.stopped == ("extent", "crossing")
    assert followed.t[-1].item() == pytest.approx(0.5, abs=1e-3)


def test_path_stops_at_the_bounds():
    generator = rotated(product_of_curves(), turn(0.3))
    followed = path(generator, torch.tensor([0.2, 0.1]), 0, extent=5.0, bounds=1.0, points=11)
    assert followed.stopped == ("bounds", "bounds")
    assert followed.z[[0, -1]].abs().amax(1).tolist() == pytest.approx([1.0, 1.0], abs=1e-9)


@pytest.mark.parametrize(("bounds", "end"), [(None, "support"), (1.0, "bounds"), (0.5, "bounds")])
def test_path_stops_at_the_edge_of_where_the_decoder_is_defined(bounds, end):
    # s_0 = (1 - z_0^2)^(-1/2) grows without bound towards |z_0| = 1, and beyond it is NaN.
    decoder = lambda z: torch.stack([z[0].asin(), 0.3 * z[1], z[1].square() / 5])
    followed = singular_vector_path(decoder, torch.zeros(2), 0, extent=2.0, bounds=bounds)
    assert followed.stopped == (end, end)
    reach = bounds or 1.0
    torch.testing.assert_close(followed.z[[0, -1], 0], torch.tensor([-reach, reach]), **EXACT)
    torch.testing.assert_close(followed.u, followed.z[:, 0].asin(), rtol=0, atol=1e-5)
    assert followed.singular_value.isfinite().all() and (followed.t.diff() > 0).all()


def test_path_may_end_at_an_edge_one_way_alone():
    decoder = lambda z: torch.stack([z[0].sqrt(), 0.5 * z[1]])
    followed = singular_vector_path(decoder, torch.tensor([0.01, 0.0]), 0, extent=0.5)
    assert followed.stopped == ("support", "extent")
    torch.testing.assert_close(followed.z[[0, -1], 0], torch.tensor([0, 0.51]), **EXACT)


def test_hessian_where_the_prior_is_zero_is_refused():
    decoder, inside = mlp(2, 4), torch.tensor([[0.1, 0.2], [-0.9, 0.5]])
    log_prior = lambda z: torch.where(z.abs() <= 1, -math.log(2.0), -math.inf)
    outside = torch.cat([inside, torch.tensor([[0.3, 1.1]])])
    assert manifold_hessian(decoder, inside, log_prior=log_prior).isfinite().all()
    density = log_manifold_density(decoder, outside, log_prior=log_prior)
    assert density.isfinite().tolist() == [True, True, False] and density[2] == -math.inf
    for function in (manifold_hessian, seam_directions):
        with pytest.raises(ValueError, match="where the prior is positive; that of sample 2 is z"):
            function(decoder, outside, log_prior=log_prior)


def test_path_stops_where_its_singular_value_vanishes():
    # d = (z_0^2, z_1) folds at z_0 = 0, where s = 2 |z_0| has a zero.
    decoder = lambda z: torch.stack([z[0] ** 2, z[1]])
    followed = path(decoder, torch.tensor([1.0, 0.0]), 0, extent=1.5, points=11)
    assert followed.stopped == ("rank", "extent")
    assert followed.t[0].item() == pytest.approx(-1.0, abs=1e-6)
    assert followed.z[0, 0].abs() < 1e-6


def test_a_seam_that_bends_back_goes_on():
    # A circle of radius 0.05 turns by more than 90 degrees in every step, without any zero of s.
    decoder = lambda z: torch.stack([0.05 * (20 * z[0]).cos(), 0.05 * (20 * z[0]).sin(), z[1] / 2])
    followed = path(decoder, torch.zeros(2), 0, extent=1.0, points=11)
    assert followed.stopped == ("extent", "extent")
    torch.testing.assert_close(followed.u, followed.t, **SOLVED)


def test_seam_density_is_the_closed_form_and_integrates_to_one():
    generator = product_of_curves((2.0, 1.0))
    followed = path(generator, torch.tensor([0.0, 0.5]), 0, extent=4.5, points=181)
    s = 2 * (1 + 0.3 * followed.t.tanh())
    expected = Normal(0.0, 1.0).log_prob(followed.t).exp() / s
    torch.testing.assert_close(seam_density(followed), expected, **SOLVED)
    total = torch.trapezoid(seam_density(followed), followed.u)
    assert total.item() == pytest.approx(1.0, abs=1e-4)  # 1e-5 lies beyond 4.5


def test_seam_density_takes_the_prior_of_the_nearest_axis():
    generator = product_of_curves((1.0, 4.0))
    log_prior = lambda z: torch.stack(
        [Normal(0.5, 1.0).log_prob(z[..., 0]), Normal(-0.4, 2.0).log_prob(z[..., 1])], -1
    )
    followed = path(generator, torch.tensor([0.3, 0.1]), 0, extent=0.5, points=7)
    expected = Normal(-0.4, 2.0).log_prob(0.1 + followed.t).exp() / followed.singular_value
    torch.testing.assert_close(seam_density(followed, log_prior), expected, **SOLVED)


def test_seam_density_of_a_linear_decoder_is_gaussian_in_any_direction():
    # Seams of a Gaussian are its principal axes: N(0, s^2), although no path is along a latent.
    D = conditioned(4, 2)
    U, s, _ = torch.linalg.svd(D, full_matrices=False)
    decoder = lambda z: D @ z
    z = torch.tensor([0.6, -0.2])
    for index in range(2):
        followed = path(decoder, z, index, extent=0.5, points=7)
        position = followed.x @ U[:, index]
        expected = Normal(0.0, s[index]).log_prob(position).exp()
        torch.testing.assert_close(seam_density(followed), expected, **SOLVED)
    # Together they are the density of the manifold (Lemma 5.1).
    starts = [seam_density(path(decoder, z, i, extent=0.1, points=3))[1] for i in range(2)]
    joint = log_manifold_density(decoder, z[None])[0].exp()
    torch.testing.assert_close(starts[0] * starts[1], joint, **SOLVED)


# --- errors


@pytest.mark.parametrize(
    "function",
    [log_manifold_density, log_seam_factors, manifold_hessian, riemann_curvature, seam_directions],
)
def test_inactive_latents_are_refused(function):
    decoder = lambda z: torch.stack([z[0], 0 * z[1], z[0] ** 2])
    z = torch.ones(2, 2)
    with pytest.raises(ValueError, match="needs Jacobians of full rank.*sample 0 go down to 0.0e"):
        function(decoder, z)


def test_gaussian_curvature_is_for_two_latents():
    with pytest.raises(ValueError, match="of 2 latents; got 3.*`scalar_curvature`"):
        gaussian_curvature(spherical(), torch.randn(2, 3))


def test_directions_of_a_curve_are_refused():
    with pytest.raises(ValueError, match="needs 2 latents or more; got 1"):
        seam_directions(product_of_curves((1.0,)), torch.randn(2, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": 2}, r"`index` must be one of 0\.\.1, a singular value; got 2"),
        ({"extent": 0.0}, "positive `extent` and 2 `points` or more; got 0.0 and 101"),
        ({"points": 1}, "positive `extent` and 2 `points` or more; got 3.0 and 1"),
        ({"bounds": 0.5}, "must lie inside `bounds` 0.5; it has an entry of 1.0"),
    ],
)
def test_impossible_paths_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        singular_vector_path(polar(), torch.ones(2), **{"index": 0} | options)


def test_a_path_that_starts_where_values_coincide_is_refused():
    with pytest.raises(ValueError, match="value 0 has a relative gap of 0.0e.*Start elsewhere"):
        singular_vector_path(lambda z: z, torch.ones(2), 0)


def test_decoders_that_return_no_row_are_refused():
    with pytest.raises(ValueError, match="must return one mean"):
        singular_vector_path(lambda z: z[None], torch.ones(2), 0)


def test_all_names_are_public_and_sorted():
    assert geometry.__all__ == sorted(geometry.__all__)
    assert all(hasattr(geometry, name) for name in geometry.__all__)
