from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import conv2d
from torch.testing import assert_close

from seams import networks
from seams.distributions import DiagonalGaussian, FullGaussian
from seams.networks import (
    Affine,
    DoublingConv,
    GaussianEncoder,
    HalvingConv,
    LinearEncoder,
    burgess_decoder,
    burgess_features,
    mlp,
)

COVARIANCES = ["diagonal", "full"]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def encoder(covariance: str, seed: int = 0) -> GaussianEncoder:
    torch.manual_seed(seed)
    return GaussianEncoder(mlp(6, 5, 1, None), 5, 4, covariance)


def test_burgess_has_the_parameters_of_the_reference() -> None:
    """Layer by layer as Burgess et al. 2018 state them, and 502,005 in all."""
    encoder = GaussianEncoder(burgess_features(64, activation="relu"), 256, 10, "diagonal")
    decoder = burgess_decoder(10, 64, activation="relu")
    shapes = lambda module: [tuple(p.shape) for p in module.parameters() if p.ndim > 1]
    convolutions = [(32, 1, 4, 4), (32, 32, 4, 4), (32, 32, 4, 4), (32, 32, 4, 4)]
    assert shapes(encoder) == [*convolutions, (256, 512), (256, 256), (10, 256), (10, 256)]
    transposed = [(32, 32, 4, 4)] * 3 + [(32, 1, 4, 4)]
    assert shapes(decoder) == [(256, 10), (256, 256), (512, 256), *transposed]
    assert count(encoder) + count(decoder) == 502_005
    kinds = lambda module: [type(layer) for layer in module if not isinstance(layer, nn.Linear)]
    assert kinds(encoder.features).count(nn.ReLU) == 6  # after each of the six layers
    assert kinds(decoder).count(nn.ReLU) == 6  # after all but the last of seven
    for layer in [*encoder.features, *decoder]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            assert (layer.stride, layer.padding) == ((2, 2), (1, 1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 16, 32])
def test_burgess_goes_down_to_four_by_four_and_back(side: int, channels: int) -> None:
    features, decoder = burgess_features(side, channels), burgess_decoder(3, side, channels)
    assert features(torch.randn(2, channels * side**2)).shape == (2, 256)
    assert decoder(torch.randn(2, 3)).shape == (2, channels * side**2)
    deepest = [layer for layer in features if isinstance(layer, nn.Linear)][0]
    assert deepest.in_features == 32 * 4 * 4


def test_pixels_are_read_and_written_channel_by_channel_row_by_row() -> None:
    decoder = burgess_decoder(2, 16, channels=2)
    with torch.no_grad():  # only the last bias speaks: one constant plane a channel
        for p in decoder.parameters():
            p.zero_()
        list(decoder.parameters())[-1].copy_(torch.tensor([1.0, 2.0]))
    planes = decoder(torch.zeros(2)).reshape(2, 16, 16)
    assert (planes[0] == 1).all() and (planes[1] == 2).all()

    convolution = burgess_features(16, channels=2)[:2]
    x = torch.zeros(2, 16, 16)
    x[1, 4, 9] = 1.0
    response = convolution(x.flatten()) - convolution(torch.zeros(2 * 16 * 16))
    rows, columns = response.abs().sum(0).nonzero(as_tuple=True)
    # A 4 x 4 kernel with stride 2 and padding 1 sees pixel p from outputs p / 2 - 1 .. p / 2 + 1.
    assert rows.unique().tolist() == [1, 2]
    assert columns.unique().tolist() == [4, 5]


@pytest.mark.parametrize("module", [burgess_features(8), mlp(64, 7, 2, 3)], ids=["conv", "mlp"])
def test_batch_axis_makes_no_difference_to_networks(module: nn.Module) -> None:
    x = torch.randn(5, 64).to(next(module.parameters()).dtype)
    one_by_one = torch.stack([module(row) for row in x])
    torch.testing.assert_close(module(x), one_by_one)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("kind", ["linear", "mlp", "burgess"])
