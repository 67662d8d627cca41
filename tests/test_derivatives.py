import math

import pytest
import torch
from decoders import (
    central_differences,
    conditioned,
    deconvolution,
    mlp,
    quadratic,
    symmetric,
)
from torch import nn
from torch.distributions import MultivariateNormal
from torch.func import jacfwd, jacrev, vmap
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seams import derivatives
from seams.derivatives import (
    Precision,
    align_axes,
    directed_hessian,
    gram_and_hessian,
    jacobian,
    jacobian_gram,
    jacobian_svd,
    log_likelihood_hessian,
    optimal_precision,
    optimal_precision_one_derivative,
    singular_value_jacobian,
)
from seams.geometry import log_manifold_density

EXACT = {"rtol": 1e-10, "atol": 1e-12}
NUMERICAL = {"rtol": 1e-6, "atol": 1e-8}  # central differences: eps^(2/3) of a value of order 1
LATENT, DATA, BATCH = 3, 7, 5

SMOOTH = {
    "silu": lambda: mlp(LATENT, DATA, nn.SiLU),
    "tanh": lambda: mlp(LATENT, DATA, nn.Tanh),
    "elu": lambda: mlp(LATENT, DATA, nn.ELU),
    "deconvolution": lambda: deconvolution(LATENT),
}


@pytest.fixture(params=SMOOTH)
def smooth(request):
    return SMOOTH[request.param]()


def rotation(latent):
    return torch.linalg.qr(torch.randn(latent, latent))[0]


def lower(batch, latent):
    """Cholesky factors of well-conditioned covariances."""
    return torch.randn(batch, latent, latent).tril(-1) / 4 + torch.diag_embed(
        0.5 + torch.rand(batch, latent)
    )


def draws_of_eq_6(data):
    """Means, data and Cholesky factors of two posteriors."""
    return torch.randn(2, LATENT), torch.randn(2, data), lower(2, LATENT)


def within(value, expected, error, bound=4.0):
    """At most `bound` standard errors away, with an error that is not zero."""
    assert (error > 0).all()
    worst = ((value - expected).abs() / error).max().item()
    assert worst < bound, f"{worst:.1f} standard errors"


# --- first derivatives


def test_jacobian_is_the_chosen_one_at_the_chosen_latent():
    J, H = conditioned(DATA, LATENT), symmetric(DATA, LATENT)
    centre, z = torch.randn(LATENT), torch.randn(BATCH, LATENT)
    decoder = quadratic(centre, J, H)
    torch.testing.assert_close(jacobian(decoder, centre[None])[0], J, **EXACT)
    expected = J + torch.einsum("kij,bj->bki", H, z - centre)
    torch.testing.assert_close(jacobian(decoder, z), expected, **EXACT)


def test_jacobian_agrees_with_differences_and_reverse_mode(smooth):
    z = torch.randn(BATCH, LATENT)
    J = jacobian(smooth, z)
    for row, latent in zip(J, z, strict=True):
        torch.testing.assert_close(row, central_differences(smooth, latent), **NUMERICAL)
        reverse = torch.autograd.functional.jacobian(smooth, latent)
        torch.testing.assert_close(row, reverse, **EXACT)
    torch.testing.assert_close(jacobian_gram(smooth, z), J.mT @ J, **EXACT)
    torch.testing.assert_close(
        jacobian_gram(smooth, z), (g := jacobian_gram(smooth, z)).mT, **EXACT
    )
    assert (torch.linalg.eigvalsh(g) > -1e-12).all()


@pytest.mark.parametrize("function", [jacobian, jacobian_gram, jacobian_svd])
def test_chunks_change_nothing(function):
    decoder, z = mlp(LATENT, DATA), torch.randn(BATCH, LATENT)
    torch.testing.assert_close(function(decoder, z, chunk_size=2), function(decoder, z), **EXACT)


def test_results_keep_the_dtype_and_carry_no_graph():
    z = torch.randn(BATCH, LATENT, dtype=torch.float32, requires_grad=True)
    decoder = nn.Linear(LATENT, DATA, dtype=torch.float32)
    J = jacobian(decoder, z)
    assert J.dtype == torch.float32
    assert not J.requires_grad
    assert torch.equal(J, decoder.weight.detach().expand_as(J))


# --- second derivatives


