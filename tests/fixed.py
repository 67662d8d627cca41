"""VAEs in closed form: any decoder, and posteriors that are given instead of encoded."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seams.distributions import DiagonalGaussian
from seams.vae import VAE


class Given(nn.Module):
    """The same posteriors whatever the data are."""

    def __init__(self, mean: Tensor, scale: float) -> None:
        super().__init__()
        self.mean, self.scale = mean, scale

    def forward(self, x: Tensor) -> DiagonalGaussian:
        mean = self.mean[: len(x)]
        return DiagonalGaussian(mean, torch.full_like(mean, self.scale))


class Rows(nn.Module):
    """A function of one latent, for any number of them."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: Tensor) -> Tensor:
        return self.function(z) if z.ndim == 1 else torch.vmap(self)(z)


def vae(decoder: Callable[[Tensor], Tensor], mean: Tensor, scale: float = 0.1) -> VAE:
    return VAE(Given(mean, scale), Rows(decoder)).eval()
