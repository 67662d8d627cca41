import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sweeping
import torch
from sweeping import CHUNK, make_small, trained, watched

from seams import data as datasets
from seams import sweep as module
from seams.data import Samples
from seams.sweep import Diverged, Interrupted, grid, local, progress_stream, train_or_load
from seams.sweep import jobs as jobs_module
from seams.sweep.jobs import Job, Outcome, Place, execute
from seams.training import Store, TrainConfig, run_id
from seams.training import evaluate as evaluation
from seams.training import loop as training
from seams.training.evaluate import COLLAPSED_RATE

BASE = replace(sweeping.BASE, snapshots=2)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_small(monkeypatch, tmp_path / "progress", 3, 2, 1, 0.5, 0.5)
    monkeypatch.setattr(evaluation, "DERIVATIVE_IMAGES", 4)


@pytest.fixture(autouse=True)
def _default_interrupt() -> Iterator[None]:
    """Python's own handler of Ctrl-C; libraries of other tests may leave theirs behind."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before or signal.default_int_handler)


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[list[TrainConfig]]:
    """The runs of every stack that is trained, in order."""
    return watched(monkeypatch, lambda stack: list(stack.configs))


# --- train or load -----------------------------------------------------------------------------


def test_a_grid_out_of_all_proportion_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"20,000 runs or fewer; got 2,000,000: 2 of covariance x"
    ):
        grid(BASE, covariance=["diagonal", "full"], seed=range(1_000_000))


@pytest.mark.parametrize("together", [1, 8])  # runs evaluated at once, if on the same data
def test_members_of_families_are_one_stack_with_data_and_checksums_of_their_own(
    together: int,
    store: Store,
    stacks: list[list[TrainConfig]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs_module, "at_once", lambda device: together)
    generator = torch.Generator().manual_seed(1)
    draw = lambda: torch.randn(60, 4, generator=generator, dtype=torch.float32)
    data = {name: Samples(x := draw(), latents=x[:, :2]) for name in ("polar-0", "polar-0.2")}
    monkeypatch.setattr(datasets, "load", lambda name, resolution: data[name])
    runs = trained(grid(BASE, dataset=list(data)), store)
    assert [len(stack) for stack in stacks] == [2]
    for run in runs:
        own = data[run.config.dataset]
        assert run.provenance["data_checksum"] == own.checksum
        assert 0 < run.scores["mcc_least"] <= run.scores["mcc"] <= 1
        assert run.arrays["curve_mcc"][-1] == pytest.approx(run.scores["mcc"], abs=1e-6)
    assert runs[0].scores["distortion"] != runs[1].scores["distortion"]


def test_only_what_is_missing_is_trained(store: Store, stacks: list[list[TrainConfig]]) -> None:
    first = grid(BASE, beta=[0.5, 1.0])
    trained(first, store)
    assert stacks == [first]
    wider = grid(BASE, beta=[0.25, 0.5, 1.0, 2.0])
    runs = trained(wider, store)
    assert stacks[1:] == [[wider[0], wider[3]]]
    assert [run.config for run in runs] == wider
    trained(wider, store)
    assert len(stacks) == 2


def test_repeated_runs_are_trained_once(store: Store, stacks: list[list[TrainConfig]]) -> None:
    runs = trained([BASE, replace(BASE, seed=1), BASE], store)
    assert [len(stack) for stack in stacks] == [2]
    assert [run.config.seed for run in runs] == [0, 1, 0]


def test_retrain_ignores_what_is_stored(store: Store, stacks: list[list[TrainConfig]]) -> None:
    (old,) = trained([BASE], store)
    before = (old.folder / "provenance.json").stat().st_ino
    (new,) = trained([BASE], store, retrain=True)
    assert len(stacks) == 2
    assert (new.folder / "provenance.json").stat().st_ino != before
    assert new.scores == old.scores


def test_runs_that_differ_in_shape_have_their_own_stacks(
    store: Store, stacks: list[list[TrainConfig]]
) -> None:
    configs = grid(BASE, covariance=["diagonal", "full"], latent=[2, 3], seed=range(2))
    trained(configs, store)
    assert sorted(len(stack) for stack in stacks) == [2, 2, 2, 2]
    assert {c for stack in stacks for c in stack} == set(configs)


def test_stored_runs_equal_runs_trained_alone(store: Store, tmp_path: Path) -> None:
    configs = grid(BASE, beta=[0.5, 1.0], seed=range(2))
    together = trained(configs, store)
    for run in together:
        (alone,) = trained([run.config], Store(tmp_path / "alone"))
        for name, weight in alone.weights().items():
            torch.testing.assert_close(run.weights()[name], weight, rtol=1e-3, atol=1e-5)


def test_provenance_of_a_run(store: Store) -> None:
    runs = trained(grid(BASE, seed=range(2)), store)
    facts = runs[0].provenance
    data = datasets.load("linear", 1)
    assert facts["data_checksum"] == data.checksum
    assert (facts["data_size"], facts["data_count"]) == (5, 300)
    assert facts["stacked"] == 2 and facts["seconds"] > 0
    assert facts["torch"] == torch.__version__ and facts["device"] == "cpu"


def test_the_record_answers_before_anything_is_trained(
    store: Store, tmp_path: Path, stacks: list[list[TrainConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAMS_ROOT", str(tmp_path / "project"))
    monkeypatch.delenv("SEAMS_STORE", raising=False)
    trained([BASE], Store(tmp_path / "project" / "record" / "runs"))
    (run,) = train_or_load([BASE], device="cpu", workers=1)  # with the project's own store
    assert len(stacks) == 1 and run.folder.parent.name == "runs"
    (run,) = train_or_load([BASE], device="cpu", workers=1, weights=True)  # here it has them
    assert len(stacks) == 2 and run.folder.parent.name == ".runs"
    (run,) = train_or_load([BASE], device="cpu", workers=1, retrain=True)
    assert len(stacks) == 3


def test_number_of_workers_is_checked(store: Store) -> None:
    with pytest.raises(ValueError, match=r"`workers` must be 1 or more; got 0\."):
        train_or_load([BASE], store, workers=0)


# --- collapse and divergence -------------------------------------------------------------------


def test_a_collapsed_run_says_so(store: Store) -> None:
    """At beta far above the largest eigenvalue no latent pays; at a small one they all do."""
    long = replace(BASE, images=16 * 100, learning_rate=0.05)
    high, low = trained([replace(long, beta=1e3), replace(long, beta=0.05)], store)
    assert high.scores["collapsed"] is True and high.scores["rate"] < COLLAPSED_RATE
    assert high.scores["active"] == 0
    assert low.scores["collapsed"] is False and low.scores["rate"] > 1
    assert low.scores["active"] == 2


def test_a_diverged_run_is_named_and_the_others_are_stored(store: Store) -> None:
    bad = replace(BASE, beta=1e39, covariance="full", seed=3)  # infinite in float32
    good = [replace(BASE, covariance="full"), BASE]
    message = (
        r"The loss is not finite in 1 of 3 runs \(full beta=1e\+39 seed=3\): lower "
        r"`learning_rate` or lengthen `warmup`\. All other runs are stored\."
    )
    with pytest.raises(Diverged, match=message):
        trained([good[0], bad, good[1]], store)
    assert all(store.find(config) for config in good)
    assert store.find(bad) is None


def test_a_stack_that_diverges_whole(store: Store) -> None:
    bad = grid(replace(BASE, beta=1e39), seed=range(2))
    with pytest.raises(Diverged, match="in 2 of 2 runs"):
        trained(bad, store)
    assert not any(store.find(config) for config in bad)


# --- interruption ------------------------------------------------------------------------------


def interrupt_at(report: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process the signal of Ctrl-C when so many reports were shown."""
    show, seen = module._show, []

    def shown(*arguments: Any) -> None:
        seen.append(arguments)
        if len(seen) == report:
            os.kill(os.getpid(), signal.SIGINT)
        show(*arguments)

    monkeypatch.setattr(module, "_show", shown)


