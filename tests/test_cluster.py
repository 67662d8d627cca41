"""Stacks in other processes, as on other machines, with a real scheduler."""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seams.cli import main
from seams.data import linear
from seams.sweep import cluster, grid, jobs, plan, train_or_load
from seams.sweep.cluster import Target, connect, count, engine, target
from seams.sweep.cost import Cost
from seams.sweep.jobs import Job, Outcome, Place, Report
from seams.training import CHUNK, Store, TrainConfig, run_id
from seams.training import evaluate as evaluation
from seams.training import loop as training

ROOT = Path(__file__).parent.parent
BASE = TrainConfig(
    dataset="linear",
    resolution=1,
    network="mlp",
    width=4,
    depth=1,
    latent=2,
    sigma=linear().sigma,
    images=4 * CHUNK * 8,
    batch=8,
    learning_rate=0.003,
    warmup=0.0,
)
PAIRS = [Job(tuple(grid(replace(BASE, width=w), seed=range(2)))) for w in (4, 5, 6)]
TINY = Job(tuple(grid(replace(BASE, images=3 * 4 * 8), seed=range(2))))  # with chunks of 4 steps
LONG = replace(BASE, images=100_000 * CHUNK * 8)  # never ends within a test


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEAMS_ROOT", str(ROOT))
    monkeypatch.setenv("SEAMS_PROGRESS", str(tmp_path / "progress"))
    monkeypatch.setattr(evaluation, "DERIVATIVE_IMAGES", 4)
    monkeypatch.setattr(evaluation, "IMAGES", 500)


def ignored(report: Report) -> None: ...


# --- what the command line asks for ------------------------------------------------------------


def test_nothing_said_stays_here() -> None:
    assert target() is None


def test_a_scheduler_is_named_by_its_address() -> None:
    assert target(scheduler="tcp://node7:8786") == Target(address="tcp://node7:8786")
    assert target("ucx://10.0.0.1:80") == Target(address="ucx://10.0.0.1:80")


def test_a_cluster_is_read_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "PBSCluster:\n  cores: 4\n  memory: 8GB\n  walltime: 12:00:00\n"
        "  resource_spec: select=1:ngpus=1\n  job_extra_directives: [-q gpu]\n"
    )
    found = target(file=file)
    assert found and found.kind == "PBSCluster"
    assert found.keywords == {
        "cores": 4,
        "memory": "8GB",
        "walltime": "12:00:00",  # which YAML 1.1 would read as 43200
        "resource_spec": "select=1:ngpus=1",
        "job_extra_directives": ["-q gpu"],
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"scheduler": "tcp://a:1", "file": Path("a.yaml")},
            "--scheduler and --cluster exclude each other: leave one out.",
        ),
        (
            {"scheduler": "node7"},
            "--scheduler takes an address such as tcp://host:8786; got 'node7",
        ),
        ({"file": Path("none.yaml")}, r"--cluster: cannot read none.yaml \(FileNotFoundError\)."),
    ],
)
def test_words_that_cannot_be_used(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        target(**words)


@pytest.mark.parametrize("text", ["[1, 2]", "PBSCluster: 3", "A: {}\nB: {}", ""])
def test_other_yaml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match="must hold the name of one class of dask_jobqueue, such"):
        target(file=tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"cannot read .*c.yaml \(ParserError\)"):
        target(file=tmp_path / "c.yaml")


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RuntimeError, match=r"needs dask \(.*\): pip install '.\[cluster\]'"):
        count(Target(address="tcp://127.0.0.1:1"))
    assert count(Target(kind="SLURMCluster")) == 0


# --- batch systems, as far as the job that they are given --------------------------------------


@pytest.fixture
def job_script(store: Store) -> Callable[..., str]:
    pytest.importorskip("dask_jobqueue", reason="needs the extra `cluster`")

    def script(device: str, **keywords: Any) -> str:
        with cluster._batch(Target(kind="SLURMCluster", keywords=keywords), device, store) as made:
            return made.job_script()

    return script


