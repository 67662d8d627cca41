"""Ways to compute a step agree, and the fastest that does is chosen, once for a kind of stack."""

import json
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from seams.data import Samples
from seams.training import Stack, TrainConfig, loop, train, tuning, ways
from seams.training.stack import Models
from seams.training.tuning import Verdict, fastest
from seams.training.ways import Gradients, Way

BURGESS = TrainConfig(network="burgess", resolution=8, latent=3, batch=4, images=32)
MLP = replace(BURGESS, network="mlp", width=6)
WAYS = [
    Way(),
    Way("product", parts=8),
    Way("taps"),
    Way("patches", parts=2, apart=True),
    Way(to_images="taps", apart=True),
]


def samples(side: int = 8, channels: int = 1) -> Samples:
    generator = torch.Generator().manual_seed(1)
    return Samples(torch.rand(40, channels * side**2, generator=generator, dtype=torch.float32))


def terms_and_gradients(
    models: Models, way: Way, inputs: tuple[Tensor, ...], precision: str = "float32"
) -> tuple[Tensor, dict[str, Tensor]]:
    gradients = Gradients(models, way, precision)
    terms = gradients(*inputs)
    return terms, gradients.stacked()


# --- agreement ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "channels", "covariance"),
    [(1, 1, "full"), (1, 3, "diagonal"), (2, 1, "diagonal"), (5, 3, "full")],
)
def test_all_ways_agree(runs: int, channels: int, covariance: str) -> None:
    """In float64, with each run's own loss differentiated by itself."""
    config = replace(BURGESS, covariance=covariance)
    stack = Stack.start([replace(config, seed=s) for s in range(runs)], samples(channels=channels))
    models = Models(stack.template, stack.params).double()
    inputs = torch.rand(runs, 4, channels * 64), torch.randn(runs, 4, 3), torch.rand(runs)
    expected: dict[str, list[Tensor]] = {}
    for run in range(runs):
        own = {k: p[run].clone().requires_grad_() for k, p in models.params.items()}
        x, noise, beta = (value[run] for value in inputs)
        distortion, rate = torch.func.functional_call(models.template, own, (x, noise))
        (distortion + beta * rate).mean().backward()
        found = {"terms": torch.stack([distortion.mean(), rate.mean()]).detach()}
        for name, value in (found | {k: p.grad for k, p in own.items()}).items():
            expected.setdefault(name, []).append(value)
    for way in WAYS:
        terms, grads = terms_and_gradients(models, way, inputs)
        assert_close(terms, torch.stack(expected["terms"], -1))
        for name, grad in grads.items():
            assert_close(grad, torch.stack(expected[name]))


@pytest.mark.parametrize("way", [Way("product", parts=2), Way("taps", apart=True)], ids=str)
def test_a_way_can_be_asked_for_and_trains_the_same(way: Way) -> None:
    """Also where gradients do not lie in memory as the weights do, which Adam has to know."""
    data = samples(side=16, channels=3)
    configs = [replace(BURGESS, resolution=16, seed=s) for s in range(2)]
    found, expected = Stack.start(configs, data), Stack.start(configs, data)
    for _ in train(found, data, way=way):
        pass
    for _ in train(expected, data):
        pass
    assert found.way == f"{way}, float32"
    assert expected.way == "convolution, to images taps, float32"
    for name, param in expected.params.items():
        assert (found.params[name] - param).norm() < 1e-3 * param.norm(), name