def test_directed_hessian_contracts_the_chosen_hessians():
    J, H = conditioned(DATA, LATENT), symmetric(DATA, LATENT)
    decoder = quadratic(torch.randn(LATENT), J, H)
    z, x = torch.randn(BATCH, LATENT), torch.randn(BATCH, DATA)
    residual = x - vmap(decoder)(z)
    expected = torch.einsum("bk,kij->bij", residual, H)
    torch.testing.assert_close(directed_hessian(decoder, z, x), expected, **EXACT)
    chunked = directed_hessian(decoder, z, x, chunk_size=2)
    torch.testing.assert_close(chunked, expected, **EXACT)


def test_directed_hessian_of_a_linear_decoder_is_zero():
    D = conditioned(DATA, LATENT)
    z, x = torch.randn(BATCH, LATENT), torch.randn(BATCH, DATA)
    assert (directed_hessian(lambda z: D @ z, z, x) == 0).all()


def test_directed_hessian_of_a_relu_decoder_is_zero_almost_everywhere():
    z, x = torch.randn(BATCH, LATENT), torch.randn(BATCH, DATA)
    assert (directed_hessian(mlp(LATENT, DATA, nn.ReLU), z, x) == 0).all()


def test_directed_hessian_agrees_with_the_dense_tensor_and_differences(smooth):
    z = torch.randn(BATCH, LATENT)
    x = torch.randn(BATCH, len(smooth(z[0])))
    measured = directed_hessian(smooth, z, x)
    for n in range(BATCH):
        residual = x[n] - smooth(z[n])
        dense = jacrev(jacrev(smooth))(z[n])  # [data, latent, latent]: what we never build
        torch.testing.assert_close(
            measured[n], torch.einsum("k,kij->ij", residual, dense), **EXACT
        )
        pulled = lambda z, r=residual: torch.autograd.functional.vjp(smooth, z, r)[1]
        torch.testing.assert_close(measured[n], central_differences(pulled, z[n]), **NUMERICAL)


def test_both_terms_at_once_are_those_alone(smooth):
    z = torch.randn(BATCH, LATENT)
    x = torch.randn(BATCH, smooth(z[0]).shape[0])
    gram, hessian = gram_and_hessian(smooth, z, x, chunk_size=2)
    torch.testing.assert_close(gram, jacobian_gram(smooth, z), **EXACT)
    torch.testing.assert_close(hessian, directed_hessian(smooth, z, x), **EXACT)


def test_both_terms_of_a_stack_of_decoders():
    """d(z) = W z + |z|^2 c: the Gram matrix and the Hessian in closed form, for each W and c."""
    W, c = torch.randn(2, DATA, LATENT), torch.randn(2, DATA)
    z, x = torch.randn(2, BATCH, LATENT), torch.randn(BATCH, DATA)
    decoder = lambda W, c: lambda z: W @ z + z @ z * c
    of_one = lambda W, c, z: gram_and_hessian(decoder(W, c), z, x)
    grams, hessians = vmap(of_one)(W, c, z)
    for k in range(2):
        J = W[k] + 2 * c[k][:, None] * z[k][:, None, :]
        residual = x - torch.stack([decoder(W[k], c[k])(row) for row in z[k]])
        torch.testing.assert_close(grams[k], J.mT @ J, **EXACT)
        expected = 2 * (residual @ c[k])[:, None, None] * torch.eye(LATENT)
        torch.testing.assert_close(hessians[k], expected, **EXACT)


def test_both_terms_add_up_to_the_log_likelihood_hessian(smooth):
    z, sigma = torch.randn(BATCH, LATENT), 0.7
    x = torch.randn(BATCH, len(smooth(z[0])))
    terms = -(jacobian_gram(smooth, z) - directed_hessian(smooth, z, x)) / sigma**2
    whole = log_likelihood_hessian(smooth, z, x, sigma=sigma)
    torch.testing.assert_close(whole, terms, **EXACT)
    scale = sigma**2 * torch.eye(x.shape[1])
    for n in range(BATCH):
        log_density = lambda z, x=x[n]: MultivariateNormal(smooth(z), scale).log_prob(x)
        slow = torch.autograd.functional.hessian(log_density, z[n])
        torch.testing.assert_close(whole[n], slow, **EXACT)


