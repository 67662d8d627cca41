"""Shared fixtures: float64 by default, a fixed seed, and the shape checks of seams switched on."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from jaxtyping import install_import_hook

install_import_hook("seams", "beartype.beartype")

import torch  # noqa: E402  (the hook must be in place before anything of seams is imported)

from seams.training.store import Store  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device of the tensors that tests make")
    parser.addoption("--dtype", default="float64", help="floating dtype of the tests")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], ModuleType]:
    """A module without the shape checks, as users have it: with them theirs come first."""

    def load(module: ModuleType) -> ModuleType:
        name = f"plain_{module.__name__.rpartition('.')[2]}"
        spec = importlib.util.spec_from_file_location(name, module.__file__)
        made = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, made)  # where its dataclasses look for themselves
        spec.loader.exec_module(made)
        return made

    return load


@pytest.fixture(autouse=True)
def _numerics(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run every test in the chosen precision and from the same seed."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, request.config.getoption("--dtype")))
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)
