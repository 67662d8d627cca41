"""CONTRIBUTING's recipe for a figure, followed to the letter in a clone: four files, no other."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from seams.book import assemble

ROOT = Path(__file__).parents[2]
ENTRY, FIRST = "FIGURES = {\n", "def _config("


def blocks() -> list[str]:
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## Add a figure")[1].split("\n## ")[0]
    found = re.findall(r"^   ```\w+\n(.*?)^   ```$", text, re.DOTALL | re.MULTILINE)
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in found]


def notebook(script: str) -> str:
    cells = []
    for part in script.split("# %%")[1:]:
        head, _, source = part.partition("\n")
        cell = {"id": f"cell-{len(cells)}", "metadata": {}, "source": source.rstrip("\n")}
        if "markdown" in head:
            cell["source"] = re.sub(r"^# ?", "", str(cell["source"]), flags=re.MULTILINE)
            cells.append(cell | {"cell_type": "markdown"})
            continue
        tags = {"tags": ["parameters"]} if "parameters" in head else {}
        cell |= {"cell_type": "code", "execution_count": None, "outputs": [], "metadata": tags}
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}}
    return json.dumps(content | {"nbformat": 4, "nbformat_minor": 5})


def insert(path: Path, before: str, text: str, after: str = "") -> None:
    old = path.read_text(encoding="utf-8")
    assert old.count(before + after) == 1, path
    path.write_text(old.replace(before + after, before + text + after), encoding="utf-8")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the figure."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("src", "notebooks", "book"):
        shutil.copytree(ROOT / name, root / name)  # with what Python compiled
    shutil.copyfile(ROOT / "params.yaml", root / "params.yaml")
    cells, function, entry, parameters, smoke, page = blocks()
    (root / "notebooks" / "toy_rate.ipynb").write_text(notebook(cells))
    figures = root / "src" / "seams" / "paper" / "figures.py"
    insert(figures, "", function + "\n\n", FIRST)
    insert(figures, ENTRY, textwrap.indent(entry, "    "))
    insert(root / "params.yaml", "\n", parameters, "profiles:\n")
    insert(root / "params.yaml", "  smoke:\n", smoke)
    (root / "book" / "toy.md").write_text(page)
    return root


def call(root: Path, *words: str) -> str:
    environment = os.environ | {
        "PYTHONPATH": str(root / "src"),
        "SEAMS_ROOT": str(root),
        "SEAMS_STORE": str(root / "store"),
    }
    done = subprocess.run(
        [sys.executable, *words], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_pipeline_knows_it(clone: Path) -> None:
    call(clone, "-m", "seams", "inputs", "--out", "build")
    known = json.loads((clone / "build" / "toy.json").read_text())
    assert known["parameters"] == {"seeds": 3, "images": 128000}
    lines = (clone / "params.yaml").read_text().splitlines()
    assert "toy: {seeds: null, images: null}" in lines, "so that DVC can set them"
    assert "training/loop" in known["code"] and "collapse" not in known["code"]


def test_it_runs_and_is_in_the_book(clone: Path) -> None:
    call(clone, "-m", "seams", "run", "toy", "--profile", "smoke")
    numbers = json.loads((clone / "results" / "smoke" / "toy" / "numbers.json").read_text())
    assert numbers["parameters"] == {"seeds": 2, "images": 2560}
    assert numbers["runs"]["count"] == 2 and numbers["values"]["rate"] > 0
    assemble(clone / "results", clone / "work", "smoke", ROOT / "record", source=clone / "book")
    page = (clone / "work" / "toy.md").read_text()
    assert "{{" not in page and "results/toy-smoke-figure.svg" in page
    assert "A datum needs more than one nat." in page
    assert "file: toy" in (clone / "work" / "_toc.yml").read_text(), "found by its page alone"
