r"""Encoders and decoders: linear, fully connected, and the convolutional net of Burgess 2018.

Every network maps one flat vector to one flat vector and reshapes from the last axis, so it runs
with or without a batch axis; derivatives and `torch.func.vmap` rely on that. Activations are
smooth by default: a piecewise linear decoder has no Hessian, and Eq. 6 would not close (see
`seams.derivatives`).
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from seams.distributions import DiagonalGaussian, FullGaussian
from seams.shapes import Float

__all__ = [
    "Activation",
    "Affine",
    "Covariance",
    "DoublingConv",
    "GaussianEncoder",
    "HalvingConv",
    "LinearEncoder",
    "burgess_decoder",
    "burgess_features",
    "by_products",
    "has_convolutions",
    "mlp",
]

Covariance = Literal["diagonal", "full"]
Activation = Literal["silu", "elu", "softplus", "tanh", "relu"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}

_CHANNELS = 32  # of every convolution in Burgess et al. 2018
_UNITS = 256  # of both fully connected layers there


def _activation(name: str) -> nn.Module:
    if name not in _ACTIVATIONS:
        raise ValueError(f"`activation` must be one of {get_args(Activation)}; got {name!r}.")
    return _ACTIVATIONS[name]()


def mlp(
    inputs: int, width: int, depth: int, outputs: int | None, activation: str = "silu"
) -> nn.Sequential:
    """Fully connected net, `depth` hidden layers of `width` units.

    Args:
        inputs: Size of the last axis of the input.
        width: Units of each hidden layer.
        depth: Number of hidden layers; 0 with `outputs` given is one affine map.
        outputs: Size of the linear last layer, or None to end after the last activation.
        activation: Between the layers.

    Returns:
        A module from `[..., inputs]` to `[..., outputs]` (or `[..., width]`).
    """
    layers: list[nn.Module] = []
    size = inputs
    for _ in range(depth):
        layers += [Affine(size, width), _activation(activation)]
        size = width
    if outputs is not None:
        layers.append(Affine(size, outputs))
    return nn.Sequential(*layers)


def burgess_features(side: int, channels: int = 1, activation: str = "silu") -> nn.Sequential:
    """Convolutional features: 4 x 4 kernels with stride 2 down to 4 x 4, then two dense layers.

    Args:
        side: Height and width of the image in pixels; a power of two, 8 or more. At 64 the four
            convolutions of 32 channels are those of the reference.
        channels: Colour channels of the image.
        activation: After every layer; the reference has ReLU.

    Returns:
        A module from `[..., channels * side * side]` to `[..., 256]`.

    Source: Burgess et al. 2018, Appendix; the paper's Section 7 and Appendix F.
    """
    layers: list[nn.Module] = [nn.Unflatten(-1, (channels, side, side))]
    size = channels
    for _ in range(_halvings(side)):
        layers += [HalvingConv(size, _CHANNELS), _activation(activation)]
        size = _CHANNELS
    layers += [
        nn.Flatten(-3),
        Affine(_CHANNELS * 16, _UNITS),
        _activation(activation),
        Affine(_UNITS, _UNITS),
        _activation(activation),
    ]
    return nn.Sequential(*layers)


def burgess_decoder(
    latent: int, side: int, channels: int = 1, activation: str = "silu"
) -> nn.Sequential:
    """Mirror image of `burgess_features`, with a linear last layer.

    Args:
        latent: Latents d.
        side: Height and width of the image in pixels; a power of two, 8 or more.
        channels: Colour channels of the image.
        activation: After every layer but the last.

    Returns:
        A module from `[..., latent]` to `[..., channels * side * side]`.

    Source: Burgess et al. 2018, Appendix.
    """
    layers: list[nn.Module] = [
        Affine(latent, _UNITS),
        _activation(activation),
        Affine(_UNITS, _UNITS),
        _activation(activation),
        Affine(_UNITS, _CHANNELS * 16),
        _activation(activation),
        nn.Unflatten(-1, (_CHANNELS, 4, 4)),
    ]
    halvings = _halvings(side)
    for layer in range(halvings):
        last = layer == halvings - 1
        layers.append(DoublingConv(_CHANNELS, channels if last else _CHANNELS))
        if not last:
            layers.append(_activation(activation))
    layers.append(nn.Flatten(-3))
    return nn.Sequential(*layers)


def _halvings(side: int) -> int:
    """How many stride-2 layers lie between an image of `side` pixels and 4 x 4."""
    halvings = side.bit_length() - 3
    if halvings < 1 or side != 4 << halvings:
        raise ValueError(
            f"`side` must be a power of two, 8 or more; got {side}. Resize the images."
        )
    return halvings


class Affine(nn.Linear):
    """Affine map; of a stack of models too, whose parameters have a leading run axis.

    Then the input has it too, `[run, batch, inputs]`, and the stack is one batched product.
    """

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Outputs of each row.

        Args:
            x: Inputs.

        Returns:
            As `torch.nn.Linear`.
        """
        if self.weight.dim() == 2:
            return super().forward(x)
        if torch.is_autocast_enabled(x.device.type):  # which does not reach into our gradients
            return torch.baddbmm(self.bias[:, None], x, self.weight.mT)
        return _StackedAffine.apply(x, self.weight, self.bias)


