"""How fast is training on this GPU, in every way, and is it right?

One command of at most four minutes on a bare machine:

    python benchmarks/gpu.py [--peer FOLDER] [--minutes 4]

It runs the tests that need a GPU (where pytest is installed), then times every way to compute a
step of the network of Burgess 2018 at 64 x 64, for 1, 8, 35 and 70 runs at once and in each
precision, beside the trainer of disentangling-vae (`--peer`, a checkout) on the same card. The
floors say what arithmetic alone and memory traffic alone would allow. Results are written after
each measurement to `benchmarks/results/gpu.json` with their environment; what there was no time
for is named there. `--device cpu` with small sizes tries the script itself.
"""

import argparse
import gc
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from training import disentangling_vae, noise_images

from seams.data import Samples
from seams.networks import Affine, DoublingConv, HalvingConv
from seams.training import Stack, TrainConfig, loop, train
from seams.training.provenance import environment
from seams.training.ways import Gradients, Way, arithmetic, ways

RESULTS = Path(__file__).parent / "results"
PRECISIONS = ("bfloat16", "tf32", "float32")
TURNS = 3
PASSES = 5  # of a layer's output at the least: written, read twice, its gradient written and read
COMPILING, MEASURING = 60.0, 6.0  # seconds that a measurement may take


