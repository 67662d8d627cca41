import math
from collections.abc import Iterable
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from seams.data import Samples, linear
from seams.linear import decoder_distances
from seams.training import Stack, TrainConfig, beta_at, build, stack_key, train
from seams.training import config as configuration
from seams.training import initial as stacking
from seams.training import loop as module

CHUNK = 8  # of these tests: the hook makes steps slow
LINEAR = TrainConfig(
    dataset="linear",
    resolution=1,
    network="linear",
    latent=3,
    beta=1.0,
    warmup=0.1,
    images=3 * CHUNK * 16,
    batch=16,
    learning_rate=0.01,
    snapshots=4,
)
MLP = replace(LINEAR, network="mlp", width=8, depth=2, learning_rate=1e-3)
BURGESS = replace(MLP, network="burgess", resolution=8, images=CHUNK * 4, batch=4)
CONFIGS = {"linear": LINEAR, "mlp": MLP, "burgess": BURGESS}


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", CHUNK)
    monkeypatch.setattr(configuration, "CHUNK", CHUNK)


def samples(n: int = 200, size: int = 10, seed: int = 0) -> Samples:
    """Data with three strong directions, not centred, so that the start at the mean matters."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float32)
    latents = draw(n, 3) * torch.tensor([3.0, 2.0, 1.0], dtype=torch.float32)
    return Samples(latents @ draw(3, size) / size**0.5 + 0.1 * draw(n, size) + 1)


def data_for(config: TrainConfig) -> Samples:
    return samples(size=config.resolution**2 if config.network == "burgess" else 10)


def trained(configs: Iterable[TrainConfig], data: Samples | dict[str, Samples]) -> Stack:
    stack = Stack.start(list(configs), data)
    for progress in train(stack, data):
        assert not progress.diverged
    return stack


def assert_same_run(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """To rounding in float32, which Adam magnifies where a gradient is nearly zero."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        kind = name.partition("/")[0]
        if kind in ("step", "history"):
            torch.testing.assert_close(value, other[name], rtol=1e-5, atol=1e-6, msg=name)
        else:
            assert (value - other[name]).norm() <= 1e-3 * value.norm(), name


# --- one run, alone or in a stack --------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["diagonal", "full", "none"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_run_in_a_stack_equals_the_run_alone(kind: str, covariance: str) -> None:
    config = replace(CONFIGS[kind], covariance=covariance)
    data = data_for(config)
    start = None if covariance == "none" else 2.0
    others = [replace(config, seed=1), replace(config, beta=0.1, beta_start=start, seed=2)]
    stack = trained([config, *others], data)
    for position, member in enumerate(stack.configs):
        assert_same_run(stack.state(position), trained([member], data).state(0))
    assert stack.state(0)["second/network.0.weight"].all(), "moments are compared, so no zeros"


def test_order_and_membership_of_a_stack_do_not_matter() -> None:
    data = samples()
    members = [replace(MLP, seed=s, beta=b) for s, b in [(0, 1.0), (0, 0.1), (1, 1.0), (2, 3.0)]]
    forward = trained(members, data)
    backward = trained(members[::-1], data)
    pair = trained(members[1:3], data)
    for position in range(4):
        assert_same_run(forward.state(position), backward.state(3 - position))
    assert_same_run(forward.state(1), pair.state(0))
    assert_same_run(forward.state(2), pair.state(1))


def test_runs_on_several_data_sets_equal_those_alone() -> None:
    """Of unlike sizes, one of them twice; a run that is dropped takes no other's data with it."""
    data = {f"plane-{1 + n}": samples(n=50 + 30 * n, size=4, seed=n) for n in range(3)}
    members = [replace(MLP, dataset=name, seed=s) for s, name in enumerate([*data, "plane-2"])]
    stack = trained(members, data)
    for position, member in enumerate(members):
        alone = trained([member], data[member.dataset]).state(0)
        assert_same_run(stack.state(position), alone)
    fewer = Stack.start(members, data)
    steps = train(fewer, data)
    next(steps)
    fewer.keep([1, 3])
    for _ in steps:
        pass
    assert_same_run(fewer.state(0), stack.state(1))
    assert_same_run(fewer.state(1), stack.state(3))


