"""Where a run begins: a model with the initial weights that its seed gives."""

import hashlib
import math

import torch
from torch import Tensor, nn

from seams.data import Data
from seams.networks import (
    GaussianEncoder,
    Heads,
    LinearEncoder,
    burgess_decoder,
    burgess_features,
    mlp,
    set_covariance,
)
from seams.training.config import TrainConfig
from seams.vae import VAE

__all__ = ["build", "mean_of", "seed_of"]

_MOST, _AT_ONCE = 65_536, 4096  # data of which the mean is taken


def build(config: TrainConfig, data: int, mean: Tensor | None = None) -> VAE:
    """The model that the run's seed gives, on the CPU, float32; `mean` of the data `[data]`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed, "weights"))
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            vae = _untrained(config, data)
        finally:
            torch.set_default_dtype(default)
    if mean is not None:
        _start_at_mean(vae, mean)
    return vae


def seed_of(seed: int, *what: object) -> int:
    """63 bits that depend on the run's seed and on the purpose, unrelated for different ones."""
    text = "/".join(str(part) for part in (seed, *what))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def mean_of(data: Data) -> Tensor:
    """Mean of at most 65,536 data, evenly spaced; float64."""
    indices = torch.arange(0, len(data), math.ceil(len(data) / _MOST))
    total = sum(data.batch(part).double().sum(0) for part in indices.split(_AT_ONCE))
    assert isinstance(total, Tensor)
    return total / len(indices)


def _untrained(config: TrainConfig, data: int) -> VAE:
    """Decoder first, so that it starts the same whatever heads the encoder's covariance needs."""
    encoder: GaussianEncoder | LinearEncoder
    kinds = config.covariance, config.covariance_start
    heads: Heads = "full" if "full" in kinds else config.covariance
    if config.network == "linear":
        network = mlp(config.latent, 0, 0, data)
        encoder = LinearEncoder(data, config.latent, heads)
    elif config.network == "mlp":
        network = mlp(config.latent, config.width, config.depth, data, config.activation)
        features = mlp(data, config.width, config.depth, None, config.activation)
        size = config.width if config.depth else data
        encoder = GaussianEncoder(features, size, config.latent, heads)
    else:
        channels = data // config.resolution**2
        if channels * config.resolution**2 != data:
            raise ValueError(
                f"'burgess' needs square images of side {config.resolution}; got {data} values."
            )
        network = burgess_decoder(config.latent, config.resolution, channels, config.activation)
        features = burgess_features(config.resolution, channels, config.activation)
        encoder = GaussianEncoder(features, 256, config.latent, heads)
    encoder.relative = config.off_diagonal == "relative"
    set_covariance(encoder, config.covariance)
    if config.covariance_start == "diagonal" and isinstance(encoder.off_diagonal, nn.Module):
        for parameter in encoder.off_diagonal.parameters():
            nn.init.zeros_(parameter)  # the change to a full posterior then starts at this one
    return VAE(encoder, network, config.sigma, config.likelihood)


def _start_at_mean(vae: VAE, mean: Tensor) -> None:
    """Set the decoder's last bias to the data's mean (a Bernoulli's logit), against collapse."""
    *_, bias = (p for name, p in vae.network.named_parameters() if name.endswith("bias"))
    mean = mean.float().unflatten(0, (bias.numel(), -1)).mean(1)  # a convolution: one a channel
    if vae.likelihood == "bernoulli":
        mean = mean.clamp(1e-3, 1 - 1e-3).logit()  # finite where a pixel is always off
    with torch.no_grad():
        bias.copy_(mean)