def rate(call: Callable[[], Any], images: int, device: str, turn: float) -> dict[str, Any]:
    """Images a second over some turns, after a first call that prepares."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    begun = time.perf_counter()
    call()
    wait()
    prepared, values = time.perf_counter() - begun, list[float]()
    for _ in range(TURNS):
        calls, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < turn:
            call()
            wait()
            calls += 1
        values.append(calls * images / (time.perf_counter() - begun))
    return {
        "images_per_second": round(statistics.median(values)),
        "spread": [round(min(values)), round(max(values))],
        "n": TURNS,
        "seconds_to_prepare": round(prepared, 2),
    }


def measured(
    config: TrainConfig, runs: int, way: Way, data: Samples, steps: int, device: str, turn: float
) -> dict[str, Any]:
    """Rate of a stack in one way, with what it takes of memory; or why there is none."""
    found: dict[str, Any] = {"runs": runs, "precision": config.precision, "way": str(way)}
    try:
        stack = Stack.start([replace(config, seed=s) for s in range(runs)], data, device)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        chunks = train(stack, data, way=way)
        found |= rate(lambda: next(chunks), steps * runs * config.batch, device, turn)
        if device == "cuda":
            found["peak_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
    except Exception as error:  # whatever a library or a driver has against this way
        found["error"] = f"{type(error).__name__}: {str(error)[:300]}"
    chunks = stack = None
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    return found


def floors(config: TrainConfig, device: str) -> dict[str, Any]:
    """What an image needs, what the device gives, and images a second that either would allow."""
    x = noise_images(config.resolution**2).x[None, : config.batch]
    stack = Stack.start([config], noise_images(config.resolution**2))
    gradients, outputs = Gradients(stack, Way(apart=True), "float32"), list[int]()
    for layer in gradients.model.modules():
        if isinstance(layer, Affine | HalvingConv | DoublingConv):
            layer.register_forward_hook(lambda module, inputs, out: outputs.append(out.numel()))
    with FlopCounterMode(display=False) as counter:
        gradients(x, torch.randn(1, config.batch, config.latent), torch.ones(1))
    operations = counter.get_total_flops() / config.batch
    elements = (x.numel() + sum(outputs)) / config.batch
    side, size = (8192, 2**28) if device == "cuda" else (256, 2**20)
    source, target = torch.zeros(2, size, device=device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def best(call: Callable[[], Any]) -> float:
        times = []
        for _ in range(10):
            begun = time.perf_counter()
            call()
            wait()
            times.append(time.perf_counter() - begun)
        return min(times)

    traffic = 2 * source.nbytes / best(lambda: target.copy_(source))
    found: dict[str, Any] = {"operations an image": operations, "bytes a second": traffic}
    for precision in PRECISIONS:
        kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
        a, b = torch.randn(2, side, side, device=device).to(kind)
        with arithmetic(precision, torch.device(device)):
            arithmetic_rate = 2 * side**3 / best(lambda a=a, b=b: a @ b)
        size_of_image = elements * PASSES * kind.itemsize
        found[precision] = {
            "operations a second": arithmetic_rate,
            "bytes an image": size_of_image,
            "images a second, arithmetic": round(arithmetic_rate / operations),
            "images a second, memory traffic": round(traffic / size_of_image),
        }
    return found


def tests(seconds: float) -> dict[str, Any]:
    """The tests that need a GPU, without the shape checks where those are not installed."""
    if not (torch.cuda.is_available() and importlib.util.find_spec("pytest")):
        return {"run": False}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/test_gpu.py"]
    if not importlib.util.find_spec("jaxtyping"):
        command.append("--noconftest")
    try:
        done = subprocess.run(
            command, cwd=RESULTS.parent.parent, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return {"run": False, "reason": f"not done in {seconds:.0f} s"}
    print(done.stdout[-3000:], flush=True)
    return {"run": True, "passed": done.returncode == 0, "summary": done.stdout.splitlines()[-1:]}


def plan(
    config: TrainConfig, counts: list[int], data: Samples, device: str
) -> list[tuple[int, str, Way]]:
    """What to measure, first what says most: all ways of a wide stack in bfloat16."""
    found: list[tuple[int, str, Way]] = []
    for runs in counts:
        known = ways(Stack.start([config] * runs, data, device))
        if device != "cuda":
            known.append(Way("product", parts=8, apart=runs == 1))
        elif runs > 1:
            known.pop()  # without a graph, run by run: seconds a step, and known to be slow
        found += [(runs, precision, way) for precision in PRECISIONS for way in known]
    middle = counts[len(counts) // 2]

    def stage(one: tuple[int, str, Way]) -> tuple[bool, ...]:
        runs, precision, way = one
        ahead = runs == middle and precision == "bfloat16"
        widest = ahead and way.compiled and way.parts > 1
        return not (ahead and not way.compiled), not widest, way.compiled, precision != "bfloat16"

    return sorted(found, key=stage)


def main() -> None:
    """Measure until all is done or time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="folder of a checkout of disentangling-vae")
    parser.add_argument("--minutes", type=float, default=4.0, help="that all may take")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 8, 35, 70])
    parser.add_argument("--side", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="between two looks at the clock")
    parser.add_argument("--turn", type=float, default=0.3, help="seconds; each way has three")
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu.json")
    chosen = parser.parse_args()
    end = time.monotonic() + 60 * chosen.minutes
    left = lambda: end - time.monotonic()
    device, loop.CHUNK = chosen.device, chosen.steps
    config = TrainConfig(resolution=chosen.side, batch=chosen.batch, images=10**9)
    report: dict[str, Any] = {"question": "gpu", "environment": environment()}
    report |= {"arguments": {k: str(v) for k, v in vars(chosen).items() if k != "output"}}

    def write() -> None:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(json.dumps(report, indent=1) + "\n")

    report["tests"] = tests(0.4 * left())
    report["floors"] = floors(config, device)
    write()
    if chosen.peer:
        x = noise_images(64 * 64, device=device).x
        calls = disentangling_vae(chosen.peer, x)
        report["peer"] = {
            kind: rate(call, 64, device, chosen.turn) for kind, call in calls.items()
        }
        write()
    report |= {"rates": [], "no time for": []}
    data = noise_images(config.resolution**2, device=device)
    for runs, precision, way in plan(config, chosen.runs, data, device):
        if left() < (COMPILING if way.compiled else MEASURING):
            report["no time for"].append(f"{runs} runs, {precision}, {way}")
            continue
        own = replace(config, precision=precision)
        found = measured(own, runs, way, data, chosen.steps, device, chosen.turn)
        if "peer" in report and "error" not in found:
            theirs = report["peer"]["compute"]["images_per_second"]
            found["times_peer"] = round(found["images_per_second"] / theirs, 1)
        report["rates"].append(found)
        write()
        print(json.dumps(found), flush=True)
    write()


if __name__ == "__main__":
    main()
