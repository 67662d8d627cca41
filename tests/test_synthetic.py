import math

import pytest
import torch
from torch.testing import assert_close

from seams import linear
from seams.data.synthetic import blob_images, circles, linear_gaussian

SINGULAR_VALUES = [3.0, 1.0, 2.0]
EXACT = dict(rtol=1e-10, atol=1e-10)


def orthonormal(size, columns=None):
    return torch.linalg.qr(torch.randn(size, size)).Q[:, :columns]


@pytest.mark.parametrize("exact", [False, True])
def test_linear_gaussian_is_the_model_it_states(exact):
    U, V = orthonormal(6, 3), orthonormal(3)
    sample = linear_gaussian(50, 6, SINGULAR_VALUES, sigma=0.4, seed=1, U=U, V=V, exact=exact)
    W = U @ torch.diag(torch.tensor(SINGULAR_VALUES)) @ V.mT
    assert_close(sample.decoder, W, **EXACT)
    expected = torch.stack([W @ z + e for z, e in zip(sample.z, sample.noise, strict=True)])
    assert_close(sample.x, expected, **EXACT)


def test_drawn_moments_are_those_of_the_model():
    n = 40_000
    sample = linear_gaussian(n, 4, [2.0, 1.0], sigma=0.5, seed=3)
    joint = torch.cat([sample.z, sample.noise / 0.5], 1)
    assert (joint.mean(0).abs() < 4 / math.sqrt(n)).all()
    products = joint[:, :, None] * joint[:, None, :]
    assert ((products.mean(0) - torch.eye(6)).abs() < 4 * products.std(0) / math.sqrt(n)).all()
    assert_close(sample.U.mT @ sample.U, torch.eye(2), **EXACT)
    assert torch.equal(sample.V, torch.eye(2))


def test_exact_sample_has_the_truth_as_its_optimum():
    n, sigma = 25, 0.4
    sample = linear_gaussian(n, 6, SINGULAR_VALUES, sigma=sigma, seed=2, exact=True)
    assert_close(sample.x.mean(0), torch.zeros(6), **EXACT)
    assert_close(sample.z.mT @ sample.z / n, torch.eye(3), **EXACT)
    assert_close(sample.noise.mT @ sample.noise / n, sigma**2 * torch.eye(6), **EXACT)
    assert_close(sample.z.mT @ sample.noise, torch.zeros(3, 6), **EXACT)
    covariance = sample.x.mT @ sample.x / n
    expected = sample.decoder @ sample.decoder.mT + sigma**2 * torch.eye(6)
    assert_close(covariance, expected, **EXACT)
    distances = linear.decoder_distances(
        linear.decoder_mle(covariance, 3, sigma=sigma), sample.U, sample.s
    )
    for distance in (distances.U, distances.s, distances.V):
        assert distance < 1e-10


def test_whitening_is_the_smallest_change():
    """The symmetric root is the nearest: any other whitened sample is a rotation further away."""
    common = dict(sigma=1.0, seed=5)
    drawn = linear_gaussian(40, 3, [1.0, 2.0], **common)
    exact = linear_gaussian(40, 3, [1.0, 2.0], exact=True, **common)
    assert torch.equal(drawn.U, exact.U)
    before, after = (torch.cat([s.z, s.noise], 1) for s in (drawn, exact))
    centred = before - before.mean(0)
    overlap = centred.mT @ after
    assert_close(overlap, overlap.mT, **EXACT)
    assert (torch.linalg.eigvalsh(overlap) > 0).all()


def test_linear_gaussian_depends_on_its_seed_alone():
    first, again, other = (
        linear_gaussian(9, 4, [1.0, 2.0], sigma=0.1, seed=seed) for seed in (4, 4, 5)
    )
    assert torch.equal(first.x, again.x)
    assert not torch.allclose(first.x, other.x)
    torch.randn(1)
    torch.set_default_dtype(torch.float32)
    single = linear_gaussian(9, 4, [1.0, 2.0], sigma=0.1, seed=4)
    assert single.x.dtype == torch.float32
    assert torch.equal(single.x, first.x.float())


def test_linear_gaussian_refuses_what_it_cannot_make():
    with pytest.raises(ValueError, match="must be 1 to 2 values, the columns of x; got 3"):
        linear_gaussian(50, 2, SINGULAR_VALUES, sigma=1.0, seed=0)
    with pytest.raises(ValueError, match="must be 1 to 2 values, the columns of x; got 0"):
        linear_gaussian(50, 2, [], sigma=1.0, seed=0)
    with pytest.raises(ValueError, match="`sigma` must be zero or more; got -1.0"):
        linear_gaussian(50, 6, SINGULAR_VALUES, sigma=-1.0, seed=0)
    with pytest.raises(ValueError, match="needs more samples .* columns, 9; got 9"):
        linear_gaussian(9, 6, SINGULAR_VALUES, sigma=1.0, seed=0, exact=True)


@pytest.mark.parametrize("counts", [(6, 8), (3, 3), (5, 4)])
def test_circles_have_the_stated_geometry(counts):
    sample = circles(*counts, outer_radius=7.0, inner_radius=1.5)
    assert len(sample.x) == math.prod(counts)
    radius = torch.linalg.vector_norm(sample.x - sample.centres[sample.circle], dim=1)
    assert_close(radius, torch.full_like(radius, 1.5), **EXACT)
    radius = torch.linalg.vector_norm(sample.centres, dim=1)
    assert_close(radius, torch.full_like(radius, 7.0), **EXACT)
    assert_close(sample.x.mean(0), torch.zeros(2), **EXACT)
    for index, centre in enumerate(sample.centres):
        mine = sample.x[sample.circle == index]
        assert len(mine) == counts[1]
        assert_close(mine.mean(0), centre, **EXACT)
        gaps = torch.linalg.vector_norm(mine - mine.roll(1, 0), dim=1)
        assert_close(gaps, torch.full_like(gaps, 3 * math.sin(math.pi / counts[1])), **EXACT)
    covariance = sample.x.mT @ sample.x / len(sample.x)
    assert_close(covariance, (7.0**2 + 1.5**2) / 2 * torch.eye(2), **EXACT)


@pytest.mark.parametrize("counts", [(2, 8), (6, 2)])
def test_too_few_circles_or_points_raise(counts):
    with pytest.raises(ValueError, match=f"3 or more; got {counts[0]} and {counts[1]}"):
        circles(*counts)


def test_blob_pixels_equal_the_formula():
    centres = torch.tensor([[3.2, 7.9], [10.0, 1.5]])
    images = blob_images(centres, 12, 1.7)
    for image, (x, y) in zip(images, centres.tolist(), strict=True):
        for i in range(12):
            for j in range(12):
                square = (j + 0.5 - x) ** 2 + (i + 0.5 - y) ** 2
                assert math.isclose(image[i, j], math.exp(-square / (2 * 1.7**2)), rel_tol=1e-12)
    # At a pixel's centre, column from x and row from y.
    assert blob_images(torch.tensor([[4.5, 9.5]]), 12, 1.7)[0, 9, 4] == 1
