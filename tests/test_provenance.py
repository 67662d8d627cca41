import os
import platform
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
import torch

import seams
from seams.data import Samples
from seams.training import provenance as module
from seams.training.provenance import environment, provenance

ROOT = Path(__file__).parent.parent


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_environment_names_versions_and_machine() -> None:
    found = environment()
    assert found["seams"] == seams.__version__
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()
    assert found["cores"] == os.cpu_count()
    assert found["cpu"] and found["device"]
    assert found == environment()


def test_provenance_adds_what_changes_from_run_to_run() -> None:
    data = Samples(torch.zeros(7, 3))
    found = provenance(data, "cpu")
    assert {k: found[k] for k in environment() if k != "device"} == {
        k: v for k, v in environment().items() if k != "device"
    }
    assert (found["data_size"], found["data_count"]) == (3, 7)
    assert found["data_checksum"] == data.checksum
    assert found["device"] == "cpu"
    assert found["peak_memory_mb"] > 10  # torch alone is more
    assert datetime.fromisoformat(found["finished"]).tzinfo is not None


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of which this module is a part."""
    (tmp_path / "src" / "seams").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    source = tmp_path / "src" / "seams" / "provenance.py"
    source.write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    git(tmp_path, *identity, "commit", "-q", "-m", "First")
    monkeypatch.setattr(module, "__file__", str(source))
    return tmp_path


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_commit_and_whether_the_code_differs_from_it(clone: Path) -> None:
    head = git(clone, "rev-parse", "HEAD")
    assert module._commit() == {"commit": head, "dirty": False}
    (clone / "notes.txt").touch()
    (clone / "results").mkdir()
    assert module._commit()["dirty"] is False, "only tracked code and notebooks count"
    (clone / "src" / "seams" / "provenance.py").write_text("x = 2\n")
    assert module._commit() == {"commit": head, "dirty": True}


def test_without_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert module._commit() == {"commit": None, "dirty": None}


def test_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(module.subprocess, "run", missing)
    assert module._commit() == {"commit": None, "dirty": None}