# --- Eq. 6


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_precision_of_a_linear_decoder_is_the_closed_form(beta):
    D, sigma = conditioned(DATA, LATENT), 0.5
    mean, x, L = torch.randn(BATCH, LATENT), torch.randn(BATCH, DATA), lower(BATCH, LATENT)
    result = optimal_precision(lambda z: D @ z, mean, L, x, beta=beta, sigma=sigma, draws=3)
    expected = torch.eye(LATENT) + D.mT @ D / (beta * sigma**2)
    torch.testing.assert_close(result.precision, expected.expand(BATCH, -1, -1), **EXACT)
    assert (result.hessian == 0).all()
    assert (result.hessian_error == 0).all()
    torch.testing.assert_close(
        result.precision_error, torch.zeros(BATCH, LATENT, LATENT), atol=1e-13, rtol=0
    )


def test_precision_of_a_quadratic_decoder_is_its_gaussian_moments():
    # J(z) = A + H (z - mu), so E[J'J] = A'A + sum_k H_k Sigma H_k, and the mean of d under q is
    # d(mu) + tr(H_k Sigma) / 2.
    A, H = conditioned(DATA, LATENT), symmetric(DATA, LATENT) / 2
    mean, x, L = torch.randn(LATENT), torch.randn(2, DATA), lower(1, LATENT)
    decoder, covariance = quadratic(mean, A, H), (L @ L.mT)[0]
    result = optimal_precision(
        decoder,
        mean.expand(2, -1),
        L.expand(2, -1, -1),
        x,
        beta=2.0,
        sigma=0.8,
        draws=4000,
        generator=torch.Generator().manual_seed(1),
        chunk_size=1000,
    )
    gram = A.mT @ A + (H @ covariance @ H).sum(0)
    residual = x - decoder(mean) - (H @ covariance).diagonal(dim1=1, dim2=2).sum(1) / 2
    hessian = torch.einsum("bk,kij->bij", residual, H)
    within(result.gram, gram, result.gram_error)
    within(result.hessian, hessian, result.hessian_error)
    precision = torch.eye(LATENT) + (gram - hessian) / (2.0 * 0.8**2)
    within(result.precision, precision, result.precision_error)


def test_errors_of_given_draws_are_standard_errors_of_the_mean():
    gram, hessian = torch.randn(9, 2, LATENT, LATENT), torch.randn(9, 2, LATENT, LATENT)
    found = Precision.of_draws(gram, hessian, 0.5)
    each = torch.eye(LATENT) + (gram - hessian) / 0.5
    torch.testing.assert_close(found.precision_error, each.std(0) / 3, **EXACT)
    torch.testing.assert_close(found.gram_error, gram.std(0) / 3, **EXACT)
    torch.testing.assert_close(found.hessian, hessian.mean(0), **EXACT)


def test_precision_error_is_that_of_the_paired_difference():
    decoder = mlp(LATENT, DATA)
    mean, x, L = torch.randn(2, LATENT), torch.randn(2, DATA), lower(2, LATENT)
    result = optimal_precision(decoder, mean, L, x, draws=50, generator=torch.manual_seed(3))
    noise = torch.randn(50, 2, LATENT, generator=torch.manual_seed(3))
    draws = [mean + (L @ e.unsqueeze(-1)).squeeze(-1) for e in noise]
    each = torch.stack(
        [
            torch.eye(LATENT) + jacobian_gram(decoder, z) - directed_hessian(decoder, z, x)
            for z in draws
        ]
    )
    torch.testing.assert_close(result.precision, each.mean(0), **EXACT)
    torch.testing.assert_close(result.precision_error, each.std(0) / math.sqrt(50), **EXACT)


@pytest.mark.parametrize("function", [optimal_precision, optimal_precision_one_derivative])
def test_chunks_of_draws_change_nothing(function):
    decoder, (mean, x, L) = mlp(LATENT, DATA), draws_of_eq_6(DATA)
    call = lambda size: function(
        decoder, mean, L, x, draws=11, generator=torch.manual_seed(3), chunk_size=size
    )
    values = lambda found: list(vars(found).values()) if function is optimal_precision else found
    for size in (1, 7, 13):  # 7 cuts across draws and samples
        for value, expected in zip(values(call(size)), values(call(None)), strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


class LargestTensor(TorchDispatchMode):
    """Entries of the largest tensor that any operation returns."""

    entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.numel())
        return result


@pytest.mark.parametrize("function", [optimal_precision, optimal_precision_one_derivative])
def test_eq_6_holds_the_data_of_a_chunk_at_a_time(function):
    data, draws, size = 2000, 100, 10
    mean, x, L = draws_of_eq_6(data)
    with LargestTensor() as largest:
        function(mlp(LATENT, data), mean, L, x, draws=draws, chunk_size=size)
    # A Jacobian of each in the chunk; the copies of `x` for all draws are 3 times that.
    assert largest.entries <= size * data * (LATENT + 1) < draws * x.numel()


