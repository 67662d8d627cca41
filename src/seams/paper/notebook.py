"""Run one notebook with checked parameters: papermill injects whatever it is given.

A failure is the user's (`UsageError`) if a `raise` of ours ended it, for a missing file, or for a
value where the user gave some: in the call, or in the notebook's own section of `params.yaml`.
All else is ours (`NotebookError`): an error of numpy, torch or Python, or a profile as it stands.
"""

import json
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seams.files import making, publish
from seams.paper.parameters import (
    UsageError,
    available,
    check,
    default_profile,
    nearest,
    overrides,
    parameters_of,
    parse,
    profile_of,
)
from seams.project import project_root

__all__ = [
    "NotebookError",
    "UsageError",
    "available",
    "check",
    "default_profile",
    "parameters_of",
    "parse",
    "profile_of",
    "run",
]

_KERNEL_SETTINGS = "c.IPKernelApp.log_level = 50\n"  # its warnings at start, and at its end
_KERNEL = {
    "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r"(?:Cell In\[\d+\]|File (.+?):\d+), ")  # of IPython's traceback
_RAISED = re.compile(r"^-+> *\d+ +raise\b", re.MULTILINE)  # the line that it points at


class NotebookError(RuntimeError):
    """A notebook failed for a reason that is not in its parameters."""


def run(
    name: str,
    profile: str | None = None,
    values: Mapping[str, Any] | None = None,
    output: Path | None = None,
    root: Path | None = None,
) -> Path:
    """Execute a notebook and publish its results, all or none, and always in the same bytes."""
    # A failure leaves earlier results in place, and its executed cells in `build/failed`.
    root = root or project_root()
    notebooks = available(root)
    if name not in notebooks:
        hint = nearest(name, notebooks, f"There are {', '.join(notebooks)}.")
        raise UsageError(f"There is no notebook {name!r}.{hint}")
    path = notebooks[name]
    profile = profile or default_profile(root)
    chosen = profile_of(name, profile, root)
    given = check(values or {}, parameters_of(path), name)
    target = (output or _folder(root, name, profile, given)).resolve()
    if target.exists() and not _replaceable(target):
        raise UsageError(f"{target} is not a folder of results; name another one, or a new one.")
    with making(target.parent) as partial:
        settings = {"profile": profile, "output": str(partial)}
        asked = bool(given or overrides(name, root))
        _execute(path, partial / "notebook.ipynb", settings | chosen | given, root, name, asked)
        _strip(partial / "notebook.ipynb", partial)
        if not (partial / "numbers.json").is_file():  # `sys.exit()` in a cell counts as success
            raise NotebookError(f"{name} ended without its last cell, which writes the numbers.")
        publish(partial, target)
    return target


def _replaceable(folder: Path) -> bool:
    """Whether nothing is lost when a folder is replaced: it is empty, or holds results."""
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    return not names or "numbers.json" in names


def _folder(root: Path, name: str, profile: str, given: Mapping[str, Any]) -> Path:
    if not given:
        return root / "results" / profile / name
    label = "-".join(f"{k}={v}" for k, v in sorted(given.items()))
    label = "".join(c if c.isalnum() or c in "=.-_" else "_" for c in label)[:80]
    return root / "results" / "custom" / f"{name}-{profile}-{label}"


def _execute(
    path: Path, target: Path, values: Mapping[str, Any], root: Path, name: str, asked: bool
) -> None:
    """Run the notebook in a fresh kernel; `asked`: some of its values are the user's."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    with tempfile.TemporaryDirectory() as scratch:
        settings = Path(scratch, "profile_default", "ipython_kernel_config.py")
        settings.parent.mkdir()
        settings.write_text(_KERNEL_SETTINGS, encoding="utf-8")
        log = Path(scratch, "progress")
        log.touch()
        kernel = Path(scratch, "kernels", "python3", "kernel.json")
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps(_KERNEL), encoding="utf-8")
        paths = filter(None, [scratch, os.environ.get("JUPYTER_PATH")])
        environment = {
            "JUPYTER_PATH": os.pathsep.join(paths),  # this Python, whatever others are called
            "SEAMS_PROGRESS": str(log),
            "SEAMS_ROOT": str(root),
            "IPYTHONDIR": scratch,
            "SOURCE_DATE_EPOCH": "0",  # no dates in figures
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        }
        with _environment(environment), _echo(log):
            try:
                papermill.execute_notebook(
                    str(path),
                    str(target),
                    dict(values),
                    kernel_name="python3",
                    language="python",
                    progress_bar=False,
                    cwd=str(root),
                )
            except PapermillExecutionError as error:
                kept = root / "build" / "failed" / f"{name}.ipynb"
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(target, kept)
                said = " ".join(error.evalue.split())
                said += f" (executed cells are in {kept.relative_to(root)})"
                mendable = "FileNotFoundError", *(["ValueError"] if asked else [])
                if error.ename in mendable and _raised_by_us(error.traceback):
                    raise UsageError(f"{name}: {said}") from None
                raise NotebookError(f"{name} failed: {error.ename}: {said}") from None


def _raised_by_us(traceback: Sequence[str]) -> bool:
    """Whether its innermost frame is a `raise` in a cell or in this package."""
    texts = [_COLOUR.sub("", text) for text in traceback]
    frames = [(found, text) for text in texts if (found := _FRAME.match(text))]
    if not frames:
        return False
    found, text = frames[-1]
    file = found[1] and Path(found[1]).expanduser()
    ours = not file or file.is_relative_to(Path(__file__).parents[1])
    return ours and _RAISED.search(text) is not None


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


@contextmanager
def _echo(log: Path) -> Iterator[None]:
    """Copy what is appended to a file to standard error, as it comes."""
    done = threading.Event()

    def follow() -> None:
        with log.open(newline="", encoding="utf-8") as lines:
            while True:
                last = done.is_set()
                if text := lines.read():
                    sys.stderr.write(text)
                    sys.stderr.flush()
                elif last:
                    return
                done.wait(0.3)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _strip(path: Path, partial: Path) -> None:
    """Drop all that changes between executions: times, ids, the folder that was written to."""
    notebook = json.loads(path.read_text(encoding="utf-8").replace(str(partial), "results"))
    kept = ("kernelspec", "language_info")
    notebook["metadata"] = {k: v for k, v in notebook["metadata"].items() if k in kept}
    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{number}"
        tags = cell["metadata"].get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
