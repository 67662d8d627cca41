"""What Figure 5 claims of diagonal against full posteriors, for any sweep that has both."""

import numpy as np
import pandas as pd

from seams.paper.frames import RATIOS, by_kind, correlations, means, nearest
from seams.paper.results import Results

__all__ = [
    "POSITIONS",
    "SEPARATED",
    "FAIR",
    "claim_posteriors",
    "claim_trends",
    "fair_betas",
    "note_posteriors",
]

FAIR = (
    0.01  # excess share of a full posterior's loss that still fits; at its optimum there is none
)

_RAW = ("off_diagonal_gram_of_abs", "off_diagonal_hessian_of_abs")
_NOTED = ("mig4", "mig_posX", "mig_posY", "probe", "dto", "c_ima", "distortion", "rate", "loss")
_TERMS = {"gram": "JᵀJ", "hessian": "the directed Hessian"}
POSITIONS = ("mig_posX", "mig_posY")
SEPARATED = 0.25  # MIG of a position above which one latent tells of it and no other does
_AXES = 0.1  # by which a ratio may differ from 1, where axes mean nothing
_SEEN = "Not blind: correlations over all runs of an earlier record were seen before."
_KNOWN = "Not blind: the ratios of earlier runs were known."
_OF_ABS = (
    "Mean over beta. Score of the mean absolute matrix: that of single matrices is unbounded, "
    "since the Hessian is indefinite."
)


def fair_betas(rows: pd.DataFrame) -> list[float]:
    """Betas at which the mean loss of full posteriors exceeds diagonal ones' by at most `FAIR`."""
    loss = by_kind(rows, "loss")
    excess = (loss["full"] / loss["diagonal"] - 1).mean(axis=1)
    return [float(beta) for beta in excess.index[excess <= FAIR]]


def note_posteriors(results: Results, rows: pd.DataFrame, prefix: str = "") -> None:
    """Note means of scores by posterior and beta, fit, and how many runs separate positions."""
    betas, few = sorted(set(rows["beta"])), ("mig", "aas", *RATIOS)
    near = nearest(betas)
    for place, beta in {"smallest": betas[0], "near": near, "largest": betas[-1]}.items():
        results.value(f"{prefix}{place}_beta", beta)
        of_beta = rows[rows["beta"] == beta]
        numbers = [*few, *_RAW, *_NOTED, "loss_ratio", "active"]
        for name, value in means(of_beta, numbers, ["covariance"]).items():
            results.value(f"{prefix}{place}_{name}", value)
    for name, value in means(rows, few, ["covariance", "beta"]).items():
        results.value(f"{prefix}{name}", value)
    apart = rows[list(POSITIONS)].min(axis=1) > SEPARATED
    for (kind, beta), some in apart.groupby([rows["covariance"], rows["beta"]]):
        name = f"{prefix}separated_{kind}_{beta:g}"
        results.value(name.replace(".", "_"), int(some.sum()))
    excess = 100 * (rows[rows["covariance"] == "full"].groupby("beta")["loss_ratio"].mean() - 1)
    results.value(f"{prefix}loss_gap_largest", excess.max())
    results.value(f"{prefix}loss_gap_largest_beta", float(excess.index[int(excess.argmax())]))
    results.value(f"{prefix}loss_gap_near", excess[near])
    fair = ", ".join(f"{beta:g}" for beta in fair_betas(rows)) or "none of them"
    results.value(f"{prefix}fair_betas", fair)


