"""What a notebook runs with: its parameters cell, checked, and what `params.yaml` says beside it.

The cell holds the values of the profile "quick": a notebook opened in Jupyter does what the
pipeline does. Another profile lists what differs, and a figure there may be `like` another one.
"""

import ast
import difflib
import json
import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, get_args, get_origin

from seams.project import project_root

__all__ = [
    "RUNNER",
    "Parameter",
    "UsageError",
    "available",
    "check",
    "default_profile",
    "nearest",
    "overrides",
    "parameters_of",
    "parse",
    "profile_of",
    "title_of",
]

RUNNER = ("profile", "output")  # parameters that the runner sets itself
_INT = r"[-+]?(?:0|[1-9][0-9_]*)"
_FLOAT = rf"(?:{_INT}(?:[.][0-9]*)?|[-+]?[.][0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[.]inf|[.]nan"
_TYPES = {"str": str, "int": int, "float": float, "bool": bool}


class UsageError(ValueError):
    """Something the caller wrote cannot be used; the message says what to write instead."""


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell."""

    name: str
    kind: Any  # str, int, float, bool, or list of one of them
    default: Any  # its literal value
    comment: str  # what stands behind it


def nearest(word: object, known: Iterable[str], otherwise: str = "") -> str:
    """A hint for a mistyped word: the nearest of those known, or other words if none is near."""
    close = difflib.get_close_matches(str(word), [*known], 1)
    return f" Did you mean {close[0]!r}?" if close else otherwise and f" {otherwise}"


def available(root: Path | None = None) -> dict[str, Path]:
    """Notebooks by their short names, sorted: "fig05" to `notebooks/fig05_beta_sweep.ipynb`."""
    root = root or project_root()
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    if not paths:
        raise UsageError(f"There are no notebooks under {root}: call from inside the project.")
    return {path.stem.partition("_")[0]: path for path in paths}


def title_of(path: Path) -> str:
    """The first heading of a notebook; its file's name if it has none."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return next((line[2:] for line in text.splitlines() if line.startswith("# ")), path.name)


def parameters_of(path: Path) -> dict[str, Parameter]:
    """The parameters of a notebook in their order, from its cell of annotated literals."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
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
        kind = _type_of(ast.unparse(node.annotation))
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            raise problem from None
        comment = lines[(node.end_lineno or node.lineno) - 1].partition("#")[2].strip()
        found[node.target.id] = Parameter(node.target.id, kind, default, comment)
    return found


def _type_of(text: str) -> Any:
    if text.startswith("list[") and text[5:-1] in _TYPES:
        return types.GenericAlias(list, (_TYPES[text[5:-1]],))
    if text not in _TYPES:
        raise UsageError(
            f"A parameter's type must be {sorted(_TYPES)} or list of one; got {text}."
        )
    return _TYPES[text]


def parse(assignments: Sequence[str]) -> dict[str, Any]:
    """Values from texts such as "betas=[1.0, 2.5]", read as YAML."""
    values = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"Write a parameter as name=value; got {text!r}.")
        values[name.strip()] = _yaml(
            value, f"The value of {name.strip()!r} is not YAML; got {value!r}."
        )
    return values


def _yaml(text: str, problem: str) -> Any:
    import yaml

    try:  # a number of too many digits is a ValueError, deep nesting a RecursionError
        return yaml.load(text, _loader())
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where and where.line else ""
        raise UsageError(problem + line) from None


@cache
def _loader() -> Any:
    """YAML with the numbers of its version 1.2: 010 is not eight, and 1:30 is not ninety."""
    import yaml

    kinds = [f"tag:yaml.org,2002:{kind}" for kind in ("int", "float")]
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    others = {
        first: [(tag, pattern) for tag, pattern in rules if tag not in kinds]
        for first, rules in base.yaml_implicit_resolvers.items()
    }
    loader = type("Loader", (base,), {"yaml_implicit_resolvers": others})
    for kind, pattern in zip(kinds, (_INT, _FLOAT), strict=True):
        loader.add_implicit_resolver(kind, re.compile(rf"(?:{pattern})$"), list("-+.0123456789"))  # type: ignore[attr-defined]
    return loader


def check(values: Mapping[Any, Any], parameters: Mapping[str, Parameter], where: str) -> dict:
    """Values as the notebook's types; `where` is named in messages. An int may be a float."""
    checked = {}
    for name, value in values.items():
        if name not in parameters or name in RUNNER:
            known = [n for n in parameters if n not in RUNNER]
            hint = nearest(name, known, f"It takes {', '.join(known)}.")
            raise UsageError(f"{where} has no parameter {name!r}.{hint}")
        parameter = parameters[name]
        if get_origin(parameter.kind) is not list:
            checked[name] = _scalar(value, parameter.kind, parameter)
            continue
        kind = get_args(parameter.kind)[0]
        if not isinstance(value, list):
            example = f"{name}={json.dumps(parameter.default)}"
            raise UsageError(
                f"`{name}` must be a list of {kind.__name__}, such as {example}; got {value!r}."
            )
        checked[name] = [_scalar(entry, kind, parameter) for entry in value]
    return checked