def test_one_derivative_form_agrees_with_two_on_a_smooth_decoder():
    decoder = mlp(LATENT, DATA)
    mean, x, L = torch.randn(2, LATENT), torch.randn(2, DATA), lower(2, LATENT)
    options = {"beta": 2.0, "sigma": 0.6}
    two = optimal_precision(decoder, mean, L, x, draws=4000, **options)
    one, error = optimal_precision_one_derivative(
        decoder, mean, L, x, draws=40_000, chunk_size=20_000, **options
    )
    within(one, two.precision, (error.square() + two.precision_error.square()).sqrt())
    torch.testing.assert_close(one, one.mT, **EXACT)


def test_one_derivative_form_ignores_the_slope_at_the_mean():
    # With a linear decoder the residual enters that slope alone: far data add no noise.
    D, mean, L = conditioned(DATA, LATENT), torch.randn(2, LATENT), lower(2, LATENT)
    near = mean @ D.mT
    results = [
        optimal_precision_one_derivative(
            lambda z: D @ z, mean, L, x, draws=50, generator=torch.manual_seed(3)
        )
        for x in (near, near + 100)
    ]
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


def test_one_derivative_form_sees_the_kink_of_relu():
    # d = relu in one latent: grad log p = (x - z) 1[z > 0] jumps by x at zero, so the mean second
    # derivative under N(mu, s^2) is x phi(mu / s) / s - Phi(mu / s). Autograd sees only the last.
    mean, scale, x = torch.tensor([[0.3]]), torch.tensor([[[0.8]]]), torch.tensor([[2.0]])
    standard = torch.distributions.Normal(0.0, 1.0)
    ratio = (mean / scale[0]).squeeze()
    smooth_part = 1 + standard.cdf(ratio)
    whole = smooth_part - x * standard.log_prob(ratio).exp() / scale[0]
    one, error = optimal_precision_one_derivative(torch.relu, mean, scale, x, draws=100_000)
    within(one, whole, error)
    two = optimal_precision(torch.relu, mean, scale, x, draws=100_000)
    within(two.precision, smooth_part, two.precision_error)
    assert ((one - two.precision).abs() > 20 * error).all()


# --- singular value decomposition, C1, C2


def test_svd_rebuilds_the_jacobian(smooth):
    z = torch.randn(BATCH, LATENT)
    U, s, V = jacobian_svd(smooth, z)
    torch.testing.assert_close(U * s.unsqueeze(1) @ V.mT, jacobian(smooth, z), **EXACT)
    eye = torch.eye(LATENT).expand(BATCH, -1, -1)
    torch.testing.assert_close(U.mT @ U, eye, **EXACT)
    torch.testing.assert_close(V.mT @ V, eye, **EXACT)
    assert (s.diff(dim=1) <= 0).all()


def test_svd_signs_are_fixed_by_the_largest_entry_of_v():
    V = rotation(LATENT)
    first = V.abs().argmax(0)
    V = V * V[first, torch.arange(LATENT)].sign()
    U = torch.linalg.qr(torch.randn(DATA, LATENT))[0]
    s = torch.tensor([3.0, 2.0, 1.0])
    for flip in (torch.tensor([1.0, 1.0, 1.0]), torch.tensor([-1.0, 1.0, -1.0])):
        D = (U * flip * s) @ (V * flip).mT
        measured = jacobian_svd(lambda z, D=D: D @ z, torch.zeros(1, LATENT))
        for value, expected in zip(measured, (U, s, V), strict=True):
            torch.testing.assert_close(value[0], expected, **EXACT)


def test_svd_sign_of_a_tied_vector_is_that_of_its_first_entry():
    # The two entries of v are equal but for the last bits; either may be the larger one.
    for nudge in (1e-15, -1e-15):
        v = torch.tensor([1.0 + nudge, -1.0]) / math.sqrt(2)
        D = 2 * torch.outer(torch.tensor([1.0, 0.0, 0.0]), v)
        D[1] = torch.tensor([1.0, 1.0]) / math.sqrt(2)
        V = jacobian_svd(lambda z, D=D: D @ z, torch.zeros(1, 2))[2][0]
        torch.testing.assert_close(V[:, 0], v, **EXACT)


