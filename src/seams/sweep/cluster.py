"""Jobs on other machines, through dask.distributed (extra `cluster`).

Dask gives stacks to workers of one thread, and to another if one dies; dask-jobqueue starts them
through a batch system. All share the run store, so a stack that starts again goes on from its
checkpoint. How many threads a stack computes with is for a worker's OMP_NUM_THREADS to say.
"""

import importlib
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

from seams import data as datasets
from seams.sweep.jobs import Engine, Job, Outcome, Place, Report, Show, execute, label, remaining
from seams.training import Store

__all__ = ["Target", "connect", "count", "engine", "target"]

_ANSWER_SECONDS = 20.0  # within which a scheduler has to answer
_POLL_SECONDS = 1.0  # between looks at what is done, and at whether to stop
_REFILL_SECONDS = 30.0  # between looks at whether a batch job has ended and must be sent again


@dataclass(frozen=True)
class Target:
    """Where the workers are: at a scheduler's address, or started by a class of dask_jobqueue."""

    address: str = ""
    kind: str = ""
    keywords: Mapping[str, Any] = field(default_factory=dict)


def target(scheduler: str | None = None, file: Path | None = None) -> Target | None:
    """From an address, or YAML: a class of dask_jobqueue over its keywords. None: stay here."""
    if scheduler is not None and file is not None:
        raise ValueError("--scheduler and --cluster exclude each other: leave one out.")
    if scheduler is not None:
        if not re.fullmatch(r"[a-z]+://\S+:\d+", scheduler):
            raise ValueError(
                f"--scheduler takes an address such as tcp://host:8786; got {scheduler!r}."
            )
        return Target(address=scheduler)
    return _read(file) if file is not None else None


def _plain(value: Any) -> Any:
    """A text as an int where it is one; never as anything that YAML makes of 12:00:00."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return int(value) if value.isdecimal() else value


def _read(file: Path) -> Target:
    import yaml

    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.load(text, yaml.BaseLoader)  # noqa: S506  (makes only texts)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"--cluster: cannot read {file} ({type(error).__name__}).") from None
    if isinstance(content, dict) and len(content) == 1:
        ((kind, keywords),) = content.items()
        if isinstance(keywords, dict):
            return Target(kind=kind, keywords=_plain(keywords))
    raise ValueError(
        f"--cluster: {file} must hold the name of one class of dask_jobqueue, such as "
        "SLURMCluster, over its keywords."
    )


def count(target: Target) -> int:
    """Workers that a running scheduler has now; 0 before a batch system is asked for any."""
    if not target.address:
        return 0
    with _client(target.address) as client:
        return len(_workers(client))


@contextmanager
def connect(target: Target, workers: int, device: str, store: Store) -> Iterator[Any]:
    """A dask client, to so many workers if it starts any; what was started is ended with it."""
    if not target.address:
        with _batch(target, device, store) as cluster, _dask().Client(cluster) as client:
            cluster.scale(workers)
            yield client
        return
    with _client(target.address) as client:
        known = _workers(client).values()
        if device == "cuda" and known and not any("GPU" in w["resources"] for w in known):
            raise ValueError(
                f"No worker of {target.address} offers a GPU: start them with "
                "`dask worker ... --nthreads 1 --resources GPU=1`, one for each."
            )
        yield client


def _workers(client: Any) -> dict[str, Any]:
    return client.scheduler_info(n_workers=-1)["workers"]


def _dask(name: str = "distributed") -> Any:
    """A package of the extra `cluster`, which not every machine has."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise RuntimeError(f"A cluster needs dask ({error}): pip install '.[cluster]'.") from None


def _client(address: str) -> Any:
    distributed = _dask()
    try:
        return distributed.Client(address, timeout=_ANSWER_SECONDS)
    except (OSError, ValueError):
        raise RuntimeError(
            f"No dask scheduler answers at {address}: start one with `dask scheduler`."
        ) from None


