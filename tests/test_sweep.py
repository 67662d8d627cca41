import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sweeping
import torch
from sweeping import CHUNK, Worker, make_small, trained, use_threads, watched

from seams import data as datasets
from seams import sweep as module
from seams.data import Samples
from seams.sweep import Diverged, Interrupted, grid, local, progress_stream, train_or_load
from seams.sweep import jobs as jobs_module
from seams.sweep.jobs import Job, Limits, Stop, execute
from seams.training import Store, TrainConfig, run_id
from seams.training import evaluate as evaluation
from seams.training import loop as training
from seams.training.evaluate import COLLAPSED_RATE, VERSION

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
    assert asked == [[0, 1], [2]]


def test_interruption_while_evaluating_keeps_what_is_evaluated(
    store: Store, monkeypatch: pytest.MonkeyPatch
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
    assert [bool(store.checkpoint(c)) for c in configs] == [False, True, True]
    trained(configs, store)
    assert len(seen) == 3


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
        jobs = jobs_module.stacks(configs, {}, workers)
        assert sorted(len(job.configs) for job in jobs) == sizes
        assert sorted(c.seed for job in jobs for c in job.configs) == list(range(7))


def test_stacks_hold_runs_of_one_shape_and_step() -> None:
    configs = grid(BASE, covariance=["diagonal", "full"], seed=range(3))
    steps = {configs[0]: 8, configs[1]: 8, configs[4]: 4}
    jobs = jobs_module.stacks(configs, steps, 1)
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
    jobs = jobs_module.stacks([short, long, half], {half: BASE.steps // 2}, 1)
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


def test_two_processes_train_what_one_does(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real ones, on the real linear data; they know nothing of this file's patches."""
    monkeypatch.undo()
    monkeypatch.setenv("SEAMS_PROGRESS", str(tmp_path / "progress"))
    monkeypatch.setattr(local, "_WORTH_PROCESSES", 0.0)
    configs = grid(REAL, covariance=["diagonal", "full"])
    runs = train_or_load(configs, store, device="cpu", workers=2)
    assert [run.config for run in runs] == configs
    monkeypatch.setattr(jobs_module, "evaluate", lambda *_: [({}, {})])
    for run in runs:
        assert run.scores["rate"] > 0
        (alone,) = trained([run.config], Store(tmp_path / "alone"))
        for name, weight in alone.weights().items():
            assert torch.equal(run.weights()[name], weight), name
    assert "2 of 2 runs" in (tmp_path / "progress").read_text()


class Killed(Worker):
    """One that dies without a word."""

    def run(self) -> None:
        self.exitcode = -9


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    return use_threads(monkeypatch)


def test_workers_share_the_jobs(
    store: Store, threads: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them do three, since a new one would import torch again."""
    begun = []

    def begin(**how: Any) -> Worker:
        begun.append(how)
        return Worker(**how)

    monkeypatch.setattr(threads, "Process", begin)
    configs = grid(BASE, latent=[2, 3, 4], seed=range(2))
    runs = train_or_load(configs, store, device="cpu", workers=2)
    assert [run.config for run in runs] == configs
    assert len(begun) == 2


def test_little_work_is_not_given_to_processes(
    store: Store, threads: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor to more threads than a worker has: the last digits would differ."""
    monkeypatch.setattr(threads, "Process", lambda **_: pytest.fail("began a process"))
    used: list[int] = []
    monkeypatch.setattr(local.torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(local.torch, "set_num_threads", used.append)
    monkeypatch.setattr(local, "_WORTH_PROCESSES", 10.0)
    configs = grid(BASE, covariance=["diagonal", "full"])
    assert len(train_or_load(configs, store, device="cpu", workers=2)) == 2
    assert used == [2, 4]
    long = replace(BASE, images=10**9)
    with pytest.raises(pytest.fail.Exception, match="began a process"):
        train_or_load([long, replace(long, seed=1)], store, device="cpu", workers=2)


def test_a_worker_that_is_killed(store: Store, threads: SimpleNamespace, monkeypatch: Any) -> None:
    monkeypatch.setattr(threads, "Process", Killed)
    message = r"A worker ended with exit code -9 \(-9: killed, .* set `workers` lower\)"
    with pytest.raises(RuntimeError, match=message):
        train_or_load(grid(BASE, seed=range(2)), store, device="cpu", workers=2)


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError])
def test_errors_of_the_user_come_back_from_workers(
    store: Store, threads: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def missing(*_: Any) -> None:
        raise error("images.npy is missing: run `seams data`.")

    monkeypatch.setattr(datasets, "load", missing)
    with pytest.raises(error, match=r"^images\.npy is missing: run `seams data`\.$"):
        train_or_load(grid(BASE, seed=range(2)), store, device="cpu", workers=2)


def test_other_errors_of_workers_show_where_they_came_from(
    store: Store, threads: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(jobs_module, "evaluate", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="A worker failed with ZeroDivisionError: division by"):
        train_or_load(grid(BASE, seed=range(2)), store, device="cpu", workers=2)
    assert "Traceback" in capsys.readouterr().err


def test_divergence_in_a_worker(store: Store, threads: SimpleNamespace) -> None:
    configs = [BASE, replace(BASE, beta=1e39, latent=3), replace(BASE, seed=1)]
    with pytest.raises(Diverged, match=r"in 1 of 3 runs \(diagonal beta=1e\+39 seed=0\)"):
        train_or_load(configs, store, device="cpu", workers=2)
    assert store.find(configs[0]) and store.find(configs[2])


def test_interrupted_workers_leave_checkpoints(
    store: Store, threads: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes with the first report."""
    configs = grid(BASE, latent=[2, 3, 4])
    handlers: list[Any] = []
    monkeypatch.setattr(module.signal, "signal", lambda _, handler: handlers.append(handler))
    show = module._show

    def shown(*arguments: Any) -> None:
        handlers[0]()
        monkeypatch.setattr(module, "_show", show)

    monkeypatch.setattr(module, "_show", shown)
    with pytest.raises(Interrupted):
        train_or_load(configs, store, device="cpu", workers=2)
    begun = [c for c in configs if store.checkpoint(c) or store.find(c)]
    assert 1 <= len(begun) <= 2, "the third is not begun once stopped"
    assert len(train_or_load(configs, store, device="cpu", workers=2)) == 3


# --- progress ----------------------------------------------------------------------------------


def test_progress_goes_to_the_named_file(store: Store, tmp_path: Path, capsys: Any) -> None:
    trained(grid(BASE, seed=range(2)), store)
    text = (tmp_path / "progress").read_text()
    assert "2 of 2 runs: 100%" in text and "384/384" in text
    assert capsys.readouterr().err == ""


def test_progress_goes_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEAMS_PROGRESS")
    assert progress_stream() is sys.stderr


def test_a_run_of_another_evaluation_is_evaluated_anew_and_not_trained(
    store: Store, stacks: list[list[TrainConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = train_or_load([BASE], store, workers=1)
    monkeypatch.setattr(module, "VERSION", first.scores["evaluation"] + 1)
    (again,) = train_or_load([BASE], store, workers=1)
    assert again.scores == first.scores  # reevaluated by the same code, as this test can only do
    found = {"evaluation": module.VERSION}, {"a": np.ones(2)}
    monkeypatch.setattr(module, "reevaluate", lambda run, data: found)
    (again,) = train_or_load([BASE], store, workers=1)
    assert again.scores == found[0]
    assert again.arrays["a"].tolist() == [1, 1]
    monkeypatch.setattr(module, "reevaluate", None)  # now current: not called
    assert train_or_load([BASE], store, workers=1)[0].scores == found[0]
    assert len(stacks) == 1


def test_an_outdated_run_of_the_record_is_trained_anew(
    store: Store, tmp_path: Path, stacks: list[list[TrainConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "record"
    configs = grid(BASE, seed=range(2))
    for run in trained(configs, Store(record)):
        (run.folder / "weights.safetensors").unlink()
    scores = record / run_id(BASE) / "evaluation.json"
    content = json.loads(scores.read_text())
    scores.write_text(json.dumps(content | {"evaluation": VERSION - 1}))
    runs = trained(configs, Store(store.root, record))
    assert [run.folder.parent for run in runs] == [store.root, record]
    assert stacks == [configs, [BASE]]
    said = (tmp_path / "progress").read_text()
    assert "1 runs of the record were evaluated by another version: trained anew\n" in said


def test_seconds_of_a_run_are_those_of_all_its_sessions(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that moves 10 s a chunk of a stack of two runs, and stops in the second one."""
    now, stop = [0.0], Stop()
    clock = SimpleNamespace(time=lambda: 0.0, perf_counter=lambda: now[0])
    monkeypatch.setattr(jobs_module, "time", clock)
    train = jobs_module.train

    def slow(stack: Any, data: Any) -> Iterator[Any]:
        for progress in train(stack, data):
            now[0] += 10
            if now[0] == 20:
                stop.set()
            yield progress

    monkeypatch.setattr(jobs_module, "train", slow)
    pair = tuple(grid(BASE, seed=range(2)))
    assert not list(execute(Job(pair), store, "cpu", stop, Limits(1e9)))[-1].done
    assert [float(s["seconds"]) for c in pair if (s := store.checkpoint(c))] == [10, 10]
    now[0] = 1000.0  # until the second session, of one of them and its last chunk
    (last,) = list(execute(Job(pair[:1], 2 * CHUNK), store, "cpu", Stop(), Limits(1e9)))[-1:]
    found = store.find(BASE)
    assert last.done and found and found.provenance["seconds"] == 10 + 10
