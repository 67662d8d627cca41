"""Do the tests notice when the mathematics is changed? One operator or number at a time.

    python tests/faults/mutants.py --each 20        # a sample of so many of each package

writes `benchmarks/results/mutants.json`. A mutant that no test notices is listed, to be looked at:
some change nothing that anybody sees.
"""

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seams.training.provenance import environment

ROOT = Path(__file__).parents[2]
OUT = ROOT / "benchmarks" / "results" / "mutants.json"
TESTS = {
    "distributions": "distributions",
    "metrics": "metrics supervised conformance",
    "derivatives": "derivatives",
    "geometry": "geometry nets",
    "scores": "scores diagnosis",
}
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.MatMult: ast.Add, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


def changed(node: ast.AST) -> ast.AST | None:
    """The node with one thing in it made into another."""
    made: Any = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        made.ops[0] = SWAPS[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        made.op = SWAPS[type(node.op)]()
    elif isinstance(node, ast.UnaryOp):
        made = made.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        made.value = not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        made.value = node.value + 1 if isinstance(node.value, int) else node.value * 2
    else:
        return None
    return made


def places(node: ast.AST) -> Iterator[ast.AST]:
    """All that is computed: no annotation, no message of an error."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns") or isinstance(node, ast.Raise):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child
                yield from places(child)


def mutants(path: Path) -> Iterator[tuple[str, str]]:
    """What each mutant of a file is, in words, and its source."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    for node in [*places(tree)]:
        other = changed(node)
        if other is None:
            continue
        before = ast.unparse(node)
        kept = copy.copy(node.__dict__), node.__class__
        node.__class__, node.__dict__ = other.__class__, other.__dict__
        line = getattr(node, "lineno", 0)
        words = (
            f"{path.relative_to(ROOT / 'src' / 'seams')}:{line}: {before} -> {ast.unparse(node)}"
        )
        made = ast.unparse(tree)
        node.__dict__, node.__class__ = kept
        yield words, made


def noticed(path: Path, source: str, tests: list[str], place: Path, seconds: float) -> str:
    """Whether a test fails with the mutant in the place of the file, in a fork of this process."""
    target = place / "src" / path.relative_to(ROOT / "src")
    target.write_text(source, encoding="utf-8")
    child = os.fork()
    if not child:
        for name in [name for name in sys.modules if name.partition(".")[0] == "seams"]:
            del sys.modules[name]
        sys.path.insert(0, str(place / "src"))
        os.chdir(ROOT)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        status = 1
        quiet = ["-W", "ignore:Module already imported", "-p", "no:cacheprovider"]
        try:
            status = int(pytest.main(["-x", "-q", *quiet, *tests]))
        finally:  # past what this process would clean up
            os._exit(status)
    until = time.monotonic() + seconds
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            shutil.copyfile(path, target)
            return "killed"  # it does not end
        time.sleep(0.05)
    shutil.copyfile(path, target)
    return "survived" if os.waitstatus_to_exitcode(done[1]) == 0 else "killed"


def measured(group: str, each: int, rng: random.Random, place: Path) -> dict[str, Any]:
    """A sample of the mutants of one package."""
    found = ROOT / "src" / "seams" / group
    files = sorted(found.rglob("*.py")) if found.is_dir() else [found.with_suffix(".py")]
    every = [(path, *made) for path in files for made in mutants(path)]
    tests = [f"tests/test_{name}.py" for name in TESTS[group].split()]
    begun = time.monotonic()
    whole = noticed(files[0], files[0].read_text(encoding="utf-8"), tests, place, 3600)
    assert whole == "survived", f"{group}: the tests pass without a mutant"
    limit = 60 + 5 * (time.monotonic() - begun)
    survived = []
    sample = rng.sample(every, min(each, len(every)))
    for path, words, source in sample:
        came = noticed(path, source, tests, place, limit)
        print(came, words, flush=True)
        if came == "survived":
            survived.append(words)
    counts = {"possible": len(every), "tried": len(sample), "killed": len(sample) - len(survived)}
    return counts | {"survived": survived}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=TESTS, default=[*TESTS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    for group in chosen.only:
        with tempfile.TemporaryDirectory() as place:
            shutil.copytree(ROOT / "src", Path(place) / "src")
            counts = measured(group, chosen.each, random.Random(chosen.seed), Path(place))
        found = json.loads(chosen.out.read_text("utf-8")) if chosen.out.is_file() else {}
        found |= {"environment": environment(), group: counts}
        chosen.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