def test_batch_axis_makes_no_difference_to_encoders(kind: str, covariance: str) -> None:
    if kind == "linear":
        model: nn.Module = LinearEncoder(64, 3, covariance)
        nn.init.normal_(model.log_scale)
        if covariance == "full":
            nn.init.normal_(model.off_diagonal)
    else:
        features = mlp(64, 256, 1, None) if kind == "mlp" else burgess_features(8)
        model = GaussianEncoder(features, 256, 3, covariance)
    x = torch.randn(4, 64)
    posterior = model(x)
    assert isinstance(posterior, DiagonalGaussian if covariance == "diagonal" else FullGaussian)
    for row, datum in enumerate(x):
        single = model(datum)
        torch.testing.assert_close(single.mean, posterior.mean[row])
        torch.testing.assert_close(single.scale_tril, posterior.scale_tril[row])


def test_decoder_runs_under_vmap() -> None:
    decoder = burgess_decoder(3, 8)
    z = torch.randn(4, 3)
    torch.testing.assert_close(torch.func.vmap(decoder)(z), decoder(z))


def test_encoders_of_one_seed_start_from_the_same_mean_and_scale() -> None:
    diagonal, full = encoder("diagonal"), encoder("full")
    shared = dict(diagonal.named_parameters())
    held = dict(full.named_parameters())
    assert set(held) - set(shared) == {"off_diagonal.weight", "off_diagonal.bias"}
    for name, parameter in shared.items():
        assert torch.equal(parameter, held[name]), name
    assert not torch.equal(encoder("diagonal", seed=1).mean.weight, diagonal.mean.weight)


def test_heads_are_mean_log_scale_and_cholesky_factor() -> None:
    model = encoder("full")
    x = torch.randn(6)
    hidden = model.features(x)
    posterior = model(x)
    torch.testing.assert_close(posterior.mean, model.mean(hidden))
    torch.testing.assert_close(posterior.scale_tril.diag().log(), model.log_scale(hidden))
    row, column = torch.tril_indices(4, 4, -1)
    assert torch.equal(posterior.scale_tril[row, column], model.off_diagonal(hidden))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_linear_encoder_is_affine_with_one_covariance(covariance: str) -> None:
    model = LinearEncoder(6, 3, covariance)
    assert torch.equal(model(torch.zeros(6)).scale_tril, torch.eye(3))  # where it starts
    nn.init.normal_(model.log_scale)
    if covariance == "full":
        nn.init.normal_(model.off_diagonal)
    x = torch.randn(5, 6)
    posterior = model(x)
    torch.testing.assert_close(posterior.mean, x @ model.mean.weight.T + model.mean.bias)
    assert torch.equal(posterior.scale_tril, posterior.scale_tril[:1].expand(5, -1, -1))
    torch.testing.assert_close(posterior.scale_tril[0].diag(), model.log_scale.exp())
    below = posterior.scale_tril[0].tril(-1)
    assert bool(below.any()) == (covariance == "full")


