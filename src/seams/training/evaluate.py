"""Trained models turned into numbers: rate and distortion, metrics, and both terms of Eq. 6.

The same weights give the same numbers: images and draws depend on the constants below alone, and
derivatives are of float64 copies. Models that share their shapes are evaluated together. Of the
`GROUPS`, stored scores say which they hold; where one is missing or older, the others stand.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seams.data import Data
from seams.networks import LinearEncoder, set_covariance
from seams.scores import COLLAPSED_RATE, Scored
from seams.training.config import TrainConfig, covariance_at
from seams.training.encode import Encoded, encode
from seams.training.score import (
    DERIVATIVE_IMAGES,
    IMAGES,
    SNAPSHOT_IMAGES,
    TRAVERSAL,
    Arrays,
    Scores,
    score_model,
    score_models,
)
from seams.training.stack import Models, Stack
from seams.training.store import Run
from seams.vae import VAE

__all__ = [
    "COLLAPSED_RATE",
    "DERIVATIVE_IMAGES",
    "GROUPS",
    "IMAGES",
    "SNAPSHOT_IMAGES",
    "TRAVERSAL",
    "VERSION",
    "Encoded",
    "at_once",
    "encode",
    "evaluate",
    "groups",
    "is_current",
    "needed",
    "reevaluate",
    "score_model",
]

GROUPS = {  # with versions: of how scores are computed, and of what they are
    "fit": 1,  # distortion, rate, active, collapsed; arrays kl and activity
    "derivatives": 1,  # off_diagonal_*, dto, c_ima
    "null": 1,  # the same in random axes, c2, tangent_share and off_diagonal_tangent
    "information": 1,  # mig*, aas*, probe_*
    "recovery": 1,  # mcc and what goes with it
    "pictures": 1,
    "curves": 1,  # of all scores, along training
}
VERSION = 2  # of evaluations that name no groups: they hold those of `_BEFORE_GROUPS`
_BEFORE_GROUPS = ("fit", "derivatives", "information", "recovery", "pictures", "curves")
_RUNS_ON_GPU = 16  # evaluated together there, between two looks at the clock


def groups(scores: Mapping[str, Any]) -> dict[str, int]:
    """The groups that stored scores hold, with the version of each."""
    if "groups" in scores:
        return dict(scores["groups"])
    return dict.fromkeys(_BEFORE_GROUPS, 1) if scores.get("evaluation") == VERSION else {}


def is_current(scores: Mapping[str, Any]) -> bool:
    """Whether all groups are there at their versions, so that to evaluate anew adds nothing."""
    held = groups(scores)
    return all(held.get(name) == version for name, version in GROUPS.items())


def needed(runs: Iterable[Run], *names: str) -> None:
    """Raise a ValueError if a run holds no scores of these `GROUPS` at their versions."""
    every = list(runs)
    for name in names:
        if name not in GROUPS:
            raise ValueError(f"{name!r} is no group of scores; there are {', '.join(GROUPS)}.")
        lacking = [run for run in every if groups(run.scores).get(name) != GROUPS[name]]
        if lacking:
            raise ValueError(
                f"The scores of group {name!r} were not computed for {len(lacking)} of "
                f"{len(every)} runs, {lacking[0].id} the first. Where weights are stored, load "
                "the runs again, which evaluates them anew; else train them with `retrain=True`."
            )


def at_once(device: str) -> int:
    """How many runs `evaluate` should be given together: on a CPU one, with numbers of its own."""
    return 1 if torch.device(device).type == "cpu" else _RUNS_ON_GPU


def evaluate(stack: Stack, runs: Sequence[int], data: Data) -> list[tuple[Scores, Arrays]]:
    """`score_model` of runs on the same data; `curve_<score>` of snapshots, NaN if undefined."""
    of_run = lambda params, run: {name: param[run] for name, param in params.items()}
    ends = [of_run(stack.params, run) for run in runs]
    snapshots = [{s: of_run(p, run) for s, p in stack.snapshots.items()} for run in runs]
    return _evaluate(stack.model, stack.configs[0], ends, snapshots, data)


def reevaluate(run: Run, data: Data) -> tuple[Scores, Arrays]:
    """The same for a run that is stored with its weights."""
    return _evaluate(run.model(), run.config, [run.weights()], [run.snapshots()], data)[0]


def _evaluate(
    vae: VAE,
    config: TrainConfig,
    ends: Sequence[Mapping[str, Tensor]],
    snapshots: Sequence[Mapping[int, Mapping[str, Tensor]]],
    data: Data,
) -> list[tuple[Scores, Arrays]]:
    found = score_models(Models.of(vae, *ends), data, IMAGES, whole=True, derived=True)
    # Where the truth is known, recovery is what is followed: small models come in hundreds, and
    # their derivatives would take most of the time.
    derived = getattr(data, "latents", None) is None
    steps = sorted(snapshots[0])
    if isinstance(vae.encoder, LinearEncoder) and derived:
        steps = []  # its decoder is its own Jacobian: nothing to add
    points: dict[tuple[int, int], Scored] = {}
    for kind in sorted({covariance_at(config, step - 1) for step in steps}):
        early = [step for step in steps if covariance_at(config, step - 1) == kind]
        keys = [(run, step) for run in range(len(snapshots)) for step in early]
        models = Models.of(vae, *(snapshots[run][step] for run, step in keys))
        set_covariance(models.template, kind)
        scores = score_models(models, data, SNAPSHOT_IMAGES, whole=False, derived=derived)
        points |= {key: point for key, (point, _) in zip(keys, scores, strict=True)}
    whole = []
    for run, (scored, arrays) in enumerate(found):
        of_run = [points[run, step] for step in steps]
        curves = {"curve_step": np.array(steps, float)} if steps else {}
        for name in dict.fromkeys(name for point in of_run for name in point.scores):
            curves[f"curve_{name}"] = _curve([point.scores.get(name) for point in of_run])
        reasons = dict(scored.reasons)
        for step, point in zip(steps, of_run, strict=True):
            for name, reason in point.reasons.items():
                reasons.setdefault(f"curve_{name}", f"at step {step}, {reason}")
        stamp = {"reasons": reasons, "groups": dict(GROUPS), "evaluation": VERSION}
        whole.append((scored.scores | stamp, arrays | curves))
    return whole


def _curve(values: Sequence[Any]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], float)
