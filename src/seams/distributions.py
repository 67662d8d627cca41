"""Gaussian posteriors with a diagonal or a full covariance, as `torch.distributions` objects.

An autoencoder, which has none, gets the point at which a posterior would shrink to nothing.

They also know what the ELBO asks of them: a draw from given noise, and the KL to the standard
normal prior in closed form. Nothing here samples, branches on values or writes in place, so all
of it runs under `torch.func.vmap` and `functional_call`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from seams.shapes import Float

__all__ = ["LOG_SCALE_BOUNDS", "DiagonalGaussian", "FullGaussian", "Point", "Posterior"]

LOG_SCALE_BOUNDS = (-15.0, 5.0)
"""Clamp on log standard deviations. Below exp(-15) = 3e-7, noise is lost when added to a mean of
order 1 in float32; exp(5) is 148 prior standard deviations, at a cost of 11,000 nats a latent. No
fit is there: the bounds only keep a diverging one finite, and have zero gradient outside."""


class DiagonalGaussian(Independent):
    r"""$\mathcal N(\mu, \operatorname{diag}(s)^2)$, no unit (Section 2); s > 0 is not checked."""

    def __init__(
        self, mean: Float[Tensor, "*#batch latent"], scale: Float[Tensor, "*#batch latent"]
    ) -> None:
        super().__init__(Normal(mean, scale, validate_args=False), 1, validate_args=False)

    @classmethod
    def from_parameters(
        cls, mean: Float[Tensor, "*batch latent"], log_scale: Float[Tensor, "*batch latent"]
    ) -> "DiagonalGaussian":
        r"""From an encoder's raw outputs, $\log s$ clamped to `LOG_SCALE_BOUNDS`."""
        return cls(mean, log_scale.clamp(*LOG_SCALE_BOUNDS).exp())

    def expand(self, batch_shape: Sequence[int], _instance: None = None) -> "DiagonalGaussian":  # noqa: D102, DOC201
        shape = torch.Size(batch_shape) + self.event_shape
        return type(self)(self.mean.expand(shape), self.marginal_stddev.expand(shape))

    @property
    def scale_tril(self) -> Float[Tensor, "*batch latent latent"]:
        r"""Cholesky factor $L$ of the covariance, here $\operatorname{diag}(s)$."""
        return torch.diag_embed(self.stddev)

    @property
    def marginal_stddev(self) -> Float[Tensor, "*batch latent"]:
        """Standard deviation of each latent given x."""
        return self.stddev

    def reparameterise(
        self, noise: Float[Tensor, "*draws latent"]
    ) -> Float[Tensor, "*draws latent"]:
        r"""Draw $\mu + s \odot \epsilon$, one a row of noise, whose further axes come first."""
        return self.mean + self.stddev * noise

    def kl_per_latent(self) -> Float[Tensor, "*batch latent"]:
        r"""KL of each latent, $\tfrac12(\mu_j^2 + s_j^2 - 1) - \log s_j$ nats; they add up."""
        mean, scale = self.mean, self.stddev
        return 0.5 * (mean.square() + scale.square() - 1) - scale.log()

    def kl_to_prior(self) -> Float[Tensor, "*batch"]:
        r"""Divergence $\mathrm{KL}(q(z \mid x) \,\|\, \mathcal N(0, I))$ in nats, as in Eq. 1."""
        return self.kl_per_latent().sum(-1)


