"""The film of training: shots show what the evaluation scores, the page the right one."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import browser, needs_browser
from PIL import Image
from stored import CONFIG, FACTS
from torch.testing import assert_close

from seams import metrics
from seams.book import live
from seams.data import Samples
from seams.networks import set_covariance
from seams.paper import film
from seams.paper.film import CELL, FILM, STEPS, shots, write_film
from seams.training import Run, Stack, Store, train
from seams.training.evaluate import reevaluate, score_model

PROGRAMS = Path(__file__).parents[1] / "book" / "_live"
SIDE, NAMES = 2, ("colour", "place")
CHANGING = replace(
    CONFIG,
    resolution=SIDE,
    images=512 * 8,
    batch=8,
    snapshots=4,
    sigma=0.1,
    beta=0.1,
    hold=0.5,
    covariance_start="diagonal",
    covariance="full",
)


@pytest.fixture(scope="module")
def data() -> Samples:
    """Four pixels that two factors brighten."""
    factors = torch.cartesian_prod(torch.arange(4), torch.arange(3))
    x = factors.double() @ torch.tensor([[0.2, 0.1, 0.0, 0.1], [0.0, 0.1, 0.3, 0.1]]).double()
    return Samples(x.float(), factors=factors, factor_names=NAMES)


@pytest.fixture(scope="module")
def runs(data: Samples, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """A run that changes, with its evaluation, twice."""
    store, stack = Store(tmp_path_factory.mktemp("store")), Stack.start([CHANGING], data)
    for _ in train(stack, data):
        pass
    run = store.finish(stack, 0, FACTS | {"data_size": SIDE**2})
    return [store.update(run, *reevaluate(run, data))] * 2


def test_a_shot_shows_what_its_snapshot_scores(data: Samples, runs: list[Run]) -> None:
    reel = shots(runs[0], data)
    assert [shot.covariance for shot in reel] == ["diagonal", "diagonal", "full", "full"]
    assert [shot.images for shot in reel] == [1024, 2048, 3072, 4096]
    order = np.argsort(-runs[0].arrays["activity"])
    entropies = metrics.entropies(data.factors).numpy()
    for shot, (step, weights) in zip(reel, runs[0].snapshots().items(), strict=True):
        model = runs[0].model(weights)
        set_covariance(model, "diagonal" if step <= runs[0].config.change else "full")
        _, arrays = score_model(model, data, whole=False)
        expected = arrays["information"][order] / entropies
        np.testing.assert_allclose(shot.information, expected.T, atol=1e-6)
        share = arrays["gram"][order][:, order]
        share = share / np.sqrt(np.outer(share.diagonal(), share.diagonal()))
        active = arrays["activity"][order] > metrics.ACTIVE
        share[~active] = share[:, ~active] = np.nan
        np.testing.assert_allclose(shot.gram, share, atol=1e-5)
    middle = shots(runs[0], data)[-1].traversals
    assert middle.shape == (2, STEPS, SIDE, SIDE)
    vae = runs[0].model()
    low = vae.encoder(data.x[torch.randperm(12, generator=torch.Generator().manual_seed(0))[:1]])
    z = low.mean[0].clone()
    z[order[0]] = -2.0
    assert_close(
        torch.from_numpy(middle[0, 0]).flatten(),
        vae.decoder(z).clamp(0, 1).double(),
        rtol=0,
        atol=1e-5,
    )


@pytest.fixture
def written(
    runs: list[Run], data: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setattr(film.datasets, "load", lambda *_: data)
    named = {("changed", "a"): runs[0], ("one", "b"): runs[1]}
    path = write_film(tmp_path, named, "switch", "Seed 0.")
    assert path == tmp_path / FILM
    return path


def test_the_sheet_has_a_row_a_run_and_a_column_a_snapshot(
    written: Path, runs: list[Run], data: Samples
) -> None:
    content = json.loads(written.read_text(encoding="utf-8"))
    assert content["runs"] == [run.id for run in runs] and content["change"] == 2048
    mig = [frame["mig"] for frame in content["panels"][0]["frames"]]
    np.testing.assert_allclose(mig, runs[0].arrays["curve_mig"], atol=6e-4)
    ratios = [f["off_diagonal_gram_of_abs_ratio"] for f in content["panels"][0]["frames"]]
    undefined = np.isnan(runs[0].arrays["curve_off_diagonal_gram_of_abs_ratio"])
    assert [ratio is None for ratio in ratios] == undefined.tolist()
    sheet = Image.open(io.BytesIO(base64.b64decode(content["png"])))
    pixels = np.array(sheet.convert("RGB")).astype(float)
    wide, rows = 2 * CELL, 2
    height, width = wide + rows * SIDE, 2 * wide
    assert pixels.shape == (2 * height, 4 * width, 3)
    for row, run in enumerate(runs):
        for k, shot in enumerate(shots(run, data)):
            tile = pixels[row * height :, k * width :]
            moved = tile[wide:height, : STEPS * SIDE].reshape(rows, SIDE, STEPS, SIDE, 3)
            drawn = moved.swapaxes(1, 2)[..., 0] / 255
            np.testing.assert_allclose(drawn, shot.traversals, atol=0.035)
            dark = tile[CELL // 2 : wide : CELL, CELL // 2 : wide : CELL, 0]  # of J'J
            known = np.isfinite(shot.gram)
            expected = 250 + (8 - 250) * np.nan_to_num(shot.gram)
            np.testing.assert_allclose(dark[known], expected[known], atol=9)
            assert (dark[~known] == 216).all()


def test_a_clone_takes_the_film_of_the_record(
    written: Path, runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "record" / "figures" / "switch"
    kept.mkdir(parents=True)
    (kept / FILM).write_bytes(written.read_bytes())
    monkeypatch.setattr(film, "project_root", lambda: tmp_path)
    bare = {("changed", f"{k}"): Run(run.config, Path()) for k, run in enumerate(runs)}
    folder = tmp_path / ".new-switch"  # as `seams run` writes it
    folder.mkdir()
    assert write_film(folder, dict(list(bare.items())[:1]), "switch") is None  # of other runs
    assert not (folder / FILM).exists()
    path = write_film(folder, bare, "switch")
    assert path is not None and path.read_bytes() == written.read_bytes()


@needs_browser
def test_the_slider_shows_one_snapshot_of_both_runs(written: Path, tmp_path: Path) -> None:
    html = live.moving(written, PROGRAMS).removeprefix(":::{raw} html\n").removesuffix("\n:::")
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{html}")
    content = json.loads(written.read_text(encoding="utf-8"))
    with browser(tmp_path) as tab:
        tab.open(page.as_uri())
        shown = "[...document.querySelectorAll('section')].map((s) => s.hidden)"
        assert tab.value(shown) == [True, False]  # a group at a time
        tab.value("document.querySelector('input[type=radio]').click()")
        assert tab.value(shown) == [False, True]
        tab.value("document.querySelector('input[type=range]').focus()")
        for _ in range(2):
            tab.press("ArrowRight")
        frame = content["panels"][0]["frames"][2]
        told = tab.value("document.querySelector('section .live-told').textContent")
        assert told.startswith(f"Posterior {frame['covariance']}; MIG {frame['mig']:.2f};")
        tile = "document.querySelector('section [role=img]')"
        assert "after 3072 images" in tab.value(f"{tile}.getAttribute('aria-label')")
        place = tab.value(f"getComputedStyle({tile}).backgroundPosition")
        assert place == f"{-2 * 2 * 2 * 2 * CELL}px 0px"  # two sheets' columns on, twice as large
        assert tab.value("document.querySelector('img') === null") and not tab.problems
        tab.value("document.querySelector('button').click()")
        while tab.value("document.querySelector('output').textContent") != "4k":
            pass
