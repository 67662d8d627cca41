"""Recovery against the ratio of two ranges: when each run arrived, and what theory expects."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from seams.data.families import known
from seams.derivatives import jacobian_svd
from seams.identify import RECOVERED, eigenvalue_gap, time_to_reach, turning_curvature
from seams.linear import alignment_rate
from seams.paper.frames import curves
from seams.paper.results import Results

__all__ = [
    "LEVEL_ANGLE",
    "angles_in_descent",
    "by_seed",
    "claim_arms",
    "claim_equal_and_exponents",
    "conditions",
    "exponent",
    "exponents",
    "loss_gradient",
    "slowness",
    "times_of_descent",
    "with_times",
]

LEVEL_ANGLE = float(np.arccos(2 * np.sin(np.pi / 6 * RECOVERED)))
"""Turn of two normal latents, in radians, at which the rank correlation is that of recovery."""


def with_times(rows: pd.DataFrame) -> pd.DataFrame:
    """With `arm`, `ratio`, `recovered`; `time` and `in_use`: images until it holds for good."""
    rows = rows.assign(time=np.nan, in_use=np.nan)
    rows[["arm", "ratio"]] = rows["dataset"].str.split("-", expand=True)
    rows["ratio"] = rows["ratio"].astype(float)
    for _, group in rows.groupby(["dataset", "covariance"]):
        for column, score, level in (("time", "mcc_least", RECOVERED), ("in_use", "active", 2)):
            seen, paths = curves(list(group["run"]), score)
            rows.loc[group.index, column] = time_to_reach(seen, paths, level)
    return rows.assign(recovered=np.isfinite(rows["time"]))


def by_seed(rows: pd.DataFrame, arm: str, kind: str, name: str) -> pd.DataFrame:
    """One score of an arm's runs of a kind, `[ratio, seed]`."""
    chosen = rows[(rows["arm"] == arm) & (rows["covariance"] == kind)]
    return chosen.pivot(index="ratio", columns="seed", values=name).astype(float)


