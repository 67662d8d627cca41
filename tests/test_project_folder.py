from pathlib import Path

import pytest

from seams.files import publish, write
from seams.project import project_root, shown


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


# --- publishing --------------------------------------------------------------------------------


def test_publishing_replaces_the_whole_folder(tmp_path: Path) -> None:
    source, target = tmp_path / ".new", tmp_path / "results" / "quick" / "fig99"
    source.mkdir()
    (source / "a").write_text("1")
    publish(source, target)
    assert [p.name for p in target.iterdir()] == ["a"]
    source.mkdir()
    (source / "b").write_text("2")
    publish(source, target)
    assert [p.name for p in target.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["results"]


def test_what_was_published_survives_a_failure(tmp_path: Path) -> None:
    """Where the new one vanishes on its way, and where folders cannot change places."""
    target = tmp_path / "fig99"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / ".absent", target)
    assert [p.name for p in tmp_path.iterdir()] == ["fig99"]
    assert [p.name for p in target.iterdir()] == ["old"]


@pytest.mark.parametrize("content", ["é", b"\x00"])
def test_a_file_is_whole_or_as_it_was(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "a"
    write(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UnicodeEncodeError):
        write(path, "\ud800")
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and path.stat().st_size
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "nowhere" / "a", content)


def test_paths_are_shown_from_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert shown(tmp_path / "here" / "a" / "b") == Path("a", "b")
    assert shown(tmp_path / "a") == tmp_path / "a"
