"""kill -9 of the pipeline: of the kernel that runs a notebook, of DVC, or of their whole group."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import yaml
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).parents[2]
FIGURE = "fig02"  # trains four runs, keeps their weights along the way, and draws
VICTIMS = ("kernel", "dvc", "group")


class Project:
    """A clone of the project, with the data of its first stage, in which DVC makes one figure."""

    def __init__(self, place: Path) -> None:
        self.root = place / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(self.root)], check=True)
        path = self.root / "params.yaml"
        text = path.read_text(encoding="utf-8")
        chosen = f"profile: {yaml.safe_load(text)['profile']}"
        path.write_text(text.replace(chosen, "profile: smoke"), encoding="utf-8")
        self.results = self.root / "results" / "smoke" / FIGURE
        self.log = (place / "log").open("ab")
        self.variables = os.environ | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "DVC_SITE_CACHE_DIR": str(place / "site"),
            "OMP_NUM_THREADS": "1",
        }
        self.variables.pop("SEAMS_DATA", None)
        self.made = self.root / ".runs"

    def start(self) -> subprocess.Popen:
        """`dvc repro` of the figure, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro", f"figure@{FIGURE}"],
            cwd=self.root,
            env=self.variables,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def forget(self) -> None:
        """The figure and its runs, as in a fresh clone; the data stay."""
        for folder in (self.results, self.made):
            shutil.rmtree(folder, ignore_errors=True)
        (self.root / "build" / "inputs" / f"{FIGURE}.json").unlink(missing_ok=True)

    def digests(self) -> dict[str, str]:
        """Of all that the figure shows but the seconds that it took, and of its runs' weights."""
        weights = [p for p in self.made.rglob("*.safetensors") if "checkpoint" not in p.parts]
        found = {}
        for path in sorted(p for p in [*self.results.rglob("*"), *weights] if p.is_file()):
            content = path.read_bytes()
            if path.name == "numbers.json":
                numbers = json.loads(content)
                del numbers["runs"]["seconds"]
                content = json.dumps(numbers).encode()
            found[str(path.relative_to(self.root))] = hashlib.sha256(content).hexdigest()
        return found

    def weights(self) -> dict[str, Tensor]:
        """Of the runs, by run and name."""
        paths = [p for p in self.made.rglob("weights.safetensors") if "checkpoint" not in p.parts]
        return {
            f"{path.parent.name} {name}": value
            for path in paths
            for name, value in load_file(path).items()
        }

    def left(self) -> list[str]:
        """What a killed process has made and nobody has removed."""
        kept = (self.results.parent, self.made)
        return [path.name for folder in kept for path in folder.glob(".new-*")]


def kernels(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any("ipykernel_launcher" in word for word in child.cmdline()):
                found.append(child)
    return found


def strike(process: subprocess.Popen, victim: str) -> bool:
    """Whether there was one to kill."""
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        if victim == "group":
            os.killpg(process.pid, signal.SIGKILL)
        elif victim == "dvc":
            process.kill()
        else:
            found = kernels(psutil.Process(process.pid))
            for kernel in found:
                kernel.kill()
            return bool(found)
        return True
    return False


def orphans(project: Project) -> list[psutil.Process]:
    """Processes that still work in the clone."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(project.root):
                found.append(process)
    return found


def apart(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Largest difference of a weight, relative to the largest; infinite if some are missing."""
    if found.keys() != wanted.keys():
        return float("inf")
    return max(
        float((found[k] - v).abs().max() / v.abs().max().clamp(min=1e-9))
        for k, v in wanted.items()
    )


def pipeline(place: Path, seconds: float, rng: random.Random) -> dict[str, Any]:
    """Rounds of a kill and a new start, as many as fit, in each of which all ends as it should."""
    project, count, outcome = Project(place), Counter[str](), Counter[str]()
    assert project.start().wait() == 0, "the figure is made without a kill"
    wanted, weights = project.digests(), project.weights()
    project.forget()
    begun = time.monotonic()
    assert project.start().wait() == 0
    length = time.monotonic() - begun
    again = project.digests()
    assert again == wanted, f"not the same twice without a kill: {wanted.items() ^ again.items()}"
    worst = 0.0
    while not outcome or time.monotonic() - begun < seconds:
        project.forget()
        process, victim = project.start(), VICTIMS[outcome.total() % len(VICTIMS)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.1, 1.0) * length)
        until = time.monotonic() + length
        while process.poll() is None and not strike(process, victim) and time.monotonic() < until:
            time.sleep(0.05)  # its kernel has not started
        killed = process.wait() != 0
        count[victim] += killed
        ended = project.start().wait() == 0  # beside what the kill has left running
        psutil.wait_procs(orphans(project), timeout=4 * length)
        found, distance = project.digests(), apart(project.weights(), weights)
        same, whole = found == wanted, ended and not project.left() and distance < float("inf")
        worst = max(worst, distance)
        differ = sorted({name for name, _ in wanted.items() ^ found.items()})
        came = "identical" if whole and same else "whole" if whole else "broken"
        outcome[came] += 1
        print(
            f"{victim}{'' if killed else ', too late'}: {came}", distance, *differ, file=sys.stderr
        )
    return {
        "rounds": outcome.total(),
        "kills": count.total(),
        **count,
        "whole": outcome["whole"] + outcome["identical"],
        "identical": outcome["identical"],
        "largest_difference": worst,
        "seconds": round(time.monotonic() - begun),
    }