def conditions(
    arm: str, ratios: Sequence[float], side: int, sigma: float, beta: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""Pull onto the axes over $\beta$, nats a squared radian, and Lemma 6.3's gap, by ratio."""
    # The gap is the median of |h_1 - h_2| s_1 s_2 in the bulk of the true decoder's latents.
    pull, lemma = [], []
    for ratio in ratios:
        made = known(f"{arm}-{ratio}", side)
        s = jacobian_svd(made.decoder, made.z[:512])[1]
        pull.append(float(turning_curvature(s, sigma=sigma, beta=beta)[0, 1]) / beta)
        bulk = made.z[:256][made.z[:256].abs().amax(1) < 2][:8]
        lemma.append(float(eigenvalue_gap(made.decoder, bulk)[:, 0, 1].abs().median()))
    return np.array(pull), np.array(lemma)


def _fitted(ratio: float, variance: float) -> torch.Tensor:
    """Singular values of the best decoder of the plane."""
    return torch.tensor([ratio**2 - variance, 1 - variance], dtype=torch.float64).sqrt()


def slowness(ratios: Sequence[float], beta: float) -> np.ndarray:
    """One over a linear VAE's rate of alignment on the plane, by ratio; 1e9 at equal ranges."""
    rates = [float(alignment_rate(_fitted(r, beta), sigma=1.0, beta=beta)[0, 1]) for r in ratios]
    return np.array([1 / max(rate, 1e-9) for rate in rates])


def exponent(theory: Sequence[float] | np.ndarray, time: Sequence[float] | np.ndarray) -> float:
    """Slope of the logarithm of `time` over that of `theory`; NaN of fewer than two points."""
    if len(theory) < 2 or not np.isfinite(time).all():
        return float("nan")
    return float(np.polyfit(np.log(theory), np.log(time), 1)[0])


def exponents(theory: np.ndarray, times: np.ndarray) -> list[float]:
    """One a run, of times `[ratio, run]`; runs that did not arrive at some ratio are left out."""
    return [e for e in (exponent(theory, run) for run in times.T) if np.isfinite(e)]


def angles_in_descent(
    ratios: Sequence[float], beta: float, starts: int, adam: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Turn a perfect fit of the plane by 15 to 40 degrees; the exact gradient turns it back."""
    # Gives rate times steps `[moment]` and the radians left, of the worse latent, `[ratio, start,
    # moment]`; `adam`, its rate, takes 1,000 steps, plain descent as long as theory wants.
    f = np.stack([_fitted(ratio, beta).numpy() for ratio in ratios])
    spectrum = np.stack([np.diag([ratio**2, 1.0]) for ratio in ratios])[:, None]
    turn = np.radians(np.linspace(15, 40, starts))
    turns = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in turn])
    D = np.stack([np.diag(row) for row in f])[:, None] @ turns
    step = adam or 0.5
    steps = 1_000 if adam else int(12 * slowness(ratios, beta).max() / step)
    first, second = np.zeros_like(D), np.zeros_like(D)
    path = [_angle_left(D, spectrum, beta)]
    for count in range(1, steps + 1):
        g = loss_gradient(D, spectrum, beta)
        if adam:
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
            g = (first / (1 - 0.9**count)) / (np.sqrt(second / (1 - 0.999**count)) + 1e-8)
        D = D - step * g
        path.append(_angle_left(D, spectrum, beta))
    return step * np.arange(1, steps + 2), np.stack(path, -1)


def loss_gradient(D: np.ndarray, spectrum: np.ndarray, variance: float) -> np.ndarray:
    r"""Gradient of $\beta$ times minus evidence plus `linear.diagonal_gap`, `[*batch, 2, 2]`."""
    # Diagonal posteriors are at their best; noise is 1, so that `variance`, beta sigma^2, is beta.
    one, across = np.eye(2), np.swapaxes(D, -1, -2)
    inverse = np.linalg.inv(D @ across + variance * one)
    P = one + across @ D / variance
    lost = one / np.diagonal(P, axis1=-2, axis2=-1)[..., None] - np.linalg.inv(P)
    return variance * (inverse @ D - inverse @ spectrum @ inverse @ D) + D @ lost


def _angle_left(D: np.ndarray, spectrum: np.ndarray, variance: float) -> np.ndarray:
    """Between the latents that the model finds and the true ones, the larger of both."""
    across = np.swapaxes(D, -1, -2)
    found = np.linalg.solve(np.eye(2) + across @ D / variance, across) @ np.sqrt(spectrum)
    cosines = np.abs(found) / np.linalg.norm(found, axis=-1, keepdims=True)
    return np.arccos(np.clip(np.diagonal(cosines, axis1=-2, axis2=-1).min(-1), 0, 1))


def times_of_descent(
    ratios: Sequence[float], beta: float, starts: int, adam: float
) -> dict[str, np.ndarray]:
    """Times `[ratio, start]` of descent until recovery; "near": then to a tenth of the angle."""
    found = {}
    until = lambda moments, path, angle: np.stack(
        [time_to_reach(moments, -row, -angle) for row in path]
    )
    for name, rate in (("gradient", None), ("adam", adam)):
        moments, path = angles_in_descent(ratios, beta, starts, rate)
        found[name] = until(moments, path, LEVEL_ANGLE)
        if name == "gradient":
            found["near"] = until(moments, path, LEVEL_ANGLE / 10) - found[name]
    return found


def claim_arms(results: Results, rows: pd.DataFrame, titles: Mapping[str, str]) -> None:
    """Claim that a larger ratio lets factors be found, better and sooner, in each arm."""
    notes = {
        "plane": "Lemma 6.3 applies.",
        "blobs": "Its gap is zero in the bulk of uniform factors: the condition is not necessary.",
    }
    for arm, title in titles.items():
        mcc, time = (by_seed(rows, arm, "diagonal", name) for name in ("mcc", "time"))
        first, last = f"{mcc.index[0]:g}", f"{mcc.index[-1]:g}"
        results.claim(
            f"recovered_{arm}",
            f"At ratio {last} diagonal posteriors recover the factors: {title} (least "
            "correlation).",
            by_seed(rows, arm, "diagonal", "mcc_least").iloc[-1].tolist(),
            RECOVERED,
            note=notes.get(arm, ""),
        )
        results.claim(
            f"gain_{arm}",
            f"They find them better at ratio {last} than at {first}: {title} (MCC, difference).",
            (mcc.iloc[-1] - mcc.iloc[0]).tolist(),
            0.02,
        )
        rank = pd.Series(time.index, time.index).rank()
        results.claim(
            f"speed_{arm}",
            f"The larger the ratio, the sooner: {title} (rank correlation with images to "
            "recovery).",
            [float(time[seed].rank().corr(rank)) for seed in time],
            -0.5,
            above=False,
            note="A run that has not arrived counts as last.",
        )
        against = mcc.iloc[-1] - by_seed(rows, arm, "full", "mcc").iloc[-1]
        results.claim(
            f"full_{arm}",
            f"At ratio {last}, diagonal minus full posteriors: {title} (MCC).",
            against.tolist(),
            0.02,
        )


def claim_equal_and_exponents(
    results: Results, rows: pd.DataFrame, of_run: Mapping[str, list[float]]
) -> None:
    """Claim what theory says of the plane: nothing at equal ranges, and the time above them."""
    least = by_seed(rows, "plane", "diagonal", "mcc_least")
    results.claim(
        "equal_plane",
        f"At ratio {least.index[0]:g} the plane's latents are not recovered (least correlation, "
        "diagonal).",
        least.iloc[0].tolist(),
        RECOVERED,
        above=False,
        note="Equal eigenvalues: no method could find them.",
    )
    seen = "Not blind: added after the exponent of the medians was known."
    exact = "An exact computation, from turned fits."
    for name, what, tolerance, note in (
        ("trained", "training with Adam, images until recovery", 0.2, seen),
        ("near", "gradient descent near the optimum", 0.1, exact),
    ):
        results.claim(
            f"slope_{name}",
            f"On the plane the time goes as one over the rate of alignment: {what} (exponent, "
            "distance to 1).",
            [abs(found - 1) for found in of_run[name]],
            tolerance,
            above=False,
            note=note,
        )