def test_a_batch_job_takes_one_stack_with_all_its_cores(job_script: Any, store: Store) -> None:
    script = job_script("cpu", cores=6, memory="4GB", worker_extra_args=["--lifetime", "1h"])
    assert "\nexport OMP_NUM_THREADS=6\n" in script
    assert re.findall(r"--nthreads (\d+)", script)[-1] == "1", "the last one counts"
    assert "--lifetime 1h" in script and "--resources" not in script
    assert f"{store.root.resolve()}/cluster-logs/" in script
    script = job_script("cuda", cores=6, processes=2, memory="4GB")
    assert "\nexport OMP_NUM_THREADS=3\n" in script and "--resources GPU=1" in script


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # half a cluster
@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, "^SLURMCluster: You must specify how much cores and memory per job you want to use$"),
        ({"cores": 1, "memory": "1GB", "coers": 2}, "^SLURMCluster: .*coers"),
        ({"cores": 1, "memory": "much"}, "^SLURMCluster: .*much"),
    ],
)
def test_wrong_keywords_are_named(job_script: Any, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        job_script("cpu", **keywords)
    assert "\n" not in str(caught.value)


def test_an_unknown_batch_system_is_refused(job_script: Any, store: Store) -> None:
    message = "^dask_jobqueue has HTCondorCluster, LSFCluster, .*; got 'SlurmCluster': name one of"
    with (
        pytest.raises(ValueError, match=message),
        connect(Target(kind="SlurmCluster"), 1, "cpu", store),
    ):
        pass


# --- within one process, where patches are seen ------------------------------------------------


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(training, "CHUNK", 4)
    return TINY


@contextmanager
def within(threads: int = 1) -> Iterator[Any]:
    """A client whose one worker is a thread."""
    distributed = pytest.importorskip("distributed", reason="needs the extra `cluster`")
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=threads,
            processes=False,
            dashboard_address=":0",  # the default port may be taken
            memory_limit=0,
        ) as made,
        distributed.Client(made) as client,
    ):
        yield client