def test_runs_of_a_pair_share_initial_weights() -> None:
    """So that a diagonal and a full run of one seed differ in the posterior alone."""
    for base in CONFIGS.values():
        size = data_for(base).x.shape[1]
        diagonal = dict(build(base, size).named_parameters())
        full = dict(build(replace(base, covariance="full"), size).named_parameters())
        assert {n.split(".")[1] for n in set(full) - set(diagonal)} == {"off_diagonal"}
        for name, parameter in diagonal.items():
            assert torch.equal(parameter, full[name]), f"{base.network}: {name}"
        none = dict(build(replace(base, covariance="none"), size).named_parameters())
        assert {n.split(".")[1] for n in set(diagonal) - set(none)} == {"log_scale"}
        for name, parameter in none.items():
            assert torch.equal(parameter, diagonal[name]), f"{base.network}: {name}"


@pytest.mark.parametrize(
    "changes", [{"beta_start": 2.0}, {"covariance_start": "full", "hold": 0.5}]
)
def test_an_autoencoder_has_nothing_that_changes(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="neither `covariance_start` nor `beta_start`"):
        replace(LINEAR, covariance="none", **changes)


def test_an_autoencoder_ends_at_principal_components_whatever_beta_says() -> None:
    """Its least error is the sum of the eigenvalues that are left out (Baldi and Hornik 1989)."""
    data = samples()
    config = replace(LINEAR, covariance="none", latent=2, batch=200, images=200 * 2000, sigma=0.7)
    stack = trained([config, replace(config, beta=50.0)], data)
    assert_same_run(
        stack.state(0), stack.state(1) | {"history/beta": stack.state(0)["history/beta"]}
    )
    assert not any(rate.any() for rate in stack.history["rate"])
    spectrum = torch.linalg.eigvalsh(data.x.double().T.cov(correction=0))
    least = spectrum[:-2].sum() / (2 * config.sigma**2)
    # A batch is 200 draws of 200 data, with repetition: chunks scatter about the mean.
    final = torch.stack(stack.history["distortion"])[-50:, 0].mean()
    assert final.item() == pytest.approx(least.item(), rel=0.05)


def test_runs_of_a_pair_share_data_and_draws() -> None:
    data = samples()
    pair = [Stack.start([replace(LINEAR, covariance=c)], data) for c in ("diagonal", "full")]
    one, other = (module._draws(stack, len(data), torch.device("cpu")) for stack in pair)
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_seeds_and_chunks_have_their_own_draws() -> None:
    data = samples()
    stack = Stack.start([LINEAR, replace(LINEAR, seed=1), replace(LINEAR, beta=2.0)], data)
    indices, noise = module._draws(stack, len(data), torch.device("cpu"))
    assert indices.shape == (3, CHUNK, 16) and noise.shape == (3, CHUNK, 16, 3)
    assert torch.equal(noise[0], noise[2]) and torch.equal(indices[0], indices[2])
    assert not torch.equal(noise[0], noise[1]) and not torch.equal(indices[0], indices[1])
    stack.step = CHUNK
    later, _ = module._draws(stack, len(data), torch.device("cpu"))
    assert not torch.equal(later[0], indices[0])
    assert indices.min() == 0 and indices.max() == len(data) - 1
    assert abs(noise.mean()) < 4 / noise[:2].numel() ** 0.5


def test_global_random_state_and_default_precision_change_nothing() -> None:
    data = samples()
    one = trained([MLP], data).state(0)
    torch.manual_seed(99)
    torch.set_default_dtype(torch.float32)
    before = torch.get_rng_state()
    other = trained([MLP], data).state(0)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_adam_is_that_of_torch() -> None:
    """A loop written out with one module, one optimiser and the same draws."""
    data = samples()
    config = replace(MLP, beta=0.5, snapshots=0, images=CHUNK * 16)
    stack = Stack.start([config], data)
    indices, noise = module._draws(stack, len(data), torch.device("cpu"))
    vae = build(config, 10, data.x.mean(0))
    optimizer = torch.optim.Adam(vae.parameters(), config.learning_rate)
    for step in range(CHUNK):
        distortion, rate = vae(data.x[indices[0, step]], noise[0, step])
        beta = 0.5 * min(step / (CHUNK - 1) / 0.1, 1)
        loss = (distortion + beta * rate).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for _ in train(stack, data):
        pass
    for name, parameter in vae.named_parameters():
        torch.testing.assert_close(stack.params[name][0], parameter.detach(), rtol=1e-3, atol=1e-5)


