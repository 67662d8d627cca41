"""Scores of VAEs with two latents: on the sheet of Figure 1 and on the circles of Figure 6."""

import torch
from torch import Tensor

from seams.collapse import posterior_weighted_mean
from seams.data.generators import Generator
from seams.derivatives import align_axes, jacobian, jacobian_gram, jacobian_svd
from seams.geometry import c2_violation, gaussian_curvature, log_seam_factors
from seams.vae import VAE

__all__ = ["circle_scores", "sheet_scores"]

_TURNS = 8  # of the latents, evenly over a quarter turn
_FEW = 200  # points at which what takes second derivatives is measured
_TICKS = 21  # along each side of the square of latents


def sheet_scores(vae: VAE, truth: Generator, z: Tensor) -> dict[str, float]:
    """Where a model's latents lead on a sheet, at images under `truth` of its latents `z`."""
    x = torch.vmap(truth)(z)
    encoded = vae.encoder(x).mean
    U, _, V = jacobian_svd(vae.decoder, encoded)
    own = torch.take_along_dim(U, align_axes(V)[0].unsqueeze(1), 2)
    image = torch.nn.functional.normalize(jacobian(vae.decoder, encoded), dim=1)
    seams = jacobian_svd(truth, z)[0]
    apart = lambda a, b: (a * b).sum(1).abs().clamp(max=1).acos().rad2deg().mean().item()
    ticks = torch.linspace(-2, 2, _TICKS)
    square = torch.cartesian_prod(ticks, ticks)
    factors = log_seam_factors(vae.decoder, square).unflatten(0, (_TICKS, _TICKS))
    left = [factors[..., i].var(1 - i).mean() / factors[..., i].var() for i in (0, 1)]
    encoded = encoded[:_FEW]
    turned = lambda R: (
        c2_violation(lambda w: vae.decoder(R @ w), encoded @ R, coinciding="nan").nanmean().item()
    )
    angle = torch.pi / 2 * (torch.arange(_TURNS) + 0.5) / _TURNS
    rows = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1)
    area = jacobian_gram(vae.decoder, encoded).det().sqrt()
    return {
        "traversal": apart(own, image),  # degrees, an axis's image to the seam of the nearest path
        "seams": apart(U, seams),  # degrees, the model's to the sheet's
        "unexplained": float(sum(left) / 2),  # share of a log factor's variance not its latent's
        "c2": turned(torch.eye(2)),
        "c2_turned": sum(map(turned, rows.unflatten(-1, (2, 2)))) / _TURNS,
        # |K| sqrt(det JᵀJ), in radians.
        "curvature": (gaussian_curvature(vae.decoder, encoded).abs() * area).mean().item(),
    }


def circle_scores(
    vae: VAE, x: Tensor, circle: Tensor, centres: Tensor
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """A decoder at posterior means beside data weighted by posteriors: scores; what is drawn."""
    # `x` has equally many points of each circle, those of one in sequence. Distances are root mean
    # squares; `within` and `between` circles, what is kept of their spread.
    posterior = vae.encoder(x)
    mean, L = posterior.mean, posterior.scale_tril
    trained = vae.decoder(mean)
    predicted = posterior_weighted_mean(mean, mean, L, x)
    means = trained.unflatten(0, (len(centres), -1)).mean(1)
    spread = lambda points: points.square().sum(-1).mean().sqrt().item()
    radius = spread(x - centres[circle])
    scores = {
        "error": spread(trained - predicted) / spread(x),
        "miss": spread(trained - predicted) / radius,
        "unlike": spread(trained - x) / spread(x),
        "within": spread(trained - means[circle]) / radius,
        "between": spread(means) / spread(centres),
    }
    return scores, {"mean": mean, "scale_tril": L, "trained": trained, "predicted": predicted}
