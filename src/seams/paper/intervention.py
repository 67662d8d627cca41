"""The causal switch: the posterior's covariance changes in the middle of training; four arms."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from seams.paper.contrast import FAIR
from seams.paper.frames import RATIOS, curves, frame, nearest
from seams.paper.results import Results
from seams.plotting import beta_label
from seams.training import Run

__all__ = ["ARMS", "along", "arms", "claim_equal_fit", "claim_switch", "filmed", "of_arm"]

ARMS = {
    ("diagonal", "diagonal"): "diagonal",
    ("diagonal", "full"): "diagonal, then full",
    ("full", "full"): "full",
    ("full", "diagonal"): "full, then diagonal",
}
"""Names of the arms by the posterior's covariance before the change and after it."""

_TERMS = {
    "gram": (RATIOS[0], "JᵀJ", 0.1),  # by how much the arms shall differ
    "hessian": (RATIOS[1], "the directed Hessian", 0.0),
    "c2": ("c2_ratio", "C2", 0.05),
}
_RANDOM = 0.1  # by which a ratio may differ from 1, where axes mean nothing
_SEEN = "Not blind: means of these scores were known."
_PILOT = "Fixed after a pilot of one seed (half height) and before these runs."


def arms(runs: Iterable[Run]) -> pd.DataFrame:
    """Runs that change, or could, as `frames.frame`; `arm` is of `ARMS`."""
    rows = frame(runs)
    pairs = zip(rows["covariance_start"], rows["covariance"], strict=True)
    return rows.assign(arm=[ARMS[pair] for pair in pairs])


def of_arm(rows: pd.DataFrame, arm: str, name: str) -> pd.DataFrame:
    """A score at the end of one arm's runs, `[beta, seed]`."""
    chosen = rows[rows["arm"] == arm]
    return chosen.pivot(index="beta", columns="seed", values=name).astype(float)


def along(
    rows: pd.DataFrame, scores: Mapping[str, str]
) -> tuple[np.ndarray, dict[tuple[str, str], dict[tuple[str, str], np.ndarray]]]:
    """Scores of one network's runs along training; `loss` is that above the diagonal arm's end.

    Returns:
        Training images `[point]`; and by a score's label and beta, the values of each of `ARMS`
        `[seed, point]`.
    """
    found: dict[tuple[str, str], dict[tuple[str, str], np.ndarray]] = {}
    images = np.empty(0)
    for beta, of_beta in rows.groupby("beta"):
        of_arms = dict(list(of_beta.groupby("arm")["run"]))
        runs = {arm: list(of_arms[name]) for arm, name in ARMS.items()}
        end = _losses(runs["diagonal", "diagonal"])[:, -1].mean()
        for score, label in scores.items():
            panel = found[label, beta_label(float(str(beta)))] = {}
            for arm, of_arm in runs.items():
                if score == "loss":
                    panel[arm] = _losses(of_arm) - end
                else:
                    images, panel[arm] = curves(of_arm, score)
    return images, found


def filmed(rows: pd.DataFrame) -> dict[tuple[str, str], Run]:
    """Seed 0 at the beta nearest 1 for `write_film`: by whether the posterior changes, and arm."""
    chosen = rows[(rows["seed"] == rows["seed"].min()) & (rows["beta"] == nearest(rows["beta"]))]
    runs = dict(zip(chosen["arm"], chosen["run"], strict=True))
    group = lambda pair: "one throughout" if pair[0] == pair[1] else "changed half way"
    ordered = sorted(ARMS, key=lambda pair: pair[0] != pair[1])
    return {(group(pair), ARMS[pair]): runs[ARMS[pair]] for pair in ordered}


def _losses(runs: Sequence[Run]) -> np.ndarray:
    """Of Eq. 1, less its constant, along training, nats `[run, point]`."""
    (_, distortion), (_, rate) = (curves(runs, name) for name in ("distortion", "rate"))
    scale = np.array([[2 * run.config.sigma**2, run.config.beta] for run in runs])
    return distortion / scale[:, :1] + scale[:, 1:] * rate


