from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import conv2d
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from seams import networks
from seams.distributions import DiagonalGaussian, FullGaussian, Point
from seams.networks import (
    Affine,
    DoublingConv,
    GaussianEncoder,
    HalvingConv,
    LinearEncoder,
    burgess_decoder,
    burgess_features,
    compute_by,
    layers,
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


@pytest.mark.parametrize("covariance", [*COVARIANCES, "none"])
@pytest.mark.parametrize("kind", ["linear", "mlp", "burgess"])
def test_batch_axis_makes_no_difference_to_encoders(kind: str, covariance: str) -> None:
    if kind == "linear":
        model: nn.Module = LinearEncoder(64, 3, covariance)
        for head in (model.log_scale, model.off_diagonal):
            if head is not None:
                nn.init.normal_(head)
    else:
        features = mlp(64, 256, 1, None) if kind == "mlp" else burgess_features(8)
        model = GaussianEncoder(features, 256, 3, covariance)
    x = torch.randn(4, 64)
    posterior = model(x)
    kinds = {"diagonal": DiagonalGaussian, "full": FullGaussian, "none": Point}
    assert type(posterior) is kinds[covariance]
    for row, datum in enumerate(x):
        single = model(datum)
        torch.testing.assert_close(single.mean, posterior.mean[row])
        if covariance != "none":
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


def stacked(modules: list[nn.Module]) -> dict[str, torch.Tensor]:
    """Parameters of modules of one shape, by name, as leaves with a run axis."""
    named = [dict(m.named_parameters()) for m in modules]
    return {k: torch.stack([p[k].detach() for p in named]).requires_grad_() for k in named[0]}


@pytest.mark.parametrize("half", [False, True])
def test_a_stack_of_affine_maps_is_each_of_them(half: bool) -> None:
    """Values and all gradients; and with weights in bfloat16, which decide the precision."""
    dtype = torch.float32 if half else torch.float64
    maps = [Affine(3, 4).to(dtype) for _ in range(2)]
    x = torch.randn(2, 5, 3, dtype=dtype, requires_grad=True)
    weights = torch.randn(2, 5, 4, dtype=dtype)
    leaves = stacked(maps)
    used = {k: p.bfloat16() for k, p in leaves.items()} if half else leaves
    found = functional_call(maps[0], used, (x,))
    assert found.dtype == (torch.bfloat16 if half else dtype)
    (found.to(dtype) * weights).sum().backward()
    close = {"rtol": 0.05, "atol": 0.05} if half else {}
    for run, alone in enumerate(maps):
        row = x.detach()[run].requires_grad_()
        (alone(row) * weights[run]).sum().backward()
        assert_close(found[run].to(dtype), alone(row), **close)
        assert_close(x.grad[run], row.grad, **close)
        for name, param in alone.named_parameters():
            assert_close(leaves[name].grad[run], param.grad, **close)


def test_unlike_precisions_other_than_bfloat16_are_refused() -> None:
    """Else a model in float32 would take data in float64 and no one would notice what was lost."""
    for layer, x in (
        (Affine(2, 2), torch.ones(1, 2)),
        (HalvingConv(1, 2), torch.ones(1, 1, 4, 4)),
    ):
        with pytest.raises(RuntimeError, match="dtype|type"):
            layer.float()(x.double())


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
    message = r"`covariance` must be one of \('diagonal', 'full', 'none'\); got 'banded'\."
    with pytest.raises(ValueError, match=message):
        bare.LinearEncoder(2, 2, "banded")
    with pytest.raises(ValueError, match=message):
        bare.GaussianEncoder(bare.mlp(2, 3, 1, None), 3, 2, "banded")


# --- forms of convolutions ---------------------------------------------------------------------

PRODUCTS = [("product", 1), ("product", 4), ("patches", 1), ("taps", 3)]


@pytest.mark.parametrize("layer", [HalvingConv, DoublingConv])
@pytest.mark.parametrize("shape", [(3, 5, 8, 16), (5, 8, 8), (2, 3, 5, 4, 8)])
@pytest.mark.parametrize(("form", "parts"), PRODUCTS)
def test_convolution_as_product_is_the_convolution(
    layer: type, shape: tuple[int, ...], form: str, parts: int
) -> None:
    """With any number of batch axes, none too."""
    convolution = layer(5, 7)
    x = torch.randn(shape)
    reference = convolution(x.flatten(0, -4) if len(shape) > 3 else x)
    compute_by(convolution, form, parts)
    expected = reference.unflatten(0, shape[:-3]) if len(shape) > 4 else reference
    assert_close(convolution(x), expected)


@pytest.mark.parametrize("runs", [1, 2, 5])
@pytest.mark.parametrize("channels", [(1, 8), (3, 8), (8, 8), (8, 3), (8, 1)], ids=str)
@pytest.mark.parametrize("layer", [HalvingConv, DoublingConv])
def test_a_stack_of_convolutions_is_each_of_them(
    layer: type, channels: tuple[int, int], runs: int
) -> None:
    """In every form: values, and gradients of inputs and parameters."""
    alone = [layer(*channels) for _ in range(runs)]
    for sides in ((2, 2), (8, 4)):
        x = torch.randn(runs, 6, channels[0], *sides)
        expected = []
        for run, convolution in enumerate(alone):
            row = x[run].requires_grad_()
            out = convolution(row)
            inputs = [row, *convolution.parameters()]
            expected.append([out, *torch.autograd.grad(out.sin().sum(), inputs)])
        for form, parts in [("convolution", 1), *PRODUCTS]:
            together, leaves = layer(*channels), stacked(alone)
            compute_by(together, form, parts)
            images = x.clone().requires_grad_()
            out = functional_call(together, leaves, (images,))
            found = [out, *torch.autograd.grad(out.sin().sum(), [images, *leaves.values()])]
            for value, of_each in zip(found, zip(*expected, strict=True), strict=True):
                assert_close(value, torch.stack(of_each))


@pytest.mark.parametrize(
    ("layer", "channels", "expected"),
    [
        (HalvingConv, (1, 32), "patches"),
        (HalvingConv, (3, 32), "patches"),
        (HalvingConv, (32, 32), "taps"),
        (DoublingConv, (32, 32), "patches"),
        (DoublingConv, (32, 3), "taps"),
        (DoublingConv, (32, 1), "taps"),
    ],
)
def test_products_hold_the_less_in_between(
    layer: type, channels: tuple[int, int], expected: str
) -> None:
    """Counted: the most elements that any operation leaves behind."""

    class Largest(TorchDispatchMode):
        most = 0

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ):
            found = function(*args, **kwargs or {})
            if isinstance(found, torch.Tensor):
                self.most = max(self.most, found.numel())
            return found

    held = {}
    x = torch.randn(2, channels[0], 16, 16)
    for form in ("product", "patches", "taps"):
        convolution = layer(*channels).requires_grad_(False)
        compute_by(convolution, form)
        with Largest() as count:
            convolution(x)
        held[form] = count.most
    other = {"patches": "taps", "taps": "patches"}[expected]
    assert held["product"] == held[expected] < held[other]


def test_only_layers_to_images_take_their_own_form() -> None:
    decoder, features = burgess_decoder(3, 16), burgess_features(16)
    for net in (decoder, features):
        compute_by(net, "patches", to_images="taps")
    forms = lambda net: [m.form for m in net if isinstance(m, HalvingConv | DoublingConv)]
    assert forms(decoder) == ["patches", "taps"]
    assert forms(features) == ["patches", "patches"]


def test_other_forms_are_refused(plain: Any) -> None:
    message = r"`form` must be one of \('convolution', 'product', 'patches', 'taps'\); got 'fft'\."
    with pytest.raises(ValueError, match=message):
        plain(layers).compute_by(nn.Identity(), "fft")


def test_one_channel_is_taken_as_channels_last() -> None:
    """Else torch converts what follows to and fro, which costs as much as the convolution."""
    convolution = HalvingConv(1, 7).to(memory_format=torch.channels_last)
    x = torch.randn(4, 64).unflatten(1, (1, 8, 8))
    found = convolution(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert_close(found, conv2d(x, convolution.weight, convolution.bias, stride=2, padding=1))
    assert_close(found[0], convolution(x[0]))
