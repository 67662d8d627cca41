"""What each notebook's results depend on: one small file a notebook, for the pipeline to compare.

Parameters, notebook, data, and the code that it imports, less comments and docstrings, and less
what its entry in `figures` does not use. No module of the library is loaded for this.
"""

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import seams
from seams.paper.parameters import available, default_profile, profile_of
from seams.project import project_root

__all__ = ["write"]

_SOURCE = Path(seams.__file__).parent
# What cannot change a result: where things lie, what a shape is called, which runs there are and
# who trains them when. The store names a run by its configuration: a change of that trains anew.
_WITHOUT_INFLUENCE = ("__init__", "project", "files", "shapes", "sweep/", "training/provenance")
# Modules that `seams.data.load` takes for data sets of these names only.
_BY_NAME = {
    "data/dsprites": ("dsprites",),
    "data/faces/": ("faces",),
    "data/families": ("families", "blobs", "xy_square"),
}


def write(
    folder: Path, profile: str | None = None, root: Path | None = None, source: Path = _SOURCE
) -> dict[str, dict[str, Any]]:
    """Write `NAME.json` for each notebook, and `book.json`, if changed; other `.json` files go."""
    root = root or project_root()
    profile = profile or default_profile(root)
    folder.mkdir(parents=True, exist_ok=True)
    code = _Code(source, folder / ".parsed")
    contents = {name: _of_notebook(name, profile, root, code) for name in available(root)}
    contents["book"] = _of_book(profile, root, code)
    code.keep()
    for path in folder.glob("*.json"):
        if path.stem not in contents:
            path.unlink()
    for name, content in contents.items():
        path, text = folder / f"{name}.json", json.dumps(content, indent=1) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return contents


def _of_notebook(name: str, profile: str, root: Path, code: "_Code") -> dict[str, Any]:
    cells = json.loads(available(root)[name].read_text(encoding="utf-8"))["cells"]
    sources = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    program = "\n".join(source for kind, source in sources if kind == "code")
    parameters = profile_of(name, profile, root)
    words = json.dumps(parameters) + program
    modules = code.reached(program)
    for start, named_by in _BY_NAME.items():
        if not any(word in words for word in named_by):
            modules = {module for module in modules if not module.startswith(start)}
    named = [value for value in parameters.values() if isinstance(value, str) and value]
    rendered = any(module.startswith("data/dsprites") for module in modules)
    return {
        "profile": profile,
        "parameters": parameters,
        "notebook": _hash(json.dumps(sources)),
        "code": {module: code.hash(module, name) for module in sorted(modules)},
        "data": _checksum(root / "data.dvc") if rendered else "",
        "files": {
            value: _hash_of_files(root / value) for value in named if (root / value).exists()
        },
    }


def _of_book(profile: str, root: Path, code: "_Code") -> dict[str, Any]:
    reached = code.reached("import seams.book")
    modules = sorted(m for m in reached if m.startswith(("book/", "paper/")))
    runs = root / "record" / "runs"
    listed = sorted(path.name for path in runs.iterdir()) if runs.is_dir() else []
    return {
        "profile": profile,
        "code": {module: code.hash(module) for module in modules},
        "pages": _hash_of_files(root / "book"),
        "record": [_hash_of_files(root / "record" / "figures"), _hash("\n".join(listed))],
    }


class _Code:
    """Modules of ours, such as "data/dsprites": what they import, and a hash of what they do."""

    def __init__(self, source: Path, kept: Path) -> None:
        self.source, self.file = source, kept
        paths = source.rglob("*.py")
        self.modules = {p.relative_to(source).with_suffix("").as_posix() for p in paths}
        self.version = _hash(Path(__file__).read_bytes() + sys.version.encode())
        self.used: dict[str, dict[str, Any]] = {}
        try:  # facts by the hash of a text, since parsing takes the most time
            kept_facts = json.loads(kept.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            kept_facts = {}
        self.known = kept_facts.get(self.version, {}) if isinstance(kept_facts, dict) else {}
        self.facts_of = cache(self._facts_of)
        self.files_of = cache(self._files_of)

    def keep(self) -> None:
        self.file.write_text(json.dumps({self.version: self.used}), encoding="utf-8")

    def reached(self, program: str) -> set[str]:
        """Modules that a program reaches, those apart that cannot change a result."""
        found: set[str] = set()
        left = self._modules(self._facts(program))
        while left:
            found |= left
            left = {m for module in left for m in self._modules(self.facts_of(module))} - found
        if "data/__init__" in found:  # which loads others by the names of their data sets
            found |= {module for module in self.modules if module.startswith("data/")}
        return {module for module in found if not module.startswith(_WITHOUT_INFLUENCE)}

    def hash(self, module: str, name: str = "") -> str:
        """Of what a module does; of `figures`, what it does for one notebook."""
        facts = self.facts_of(module)
        return facts["entries"].get(name, facts["hash"]) + self.files_of(module)

    def _files_of(self, module: str) -> str:
        """Of what lies beside the modules of a package, such as a style sheet."""
        folder = (self.source / module).parent
        if not module.endswith("/__init__"):
            return ""
        beside = [p for p in sorted(folder.iterdir()) if p.is_file() and p.suffix != ".py"]
        return "".join(f" {path.name} {_hash(path.read_bytes())}" for path in beside)

    def _facts_of(self, module: str) -> dict[str, Any]:
        return self._facts((self.source / f"{module}.py").read_text(encoding="utf-8"))

    def _facts(self, text: str) -> dict[str, Any]:
        key = _hash(text)
        self.used[key] = self.known.get(key) or _parsed(text)
        return self.used[key]

    def _modules(self, facts: dict[str, Any]) -> set[str]:
        names = ("/".join(name.split(".")[1:]) for name in facts["imports"])
        return {file for name in names for file in (name, f"{name}/__init__")} & self.modules


def _parsed(text: str) -> dict[str, Any]:
    """Names of ours that a text imports, lazily or not, and hashes of what it does."""
    tree = ast.parse(text)
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [statement for statement in body if not _tells(statement)]
    return {
        "imports": sorted(name for name in imports if name.startswith("seams.")),
        "hash": _hash(ast.dump(tree)),
        "entries": {n: _hash("\n".join(map(ast.dump, nodes))) for n, nodes in _entries(tree)},
    }


def _tells(statement: ast.AST) -> bool:
    told = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(told, ast.Constant) and isinstance(told.value, str)


def _entries(tree: ast.Module) -> Iterator[tuple[str, list[ast.AST]]]:
    """Of a module with a table `FIGURES`: each name with its entry and all that this uses."""
    defined: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {ast.unparse(target): node for target in targets}
    table = defined.pop("FIGURES", None)
    if table is None:
        return
    for key, value in zip(table.value.keys, table.value.values, strict=True):
        entry = [value, defined["load"]]
        for node in entry:  # which grows meanwhile
            used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & defined.keys()
            entry += [defined[n] for n in sorted(used) if defined[n] not in entry]
        yield ast.literal_eval(key), entry


def _hash(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:16]


def _hash_of_files(path: Path) -> str:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    kept = [p for p in files if not {"__pycache__", "_build"} & set(p.parts)]
    return _hash("\n".join(f"{p.relative_to(path)} {_hash(p.read_bytes())}" for p in kept))


def _checksum(tracked: Path) -> str:
    """What DVC knows of the data; empty if it tracks none."""
    text = tracked.read_text(encoding="utf-8") if tracked.is_file() else ""
    found = re.search(r"^outs:\n- md5: (\S+)", text, re.MULTILINE)
    return found[1] if found else ""