def test_rotating_latents_rotates_v_and_leaves_u_and_s():
    decoder, R = mlp(LATENT, DATA), rotation(LATENT)
    z = torch.randn(BATCH, LATENT)
    U, s, V = jacobian_svd(decoder, z)
    turned = jacobian_svd(lambda z: decoder(R @ z), z @ R)  # rows R'z, so both look at one point
    torch.testing.assert_close(turned[1], s, **EXACT)
    signs = (turned[2] * (R.mT @ V)).sum(1, keepdim=True).round()
    torch.testing.assert_close(turned[2] * signs, R.mT @ V, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(turned[0] * signs, U, rtol=1e-8, atol=1e-8)


def test_align_axes_undoes_a_signed_permutation():
    near = torch.linalg.qr(torch.eye(5) + 0.1 * torch.randn(4, 5, 5))[0]
    near = near * near.diagonal(dim1=1, dim2=2).sign().unsqueeze(1)
    shuffles = torch.stack([torch.randperm(5) for _ in range(4)])
    flips = torch.randint(0, 2, (4, 5)) * 2.0 - 1
    shuffled = torch.take_along_dim(near * flips.unsqueeze(1), shuffles.unsqueeze(1), 2)
    permutation, signs = align_axes(shuffled)
    restored = torch.take_along_dim(shuffled, permutation.unsqueeze(1), 2) * signs.unsqueeze(1)
    torch.testing.assert_close(restored, near, **EXACT)


def test_align_axes_beats_every_other_signed_permutation():
    V = rotation(4)
    permutation, signs = (value[0] for value in align_axes(V[None]))
    best = (V[:, permutation] * signs - torch.eye(4)).norm()
    for other in torch.cartesian_prod(*[torch.arange(4)] * 4):
        if len(set(other.tolist())) == 4:
            moved = V[:, other]
            flipped = torch.where(moved.diagonal() < 0, -1.0, 1.0)
            assert (moved * flipped - torch.eye(4)).norm() >= best - 1e-12


def test_singular_value_jacobian_agrees_with_differences_of_the_values(smooth):
    z = torch.randn(BATCH, LATENT)
    measured = singular_value_jacobian(smooth, z)
    values = lambda z: torch.linalg.svdvals(torch.autograd.functional.jacobian(smooth, z))
    for n in range(BATCH):
        slow = central_differences(values, z[n])
        torch.testing.assert_close(measured[n], slow, **NUMERICAL)
    chunked = singular_value_jacobian(smooth, z, chunk_size=2)
    torch.testing.assert_close(chunked, measured, **EXACT)


def test_singular_value_jacobian_is_its_formula_over_the_dense_tensor():
    J, H = conditioned(DATA, LATENT), symmetric(DATA, LATENT)
    z = torch.randn(BATCH, LATENT)
    decoder = quadratic(torch.zeros(LATENT), J, H)
    U, _, V = jacobian_svd(decoder, z)
    expected = torch.einsum("bki,kaj,bai->bij", U, H, V)
    torch.testing.assert_close(singular_value_jacobian(decoder, z), expected, rtol=1e-9, atol=1e-9)
    # Forward over forward, the other order of differentiation.
    rows = [
        vmap(lambda z, u, v: u @ jacfwd(lambda z: jacfwd(decoder)(z) @ v)(z))(
            z, U[..., i], V[..., i]
        )
        for i in range(LATENT)
    ]
    torch.testing.assert_close(torch.stack(rows, 1), expected, rtol=1e-9, atol=1e-9)


def test_singular_value_jacobian_of_stretched_axes_is_diagonal():
    # d_i = a_i sinh z_i: s_i = a_i cosh z_i, so C1 and C2 hold.
    scale = torch.tensor([9.0, 3.0, 1.0])
    z = 0.5 * torch.rand(BATCH, 3)
    measured = singular_value_jacobian(lambda z: scale * z.sinh(), z)
    torch.testing.assert_close(measured, torch.diag_embed(scale * z.sinh()), **EXACT)


def test_coinciding_singular_values_raise_or_are_nan():
    D = torch.diag(torch.tensor([3.0, 2.0, 2.0]))
    separate = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    decoder = lambda z: torch.where(z[0] > 0, D, separate) @ z
    z = torch.tensor([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match="value 1 of sample 1 has a relative gap of 0.0e"):
        singular_value_jacobian(decoder, z)
    measured = singular_value_jacobian(decoder, z, coinciding="nan")
    assert (measured[0] == 0).all()
    assert (measured[1, 0] == 0).all()
    assert measured[1, 1:].isnan().all()


def test_a_vanishing_singular_value_is_not_simple():
    with pytest.raises(ValueError, match="value 1 of sample 0 has a relative gap of 0.0e"):
        singular_value_jacobian(lambda z: z * torch.tensor([1.0, 0.0]), torch.ones(1, 2))
    with pytest.raises(ValueError, match="value 0 of sample 0"):
        singular_value_jacobian(lambda z: 0 * z, torch.ones(1, 2))


# --- errors


@pytest.mark.parametrize("function", [directed_hessian, log_likelihood_hessian])
def test_data_of_another_size_are_refused(function):
    message = r"one value per column of `x`; got 7 for 9 columns\. Is this the decoder of another"
    z, x = torch.randn(2, LATENT), torch.randn(2, 9)
    with pytest.raises(ValueError, match=message):
        function(mlp(LATENT, DATA), z, x)
    for precision in (optimal_precision, optimal_precision_one_derivative):
        with pytest.raises(ValueError, match=message):
            precision(mlp(LATENT, DATA), z, lower(2, LATENT), x)


def test_an_output_that_is_not_one_row_is_refused():
    decoder = mlp(LATENT, DATA)
    with pytest.raises(ValueError, match=r"must return one mean \[data\].*got the shape \[1, 7\]"):
        jacobian(lambda z: decoder(z)[None], torch.randn(2, LATENT))


def test_fewer_data_columns_than_latents_are_refused():
    with pytest.raises(ValueError, match="as many data columns as latents; got 2 for 3"):
        jacobian_svd(lambda z: z[:2], torch.randn(2, 3))


def test_dropout_in_train_mode_is_refused():
    decoder = nn.Sequential(nn.Linear(LATENT, 50), nn.Dropout(0.5))
    with pytest.raises(ValueError, match="depend on its own latent alone and repeat itself"):
        jacobian(lambda z: decoder(z), torch.randn(2, LATENT))
    with pytest.raises(ValueError, match=r"its Dropout is in train mode\. Call decoder\.eval"):
        jacobian(decoder, torch.randn(2, LATENT))
    assert jacobian(decoder.eval(), torch.randn(2, LATENT)).shape == (2, 50, LATENT)


def test_batch_norm_in_train_mode_is_refused():
    features = nn.Sequential(
        nn.Linear(LATENT, 8), nn.Unflatten(-1, (2, 4)), nn.BatchNorm1d(2), nn.Flatten(-2)
    )
    decoder = lambda z: features(z[None])[0]
    with pytest.raises(ValueError, match="runs on one but not under vmap.*batch norm"):
        jacobian(decoder, torch.randn(2, LATENT))
    features.eval()
    assert jacobian(decoder, torch.randn(2, LATENT)).shape == (2, 8, LATENT)


def test_a_module_with_batch_norm_is_refused_and_left_alone_until_it_is_wrapped():
    decoder = nn.Sequential(nn.Linear(LATENT, 8), nn.BatchNorm1d(8), nn.Tanh()).requires_grad_(
        False
    )
    decoder[1].running_mean.normal_()
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    z, x = torch.randn(BATCH, LATENT), torch.randn(BATCH, 8)
    with pytest.raises(ValueError, match="its BatchNorm1d is in train mode"):
        jacobian(decoder, z)
    with pytest.raises(ValueError, match="its BatchNorm1d is in train mode"):
        jacobian(decoder.forward, z)
    decoder.eval()
    with pytest.raises(
        ValueError, match=r"takes batches alone \(expected 2D.*lambda z: decoder\(z\[None\]\)\[0\]"
    ):
        jacobian(decoder, z)
    for name, value in decoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    wrapped = lambda z: decoder(z[None])[0]
    for J, latent in zip(jacobian(wrapped, z), z, strict=True):
        torch.testing.assert_close(J, central_differences(wrapped, latent), **NUMERICAL)
    terms = jacobian_gram(wrapped, z) - directed_hessian(wrapped, z, x)
    torch.testing.assert_close(-terms, log_likelihood_hessian(wrapped, z, x), **EXACT)


def undefined_at_ones(z):
    """A decoder whose derivatives are NaN at one point."""
    return torch.stack([z[0], (1 - z).square().sum().sqrt(), z[1].sin()])


LATENTS = torch.tensor([[0.0, 0.5], [0.2, 0.1], [1.0, 1.0]], dtype=torch.float64)
SPREAD = (
    torch.full((3, 2), 0.1, dtype=torch.float64).diag_embed().index_fill(0, torch.tensor(2), 0.0)
)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda d, z, x: jacobian(d, z), "jacobian"),
        (lambda d, z, x: jacobian_gram(d, z), "jacobian_gram"),
        (lambda d, z, x: jacobian_svd(d, z), "jacobian"),
        (lambda d, z, x: singular_value_jacobian(d, z), "jacobian"),
        (lambda d, z, x: log_manifold_density(d, z), "jacobian"),
        (lambda d, z, x: directed_hessian(d, z, x), "directed_hessian"),
        (lambda d, z, x: log_likelihood_hessian(d, z, x), "log_likelihood_hessian"),
        (
            lambda d, z, x: optimal_precision(d, z, SPREAD[: len(z)], x, draws=4),
            "optimal_precision",
        ),
    ],
)
def test_nan_is_not_returned_but_named_and_an_empty_batch_refused(call, name):
    x = torch.zeros(3, 3)
    message = f"`{name}` must be finite; that of sample 2 is not"
    with pytest.raises(ValueError, match=message):
        call(undefined_at_ones, LATENTS, x)
    with pytest.raises(ValueError, match=message):  # beyond the two rows that are tried first
        call(lambda z: z.new_tensor([0, 0, 1]) * z.exp().sum() / (z[1] != 1), LATENTS, x)
    with pytest.raises(ValueError, match="one latent or more; got none"):
        call(undefined_at_ones, LATENTS[:0], x[:0])