def claim_posteriors(
    results: Results, rows: pd.DataFrame, prefix: str = "", where: str = ""
) -> None:
    """Claim that diagonal posteriors disentangle better, and that both terms of Eq. 6 show it."""
    # `prefix` begins the claims' ids, `where` their statements, such as "Half height: ".
    near, largest = nearest(rows["beta"]), float(rows["beta"].max())
    every, fair = sorted(set(rows["beta"])), fair_betas(rows)
    listed = ", ".join(f"{beta:g}" for beta in fair) or "none"
    places = {"": near, "_largest": largest} if largest > near else {"": near}
    for suffix, beta in places.items():
        for score in ("mig", "aas"):
            groups = by_kind(rows, score)
            results.claim(
                f"{prefix}{score}{suffix}",
                f"{where}At beta = {beta:g} diagonal posteriors disentangle better "
                f"({score.upper()}, diagonal minus full).",
                groups["diagonal"].T[beta].tolist(),
                0.0,
                minus=groups["full"].T[beta].tolist(),
            )
    raw_notes = {"gram": "Mean over beta.", "hessian": _OF_ABS}
    for (term, what), raw, ratio in zip(_TERMS.items(), _RAW, RATIOS, strict=True):
        least = -0.05 if term == "gram" else 0.0
        says = f"{where}Diagonal posteriors make {what} more diagonal"
        for id, statement, score, betas, note in (
            (
                term,
                f"{says} (off-diagonality, diagonal minus full).",
                raw,
                every,
                raw_notes[term],
            ),
            (
                f"{term}_ratio",
                f"{says}, beside random axes of the same latents (ratio, diagonal minus full).",
                ratio,
                every,
                f"Mean over beta. {_KNOWN}",
            ),
            (
                f"{term}_fair",
                f"{says} where full ones fit as well.",
                raw,
                fair,
                f"Only beta at which the mean loss of full posteriors is at most {FAIR:.0%} "
                f"larger ({listed}). Not blind: added after all scores were seen.",
            ),
        ):
            groups = by_kind(rows, score)
            results.claim(
                f"{prefix}{id}",
                statement,
                groups["diagonal"].loc[betas].mean().tolist(),
                least,
                above=False,
                note=note,
                minus=groups["full"].loc[betas].mean().tolist(),
            )
    loss = by_kind(rows, "loss")
    results.claim(
        f"{prefix}equal_fit",
        f"{where}At beta = {near:g} full posteriors fit as well as diagonal ones (excess of the "
        "loss, a share of it).",
        (loss["full"] / loss["diagonal"] - 1).T[near].tolist(),
        FAIR,
        above=False,
        note="Not blind: losses of other runs were known.",
    )


def claim_trends(results: Results, rows: pd.DataFrame, prefix: str = "", where: str = "") -> None:
    """Claim what the figure says of rising beta, and that full posteriors have no axes."""
    # Over seeds at one beta, beta itself cannot make a correlation.
    diagonal = rows[rows["covariance"] == "diagonal"]
    columns = dict(zip(_TERMS, _RAW, strict=True)) | {"ratio": RATIOS[0]}
    names = _TERMS | {"ratio": "JᵀJ, beside random axes,"}
    for term, column in columns.items():
        for suffix, within, how in (
            ("", "seed", "over beta, a value a seed"),
            ("_within", "beta", "over seeds, a value a beta"),
        ):
            results.claim(
                f"{prefix}correlated_{term}{suffix}",
                f"{where}Diagonal posteriors: MIG rises as the off-diagonality of {names[term]} "
                f"falls (correlation {how}).",
                correlations(diagonal, "mig", column, within),
                0.0,
                above=False,
                note=_SEEN,
            )
        results.claim(
            f"{prefix}{term}_beta",
            f"{where}Diagonal posteriors: {names[term]} gets more diagonal with beta (correlation "
            "of off-diagonality).",
            correlations(diagonal, "beta", column, "seed"),
            0.0,
            above=False,
            note=_SEEN,
        )
    betas = sorted(set(rows["beta"]))
    mig, ratio = by_kind(rows, "mig"), by_kind(rows, RATIOS[0])["full"]
    results.claim(
        f"{prefix}full_axes",
        f"{where}Full posteriors: the latent axes are no better than random ones for JᵀJ "
        "(distance of the ratio to 1).",
        np.abs(ratio - 1).mean().tolist(),
        _AXES,
        above=False,
        note=f"Mean over beta. {_KNOWN}",
    )
    if len(betas) < 2:
        return
    end = max(nearest(betas), betas[1])
    rise = {kind: mig[kind].loc[end] - mig[kind].loc[betas[0]] for kind in mig}
    span = f"from beta = {betas[0]:g} to {end:g}"
    results.claim(
        f"{prefix}trend",
        f"{where}With diagonal posteriors MIG rises {span}.",
        rise["diagonal"].tolist(),
        0.0,
    )
    results.claim(
        f"{prefix}no_trend",
        f"{where}MIG rises more over that range with diagonal than with full posteriors.",
        (rise["diagonal"] - rise["full"]).tolist(),
        0.0,
    )
    results.claim(
        f"{prefix}full_no_trend",
        f"{where}Full posteriors: that ratio has no trend (size of its change from beta = "
        f"{betas[0]:g} to {betas[-1]:g}).",
        np.abs(ratio.loc[betas[-1]] - ratio.loc[betas[0]]).tolist(),
        _AXES,
        above=False,
        note=_KNOWN,
    )
