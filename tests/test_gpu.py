"""What only a GPU can show: captured and compiled steps, precisions, the choice of a way."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from seams.data import Samples
from seams.training import CHUNK, Stack, TrainConfig, train
from seams.training.tuning import way_for
from seams.training.ways import Way, ways

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:TensorFloat32"),  # a compiler's advice, in float32
]

BURGESS = TrainConfig(network="burgess", resolution=16, batch=16, latent=4, images=16 * CHUNK)


def samples() -> Samples:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(512, 256, generator=generator, dtype=torch.float32)
    return Samples(x).to(torch.device("cuda"))


def trained(configs: list[TrainConfig], way: Way | None = None) -> Stack:
    data = samples()
    stack = Stack.start(configs, data, "cuda")
    for progress in train(stack, data, way=way):
        assert not progress.diverged
    return stack


def assert_same(found: Stack, expected: Stack) -> None:
    """To what two orders of summing in float32 come to in 128 steps of Adam."""
    for name, param in expected.params.items():
        assert_close(found.params[name], param, rtol=1e-2, atol=1e-3)


def test_captured_steps_are_the_eager_ones() -> None:
    configs = [replace(BURGESS, seed=s) for s in range(3)]
    assert_same(trained(configs, Way(captured=True)), trained(configs, Way()))


@pytest.mark.parametrize("runs", [1, 3])
def test_every_way_trains_the_same(runs: int) -> None:
    configs = [replace(BURGESS, seed=s) for s in range(runs)]
    expected = trained(configs, Way(apart=True))
    for way in ways(expected):
        if not way.compiled:
            assert_same(trained(configs, way), expected)


def test_a_compiled_step_trains_the_same() -> None:
    configs = [replace(BURGESS, seed=s) for s in range(3)]
    compiled = [way for way in ways(Stack.start(configs, samples(), "cuda")) if way.compiled]
    if not compiled:
        pytest.skip("no compiler for this GPU")
    assert_same(trained(configs, compiled[0]), trained(configs, Way(apart=True)))


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_stacked_run_is_the_run_alone(covariance: str) -> None:
    config = replace(BURGESS, covariance=covariance)
    stacked = trained([replace(config, seed=s, beta=0.5 + s) for s in range(3)])
    alone = trained([replace(config, seed=1, beta=1.5)])
    for name, param in alone.params.items():
        assert_close(stacked.params[name][1], param[0], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_lower_precisions_follow_the_loss_of_float32(precision: str) -> None:
    losses = []
    for kind in ("float32", precision):
        history = trained([replace(BURGESS, images=4 * BURGESS.images, precision=kind)]).history
        losses.append(torch.stack(history["distortion"]) + torch.stack(history["rate"]))
    assert_close(losses[1], losses[0], rtol=0.02, atol=0.0)


def test_the_fastest_way_is_chosen_and_kept(tmp_path: Path) -> None:
    """Among those that need no compiler: so few steps would not pay for it."""
    data = samples()
    configs = [replace(BURGESS, seed=s, images=16 * 1500) for s in range(3)]
    stack = Stack.start(configs, data, "cuda")
    x, noise = data.x[:16].expand(3, 16, 256), torch.randn(3, 16, 4, device="cuda").float()
    chosen = way_for(stack, x, noise, tmp_path)
    ((key, kept),) = json.loads((tmp_path / "ways.json").read_text()).items()
    assert key.startswith(torch.cuda.get_device_name())
    assert kept["way"] == str(chosen) and chosen.captured and not chosen.compiled
    assert kept["milliseconds"][kept["way"]] == min(kept["milliseconds"].values())
    assert not kept["refused"]