# --- interruption ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("runs", [1, 2])
def test_resumed_equals_uninterrupted_bit_for_bit(kind: str, runs: int) -> None:
    config = replace(CONFIGS[kind], covariance="full", images=CONFIGS[kind].batch * (CHUNK + 3))
    if kind == "burgess":
        config = replace(config, batch=1, images=CHUNK + 3)
    data = data_for(config)
    configs = [replace(config, seed=s) for s in range(runs)]
    whole = trained(configs, data)
    interrupted = Stack.start(configs, data)
    for progress in train(interrupted, data):
        assert progress.step == interrupted.step == CHUNK
        break
    states = [interrupted.state(i) for i in range(runs)]
    resumed = Stack.resume(configs, states, data)
    assert resumed.step == CHUNK
    for _ in train(resumed, data):
        pass
    assert resumed.step == config.steps == CHUNK + 3
    for run in range(runs):
        expected, found = whole.state(run), resumed.state(run)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert torch.equal(value, found[name]), name


def test_states_of_different_steps_are_refused() -> None:
    data = samples()
    stack = Stack.start([LINEAR], data)
    before = stack.state(0)
    next(train(stack, data))
    configs = [LINEAR, replace(LINEAR, seed=1)]
    with pytest.raises(ValueError, match=rf"must be at one step; got \[0, {CHUNK}\]"):
        Stack.resume(configs, [before, stack.state(0)], data)


# --- schedule ----------------------------------------------------------------------------------


def test_constant_beta() -> None:
    config = TrainConfig(beta=4.0, warmup=0, images=640)
    assert config.steps == 10
    assert beta_at(config, torch.arange(10)).tolist() == [4.0] * 10


def test_exponential_beta_halves_in_equal_steps() -> None:
    """Four steps from 8 to 1: a factor of two each; Appendix G."""
    config = TrainConfig(beta=1.0, beta_start=8.0, warmup=0, images=256)
    assert config.steps == 4
    expected = torch.tensor([8.0, 4.0, 2.0, 1.0])
    torch.testing.assert_close(beta_at(config, torch.arange(4)), expected, rtol=1e-14, atol=0)
    assert beta_at(config, 4) == 1.0  # past the last step it stays


def test_a_held_beta_stays_and_then_falls_in_equal_steps() -> None:
    """Nine steps: 16 for the first half, then a factor of two each down to 1."""
    config = TrainConfig(beta=1.0, beta_start=16.0, hold=0.5, warmup=0, images=64 * 9)
    expected = torch.tensor([16.0, 16.0, 16.0, 16.0, 16.0, 8.0, 4.0, 2.0, 1.0])
    torch.testing.assert_close(beta_at(config, torch.arange(9)), expected, rtol=1e-14, atol=0)
    assert beta_at(config, 9) == 1.0  # past the last step it stays
    rising = replace(config, beta=16.0, beta_start=1.0, warmup=0.25)
    expected = torch.tensor([0.0, 0.5, 1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0])
    torch.testing.assert_close(beta_at(rising, torch.arange(9)), expected, rtol=1e-14, atol=0)


def test_a_held_beta_gives_the_same_run_alone_and_stacked() -> None:
    data = samples()
    held = replace(MLP, beta=0.1, beta_start=2.0, hold=0.5)
    stack = trained([held, replace(held, hold=0.0), MLP], data)
    assert_same_run(stack.state(0), trained([held], data).state(0))
    first, *_, last = torch.stack(stack.history["beta"])[:, 0].tolist()
    assert first == 2.0
    assert last == pytest.approx(0.1, rel=1e-6)
    assert sorted(stack.snapshots) == sorted(module._snapshot_steps(MLP))  # as without holding


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_posterior_that_becomes_full_goes_on_from_what_it_was(kind: str) -> None:
    config = replace(CONFIGS[kind], images=2 * CONFIGS[kind].images, snapshots=6)
    data = data_for(config)
    plain = trained([config], data)
    changed = replace(config, covariance="full", covariance_start="diagonal", hold=0.5)
    assert changed.change == config.steps // 2
    stack = trained([changed, replace(changed, seed=1)], data)
    before, after = stack.snapshots[changed.change], stack.snapshots[changed.steps]
    heads = [name for name in before if "off_diagonal" in name]
    assert heads
    assert all(not before[name].any() and after[name].all() for name in heads)
    control = trained([replace(changed, covariance="diagonal")], data)
    for name, value in control.snapshots[changed.change].items():
        torch.testing.assert_close(before[name][:1], value, rtol=1e-4, atol=1e-5, msg=name)
    for name, value in plain.params.items():  # a control is an ordinary run
        torch.testing.assert_close(control.params[name], value, rtol=0, atol=0, msg=name)
    assert sorted(stack.snapshots) == [round(changed.steps * part / 6) for part in range(1, 7)]


