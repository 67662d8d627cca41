"""Shared fixtures: float64 by default, a fixed seed, and the shape checks of seams switched on."""

from collections.abc import Iterator

import pytest
from jaxtyping import install_import_hook

install_import_hook("seams", "beartype.beartype")

import torch  # noqa: E402  (the hook must be in place before anything of seams is imported)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device of the tensors that tests make")
    parser.addoption("--dtype", default="float64", help="floating dtype of the tests")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(autouse=True)
def _numerics(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run every test in the chosen precision and from the same seed."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, request.config.getoption("--dtype")))
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)
