"""Both sides of Eq. 6 at the posteriors of stored runs, before and after refinement."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from seams.diagnosis import Sides, compare_sides, turned_off_diagonality
from seams.diagnosis.refine import refine_posterior
from seams.metrics import ACTIVE, off_diagonality
from seams.paper.results import Results
from seams.training import Run

__all__ = ["NUMBERS", "TERMS", "active_of", "at_steps", "claim_optimum", "entries", "mean_terms"]

NUMBERS = ("difference", "noise", "off_gram", "off_hessian", "off_sum", "off_turned", "cancelled")
"""Of `seams.diagnosis.Sides`, as columns of `at_steps`."""

TERMS = ("gram", "hessian")

Found = Mapping[tuple[str, int], Sides]  # both sides by a run's id and the steps of refinement


def active_of(run: Run) -> Tensor:
    """Which latents of an evaluated run are active, `[latent]`."""
    return torch.from_numpy(run.arrays["activity"] > ACTIVE)


def at_steps(
    runs: Sequence[Run], x: Tensor, steps: Sequence[int], draws: int
) -> tuple[pd.DataFrame, dict[tuple[str, int], Sides]]:
    """Refine posteriors, the decoder frozen: a row a run and step with `NUMBERS`, and sides."""
    # Always from the encoder's posteriors, which are step 0. Refinement and comparison use
    # different draws; both terms of the right side use the same.
    rows, found = [], {}
    for run in runs:
        vae, config, active = run.model(), run.config, active_of(run)
        start = vae.encoder(x)
        options: dict[str, Any] = {
            "covariance": config.covariance,
            "beta": config.beta,
            "sigma": config.sigma,
            "draws": draws,
        }
        for step in steps:
            q = refine_posterior(
                vae.network, start.mean, start.scale_tril, x, steps=step, **options
            )
            sides = compare_sides(
                deepcopy(vae.network).double(),
                q.mean.double(),
                q.scale_tril.double(),
                x.double(),
                active=active,
                generator=torch.Generator().manual_seed(1),
                chunk_size=512,
                **options,
            )
            found[run.id, step] = sides
            row = {"covariance": config.covariance, "beta": config.beta, "seed": config.seed}
            row |= {"step": step, "active": int(active.sum()), "loss": float(q.loss[-1].mean())}
            row |= _by_itself(sides, active) if step == max(steps) else {}
            rows.append(row | {name: getattr(sides, name) for name in NUMBERS})
    return pd.DataFrame(rows), found


def _by_itself(sides: Sides, active: Tensor) -> dict[str, float]:
    """Each term by its own diagonal, in the latent axes and in random ones."""
    scores: dict[str, float] = {}
    for term in TERMS:
        matrices = getattr(sides.right, term)
        few = active.sum() < 2
        own = np.nan if few else off_diagonality(matrices.abs().mean(0), active).item()
        turned = np.nan if few else turned_off_diagonality(matrices, active)
        scores |= {f"{term}_score": own, f"{term}_turned": turned}
    return scores


def entries(sides: Sides, active: Tensor, diagonal: bool) -> tuple[np.ndarray, ...]:
    """Left, right and its standard error, flat: on the diagonal of active latents, or above it."""
    block = active[:, None] & active
    kept = block & torch.eye(len(block), dtype=torch.bool) if diagonal else block.triu(1)
    matrices = (sides.left, sides.right.precision, sides.right.precision_error)
    return tuple(of_all[:, kept].flatten().numpy() for of_all in matrices)


def mean_terms(runs: Sequence[Run], found: Found, step: int) -> np.ndarray:
    r"""Mean absolute terms and their difference over $\beta\sigma^2$, `[term, latent, latent]`."""
    means = []
    for run in runs:
        order = np.argsort(-run.arrays["activity"])
        right = found[run.id, step].right
        terms = torch.stack([right.gram, right.hessian, right.gram - right.hessian])
        mean = (terms / run.config.effective_variance).abs().mean(1).numpy()
        means.append(mean[:, order][:, :, order])
    return np.mean(means, 0)


def claim_optimum(results: Results, table: pd.DataFrame) -> None:
    """Claim that both sides agree, and what the right one's terms are like off the diagonal."""
    # Differences are between runs of a seed, mean over beta; the table has step 0.
    indexed = table.set_index(["covariance", "beta", "seed", "step"])
    before = indexed.xs(0, level="step")
    after = indexed.xs(table["step"].max(), level="step")
    by_seed = lambda values: values.groupby("seed").mean().tolist()
    diagonal, full = (after.xs(kind, level="covariance") for kind in ("diagonal", "full"))
    for kind, where in (("diagonal", "on the diagonal"), ("full", "in every entry")):
        results.claim(
            f"closes_{kind}",
            f"Both sides of Eq. 6 agree {where} at the best {kind} posterior of each image (root "
            "mean square of their relative difference).",
            by_seed(after.xs(kind, level="covariance")["difference"]),
            0.05,
            above=False,
            note="Posteriors are refined with the decoder frozen, on other draws.",
        )
    results.claim(
        "amortised",
        "They agree less at the encoder's own posteriors, which are not the best of each image "
        "(relative difference in Eq. 6, before minus after refinement).",
        by_seed(before["difference"] - after["difference"]),
        0.05,
        note="Mean over both covariances.",
    )
    for id, what, least in (
        ("sum", "The right side of Eq. 6", -0.1),
        ("gram", "The first term of Eq. 6 alone", 0.0),
        ("hessian", "The second term of Eq. 6 alone", 0.0),
    ):
        results.claim(
            id,
            f"{what} is nearer to diagonal where posteriors are diagonal (scaled off-diagonal "
            "entries, root mean square, diagonal minus full posteriors).",
            by_seed(diagonal[f"off_{id}"] - full[f"off_{id}"]),
            least,
            above=False,
            note="Over active latents, of which full posteriors have more.",
        )
    results.claim(
        "no_cancellation",
        "At diagonal posteriors the two terms of Eq. 6 do not cancel each other off the diagonal "
        "(share that cancels, 1 if they are equal).",
        by_seed(diagonal["cancelled"]),
        0.5,
        above=False,
    )
    results.claim(
        "p1",
        "At diagonal posteriors both terms of Eq. 6 are diagonal to a tenth, as P1 says (the "
        "larger of the root mean squares of their scaled off-diagonal entries).",
        by_seed(np.maximum(diagonal["off_gram"], diagonal["off_hessian"])),
        0.1,
        above=False,
    )
    results.claim(
        "axes",
        "With diagonal posteriors the right side of Eq. 6 is nearer to diagonal than after a "
        "random rotation of the active latents (root mean square of scaled off-diagonal entries, "
        "ratio).",
        by_seed(diagonal["off_sum"] / diagonal["off_turned"]),
        0.8,
        above=False,
        note="Where active latents have nearly equal singular values no rotation matters: 1.",
    )
    for term, name in zip(TERMS, ("first", "second"), strict=True):
        results.claim(
            f"{term}_turned",
            f"With diagonal posteriors the {name} term of Eq. 6 by itself is nearer to diagonal "
            "than after a random rotation of the active latents (score of Appendix E, ratio).",
            by_seed(diagonal[f"{term}_score"] / diagonal[f"{term}_turned"]),
            0.8,
            above=False,
            note="Not blind: added after a reader had computed it on shorter runs.",
        )
