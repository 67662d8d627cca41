"""Posteriors of a sample of the data, with their rate and distortion, of one model or of many."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seams.data import Data
from seams.training.stack import Models
from seams.vae import VAE

__all__ = ["IMAGES", "Encoded", "budget", "encode", "encode_models", "sizes"]

IMAGES = 10_000  # for information, rate and distortion, as in Locatello et al. 2019
_BATCH = 512  # images encoded at a time: more is no faster on a CPU, and takes memory
_CPU_BYTES = 2.0**27  # of intermediate values at a time: more leaves the caches
_GPU_SHARE = 0.25  # of its free memory, for the same


@dataclass(frozen=True)
class Encoded:
    """Posteriors of a sample of the data."""

    indices: Tensor  # which data `[n]`
    means: Tensor  # posterior means `[n, latent]`
    scales: Tensor  # marginal posterior standard deviations `[n, latent]`
    latents: Tensor  # one draw of each posterior `[n, latent]`
    kl: Tensor  # mean KL of each latent's marginal to the prior, nats `[latent]`
    rate: Tensor  # mean KL to the prior, nats; the sum of `kl` only if posteriors are diagonal
    distortion: Tensor  # mean squared error of the decoded draw, summed over a datum

    @property
    def is_points(self) -> bool:
        """Whether they are an autoencoder's codes: a posterior's scale is never exactly 0."""
        return not bool(self.scales.any())


def encode(vae: VAE, data: Data, images: int = IMAGES, seed: int = 0) -> Encoded:
    """Encode distinct data, drawn without replacement, and decode one draw of each."""
    return encode_models(Models.of(vae), data, images, seed)[0]


def encode_models(models: Models, data: Data, images: int, seed: int = 0) -> list[Encoded]:
    """The same for many models, with the same data and noise for each."""
    generator = torch.Generator().manual_seed(seed)  # of the CPU, whatever the device
    indices = torch.randperm(len(data), generator=generator)[:images].to(models.device)
    parts: list[tuple[Tensor, ...]] = []
    together, latent = 0, 0
    for some in indices.split(_BATCH):
        x = data.batch(some).to(models.dtype)
        if not parts:
            latent, values = sizes(models, x[:1])
            together = int(budget(models.device) / (values * x.element_size() * len(x)))
        noise = torch.randn(len(x), latent, generator=generator, dtype=torch.float64)
        noise = noise.to(x)
        columns = zip(
            *(group.map(_encode_batch, shared=(x, noise)) for group in models.groups(together)),
            strict=True,
        )
        parts.append(tuple(torch.cat(column) for column in columns))
    means, scales, latents, kl, rate, error = (
        torch.cat(column, 1).double() for column in zip(*parts, strict=True)
    )
    each = zip(means, scales, latents, kl.mean(1), rate.mean(1), error.mean(1), strict=True)
    return [Encoded(indices, *one) for one in each]


def _encode_batch(vae: VAE, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    posterior = vae.encoder(x)
    z = posterior.reparameterise(noise)
    error = (x - vae.decoder(z)).square().sum(-1)
    scales, kl = posterior.marginal_stddev, posterior.kl_per_latent()
    return posterior.mean, scales, z, kl, posterior.kl_to_prior(), error


def sizes(models: Models, x: Tensor) -> tuple[int, int]:
    """Number of latents, and how many values a model computes for one datum `x` `[1, data]`."""
    one = next(models.groups(1))
    count = 0

    def add(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        nonlocal count
        count += output.numel() if isinstance(output, Tensor) else 0

    hooks = [part.register_forward_hook(add) for part in one.template.modules()]
    try:
        (means,) = one.map(lambda vae, x: (vae.encoder(x).mean,), shared=(x,))
        one.map(lambda vae, z: vae.decoder(z), means)
    finally:
        for hook in hooks:
            hook.remove()
    return means.shape[-1], max(count, x.shape[-1])


def budget(device: torch.device) -> float:
    """Bytes that intermediate values may take."""
    if device.type == "cpu":
        return _CPU_BYTES
    return _GPU_SHARE * torch.cuda.mem_get_info(device)[0]