def test_a_stack_larger_than_memory_comes_back_in_halves(
    store: Store, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, widths = jobs.train, []

    def limited(stack: Any, data: Any, *_: Any) -> Iterator[Any]:
        widths.append(len(stack.configs))
        if len(stack.configs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        yield from train(stack, data)

    monkeypatch.setattr(jobs, "train", limited)
    shown: list[Report] = []
    with within() as client:
        assert engine(client, store, "cpu")([tiny], shown.append, threading.Event()) == Outcome()
    assert widths == [2, 1, 1]
    assert all(store.find(c) for c in tiny.configs)
    assert {r.configs[0] for r in shown if r.step == 12} == set(tiny.configs)
    assert not list(store.root.glob(".sweep-*"))


def test_runs_that_diverge_are_told(
    store: Store, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = jobs.train

    def diverging(stack: Any, data: Any, *_: Any) -> Iterator[Any]:
        for progress in train(stack, data):
            yield replace(progress, diverged=[0] if len(stack.configs) == 2 else [])

    monkeypatch.setattr(jobs, "train", diverging)
    with within() as client:
        found = engine(client, store, "cpu")([tiny], ignored, threading.Event())
    assert found.diverged == tiny.configs[:1]
    assert store.find(tiny.configs[1])


def test_errors_of_a_worker_come_home(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise LookupError("no such thing")

    with within() as client:
        with monkeypatch.context() as patch:
            patch.setattr(jobs, "train", broken)
            with pytest.raises(RuntimeError, match="A worker failed with LookupError: no such th"):
                engine(client, store, "cpu")(PAIRS[:1], ignored, threading.Event())
        arguments = 0, PAIRS[0], Place(store), str(store.root / ".sweep-0"), ""
        with pytest.raises(
            ValueError, match="does not see .*: the run store must be on a file sys"
        ):
            client.submit(cluster._work, *arguments).result()


def test_a_worker_of_two_threads_is_refused(store: Store) -> None:
    with (
        within(threads=2) as client,
        pytest.raises(ValueError, match=r"one stack at a time; that on \S+ has 2 threads\. Start"),
    ):
        engine(client, store, "cpu")(PAIRS[:1], ignored, threading.Event())


def test_it_stops_before_the_deadline(
    store: Store, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that a chunk moves by 10 s; the next may take 15 s, and the end 5 s."""
    now = [0.0]
    tell = lambda: now[0]
    start = time.monotonic()
    stopped = SimpleNamespace(monotonic=lambda: start + now[0], perf_counter=tell)
    monkeypatch.setattr(jobs, "time", stopped)
    monkeypatch.setattr(jobs, "CHECKPOINT_SECONDS", 1e9)
    train = jobs.train

    def slow(stack: Any, data: Any, *_: Any) -> Iterator[Any]:
        for progress in train(stack, data):
            now[0] += 10
            yield progress

    monkeypatch.setattr(jobs, "train", slow)
    waiting = Job((replace(LONG, width=5),), cost=Cost(10 / CHUNK, 0.0, 1e3, 1e3, 1e3))
    with within() as client:
        run = engine(client, store, "cpu", deadline=start + 100.5)
        assert run([Job((LONG,)), waiting], ignored, threading.Event()) == Outcome()
    assert now == [90.0]
    assert [store.step(c) for c in (LONG, *waiting.configs)] == [9 * 4, 0]


def test_nobody_is_waited_for_once_all_workers_are_gone(store: Store) -> None:
    with within() as client:
        sweep = cluster._Sweep(client, Place(store), store.root / ".sweep-0", ignored)
        assert not sweep.is_abandoned()
        sweep.stopping = True
        assert not sweep.is_abandoned(), "one is left that can end its work"
        client.cluster.scale(0)
        while client.scheduler_info(n_workers=-1)["workers"]:
            time.sleep(0.05)
        assert sweep.is_abandoned()


class Gone:
    """A future of a task whose workers died."""

    key = "sweep-0"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self) -> None:
        raise self.error


def test_a_stack_of_which_workers_die_is_halved_then_given_up(
    store: Store, tiny: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = pytest.importorskip("distributed.scheduler", reason="needs the extra `cluster`")
    killed = Gone(scheduler.KilledWorker("sweep-0", None, 4))
    with within() as client:
        sweep = cluster._Sweep(client, Place(store), store.root / ".sweep-0", ignored)
        submitted: list[Job] = []
        monkeypatch.setattr(sweep, "submit", submitted.extend)
        sweep.jobs = [tiny, replace(tiny, configs=tiny.configs[:1])]
        assert sweep.collect(killed, 0) == Outcome()
        assert submitted == tiny.parts(1)
        with pytest.raises(RuntimeError, match=r"died of the same run \(diagonal beta=1 seed=0\)"):
            sweep.collect(killed, 1)
        submitted.clear()
        train_or_load(tiny.configs[:1], store, device="cpu", workers=1)
        sweep.collect(killed, 0)
        assert submitted == [tiny.parts(1)[1]], "what is left after some progress, undivided"


# --- a scheduler and workers of their own ------------------------------------------------------


def command(name: str, *words: str) -> list[str]:
    return [sys.executable, "-m", f"distributed.cli.dask_{name}", *words]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a scheduler in another process."""
    pytest.importorskip("distributed", reason="needs the extra `cluster`")
    folder = tmp_path_factory.mktemp("scheduler")
    words = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0", "--scheduler-file"]
    log = (folder / "log").open("w")
    with subprocess.Popen(
        command("scheduler", *words, str(folder / "file")), stdout=log, stderr=log
    ) as process:
        try:
            found = None
            while not found:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
                found = re.search(r"tcp://[\d.]+:\d+", (folder / "log").read_text())
            yield found[0]
        finally:
            process.kill()
    log.close()


@contextmanager
def workers(address: str, folder: Path, *names: str) -> Iterator[dict[str, Any]]:
    """Processes by name, none of them watched over by a nanny that would start it again."""
    words = [address, "--no-nanny", "--no-dashboard", "--nthreads", "1"]
    words += ["--death-timeout", "60", "--local-directory", str(folder / "scratch"), "--name"]
    with (folder / "workers.log").open("w") as log:
        running = {
            name: subprocess.Popen(command("worker", *words, name), stdout=log, stderr=log)
            for name in names
        }
        try:
            yield running
        finally:
            for process in running.values():
                process.kill()
                process.wait()


def present(client: Any, names: Sequence[str]) -> dict[str, str]:
    """Addresses of workers by name, once all are there and no others."""
    while True:
        known = client.scheduler_info(n_workers=-1)["workers"]
        found = {str(info["name"]): where for where, info in known.items()}
        if set(found) == set(names):
            return found
        time.sleep(0.1)


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_costs_nothing(
    address: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_POLL_SECONDS", 0.1)
    with (
        workers(address, tmp_path, "doomed", "other") as running,
        connect(Target(address=address), 2, "cpu", store) as client,
    ):
        doomed = present(client, ["doomed", "other"])["doomed"]
        killed: list[Report] = []

        def show(report: Report) -> None:
            """Kill it while it trains, which is after the first chunk and before the last."""
            here = [int(key.rpartition("-")[2]) for key in client.processing().get(doomed, ())]
            mine = any(report.configs == PAIRS[n].configs for n in here)
            if not killed and mine and 0 < report.step < BASE.steps:
                running["doomed"].send_signal(signal.SIGKILL)
                killed.append(report)

        assert engine(client, store, "cpu")(PAIRS, show, threading.Event()) == Outcome()
        assert len(killed) == 1 and running["doomed"].wait() == -signal.SIGKILL
        assert list(present(client, ["other"])) == ["other"]
    wanted = [config for job in PAIRS for config in job.configs]
    folders = [p.parent.name for p in store.root.glob("*/config.json")]
    assert sorted(folders) == sorted(map(run_id, wanted)), "every run once"
    assert not any(store.step(c) for c in wanted)
    lost = [run for run in wanted if run in killed[0].configs]
    alone = train_or_load(lost, Store(tmp_path / "alone"), device="cpu", workers=1)
    for run in alone:
        found = store.find(run.config)
        assert found and found.provenance["stacked"] == 2
        for name, weight in run.weights().items():
            torch.testing.assert_close(found.weights()[name], weight, rtol=1e-3, atol=1e-5)


def test_it_stops_when_asked_and_goes_on(address: str, store: Store, tmp_path: Path) -> None:
    stack = Job(tuple(grid(LONG, seed=range(2))))
    waiting = Job((replace(LONG, width=5),))
    with (
        workers(address, tmp_path, "only"),
        connect(Target(address=address), 1, "cpu", store) as client,
    ):
        present(client, ["only"])
        reached = 0
        for _ in range(2):
            stop = threading.Event()

            def asked(report: Report, reached: int = reached, stop: Any = stop) -> None:
                assert report.configs == stack.configs
                if report.step > reached:
                    stop.set()

            begun = replace(stack, step=reached)
            found = engine(client, store, "cpu")([begun, waiting], asked, stop)
            assert found == Outcome()
            (now,) = {store.step(c) for c in stack.configs}
            assert now > reached and store.step(waiting.configs[0]) == 0
            reached = now


SMALL = ["fig02", "--profile", "smoke", "-p", "seeds=1", "-p", "images=2560"]


def test_the_command_counts_the_workers_that_are_there(
    address: str, store: Store, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "measure", lambda *_: Cost(1e-4, 1e-3, 1e3, 1e3, 1e3))
    words = ["sweep", *SMALL, "--store", str(store.root), "--scheduler", address]
    assert main([*words, "--plan"]) == 0
    assert "2 stacks, 2 at once, on workers with cpu:" in capsys.readouterr().out, "none is there"
    with workers(address, tmp_path, "one"):
        while count(Target(address=address)) != 1:
            time.sleep(0.1)
        assert main([*words, "--device", "cuda"]) == 2
        said = capsys.readouterr()
        assert f"No worker of {address} offers a GPU: start them with" in said.err
        assert "2 stacks, 1 at once, on workers with cuda:" in said.out
        assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "2 runs: 0 stored, 0 begun, 2 new."
    assert said[-1].startswith("seams: 2 runs were trained and are in ")


def test_an_address_where_nobody_answers(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    pytest.importorskip("distributed", reason="needs the extra `cluster`")
    monkeypatch.setattr(cluster, "_ANSWER_SECONDS", 0.5)
    assert main(["sweep", *SMALL, "--scheduler", "tcp://127.0.0.1:9"]) == 1
    assert capsys.readouterr().err == (
        "seams: No dask scheduler answers at tcp://127.0.0.1:9: start one with `dask scheduler`.\n"
    )
