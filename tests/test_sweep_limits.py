import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sweeping import BASE, CHUNK, make_small, trained, watched

from seams import data as datasets
from seams import sweep as sweeping
from seams.cli import main
from seams.data import Samples
from seams.paper import notebook
from seams.paper.figures import fig02
from seams.sweep import cost, grid, jobs, local, plan
from seams.sweep.cost import Cost, fitting, is_out_of_memory, measure, run_bytes
from seams.sweep.jobs import Job, Outcome, Place, execute
from seams.sweep.plan import Plan, duration, parse_seconds
from seams.training import Store, build
from seams.training import loop as training

ROOT = Path(__file__).parent.parent
MLP = replace(BASE, network="mlp", width=8, depth=1)
FIVE = grid(BASE, seed=range(5))
CHEAP = Cost(1e-4, 1e-3, 1e3, 1e3, 1e3)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_small(monkeypatch, tmp_path / "progress", *torch.linspace(3, 0.5, 10).tolist())


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Runs and first step of every stack that training was tried on."""
    return watched(monkeypatch, lambda stack: (len(stack.configs), stack.step))


def data() -> Samples:
    return datasets.load("", 0)


# --- memory of a run ---------------------------------------------------------------------------


def test_memory_of_a_run_does_not_depend_on_its_stack() -> None:
    one = run_bytes([MLP], data(), "cpu")
    many = run_bytes([replace(MLP, seed=s) for s in range(5)], data(), "cpu")
    assert one == pytest.approx(many, rel=0.02)


def test_memory_of_a_run_counts_weights_moments_gradients_and_snapshots() -> None:
    parameters = 4 * sum(p.numel() for p in build(MLP, 10).parameters())
    alone = run_bytes([MLP], data(), "cpu")
    assert run_bytes([replace(MLP, snapshots=5)], data(), "cpu") - alone == 5 * parameters
    draws = 128 * 16 * (8 + 4 * 2)  # indices and noise of a chunk
    activations = 4 * 16 * (2 * 8 + 2 * 10)  # at least: each hidden layer, data and output
    assert alone > 4 * parameters + draws + activations


@pytest.mark.slow
def test_convolutional_stack_stays_within_its_estimate() -> None:
    """Against the peak of the process itself, in a fresh one."""
    program = """
import resource, torch
from dataclasses import replace
from seams.sweep.cost import run_bytes
from seams.data import Samples
from seams.training import Stack, TrainConfig, train
data = Samples(torch.rand(256, 32 * 32))
configs = [TrainConfig(resolution=32, images=128, batch=64, seed=s) for s in range(12)]
each = run_bytes(configs, data, "cpu")
peak = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
for _ in train(Stack.start(configs, data), data):
    pass
print(each, (peak() - before) / 10)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    each, measured = map(float, done.stdout.split())  # 12 runs, less the two measured before
    assert 0.5 * each < measured < 1.2 * each


@pytest.mark.parametrize("runs", [1, 2, 5])
def test_as_many_runs_fit_as_memory_holds(runs: int) -> None:
    each = run_bytes(FIVE, data(), "cpu")
    for memory, expected in [(each * runs / 0.8 * 1.001, runs), (1.0, 1), (1e12, 5)]:
        assert fitting(FIVE, data(), "cpu", memory) == expected
    assert fitting(FIVE[:1], data(), "cpu", 1.0) == 1


