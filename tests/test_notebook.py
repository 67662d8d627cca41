import json
import math
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from seams.files import scratch
from seams.paper import notebook as module
from seams.paper.notebook import NotebookError, run
from seams.paper.parameters import (
    Parameter,
    UsageError,
    available,
    check,
    default_profile,
    parameters_of,
    parse,
    profile_of,
)

ROOT = Path(__file__).parent.parent
NOTEBOOKS = available(ROOT)
RUNNER = {"profile", "output"}

TINY = """\
profile: str = "quick"  # set by the runner
output: str = ""  # folder of the results
betas: list[float] = [0.5, 1.0]  # weights of the KL term
seeds: int = 3  # runs of each
name: str = "blob"  # of the data
fast: bool = False
rate: float = 0.01
"""
BODY = """\
import json, os, pathlib
folder = pathlib.Path(output)
values = {"betas": betas, "seeds": seeds, "name": name, "fast": fast, "rate": rate}
numbers = {"values": values, "profile": profile, "root": os.environ["SEAMS_ROOT"]}
(folder / "numbers.json").write_text(json.dumps(numbers, sort_keys=True))
print(profile, sorted(values.items()), folder)
"""


def cell(source: str, *tags: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": f"id-{abs(hash(source))}",
        "metadata": {"tags": list(tags)} if tags else {},
        "outputs": [],
        "source": source,
    }


