"""The run of record is enough to draw from: on a machine that has trained nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seams.data import dsprites
from seams.training import Run, TrainConfig, run_id
from seams.training.record import listing

ROOT = Path(__file__).parents[2]
RUNS, FIGURES = ROOT / "record" / "runs", ROOT / "record" / "figures"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a freshly rendered dSprites, since a clone has none; gone after the tests."""
    folder = tmp_path_factory.mktemp("data")
    dsprites.write(folder)
    yield folder
    shutil.rmtree(folder)


def test_a_figure_is_drawn_from_the_record_alone(data: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = [sys.executable, "-m", "seams", "run", "chain", "--profile", "desk"]
    environment = os.environ | {"SEAMS_STORE": str(store), "SEAMS_DATA": str(data)}
    subprocess.run(
        [*command, "-o", tmp_path / "out"], cwd=ROOT, env=environment, check=True, timeout=300
    )
    assert not list(store.glob("*/config.json")), "it trained"
    drawn, kept = (
        json.loads((folder / "numbers.json").read_text())
        for folder in (tmp_path / "out", FIGURES / "chain")
    )
    assert drawn["runs"] == kept["runs"] | {"commits": drawn["runs"]["commits"]}
    for ours, theirs in zip(drawn["claims"], kept["claims"], strict=True):
        assert (ours["id"], ours["n"]) == (theirs["id"], theirs["n"])
        assert ours["value"] == pytest.approx(theirs["value"], rel=1e-4, abs=1e-5)
    assert (tmp_path / "out" / "figure.svg").stat().st_size > 10_000


@pytest.mark.slow
def test_figure_5_is_drawn_where_every_model_collapsed(data: Path, tmp_path: Path) -> None:
    """No off-diagonality is defined then."""
    values = ["betas=[1e5, 2e5]", "seeds=1", "images=4096"]
    command = [sys.executable, "-m", "seams", "run", "fig05", "--profile", "smoke"]
    environment = os.environ | {"SEAMS_STORE": str(tmp_path / "store"), "SEAMS_DATA": str(data)}
    subprocess.run(
        [*command, *(part for value in values for part in ("-p", value)), "-o", tmp_path / "out"],
        cwd=ROOT,
        env=environment,
        check=True,
        timeout=300,
    )
    found = json.loads((tmp_path / "out" / "numbers.json").read_text())
    assert not [name for name in found["values"] if name.startswith("off_diagonal_gram")]


def test_every_run_of_the_record_is_what_its_name_says() -> None:
    runs = listing(RUNS)
    assert len(runs) > 0
    for folder in sorted(RUNS.iterdir()):
        config = TrainConfig(**json.loads((folder / "config.json").read_text()))
        assert run_id(config) == folder.name
        assert Run(config, folder).scores["active"] >= 0


def test_the_record_is_small_and_has_no_pickle() -> None:
    files = [path for path in (ROOT / "record").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 40e6
    assert {path.suffix for path in files} <= {".json", ".npz", ".svg", ".png", ".safetensors"}
    decoders = [path for path in files if path.suffix == ".safetensors"]
    assert all(path.name == "decoder.safetensors" for path in decoders)
    assert all(path.stat().st_size <= 1.1e6 for path in decoders)