class FullGaussian(MultivariateNormal):
    r"""$\mathcal N(\mu, L L^\top)$ (Section 2); L, lower, positive diagonal: not validated."""

    def __init__(
        self,
        mean: Float[Tensor, "*#batch latent"],
        scale_tril: Float[Tensor, "*#batch latent latent"],
    ) -> None:
        super().__init__(mean, scale_tril=scale_tril, validate_args=False)

    @classmethod
    def from_parameters(
        cls,
        mean: Float[Tensor, "*batch latent"],
        log_scale: Float[Tensor, "*batch latent"],
        off_diagonal: Float[Tensor, "*batch below"],
        relative: bool = False,
    ) -> "FullGaussian":
        r"""Posterior with the Cholesky factor filled from an encoder's raw outputs.

        $L_{jj} = \exp(\text{log\_scale}_j)$, clamped to `LOG_SCALE_BOUNDS`; below its diagonal
        stand the $d(d-1)/2$ of `off_diagonal`, row by row: $L_{10}, L_{20}, L_{21}, \dots$ With
        these zero it is the `DiagonalGaussian` of the same first two arguments. If `relative`,
        they are in units of their row's $L_{jj}$: $L = \operatorname{diag}(s)(I + N)$.

        Returns:
            One posterior a row.

        Raises:
            ValueError: `off_diagonal` has another number of columns.
        """
        latent = mean.shape[-1]
        below = latent * (latent - 1) // 2
        if off_diagonal.shape[-1] != below:
            raise ValueError(
                f"`off_diagonal` must have latent * (latent - 1) / 2 = {below} columns; got "
                f"{off_diagonal.shape[-1]} for {latent} latents. Resize the encoder's last layer."
            )
        row, column = torch.tril_indices(latent, latent, -1, device=mean.device)
        diagonal = torch.arange(latent, device=mean.device) * (latent + 1)
        scale = log_scale.clamp(*LOG_SCALE_BOUNDS).exp()
        if relative:
            off_diagonal = off_diagonal * scale[..., row]
        entries = torch.cat([scale, off_diagonal], -1)
        # index_copy, not a gather from a padded vector: its backward is a plain index_select.
        flat = entries.new_zeros((*entries.shape[:-1], latent * latent)).index_copy(
            -1, torch.cat([diagonal, row * latent + column]), entries
        )
        return cls(mean, flat.unflatten(-1, (latent, latent)))

    def expand(self, batch_shape: Sequence[int], _instance: None = None) -> "FullGaussian":  # noqa: D102, DOC201
        shape = torch.Size(batch_shape) + self.event_shape
        return type(self)(
            self.mean.expand(shape), self.scale_tril.expand(shape + self.event_shape)
        )

    @property
    def marginal_stddev(self) -> Float[Tensor, "*batch latent"]:
        r"""Standard deviation of each latent given x, $\sqrt{(LL^\top)_{jj}}$, not $L_{jj}$."""
        return torch.linalg.vector_norm(self.scale_tril, dim=-1)

    def marginals(self) -> DiagonalGaussian:
        r"""Of its family the diagonal posterior that is nearest in $\mathrm{KL}(q \| \cdot)$."""
        return DiagonalGaussian(self.mean, self.marginal_stddev)

    def reparameterise(
        self, noise: Float[Tensor, "*draws latent"]
    ) -> Float[Tensor, "*draws latent"]:
        r"""Draw $z = \mu + L \epsilon$; as `DiagonalGaussian.reparameterise`."""
        return self.mean + (self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def kl_per_latent(self) -> Float[Tensor, "*batch latent"]:
        r"""KL of each *marginal* $q(z_j \mid x)$ to the prior of that latent, in nats.

        These do not sum to `kl_to_prior`: what is missing is the total correlation of the
        posterior, $\sum_j \log \sqrt{(LL^\top)_{jj}} - \sum_j \log L_{jj} \ge 0$.

        Returns:
            $\tfrac12 (\mu_j^2 + v_j - 1 - \log v_j)$ with the marginal variance $v_j$.
        """
        variance = self.scale_tril.square().sum(-1)
        return 0.5 * (self.mean.square() + variance - 1 - variance.log())

    def kl_to_prior(self) -> Float[Tensor, "*batch"]:
        r"""Nats, $\tfrac12 (\|\mu\|^2 + \|L\|_F^2 - d) - \sum_j \log L_{jj}$, as in Eq. 1."""
        squares = self.mean.square().sum(-1) + self.scale_tril.square().sum((-2, -1))
        log_determinant = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return 0.5 * (squares - self.mean.shape[-1]) - log_determinant


@dataclass(frozen=True)
class Point:
    """The code of an autoencoder in the place of a posterior: no noise, no density, no rate.

    The KL of a point to a density is infinite. An autoencoder has none in its objective, so that
    zeros stand for it here and in its history of training; its scores have no rate.
    """

    mean: Float[Tensor, "*batch latent"]

    @property
    def marginal_stddev(self) -> Float[Tensor, "*batch latent"]:
        """Zeros."""
        return torch.zeros_like(self.mean)

    def reparameterise(
        self, noise: Float[Tensor, "*draws latent"]
    ) -> Float[Tensor, "*draws latent"]:
        """The code, one for each row of noise."""
        return self.mean.expand(noise.shape)

    def kl_per_latent(self) -> Float[Tensor, "*batch latent"]:
        """Zeros: see the class."""
        return torch.zeros_like(self.mean)

    def kl_to_prior(self) -> Float[Tensor, "*batch"]:
        """Zeros: see the class."""
        return self.mean.new_zeros(self.mean.shape[:-1])


Posterior = DiagonalGaussian | FullGaussian
