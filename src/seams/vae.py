r"""A variational autoencoder and its objective (Eq. 1): a datum's distortion + beta * rate.

That is the negative log-likelihood, summed over pixels, and the KL of the posterior to the prior,
in nats. For a Gaussian likelihood the distortion is $\|x - d(z)\|^2 / 2\sigma^2$, so only
$\beta\sigma^2$ decides the optimum (Appendix B); the constant $\tfrac m2 \log 2\pi\sigma^2$ is
left out.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from seams.shapes import Float

__all__ = ["VAE", "Likelihood", "negative_elbo"]

Likelihood = Literal["gaussian", "bernoulli"]


class VAE(nn.Module):
    """Encoder, decoder and likelihood as one module (Section 2; Appendix B if not Gaussian).

    `encoder` goes from x to a posterior with `reparameterise(noise)` and `kl_to_prior()`;
    `network` from z to the mean for a Gaussian likelihood, to logits for a Bernoulli one; `sigma`
    is the standard deviation of x given z, in the unit of x, unused by "bernoulli".
    """

    def __init__(
        self,
        encoder: nn.Module,
        network: nn.Module,
        sigma: float = 1.0,
        likelihood: Likelihood = "gaussian",
    ) -> None:
        super().__init__()
        if likelihood not in get_args(Likelihood):
            raise ValueError(
                f"`likelihood` must be 'gaussian' or 'bernoulli'; got {likelihood!r}."
            )
        if not sigma > 0:
            raise ValueError(f"`sigma` must be positive; got {sigma}.")
        self.encoder = encoder
        self.network = network
        self.sigma = sigma
        self.likelihood = likelihood

    def decoder(self, z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch data"]:
        """Mean of p(x given z) in the unit of x, never a sample."""
        output = self.network(z)
        return torch.sigmoid(output) if self.likelihood == "bernoulli" else output

    def forward(
        self, x: Float[Tensor, "*batch data"], noise: Float[Tensor, "*batch latent"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        r"""Distortion, less its constant, and rate in nats a datum, at $z = \mu + L\,$`noise`."""
        posterior = self.encoder(x)
        # Sums over pixels are not for the precision of a network in bfloat16.
        output = self.network(posterior.reparameterise(noise)).to(x.dtype)
        if self.likelihood == "bernoulli":
            distortion = binary_cross_entropy_with_logits(output, x, reduction="none").sum(-1)
        else:
            distortion = (output - x).square().sum(-1) / (2 * self.sigma**2)
        return distortion, posterior.kl_to_prior()


def negative_elbo(
    vae: VAE,
    x: Float[Tensor, "*batch data"],
    noise: Float[Tensor, "*batch latent"],
    beta: float = 1.0,
) -> Float[Tensor, "*batch"]:
    r"""Nats a datum, $-\log p(x|z) + \beta\, \mathrm{KL}(q\|p)$ (Eq. 1), from standard noise."""
    distortion, rate = vae(x, noise)
    return distortion + beta * rate