def write_notebook(path: Path, parameters: str, *bodies: str, tags: int = 1) -> Path:
    cells = [cell(parameters, "parameters")] * tags + [cell(body) for body in bodies]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {
        "cells": cells,
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_notebook(tmp_path / "notebooks" / "fig90_tiny.ipynb", TINY, BODY)
    content = {
        "profile": "quick",
        "fig90": {"betas": None, "seeds": None},
        "profiles": {
            "smoke": {"fig90": {"seeds": 1}},
            "quick": {"fig90": {"seeds": 2, "rate": 1}},
        },
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


@pytest.fixture
def tiny(project: Path) -> dict[str, Parameter]:
    return parameters_of(available(project)["fig90"])


# --- the notebooks of this project -------------------------------------------------------------


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_defaults_of_notebooks_are_the_quick_profile(name: str) -> None:
    """So that a notebook opened in Jupyter does what `dvc repro` does."""
    parameters = parameters_of(NOTEBOOKS[name])
    defaults = {n: p.default for n, p in parameters.items() if n not in RUNNER}
    assert profile_of(name, "quick", ROOT) == defaults
    assert (parameters["profile"].default, parameters["output"].default) == ("quick", "")


@pytest.mark.parametrize("name", NOTEBOOKS)
@pytest.mark.parametrize("profile", ["smoke", "quick", "desk", "paper"])
def test_every_profile_gives_every_parameter(name: str, profile: str) -> None:
    parameters = parameters_of(NOTEBOOKS[name])
    assert list(parameters)[:2] == ["profile", "output"]
    assert list(profile_of(name, profile, ROOT)) == list(parameters)[2:]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_defaults_are_of_the_types_they_are_annotated_with(name: str) -> None:
    parameters = parameters_of(NOTEBOOKS[name])
    values = {n: p.default for n, p in parameters.items() if n not in RUNNER}
    checked = check(values, parameters, name)
    for key, value in values.items():
        assert repr(checked[key]) == repr(value), key
        assert parameters[key].comment, f"{key}: say what it is"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_papermill_finds_every_parameter(name: str) -> None:
    """It parses lines by a regular expression; one it cannot read it leaves out in silence."""
    import papermill

    found = papermill.inspect_notebook(str(NOTEBOOKS[name]))
    parameters = parameters_of(NOTEBOOKS[name])
    assert list(found) == list(parameters)
    for key, parameter in parameters.items():
        kind = parameter.kind
        text = kind.__name__ if isinstance(kind, type) and "[" not in str(kind) else str(kind)
        assert found[key]["inferred_type_name"] == text, key
        assert found[key]["help"] == parameter.comment, key
        assert eval(found[key]["default"], {}) == parameter.default, key


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_record_their_parameters(name: str) -> None:
    """`numbers.json` holds all of them, so that a result says what it is a result of."""
    cells = json.loads(NOTEBOOKS[name].read_text())["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    assert f'Results.of("{name}", globals())' in code


def test_smoke_is_small() -> None:
    for name in NOTEBOOKS:
        assert profile_of(name, "smoke", ROOT).get("images", 0) <= 20_000, name


# --- reading parameters ------------------------------------------------------------------------


def test_parameters_in_their_order(tiny: dict[str, Parameter]) -> None:
    assert list(tiny) == ["profile", "output", "betas", "seeds", "name", "fast", "rate"]
    assert tiny["betas"] == Parameter("betas", list[float], [0.5, 1.0], "weights of the KL term")
    assert tiny["fast"] == Parameter("fast", bool, False, "")
    assert tiny["rate"].kind is float


@pytest.mark.parametrize(
    "line", ["x = 3", "x: int", "x: int = 2 * 3", "x: int = len([])", "import os", "x: int = y"]
)
def test_other_lines_are_refused(tmp_path: Path, line: str) -> None:
    path = write_notebook(tmp_path / "fig91_bad.ipynb", f"a: int = 1\n{line}\n")
    message = (
        f"Line 2 of the parameters of fig91_bad.ipynb must read `name: type = value` with a "
        f"literal value; got {line!r}."
    )
    with pytest.raises(UsageError, match=re.escape(message)):
        parameters_of(path)


@pytest.mark.parametrize(
    "kind", ["dict", "list", "list[int | float]", "tuple[int]", "float | None"]
)
def test_other_types_are_refused(tmp_path: Path, kind: str) -> None:
    path = write_notebook(tmp_path / "fig91_bad.ipynb", f"x: {kind} = None\n")
    message = r"must be \['bool', 'float', 'int', 'str'\] or list of one; got " + re.escape(kind)
    with pytest.raises(UsageError, match=message):
        parameters_of(path)


@pytest.mark.parametrize("tags", [0, 2])
def test_one_cell_is_tagged(tmp_path: Path, tags: int) -> None:
    path = write_notebook(tmp_path / "fig91_bad.ipynb", "x: int = 1\n", tags=tags)
    with pytest.raises(UsageError, match=f"needs one cell tagged `parameters`; it has {tags}"):
        parameters_of(path)


# --- values from the command line --------------------------------------------------------------


def test_assignments_are_yaml() -> None:
    found = parse(["betas=[1, 2.5]", "name=a b", "fast=true", "rate=1e-3", "seeds = 4", "x=a=b"])
    assert found == {
        "betas": [1, 2.5],
        "name": "a b",
        "fast": True,
        "rate": 1e-3,
        "seeds": 4,
        "x": "a=b",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("010", "010"),  # 8 in YAML 1.1, 10 in 1.2
        ("1:30", "1:30"),  # 90 in YAML 1.1
        ("[1:30, 0o17, 0x1f]", ["1:30", "0o17", "0x1f"]),
        ("1_000_000", 1_000_000),
        ("[-3, +0, 1., .5, -2.5e3, 1E-3]", [-3, 0, 1.0, 0.5, -2500.0, 1e-3]),
        ("[.inf, -.inf]", [math.inf, -math.inf]),
    ],
)
def test_numbers_are_what_they_look_like(text: str, expected: object) -> None:
    assert parse([f"x={text}"]) == {"x": expected}


def test_assignments_need_an_equals_sign() -> None:
    with pytest.raises(UsageError, match=r"Write a parameter as name=value; got 'betas'\."):
        parse(["betas"])


def test_values_that_are_not_yaml() -> None:
    with pytest.raises(UsageError, match=r"The value of 'betas' is not YAML; got '\[1, 2'\."):
        parse(["betas=[1, 2"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rate": 1}, 1.0),
        ({"rate": "1e-3"}, 1e-3),
        ({"betas": [1, "2e-1", 0.5]}, [1.0, 0.2, 0.5]),
        ({"betas": []}, []),
        ({"seeds": 7}, 7),
        ({"fast": True}, True),
        ({"name": "1e-3"}, "1e-3"),
    ],
)
def test_right_values(tiny: dict[str, Parameter], given: dict[str, Any], expected: object) -> None:
    (found,) = check(given, tiny, "fig90").values()
    assert found == expected and type(found) is type(expected)
    if isinstance(found, list):
        assert all(type(entry) is float for entry in found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"betas": 2.5}, "`betas` must be a list of float, such as betas=[0.5, 1.0]; got 2.5."),
        (
            {"betas": "[1]"},
            "`betas` must be a list of float, such as betas=[0.5, 1.0]; got '[1]'.",
        ),
        ({"betas": [1, "x"]}, "`betas` must be float, such as [0.5, 1.0]; got 'x'."),
        ({"betas": [None]}, "`betas` must be float, such as [0.5, 1.0]; got None."),
        ({"seeds": 3.0}, "`seeds` must be int, such as 3; got 3.0."),
        ({"seeds": True}, "`seeds` must be int, such as 3; got True."),
        ({"seeds": "3"}, "`seeds` must be int, such as 3; got '3'."),
        ({"rate": True}, "`rate` must be float, such as 0.01; got True."),
        ({"rate": "fast"}, "`rate` must be float, such as 0.01; got 'fast'."),
        ({"rate": float("inf")}, "`rate` must be float, such as 0.01; got inf."),
        ({"rate": "nan"}, "`rate` must be float, such as 0.01; got nan."),
        ({"fast": 1}, "`fast` must be bool, such as false; got 1."),
        ({"name": 5}, '`name` must be str, such as "blob"; got 5.'),
        ({"name": None}, '`name` must be str, such as "blob"; got None.'),
        ({"beta": 1}, "fig90 has no parameter 'beta'. Did you mean 'betas'?"),
        ({"zzz": 1}, "fig90 has no parameter 'zzz'. It takes betas, seeds, name, fast, rate."),
        ({"profile": "smoke"}, "fig90 has no parameter 'profile'. It takes betas"),
        ({"output": "x"}, "fig90 has no parameter 'output'. It takes betas"),
    ],
)
def test_wrong_values(tiny: dict[str, Parameter], given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        check(given, tiny, "fig90")
    assert "\n" not in str(caught.value)


# --- profiles ----------------------------------------------------------------------------------


def test_what_params_yaml_overrides_comes_before_the_profile(project: Path) -> None:
    assert default_profile(project) == "quick"
    own = {"betas": [0.5, 1.0], "name": "blob", "fast": False}
    assert profile_of("fig90", "quick", project) == {**own, "seeds": 2, "rate": 1.0}
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["fig90"] = {"betas": [4.0], "seeds": None, "rate": 0.0}
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    changed = {**own, "seeds": 2, "betas": [4.0], "rate": 0.0}
    assert profile_of("fig90", "quick", project) == changed


def test_unknown_profiles(project: Path) -> None:
    message = r"The profile must be one of quick, smoke; got 'smoek'\. Did you mean 'smoke'\?"
    with pytest.raises(UsageError, match=message):
        profile_of("fig90", "smoek", project)


def test_outside_a_project(tmp_path: Path) -> None:
    message = r"There is no params\.yaml here or above: call from inside the project\."
    for call in (
        lambda: profile_of("fig90", "quick", tmp_path),
        lambda: default_profile(tmp_path),
    ):
        with pytest.raises(UsageError, match=message):
            call()
    with pytest.raises(
        UsageError, match=f"There are no notebooks under {re.escape(str(tmp_path))}"
    ):
        run("fig90", root=tmp_path)


def with_params(project: Path, text: str) -> Path:
    (project / "params.yaml").write_text(text)
    return project


def test_a_figure_may_be_like_another(project: Path) -> None:
    write_notebook(project / "notebooks" / "fig91_more.ipynb", TINY.replace("seeds", "steps"))
    write_notebook(project / "notebooks" / "fig92_most.ipynb", TINY)
    text = """\
        profile: quick
        profiles:
          quick: {}
          desk:
            fig90: {seeds: 7, rate: 2, fast: true}
            fig91: {like: fig90, rate: 3}
            fig92: {like: fig91, name: x}
        """
    with_params(project, text)
    own = {"betas": [0.5, 1.0], "name": "blob", "fast": False, "rate": 0.01}
    assert profile_of("fig91", "quick", project) == own | {"steps": 3}
    assert profile_of("fig91", "desk", project) == own | {"steps": 3, "fast": True, "rate": 3.0}
    of_last = own | {"seeds": 3, "name": "x", "fast": True, "rate": 3.0}
    assert profile_of("fig92", "desk", project) == of_last


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "params.yaml must be a table of names; got NoneType."),
        ("a: [", r"params.yaml must be YAML; it is not \(line 2\)"),
        ("[1]", "params.yaml must be a table of names; got list."),
        ("1: 2", "params.yaml must be a table of names; got dict."),
        ("profile: quick", "`profiles` in params.yaml must be a table of names; got NoneType."),
        ("profiles: {quick: {}}", "`profile` in params.yaml must be a name, such as"),
        ("profile: [quick]\nprofiles: {}", "`profile` in params.yaml must be a name"),
        ("profile: quick\nprofiles: {1: {}}", "`profiles` in params.yaml must be a table"),
        ("profile: quick\nprofiles: {quick: 3}", "Profile 'quick' in params.yaml must be a table"),
        ("profile: quick\nprofiles: {quick: {fig90: [1]}}", "'fig90' in profile 'quick' must"),
        ("profile: quick\nprofiles: {quick: {fig90: {2: 1}}}", "'fig90' in profile 'quick' must"),
        ("profile: quick\nfig90: 7\nprofiles: {quick: {}}", "'fig90' in params.yaml must be a"),
        ("profile: quick\nfig9: {}\nprofiles: {quick: }", "values of 'fig9', which is no"),
        ("profile: quick\nprofiles: {quick: {fig9: }}", "values of 'fig9'.* Did you mean 'fig90'"),
        ("profile: q\nprofiles: {quick: &a {fig90: *a}}", "has no parameter 'fig90'"),
        ("profile: quick\nprofiles: {quick: {fig90: {seeds: &a [*a]}}}", "`seeds` must be int"),
        (f"profile: quick\nprofiles: {{quick: {{fig90: {{rate: 1{'0' * 400}}}}}}}", "`rate` must"),
        (f"profile: q\nprofiles: {{quick: {{fig90: {{rate: {'9' * 5000}}}}}}}", "must be Y"),
        ("profile: quick\nprofiles: {quick: {fig90: {like: 3}}}", "must name a notebook; got 3"),
        ("profile: quick\nprofiles: {quick: {fig90: {like: fig9}}}", "got 'fig9'. Did you mean"),
        ("profile: quick\nprofiles: {quick: {fig90: {like: fig90}}}", "leads back to itself; got"),
        ("profile: quick\nprofiles: {quick: {fig90: {betas: 1}}}", "`betas` must be a list"),
        ("\x00", "params.yaml must be YAML"),
        ("[" * 3000, "params.yaml must be YAML"),
    ],
)  # fmt: skip
def test_a_broken_params_yaml_is_told_in_one_line(project: Path, text: str, message: str) -> None:
    with_params(project, text)
    with pytest.raises(UsageError, match=message) as caught:
        profile_of("fig90", "quick", project)
    assert "\n" not in str(caught.value)


