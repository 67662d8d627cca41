"""Run one notebook with checked parameters.

papermill injects whatever it is given: an unknown name only warns, and `-p betas '[1, 4]'` arrives
as a string. Here names and types are checked against the notebook's own parameters cell first,
output appears whole or not at all, and an unchanged notebook executes to the same bytes.

A notebook that fails leaves its executed cells in `build/failed`. Whose fault was it? The user's
(`UsageError`), if a `raise` of ours ended it, which says what to write instead, and it says either
that a file is missing, or that a value cannot be used where the user gave values: in the call, or
in the notebook's own section of `params.yaml`. All else is ours (`NotebookError`): an error that
numpy, torch or Python raised, where we should have looked first, and any in a run of a profile as
it stands.
"""

import ast
import difflib
import json
import math
import os
import re
import shutil
import sys
import tempfile
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from seams.files import publish
from seams.project import project_root

__all__ = [
    "NotebookError",
    "Parameter",
    "UsageError",
    "available",
    "parameters_of",
    "parse",
    "profile_of",
    "run",
]

_RUNNER = ("profile", "output")  # parameters that the runner sets itself
_KERNEL_SETTINGS = "c.IPKernelApp.log_level = 40\n"  # its transport warning, each time
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r"(?:Cell In\[\d+\]|File (.+?):\d+), ")  # of IPython's traceback
_RAISED = re.compile(r"^-+> *\d+ +raise\b", re.MULTILINE)  # the line that it points at


class UsageError(ValueError):
    """Something the caller wrote cannot be used; the message says what to write instead."""


