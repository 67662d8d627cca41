"""A stage depends on what its notebook uses, on all of it and on nothing else."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "seams"

# What cannot change a result: where things lie, what a shape is called, which runs there are and
# who trains them when. The store names a run by its configuration: a change of that trains anew.
WITHOUT_INFLUENCE = {"__init__", "project", "files", "shapes", "sweep", "training/provenance"}
# Files, by how their path starts, that `seams.data.load` takes for data sets of these names only.
BY_NAME = {"data/dsprites": "dsprites", "data/faces/": "faces", "data/families": "families"}

STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMETERS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
NOTEBOOKS = {path.stem.partition("_")[0]: path for path in (ROOT / "notebooks").glob("*.ipynb")}


def imported(code: str) -> set[Path]:
    """Files of seams that this code imports, lazily or not."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    paths = (SOURCE.joinpath(*n.split(".")[1:]) for n in names if n.startswith("seams."))
    return {f for p in paths for f in (p.with_suffix(".py"), p / "__init__.py") if f.is_file()}


def whole_packages(file: str) -> str:
    """The folder of a module, where it is one whose modules are used together, else the module."""
    folder = file.rpartition("/")[0]
    return file if folder in ("src/seams", "src/seams/data", "src/seams/paper") else folder


def expected(name: str) -> set[str]:
    cells = json.loads(NOTEBOOKS[name].read_text())["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    found: set[Path] = set()
    left = imported(code)
    while left:
        found |= left
        left = {f for path in left for f in imported(path.read_text())} - found
    modules = {str(f.relative_to(SOURCE).with_suffix("")) for f in found}
    modules = {m for m in modules if not {m, m.partition("/")[0]} & WITHOUT_INFLUENCE}
    values = json.dumps(PARAMETERS["profiles"]["quick"].get(name)) + code
    for start, word in BY_NAME.items():
        if word not in values:
            modules -= {m for m in modules if m.startswith(start)}
    files = {whole_packages(f"src/seams/{m}.py") for m in modules}
    files.add(f"notebooks/{NOTEBOOKS[name].name}")
    if "benchmarks/results" in values:
        files.add("benchmarks/results")
    if "data/dsprites" in modules:
        files.add("data")
    return files


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_a_stage_depends_on_what_its_notebook_uses(name: str) -> None:
    stage = STAGES[name]
    assert sorted(stage["deps"]) == sorted(expected(name))
    assert stage["params"] == [name, f"profiles.${{profile}}.{name}"]
    folder = f"results/${{profile}}/{name}"
    assert stage["cmd"] == f"seams run {name} --profile ${{profile}} -o {folder}"
    assert stage["outs"] == [{folder: {"persist": True}}]


def test_the_book_depends_on_every_notebook() -> None:
    results = {d for d in STAGES["book"]["deps"] if d.startswith("results/")}
    assert results == {f"results/${{profile}}/{name}" for name in NOTEBOOKS}


def test_compiled_files_are_no_part_of_a_folder_that_a_stage_depends_on() -> None:
    assert "__pycache__/" in (ROOT / ".dvcignore").read_text().splitlines()


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_every_profile_gives_every_parameter(name: str) -> None:
    names = set(PARAMETERS[name])
    assert all(value is None for value in PARAMETERS[name].values())
    for profile in ("smoke", "quick", "desk", "paper"):
        assert set(PARAMETERS["profiles"][profile][name]) == names, profile
