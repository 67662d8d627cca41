"""Arrays on disk are what their descriptions say, or nothing."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from seams.data import arrays

ROWS = np.arange(24, dtype=np.uint8).reshape(4, 6)
SHA256 = hashlib.sha256(ROWS.tobytes()).hexdigest()


def stored(path: Path, rows: np.ndarray = ROWS) -> Path:
    arrays.store(path, rows.shape, [rows[:3], rows[3:]], lambda sha256: {"source": "a test"})
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, whose `build` keeps checksums."""
    monkeypatch.setenv("SEAMS_ROOT", str(tmp_path))
    (tmp_path / "params.yaml").touch()
    return tmp_path


def test_what_was_stored_is_read_with_its_checksum(tmp_path: Path) -> None:
    array, record = arrays.read(stored(tmp_path / "new" / "a.npy"), (4, 6))
    np.testing.assert_array_equal(array, ROWS)
    assert record == {"source": "a test", "sha256": SHA256}
    array[0] = 255
    np.testing.assert_array_equal(arrays.read(tmp_path / "new" / "a.npy")[0], ROWS)
    assert sorted(os.listdir(tmp_path / "new")) == ["a.json", "a.npy"]


def test_a_refused_array_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.npy")

    def refuse(sha256: str) -> dict:
        raise RuntimeError(f"not {sha256[:4]}")

    with pytest.raises(RuntimeError, match="not "):
        arrays.store(path, (1, 6), [ROWS[:1]], refuse)
    np.testing.assert_array_equal(arrays.read(path)[0], ROWS)
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.npy"]


def test_a_crash_between_the_files_leaves_no_description(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.npy")
    unwritable = lambda sha256: {"source": object()}  # JSON has no word for it
    with pytest.raises(TypeError):
        arrays.store(path, (1, 6), [ROWS[:1]], unwritable)
    with pytest.raises(FileNotFoundError, match="a.json is missing"):
        arrays.read(path)


@pytest.mark.parametrize("bits", ["black", "flipped", "another's"])
def test_other_bits_of_the_same_size_are_refused(project: Path, bits: str) -> None:
    path = stored(project / "a.npy")
    arrays.read(path)  # its checksum is known now
    rows = {"black": 0 * ROWS, "flipped": ROWS ^ (ROWS == 7), "another's": ROWS[::-1]}[bits]
    facts = path.stat()
    np.save(path, rows)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(ValueError, match=r"a.npy must be the array of a.json; got sha256"):
        arrays.read(path)


def test_a_checksum_is_computed_once_for_a_file_that_stays(project: Path) -> None:
    path, other = stored(project / "a.npy"), stored(project / "b.npy", ROWS[::-1].copy())
    arrays.read(path), arrays.read(other)
    kept = project / "build" / "checksums.json"
    known = json.loads(kept.read_text())
    assert {Path(name).name: entry[-1] for name, entry in known.items()}["a.npy"] == SHA256
    assert len(known) == 2
    known[str(path)][-1] = "from before"
    kept.write_text(json.dumps(known))
    with pytest.raises(ValueError, match="got sha256 from before"):
        arrays.read(path)
    kept.write_text("{")
    other.unlink()
    arrays.read(path)
    assert list(json.loads(kept.read_text())) == [str(path)], "files that are gone are forgotten"


@pytest.mark.parametrize("text", ["[]", "{}", "3", '{"sha256": null}', '{"sha256": ["a"]}', "{"])
def test_descriptions_of_another_form_are_refused(tmp_path: Path, text: str) -> None:
    path = stored(tmp_path / "a.npy")
    path.with_suffix(".json").write_text(text)
    with pytest.raises(ValueError):
        arrays.read(path)


def test_files_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.npy")
    np.save(path, ROWS.astype(np.float32))
    with pytest.raises(ValueError, match=r"must hold uint8 \(4, 6\); got float32 \(4, 6\)"):
        arrays.read(path, (4, 6))
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"must hold uint8 values; got 2 bytes"):
        arrays.read(path)