class _StackedAffine(torch.autograd.Function):
    """Batched `x @ W.T + b` whose gradients come as they are laid out in memory, uncopied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias[:, None], x, weight.mT)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        before = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        return before, torch.bmm(grad.mT, x), grad.sum(1)


class HalvingConv(nn.Conv2d):
    """Convolution with 4 x 4 kernels, stride 2 and padding 1: half the height and width.

    With `as_product` it is one matrix product over patches, in plain tensor operations: under
    `torch.func.vmap` a stack of models then becomes one batched product, where a convolution would
    become a grouped one, which GPUs run slowly.

    Args:
        inputs: Channels before.
        outputs: Channels after.
    """

    as_product = False

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "*batch c2 h2 w2"]:
        """Images of half the height and width.

        Args:
            x: Images; height and width even.

        Returns:
            The same in either way of computing, to rounding.
        """
        if not self.as_product:
            if self.in_channels == 1:  # either layout fits one channel: say that it is the last
                x = x.flatten(-3).unflatten(-1, (*x.shape[-2:], 1)).movedim(-1, -3)
            return super().forward(x)
        assert self.bias is not None
        # The image as cells of 2 x 2 pixels, offset by one: a kernel covers 2 x 2 such cells.
        cells = pad(x, (1, 1, 1, 1)).movedim(-3, -1).unflatten(-3, (-1, 2)).unflatten(-2, (-1, 2))
        cells = cells.movedim(-4, -3).flatten(-3)
        near, far = cells[..., :-1, :, :], cells[..., 1:, :, :]
        patches = torch.cat([part for row in (near, far) for part in _left_right(row)], -1)
        return (patches @ _by_cell(self.weight).flatten(0, 4) + self.bias).movedim(-1, -3)


class DoublingConv(nn.ConvTranspose2d):
    """Transposed convolution with 4 x 4 kernels, stride 2, padding 1: twice the height and width.

    The adjoint of `HalvingConv`, likewise with `as_product`.

    Args:
        inputs: Channels before.
        outputs: Channels after.
    """

    as_product = False

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1)

    def forward(
        self, x: Float[Tensor, "*batch c h w"], output_size: list[int] | None = None
    ) -> Float[Tensor, "*batch c2 h2 w2"]:
        """Images of twice the height and width.

        Args:
            x: Images.
            output_size: Unused; the size is twice that of `x`.

        Returns:
            The same in either way of computing, to rounding.
        """
        if not self.as_product:
            return super().forward(x)
        assert self.bias is not None
        kernel = _by_cell(self.weight.transpose(0, 1)).movedim(-2, 0).flatten(1)
        cells = (x.movedim(-3, -1) @ kernel).unflatten(-1, (4, -1))
        # Every pixel before gives 2 x 2 cells after; neighbours overlap and are added up.
        corners = ((0, 1, 0, 1), (1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 1, 0))
        added = sum(
            pad(cells[..., corner, :], (0, 0, *room)) for corner, room in enumerate(corners)
        )
        assert isinstance(added, Tensor)
        image = added.unflatten(-1, (2, 2, -1)).movedim(-3, -4).flatten(-3, -2).flatten(-4, -3)
        return image[..., 1:-1, 1:-1, :].movedim(-1, -3) + self.bias[:, None, None]


def by_products(module: nn.Module, wanted: bool, to_images: bool | None = None) -> None:
    """Choose how the convolutions in a module compute; see `HalvingConv`.

    Args:
        module: Changed in place.
        wanted: Whether as matrix products.
        to_images: The same for layers that reduce the number of channels; default `wanted`.
    """
    to_images = wanted if to_images is None else to_images
    for part in module.modules():
        if isinstance(part, HalvingConv | DoublingConv):
            part.as_product = to_images if part.out_channels < part.in_channels else wanted


def has_convolutions(module: nn.Module) -> bool:
    """Whether a stack of such modules has to be mapped over by `torch.func.vmap`.

    Args:
        module: A network or a model.

    Returns:
        False if all its layers take parameters with a leading run axis.
    """
    return any(isinstance(part, HalvingConv | DoublingConv) for part in module.modules())


def _left_right(row: Tensor) -> tuple[Tensor, Tensor]:
    """Cells `[..., h, w, c]` without the last and without the first column."""
    return row[..., :-1, :], row[..., 1:, :]


def _by_cell(weight: Tensor) -> Tensor:
    """Kernel `[outputs, inputs, 4, 4]` as `[Y, X, y, x, inputs, outputs]`: cell, pixel in it."""
    return weight.permute(2, 3, 1, 0).unflatten(1, (2, 2)).unflatten(0, (2, 2)).movedim(2, 1)


class GaussianEncoder(nn.Module):
    r"""Amortised posterior $q(z|x) = \mathcal N(z; e(x), \Sigma_x)$.

    The heads are made in the order mean, log scale, off-diagonal, so that under one seed a
    diagonal and a full encoder start from the same mean and scale: runs can be compared in pairs.

    Args:
        features: Any module to `[..., width]`.
        width: Size of the features.
        latent: Latents d.
        covariance: Of the posterior: "diagonal", or "full" by its Cholesky factor.
    """

    def __init__(
        self, features: nn.Module, width: int, latent: int, covariance: Covariance
    ) -> None:
        super().__init__()
        _check_covariance(covariance)
        self.features = features
        self.mean = Affine(width, latent)
        self.log_scale = Affine(width, latent)
        self.off_diagonal = (
            Affine(width, latent * (latent - 1) // 2) if covariance == "full" else None
        )

    def forward(self, x: Float[Tensor, "*batch data"]) -> DiagonalGaussian | FullGaussian:
        """Posterior of each row of `x`.

        Args:
            x: Data, in its own unit.

        Returns:
            A distribution over `[*batch, latent]`.
        """
        hidden = self.features(x)
        mean, log_scale = self.mean(hidden), self.log_scale(hidden)
        if self.off_diagonal is None:
            return DiagonalGaussian.from_parameters(mean, log_scale)
        return FullGaussian.from_parameters(mean, log_scale, self.off_diagonal(hidden))


class LinearEncoder(nn.Module):
    r"""Posterior of the linear VAE, $q(z|x) = \mathcal N(z; E x, \Sigma)$, one $\Sigma$ for all x.

    Args:
        data: Size m of one datum.
        latent: Latents d.
        covariance: Of the posterior.

    Source: Section 2, Linear VAE.
    """

    def __init__(self, data: int, latent: int, covariance: Covariance) -> None:
        super().__init__()
        _check_covariance(covariance)
        self.mean = Affine(data, latent)
        self.log_scale = nn.Parameter(self.mean.weight.new_zeros(latent))
        self.off_diagonal = (
            nn.Parameter(self.mean.weight.new_zeros(latent * (latent - 1) // 2))
            if covariance == "full"
            else None
        )

    def forward(self, x: Float[Tensor, "*batch data"]) -> DiagonalGaussian | FullGaussian:
        """Posterior of each row of `x`.

        Args:
            x: Data, in its own unit.

        Returns:
            A distribution over `[*batch, latent]`.
        """
        mean = self.mean(x)
        # In a stack these have a run axis, and are one for the whole batch of a run.
        shared = lambda parameter: parameter if parameter.dim() == 1 else parameter[:, None]
        log_scale = shared(self.log_scale).expand(mean.shape)
        if self.off_diagonal is None:
            return DiagonalGaussian.from_parameters(mean, log_scale)
        off_diagonal = shared(self.off_diagonal).expand(*mean.shape[:-1], -1)
        return FullGaussian.from_parameters(mean, log_scale, off_diagonal)


def _check_covariance(covariance: str) -> None:
    if covariance not in get_args(Covariance):
        raise ValueError(f"`covariance` must be 'diagonal' or 'full'; got {covariance!r}.")