def test_an_interrupted_sweep_goes_on_from_its_checkpoint(
    store: Store, tmp_path: Path, stacks: list[list[TrainConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = grid(BASE, covariance=["diagonal", "full"], seed=range(2))
    with monkeypatch.context() as patch:
        interrupt_at(1, patch)
        with pytest.raises(Interrupted, match=r"Stopped\. Call again to go on"):
            trained(configs, store)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    stopped = [c for c in configs if store.checkpoint(c)]
    assert len(stacks) == 1 and stacks[0] == stopped and len(stopped) == 2
    assert {int(store.checkpoint(c)["step"]) for c in stopped} == {CHUNK}
    assert not any(store.find(c) for c in configs)

    resumed: list[int] = []
    resume = training.Stack.resume
    monkeypatch.setattr(training.Stack, "resume", lambda *a: resumed.append(1) or resume(*a))
    runs = trained(configs, store)
    assert len(resumed) == 1
    assert not any(store.checkpoint(c) for c in configs)
    for run, whole in zip(runs, trained(configs, Store(tmp_path / "whole")), strict=True):
        for name, weight in whole.weights().items():
            assert torch.equal(run.weights()[name], weight), name
        assert run.scores == whole.scores
        assert run.history.equals(whole.history)
        assert list(run.snapshots()) == list(whole.snapshots())


def test_runs_are_evaluated_together_where_that_pays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs, asked = grid(BASE, seed=range(3)), []
    alone = trained(configs, Store(store.root / "alone"))
    evaluate = jobs_module.evaluate

    def spy(stack: Any, runs: Any, data: Any) -> Any:
        asked.append(list(runs))
        return evaluate(stack, runs, data)

    monkeypatch.setattr(jobs_module, "evaluate", spy)
    monkeypatch.setattr(jobs_module, "at_once", lambda device: 2)
    for run, other in zip(trained(configs, store), alone, strict=True):
        assert run.scores["distortion"] == pytest.approx(other.scores["distortion"], rel=1e-4)
    assert asked == [[0, 1], [0]]


def test_interruption_while_evaluating_keeps_what_is_evaluated(
    store: Store, stacks: list[list[TrainConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = grid(BASE, seed=range(3))
    evaluate, seen = jobs_module.evaluate, []

    def slow(*arguments: Any) -> Any:
        seen.append(arguments)
        if len(seen) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return evaluate(*arguments)

    monkeypatch.setattr(jobs_module, "evaluate", slow)
    with pytest.raises(Interrupted):
        trained(configs, store)
    assert [bool(store.find(c)) for c in configs] == [True, False, False]
    assert all(store.trained(c) for c in configs)
    trained(configs, store)
    assert len(seen) == 3 and stacks == [configs]


def test_an_evaluation_that_fails_costs_nothing_else(
    store: Store, stacks: list[list[TrainConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several evaluated together, too: one of nine, and another error the next time."""
    configs = grid(BASE, seed=range(9))
    evaluate = jobs_module.evaluate

    def failing(stack: Any, runs: Any, data: Any) -> Any:
        if any(stack.configs[run].seed == 4 for run in runs):
            raise ArithmeticError("no density\nat all")
        return evaluate(stack, runs, data)

    with monkeypatch.context() as patch:
        patch.setattr(jobs_module, "at_once", lambda device: 4)
        patch.setattr(jobs_module, "evaluate", failing)
        for _ in range(2):
            message = (
                r"^The evaluation of 1 of \d runs failed \(diagonal beta=1 seed=4: "
                r"ArithmeticError: no density\)\. They are stored as trained, and the same call"
            )
            with pytest.raises(RuntimeError, match=message):
                trained(configs, store)
            assert [bool(store.find(c)) for c in configs] == [c.seed != 4 for c in configs]
    assert len(trained(configs, store)) == 9 and stacks == [configs]


def test_a_second_interruption_does_not_wait(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(module, "_show", impatient)
    with pytest.raises(KeyboardInterrupt) as caught:
        trained([BASE], store)
    assert not isinstance(caught.value, Interrupted)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_checkpoints_are_written_on_the_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "CHECKPOINT_SECONDS", 0.0)
    save, steps = store.save_checkpoint, []
    watched = lambda stack, *spent: steps.append(stack.step) or save(stack, *spent)
    monkeypatch.setattr(store, "save_checkpoint", watched)
    trained([BASE], store)
    assert steps == [CHUNK, 2 * CHUNK, 3 * CHUNK]
    assert store.checkpoint(BASE) is None


def test_sweeps_run_outside_the_main_thread(store: Store) -> None:
    """Where signals cannot be handled."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(trained([BASE], store)))
    thread.start()
    thread.join()
    assert len(found) == 1


# --- stacks for several workers ----------------------------------------------------------------


def test_stacks_are_split_until_there_is_one_a_worker() -> None:
    configs = grid(BASE, seed=range(7))
    for workers, sizes in [(1, [7]), (2, [3, 4]), (3, [2, 2, 3]), (4, [1, 2, 2, 2]), (9, [1] * 7)]:
        jobs = jobs_module.stacks(dict.fromkeys(configs, 0), workers)
        assert sorted(len(job.configs) for job in jobs) == sizes
        assert sorted(c.seed for job in jobs for c in job.configs) == list(range(7))


def test_stacks_hold_runs_of_one_shape_and_step() -> None:
    configs = grid(BASE, covariance=["diagonal", "full"], seed=range(3))
    steps = {configs[0]: 8, configs[1]: 8, configs[4]: 4}
    jobs = jobs_module.stacks(dict.fromkeys(configs, 0) | steps, 1)
    found = {(frozenset(job.configs), job.step) for job in jobs}
    assert found == {
        (frozenset(configs[:2]), 8),
        (frozenset(configs[2:3]), 0),
        (frozenset([configs[4]]), 4),
        (frozenset([configs[3], configs[5]]), 0),
    }


def test_the_longest_stack_comes_first() -> None:
    short, long = replace(BASE, seed=1), replace(BASE, images=BASE.images * 9)
    half = replace(BASE, latent=3)
    jobs = jobs_module.stacks({short: 0, long: 0, half: BASE.steps // 2}, 1)
    assert [job.configs[0] for job in jobs] == [long, short, half]


def test_grid_varies_the_last_axis_fastest() -> None:
    configs = grid(BASE, covariance=["full", "diagonal"], beta=[2, 1.0], seed=range(2))
    assert [(c.covariance, c.beta, c.seed) for c in configs] == [
        ("full", 2.0, 0),
        ("full", 2.0, 1),
        ("full", 1.0, 0),
        ("full", 1.0, 1),
        ("diagonal", 2.0, 0),
        ("diagonal", 2.0, 1),
        ("diagonal", 1.0, 0),
        ("diagonal", 1.0, 1),
    ]
    assert grid(BASE) == [BASE]
    assert grid(BASE, seed=[]) == []


# --- processes ---------------------------------------------------------------------------------

REAL = replace(BASE, latent=3, snapshots=0, images=16 * 20)


def processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Real ones, at once, on the real linear data; they know nothing of this file's patches."""
    monkeypatch.undo()
    monkeypatch.setenv("SEAMS_PROGRESS", str(tmp_path / "progress"))
    monkeypatch.setattr(local, "_ALONE_SECONDS", 0.0)


def test_two_processes_train_what_one_does_and_tell_what_diverged(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes(monkeypatch, tmp_path)
    good = grid(REAL, covariance=["diagonal", "full"])
    bad = replace(REAL, beta=1e39, latent=4)
    with pytest.raises(Diverged, match=r"in 1 of 3 runs \(diagonal beta=1e\+39 seed=0\)"):
        train_or_load([*good, bad], store, device="cpu", workers=2)
    monkeypatch.setattr(jobs_module, "evaluate", lambda *_: [({}, {})])
    for run in train_or_load(good, store, device="cpu", workers=2):
        assert run.scores["rate"] > 0
        (alone,) = trained([run.config], Store(tmp_path / "alone"))
        for name, weight in alone.weights().items():
            assert torch.equal(run.weights()[name], weight), name
    assert "3 of 3 runs" in (tmp_path / "progress").read_text()


LONG = replace(REAL, images=16 * 128 * 100_000)  # never ends within a test


def test_a_worker_that_is_killed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes(monkeypatch, tmp_path)
    show = module._show

    def kill(*arguments: Any) -> None:
        show(*arguments)
        multiprocessing.active_children()[0].kill()

    monkeypatch.setattr(module, "_show", kill)
    with pytest.raises(RuntimeError, match="A worker was killed, .* set `workers` lower"):
        train_or_load(grid(LONG, seed=range(2)), store, device="cpu", workers=2)
    assert not multiprocessing.active_children()


def test_interrupted_workers_leave_checkpoints(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes with the first report."""
    processes(monkeypatch, tmp_path)
    configs = [replace(LONG, latent=latent) for latent in (2, 3, 4)]
    interrupt_at(1, monkeypatch)
    with pytest.raises(Interrupted):
        train_or_load(configs, store, device="cpu", workers=2)
    begun = [c for c in configs if store.step(c)]
    assert 1 <= len(begun) <= 2, "the third is not begun once stopped"


def test_workers_of_a_process_that_is_killed_leave_checkpoints_and_end(
    store: Store, tmp_path: Path
) -> None:
    configs = [replace(LONG, latent=latent) for latent in (2, 3)]
    program = f"""
import sys
from seams.sweep import local, train_or_load
from seams.training import Store, TrainConfig
if __name__ == "__main__":
    local._ALONE_SECONDS = 0.0
    train_or_load({configs!r}, Store(sys.argv[1]), device="cpu", workers=2)
"""
    (tmp_path / "program.py").write_text(program)
    with subprocess.Popen([sys.executable, tmp_path / "program.py", store.root]) as process:
        while not all(store.is_locked(c) for c in configs):
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(0.5)
        process.kill()
    while any(store.is_locked(c) for c in configs):
        time.sleep(0.1)
    assert all(store.step(c) > 0 for c in configs)


# --- two sweeps on one store -------------------------------------------------------------------


def test_a_plan_is_not_trusted_after_the_store_has_moved_on(
    store: Store, tmp_path: Path, stacks: list[list[TrainConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint vanishes, and a run is finished, between the plan and the start."""
    configs = grid(BASE, beta=[0.1, 1.0, 3.0, 9.0])
    interrupt_at(2, monkeypatch)
    with pytest.raises(Interrupted):
        trained(configs, store)
    jobs = jobs_module.stacks(jobs_module.unfinished(configs, store), 1)
    assert [job.step for job in jobs] == [2 * CHUNK]
    (store.root / "checkpoint" / f"{run_id(configs[1])}.safetensors").unlink()
    shutil.copytree(
        trained(configs[2:3], Store(tmp_path / "a"))[0].folder, store.root / run_id(configs[2])
    )
    place, outcome = Place(store), Outcome(again=tuple(jobs))
    while outcome.again:
        outcome = execute(outcome.again[0], place, threading.Event()) + replace(
            outcome, again=outcome.again[1:]
        )
    assert sorted(stacks[2:], key=len) == [[configs[1]], [configs[0], configs[3]]]
    for run in trained(configs, store):
        (alone,) = trained([run.config], Store(tmp_path / "alone"))
        for name, weight in alone.weights().items():
            torch.testing.assert_close(run.weights()[name], weight, rtol=1e-3, atol=1e-5)


def test_one_damaged_checkpoint_costs_one_run(
    store: Store, stacks: list[list[TrainConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = grid(BASE, seed=range(4))
    interrupt_at(2, monkeypatch)
    with pytest.raises(Interrupted):
        trained(configs, store)
    path = store.root / "checkpoint" / f"{run_id(configs[2])}.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert len(trained(configs, store)) == 4
    assert stacks[1:] == [[*configs[:2], configs[3]], [configs[2]]]
    assert len(list(store.root.glob(".damaged/*"))) == 1


def test_two_sweeps_at_once_on_one_store(store: Store, tmp_path: Path) -> None:
    """Each run is what its name says, trained by one of them, and both return all."""
    configs = [replace(BASE, beta=b, latent=n) for n in (1, 2, 3) for b in (0.05, 4.0)]
    children = []
    for order in (configs, configs[::-1]):
        child = os.fork()
        if not child:
            code = 1
            try:
                torch.set_num_threads(1)
                code = len(trained(order, store)) != len(configs)
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert store.check() == (len(configs), [])
    alone = trained(configs, Store(tmp_path / "alone"))
    for run, other in zip(trained(configs, store), alone, strict=True):
        for name, weight in other.weights().items():
            torch.testing.assert_close(run.weights()[name], weight, rtol=1e-3, atol=1e-5)


def test_a_run_in_the_hands_of_another_is_waited_for(
    store: Store, tmp_path: Path, stacks: list[list[TrainConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is there, or its owner gives it up."""
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.05)
    configs = grid(BASE, seed=range(2))
    (done,) = trained(configs[1:], Store(tmp_path / "other"))
    with ExitStack() as held:
        assert all(held.enter_context(store.lock(c)) for c in configs)

        def end() -> None:
            shutil.copytree(done.folder, store.root / done.id)
            held.close()

        timer = threading.Timer(0.5, end)
        timer.start()
        runs = trained(configs, store)
        timer.join()
    assert [run.config for run in runs] == configs and stacks[1:] == [configs[:1]]
    said = (tmp_path / "progress").read_text()
    assert "2 runs are in the hands of another process: waiting for them\n" in said


# --- progress ----------------------------------------------------------------------------------


def test_progress_goes_to_the_named_file(store: Store, tmp_path: Path, capsys: Any) -> None:
    trained(grid(BASE, seed=range(2)), store)
    text = (tmp_path / "progress").read_text()
    assert "2 of 2 runs: 100%" in text and "384/384" in text
    assert capsys.readouterr().err == ""


def test_progress_goes_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEAMS_PROGRESS")
    assert progress_stream() is sys.stderr


def test_what_an_evaluation_lacks_is_computed_from_the_weights(
    store: Store, tmp_path: Path, stacks: list[list[TrainConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is trained for it; a run of the record, without weights, is taken as it is."""
    configs = grid(BASE, seed=range(2))
    record = Store(tmp_path / "record")
    for run in trained(configs, record):
        scores = {k: v for k, v in run.scores.items() if k != "distortion"}
        record.update(run, scores | {"groups": {}}, run.arrays)
    (record.root / run_id(configs[1]) / "weights.safetensors").unlink()
    shutil.copytree(record.root / run_id(configs[0]), store.root / run_id(configs[0]))
    both = Store(store.root, record.root)
    first, second = trained(configs, both)
    assert first.scores["distortion"] > 0 and first.scores["groups"]
    assert second.folder.parent == record.root and "distortion" not in second.scores
    assert stacks == [configs]
    monkeypatch.setattr(jobs_module, "evaluate", None)  # now all is there: not called
    assert trained(configs, both)[0].scores == first.scores


def test_curves_stay_where_no_snapshots_are_left(store: Store) -> None:
    """Of a run that came from elsewhere: what its weights give is computed, and the rest kept."""
    config = replace(BASE, network="mlp", width=4, depth=1, snapshots=2)
    (run,) = trained([config], store)
    curves = {name: value for name, value in run.arrays.items() if name.startswith("curve_")}
    assert len(curves) > 2
    (run.folder / "snapshots.safetensors").unlink()
    (run.folder / "files.json").unlink()
    old = {name: value for name, value in run.scores.items() if name != "rate"}
    store.update(run, old | {"groups": {}}, run.arrays)
    (again,) = trained([config], store)
    assert again.scores == run.scores
    for name, value in curves.items():
        np.testing.assert_array_equal(again.arrays[name], value)


def test_damaged_runs_are_trained_again(
    store: Store, tmp_path: Path, stacks: list[list[TrainConfig]]
) -> None:
    configs = grid(BASE, seed=range(3))
    for run, name in zip(
        trained(configs, store), ("evaluation.json", "weights.safetensors"), strict=False
    ):
        content = bytearray((run.folder / name).read_bytes())
        content[-20] ^= 1
        (run.folder / name).write_bytes(content)
    runs = trained(configs, store, weights=True)
    assert all(not run.damage(weights=True) for run in runs)
    assert stacks[1:] == [configs[:2]]
    assert (tmp_path / "progress").read_text().count("and does not count.\n") == 2


def test_seconds_of_a_run_are_those_of_all_its_sessions(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that moves 10 s a chunk of a stack of two runs, and stops in the second one."""
    now, stop = [0.0], threading.Event()
    clock = SimpleNamespace(monotonic=lambda: 0.0, perf_counter=lambda: now[0])
    monkeypatch.setattr(jobs_module, "time", clock)
    train = jobs_module.train

    def slow(stack: Any, data: Any, *_: Any) -> Iterator[Any]:
        for progress in train(stack, data):
            now[0] += 10
            if now[0] == 20:
                stop.set()
            yield progress

    monkeypatch.setattr(jobs_module, "train", slow)
    pair = tuple(grid(BASE, seed=range(2)))
    (left,) = execute(Job(pair), Place(store, memory=1e9), stop).again
    assert left == Job(pair, 2 * CHUNK)
    assert [float(s["seconds"]) for c in pair if (s := store.checkpoint(c))] == [10, 10]
    now[0] = 1000.0  # until the second session, of one of them and its last chunk
    second = Job(pair[:1], 2 * CHUNK)
    assert execute(second, Place(store, memory=1e9), threading.Event()) == Outcome()
    found = store.find(BASE)
    assert found and found.provenance["seconds"] == 10 + 10
