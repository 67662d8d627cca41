"""The script `repro`, without installing anything: pip, venv and DVC are stood in for."""

import ast
import importlib.machinery
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / "repro"


def load(path: Path) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("repro", str(path))
    spec = importlib.util.spec_from_loader("repro", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def repro(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script in a small clone of its own."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    shutil.copy(SCRIPT, tmp_path / "repro")
    (tmp_path / ".git").mkdir()
    (tmp_path / "requirements.lock").write_text("# comment\na==1\nb==2\n")
    (tmp_path / "pyproject.toml").write_text("")
    return load(tmp_path / "repro")


@pytest.fixture
def steps(repro: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a set-up did, in words; making an environment leaves a `python` and nothing else."""
    done: list[str] = []

    def create(path: Path, clear: bool, **_: object) -> None:
        assert clear
        shutil.rmtree(path, ignore_errors=True)
        (path / "bin").mkdir(parents=True)
        (path / "bin" / "python").touch()
        done.append("venv")

    def pip_install(*arguments: str) -> None:
        done.append("lock" if "-r" in arguments else "seams")

    monkeypatch.setattr(repro.venv, "create", create)
    monkeypatch.setattr(repro, "pip_install", pip_install)
    return done


def set_up(repro: ModuleType, steps: list[str]) -> list[str]:
    steps.clear()
    repro.set_up()
    return steps


def test_set_up_does_only_what_is_out_of_date(repro: ModuleType, steps: list[str]) -> None:
    assert set_up(repro, steps) == ["venv", "lock", "seams"]
    assert set_up(repro, steps) == []
    (repro.ROOT / "pyproject.toml").write_text("[project]")
    assert set_up(repro, steps) == ["seams"]
    repro.LOCK.write_text("a==1\n")
    assert set_up(repro, steps) == ["venv", "lock", "seams"]
    (repro.VENV / "bin" / "python").unlink()
    assert set_up(repro, steps) == ["venv", "lock", "seams"]
    repro.STAMP.write_text(repro.STAMP.read_text()[:20])
    assert set_up(repro, steps) == ["venv", "lock", "seams"]
    assert set_up(repro, steps) == []


def test_another_python_or_place_rebuilds(
    repro: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(repro, steps)
    for key, other in {"python": "cpython-399", "path": "/elsewhere"}.items():
        repro.STAMP.write_text(json.dumps(repro.wanted() | {key: other}))
        assert set_up(repro, steps) == ["venv", "lock", "seams"], key


def test_set_up_empties_no_environment_behind_a_link(
    repro: ModuleType, steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "precious").touch()
    repro.VENV.symlink_to(elsewhere)
    with pytest.raises(SystemExit, match=r"\.venv is a link, .* would empty .*: remove the link"):
        repro.set_up()
    assert not steps and (elsewhere / "precious").exists()


@pytest.mark.parametrize("breaks_at", ["lock", "seams"])
def test_interrupted_set_up_is_repaired(
    repro: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch, breaks_at: str
) -> None:
    install = repro.pip_install

    def interrupted(*arguments: str) -> None:
        install(*arguments)
        if steps[-1] == breaks_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(repro, "pip_install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        repro.set_up()
    monkeypatch.setattr(repro, "pip_install", install)
    rest = ["venv", "lock", "seams"] if breaks_at == "lock" else ["seams"]
    assert set_up(repro, steps) == rest
    assert set_up(repro, steps) == []


def test_failing_pip_shows_its_last_words(
    repro: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*command: str, log: Path) -> int:
        log.parent.mkdir(exist_ok=True)
        log.write_text("\n".join(f"line {i}" for i in range(40)), encoding="utf-8")
        return 3

    monkeypatch.setattr(repro, "call", call)
    with pytest.raises(SystemExit, match=r"pip ended with status 3 .*setup\.log"):
        repro.pip_install("x")
    assert capsys.readouterr().err.splitlines() == [f"line {i}" for i in range(25, 40)]


def test_venv_failure_is_one_line(repro: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(repro.venv, "create", create)
    with pytest.raises(SystemExit, match=r"could not make \.venv: disk full"):
        repro.set_up()


def test_old_python_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 7))  # it must get as far as the message
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer, got 3\.10"):
        load(SCRIPT)


def test_missing_tools_are_named(repro: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    repro.check_machine()
    with monkeypatch.context() as patch:
        patch.setattr(repro.shutil, "which", lambda name: None)
        with pytest.raises(SystemExit, match="needs git"):
            repro.check_machine()
    with monkeypatch.context() as patch:
        patch.setattr(repro.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(SystemExit, match="apt install python3-venv"):
            repro.check_machine()
    with monkeypatch.context() as patch:
        patch.setattr(repro.os, "name", "nt")
        with pytest.raises(SystemExit, match="inside WSL"):
            repro.check_machine()
    with monkeypatch.context() as patch:
        patch.setattr(repro, "ROOT", repro.ROOT.with_name("a:b"))
        (repro.ROOT / ".git").mkdir(parents=True)
        with pytest.raises(SystemExit, match=r"a:b has ':' in it.*move the clone"):
            repro.check_machine()
    (repro.ROOT / ".git").rmdir()
    with pytest.raises(SystemExit, match="is not a git clone"):
        repro.check_machine()


@pytest.fixture
def clone(repro: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """One that git knows, whose DVC is a script: it does what DVC does to the files of git."""
    (repro.ROOT / ".git").rmdir()
    (repro.ROOT / "notebooks").mkdir()
    (repro.ROOT / "notebooks" / "fig05_beta_sweep.ipynb").touch()
    (repro.ROOT / ".gitignore").write_text("/build/\n/.venv/\n")
    repro.PARAMS.write_text("fig05: {betas: null}\n")
    (repro.ROOT / "dvc.lock").write_text("data\n")
    identity = ["-c", "user.name=n", "-c", "user.email=e@e"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "First"]):
        subprocess.run(["git", *words], cwd=repro.ROOT, check=True)
    (repro.VENV / "bin").mkdir(parents=True)
    dvc = repro.VENV / "bin" / "dvc"
    dvc.write_text(
        '#!/bin/sh\necho "$@" >> build/calls\ncat dvc.lock >> build/calls\n'
        'echo "ran $#" >> dvc.lock\n'
        '[ "$1" = exp ] && echo changed > params.yaml\n'
        '[ "$1" = exp ] && git update-index --no-skip-worktree dvc.lock\n'
        'case "$*" in *stop*) kill -INT $PPID; sleep 60;; *fail*) exit 3;; esac\nexit 0\n'
    )
    dvc.chmod(0o755)
    (repro.ROOT / "build").mkdir()
    monkeypatch.setattr(repro, "set_up", lambda: None)
    return repro


def called(repro: ModuleType) -> list[str]:
    """Words that DVC got, and the lock that it found then."""
    path = repro.ROOT / "build" / "calls"
    lines = path.read_text().splitlines()
    path.unlink()
    return lines


def status(repro: ModuleType) -> str:
    command = ["git", "status", "--porcelain"]
    return subprocess.run(command, cwd=repro.ROOT, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "repro"),
        (["fig05"], "repro figure@fig05"),
        (["--dry", "fig05", "book"], "repro --dry figure@fig05 book"),
        (["-S", "fig05.betas=[1.0]", "fig05"], "exp run -S fig05.betas=[1.0] figure@fig05"),
        (["--set-param=profile=smoke"], "exp run --set-param=profile=smoke"),
    ],
)
def test_arguments_reach_dvc_and_git_sees_no_change(
    clone: ModuleType, arguments: list[str], words: str
) -> None:
    assert clone.main(arguments) == 0
    assert called(clone)[0] == words
    assert status(clone) == ""
    assert clone.PARAMS.read_text() == "fig05: {betas: null}\n"


def test_what_has_run_is_known_to_the_next_call(clone: ModuleType) -> None:
    assert clone.main([]) == 0
    assert called(clone) == ["repro", "data"]
    assert clone.main(["fail"]) == 3
    assert called(clone) == ["repro fail", "data", "ran 1"]
    assert clone.main([]) == 0
    assert called(clone) == ["repro", "data", "ran 1", "ran 2"]
    assert status(clone) == ""


def test_dvc_called_by_itself_knows_what_has_run(clone: ModuleType) -> None:
    assert clone.main([]) == 0
    assert (clone.ROOT / "dvc.lock").read_text() == "data\nran 1\n"


def test_an_interrupt_leaves_no_change_either(clone: ModuleType) -> None:
    program = LOAD + "r.set_up = lambda: None; r.main(['-S', 'a=1', 'stop'])"
    script = subprocess.run([sys.executable, "-B", "-c", program, str(clone.ROOT / "repro")])
    assert script.returncode == -signal.SIGINT
    assert status(clone) == ""
    assert clone.PARAMS.read_text() == "fig05: {betas: null}\n"


def test_arguments_reach_pytest(repro: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(repro, "set_up", lambda: None)
    monkeypatch.setattr(repro, "call", lambda *words: calls.append(words) or 0)
    assert repro.main(["test", "-k", "svd"]) == 0
    assert calls[-1] == ("python", "-m", "pytest", "-k", "svd")


def test_test_runs_every_check_and_returns_the_first_failure(
    repro: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (repro.ROOT / "notebooks").mkdir()
    (repro.ROOT / "notebooks" / "fig01.ipynb").touch()
    calls: list[tuple[str, ...]] = []

    def call(*words: str) -> int:
        calls.append(words)
        return {"mypy": 2, "python": 1}.get(words[0], 0)

    monkeypatch.setattr(repro, "call", call)
    assert repro.test([]) == 2
    assert [words[0] for words in calls] == ["ruff", "ruff", "mypy", "nbstripout", "python"]
    assert calls[3][-1] == "notebooks/fig01.ipynb"
    assert capsys.readouterr().out.endswith("repro: failed: mypy, python -m pytest\n")


def test_setup_and_help(
    repro: ModuleType, steps: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert repro.main(["--help"]) == 0
    assert "./repro test" in capsys.readouterr().out
    assert repro.main(["setup", "now"]) == 2
    assert "setup takes no arguments, got now" in capsys.readouterr().err
    assert steps == []
    assert repro.main(["setup"]) == 0
    assert steps == ["venv", "lock", "seams"]


def test_a_clone_of_somebody_else_is_refused(
    repro: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(repro.ROOT)], check=True)
    repro.check_machine()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)  # which may trust every folder
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    with pytest.raises(SystemExit, match=r"belongs to somebody else.*safe\.directory"):
        repro.check_machine()


def test_environment_is_the_clone_s_own(
    repro: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    variables = repro.environment()
    assert "PYTHONPATH" not in variables and variables["PIP_USER"] == "0"
    assert variables["PATH"].split(os.pathsep)[0] == str(repro.VENV / "bin")
    assert Path(variables["DVC_SITE_CACHE_DIR"]).is_relative_to(repro.ROOT)


# What a second process runs to load the script of the small clone as `r`.
LOAD = """
import importlib.machinery, importlib.util, sys
l = importlib.machinery.SourceFileLoader("repro", sys.argv[1])
r = importlib.util.module_from_spec(importlib.util.spec_from_loader("repro", l))
l.exec_module(r)
"""


def test_second_set_up_waits_for_the_first(repro: ModuleType) -> None:
    with repro.alone():
        program = LOAD + "with r.alone(): r.say('inside')"
        second = subprocess.Popen(
            [sys.executable, "-B", "-c", program, str(repro.ROOT / "repro")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert second.stdout is not None
        assert second.stdout.readline().startswith("repro: waiting for another")
        assert second.poll() is None
    assert second.communicate(timeout=20)[0] == "repro: inside\n"


@pytest.fixture
def shell(repro: ModuleType) -> ModuleType:
    """A `.venv` with one command, the shell."""
    (repro.VENV / "bin").mkdir(parents=True)
    (repro.VENV / "bin" / "sh").symlink_to("/bin/sh")
    return repro


def test_exit_status_and_log_are_passed_on(shell: ModuleType, tmp_path: Path) -> None:
    assert shell.call("sh", "-c", "exit 7") == 7
    assert shell.call("sh", "-c", "kill -9 $$") == 128 + 9
    assert shell.call("sh", "-c", "pwd; echo oops >&2", log=tmp_path / "log") == 0
    assert (tmp_path / "log").read_text() == f"{shell.ROOT}\noops\n"


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    ps = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return ps.stdout.strip()[:1] not in ("", "Z")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("stubborn", [False, True])
def test_signal_ends_the_stage_too(shell: ModuleType, signum: int, stubborn: bool) -> None:
    """As DVC does, the command ignores the interrupt and waits for its stage."""
    if signal.getsignal(signum) is signal.SIG_IGN:
        pytest.skip("these tests run where this signal is ignored, as under nohup")
    pids = shell.ROOT / "pids"
    stage = f"{'trap : INT;' if stubborn else ''} echo $$ >> {pids}; sleep 60; sleep 60"
    command = (
        "import os, signal, subprocess, sys; "
        f"p = subprocess.Popen(['sh', '-c', {stage!r}]); "
        "signal.signal(signal.SIGINT, signal.SIG_IGN); "
        f"open({str(pids)!r}, 'a').write(str(os.getpid()) + chr(10)); p.wait()"
    )
    (shell.VENV / "bin" / "python").symlink_to(sys.executable)
    program = LOAD + f"r.GRACE_SECONDS = 1; r.call('python', '-c', {command!r})"
    script = subprocess.Popen([sys.executable, "-B", "-c", program, str(shell.ROOT / "repro")])
    try:
        assert until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        script.send_signal(signum)
        assert script.wait(timeout=20) == -signum
        started = [int(word) for word in pids.read_text().split()]
        assert until(lambda: not any(map(alive, started)), seconds=5)
    finally:
        script.kill()
        script.wait()