@pytest.mark.parametrize("off_diagonal", ["absolute", "relative"])
def test_a_posterior_that_becomes_diagonal_keeps_its_marginals(off_diagonal: str) -> None:
    full = replace(MLP, covariance="full", off_diagonal=off_diagonal)
    data = data_for(full)
    changed = replace(full, covariance="diagonal", covariance_start="full", hold=0.4)
    assert changed.change == 2 * CHUNK  # the first chunk that begins after so much
    stack = Stack.start([changed], data)
    progress = train(stack, data)
    for _ in range(2):
        next(progress)
    ordinary = trained([full], data)
    torch.testing.assert_close(stack.history["rate"], ordinary.history["rate"][:2])
    x, (model, other) = data.batch(torch.arange(9)), (build(c, 10) for c in (changed, full))
    weights = {name: value[0] for name, value in stack.params.items()}
    model.load_state_dict(weights)
    other.load_state_dict(weights)
    now, then = model.encoder(x), other.encoder(x)
    assert not now.scale_tril.tril(-1).any()
    assert then.scale_tril.tril(-1).any()
    torch.testing.assert_close(now.marginal_stddev, then.marginal_stddev)
    assert [p.step for p in progress] == [3 * CHUNK]
    resumed = Stack.resume([changed], [stack.state(0)], data)
    assert resumed.step == changed.steps


def test_a_change_of_posterior_goes_on_after_an_interruption() -> None:
    config = replace(MLP, covariance="full", covariance_start="diagonal", hold=0.5, seed=3)
    data = data_for(config)
    whole = trained([config], data)
    for chunks in (1, 2):
        stack = Stack.start([config], data)
        for _, _ in zip(range(chunks), train(stack, data), strict=False):
            pass
        again = Stack.resume([config], [stack.state(0)], data)
        for _ in train(again, data):
            pass
        assert_same_run(again.state(0), whole.state(0))


def test_runs_that_change_at_other_times_are_other_stacks() -> None:
    changed = replace(MLP, covariance="full", covariance_start="diagonal", hold=0.5)
    assert stack_key(changed) == stack_key(replace(changed, seed=3, beta=2.0))
    for other in (replace(changed, hold=0.3), replace(changed, covariance_start=None, hold=0.0)):
        assert stack_key(changed) != stack_key(other)


def test_warmup_rises_linearly_from_zero() -> None:
    config = TrainConfig(beta=3.0, warmup=0.5, images=64 * 9)
    expected = torch.tensor([0.0, 0.75, 1.5, 2.25, 3.0, 3.0, 3.0, 3.0, 3.0])
    torch.testing.assert_close(beta_at(config, torch.arange(9)), expected, rtol=1e-14, atol=0)
    both = replace(config, beta=1.0, beta_start=16.0)
    expected = 2.0 ** torch.arange(4, -0.1, -0.5) * torch.tensor([0, 0.25, 0.5, 0.75] + [1] * 5)
    torch.testing.assert_close(beta_at(both, torch.arange(9)), expected, rtol=1e-14, atol=0)


def test_training_weighs_the_rate_by_the_schedule() -> None:
    data = samples()
    config = replace(LINEAR, beta=1.0, beta_start=8.0, warmup=0.5)
    stack = trained([config, replace(config, beta=0.5, beta_start=None)], data)
    ends = torch.tensor([CHUNK, 2 * CHUNK, 3 * CHUNK])
    assert torch.equal(torch.stack(stack.history["step"])[:, 0], ends.double())
    for run, config in enumerate(stack.configs):
        expected = beta_at(config, ends - 1)
        found = torch.stack(stack.history["beta"])[:, run]
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)  # kept in float32