def test_params_yaml_is_text(project: Path) -> None:
    (project / "params.yaml").write_bytes(b"profile: \xff\xfe")
    with pytest.raises(UsageError, match=r"params\.yaml must be UTF-8 text; it is not\."):
        default_profile(project)


# --- running -----------------------------------------------------------------------------------


@pytest.fixture
def execute(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would be executed; the notebook writes its numbers and nothing else."""
    seen: list[dict[str, Any]] = []

    def pretend(path: Path, target: Path, values: dict[str, Any], *_: Any) -> None:
        seen.append(values)
        target.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        (target.parent / "numbers.json").write_text("{}")

    monkeypatch.setattr(module, "_execute", pretend)
    return seen


def test_values_given_come_before_the_profile(
    project: Path, execute: list[dict[str, Any]]
) -> None:
    run("fig90", root=project)
    run("fig90", "smoke", root=project)
    run("fig90", "smoke", {"seeds": 9, "betas": [2]}, root=project)
    for values in execute:
        assert Path(values.pop("output")).is_absolute()
    own = {"betas": [0.5, 1.0], "seeds": 3, "name": "blob", "fast": False, "rate": 0.01}
    assert execute == [
        own | {"profile": "quick", "seeds": 2, "rate": 1.0},
        own | {"profile": "smoke", "seeds": 1},
        own | {"profile": "smoke", "seeds": 9, "betas": [2.0]},
    ]


def test_other_values_and_profiles_overwrite_nothing(
    project: Path, execute: list[dict[str, Any]]
) -> None:
    folders = [
        run("fig90", root=project),
        run("fig90", "smoke", root=project),
        run("fig90", "smoke", {"seeds": 9}, root=project),
        run("fig90", "smoke", {"betas": [2.0, 3]}, root=project),
        run("fig90", None, {"seeds": 9}, root=project),
        run("fig90", None, {"name": "../up"}, root=project),
        run("fig90", None, {"seeds": 9}, project / "mine", project),
    ]
    assert [str(f.relative_to(project)) for f in folders] == [
        "results/quick/fig90",
        "results/smoke/fig90",
        "results/custom/fig90-smoke-seeds=9",
        "results/custom/fig90-smoke-betas=_2.0__3.0_",
        "results/custom/fig90-quick-seeds=9",
        "results/custom/fig90-quick-name=.._up",
        "mine",
    ]
    for folder in folders:
        assert {p.name for p in folder.iterdir()} == {"notebook.ipynb", "numbers.json"}
        assert [p.name for p in folder.parent.iterdir() if p.name.startswith(".")] == []


def test_relative_folders_start_from_where_one_is(
    project: Path, execute: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notebook itself runs in the project's root."""
    (project / "sub").mkdir()
    monkeypatch.chdir(project / "sub")
    assert run("fig90", output=Path("mine"), root=project) == project / "sub" / "mine"
    assert Path(execute[0]["output"]).parent == project / "sub"


def test_a_folder_of_something_else_is_not_replaced(
    project: Path, execute: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "thesis").mkdir()
    (project / "thesis" / "chapter.tex").touch()
    (project / "file").touch()
    monkeypatch.chdir(project)
    for folder in ("thesis", "file", "."):
        message = "is not a folder of results; name another one, or a new one"
        with pytest.raises(UsageError, match=message):
            run("fig90", output=Path(folder), root=project)
    assert not execute and (project / "thesis" / "chapter.tex").exists()
    (project / "empty").mkdir()
    for _ in range(2):
        run("fig90", output=Path("empty"), root=project)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fig91", "There is no notebook 'fig91'. Did you mean 'fig90'?"),
        ("table", "There is no notebook 'table'. There are fig90."),
    ],
)
def test_unknown_notebooks(project: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        run(name, root=project)


def test_unknown_names_in_params_yaml(project: Path) -> None:
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["fig90"] = {"betass": [4.0]}
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    message = r"fig90 in params\.yaml has no parameter 'betass'\. Did you mean 'betas'\?"
    with pytest.raises(UsageError, match=message):
        run("fig90", root=project)


def executed(call: Callable[[], Path]) -> Path:
    with warnings.catch_warnings():  # of jupyter's packages, about themselves
        warnings.simplefilter("ignore")
        return call()


def test_a_notebook_executes_to_the_same_bytes_each_time(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = project / "elsewhere" / "kernels" / "python3" / "kernel.json"
    foreign.parent.mkdir(parents=True)
    foreign.write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(foreign.parents[2]))  # a kernel of the same name
    left = scratch(project / "results" / "custom")
    left = left.rename(left.with_name(left.name.replace(str(os.getpid()), "99999999")))
    before = dict(os.environ)
    folder = executed(lambda: run("fig90", None, {"rate": 0.5}, root=project))
    numbers = json.loads((folder / "numbers.json").read_text())
    assert numbers["values"] == {
        "betas": [0.5, 1.0],
        "seeds": 2,
        "name": "blob",
        "fast": False,
        "rate": 0.5,
    }
    assert numbers["profile"] == "quick" and numbers["root"] == str(project)
    first = {p.name: p.read_bytes() for p in folder.iterdir()}
    content = json.loads(first["notebook.ipynb"])
    (output,) = content["cells"][-1]["outputs"]
    assert "".join(output["text"]).endswith("results\n")
    assert [c["metadata"] for c in content["cells"]] == [
        {"tags": ["parameters"]},
        {"tags": ["injected-parameters"]},
        {},
    ]
    assert str(project) not in first["notebook.ipynb"].decode().replace(str(folder), "")
    again = executed(lambda: run("fig90", None, {"rate": 0.5}, root=project))
    assert {p.name: p.read_bytes() for p in again.iterdir()} == first
    assert dict(os.environ) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # `left` has gone
    assert folder.stat().st_mode & 0o055 == 0o055


OF_SEAMS = "from seams.paper.gallery import write_gallery; write_gallery(None, [], 0, 1)"
OF_NUMPY = "import numpy as np; np.linalg.norm(np.ones(3), ord='x')"  # a `raise` of theirs
SLIP = """\
import numpy as np
from seams.paper.gallery import Panel, write_gallery
write_gallery(None, [Panel("a", "b", np.zeros((1, 1, 2, 2)), ["x"])], 0, 1)
"""
LINES = r"raise RuntimeError('two\nlines')"
MISSING = 'raise FileNotFoundError("images.npy is missing: run `seams data`.")'
REFUSED = r"The panels of a gallery must have traversals of one shape; got \[\]\."


@pytest.mark.parametrize(
    ("body", "values", "error", "message"),
    [
        (OF_SEAMS, {"rate": 2.0}, UsageError, rf"fig90: {REFUSED}"),
        (MISSING, {}, UsageError, r"fig90: images\.npy is missing: run `seams data`\."),
        (OF_SEAMS, {}, NotebookError, rf"fig90 failed: ValueError: {REFUSED}"),
        (OF_NUMPY, {"rate": 2.0}, NotebookError, "fig90 failed: ValueError: Invalid norm .*"),
        (SLIP, {"rate": 2.0}, NotebookError, r"fig90 failed: ValueError: Unknown format code .*"),
        ("open('/no.txt')", {}, NotebookError, r"fig90 failed: FileNotFoundError: .*no\.txt'"),
        (LINES, {"rate": 2.0}, NotebookError, "fig90 failed: RuntimeError: two lines"),
    ],
    ids=["value", "file", "profile", "numpy", "slip", "open", "other"],
)
def test_a_failing_notebook_changes_no_results(
    project: Path, execute: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, body: str,
    values: dict[str, Any], error: type[Exception], message: str,
) -> None:  # fmt: skip
    """And is the user's fault only where a `raise` of ours answers something that they gave."""
    folder = run("fig90", None, values, root=project)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    monkeypatch.undo()
    write_notebook(project / "notebooks" / "fig90_tiny.ipynb", TINY, body, BODY)
    with pytest.raises((UsageError, NotebookError)) as caught:
        executed(lambda: run("fig90", None, values, root=project))
    assert type(caught.value) is error
    where = r" \(executed cells are in build/failed/fig90\.ipynb\)"
    assert re.fullmatch(message + where, str(caught.value))
    assert "Traceback" in (project / "build" / "failed" / "fig90.ipynb").read_text()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_values_of_params_yaml_are_the_users_too(project: Path) -> None:
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["fig90"]["rate"] = -1.0
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    write_notebook(project / "notebooks" / "fig90_tiny.ipynb", TINY, OF_SEAMS)
    with pytest.raises(UsageError, match=rf"^fig90: {REFUSED}"):
        executed(lambda: run("fig90", root=project))


def test_a_notebook_that_ends_early_has_failed(project: Path) -> None:
    write_notebook(project / "notebooks" / "fig90_tiny.ipynb", TINY, "exit(0)")
    with pytest.raises(NotebookError, match=r"^fig90 ended without its last cell"):
        executed(lambda: run("fig90", root=project))
    assert not (project / "results" / "quick" / "fig90").exists()


def test_progress_is_shown_as_it_comes(tmp_path: Path, capsys: Any) -> None:
    log = tmp_path / "progress"
    log.touch()
    with module._echo(log), log.open("a") as stream:
        stream.write("one\rtwo\n")
        stream.flush()
    assert capsys.readouterr().err == "one\rtwo\n"
