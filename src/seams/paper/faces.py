"""Scores of VAEs on faces by covariance, beta and seed: Figures 7 to 10 and CelebA."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from seams.derivatives import directed_hessian, jacobian_gram
from seams.metrics import latents_in_use, off_diagonality
from seams.paper.frames import frame
from seams.training import Run
from seams.traversals import latent_activity, traversal_changes
from seams.vae import VAE

__all__ = [
    "SETTING",
    "face_scores",
    "late_fall",
    "loss_curve",
    "off_diagonality_in_use",
    "reconstruction_scores",
    "term_scores",
    "traversal_cosine",
]

SETTING = ["covariance", "beta", "seed"]  # levels of the index of every frame here


def face_scores(runs: Sequence[Run]) -> pd.DataFrame:
    """`frame` of runs by `SETTING`, with counts of latents and the KL that these share."""
    kl = [torch.from_numpy(run.arrays["kl"]) for run in runs]
    scores = frame(runs).rename(columns={"active": "varying"})
    scores = scores.assign(
        in_use=[int(latents_in_use(one).sum()) for one in kl],
        shared=scores["rate"] - [one.sum().item() for one in kl],  # nats beyond their own
    ).set_index(SETTING)
    # Scores take those in use of the diagonal run: a full posterior's latents share their KL.
    kept = [scores["in_use"]["diagonal", beta, seed] for _, beta, seed in scores.index]
    return scores.assign(kept=kept)


def loss_curve(run: Run) -> np.ndarray:
    """Loss along training in nats, with the final beta, so that its values compare."""
    return (run.history["distortion"] + run.config.beta * run.history["rate"]).to_numpy()


def late_fall(run: Run) -> float:
    """By how many per cent the loss fell from the last tenth of training but one to the last."""
    loss = loss_curve(run)
    if not (tenth := len(loss) // 10):
        return float("nan")  # a smoke run is one chunk long
    return 100 * (1 - loss[-tenth:].mean() / loss[-2 * tenth : -tenth].mean())


def traversal_cosine(vae: VAE, x: Tensor, count: int, reach: float) -> float:
    """Mean absolute cosine between the changes that the most active latents make to images."""
    changes = traversal_changes(vae.decoder, vae.encoder(x).mean, reach)
    kept = changes.square().sum(-1).mean(0).argsort(descending=True)[: max(2, count)]
    return off_diagonality(changes[:, kept] @ changes[:, kept].mT).mean().item()


def off_diagonality_in_use(run: Run, name: str, kept: int) -> float:
    """`off_diagonality` of an array of a run over its `kept` most active latents; NaN below 2."""
    if kept < 2:
        return float("nan")
    used = np.argsort(-run.arrays["activity"])[:kept]
    return off_diagonality(torch.from_numpy(run.arrays[name][used][:, used])).item()


def reconstruction_scores(
    images: Mapping[str, Tensor],
    decoded: Mapping[str, Tensor],
    shape: tuple[int, int, int],
    sigma: float,
) -> dict[str, float]:
    r"""Squared error an image over $\sigma^2$, by part, and how sharp samples are beside tests."""
    # Sharpness is the mean square of differences between neighbouring pixels.
    steps = lambda x: sum(x.unflatten(-1, shape).diff(dim=d).square().mean() for d in (-1, -2))
    error = lambda x, seen: (x - seen).square().sum(-1).mean().item() / sigma**2
    found = {part: error(x, decoded[part]) for part, x in images.items()}
    return found | {"sharpness": (steps(decoded["samples"]) / steps(images["test"])).item()}


def term_scores(
    vae: VAE, x: Tensor, *, draws: int, shown: int, kept: int, varying: int
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Scores of both terms of Eq. 6 averaged over 1, 2, 4, ... draws; matrices of the first."""
    # Of the `shown` most active latents, `kept` or `varying` are scored; `draws` is a power of 2.
    posterior = vae.encoder(x)
    order = latent_activity(vae.decoder, posterior.mean).argsort(descending=True)[:shown]
    shape = (draws, *posterior.mean.shape)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    z = posterior.reparameterise(noise).flatten(0, 1)
    repeated = x.repeat(draws, 1)
    matrices = {
        "gram": jacobian_gram(vae.decoder, z, chunk_size=64),
        "hessian": directed_hessian(vae.decoder, z, repeated, chunk_size=64),
    }
    kept, varying = (max(2, min(shown, count)) for count in (kept, varying))
    rows, first = [], {}
    for name, every in matrices.items():
        every = every[:, order][:, :, order].unflatten(0, (draws, len(x)))
        first[name] = every[0]
        before = off_diagonality(first[name][:, :varying, :varying].abs().mean(0)).item()
        every = every[..., :kept, :kept]
        off = ~torch.eye(kept, dtype=torch.bool)
        variance = every.var(0)[:, off].mean().item() if draws > 1 else np.nan
        signal = every.mean(0)[:, off].square().mean().item() - variance / draws
        rows += [
            {
                "term": name,
                "draws": n,
                "score": off_diagonality(every[:n].mean(0).abs().mean(0)).item(),
                # Standard, of an off-diagonal entry, over the entries' size: root mean squares.
                "error": (variance / n / max(signal, 1e-300)) ** 0.5,
                "varying": before,  # one draw
                "share": variance / (variance + max(signal, 0)),  # of an entry's mean square
            }
            for n in (2**k for k in range(draws.bit_length()))
        ]
    return pd.DataFrame(rows), first
