"""Faults in a small size: nothing is lost, nothing wrong is read, nothing ends in a traceback."""

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pipeline import pipeline
from rounds import OUT, at_once, damage, disk_full, kills, same


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_default_dtype(torch.float32)
    monkeypatch.setenv("SEAMS_PROGRESS", "/dev/null")


def well(found: dict) -> None:
    """Counts in which nothing went wrong."""
    assert found["rounds"] == found["whole"] > 0
    assert found["largest_difference"] < 1e-4


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    found = disk_full(tmp_path, 6)
    assert found["lost"] == 0 < found["refused"]


def test_damage_is_seen_or_without_effect(tmp_path: Path) -> None:
    found = damage(tmp_path, 3, 3, random.Random(1))
    for kind in ("truncated", "flipped"):
        assert found[kind]["unseen"] == 0 and found[kind]["tried"] == 3 * found["files"]
        assert found[kind]["seen"] > 2 * found["files"]


def fuzzed(cases: int, seed: int) -> dict:
    """In a process without the shape checks of tests, whose errors would come first."""
    program = [sys.executable, str(OUT.parents[2] / "tests" / "faults" / "fuzz.py")]
    done = subprocess.run(
        [*program, str(cases), str(seed)], capture_output=True, encoding="utf-8", check=True
    )
    found = json.loads(done.stdout)
    assert found.pop("cases") >= cases
    assert all(part["otherwise"] == 0 for part in found.values()), done.stderr
    return found


def test_hostile_input_is_taken_or_refused() -> None:
    for part in fuzzed(120, 2).values():
        assert min(part["refused"], part["taken"]) > 0


@pytest.mark.slow
def test_ten_thousand_hostile_inputs_are_taken_or_refused() -> None:
    print(fuzzed(10_000, random.randrange(2**32)))


@pytest.mark.slow
def test_what_is_promised_to_be_the_same_is(tmp_path: Path) -> None:
    found = same(tmp_path)
    assert found["again"] == found["resumed"] == found["threads"] == 0
    assert found["stacked"] < 1e-4


@pytest.mark.slow
def test_kills_and_sweeps_at_once_leave_whole_runs(tmp_path: Path) -> None:
    found = kills(tmp_path, 2, random.Random(3))
    well(found)
    assert found["kills"] > 0
    well(at_once(tmp_path, 1, 1))


@pytest.mark.slow
def test_a_killed_pipeline_ends_whole(tmp_path: Path) -> None:
    found = pipeline(tmp_path, 0, random.Random(4))  # one round, of the kernel
    assert found["rounds"] == found["whole"] == 1 and found["largest_difference"] < 1e-4


def test_what_the_book_shows_is_well() -> None:
    found = json.loads(OUT.read_text(encoding="utf-8"))
    assert all(found["same"][name] == 0 for name in ("again", "resumed", "threads"))
    assert found["disk"]["lost"] == 0
    for kind in ("truncated", "flipped"):
        assert found["damage"][kind]["unseen"] == 0
    kinds = [part for part in found["fuzz"].values() if isinstance(part, dict) and "cases" in part]
    assert sum(part["cases"] for part in kinds) == found["fuzz"]["cases"] >= 10_000
    assert all(part["otherwise"] == 0 for part in kinds)
    for name in ("kills", "at_once", "pipeline"):
        assert found[name]["whole"] == found[name]["rounds"] > 0
    assert all(math.isfinite(found[name]["largest_difference"]) for name in ("kills", "at_once"))