@pytest.mark.parametrize("half", [False, True])
def test_a_stack_of_affine_maps_is_each_of_them(half: bool) -> None:
    """Values and all gradients; and in bfloat16, where another way is taken."""
    dtype = torch.float32 if half else torch.float64
    maps = [Affine(3, 4).to(dtype) for _ in range(2)]
    x = torch.randn(2, 5, 3, dtype=dtype, requires_grad=True)
    weights = torch.randn(2, 5, 4, dtype=dtype)
    params = {
        name: torch.stack([dict(m.named_parameters())[name].detach() for m in maps])
        for name in ("weight", "bias")
    }
    leaves = {name: p.requires_grad_() for name, p in params.items()}
    with torch.autocast("cpu", torch.bfloat16, half):
        stacked = functional_call(maps[0], leaves, (x,))
    assert stacked.dtype == (torch.bfloat16 if half else dtype)
    (stacked.to(dtype) * weights).sum().backward()
    close = {"rtol": 0.05, "atol": 0.05} if half else {}
    for run, alone in enumerate(maps):
        row = x.detach()[run].requires_grad_()
        (alone(row) * weights[run]).sum().backward()
        assert_close(stacked[run].to(dtype), alone(row), **close)
        assert_close(x.grad[run], row.grad, **close)
        for name, param in alone.named_parameters():
            assert_close(leaves[name].grad[run], param.grad, **close)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("silu", nn.SiLU),
        ("elu", nn.ELU),
        ("softplus", nn.Softplus),
        ("tanh", nn.Tanh),
        ("relu", nn.ReLU),
    ],
)
def test_activation_stands_after_every_hidden_layer(name: str, layer: type[nn.Module]) -> None:
    assert [type(m) for m in mlp(2, 4, 2, 3, name)] == [Affine, layer] * 2 + [Affine]
    assert [type(m) for m in mlp(2, 4, 2, None, name)] == [Affine, layer] * 2


def test_mlp_without_hidden_layers_is_affine() -> None:
    net = mlp(3, 0, 0, 2)
    x = torch.randn(3)
    torch.testing.assert_close(net(x), net[0].weight @ x + net[0].bias)
    assert len(net) == 1


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`activation` must be one of .*'silu'.*; got 'gelu'"):
        mlp(2, 3, 1, 1, "gelu")


@pytest.mark.parametrize("side", [-8, 0, 1, 2, 4, 12, 63, 65])
def test_other_sides_are_refused(side: int) -> None:
    message = rf"`side` must be a power of two, 8 or more; got {side}\. Resize the images\."
    with pytest.raises(ValueError, match=message):
        burgess_features(side)
    with pytest.raises(ValueError, match=message):
        burgess_decoder(2, side)


def test_other_covariances_are_refused(plain: Any) -> None:
    bare = plain(networks)
    message = r"`covariance` must be 'diagonal' or 'full'; got 'banded'\."
    with pytest.raises(ValueError, match=message):
        bare.LinearEncoder(2, 2, "banded")
    with pytest.raises(ValueError, match=message):
        bare.GaussianEncoder(bare.mlp(2, 3, 1, None), 3, 2, "banded")


@pytest.mark.parametrize("layer", [HalvingConv, DoublingConv])
@pytest.mark.parametrize("shape", [(3, 5, 8, 16), (5, 8, 8), (2, 3, 5, 4, 8)])
def test_convolution_as_product_is_the_convolution(layer: type, shape: tuple[int, ...]) -> None:
    convolution = layer(5, 7)
    x = torch.randn(shape)
    flat = x.flatten(0, -4) if len(shape) > 3 else x
    reference = convolution(flat)
    convolution.as_product = True
    assert_close(
        convolution(x), reference.unflatten(0, shape[:-3]) if len(shape) > 4 else reference
    )


def test_one_channel_is_taken_as_channels_last() -> None:
    """Else torch converts what follows to and fro, which costs as much as the convolution."""
    convolution = HalvingConv(1, 7).to(memory_format=torch.channels_last)
    x = torch.randn(4, 64).unflatten(1, (1, 8, 8))
    found = convolution(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert_close(found, conv2d(x, convolution.weight, convolution.bias, stride=2, padding=1))
    assert_close(found[0], convolution(x[0]))


@pytest.mark.parametrize("layer", [HalvingConv, DoublingConv])
def test_gradients_of_convolution_as_product(layer: type) -> None:
    convolution, x = layer(2, 3), torch.randn(4, 2, 8, 8, requires_grad=True)
    gradients = []
    for as_product in (False, True):
        convolution.as_product = as_product
        out = convolution(x).sin().sum()
        gradients.append(torch.autograd.grad(out, [x, *convolution.parameters()]))
    for direct, product in zip(*gradients, strict=True):
        assert_close(product, direct)