def test_the_second_derivative_alone_may_not_be_finite():
    # |z - 1|^(3/2) has a slope at 1, but no curvature.
    decoder = lambda z: torch.stack([z[0], (z[1] - 1).abs() ** 1.5 + z[1], z[1]])
    assert jacobian(decoder, LATENTS).isfinite().all()
    with pytest.raises(ValueError, match="`singular_value_jacobian` must be finite; .* sample 2"):
        singular_value_jacobian(decoder, LATENTS)


def test_nan_in_the_one_derivative_form_is_refused():
    decoder, mean, x = mlp(2, DATA), torch.zeros(3, 2), torch.zeros(3, DATA)
    L = torch.full((3, 2), 0.1).diag_embed()
    with pytest.raises(ValueError, match="`scale_tril` needs a positive diagonal; got nan"):
        optimal_precision_one_derivative(decoder, mean, L / L.new_tensor([1, torch.nan]), x)
    for wrong in (mean.index_fill(0, torch.tensor(1), torch.nan), mean + torch.inf):
        with pytest.raises(ValueError, match="`optimal_precision_one_derivative` must be finite"):
            optimal_precision_one_derivative(decoder, wrong, L, x, draws=4)


def test_a_decoder_that_fails_by_itself_keeps_its_own_message():
    with pytest.raises(RuntimeError, match="size|shape"):
        jacobian(mlp(LATENT, DATA), torch.randn(2, LATENT + 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "`beta` must be positive; got 0.0"),
        ({"sigma": -1.0}, "`sigma` must be positive; got -1.0"),
        ({"sigma": math.nan}, "`sigma` must be positive; got nan"),
        ({"draws": 1}, "`draws` must be at least 2 for a standard error; got 1"),
    ],
)
@pytest.mark.parametrize("function", [optimal_precision, optimal_precision_one_derivative])
def test_impossible_settings_are_refused(function, options, message):
    mean, x, L = torch.zeros(1, LATENT), torch.zeros(1, DATA), lower(1, LATENT)
    with pytest.raises(ValueError, match=message):
        function(mlp(LATENT, DATA), mean, L, x, **options)


def test_a_posterior_without_spread_is_refused():
    mean, x = torch.zeros(1, LATENT), torch.zeros(1, DATA)
    with pytest.raises(ValueError, match="`scale_tril` needs a positive diagonal; got 0.0"):
        optimal_precision_one_derivative(
            mlp(LATENT, DATA), mean, torch.zeros(1, LATENT, LATENT), x
        )


def test_all_names_are_public_and_sorted():
    assert derivatives.__all__ == sorted(derivatives.__all__)
    assert all(hasattr(derivatives, name) for name in derivatives.__all__)