def test_log_is_the_mean_over_the_chunk() -> None:
    """With a learning rate that moves nothing the losses of a chunk are those of one model."""
    data = samples()
    config = replace(LINEAR, learning_rate=1e-30, images=CHUNK * 16, snapshots=0)
    stack = Stack.start([config], data)
    indices, noise = module._draws(stack, len(data), torch.device("cpu"))
    (progress,) = train(stack, data)
    distortion, rate = build(config, 10, data.x.mean(0))(data.x[indices[0]], noise[0])
    torch.testing.assert_close(
        progress.distortion.item(), distortion.mean().item(), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(progress.rate.item(), rate.mean().item(), rtol=1e-5, atol=0)
    assert stack.history["distortion"][0] == progress.distortion
    assert stack.history["rate"][0] == progress.rate


# --- start -------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_decoder_starts_at_the_mean_of_the_data(likelihood: str) -> None:
    data = Samples(torch.rand(100, 10, dtype=torch.float32).clamp(0.1, 0.9))
    stack = Stack.start([replace(LINEAR, likelihood=likelihood)], data)
    bias = stack.params["network.0.bias"][0]
    mean = bias.sigmoid() if likelihood == "bernoulli" else bias
    torch.testing.assert_close(mean, data.x.mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_convolutional_decoder_starts_at_the_mean_of_each_channel(likelihood: str) -> None:
    x = torch.cat([torch.full((5, 64), 0.2), torch.full((5, 64), 0.7)], 1).float()
    x[:, ::2] += 0.1
    stack = Stack.start([replace(BURGESS, likelihood=likelihood)], Samples(x))
    last = [n for n in stack.params if n.startswith("network") and n.endswith("bias")][-1]
    bias = stack.params[last][0]
    mean = bias.sigmoid() if likelihood == "bernoulli" else bias
    torch.testing.assert_close(mean, torch.tensor([0.25, 0.75]).float(), rtol=1e-5, atol=0)


def test_pixels_that_are_always_off_have_finite_logits() -> None:
    data = Samples(torch.zeros(10, 10, dtype=torch.float32))
    stack = Stack.start([replace(LINEAR, likelihood="bernoulli")], data)
    expected = torch.full((10,), 1e-3).logit().float()
    torch.testing.assert_close(stack.params["network.0.bias"][0], expected)


def test_mean_is_taken_from_at_most_65536_data() -> None:
    class Counted(Samples):
        seen = 0

        def batch(self, indices: Tensor) -> Tensor:
            type(self).seen += len(indices)
            return self.x[indices]

    data = Counted(torch.arange(100_000, dtype=torch.float32)[:, None])
    mean = stacking.mean_of(data)
    assert Counted.seen == 50_000
    assert mean.item() == (0 + 99_998) / 2


def test_mlp_without_hidden_layers_is_an_affine_vae() -> None:
    stack = trained([replace(MLP, depth=0, images=64)], samples())
    assert stack.params["encoder.mean.weight"].shape == (1, 3, 10)


def test_weights_depend_on_the_seed() -> None:
    one, other = build(MLP, 10), build(replace(MLP, seed=1), 10)
    assert not torch.equal(one.network[0].weight, other.network[0].weight)
    assert all(p.dtype == torch.float32 for p in one.parameters())
    assert torch.equal(one.network[0].weight, build(MLP, 10).network[0].weight)


def test_stacks_of_unlike_runs_are_refused() -> None:
    message = "A stack needs one run or more that differ only in beta, its schedule and seed"
    for configs in ([], [MLP, replace(MLP, width=9)], [MLP, replace(MLP, covariance="full")]):
        with pytest.raises(ValueError, match=message):
            Stack.start(configs, samples())
    like = replace(MLP, beta=3.0, beta_start=1.0, hold=0.5, seed=7)
    assert stack_key(like) == stack_key(MLP)
    small = replace(MLP, dataset="polar-0.1")
    assert stack_key(small) == stack_key(replace(small, dataset="sheared-20"))
    assert stack_key(small) != stack_key(replace(small, dataset="curves-normal-3-2"))
    assert stack_key(replace(MLP, dataset="dsprites")) != stack_key(MLP)


def test_convolutions_refuse_other_sizes() -> None:
    message = "'burgess' needs square images of side 8; got {} values"
    for size in (10, 65):
        with pytest.raises(ValueError, match=message.format(size)):
            Stack.start([BURGESS], samples(size=size))


# --- divergence and collapse -------------------------------------------------------------------


def test_too_large_steps_are_reported() -> None:
    data = samples()
    config = replace(MLP, learning_rate=1e30)
    progress = next(train(Stack.start([config], data), data))
    assert progress.diverged == [0]


def test_data_that_are_not_numbers_are_reported() -> None:
    data = samples()
    data.x[3, 2] = math.nan
    progress = next(train(Stack.start([LINEAR, replace(LINEAR, seed=1)], data), data))
    assert progress.diverged == [0, 1]


def test_weights_lost_in_the_last_step_are_reported() -> None:
    """Their loss was finite: only the update is not."""
    data = samples()
    config = replace(MLP, learning_rate=1e39, images=16)
    progress = next(train(Stack.start([config], data), data))
    assert torch.isfinite(progress.distortion).all()
    assert progress.diverged == [0]


def test_a_diverging_run_leaves_its_stack_untouched() -> None:
    data = samples()
    bad = replace(MLP, beta=1e39, warmup=0.0)  # infinite in float32
    good = [replace(MLP, seed=s, warmup=0.0) for s in range(2)]
    stack = Stack.start([good[0], bad, good[1]], data)
    for progress in train(stack, data):
        if progress.diverged:
            assert progress.diverged == [1]
            assert progress.step == CHUNK
            stack.keep([0, 2])
    assert stack.configs == good
    alone = trained(good, data)
    for run in range(2):
        assert_same_run(stack.state(run), alone.state(run))
        assert stack.state(run)["history/step"].tolist() == [CHUNK, 2 * CHUNK, 3 * CHUNK]


def test_all_runs_can_be_dropped() -> None:
    stack = Stack.start([LINEAR], samples())
    next(train(stack, samples()))
    stack.keep([])
    assert stack.configs == []
    assert all(len(p) == 0 for p in stack.params.values())


# --- snapshots ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "snapshots", "expected"),
    [
        (1000, 0, []),
        (1000, 1, [1000]),
        (1000, 2, [1, 1000]),
        (1000, 4, [1, 10, 100, 1000]),
        (3, 10, [1, 2, 3]),
        (1, 4, [1]),
    ],
)
def test_snapshots_are_equally_spaced_in_the_logarithm(
    steps: int, snapshots: int, expected: list[int]
) -> None:
    config = TrainConfig(images=64 * steps, snapshots=snapshots)
    assert sorted(module._snapshot_steps(config)) == expected


def test_snapshots_are_the_weights_at_their_steps() -> None:
    data = samples()
    config = replace(LINEAR, images=16 * 27, snapshots=4, warmup=0)
    stack = trained([config], data)
    assert sorted(stack.snapshots) == [1, 3, 9, 27]
    for name, parameter in stack.params.items():
        assert torch.equal(stack.snapshots[27][name], parameter)
    early = trained([replace(config, images=16 * 3, snapshots=0)], data)
    for name, parameter in early.params.items():
        assert torch.equal(stack.snapshots[3][name], parameter), name


# --- configuration -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dataset", 3, "`dataset` must be of type str; got 3"),
        ("network", "vit", r"`network` must be one of \('linear', 'mlp', 'burgess'\); got 'vit'"),
        ("activation", "gelu", "`activation` must be one of .*'silu'.*; got 'gelu'"),
        ("covariance", "banded", r"`covariance` must be one of \('diagonal', 'full', 'none'\)"),
        ("likelihood", "poisson", r"`likelihood` must be one of \('gaussian', 'bernoulli'\)"),
        ("precision", "float16", r"`precision` must be one of \('float32', 'tf32', 'bfloat16'\)"),
        ("beta", "1e-3", "`beta` must be of type float; got '1e-3'"),
        ("beta", True, "`beta` must be of type float; got True"),
        ("beta", None, "`beta` must be of type float; got None"),
        ("beta", 0, r"`beta` must be a positive number; got 0\.0"),
        ("beta", -1.0, r"`beta` must be a positive number; got -1\.0"),
        ("beta", math.nan, "`beta` must be a positive number; got nan"),
        ("beta", math.inf, "`beta` must be a positive number; got inf"),
        ("beta_start", "slow", "`beta_start` must be of type float or NoneType; got 'slow'"),
        ("beta_start", 0.0, r"`beta_start` must be a positive number; got 0\.0"),
        ("sigma", 0.0, r"`sigma` must be a positive number; got 0\.0"),
        ("learning_rate", -1e-3, r"`learning_rate` must be a positive number; got -0\.001"),
        ("warmup", 1.0, r"`warmup` is a fraction of the run, 0 <= warmup < 1; got 1\.0"),
        ("warmup", -0.1, r"`warmup` is a fraction of the run, 0 <= warmup < 1; got -0\.1"),
        ("warmup", math.nan, "`warmup` is a fraction of the run, 0 <= warmup < 1; got nan"),
        ("hold", 1.0, r"`hold` is a fraction of the run, 0 <= hold < 1; got 1\.0"),
        ("hold", -0.1, r"`hold` is a fraction of the run, 0 <= hold < 1; got -0\.1"),
        ("hold", 0.5, r"`hold` needs a `beta_start` or `covariance_start` to hold; got hold=0\.5"),
        ("covariance_start", "full", r"leaves 8 steps before and after the change; got hold=0\.0"),
        ("covariance_start", "both", r"`covariance_start` must be one of \('diagonal', 'full'\)"),
        ("covariance", None, "`covariance` must be one of"),
        ("off_diagonal", "both", r"`off_diagonal` must be one of \('absolute', 'relative'\)"),
        ("images", 0, r"`images` must be 1 or more; got 0\."),
        ("images", 1e6, r"`images` must be of type int; got 1000000\.0"),
        ("batch", 0, r"`batch` must be 1 or more; got 0\."),
        ("batch", True, "`batch` must be of type int; got True"),
        ("latent", 0, r"`latent` must be 1 or more; got 0\."),
        ("width", -3, r"`width` must be 1 or more; got -3\."),
        ("width", 10**9, r"`width` must be 16,384 or less; got 1,000,000,000\."),
        ("latent", 10**5, r"`latent` must be 4,096 or less; got 100,000\."),
        ("seed", 2**63, r"`seed` must be 9,223,372,036,854,775,807 or less; got"),
        ("resolution", 10**5, r"`resolution` must be 4,096 or less; got 100,000\."),
        ("resolution", 0, r"`resolution` must be 1 or more; got 0\."),
        ("depth", -1, r"`depth` must not be negative; got -1\."),
        ("snapshots", -1, r"`snapshots` must not be negative; got -1\."),
        ("seed", -1, r"`seed` must not be negative; got -1\."),
    ],
)
def test_wrong_configurations_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TrainConfig(**{field: value})
    assert "\n" not in str(caught.value)