def _batch(target: Target, device: str, store: Store) -> Any:
    """A cluster of dask_jobqueue, each of its workers with one thread of dask."""
    dask_jobqueue = _dask("dask_jobqueue")
    kinds = {c.__name__: c for c in dask_jobqueue.JobQueueCluster.__subclasses__()}
    if target.kind not in kinds:
        raise ValueError(
            f"dask_jobqueue has {', '.join(sorted(kinds))}; got {target.kind!r}: name one of them."
        )
    keywords = {
        "processes": 1,
        "log_directory": str(store.root.resolve() / "cluster-logs"),
        "scheduler_options": {"dashboard_address": ":0"},
        **target.keywords,
    }
    threads = keywords.get("cores", 1) // keywords["processes"]
    before = keywords.get("job_script_prologue", [])
    keywords["job_script_prologue"] = [f"export OMP_NUM_THREADS={max(1, threads)}", *before]
    extra = [*keywords.get("worker_extra_args", []), "--nthreads", "1"]
    keywords["worker_extra_args"] = extra + ["--resources", "GPU=1"] * (device == "cuda")
    try:
        return kinds[target.kind](**keywords)
    except (TypeError, ValueError) as error:
        problem = str(error).splitlines()[0].removesuffix(", for example:")
        raise ValueError(f"{target.kind}: {problem}") from None


def engine(client: Any, store: Store, device: str, deadline: float | None = None) -> Engine:
    """Executes jobs on the workers of a client, before a `time.monotonic()` if one is given."""
    shared = Store(store.root.resolve(), store.record and store.record.resolve())
    place = Place(shared, device, deadline=deadline)

    def run(jobs: Sequence[Job], show: Show, stop: Any) -> Outcome:
        token = shared.root / f".sweep-{uuid.uuid4().hex}"
        token.touch()  # a worker that does not see it has another store
        try:
            return _Sweep(client, place, token, show).run(jobs, stop)
        finally:
            token.unlink(missing_ok=True)

    return run