def claim_switch(results: Results, rows: pd.DataFrame, prefix: str = "", where: str = "") -> None:
    """Claim that lifting the constraint loses the axes, and imposing it finds them."""
    # Arms of one seed and beta share initial weights, data and draws: differences are paired.
    diagonal, released, full, constrained = ARMS.values()
    near = nearest(rows["beta"])
    score = lambda arm, name: of_arm(rows, arm, name)

    def claim(id: str, says: str, values: pd.Series, threshold: float, above: bool) -> None:
        note = f"Mean over beta. {_PILOT}" if rows["beta"].nunique() > 1 else _PILOT
        results.claim(
            prefix + id, where + says, values.tolist(), threshold, above=above, note=note
        )

    for term, (name, what, least) in _TERMS.items():
        lost = (score(released, name) - score(diagonal, name)).mean()
        found = (score(constrained, name) - score(full, name)).mean()
        says = f"of {what} in the latent axes over that in random ones"
        claim(
            f"released_{term}",
            f"Released from the constraint, latents lose their axes ({says}: diagonal, then full, "
            "minus diagonal).",
            lost,
            least,
            True,
        )
        claim(
            f"constrained_{term}",
            f"Under the constraint, latents find axes ({says}: full, then diagonal, minus full).",
            found,
            -least,
            False,
        )
    ratio = RATIOS[0]
    claim(
        "released_random",
        "Released, the axes become no better than random ones for JᵀJ (distance of the ratio "
        "to 1).",
        (score(released, ratio) - 1).abs().mean(axis=0),
        _RANDOM,
        False,
    )
    claim(
        "constrained_whole",
        "Constrained late, the axes become as good as with the constraint throughout (ratio of "
        "JᵀJ: full, then diagonal, minus diagonal).",
        (score(constrained, ratio) - score(diagonal, ratio)).mean(),
        _RANDOM,
        False,
    )
    claim(
        "released_fit",
        "Released, the model fits as well (excess of the loss over diagonal, a share of it).",
        (score(released, "loss") / score(diagonal, "loss") - 1).mean(),
        FAIR,
        False,
    )
    for id, arm, control, above in (
        ("released_mig", released, diagonal, False),
        ("constrained_mig", constrained, full, True),
    ):
        mig = (score(arm, "mig") - score(control, "mig")).T[near]
        verb = "rises under" if above else "falls without"
        says = f"At beta = {near:g} MIG {verb} the constraint ({arm}, minus {control})."
        results.claim(prefix + id, where + says, mig.tolist(), 0.0, above=above, note=_PILOT)


def claim_equal_fit(
    results: Results, rows: pd.DataFrame, prefix: str = "", where: str = ""
) -> None:
    """Claim Figure 5's contrasts at beta where the loss of full posteriors is no larger."""
    diagonal, _, full, _ = ARMS.values()
    score = lambda arm, name: of_arm(rows, arm, name)
    loss = {arm: score(arm, "loss").mean(axis=1) for arm in (diagonal, full)}
    fair = loss[full].index[loss[full] <= loss[diagonal]]
    listed = ", ".join(f"{beta:g}" for beta in fair) or "none"
    terms = {"mig": ("mig", "MIG", 0.0)} | _TERMS
    for term, (name, what, least) in terms.items():
        contrast = (score(diagonal, name) - score(full, name)).loc[fair].mean()
        says = (
            "MIG is higher"
            if term == "mig"
            else f"{what} is nearer to diagonal, over random axes,"
        )
        results.claim(
            f"{prefix}equal_{term}",
            f"{where}Where full posteriors fit at least as well, {says} with diagonal ones "
            "(diagonal minus full).",
            contrast.tolist(),
            least if term == "mig" else -least,
            above=term == "mig",
            note=f"Beta at which the mean loss of full posteriors is no larger: {listed}. {_SEEN}",
        )
