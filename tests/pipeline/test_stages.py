"""What the pipeline runs again: what a notebook uses, all of it and nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from seams.paper import inputs
from seams.paper.parameters import available, parameters_of

ROOT = Path(__file__).parents[2]
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMETERS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
NOTEBOOKS = available(ROOT)


class Clone:
    """Of the project, with its package, to be changed."""

    def __init__(self, folder: Path) -> None:
        self.root, self.source = folder, folder / "src" / "seams"
        skip = shutil.ignore_patterns("__pycache__")
        for name in ("src/seams", "notebooks", "benchmarks/results", "book"):
            shutil.copytree(ROOT / name, folder / name, ignore=skip)
        for name in ("params.yaml", "data.dvc"):
            shutil.copyfile(ROOT / name, folder / name)
        self.before = self.written()

    def written(self, profile: str = "quick") -> dict[str, dict[str, Any]]:
        return inputs.write(self.root / "build", profile, self.root, self.source)

    def changed(self) -> set[str]:
        after = self.written()
        found = {name for name in after if after[name] != self.before[name]}
        self.before = after
        return found

    def edit(self, name: str, old: str, new: str) -> set[str]:
        path = self.root / name
        text = path.read_text()
        assert old in text, name
        path.write_text(text.replace(old, new))
        return self.changed()

    def append(self, name: str, text: str) -> set[str]:
        path = self.root / name
        path.write_text(path.read_text() + text)
        return self.changed()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("clone"))


def test_a_module_counts_where_it_is_used(clone: Clone) -> None:
    assert clone.append("src/seams/identify.py", "\nNEW = 1\n") >= {"ident", "gap"}
    assert clone.append("src/seams/paper/checks/base.py", "\nNEW = 1\n") == {"claims"}
    assert clone.append("src/seams/plotting/seams.mplstyle", "\nlines.linewidth: 3\n") == {
        *NOTEBOOKS
    }
    assert "fig05" in clone.append("src/seams/training/evaluate.py", "\nNEW = 1\n")  # by a sweep


def test_what_tells_or_has_no_influence_counts_for_nothing(clone: Clone) -> None:
    path = "src/seams/collapse.py"
    assert clone.append(path, "\n# A comment.\n") == set()
    assert clone.append(path, '\n"""A string that tells."""\n') == set()
    assert clone.edit(path, "posteriors widen", "posteriors grow wide") == set()
    assert clone.append("src/seams/project.py", "\nNEW = 1\n") == set()
    assert clone.append("src/seams/sweep/__init__.py", "\nNEW = 1\n") == set()


def test_a_data_set_counts_where_it_is_named(clone: Clone) -> None:
    found = clone.append("src/seams/data/families.py", "\nNEW = 1\n")
    assert found == {"chain", "gap", "ident", "squares"}
    assert not clone.append("src/seams/data/faces/__init__.py", "\nNEW = 1\n") & {"fig05", "gap"}
    of_dsprites = clone.append("src/seams/data/dsprites/rule.py", "\nNEW = 1\n")
    assert clone.edit("data.dvc", "outs:\n- md5: ", "outs:\n- md5: 0") == of_dsprites
    assert {"fig05", "gap", "chain"} <= of_dsprites and not {"fig02", "fig08"} & of_dsprites


def test_a_figure_of_another_notebook_counts_for_nothing(clone: Clone) -> None:
    path = "src/seams/paper/figures.py"
    assert clone.append(path, "\n\ndef fig99():\n    return []\n") == {"book"}
    assert clone.edit(path, "latent=4, likelihood", "latent=5, likelihood") == {"fig06", "book"}
    assert {"fig05", "fig03", "eq06"} < clone.edit(path, "/ 64", "/ 65")


def test_a_notebook_and_its_values_count_for_it_alone(clone: Clone) -> None:
    assert clone.edit("notebooks/fig02_linear.ipynb", "**Claim.**", "**The claim.**") == {"fig02"}
    assert clone.edit("params.yaml", "claims: {draws: null}", "claims: {draws: 3}") == {"claims"}
    assert json.loads((clone.root / "build" / "claims.json").read_text())["parameters"] == {
        "draws": 3
    }
    (clone.root / "benchmarks" / "results" / "new.json").write_text("{}")
    assert clone.changed() == {"speed"}
    assert clone.append("book/theory.md", "\nMore.\n") == {"book"}
    smoke = clone.written("smoke")
    assert smoke["fig02"]["parameters"]["seeds"] == 2
    assert smoke["fig02"]["code"] == clone.before["fig02"]["code"]


def test_what_is_kept_between_calls_changes_nothing(clone: Clone) -> None:
    clone.changed()
    (clone.root / "build" / "old.json").write_text("{}")
    path = clone.root / "build" / "fig02.json"
    stamp = path.stat().st_mtime_ns
    for broken in ("[]", "{"):
        (clone.root / "build" / ".parsed").write_text(broken)
        assert clone.changed() == set()
    assert path.stat().st_mtime_ns == stamp
    names = {path.name for path in (clone.root / "build").glob("*.json")}
    assert names == {f"{name}.json" for name in (*NOTEBOOKS, "book")}


def test_inputs_load_no_library() -> None:
    code = "import sys, seams.paper.inputs; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- dvc.yaml and params.yaml ------------------------------------------------------------------


def test_every_notebook_is_a_stage() -> None:
    assert STAGES["figure"]["foreach"] == "${profiles.smoke}"
    assert {*PARAMETERS["profiles"]["smoke"]} == {*NOTEBOOKS}
    stage = STAGES["figure"]["do"]
    (out,) = stage["outs"]
    assert next(iter(out)) in stage["cmd"] and "/${key}.json" in stage["deps"][0]
    assert STAGES["inputs"]["always_changed"] is True


def test_the_data_depend_on_files_that_are_there() -> None:
    deps = STAGES["data"]["deps"]
    assert deps and all((ROOT / dep).exists() for dep in deps)


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_every_parameter_can_be_set_for_one_command(name: str) -> None:
    """DVC sets nothing that `params.yaml` does not name; what is committed sets nothing."""
    known = parameters_of(NOTEBOOKS[name]).keys() - {"profile", "output"}
    assert PARAMETERS[name] == dict.fromkeys(known)


def test_compiled_files_are_no_part_of_a_folder_that_a_stage_depends_on() -> None:
    assert "__pycache__/" in (ROOT / ".dvcignore").read_text().splitlines()
