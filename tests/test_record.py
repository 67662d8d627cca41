import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stored import CONFIG, FACTS, SCORES, add

from seams.cli import main
from seams.files import scratch
from seams.paper.reading import import_figures
from seams.sweep.jobs import unfinished
from seams.training import Run, Store, run_id
from seams.training import record as module
from seams.training.record import import_runs, listing
from seams.training.runs import read_config


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record" / "runs"


def test_what_was_measured_is_taken_and_weights_are_not(store: Path, record: Path) -> None:
    run = add(store)
    assert import_runs(store, record) == module.Imported(added=(run.id,))
    assert not list(record.glob("*/*.safetensors"))
    taken = Store(store.parent / "empty", record).find(CONFIG)
    assert taken.scores == SCORES and taken.provenance == FACTS
    assert taken.arrays["information"].dtype == np.float32
    np.testing.assert_allclose(taken.arrays["information"], [[0.1, 1.0]], rtol=1e-7)
    assert taken.history.equals(run.history)


def test_a_second_import_changes_nothing(store: Path, record: Path) -> None:
    run = add(store)
    import_runs(store, record)
    before = {path: path.stat().st_mtime_ns for path in record.rglob("*")}
    assert import_runs(store, record).known == (run.id,)
    assert {path: path.stat().st_mtime_ns for path in record.rglob("*")} == before


def test_a_decoder_is_kept_on_request(store: Path, record: Path) -> None:
    run = add(store)
    import_runs(store, record)
    assert import_runs(store, record, decoders=[run.id]).replaced == (run.id,)
    kept = Run(CONFIG, record / run.id)
    z = torch.randn(3, 2, dtype=torch.float32)
    torch.testing.assert_close(kept.decoder()(z), run.model().network(z), rtol=0, atol=0)
    assert not kept.has_weights
    import_runs(store, record)  # and stays if it is not asked for again
    assert kept.decoder()(z).shape == (3, 6)


def test_images_of_faces_stay_out(store: Path, record: Path) -> None:
    run = add(store, replace(CONFIG, dataset="orl"))
    import_runs(store, record)
    assert Run(run.config, record / run.id).arrays.keys() == {"information"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"commit": None}, "its provenance holds no usable 'commit': None"),
        ({"dirty": True}, "was trained with uncommitted changes"),
        ({"information": np.array(["a"])}, "the array 'information' must hold numbers; it holds"),
        ({"information": np.array([[np.nan]])}, "the array 'information' is not finite"),
    ],
)
def test_what_cannot_be_trusted_is_refused(
    store: Path, record: Path, changed: dict[str, Any], message: str
) -> None:
    bad = add(store, **changed)
    add(store, replace(CONFIG, seed=1))
    with pytest.raises(ValueError, match="^Nothing was imported:\n" + bad.id) as error:
        import_runs(store, record)
    assert message in str(error.value) and len(str(error.value).splitlines()) == 2
    assert not record.exists()


def test_links_are_not_followed(store: Store, record: Path, tmp_path: Path) -> None:
    run = add(store)
    shutil.move(run.folder / "provenance.json", tmp_path / "elsewhere.json")
    (run.folder / "provenance.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(
        ValueError, match=r"provenance\.json must be a file of its own, not a link"
    ):
        import_runs(store, record)


def test_an_earlier_evaluation_is_taken(store: Path, record: Path) -> None:
    """What it lacks was not computed; what it has is as good as ever."""
    run = add(store, evaluation=1)
    assert import_runs(store, record).added == (run.id,)


def test_damaged_runs_are_refused(store: Path, record: Path) -> None:
    run = add(store)
    evaluation = run.folder / "evaluation.json"
    good = evaluation.read_text()
    evaluation.write_text(good.replace("0.25", "0.26"))
    with pytest.raises(ValueError, match=r"evaluation\.json was damaged; `seams store check`"):
        import_runs(store, record)
    (run.folder / "files.json").unlink()  # as before there were checksums
    for text, message in [
        (good.replace("0.25", "NaN"), "the score 'rate' is not finite"),
        (good.replace('"evaluation"', '"elevation"'), "does not say by which version"),
        (good[:-5], "cannot be read"),
        ("[1]", "cannot be read: it holds no names"),
    ]:
        evaluation.write_text(text)
        with pytest.raises(ValueError, match=message):
            import_runs(store, record)
    evaluation.write_text(good)
    (run.folder / "history.npz").unlink()
    with pytest.raises(ValueError, match=r"history\.npz is missing"):
        import_runs(store, record)


