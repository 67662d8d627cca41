"""Data sets by name."""

import itertools
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


def test_orl_is_fetched_and_its_train_part_loaded(home: Path, monkeypatch: pytest.MonkeyPatch):
    images = torch.arange(400, dtype=torch.uint8)[:, None, None, None].expand(400, 1, 8, 8)
    whole = faces.Faces(images, dict(faces.orl._ORL_SPLIT), "a test", "0")
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


@pytest.mark.parametrize("name", ["folder:", "folder:a/b", "celeba:../x", "folder", "orl:x"])
def test_other_names_of_faces(name: str):
    with pytest.raises(ValueError, match=f"or 'folder:NAME' for faces; got '{name}'"):
        data.load(name, 64)


def test_an_unknown_name():
    with pytest.raises(ValueError, match=r"got 'circle'\. Did you mean 'circles'\?"):
        data.load("circle", 1)
