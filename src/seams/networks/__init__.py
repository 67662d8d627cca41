"""Encoders and decoders: linear, fully connected, and the convolutional net of Burgess 2018.

Every network maps one flat vector to one flat vector and reshapes from the last axis, so it runs
with or without a batch axis; derivatives and `torch.func.vmap` rely on that. Activations are
smooth by default: a piecewise linear decoder has no Hessian, and Eq. 6 would not close.
"""

from typing import Literal, get_args

from torch import Tensor, nn

from seams.distributions import DiagonalGaussian, FullGaussian, Point
from seams.networks.layers import Affine, DoublingConv, Form, HalvingConv, compute_by
from seams.shapes import Float

__all__ = [
    "Activation",
    "Affine",
    "Covariance",
    "DoublingConv",
    "Form",
    "GaussianEncoder",
    "HalvingConv",
    "Heads",
    "LinearEncoder",
    "OffDiagonal",
    "burgess_decoder",
    "burgess_features",
    "compute_by",
    "mlp",
    "set_covariance",
]

Covariance = Literal["diagonal", "full"]
Heads = Literal["diagonal", "full", "none"]  # "none" is an autoencoder's
OffDiagonal = Literal["absolute", "relative"]
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
    """`depth` hidden layers of `width` units; `outputs` None ends after the last activation."""
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

    `side`, of the image in pixels, is a power of two, 8 or more; at 64 the four convolutions of 32
    channels are those of the reference, which has ReLU.

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
    """Mirror of `burgess_features`, to `[..., channels * side * side]`, last layer affine."""
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


class _Encoder(nn.Module):
    """Heads of a posterior become one. What has off-diagonal ones may be diagonal by `marginal`.

    If these are zero then, their gradients are too, and they stay so: a posterior that becomes
    full goes on from what it was.
    """

    relative = False  # see `FullGaussian.from_parameters`
    marginal = False  # whether only the marginals of a full posterior count

    def posterior(
        self, mean: Tensor, log_scale: Tensor | None, off_diagonal: Tensor | None
    ) -> DiagonalGaussian | FullGaussian | Point:
        """From the heads' outputs."""
        if log_scale is None:
            return Point(mean)
        if off_diagonal is None:
            return DiagonalGaussian.from_parameters(mean, log_scale)
        full = FullGaussian.from_parameters(mean, log_scale, off_diagonal, self.relative)
        return full.marginals() if self.marginal else full


class GaussianEncoder(_Encoder):
    r"""Amortised posterior $q(z|x) = \mathcal N(z; e(x), \Sigma_x)$ over features `[..., width]`.

    The heads are made in the order mean, log scale, off-diagonal, so that under one seed a
    diagonal and a full encoder start from the same mean and scale: runs can be compared in pairs.
    """

    def __init__(self, features: nn.Module, width: int, latent: int, covariance: Heads) -> None:
        super().__init__()
        _check_heads(covariance)
        self.features = features
        self.mean = Affine(width, latent)
        self.log_scale = None if covariance == "none" else Affine(width, latent)
        self.off_diagonal = (
            Affine(width, latent * (latent - 1) // 2) if covariance == "full" else None
        )

    def forward(self, x: Float[Tensor, "*batch data"]) -> DiagonalGaussian | FullGaussian | Point:
        """Posterior of each row of `x`, over `[*batch, latent]`; a point without a covariance."""
        hidden = self.features(x)
        scale = None if self.log_scale is None else self.log_scale(hidden)
        off = None if self.off_diagonal is None else self.off_diagonal(hidden)
        return self.posterior(self.mean(hidden), scale, off)


class LinearEncoder(_Encoder):
    r"""$\mathcal N(z; E x, \Sigma)$ of the linear VAE, one $\Sigma$ for all x (Section 2)."""

    def __init__(self, data: int, latent: int, covariance: Heads) -> None:
        super().__init__()
        _check_heads(covariance)
        self.mean = Affine(data, latent)
        self.log_scale = (
            None if covariance == "none" else nn.Parameter(self.mean.weight.new_zeros(latent))
        )
        self.off_diagonal = (
            nn.Parameter(self.mean.weight.new_zeros(latent * (latent - 1) // 2))
            if covariance == "full"
            else None
        )

    def forward(self, x: Float[Tensor, "*batch data"]) -> DiagonalGaussian | FullGaussian | Point:
        """Posterior of each row of `x`, over `[*batch, latent]`; a point without a covariance."""
        mean = self.mean(x)
        if self.log_scale is None:
            return self.posterior(mean, None, None)
        # In a stack these have a run axis, and are one for the whole batch of a run.
        shared = lambda parameter: parameter if parameter.dim() == 1 else parameter[:, None]
        log_scale = shared(self.log_scale).expand(mean.shape)
        if self.off_diagonal is None:
            return self.posterior(mean, log_scale, None)
        return self.posterior(
            mean, log_scale, shared(self.off_diagonal).expand(*mean.shape[:-1], -1)
        )


def set_covariance(module: nn.Module, covariance: Heads) -> None:
    """Choose, in place, the posteriors of encoders that have the heads for a full covariance."""
    for part in module.modules():
        if isinstance(part, _Encoder):
            part.marginal = covariance == "diagonal"


def _check_heads(covariance: str) -> None:
    if covariance not in get_args(Heads):
        raise ValueError(f"`covariance` must be one of {get_args(Heads)}; got {covariance!r}.")
