"""Data sets by name."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seams import data
from seams.data import faces
from seams.data.synthetic import circles


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of faces of our own, and a memory of `load` that forgets it."""
    monkeypatch.setenv("SEAMS_FACES", str(tmp_path))
    data.load.cache_clear()
    yield tmp_path
    data.load.cache_clear()


def test_circles_are_those_of_the_function():
    assert torch.equal(data.load("circles", 1).x, circles().x.float())


def test_coins_are_fair_and_independent():
    coins = data.load("coins", 1).x
    assert sorted(map(tuple, coins.tolist())) == sorted(itertools.product([0.0, 1.0], repeat=4))
    assert torch.equal(coins.double().T.cov(correction=0), torch.eye(4) / 4)


def test_squares_are_what_their_kind_says() -> None:
    oblong = data.load("square:1.5", 1)
    assert oblong.x.shape == (50_000, 3) and (oblong.x[:, 2] == 0).all()
    torch.testing.assert_close(oblong.x[:, :2].double(), oblong.latents * torch.tensor([1.5, 1]))
    matrix, network = data.load("square:matrix", 1), data.load("square:network", 1)
    places = torch.cat([matrix.latents, torch.ones(50_000, 1)], 1)
    # A linear map is found by least squares, and the network is none.
    for sample, exact in ((matrix, True), (network, False)):
        x = sample.x.double()
        residual = x - places @ torch.linalg.lstsq(places, x).solution
        left = (residual.std() / x.std()).item()
        assert left < 1e-6 if exact else left > 0.01
    with pytest.raises(ValueError, match="or a number such as 1.2; got 'cube'"):
        data.load("square:cube", 1)


def test_orl_is_fetched_and_its_train_part_loaded(home: Path, monkeypatch: pytest.MonkeyPatch):
    images = torch.arange(400, dtype=torch.uint8)[:, None, None, None].expand(400, 1, 8, 8)
    whole = faces.Faces(images, {"train": range(320), "test": range(360, 400)}, "a test", "0")
    monkeypatch.setattr(faces, "fetch_orl", lambda folder: folder / "archive")
    asked = []
    monkeypatch.setattr(faces, "load_orl", lambda *args: asked.append(args) or whole)
    loaded = data.load("orl", 8)
    assert len(loaded) == 320 and loaded.checksum == "0"
    assert torch.equal(loaded.images, images[:320])
    assert len(data.load_faces("orl", 8).part("test")) == 40
    assert asked == [(home / "archive", 8)] * 2


def test_a_folder_and_a_zip_are_found_by_name(home: Path, monkeypatch: pytest.MonkeyPatch):
    (home / "mine").mkdir()
    for i in range(10):
        Image.fromarray(np.full((9, 9, 3), i, np.uint8)).save(home / "mine" / f"{i}.png")
    loaded = data.load("folder:mine", 4)
    assert loaded.images[:, 0, 0, 0].tolist() == list(range(8))
    asked = []
    monkeypatch.setattr(
        faces, "load_celeba", lambda *args, **how: asked.append((args, how)) or loaded
    )
    data.load_faces("celeba", 64)
    data.load_faces("celeba:some", 32)
    assert asked == [
        ((home / "img_align_celeba.zip", home), {"resolution": 64, "md5": faces.CELEBA_MD5}),
        ((home / "some.zip", home), {"resolution": 32}),
    ]


def test_celeba_absent_names_what_to_do():
    with pytest.raises(FileNotFoundError, match=r"Get img_align_celeba.zip from the authors"):
        data.load("celeba", 64)


@pytest.mark.parametrize(
    "name", ["folder:", "folder:a/b", "folder:..", "folder:.", "celeba:../x", "celeba:.."]
)
def test_names_of_faces_stay_in_their_home(name: str):
    with pytest.raises(ValueError, match=f"or 'folder:NAME' for faces; got '{name}'"):
        data.load(name, 64)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("circle", "circles"),
        ("alike", None),
        ("orl:x", "orl"),
        ("folder", "folder:NAME"),
        ("plane", "plane-RATIO"),
        ("linear-2", "linear"),
    ],
)
def test_an_unknown_name(name: str, meant: str | None):
    hint = f" Did you mean '{meant}'?" if meant else ""
    with pytest.raises(ValueError, match=f"one of dsprites, .*; got '{name}'.{re.escape(hint)}$"):
        data.load(name, 64)


def test_what_is_listed_can_be_loaded(home: Path):
    """Each name, with a value where it has capitals, is a data set that training takes."""
    (home / "mine").mkdir()
    for i in range(10):
        Image.fromarray(np.full((16, 16, 3), i, np.uint8)).save(home / "mine" / f"{i}.png")
    values = {"LAW": "normal", "LATENTS": "2", "RATIO": "2", "NAME": "mine"}
    values |= {"SPACING": "4", "ROWS": "4"}
    for form in data.DATASETS:
        name = re.sub("[A-Z]+", lambda word: values.get(word[0], "0.1"), form)
        if name.startswith(("orl", "celeba")) or name in ("dsprites", "dsprites_half_height"):
            continue  # they need files of others
        found = data.load(name, 16)
        assert isinstance(found, data.Data), name
        batch = found.batch(torch.arange(2))
        assert len(batch) == 2 and batch.is_floating_point()
        for truth in (found.factors, found.latents):
            assert truth is None or len(truth) == len(found)
