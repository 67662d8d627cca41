"""Notebooks say what runs and what is claimed; what has to be computed or drawn is in `seams`."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))

LINES = 120  # of code, without blanks and comments


def code_of(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


def faults(code: str) -> list[str]:
    """What a notebook may not hold."""
    stripped = [line.strip() for line in code.splitlines()]
    count = sum(bool(line) and not line.startswith("#") for line in stripped)
    found = [f"{count} lines of code"] if count > LINES else []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(f"line {node.lineno} defines {node.name}")
        elif isinstance(node, ast.Lambda) and node.end_lineno != node.lineno:
            found.append(f"line {node.lineno} is a lambda of several lines")
        elif isinstance(node, ast.For | ast.While):
            inside = (inner for inner in ast.walk(node) if isinstance(inner, ast.If))
            found += [f"line {inner.lineno} is an `if` in a loop" for inner in inside]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem.partition("_")[0])
def test_notebooks_compute_and_draw_nothing_of_their_own(path: Path) -> None:
    assert faults(code_of(path)) == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("x = 1\n" * 121, "121 lines of code"),
        ("def f():\n    return 1", "line 1 defines f"),
        ("f = lambda x: (\n    x\n)", "line 1 is a lambda of several lines"),
        ("for x in y:\n    if x:\n        pass", "line 2 is an `if` in a loop"),
    ],
)
def test_what_a_notebook_may_not_hold(code: str, fault: str) -> None:
    assert faults(code) == [fault]


def test_blanks_and_comments_are_no_code() -> None:
    assert faults("x = 1\n\n# why\n" * 120) == []
    assert faults("f = lambda x: x\ny = [x for x in z if x]") == []