def test_losses_compile_as_one_graph() -> None:
    """Without a break, for which a GPU would wait; in a process without the shape checks."""
    program = """
import torch
from seams.data import Samples
from seams.training import Stack, TrainConfig
from seams.training.ways import Gradients, Way
x = torch.rand(4, 64)
config = TrainConfig(network="burgess", resolution=8, latent=3, covariance="full", batch=4)
stack = Stack.start([config, config], Samples(x))
inputs = x.expand(2, 4, 64), torch.randn(2, 4, 3), torch.ones(2)
terms = []
for compiled in (False, True):
    gradients = Gradients(stack, Way("product", parts=2), "bfloat16")
    if compiled:
        gradients.losses = torch.compile(gradients.losses, fullgraph=True, backend="eager")
    terms += [gradients(*inputs), gradients.leaves[0]["encoder.mean.weight"].grad]
torch.testing.assert_close(terms[:2], terms[2:], rtol=0.05, atol=0.05)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- precision ---------------------------------------------------------------------------------


def test_bfloat16_leaves_heads_and_losses_in_float32() -> None:
    """Without hidden layers nothing of the encoder is in bfloat16: its rate is that of float32."""
    config = replace(MLP, depth=0)
    stack = Stack.start([config, replace(config, seed=1)], samples())
    inputs = samples().x[:8].unflatten(0, (2, 4)), torch.randn(2, 4, 3).float(), torch.ones(2)
    exact, _ = terms_and_gradients(stack, Way(), inputs)
    half, grads = terms_and_gradients(stack, Way(), inputs, "bfloat16")
    assert half.dtype == torch.float32
    assert torch.equal(half[1], exact[1])
    assert not torch.equal(half[0], exact[0])
    assert_close(half[0], exact[0], rtol=0.02, atol=0)
    assert all(grad.dtype == torch.float32 for grad in grads.values())


@pytest.mark.parametrize("network", ["mlp", "burgess"])
def test_bfloat16_follows_float32(network: str) -> None:
    data, losses = samples(), []
    for precision in ("float32", "bfloat16"):
        config = replace(BURGESS, network=network, images=4 * 10, precision=precision)
        stack = Stack.start([replace(config, seed=s) for s in range(2)], data)
        (progress,) = train(stack, data)
        assert stack.way.endswith(precision)
        assert all(p.dtype == torch.float32 for p in stack.params.values())
        losses.append(progress.distortion + progress.rate)
    assert_close(losses[1], losses[0], rtol=0.02, atol=0)
    assert not torch.equal(*losses)


def test_tf32_is_allowed_only_while_asked_for() -> None:
    flags = lambda: (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    before = flags()
    for precision, expected in (("tf32", True), ("float32", False), ("bfloat16", False)):
        with ways.arithmetic(precision, torch.device("cuda")):
            assert flags() == (expected, expected)
        assert flags() == before
    with ways.arithmetic("tf32", torch.device("cpu")):
        assert flags() == before


# --- the choice --------------------------------------------------------------------------------

RIGHT = {"distortion": torch.ones(2), "weight": torch.ones(2, 3)}


def taking(seconds: float, outcome: dict[str, Tensor] = RIGHT) -> Callable[[], Callable]:
    def call() -> dict[str, Tensor]:
        time.sleep(seconds)
        return outcome

    return lambda: call


def test_the_fastest_is_chosen() -> None:
    trials = {"slow": taking(0.02), "fast": taking(0.0), "slower": taking(0.04)}
    verdict = fastest(trials, RIGHT, 0.01, 1000, {})
    assert verdict.way == "fast"
    assert verdict.milliseconds["slower"] > verdict.milliseconds["slow"] >= 20
    assert not verdict.refused and not verdict.postponed
    assert str(verdict).startswith("fast (ms a step: slow ")


@pytest.mark.parametrize("part", RIGHT)
@pytest.mark.parametrize("wrong", [1.02, float("nan")])
def test_a_wrong_one_is_refused_though_fastest(part: str, wrong: float) -> None:
    """In one run of two, and in the losses as in the gradients."""
    value = RIGHT[part].clone()
    value[1] = wrong
    trials = {"right": taking(0.01), "wrong": taking(0.0, RIGHT | {part: value})}
    verdict = fastest(trials, RIGHT, 0.01, 1000, {})
    assert verdict.way == "right"
    assert set(verdict.milliseconds) == {"right"}
    assert verdict.refused["wrong"].startswith(f"{part} is off by")
    assert f"not wrong: {part} is off by" in str(verdict)
    tolerant = fastest(trials, RIGHT, 0.03, 1000, {})
    assert tolerant.way == ("right" if wrong != wrong else "wrong")


def test_a_failing_one_is_skipped_with_its_reason() -> None:
    def failing() -> Callable[[], dict[str, Tensor]]:
        raise RuntimeError("no such kernel\nand more")

    verdict = fastest({"broken": failing, "right": taking(0.0)}, RIGHT, 0.01, 1000, {})
    assert verdict.way == "right"
    assert verdict.refused == {"broken": "RuntimeError: no such kernel"}
    assert fastest({"broken": failing}, RIGHT, 0.01, 1000, {}).way == ""


def test_a_long_preparation_must_pay() -> None:
    trials = {"plain": taking(0.01), "compiled": taking(0.0)}
    assert fastest(trials, RIGHT, 0.01, 100_000, {"compiled": 5.0}).way == "compiled"
    short = fastest(trials, RIGHT, 0.01, 100, {"compiled": 5.0})
    assert (short.way, short.postponed) == ("plain", ["compiled"])


def test_on_a_cpu_only_stacks_of_convolutional_runs_have_a_choice() -> None:
    """Of all runs at once or apart; small images at once, unless timed."""
    known = lambda config, runs: ways.ways(
        Stack.start([replace(config, seed=s) for s in range(runs)], samples(config.resolution))
    )
    linear = replace(BURGESS, network="linear")
    assert [str(way) for way in known(BURGESS, 1)] == ["convolution, to images taps, apart"]
    assert known(linear, 1) == [Way(apart=True)] and known(linear, 3) == [Way()]
    together, apart = Way(to_images="taps"), Way(to_images="taps", apart=True)
    assert known(BURGESS, 3) == [together, apart]
    assert known(replace(BURGESS, resolution=32), 3) == [apart, together]


@pytest.mark.parametrize("compiler", [False, True])
def test_on_a_gpu_ways_are_tried_from_cheap_to_costly(
    compiler: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured first, compiled only with a compiler, and at the end the reference."""

    class OnGpu(Stack):
        device = torch.device("cuda")

    if compiler:
        (tmp_path / "triton").mkdir()
        (tmp_path / "triton" / "__init__.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path))
    else:  # builds of torch with CUDA bring one
        monkeypatch.setitem(sys.modules, "triton", None)
    for network, runs in (("burgess", 1), ("burgess", 3), ("mlp", 3)):
        config = replace(BURGESS, network=network)
        known = ways.ways(OnGpu.start([replace(config, seed=s) for s in range(runs)], samples()))
        assert len({str(way) for way in known}) == len(known)
        assert known[-1] == Way(apart=True)
        assert known[0] == Way(apart=runs == 1, captured=True)
        kinds = [way.compiled for way in known[:-1]]
        assert kinds == sorted(kinds) and any(kinds) == compiler
        assert all(way.captured for way in known[:-1])
        forms = {way.form for way in known}
        assert forms == ({"convolution", "product"} if network == "burgess" else {"convolution"})
        assert (Way(apart=True, captured=True) in known) == (network == "burgess" or runs == 1)


def test_ties_are_not_left_to_chance() -> None:
    trials = {"first": taking(0.02), "other": taking(0.0199)}
    assert fastest(trials, RIGHT, 0.01, 1000, {}).way == "first"


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> list[Way]:
    """As on a GPU: more than one way, the last of them the plain one."""
    found = [Way("taps"), Way("product", compiled=True), Way()]
    monkeypatch.setattr(tuning, "ways", lambda stack: found)
    return found


def test_a_choice_is_made_once(
    tmp_path: Path,
    several: list[Way],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """For a shape and a number of runs; again only if more steps would pay for compiling."""
    timed: list[int] = []

    def watched(trials, reference, tolerance, steps, preparation) -> Verdict:
        timed.append(steps)
        left = ["product, compiled"] if steps < 5000 else []
        if timed[1:]:  # once is enough
            return Verdict(str(several[0]), {}, {}, left, steps)
        own = {name: trial for name, trial in trials.items() if "compiled" not in name}
        return replace(fastest(own, reference, tolerance, steps, preparation), postponed=left)

    monkeypatch.setattr(tuning, "fastest", watched)

    def chosen(runs: int = 2, steps: int = 2000, folder: Path | None = tmp_path, **how) -> Way:
        config = replace(MLP, images=4 * steps, **how)
        stack = Stack.start([replace(config, seed=s) for s in range(runs)], samples())
        x, noise = samples().x[:4].expand(runs, 4, 64), torch.randn(runs, 4, 3).float()
        return tuning.way_for(stack, x, noise, folder)

    assert chosen(steps=999) == several[0] and not timed, "too short to be worth it"
    first = chosen()
    assert first in (several[0], several[2]) and timed == [2000]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("cpu, torch") and f": {first} (ms" in said
    assert chosen() == first and chosen(steps=1500, beta=3.0) == first and timed == [2000]
    chosen(steps=6000)
    chosen(steps=9000)
    assert timed == [2000, 6000], "then nothing was postponed"
    chosen(runs=3)
    chosen(covariance="full")
    assert len(timed) == 4
    chosen(folder=None)
    chosen(folder=None)
    assert len(timed) == 6
    (tmp_path / "ways.json").write_text("{half")
    assert chosen() in several and len(timed) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["ways.json"]


def test_where_all_fail_the_plain_way_is_taken(
    several: list[Way], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Verdict("", {}, {"taps": "off"}, [], 2000)
    monkeypatch.setattr(tuning, "fastest", lambda *arguments: refused)
    stack = Stack.start([replace(MLP, images=4 * 2000)], samples())
    x, noise = samples().x[None, :4], torch.randn(1, 4, 3).float()
    assert tuning.way_for(stack, x, noise) == several[-1]
    assert "the reference (ms a step: none), not taps: off" in capsys.readouterr().err
    monkeypatch.setattr(tuning, "fastest", lambda *arguments: pytest.fail("nothing to compare"))
    assert tuning.way_for(stack, x * torch.nan, noise) == several[0]


def test_the_benchmark_for_gpus_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tiny sizes on a CPU: ways in every precision, all that its file promises, in time."""
    script = Path(__file__).parent.parent / "benchmarks" / "gpu.py"
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(loop, "CHUNK", loop.CHUNK)  # which it changes
    monkeypatch.syspath_prepend(str(script.parent))
    sizes = "--device cpu --side 8 --batch 2 --steps 1 --runs 2 --turn 0.01".split()
    reports = []
    for minutes in ("1", "0"):
        output = tmp_path / f"{minutes}.json"
        arguments = [str(script), *sizes, "--minutes", minutes, "--output", str(output)]
        monkeypatch.setattr(sys, "argv", arguments)
        runpy.run_path(str(script), run_name="__main__")
        reports.append(json.loads(output.read_text()))
    report, late = reports
    assert report["environment"]["torch"] == torch.__version__
    assert report["tests"] == {"run": False}
    assert not report["no time for"] and not late["rates"]
    assert len(late["no time for"]) == len(report["rates"]) == 3 * 3
    assert {rate["precision"] for rate in report["rates"]} == {"float32", "tf32", "bfloat16"}
    for rate in report["rates"]:
        assert "error" not in rate and rate["images_per_second"] > 0, rate
        floor = report["floors"][rate["precision"]]
        assert floor["images a second, arithmetic"] > 0 < floor["images a second, memory traffic"]