class NotebookError(RuntimeError):
    """A notebook failed for a reason that is not in its parameters."""


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell.

    Attributes:
        name: Of the variable.
        kind: Its annotated type: str, int, float, bool, or list of one of them.
        default: Its literal value.
        comment: What stands behind it.
    """

    name: str
    kind: Any
    default: Any
    comment: str


def available(root: Path | None = None) -> dict[str, Path]:
    """Notebooks by their short names.

    Args:
        root: The project; default the one around the working directory.

    Returns:
        "fig05" to `notebooks/fig05_beta_sweep.ipynb`, and so on, sorted.

    Raises:
        UsageError: There are none.
    """
    root = root or project_root()
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    if not paths:
        raise UsageError(f"There are no notebooks under {root}: call from inside the project.")
    return {path.stem.partition("_")[0]: path for path in paths}


def parameters_of(path: Path) -> dict[str, Parameter]:
    """The parameters of a notebook, in their order.

    Args:
        path: A notebook with one code cell tagged `parameters`, which holds annotated literals.

    Returns:
        Name to parameter.

    Raises:
        UsageError: No such cell, or one that holds anything else.
    """
    cells = json.loads(path.read_text())["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", ())]
    if len(tagged) != 1:
        raise UsageError(f"{path.name} needs one cell tagged `parameters`; it has {len(tagged)}.")
    source = "".join(tagged[0]["source"])
    lines = source.splitlines()
    found = {}
    for node in ast.parse(source).body:
        problem = UsageError(
            f"Line {node.lineno} of the parameters of {path.name} must read `name: type = value` "
            f"with a literal value; got {lines[node.lineno - 1]!r}."
        )
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            raise problem
        if node.value is None:
            raise problem
        name = node.target.id
        kind = _type_of(ast.unparse(node.annotation))
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            raise problem from None
        comment = lines[(node.end_lineno or node.lineno) - 1].partition("#")[2].strip()
        found[name] = Parameter(name, kind, default, comment)
    return found


def _type_of(text: str) -> Any:
    plain = {"str": str, "int": int, "float": float, "bool": bool}
    if text.startswith("list[") and text[5:-1] in plain:
        return types.GenericAlias(list, (plain[text[5:-1]],))
    if text not in plain:
        raise UsageError(f"A parameter's type must be {sorted(plain)} or list of one; got {text}.")
    return plain[text]


def parse(assignments: Sequence[str]) -> dict[str, Any]:
    """Values from `name=value` texts, read as YAML.

    Args:
        assignments: Such as "betas=[1.0, 2.5]".

    Returns:
        Name to value.

    Raises:
        UsageError: No `=`, or a value that is not YAML.
    """
    import yaml

    values = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"Write a parameter as name=value; got {text!r}.")
        try:
            values[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(
                f"The value of {name.strip()!r} is not YAML; got {value!r}."
            ) from None
    return values


def check(values: Mapping[str, Any], parameters: Mapping[str, Parameter], where: str) -> dict:
    """Values as the notebook's types.

    Args:
        values: Name to value.
        parameters: What the notebook takes.
        where: Named in messages.

    Returns:
        The same values; an int becomes a float where one is due.

    Raises:
        UsageError: An unknown name, with the nearest known one, or a wrong type.
    """
    checked = {}
    for name, value in values.items():
        if name not in parameters or name in _RUNNER:
            known = [n for n in parameters if n not in _RUNNER]
            close = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It takes {', '.join(known)}."
            raise UsageError(f"{where} has no parameter {name!r}. {hint}")
        checked[name] = _converted(value, parameters[name])
    return checked


def _converted(value: Any, parameter: Parameter) -> Any:
    kind = parameter.kind
    if get_origin(kind) is list:
        item = get_args(kind)[0]
        if isinstance(value, list):
            return [_scalar(entry, item, parameter) for entry in value]
        example = json.dumps(parameter.default)
        raise UsageError(
            f"`{parameter.name}` must be a list of {item.__name__}, such as "
            f"{parameter.name}={example}; got {value!r}."
        )
    return _scalar(value, kind, parameter)


def _scalar(value: Any, kind: type, parameter: Parameter) -> Any:
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            value = float(value)
        except ValueError:
            pass
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not right or (kind is float and not math.isfinite(value)):
        example = json.dumps(parameter.default)
        raise UsageError(
            f"`{parameter.name}` must be {kind.__name__}, such as {example}; got {value!r}."
        )
    return value


def profile_of(name: str, profile: str, root: Path | None = None) -> dict[str, Any]:
    """Parameters of a notebook in a profile: `params.yaml`'s, then what overrides them there.

    Args:
        name: Of the notebook, such as "fig05".
        profile: Of `params.yaml`.
        root: The project.

    Returns:
        Name to value.

    Raises:
        UsageError: No such profile, or no `params.yaml`.
    """
    content = _params(root)
    profiles = content["profiles"]
    if profile not in profiles:
        close = difflib.get_close_matches(profile, profiles, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        names = ", ".join(profiles)
        raise UsageError(f"The profile must be one of {names}; got {profile!r}.{hint}")
    return (profiles[profile].get(name) or {}) | _overrides(name, content)


def _overrides(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in (content.get(name) or {}).items() if v is not None}


def _params(root: Path | None) -> dict[str, Any]:
    import yaml

    path = (root or project_root()) / "params.yaml"
    if not path.is_file():
        raise UsageError("There is no params.yaml here or above: call from inside the project.")
    return yaml.safe_load(path.read_text())


def run(
    name: str,
    profile: str | None = None,
    values: Mapping[str, Any] | None = None,
    output: Path | None = None,
    root: Path | None = None,
) -> Path:
    """Execute a notebook and publish its results.

    If the notebook fails, the results that were there stay, and the executed cells are kept in
    `build/failed`; the module's docstring says which error that raises.

    Args:
        name: Short name such as "fig05".
        profile: Of `params.yaml`; default the one it names.
        values: Parameters that override the profile's.
        output: Folder of the results; default `results/<profile>/<name>`, or one under
            `results/custom` if `values` are given, so that these overwrite nothing.
        root: The project.

    Returns:
        The folder: `notebook.ipynb`, `numbers.json` and figures.

    Raises:
        UsageError: An unknown notebook, profile or parameter, a wrong type, a value that is
            refused while the notebook runs, a file that it misses, or an `output` that holds
            something else.
        NotebookError: The notebook failed for another reason, or wrote no `numbers.json`.
    """
    root = root or project_root()
    notebooks = available(root)
    if name not in notebooks:
        close = difflib.get_close_matches(name, notebooks, 1)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(notebooks)}."
        raise UsageError(f"There is no notebook {name!r}. {hint}")
    path = notebooks[name]
    parameters = parameters_of(path)
    profile = profile or default_profile(root)
    chosen = check(profile_of(name, profile, root), parameters, f"{name} in params.yaml")
    given = check(values or {}, parameters, name)
    target = (output or _folder(root, name, profile, given)).resolve()
    if target.exists() and not _replaceable(target):
        raise UsageError(f"{target} is not a folder of results; name another one, or a new one.")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        settings = {"profile": profile, "output": str(partial)}
        asked = bool(given or _overrides(name, _params(root)))
        _execute(path, partial / "notebook.ipynb", settings | chosen | given, root, name, asked)
        _strip(partial / "notebook.ipynb", partial)
        if not (partial / "numbers.json").is_file():  # `sys.exit()` in a cell counts as success
            raise NotebookError(f"{name} ended without its last cell, which writes the numbers.")
        partial.chmod(0o755)
        publish(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def default_profile(root: Path | None = None) -> str:
    """The profile that `params.yaml` names.

    Args:
        root: The project.

    Returns:
        Its name; `UsageError` if there is no `params.yaml`.
    """
    return _params(root)["profile"]


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
        settings.write_text(_KERNEL_SETTINGS)
        log = Path(scratch, "progress")
        log.touch()
        environment = {
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
        with log.open(newline="") as lines:
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
    notebook = json.loads(path.read_text().replace(str(partial), "results"))
    kept = ("kernelspec", "language_info")
    notebook["metadata"] = {k: v for k, v in notebook["metadata"].items() if k in kept}
    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{number}"
        tags = cell["metadata"].get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