def test_a_run_under_a_false_name_is_refused(store: Path, record: Path) -> None:
    run = add(store)
    other = run_id(replace(CONFIG, seed=9))
    shutil.move(run.folder, store / other)
    (store / other / "files.json").unlink()
    with pytest.raises(ValueError, match=f"{other}: its configuration is that of {run.id}"):
        import_runs(store, record)
    config = json.loads((store / other / "config.json").read_text()) | {"speed": 1}
    (store / other / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="fields unknown here: speed"):
        import_runs(store, record)


def test_all_runs_saw_the_same_data(store: Path, record: Path, tmp_path: Path) -> None:
    add(store)
    import_runs(store, record)
    add(tmp_path / "other", replace(CONFIG, seed=1), data_checksum="xyz")
    with pytest.raises(ValueError, match="its linear data have another checksum"):
        import_runs(tmp_path / "other", record)


def test_a_run_is_replaced_only_on_request(store: Path, record: Path, tmp_path: Path) -> None:
    run = add(store)
    import_runs(store, record)
    add(tmp_path / "other", rate=0.5)
    with pytest.raises(ValueError, match="other contents; --replace takes it"):
        import_runs(tmp_path / "other", record)
    assert import_runs(tmp_path / "other", record, replace=True).replaced == (run.id,)
    assert Run(CONFIG, record / run.id).scores["rate"] == 0.5


