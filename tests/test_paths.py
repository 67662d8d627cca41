from pathlib import Path

import pytest

from seams.paths import project_root


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEAMS_ROOT", raising=False)


def test_root_is_the_nearest_folder_with_params(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "params.yaml").touch()
    monkeypatch.chdir(inner)
    assert project_root() == tmp_path
    (tmp_path / "a" / "params.yaml").touch()
    assert project_root() == tmp_path / "a"


def test_without_a_project_it_is_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert project_root() == tmp_path


def test_a_variable_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEAMS_ROOT", "elsewhere")
    assert project_root() == tmp_path / "elsewhere"  # absolute, so that it stays where it is
