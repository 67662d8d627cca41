"""Faults done to the product on purpose, and what came of each, counted.

    python tests/faults/rounds.py --size small      # half an hour on two busy cores; full: hours
    python tests/faults/rounds.py --only fuzz disk  # these again; what else was counted stays

writes `benchmarks/results/faults.json`, which the book's page on trust shows.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seams.data import Samples
from seams.sweep import jobs, local, train_or_load
from seams.training import Stack, Store, TrainConfig, train
from seams.training.provenance import environment
from seams.training.runs import Run

ROOT = Path(__file__).parents[2]
OUT = ROOT / "benchmarks" / "results" / "faults.json"
SIZES = {  # rounds, disks, lengths and flips a file, cases, or seconds of rounds
    "small": {"kills": 6, "pairs": 2, "threes": 1, "disk": 20, "cuts": 10, "flips": 50,
              "cases": 2_000, "seconds": 300},
    "full": {"kills": 50, "pairs": 10, "threes": 10, "disk": 20, "cuts": 10, "flips": 50,
             "cases": 10_000, "seconds": 1_200},
}  # fmt: skip

# A run that is killed has checkpoints to go on from, and is not trained in one process alone.
if __name__ in ("__main__", "__mp_main__"):  # the latter in its workers
    jobs.CHECKPOINT_SECONDS, local._ALONE_SECONDS = 0.3, 0.0

BASE = TrainConfig(
    dataset="linear", resolution=1, network="mlp", width=32, latent=2, images=64 * 1500, batch=64
)
SWEEP = [replace(BASE, latent=latent, seed=seed) for latent in (2, 3) for seed in (0, 1)]


# --- kills, and several sweeps at once -----------------------------------------------------------


def start(store: Path, workers: int) -> subprocess.Popen:
    """A sweep in a process group of its own."""
    program = [sys.executable, __file__, "--train", str(store), str(workers)]
    quiet = os.environ | {"SEAMS_PROGRESS": os.devnull, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(program, env=quiet, start_new_session=True)


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True)
    return [int(word) for word in found.stdout.split()]


def compared(store: Path, reference: Path) -> float:
    """Largest difference of a weight, relative to the largest; infinite if a run is not whole."""
    worst = 0.0
    for config in SWEEP:
        run = Store(store).find(config, weights=True)
        if run is None or run.damage(weights=True):
            return float("inf")
        for name, wanted in Store(reference).find(config, weights=True).weights().items():
            apart = (run.weights()[name] - wanted).abs().max() / wanted.abs().max().clamp(min=1e-9)
            worst = max(worst, float(apart))
    return worst


def told(differences: list[float], **more: Any) -> dict[str, Any]:
    """Counts of rounds by what came of them."""
    whole = [d for d in differences if d < float("inf")]
    return more | {
        "rounds": len(differences),
        "whole": len(whole),
        "identical": sum(d == 0 for d in whole),
        "largest_difference": max(whole, default=0.0),
    }


def kills(place: Path, rounds: int, rng: random.Random) -> dict[str, Any]:
    """kill -9 of the process, one of its workers or all, at random moments; then to the end."""
    begun = time.monotonic()
    assert start(place / "reference", 2).wait() == 0
    length, differences, count = time.monotonic() - begun, [], Counter[str]()
    for number in range(rounds):
        store = place / f"kill-{number}"
        for _ in range(rng.randint(1, 2)):
            process = start(store, 2)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.2, 1.0) * length)
            if process.poll() is None:
                victim = rng.choice(["process", "worker", "group"])
                workers = children(process.pid)
                with contextlib.suppress(ProcessLookupError):
                    if victim == "group":
                        os.killpg(process.pid, signal.SIGKILL)
                    else:
                        one = rng.choice(workers or [process.pid]) if victim == "worker" else 0
                        os.kill(one or process.pid, signal.SIGKILL)
                count[victim] += 1
            process.wait()
        ended = start(store, 2).wait() == 0
        differences.append(compared(store, place / "reference") if ended else float("inf"))
    return told(differences, kills=sum(count.values()), **count)


def at_once(place: Path, pairs: int, threes: int) -> dict[str, Any]:
    """Two and three sweeps of the same runs on one store."""
    if not (place / "reference").exists():
        assert start(place / "reference", 2).wait() == 0
    differences = []
    for number, many in enumerate([2] * pairs + [3] * threes):
        store = place / f"once-{number}"
        ended = [process.wait() for process in [start(store, 1) for _ in range(many)]]
        whole = not any(ended) and not Store(store).check()[1]
        differences.append(compared(store, place / "reference") if whole else float("inf"))
    return told(differences)


# --- the disk ------------------------------------------------------------------------------------


def small(seed: int = 0, snapshots: int = 2) -> TrainConfig:
    return replace(BASE, images=64 * 20, seed=seed, snapshots=snapshots)


def points() -> Samples:
    generator = torch.Generator().manual_seed(0)
    return Samples(torch.randn(200, 6, generator=generator, dtype=torch.float32))


def trained(*configs: TrainConfig, data: Samples | None = None) -> Stack:
    stack = Stack.start(configs, data or points())
    for _ in train(stack, data or points()):
        pass
    return stack


FACTS = {"data_size": 6, "data_checksum": "", "device": "cpu"}


def save(store: Store, stack: Stack, rate: float = 0.5) -> Run:
    return store.save(stack, 0, FACTS, {"rate": rate}, {"information": np.eye(3)})


def disk_full(place: Path, sizes: int) -> dict[str, Any]:
    """No file may grow beyond so many bytes while a run is stored over an old one, and after."""
    stack, store, found = trained(small()), Store(place / "disk"), Counter[str]()
    largest = max(path.stat().st_size for path in save(store, stack).folder.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in np.geomspace(16, 8 * largest, sizes).astype(int).tolist():
        before = sorted(path.name for path in store.root.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            save(store, stack, rate=1.0)
            store.save_checkpoint(stack)
            said = "stored"
        except OSError:
            said = "refused"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        left = sorted({path.name for path in store.root.iterdir()} - {"checkpoint", *before})
        run = Store(store.root).find(small(), weights=True)
        known = run is not None and run.scores["rate"] in (0.5, 1.0) and not left
        found[said if known else "lost"] += 1
        save(store, stack)  # as there is room again
    return {"sizes": sizes} | {name: found[name] for name in ("stored", "refused", "lost")}


def contents(run: Run) -> str:
    """All that a run says, in one text."""
    parts = [run.config, run.provenance, run.scores, run.history.to_csv()]
    for found in (run.arrays, run.weights(), *run.snapshots().values()):
        parts.append([(name, found[name].tolist()) for name in sorted(found)])
    return repr(parts)


def damaged(
    raw: bytes, lengths: int, flips: int, rng: random.Random
) -> Iterator[tuple[str, bytes]]:
    for number in range(lengths):
        yield "truncated", raw[: len(raw) * number // lengths]
    for _ in range(flips):
        changed = bytearray(raw)
        changed[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        yield "flipped", bytes(changed)


def damage(place: Path, lengths: int, flips: int, rng: random.Random) -> dict[str, Any]:
    """Each file of a run, and a checkpoint, cut and with bits flipped: seen, or without effect?"""
    stack, store = trained(small()), Store(place / "damage")
    run, whole = save(store, stack), place / "whole"
    shutil.copytree(run.folder, whole)
    wanted, files = contents(run), sorted(path.name for path in whole.iterdir())
    found = {kind: Counter[str]() for kind in ("truncated", "flipped")}
    for name in files:
        for kind, raw in damaged((whole / name).read_bytes(), lengths, flips, rng):
            shutil.rmtree(run.folder, ignore_errors=True)
            shutil.copytree(whole, run.folder)
            (run.folder / name).write_bytes(raw)
            again = store.trained(small(), weights=True)
            same = again is not None and contents(again) == wanted
            found[kind]["seen" if again is None else "harmless" if same else "unseen"] += 1
    store.save_checkpoint(stack)
    (path,) = store.root.glob("checkpoint/*.safetensors")
    good = path.read_bytes()
    values = lambda state: state and repr([(k, state[k].tolist()) for k in sorted(state)])
    state = values(store.checkpoint(small()))
    for kind, raw in damaged(good, lengths, flips, rng):
        path.write_bytes(raw)
        again = store.checkpoint(small())
        same = values(again) == state
        found[kind]["seen" if again is None else "harmless" if same else "unseen"] += 1
    shutil.rmtree(store.root / ".damaged")
    kinds = ("seen", "harmless", "unseen")
    return {"files": len(files) + 1} | {
        kind: {"tried": sum(count.values())} | {k: count[k] for k in kinds}
        for kind, count in found.items()
    }


# --- what is the same ----------------------------------------------------------------------------


def same(place: Path) -> dict[str, float]:
    """Largest relative difference of a weight: again, resumed, with two threads, in a stack."""
    config, data = replace(small(snapshots=0), images=64 * 200), points()
    weights = lambda stack: {k: v[0] for k, v in stack.params.items()}
    once = weights(trained(config))
    far = lambda other: max(
        float((other[k] - v).abs().max() / v.abs().max().clamp(min=1e-9)) for k, v in once.items()
    )
    again = far(weights(trained(config)))
    half, store = Stack.start([config], data), Store(place / "same")
    next(train(half, data))
    store.save_checkpoint(half)
    resumed = Stack.resume([config], [store.checkpoint(config)], data)
    assert 0 < resumed.step < config.steps
    for _ in train(resumed, data):
        pass
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    threads = far(weights(trained(config)))
    torch.set_num_threads(before)
    stacked = far(weights(trained(config, *(replace(config, seed=s) for s in (1, 2, 3)))))
    return {
        "again": again,
        "resumed": far(weights(resumed)),
        "threads": threads,
        "stacked": stacked,
    }


def parts(size: str, seed: int) -> dict[str, Callable[[Path], dict[str, Any]]]:
    """What is done, by its name in the file."""
    from fuzz import fuzz
    from pipeline import pipeline

    n, rng = SIZES[size], random.Random(seed)
    return {
        "same": same,
        "disk": lambda place: disk_full(place, n["disk"]),
        "damage": lambda place: damage(place, n["cuts"], n["flips"], rng),
        "fuzz": lambda place: fuzz(place, n["cases"], seed),
        "kills": lambda place: kills(place, n["kills"], rng),
        "at_once": lambda place: at_once(place, n["pairs"], n["threes"]),
        "pipeline": lambda place: pipeline(place, n["seconds"], rng),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--only", nargs="+", metavar="PART", help="some of what is done")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--train", nargs=2, metavar=("STORE", "WORKERS"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.train:
        store, workers = chosen.train
        train_or_load(SWEEP, Store(store), device="cpu", workers=int(workers), weights=True)
        return
    sys.path.insert(0, str(ROOT / "tests"))
    os.environ["SEAMS_PROGRESS"] = os.devnull
    torch.set_num_threads(1)
    known = parts(chosen.size, chosen.seed)
    for name in chosen.only or known:
        if name not in known:
            parser.error(f"--only takes {', '.join(known)}; got {name}")
        with tempfile.TemporaryDirectory() as place:
            counts = known[name](Path(place))
        found = json.loads(chosen.out.read_text("utf-8")) if chosen.out.is_file() else {}
        here = environment()
        said = {"commit": here["commit"], "finished": f"{datetime.now(UTC):%Y-%m-%d}"}
        found |= {"environment": here, name: counts | {"of": said | {"size": chosen.size}}}
        chosen.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(counts, indent=1), flush=True)


if __name__ == "__main__":
    main()