class _Sweep:
    """The jobs of one call, and what is known of them."""

    def __init__(self, client: Any, place: Place, token: Path, show: Show) -> None:
        self.client, self.place, self.token, self.show = client, place, token, show
        self.asked = _dask().Event(token.name, client=client)
        self.stopping = False
        self.jobs: list[Job] = []
        self.running: dict[Any, int] = {}
        self.last: dict[int, Report] = {}  # of those that have begun

    def submit(self, jobs: Sequence[Job]) -> None:
        end = self.place.deadline
        until = end and time.time() + end - time.monotonic()  # machines do not share the latter
        data = str(datasets.folder().resolve())
        for number, job in enumerate(jobs, len(self.jobs)):
            self.jobs.append(job)
            place = replace(self.place, deadline=until)
            if place.device != "cpu":  # what was measured is of this machine's
                job = replace(job, cost=None)
            arguments = number, job, place, str(self.token), data
            key = f"{self.token.name[1:]}-{number}"
            resources = {"GPU": 1} if self.place.device == "cuda" else {}
            future = self.client.submit(_work, *arguments, key=key, resources=resources)
            self.running[future] = number

    def run(self, jobs: Sequence[Job], stop: Any) -> Outcome:
        wait, outcome = _dask().wait, Outcome()
        heard: SimpleQueue[dict[str, Any]] = SimpleQueue()
        topic = self.token.name
        self.client.subscribe_topic(topic, lambda event: heard.put(event[1]))
        self.submit(jobs)
        refilled = time.monotonic()
        try:
            while self.running and not self.is_abandoned():
                while not heard.empty():
                    self.hear(**heard.get())
                if stop.is_set() or self.place.over(0.0):
                    self.ask_to_stop()
                elif time.monotonic() - refilled > _REFILL_SECONDS:
                    if (cluster := self.client.cluster) is not None:  # some jobs may have ended
                        cluster.scale(len(cluster.worker_spec))
                    refilled = time.monotonic()
                with suppress(TimeoutError):
                    for future in wait(list(self.running), _POLL_SECONDS, "FIRST_COMPLETED").done:
                        outcome += self.collect(future, self.running.pop(future))
        finally:
            if self.client.status == "running":
                self.asked.set()
                self.client.cancel(list(self.running))
                self.client.unsubscribe_topic(topic)
        return outcome

    def hear(self, number: int, step: int, distortion: float, rate: float, **_: str) -> None:
        """Show what a worker tells of a stack; news may come later than its result."""
        if number in self.running.values():
            self.last[number] = Report(self.jobs[number].configs, step, distortion, rate)
            self.show(self.last[number])

    def ask_to_stop(self) -> None:
        """Let stacks under way keep a checkpoint, and forget those that wait for a worker."""
        if not self.stopping:
            self.stopping = True
            self.asked.set()
        for future, number in list(self.running.items()):
            if number not in self.last:
                self.running.pop(future)
                future.cancel()

    def is_abandoned(self) -> bool:
        """Whether nobody is left who could end what was asked to stop, or no time."""
        late = self.place.deadline is not None and time.monotonic() > self.place.deadline
        return self.stopping and (late or not _workers(self.client))

    def collect(self, future: Any, number: int) -> Outcome:
        """Take a finished task; what is left of it is submitted again."""
        from concurrent.futures import CancelledError

        from distributed.scheduler import KilledWorker

        job = self.jobs[number]
        try:
            found = future.result()
        except KilledWorker:
            found = Outcome(again=self.after_death(job))
        except CancelledError:
            raise RuntimeError(
                "The dask scheduler has ended. What is finished is stored: call again to go on."
            ) from None
        except (ValueError, FileNotFoundError):
            raise
        except Exception as error:
            kind = type(error).__name__
            raise RuntimeError(f"A worker failed with {kind}: {error}") from error
        if not self.stopping:
            self.submit(found.again)
            if not (found.again or found.busy):
                last = self.last.get(number, Report(job.configs, 0))
                self.show(replace(last, step=job.configs[0].steps))
        return replace(found, again=())

    def after_death(self, job: Job) -> tuple[Job, ...]:
        """What is left of a job whose workers died again and again; halved without a progress."""
        parts = remaining(job, job.configs, self.place.store)
        if [part.configs for part in parts] != [job.configs] or parts[0].step > job.step:
            return tuple(parts)
        if len(job.configs) == 1:
            raise RuntimeError(
                f"Worker after worker died of the same run ({label(job.configs[0])}), often for "
                "memory: give them more. What is finished is stored."
            )
        return tuple(job.parts(len(job.configs) // 2))


def _work(number: int, job: Job, place: Place, token: str, data: str) -> Outcome:
    worker, here = _dask().get_worker(), socket.gethostname()
    if not Path(token).exists():
        raise ValueError(
            f"The worker on {here} does not see {place.store.root}: the run store must be on a "
            "file system that all machines share."
        )
    if worker.state.nthreads != 1:
        raise ValueError(
            f"A worker takes one stack at a time; that on {here} has {worker.state.nthreads} "
            "threads. Start it with `--nthreads 1`, and OMP_NUM_THREADS for more cores."
        )
    os.environ.setdefault("SEAMS_DATA", data)
    limit = worker.memory_manager.memory_limit  # None if the worker has none
    end = place.deadline
    place = replace(
        place,
        memory=float(limit) if limit and place.device == "cpu" else None,
        deadline=end and time.monotonic() + end - time.time(),
    )
    topic, told, looked, asked = Path(token).name, 0.0, 0.0, False
    event = _dask().Event(topic)

    def tell(report: Report) -> None:
        nonlocal told
        if time.monotonic() - told > _POLL_SECONDS:
            means = {"distortion": report.distortion, "rate": report.rate}
            worker.log_event(topic, {"number": number, "step": report.step} | means)
            told = time.monotonic()

    def is_set() -> bool:
        nonlocal looked, asked
        if not asked and time.monotonic() - looked > _POLL_SECONDS:
            asked, looked = event.is_set(), time.monotonic()
        return asked

    tell(Report(job.configs, job.step))
    told = 0.0  # the first chunk is news, too
    return execute(job, place, SimpleNamespace(is_set=is_set), tell)
