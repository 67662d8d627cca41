"""What only a GPU can show: the captured step, stacked convolutions, bfloat16."""

import pytest
import torch
from torch.testing import assert_close

from seams.data import Samples
from seams.training.loop import CHUNK, Stack, TrainConfig, _Stepper, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CONVOLUTIONAL = {"network": "burgess", "resolution": 16, "batch": 16, "latent": 4}


def _samples() -> Samples:
    generator = torch.Generator().manual_seed(1)
    return Samples(torch.rand(512, 256, generator=generator, dtype=torch.float32)).to(
        torch.device("cuda")
    )


def _trained(configs: list[TrainConfig]) -> Stack:
    data = _samples()
    stack = Stack.start(configs, data, "cuda")
    for progress in train(stack, data):
        assert not progress.diverged
    return stack


def test_captured_steps_are_the_eager_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [TrainConfig(**CONVOLUTIONAL, images=16 * CHUNK, seed=s) for s in range(3)]
    captured = _trained(configs)
    monkeypatch.setattr(_Stepper, "__call__", _Stepper._step)
    eager = _trained(configs)
    for name, param in eager.params.items():
        assert_close(captured.params[name], param, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_stacked_run_is_the_run_alone(covariance: str) -> None:
    settings = CONVOLUTIONAL | {"covariance": covariance, "images": 16 * CHUNK}
    stacked = _trained([TrainConfig(**settings, seed=s, beta=0.5 + s) for s in range(3)])
    alone = _trained([TrainConfig(**settings, seed=1, beta=1.5)])
    for name, param in alone.params.items():
        assert_close(stacked.params[name][1], param[0], rtol=1e-2, atol=1e-3)


def test_bfloat16_follows_the_loss_of_float32() -> None:
    losses = []
    for precision in ("float32", "bfloat16"):
        config = TrainConfig(**CONVOLUTIONAL, images=16 * CHUNK * 4, precision=precision)
        history = _trained([config]).history
        losses.append(torch.stack(history["distortion"]) + torch.stack(history["rate"]))
    assert_close(losses[1], losses[0], rtol=0.02, atol=0.0)