def test_every_field_is_checked() -> None:
    """A field added later must refuse what is no value of any field."""
    for item in fields(TrainConfig):
        with pytest.raises(ValueError, match=f"^`{item.name}` must be "):
            TrainConfig(**{item.name: object()})


def test_integers_become_floats_where_one_is_due() -> None:
    config = TrainConfig(beta=4, sigma=1, beta_start=2, warmup=0)
    assert [type(config[n]) for n in ("beta", "sigma", "beta_start", "warmup")] == [float] * 4
    assert config == TrainConfig(beta=4.0, beta_start=2.0, warmup=0.0)
    assert hash(config) == hash(TrainConfig(beta=4.0, beta_start=2.0, warmup=0.0))


def test_derived_values() -> None:
    config = TrainConfig(images=129, batch=64, beta=4.0, sigma=0.5)
    assert config.steps == 3  # the last batch is whole
    assert config.effective_variance == 1.0


# --- what the paper says -----------------------------------------------------------------------


@pytest.mark.slow
def test_only_a_diagonal_posterior_aligns_a_linear_vae_with_the_axes() -> None:
    """Both fit U and S; V goes to a signed permutation with a diagonal posterior alone."""
    truth = linear()
    data = Samples(truth.x.float())
    base = replace(LINEAR, warmup=0.0, batch=256, images=256 * 6000, snapshots=0)
    for covariance in ("diagonal", "full"):
        configs = [replace(base, covariance=covariance, seed=s) for s in range(5)]
        stack = trained(configs, data)
        decoder = stack.params["network.0.weight"].double()
        distances = decoder_distances(decoder, truth.U, truth.s)
        assert distances.U.max() < 0.1
        assert distances.s.max() < 0.1
        if covariance == "diagonal":
            assert distances.V.max() < 0.1
        else:
            assert distances.V.mean() > 0.5  # a random rotation lies at about 1.1
