"""Do the tests pass with each Python and each torch that pyproject.toml allows?

    python benchmarks/versions.py --python python3.11 python3.12 --torch 2.11 2.13

makes an environment for each pair, of requirements.lock with that torch, runs the default tests in
it, and writes `benchmarks/results/versions.json`: passed, failed, or why it was not tried, and at
which commit. Pairs that the file has from before stay until they are tried again. From the package
index torch comes with CUDA on Linux, some 5 GB a pair; PIP_EXTRA_INDEX_URL can name an index of
CPU builds.
"""

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from seams.training.provenance import environment

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
OUT = ROOT / "benchmarks" / "results" / "versions.json"


def made(python: str, place: Path, torch: str) -> str:
    """Make an environment of the lock with that torch; why it could not be made, if so."""
    new = subprocess.run([python, "-m", "venv", str(place)], capture_output=True)
    if new.returncode:  # a shim of a Python that is not installed, say
        return f"{Path(python).name} makes no environment"
    lock, lines = place / "lock", LOCK.read_text(encoding="utf-8").splitlines()
    others = [line for line in lines if not line.startswith("torch==")]
    lock.write_text("\n".join([*others, f"torch=={torch}.*"]), encoding="utf-8")
    for arguments in (["-r", str(lock)], ["--no-deps", "-e", str(ROOT)]):
        done = subprocess.run(
            [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *arguments],
            capture_output=True,
            encoding="utf-8",
        )
        if done.returncode:
            return done.stderr.strip().splitlines()[-1]
    (place / "whole").touch()
    return ""


def tried(python: str, torch: str, place: Path, tests: list[str]) -> dict[str, str]:
    """What came of one pair."""
    found = shutil.which(python)
    if not found:
        return {"came": "not tried", "why": f"there is no {python}"}
    ours = place / "bin" / "python"
    if not (place / "whole").exists() and (why := made(found, place, torch)):
        return {"came": "not tried", "why": why}
    facts = "import platform, torch; print(platform.python_version(), torch.__version__)"
    said = subprocess.run([str(ours), "-c", facts], capture_output=True, encoding="utf-8")
    done = subprocess.run(
        [str(ours), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    last = (done.stdout.strip().splitlines() or ["no test was run"])[-1]
    print(done.stdout)
    return {
        "came": "failed" if done.returncode else "passed",
        "versions": said.stdout.strip(),
        "tests": re.sub(r" in [\d.]+s.*", "", last.strip("= ")),
    }


def main() -> int:
    """Try the pairs; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", nargs="+", default=["python3.11", "python3.12", "python3.13"])
    parser.add_argument("--torch", nargs="+", default=["2.11", "2.12", "2.13"])
    parser.add_argument("--out", type=Path, default=OUT)
    kept = "folder in which environments are kept, and found again; else each is removed"
    parser.add_argument("--place", type=Path, help=kept)
    parser.add_argument("--tests", nargs="+", default=["tests"], help="what pytest is given")
    chosen = parser.parse_args()
    before = json.loads(chosen.out.read_text(encoding="utf-8")) if chosen.out.is_file() else {}
    found, failed = before.get("pairs", {}), False
    for python in chosen.python:
        for torch in chosen.torch:
            pair = f"{python}, torch {torch}"
            with tempfile.TemporaryDirectory() as folder:
                place = (chosen.place or Path(folder)) / f"{python}-{torch}"
                found[pair] = tried(python, torch, place.resolve(), chosen.tests)
            print(pair, found[pair], flush=True)
            found[pair]["commit"] = environment()["commit"]
            failed |= found[pair]["came"] == "failed"
            content = {"environment": environment(), "pairs": found}
            chosen.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
