"""Rules about the repository as a whole: directions of imports, dependencies, notebooks, text."""

import ast
import contextlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "seams"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# From the ground up: a module or package imports from floors below its own, and within itself.
FLOORS = (
    "shapes project files matching",
    "distributions derivatives metrics plotting",
    "networks vae linear geometry traversals collapse",
    "identify data scores",
    "diagnosis training",
    "sweep",
    "paper",
    "book",
    "cli",
    "__main__",
)


def module_of(source: Path) -> str:
    """First component below `seams`: all of `seams.data` counts as one module."""
    return source.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all that is imported, lazily or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from (f"{start}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(source: Path) -> None:
    names = list(imported(ast.parse(source.read_text(encoding="utf-8"))))
    assert not [n for n in names if n.startswith(".")], "write `from seams.x import y`"
    known = {module_of(s) for s in SOURCES}
    ours = {n.split(".")[1] for n in names if n.startswith("seams.")} & known
    floors = {name: level for level, row in enumerate(FLOORS) for name in row.split()}
    module = module_of(source)
    if module == "__init__":
        assert not ours, "`import seams` loads no module"
        return
    assert module in floors, f"give {module} its place in FLOORS"
    higher = sorted(n for n in ours - {module} if floors[n] >= floors[module])
    assert not higher, f"{module} stands below {higher}"


def dotted(source: Path) -> str:
    parts = source.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def without_types(tree: ast.AST) -> ast.AST:
    """The same without what only a type checker imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
    return tree


def test_no_circle_of_imports() -> None:
    """Between modules, also within a package and where they are imported lazily."""
    modules = {dotted(source): source for source in SOURCES}
    left: dict[str, set[str]] = {}
    for name, source in modules.items():
        names = [*imported(without_types(ast.parse(source.read_text())))]
        found = {n if n in modules else n.rpartition(".")[0] for n in names} & modules.keys()
        # `from seams.data import x` names the package, which Python loads first in any case.
        left[name] = {n for n in found if not f"{name}.".startswith(f"{n}.")}
    while free := [name for name in left if not left[name] & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"a circle is among {sorted(left)}"


def test_files_are_short_and_few_stand_in_front() -> None:
    long = {dotted(s): n for s in SOURCES if (n := s.read_text().count("\n")) > 350}
    assert not long, "these are two ideas each"
    front = {module_of(source) for source in SOURCES}
    assert len(front) <= 30, "give the new module a place in a package"


def test_private_names_stay_in_their_module() -> None:
    found = []
    for source in SOURCES:
        tree = ast.parse(source.read_text())
        names = {n: n for n in imported(tree) if n.startswith("seams.")}
        modules = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seams"):
                modules |= {alias.asname or alias.name for alias in node.names}
        found += [f"{dotted(source)}: {n}" for n in names if "._" in n]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                private = node.attr.startswith("_") and not node.attr.startswith("__")
                if private and node.value.id in modules and node.value.id.islower():
                    found.append(f"{dotted(source)}: {node.value.id}.{node.attr}")
    assert not found, "give it a public name, or a place where it is used"


def test_library_imports_with_few_packages() -> None:
    """A bare GPU node has torch, numpy, pandas and the plotting packages, and no more."""
    program = """
import importlib, pkgutil, sys
heavy = {"scipy", "tqdm", "yaml", "dvc", "papermill", "jaxtyping", "beartype", "nbformat",
         "nbclient", "dask", "distributed", "dask_jobqueue", "sklearn", "sphinx", "jupyter_book"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in heavy:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)
sys.meta_path.insert(0, Blocker())
import seams
for info in pkgutil.walk_packages(seams.__path__, "seams."):
    importlib.import_module(info.name)
    print(info.name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(SOURCES) - 1  # `seams` itself is not listed


def test_source_has_no_pickle() -> None:
    modules = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    calls = {"torch.load", "torch.save", "pd.read_pickle", "pandas.read_pickle"}
    for source in SOURCES:
        tree = ast.parse(source.read_text())
        assert not {n.partition(".")[0] for n in imported(tree)} & modules, source
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in calls, source
                assert not ast.unparse(node.func).endswith(".to_pickle"), source
                for keyword in node.keywords:
                    assert ast.unparse(keyword) != "allow_pickle=True", source


def test_text_is_utf8_whatever_the_locale() -> None:
    """Said where files are read and written; the linter's rule sees a part of them."""
    found = []
    for source in (*SOURCES, ROOT / "repro"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            name = ast.unparse(node.func).rpartition(".")[2]
            text = name in ("read_text", "write_text") or given.get("text") == "True"
            if name == "open" and node.args and "path" in ast.unparse(node.func):
                text = isinstance(m := node.args[0], ast.Constant) and "b" not in str(m.value)
            if text and "encoding" not in given:
                found.append(f"{source.name}:{node.lineno}")
    assert not found, 'write encoding="utf-8"'


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_lock_lists_exact_portable_versions() -> None:
    names = list(pins())
    assert [n.lower() for n in names] == sorted(n.lower() for n in names)
    for name, version in pins().items():
        assert Version(version).local is None, f"{name}: no other machine has {version}"
        assert not re.match("nvidia|cuda|triton", name), f"{name} comes with torch, on Linux only"


def test_lock_installs_on_the_oldest_python() -> None:
    """A package may refuse the first patch releases of a Python that pyproject.toml allows."""
    checked = 0
    for name, version in pins().items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed = importlib.metadata.distribution(name)
            if Version(installed.version).public == version:
                needs = installed.metadata.get("Requires-Python", "")
                assert SpecifierSet(needs).contains("3.11.0"), f"{name} {version}: Python {needs}"
                checked += 1
    assert checked > len(pins()) / 2, "run this in the environment of the lock"


def test_lock_agrees_with_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert extras.pop("crate") == ["rocrate>=0.13"]  # for one command, and asked for by nothing
    groups = [project["dependencies"], *extras.values()]
    locked = {canonicalize_name(name): version for name, version in pins().items()}
    for requirement in (Requirement(line) for group in groups for line in group):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}, locked is {version}"


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    import seams

    assert project["version"] == seams.__version__
    assert f"\nversion: {seams.__version__}\n" in citation
    assert f"\n## {seams.__version__}\n" in (ROOT / "CHANGES.md").read_text()


def test_notebooks_are_stripped_and_have_parameters() -> None:
    notebooks = sorted(ROOT.glob("notebooks/*.ipynb"))
    assert notebooks
    for path in notebooks:
        cells = json.loads(path.read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        held = [i for i, cell in enumerate(code) if cell["outputs"] or cell["execution_count"]]
        assert not held, f"{path.name}: nbstripout --keep-id would empty code cells {held}"
        tagged = [c for c in code if "parameters" in c["metadata"].get("tags", [])]
        assert len(tagged) == 1, f"{path.name}: one cell has the tag `parameters`"


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_shows_and_the_library_computes(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    lines = [line for line in code.splitlines() if line.strip() and line.strip()[0] != "#"]
    assert len(lines) <= 120, "move what it computes into src/seams, with a test"
    for node in ast.walk(ast.parse(code)):
        assert not isinstance(node, ast.FunctionDef | ast.ClassDef), node.lineno
        if isinstance(node, ast.Lambda):
            assert node.end_lineno == node.lineno, f"line {node.lineno}"


def test_numerical_tests_are_run_as_on_other_processors() -> None:
    names = (ROOT / "tests" / "numerical.txt").read_text().split()
    assert not [name for name in names if not (ROOT / name).is_file()]
    for name in (".ci/run", ".github/workflows/ci.yml"):
        text = (ROOT / name).read_text()
        assert "@tests/numerical.txt" in text and "default" in text and "avx2" in text


def test_no_text_names_a_machine() -> None:
    """Only what every clone has: no absolute path of someone's, no host of a package registry."""
    rules = re.compile(
        r"(?<![\w.])/(?:work|farm|root|home/\w+|Users/\w+)/"
        r"|https?://(?:files|registry|deb|p.pi)[.]"
        r"|\b(?:pythonhosted|npmjs)[.](?:org|com)/"
    )
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file() or b"\0" in (raw := path.read_bytes()):
            continue
        found += [f"{name}: {m.group()}" for m in rules.finditer(raw.decode(errors="replace"))]
    assert not found