def test_available_memory_is_that_of_the_tightest_group(tmp_path: Path) -> None:
    def group(path: Path, most: str, used: int, cached: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        (path / "memory.max").write_text(f"{most}\n")
        (path / "memory.current").write_text(f"{used}\n")
        (path / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nactive_file 7\n")

    root, me = tmp_path / "cgroup", tmp_path / "me"
    group(root / "slurm" / "job", "5000", 1000, 300)
    group(root / "slurm", "max", 0, 0)
    me.write_text("1:name=systemd:/\n0::/slurm/job\n")
    assert cost._free_in_group(root, str(me)) == 5000 - 1000 + 300
    group(root / "slurm", "2000", 1900, 0)
    assert cost._free_in_group(root, str(me)) == 100
    group(root / "slurm", "1000", 1900, 0)  # over its limit already
    assert cost._free_in_group(root, str(me)) == 0
    assert cost._free_in_group(tmp_path / "none", str(me)) == sys.maxsize
    assert cost._free_in_group(root, str(tmp_path / "none")) == sys.maxsize
    assert 0 < cost.available_memory("cpu") < 1e15


def test_memory_that_ran_out_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value), "the CPU allocator's"
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    on_top = RuntimeError("capture failed")
    on_top.__context__ = torch.OutOfMemoryError("CUDA out of memory.")
    assert is_out_of_memory(on_top)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


# --- time and arithmetic -----------------------------------------------------------------------


def test_operations_are_those_of_the_layers() -> None:
    """Two a weight and datum forward, four backward; the first layer needs no gradient of x."""
    found = measure([MLP, replace(MLP, seed=1)], data(), "cpu").step_flops
    weights = [p.numel() for p in build(MLP, 10).parameters() if p.dim() == 2]
    assert found == 16 * (6 * sum(weights) - 2 * 10 * 8)


def test_traffic_is_what_is_saved_and_what_the_optimiser_moves() -> None:
    found = measure([MLP], data(), "cpu")
    parameters = 4 * sum(p.numel() for p in build(MLP, 10).parameters())
    saved = (found.run_bytes - 4 * parameters - 128 * 16 * 16) / 1.5
    assert found.step_traffic == pytest.approx(2 * saved + 10 * parameters)


@pytest.mark.parametrize(("step", "runs"), [(0.001, 4), (0.02, 4), (7.0, 2)])
def test_time_of_a_step_leaves_out_what_starting_costs(
    monkeypatch: pytest.MonkeyPatch, step: float, runs: int
) -> None:
    """With a clock that the steps move: a slow stack is timed by two of its runs."""
    now, widths = [0.0], set()

    def train(stack: Any, data: Any) -> Iterator[None]:
        widths.add(len(stack.configs))
        now[0] += 0.5 + stack.configs[0].steps * step * len(stack.configs)
        yield

    monkeypatch.setattr(cost, "train", train)
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    found = cost._step_seconds(FIVE[:4], data(), "cpu")
    assert found == pytest.approx(4 * step)
    assert max(widths) == 2, "0.5 s to start counts as slow"


def test_time_of_a_fast_stack_is_measured_on_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now, widths = [0.0], set()

    def train(stack: Any, data: Any) -> Iterator[None]:
        widths.add(len(stack.configs))
        now[0] += 0.01 + stack.configs[0].steps * 1e-3  # as long for any number of runs
        yield

    monkeypatch.setattr(cost, "train", train)
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(cost, "fitting", lambda configs, *_: len(configs))
    assert cost._step_seconds(FIVE, data(), "cpu") == pytest.approx(1e-3)
    assert max(widths) == 5


def test_cost_is_measured_by_real_steps() -> None:
    found = measure(FIVE, data(), "cpu")
    assert 1e-5 < found.step_seconds < 10
    assert 1e-4 < found.evaluation_seconds < 100
    assert found.chunk_seconds == cost.CHUNK * found.step_seconds


# --- stacks that are too large -----------------------------------------------------------------


def out_of_memory(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> None:
    """A device on which only so many runs can be trained at once."""
    train = jobs.train

    def limited(stack: Any, data: Any, *_: Any) -> Iterator[Any]:
        for progress in train(stack, data):
            if len(stack.configs) > most:
                raise error
            yield progress

    monkeypatch.setattr(jobs, "train", limited)


ERRORS = [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("can't allocate memory: 12")]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu"])
def test_out_of_memory_halves_the_stack_until_it_fits(
    store: Store,
    tmp_path: Path,
    sizes: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    with monkeypatch.context() as patch:
        out_of_memory(patch, 1, error)
        runs = trained(FIVE, store)
    assert [run.config for run in runs] == FIVE
    assert sizes == [(5, 0), (1, 0), (2, 0), (1, 0), (1, 0), (2, 0), (1, 0), (1, 0)]
    for run in trained(FIVE, Store(tmp_path / "whole")):
        found = next(r for r in runs if r.config == run.config).weights()
        for name, weight in run.weights().items():
            torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-5)


def test_a_single_run_that_does_not_fit_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    out_of_memory(monkeypatch, 0, ERRORS[0])
    message = r"^One run alone is larger than the memory of the cpu device \(diagonal beta=1 "
    with pytest.raises(RuntimeError, match=message) as caught:
        trained(FIVE[:2], store)
    assert "\n" not in str(caught.value)


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    out_of_memory(monkeypatch, 1, RuntimeError("no kernel image is available"))
    with pytest.raises(RuntimeError, match="no kernel image"):
        trained(FIVE, store)


def test_halves_go_on_from_the_last_checkpoint(
    store: Store, sizes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "CHECKPOINT_SECONDS", 0.0)
    train = jobs.train

    def later(stack: Any, data: Any, *_: Any) -> Iterator[Any]:
        for progress in train(stack, data):
            if len(stack.configs) > 2 and progress.step > 2 * CHUNK:
                raise ERRORS[0]
            yield progress

    monkeypatch.setattr(jobs, "train", later)
    assert len(trained(FIVE[:4], store)) == 4
    assert sizes == [(4, 0), (2, 2 * CHUNK), (2, 2 * CHUNK)]


def test_what_is_evaluated_is_not_trained_again_for_lack_of_memory(
    store: Store, sizes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, calls = jobs.evaluate, []

    def full(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise ERRORS[1]
        return evaluate(*arguments)

    monkeypatch.setattr(jobs, "evaluate", full)
    with pytest.raises(RuntimeError, match=r"seed=1: RuntimeError: can't allocate memory: 12\)"):
        trained(FIVE[:4], store)
    assert len(trained(FIVE[:4], store)) == 4
    assert sizes == [(4, 0)] and len(calls) == 5


def test_retraining_ignores_old_checkpoints_even_when_it_halves(
    store: Store, sizes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = training.Stack.start(FIVE[:4], data())
    next(training.train(stack, data()))
    store.save_checkpoint(stack)
    out_of_memory(monkeypatch, 2, ERRORS[0])
    assert len(trained(FIVE[:4], store, retrain=True)) == 4
    assert sizes == [(4, 0), (2, 0), (2, 0)]


def test_a_stack_larger_than_memory_is_divided_beforehand(
    store: Store, sizes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    each = run_bytes(FIVE, data(), "cpu")
    monkeypatch.setattr(local, "available_memory", lambda device: 2.5 * each / 0.8)
    trained(FIVE, store)
    assert sorted(n for n, _ in sizes) == [1, 2, 2]


# --- stopping in time --------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time moves by 10 s a chunk and by 30 s an evaluation."""
    now = [0.0]
    tell = lambda: now[0]
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=tell, perf_counter=tell))
    monkeypatch.setattr(jobs, "CHECKPOINT_SECONDS", 1e9)
    train, evaluate = jobs.train, jobs.evaluate

    def slow_train(stack: Any, data: Any, *_: Any) -> Iterator[Any]:
        for progress in train(stack, data):
            now[0] += 10
            yield progress

    def slow_evaluate(*arguments: Any) -> Any:
        now[0] += 30
        return evaluate(*arguments)

    monkeypatch.setattr(jobs, "train", slow_train)
    monkeypatch.setattr(jobs, "evaluate", slow_evaluate)
    return now


LONG = [replace(BASE, images=16 * 12 * CHUNK, seed=s) for s in range(2)]


def costing(chunk: float, evaluation: float = 0.0) -> Cost:
    return Cost(chunk / cost.CHUNK, evaluation, 1e3, 1e3, 1e3)


def done(job: Job, store: Store, deadline: float | None) -> Outcome:
    return execute(job, Place(store, memory=1e9, deadline=deadline), threading.Event())


def test_nothing_begins_that_may_end_after_the_deadline(store: Store, clock: list[float]) -> None:
    """At 80 s the next chunk may take 15 s and the end 5 s; at 90 s that is too late for 100."""
    done(Job(tuple(LONG)), store, 100.0)
    assert clock == [90.0]
    assert {store.step(c) for c in LONG} == {9 * CHUNK}
    done(Job(tuple(LONG), 9 * CHUNK), store, None)
    assert all(store.find(c) for c in LONG)
    assert clock == [90.0 + 30 + 60]


def test_expected_times_count_before_the_first_chunk(store: Store, clock: list[float]) -> None:
    assert done(Job(tuple(LONG), cost=costing(70.0)), store, 100.0) == Outcome()
    assert clock == [0.0] and not any(store.step(c) for c in LONG)
    done(Job(tuple(LONG), cost=costing(60.0)), store, 100.0)
    assert clock == [10.0]


def test_evaluations_wait_for_the_next_call(
    store: Store, clock: list[float], sizes: list[tuple[int, int]]
) -> None:
    done(Job(tuple(LONG), cost=costing(0.0, 30.0)), store, 150.0)
    assert clock == [120.0]
    assert all(store.trained(c) and not store.find(c) for c in LONG)
    (job,) = jobs.stacks(jobs.unfinished(LONG, store), 1)
    job = replace(job, cost=costing(1e6, 30.0))  # no chunk is left
    done(job, store, 199.0)
    assert clock == [150.0]
    assert [bool(store.find(c)) for c in LONG] == [True, False]
    (job,) = jobs.remaining(job, job.configs, store)
    assert job.configs == (LONG[1],)
    done(job, store, None)
    assert store.find(LONG[1]) and clock == [180.0] and len(sizes) == 1


def test_what_is_begun_follows_the_pace_of_what_was_done(
    store: Store, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run takes 150 s for 75: of three more, expected to take 105 s, two fit in 205."""
    tell = lambda: clock[0]
    monkeypatch.setattr(local, "time", SimpleNamespace(monotonic=tell))
    monkeypatch.setattr(cost, "CHUNK", CHUNK)
    first, *others = [replace(LONG[0], seed=seed) for seed in range(4)]
    planned = [Job((first,), cost=costing(5.0, 15.0)), Job(tuple(others), cost=costing(5.0, 15.0))]
    run = local.engine(store, "cpu", 1, 150.0 + 205.0)
    assert run(planned, lambda report: None, threading.Event()) == Outcome()
    assert [bool(store.find(c)) for c in (first, *others)] == [True, True, True, False]
    assert clock == [150.0 + 180.0 + 10.0] and store.step(others[2]) == CHUNK


def test_a_kill_while_evaluating_does_not_cost_the_training(
    store: Store, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = jobs.evaluate

    def killed(*arguments: Any) -> Any:
        if clock[0] >= 150:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr(jobs, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        done(Job(tuple(LONG)), store, None)
    assert store.find(LONG[0]) and not store.find(LONG[1])
    assert store.trained(LONG[1]) and store.step(LONG[1]) == 0


def test_no_process_is_begun_close_to_the_deadline(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_ALONE_SECONDS", -1.0)
    run = local.engine(store, "cpu", 2, time.monotonic() + 10)
    show = lambda report: pytest.fail("began")
    assert run([Job((c,)) for c in FIVE[:2]], show, threading.Event()) == Outcome()


# --- the plan ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("9m", 540), ("1h", 3600), ("0.5h", 1800)]
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["9", "m", "", "-3m", "0s", "1d", "9 minutes", "1h30m"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="A time must be a positive number with s, m or h"):
        parse_seconds(text)


def test_durations_have_two_digits() -> None:
    expected = {
        0.00123: "1.2 ms",
        0.5: "500 ms",
        3.14: "3.1 s",
        119.0: "119 s",
        180.0: "3 min",
        7000.0: "117 min",
        7300.0: "2 h",
        12_345.0: "3.4 h",
        1e6: "12 days",
    }
    assert {s: duration(s) for s in expected} == expected


def work(runs: int, seconds: float, evaluation: float = 0.0, **of: float) -> Job:
    """A job whose training takes so many seconds."""
    configs = tuple(FIVE[:runs])
    amounts = {"run_bytes": 1e6, "step_flops": 0.0, "step_traffic": 0.0} | of
    return Job(configs, cost=Cost(seconds / configs[0].steps, evaluation, **amounts))


def planned(*jobs: Job, workers: int = 1) -> Plan:
    return Plan(5, 0, 0, 0, jobs, "cpu", workers)


def test_time_is_that_of_the_last_worker() -> None:
    """The next job goes to whoever is free first."""
    works = [work(1, 5), work(1, 4), work(1, 3)]
    assert planned(*works, workers=1).seconds == pytest.approx(12)
    assert planned(*works, workers=2).seconds == pytest.approx(7)
    assert planned(*works, workers=5).seconds == pytest.approx(5)
    assert planned(work(2, 5, evaluation=3.0)).seconds == pytest.approx(5 + 2 * 3)
    assert planned().seconds == 0


def test_what_is_begun_takes_less() -> None:
    whole = work(2, 12)
    assert whole.of(whole.configs, BASE.steps // 4).seconds == pytest.approx(9)
    assert whole.of(whole.configs[:1]).seconds == pytest.approx(6)


def test_least_time_is_that_of_arithmetic_or_of_memory() -> None:
    """Of five runs, 12 steps each; numbers of the data sheet of an H100."""
    steps = 5 * BASE.steps
    found = planned(work(5, 1, step_flops=989e12, step_traffic=2 * 3.35e12)).best_seconds
    assert found == pytest.approx((steps, 2 * steps))
    text = str(planned(work(5, 3700, step_flops=989e12 * 100, step_traffic=1.0)))
    assert (
        f"A GPU would take more than {duration(100.0 * steps)}: that is a floor, the arit" in text
    )
    text = str(planned(work(5, 3700, step_flops=1.0, step_traffic=3.35e12)))
    assert f"more than {duration(float(steps))}: that is a floor, the memory traffic alone" in text
    assert "one H100 (989 TFLOP/s dense bfloat16, 3.35 TB/s), without launching kernels" in text
    assert "GPU" not in str(planned(work(5, 3500)))


def test_consent_is_for_more_than_an_hour() -> None:
    assert planned(work(1, 3601)).needs_consent()
    assert not planned(work(1, 3599)).needs_consent()
    assert not planned(work(1, 36_000)).needs_consent(limit=540.0)
    assert planned(work(1, 36_000)).needs_consent(limit=7200.0)


def test_a_plan_counts_what_is_stored_and_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(FIVE[:1], Store(tmp_path / "record"))
    store = Store(tmp_path / "store", record=tmp_path / "record")
    trained(FIVE[1:3], store)
    stack = training.Stack.start([FIVE[3]], data())
    next(training.train(stack, data()))
    store.save_checkpoint(stack)
    monkeypatch.setattr(plan, "measure", lambda configs, *_: CHEAP)
    found = plan.make([*FIVE, FIVE[0]], store, "cpu", 1)
    assert (found.runs, found.stored, found.recorded, found.begun) == (5, 3, 1, 1)
    assert [(job.configs, job.step) for job in found.jobs] == [
        ((FIVE[4],), 0),
        ((FIVE[3],), CHUNK),
    ]
    assert str(found).startswith("5 runs: 3 stored (1 in the record alone), 1 begun, 1 new.\n2 st")
    anew = plan.make(FIVE, store, "cpu", 1, retrain=True)
    assert (anew.stored, anew.begun) == (0, 0)
    assert [(len(job.configs), job.step, job.anew) for job in anew.jobs] == [(5, 0, True)]


def test_nothing_is_measured_where_nothing_is_missing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(FIVE[:2], store)
    monkeypatch.setattr(plan, "measure", None)
    found = plan.make(FIVE[:2], store, "cpu", 2)
    assert found.jobs == () and str(found) == "2 runs: 2 stored, 0 begun, 0 new."


def test_each_shape_is_measured_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(plan, "measure", lambda configs, *_: seen.append(len(configs)) or CHEAP)
    alike = [replace(BASE, dataset="dsprites", images=BASE.images * 9, learning_rate=1.0)]
    plan.make([*FIVE, *alike], store, "cpu", 1)
    assert seen == [5]
    plan.make([*FIVE, replace(BASE, batch=17)], store, "cpu", 1)
    assert seen == [5, 5, 1]


def test_runs_whose_posterior_changes_are_planned_and_measured(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = replace(BASE, covariance_start="full", hold=0.5, images=BASE.batch * 512)
    short = cost.brief(changing, 3)
    assert (short.steps, short.covariance, short.change) == (3, "full", 0)
    monkeypatch.setattr(plan, "measure", lambda configs, *_: CHEAP)
    (job,) = plan.make([changing, replace(changing, seed=1)], store, "cpu", 1).jobs
    assert job.configs[0].change == 256


def test_slow_stacks_are_divided_so_that_they_report(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """128 steps of five runs in 60 s: two runs keep to the 30 s of a checkpoint."""
    slow = replace(CHEAP, step_seconds=60 / 128)
    monkeypatch.setattr(plan, "measure", lambda *_: slow)
    found = plan.make(FIVE, store, "cpu", 1)
    assert [len(job.configs) for job in found.jobs] == [2, 2, 1]
    assert [job.chunk_seconds for job in found.jobs] == pytest.approx([24, 24, 12])
    assert {job.cost.evaluation_seconds for job in found.jobs} == {slow.evaluation_seconds}
    assert found.seconds == pytest.approx(BASE.steps * 60 / 128 + 5e-3)
    found = plan.make(FIVE, store, "cpu", 1, deadline=time.monotonic() + 60)  # a quarter: 15 s
    assert [len(job.configs) for job in found.jobs] == [1] * 5


def test_a_slice_ends_whole_runs_at_every_beta_of_one_seed_before_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve runs of 20 s, one of them begun; two kinds of stacks beside it share 200 s."""
    long = replace(BASE, images=16 * 12_800)
    of = lambda configs, *_: Cost(len(configs) * 19 / long.steps, 1.0, 1e3, 1e3, 1e3)
    monkeypatch.setattr(plan, "measure", of)
    configs = grid(long, covariance=["diagonal", "full"], beta=[1.0, 2.0], seed=range(3))
    begun = next(c for c in configs if c.seed == 2)
    stack = training.Stack.start([begun], data())
    next(training.train(stack, data()))
    store.save_checkpoint(stack)
    found = plan.make(configs, store, "cpu", 1, deadline=time.monotonic() + 1000)
    assert [len(job.configs) for job in found.jobs] == [1, 6, 5], "there is time for whole stacks"
    found = plan.make(configs, store, "cpu", 1, deadline=time.monotonic() + 200)
    assert [len(job.configs) for job in found.jobs] == [1, 3, 2, 3, 3]
    assert found.jobs[0].configs == (begun,)
    soon = {c for job in found.jobs[1:3] for c in job.configs}
    assert soon > {c for c in configs if c.seed == 0}


def test_large_stacks_are_divided_by_memory(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "measure", lambda *_: replace(CHEAP, run_bytes=1e6))
    monkeypatch.setattr(plan, "available_memory", lambda device: 2.5e6 / 0.8)
    assert [len(job.configs) for job in plan.make(FIVE, store, "cpu", 1).jobs] == [2, 2, 1]


def test_other_machines_divide_for_themselves(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = replace(CHEAP, step_seconds=600 / 128, run_bytes=1e15)
    monkeypatch.setattr(plan, "measure", lambda configs, data, device: {"cpu": slow}[device])
    found = plan.make(FIVE, store, "cuda", None, remote=True)
    assert [len(j.configs) for j in found.jobs] == [5]
    assert "1 stack, 1 at once, on workers with cuda:" in str(found)
    assert "in all, were each worker this machine's cpu." in str(found)
    assert len(plan.make(FIVE, store, "cpu", None, remote=True).jobs) == 5


def test_too_little_time_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "measure", lambda *_: replace(CHEAP, evaluation_seconds=40.0))
    message = r"^Too little time: \d+ s are left after planning; 128 steps take 2.6 ms here and"
    with pytest.raises(ValueError, match=message) as caught:
        plan.make(FIVE, store, "cpu", 1, deadline=time.monotonic() + 60)
    assert "the evaluation of a run 40 s. Allow more." in str(caught.value)
    plan.make(FIVE, store, "cpu", 1, deadline=time.monotonic() + 70)


# --- the command -------------------------------------------------------------------------------

FAST = ["fig02", "--profile", "smoke", "-p", "seeds=1", "-p", "images=2560", "--workers", "1"]
SMOKE = {"seeds": 1, "beta": 1.0, "images": 2560, "batch": 128, "learning_rate": 0.01}


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The command, on this repository's notebooks and a store of the test's own."""
    monkeypatch.undo()
    monkeypatch.setenv("SEAMS_ROOT", str(ROOT))
    monkeypatch.setenv("SEAMS_PROGRESS", str(tmp_path / "progress"))
    monkeypatch.setattr(training, "CHUNK", CHUNK)
    monkeypatch.setattr(plan, "measure", lambda *_: CHEAP)
    store = ["--store", str(tmp_path / "store")]
    return lambda *words: main(["sweep", *words, *store])


def test_a_sweep_trains_what_the_notebook_loads(sweep: Any, tmp_path: Path, capsys: Any) -> None:
    assert sweep(*FAST) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "2 runs: 0 stored, 0 begun, 2 new."
    assert said.out.splitlines()[-1].startswith("seams: 2 runs were trained and are in ")
    assert said.err == ""
    store = Store(tmp_path / "store")
    assert all(store.find(config) for config in fig02(**SMOKE))
    assert sweep(*FAST) == 0
    assert capsys.readouterr().out == "2 runs: 2 stored, 0 begun, 0 new.\n"
    assert {p.name for p in tmp_path.iterdir()} == {"store", "progress"}
    assert sweep(*FAST, "--pack", str(tmp_path / "pack")) == 0
    assert "2 of 2 finished runs, 2 of them with decoders, are in" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "pack").iterdir()] == ["runs-0.zip"]


def test_a_plan_alone_trains_nothing(sweep: Any, tmp_path: Path, capsys: Any) -> None:
    assert sweep(*FAST, "--plan") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 runs: 0 stored, 0 begun, 2 new."
    assert lines[1] == "2 stacks, 1 at once, on the cpu:"
    assert lines[3].split()[:6] == ["1", "1", "linear", "diagonal,", "linear", "1"]
    assert len(lines) == 6
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["store.json"]


def test_long_sweeps_need_consent(
    sweep: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = replace(CHEAP, evaluation_seconds=3000.0)
    monkeypatch.setattr(plan, "measure", lambda *_: slow)
    assert sweep(*FAST) == 2
    said = capsys.readouterr()
    assert "Expected: 100 min in all. That is more than an hour.\nA GPU would take" in said.out
    assert said.err == (
        "seams: --yes starts what takes over an hour; --stop-after does a part of it.\n"
    )
    assert sweep(*FAST, "--yes") == 0


def test_a_sweep_that_stops_in_time_goes_on(
    sweep: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        seen: list[float] = []
        late = lambda self, seconds: seen.append(seconds) or len(seen) > 4
        patch.setattr(jobs.Place, "over", late)
        assert sweep(*FAST, "--stop-after", "9m") == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "seams: stopped; 0 runs were finished, 2 are left (1 begun); the same command goes on"
    )
    assert sweep(*FAST, "--stop-after", "9m") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "2 runs: 0 stored, 1 begun, 1 new."
    assert said[-1].startswith("seams: 2 runs were trained")


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_the_end_of_a_batch_job_keep_checkpoints(
    sweep: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    show = sweeping._show

    def shown(*arguments: Any) -> None:
        show(*arguments)
        os.kill(os.getpid(), which)
        monkeypatch.setattr(sweeping, "_show", show)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sweeping, "_show", shown)
    assert sweep(*FAST) == 130
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err == (
        "seams: stopped; 0 runs were finished, 2 are left (1 begun); the same command goes on\n"
    )
    store = Store(tmp_path / "store")
    assert sorted(map(store.step, fig02(**SMOKE))) == [0, CHUNK]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fig2"], "No notebook 'fig2' has runs to train. Did you mean 'fig02'?"),
        (["zzz"], "No notebook 'zzz' has runs to train. There are celeba"),
        (["fig02", "-p", "seed=1"], "fig02 has no parameter 'seed'. Did you mean 'seeds'?"),
        (["fig02", "-p", "seeds=two"], "`seeds` must be int, such as "),
        (["fig02", "-p", "seeds=0"], "`seeds` must be 1 to 10,000; got 0."),
        (["fig05", "-p", "network=vit"], "`network` must be one of"),
        (["fig02", "--profile", "papers"], "The profile must be one of "),
        (["fig02", "--workers", "0"], "`--workers` must be 1 or more; got 0."),
        (["fig02", "--stop-after", "9"], "A time must be a positive number with s, m or h"),
        (
            ["fig02", "--stop-after", "9m", "--retrain"],
            "--retrain starts anew each time and cannot go on: leave one out.",
        ),
        (["fig02", "--slurm", "cores=8"], "--slurm has gone: write `SLURMCluster:` and below"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    sweep: Any, capsys: Any, words: list[str], message: str
) -> None:
    assert sweep(*words) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"seams: {message}") and said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(sweep: Any, capsys: Any) -> None:
    assert sweep("fig02", "--device", "cuda") == 2
    assert capsys.readouterr().err.startswith("seams: There is no CUDA device here: leave --dev")


def test_a_bare_node_can_sweep(tmp_path: Path) -> None:
    """With the core dependencies alone, and it writes nothing but the store."""
    program = """
import sys
heavy = {"dvc", "papermill", "nbformat", "nbclient", "ipykernel", "IPython", "jupyter_core",
         "jupyter_client", "dask", "distributed", "dask_jobqueue", "jaxtyping", "beartype",
         "sphinx", "jupyter_book", "psutil"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in heavy:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)
sys.meta_path.insert(0, Blocker())
from seams.cli import main
sys.exit(main(sys.argv[1:]))
"""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SEAMS_")}
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, "-c", program, "sweep", *FAST, "--store", str(tmp_path / "store")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 runs were trained and are in store" in done.stdout
    after = [p for p in sorted(tmp_path.rglob("*")) if not p.is_relative_to(tmp_path / "store")]
    assert after == before
    assert notebook.available(tmp_path)