def _scalar(value: Any, kind: type, parameter: Parameter) -> Any:
    # A bool is an int to Python.
    if kind is float and isinstance(value, str | int) and not isinstance(value, bool):
        try:
            value = float(value)
        except (ValueError, OverflowError):
            pass
    right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not right or (kind is float and not math.isfinite(value)):
        example, shown = json.dumps(parameter.default), repr(value)
        raise UsageError(
            f"`{parameter.name}` must be {kind.__name__}, such as {example}; got "
            f"{shown if len(shown) < 60 else shown[:60] + '...'}."
        )
    return value


def profile_of(name: str, profile: str, root: Path | None = None) -> dict[str, Any]:
    """A notebook's values, checked: its own, then the profile's, then those for all profiles."""
    content, notebooks = _params(root), available(root)
    profiles = content["profiles"]
    if profile not in profiles:
        hint = nearest(profile, profiles)
        raise UsageError(
            f"The profile must be one of {', '.join(profiles)}; got {profile!r}.{hint}"
        )
    for row in (content.keys() - {"profile", "profiles"}) | profiles[profile].keys():
        if row not in notebooks:
            hint = nearest(row, notebooks)
            raise UsageError(f"params.yaml has values of {row!r}, which is no notebook.{hint}")
    parameters = parameters_of(notebooks[name])
    values = {n: p.default for n, p in parameters.items() if n not in RUNNER}
    listed = _listed(profiles[profile], profile, name, notebooks)
    return values | listed | overrides(name, root)


def _listed(
    rows: Mapping[str, Any], profile: str, name: str, notebooks: Mapping[str, Path],
    below: tuple[str, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """What a profile lists for a notebook, and for the one that it is like."""
    own = dict(rows.get(name) or {})
    like = own.pop("like", None)
    parameters = parameters_of(notebooks[name])
    own = check(own, parameters, f"{name} in params.yaml")
    if like is None:
        return own
    where = f"`like` of {name} in profile {profile} of params.yaml"
    if not isinstance(like, str) or like not in notebooks:
        hint = nearest(like, notebooks, f"There are {', '.join(notebooks)}.")
        raise UsageError(f"{where} must name a notebook; got {like!r}.{hint}")
    if like in (name, *below):
        raise UsageError(f"{where} leads back to itself; got {like!r}.")
    shared = _listed(rows, profile, like, notebooks, (name, *below))
    return {k: v for k, v in shared.items() if k in parameters} | own


def overrides(name: str, root: Path | None = None) -> dict[str, Any]:
    """Values of a notebook that `params.yaml` sets for every profile, checked."""
    given = {k: v for k, v in (_params(root).get(name) or {}).items() if v is not None}
    return check(given, parameters_of(available(root)[name]), f"{name} in params.yaml")


def default_profile(root: Path | None = None) -> str:
    """The profile that `params.yaml` names; `UsageError` if the file cannot be used."""
    return _params(root)["profile"]


def _params(root: Path | None) -> dict[str, Any]:
    """Content of `params.yaml`, of which every level of tables is one."""
    path = (root or project_root()) / "params.yaml"
    if not path.is_file():
        raise UsageError("There is no params.yaml here or above: call from inside the project.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError("params.yaml must be UTF-8 text; it is not.") from None
    return _content(text)


@lru_cache(maxsize=8)
def _content(text: str) -> dict[str, Any]:
    content = _table(_yaml(text, "params.yaml must be YAML; it is not"), "params.yaml")
    profiles = _table(content.get("profiles"), "`profiles` in params.yaml")
    for profile, rows in profiles.items():
        where = f"Profile {profile!r} in params.yaml"
        for name, row in _table(rows if rows is not None else {}, where).items():
            _table(row if row is not None else {}, f"{name!r} in profile {profile!r}")
    if not isinstance(content.get("profile"), str):
        raise UsageError(
            f"`profile` in params.yaml must be a name, such as quick; got {content.get('profile')}"
        )
    for name in content.keys() - {"profile", "profiles"}:
        _table(content[name] if content[name] is not None else {}, f"{name!r} in params.yaml")
    return content | {"profiles": {name: rows or {} for name, rows in profiles.items()}}


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UsageError(f"{where} must be a table of names; got {type(value).__name__}.")
    return value
