"""How long is the evaluation of runs, together and one model at a time, beside their training?

Runs of small fully connected nets on dSprites at 16 x 16, trained for long enough that their
posteriors are like those of the figures, with their snapshots: every score of
`seams.training.evaluate`, MIG in both forms and both derivative terms among them. With a GPU the
64 x 64 net of Burgess 2018 too.

* *together*: the runs of the stack, each with its snapshots, on the device of the stack.
* *one at a time*: the same models by themselves, there.

Run as `python benchmarks/evaluation.py [--device cuda]` after `seams data`; writes
`benchmarks/results/evaluation.json` with its environment, within a few minutes. Both take turns,
so that a machine that speeds up or slows down does so for both.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from summaries import summary

from seams import data as datasets
from seams.data import Data
from seams.paper.notebook import profile_of
from seams.training import CHUNK, Stack, TrainConfig, train
from seams.training import evaluate as evaluation
from seams.training.provenance import environment

RESULTS = Path(__file__).parent / "results"
TURNS = 5
TRAINED = 16 * CHUNK  # steps: the means spread and the scales shrink in the first thousand
FULL = profile_of("fig05", "quick")["images"]  # of a run, for the share of the evaluation in it

NETWORKS = {
    "mlp at 16 x 16": TrainConfig(
        dataset="dsprites_half_height",
        resolution=16,
        network="mlp",
        sigma=0.25,
        batch=128,
        learning_rate=1e-3,
        snapshots=8,
    ),
    "burgess at 64 x 64": TrainConfig(dataset="dsprites_half_height", snapshots=8),
}


def seconds(call: Callable[[], Any], device: str) -> float:
    """Wall time of a call.

    Returns:
        Seconds.
    """
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def one_at_a_time(stack: Stack, data: Data) -> None:
    """Evaluate each run of a stack at its end and at its snapshots, model by model."""
    for run in range(len(stack.configs)):
        for step, params in [(0, stack.params), *stack.snapshots.items()]:
            stack.model.load_state_dict({name: value[run] for name, value in params.items()})
            images = evaluation.SNAPSHOT_IMAGES if step else evaluation.IMAGES
            evaluation.score_model(stack.model, data, images, whole=not step)


def compared(config: TrainConfig, runs: int, device: str) -> dict[str, Any]:
    """Both ways of evaluating a stack in turns, and the time of its training.

    Returns:
        Seconds a run, their ratio turn by turn, and the share of the evaluation in a run.
    """
    data = datasets.load(config.dataset, config.resolution).to(torch.device(device))
    configs = [replace(config, seed=s, images=TRAINED * config.batch) for s in range(runs)]
    stack = Stack.start(configs, data, device)
    steps = train(stack, data)
    next(steps)  # captures and compiles
    training = seconds(lambda: list(steps), device) / (TRAINED - CHUNK) / config.batch / runs
    ways = {
        "together": lambda: evaluation.evaluate(stack, range(runs), data),
        "one at a time": lambda: one_at_a_time(stack, data),
    }
    each: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TURNS + 1):
        for name, call in ways.items():
            taken = seconds(call, device) / runs
            if turn:
                each[name].append(taken)
    ratios = [b / a for a, b in zip(*each.values(), strict=True)]
    shares = [taken / (training * FULL) for taken in each["together"]]
    return {
        "runs": runs,
        "snapshots": config.snapshots,
        "seconds_a_run": {name: summary(values) for name, values in each.items()},
        "ratio": summary(ratios),
        "training_seconds_a_run": round(training * FULL, 2),
        "evaluation_over_training": summary(shares),
    }


def main() -> None:
    """Compare and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    if device == "cpu":
        torch.set_num_threads(1)  # as a worker of a sweep
        found = {"mlp at 16 x 16": compared(NETWORKS["mlp at 16 x 16"], 4, device)}
    else:
        found = {name: compared(config, 16, device) for name, config in NETWORKS.items()}
    content = {
        "question": "evaluation together and one model at a time, beside training",
        "images": {
            "training": FULL,
            "end": evaluation.IMAGES,
            "snapshot": evaluation.SNAPSHOT_IMAGES,
            "derivatives": evaluation.DERIVATIVE_IMAGES,
        },
        "threads": torch.get_num_threads(),
        "environment": environment(),
        "networks": found,
    }
    RESULTS.mkdir(exist_ok=True)
    suffix = "_gpu" if device == "cuda" else ""
    (RESULTS / f"evaluation{suffix}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
