"""Traversals of decoders whose every value is known."""

import torch
from torch.testing import assert_close

from seams.derivatives import jacobian
from seams.traversals import latent_activity, traversal_changes, traverse

EXACT = dict(rtol=1e-12, atol=1e-12)


def test_a_traversal_moves_one_latent_and_keeps_the_others():
    z = torch.tensor([5.0, 6.0, 7.0])
    seen = traverse(lambda z: z, z, torch.tensor([2, 0]), reach=1.5, steps=3)
    assert seen.tolist() == [
        [[5, 6, -1.5], [5, 6, 0], [5, 6, 1.5]],
        [[-1.5, 6, 7], [0, 6, 7], [1.5, 6, 7]],
    ]


def test_changes_of_a_linear_decoder_are_its_columns():
    W, z = torch.randn(6, 3), torch.randn(4, 3)
    linear = lambda z: W @ z + 1
    assert_close(traversal_changes(linear, z), W.T.expand(4, 3, 6), **EXACT)
    assert_close(latent_activity(linear, z, reach=0.7), W.square().sum(0), **EXACT)


def test_changes_over_a_short_reach_are_the_jacobian_where_the_latent_is_zero():
    W = torch.randn(6, 2)
    curved = lambda z: torch.tanh(W @ z)
    z = torch.tensor([[0.0, 0.8], [0.0, -0.3]])
    changes = traversal_changes(curved, z, reach=1e-5)
    assert_close(changes[:, 0], jacobian(curved, z)[:, :, 0], rtol=1e-8, atol=1e-9)


def test_activity_is_the_mean_over_places_of_squared_distances():
    bilinear = lambda z: z[:1] * z[1:]  # moves by 2 r z_2 along the first latent
    z = torch.tensor([[9.0, 1.0], [9.0, 3.0]])
    assert_close(latent_activity(bilinear, z, reach=2.0), torch.tensor([5.0, 81.0]), **EXACT)