def test_decoders_must_exist_and_be_small(
    store: Path, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = add(store)
    with pytest.raises(ValueError, match="abc: there is no such run"):
        import_runs(store, record, decoders=["abc"])
    monkeypatch.setattr(module, "LARGEST_DECODER", 100)
    with pytest.raises(ValueError, match="its decoder has .* bytes, more than 100"):
        import_runs(store, record, decoders=[run.id])
    (run.folder / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match="has no weights, so its decoder cannot be kept"):
        import_runs(store, record, decoders=[run.id])


def test_a_folder_without_runs_is_named(tmp_path: Path, record: Path) -> None:
    with pytest.raises(ValueError, match="There is no finished run in"):
        import_runs(tmp_path, record)


def test_listing_is_sorted_and_tells_device_and_time(store: Path, record: Path) -> None:
    for seed in (1, 0):
        add(store, replace(CONFIG, seed=seed))
    import_runs(store, record)
    table = listing(record)
    assert table["seed"].tolist() == [0, 1]
    assert table["device"].tolist() == ["2 threads of Some CPU"] * 2
    assert table["seconds"].tolist() == [1.5, 1.5] and not table["decoder"].any()
    assert listing(record / "nowhere").empty


def test_a_kill_between_two_renames_loses_no_run(store: Path, record: Path) -> None:
    """What a dead process had moved aside is back after the next import."""
    run = add(store)
    import_runs(store, record)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    made = scratch(record)
    aside = made.name.replace(".new", ".old").replace(str(os.getpid()), str(child))
    (record / run.id).rename(record / f"{aside}-{run.id}")
    other = add(store.parent / "other", replace(CONFIG, seed=1))
    import_runs(store.parent / "other", record)
    made.rmdir()
    assert {path.name for path in record.iterdir()} == {run.id, other.id}


def test_every_run_of_the_record_is_found_and_needs_nothing(tmp_path: Path) -> None:
    record = Path(__file__).parent.parent / "record" / "runs"
    configs = [read_config(path.parent) for path in sorted(record.glob("*/config.json"))]
    store = Store(tmp_path, record)
    runs = [store.find(config) for config in configs]
    assert len(runs) >= 699 and all(run and run.folder.parent == record for run in runs)
    assert unfinished(configs, store) == {}


# --- packs -------------------------------------------------------------------------------------


def test_packed_runs_come_home(
    store: Path, record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the record keeps; decoders of as many as there is room for, taken on request."""
    runs = [add(store, replace(CONFIG, seed=seed)) for seed in range(5)]
    assert module.pack_runs(runs, tmp_path / "pack") == (5, 5)
    assert [path.name for path in (tmp_path / "pack").iterdir()] == ["runs-0.zip"]
    assert import_runs(tmp_path / "pack", record).added == tuple(sorted(run.id for run in runs))
    assert import_runs(store, record).known == tuple(sorted(run.id for run in runs))
    import_runs(tmp_path / "pack", record, decoders=[runs[3].id])
    z = torch.randn(3, 2, dtype=torch.float32)
    kept = Run(runs[3].config, record / runs[3].id).decoder()
    torch.testing.assert_close(kept(z), runs[3].decoder()(z), rtol=0, atol=0)
    size = (tmp_path / "pack" / "runs-0.zip").stat().st_size // 5
    monkeypatch.setattr(module, "PACK_BYTES", 2 * size)
    monkeypatch.setattr(module, "PACKS", 2)
    packed, decoders = module.pack_runs(runs, tmp_path / "pack")
    sizes = [path.stat().st_size for path in (tmp_path / "pack").iterdir()]
    assert len(sizes) == 2 and max(sizes) <= 2 * size and 2 <= packed <= 5 and decoders < 5
    assert len(import_runs(tmp_path / "pack", record).known) == packed


@pytest.mark.parametrize("name", ["../../evil", "/evil", "config.json", "0" * 16 + "/a.py"])
def test_files_that_are_no_run_are_not_unpacked(tmp_path: Path, record: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "runs-0.zip", "w") as file:
        file.writestr(name, "{}")
    with pytest.raises(ValueError, match="which is no run's"):
        import_runs(tmp_path, record)
    (tmp_path / "runs-0.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"runs-0\.zip cannot be read"):
        import_runs(tmp_path, record)
    assert not record.exists() and not list(tmp_path.rglob("*evil*"))


# --- figures -----------------------------------------------------------------------------------


def figures(folder: Path, profile: str = "desk", dirty: bool = False, value: int = 1) -> Path:
    target = folder / "fig05"
    target.mkdir(parents=True, exist_ok=True)
    numbers = {"name": "fig05", "profile": profile, "environment": {"dirty": dirty}}
    numbers |= {"parameters": {}, "values": {"x": value}, "claims": [], "runs": {}}
    (target / "numbers.json").write_text(json.dumps(numbers))
    (target / "figure.svg").write_text("<svg/>")
    (target / "figure.pdf").write_text("%PDF")
    (target / "notebook.ipynb").write_text('{"cells": []}')
    return folder


def test_figures_and_numbers_are_taken(tmp_path: Path) -> None:
    results, record = figures(tmp_path / "results"), tmp_path / "record"
    assert import_figures(results, record).added == ("fig05",)
    assert {p.name for p in (record / "fig05").iterdir()} == {"numbers.json", "figure.svg"}
    assert import_figures(results, record).known == ("fig05",)
    figures(results, value=2)
    assert import_figures(results, record).replaced == ("fig05",)
    assert json.loads((record / "fig05" / "numbers.json").read_text())["values"] == {"x": 2}


def test_figures_of_other_profiles_or_changed_code_are_refused(tmp_path: Path) -> None:
    record = tmp_path / "record"
    with pytest.raises(ValueError, match="of the profile paper or desk; fig05 is of 'quick'"):
        import_figures(figures(tmp_path / "a", "quick"), record)
    with pytest.raises(ValueError, match="fig05 was drawn with uncommitted changes: commit"):
        import_figures(figures(tmp_path / "b", dirty=True), record)
    broken = figures(tmp_path / "c")
    (broken / "fig05" / "numbers.json").write_text('{"profile": "desk"}')
    with pytest.raises(ValueError, match="must hold 'name' as a str"):
        import_figures(broken, record)
    content = json.loads((figures(tmp_path / "d") / "fig05" / "numbers.json").read_text())
    for text, message in [
        (json.dumps(content | {"claims": [7]}), "A claim must be a table of names; .* has 7"),
        ("[1]", "numbers.json cannot be read: it holds no names"),
        ("[" * 10_000, "numbers.json cannot be read"),
    ]:
        (tmp_path / "d" / "fig05" / "numbers.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            import_figures(tmp_path / "d", record)
    with pytest.raises(ValueError, match="There are no figures in"):
        import_figures(tmp_path / "nothing", record)
    assert not record.exists()


# --- command -----------------------------------------------------------------------------------


def test_commands(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("SEAMS_ROOT", str(tmp_path / "project"))
    assert main(["record", "list"]) == 2
    assert "There is no run in" in capsys.readouterr().err
    run = add(store)
    assert main(["record", "import", str(store), "--decoder", run.id]) == 0
    assert main(["record", "import", str(figures(tmp_path / "results"))]) == 0
    assert main(["record", "list"]) == 0
    out = capsys.readouterr().out
    assert run.id in out and "1 runs" in out and "1 added" in out
    assert (tmp_path / "project" / "record" / "figures" / "fig05" / "figure.svg").is_file()
    assert main(["record", "import", str(tmp_path / "nowhere")]) == 2
    assert "There is no finished run in" in capsys.readouterr().err
