"""`seams sweep` trains the runs that notebooks will load, `seams store` looks after them."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seams.project import record_folder, shown

__all__ = ["add_sweep"]

_PACK_SECONDS = 10.0  # of a lease, kept for packing


def add_sweep(commands: Any) -> None:
    """Teach the command line these commands; takes what `add_subparsers` of argparse returned."""
    sweep = commands.add_parser(
        "sweep",
        help="train what notebooks will load, here or on a cluster",
        description="Train the runs that notebooks need and do not find. Shows a plan first.",
        epilog="For example: seams sweep fig05 -p 'betas=[0.5, 1.0]' --profile smoke",
    )
    add = sweep.add_argument
    add("name", nargs="+", help="short names of notebooks, such as fig05")
    add(
        "-p",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter of the notebooks, such as 'betas=[2.5]'; may be repeated",
    )
    add("--profile", help="of params.yaml: smoke, quick, desk or paper")
    add("--device", choices=["cpu", "cuda"], help="default: a GPU if there is one")
    workers = "stacks trained at once; default: one a core, 1 on a GPU, at most 8 batch jobs"
    add("--workers", metavar="N", type=int, help=workers)
    add("--store", metavar="DIR", type=Path, help="default: .runs, or $SEAMS_STORE")
    add("--plan", action="store_true", help="show the plan, and train nothing")
    add("--yes", action="store_true", help="start even what takes over an hour")
    add("--retrain", action="store_true", help="train anew what is stored, too")
    stop = "end before 90s, 9m or 1h; the same call goes on"
    add("--stop-after", metavar="TIME", help=stop)
    pack = "leave what is finished as at most eight files of 16 MB, for `seams record import`"
    add("--pack", metavar="DIR", type=Path, help=pack)
    add("--scheduler", metavar="ADDRESS", help="of dask, such as tcp://host:8786")
    cluster = "name and keywords of a dask_jobqueue cluster"
    add("--cluster", metavar="YAML", type=Path, help=cluster)
    add("--slurm", help=argparse.SUPPRESS)
    sweep.set_defaults(command=_sweep)

    store = commands.add_parser("store", help="look after a run store")
    actions = store.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="read every file of it, and set aside what is damaged",
        description="Compare every file of a run store with its checksum. What is damaged is set "
        "aside in its folder .damaged, and trained again when it is asked for.",
    )
    check.add_argument("folder", nargs="?", type=Path, help="default: .runs, or $SEAMS_STORE")
    check.set_defaults(command=_check)


def _check(chosen: argparse.Namespace) -> int:
    from seams.training import Store

    if chosen.folder and not (chosen.folder / "store.json").is_file():
        raise ValueError(f"There is no run store in {chosen.folder}.")
    store = Store(chosen.folder)
    good, problems = store.check()
    for problem in problems:
        print(problem)
    print(f"seams: {good} runs and checkpoints in {shown(store.root)} are well")
    return 1 if problems else 0


def _sweep(chosen: argparse.Namespace) -> int:
    import signal
    import time

    started = time.monotonic()
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return _plan_and_train(chosen, started)
    finally:
        signal.signal(signal.SIGTERM, before)


def _plan_and_train(chosen: argparse.Namespace, started: float) -> int:
    from seams import sweep
    from seams.paper import figures
    from seams.sweep import cluster, local, plan
    from seams.training import Store

    if chosen.workers is not None and chosen.workers < 1:
        raise ValueError(f"`--workers` must be 1 or more; got {chosen.workers}.")
    if chosen.stop_after and chosen.retrain:
        raise ValueError("--retrain starts anew each time and cannot go on: leave one out.")
    if chosen.slurm is not None:
        raise ValueError(
            "--slurm has gone: write `SLURMCluster:` and below it each keyword as `  key: value` "
            "into a file, and name it with --cluster FILE."
        )
    limit = plan.parse_seconds(chosen.stop_after) if chosen.stop_after else None
    target = cluster.target(chosen.scheduler, chosen.cluster)
    device = chosen.device or ("cpu" if target else sweep.default_device())
    if device == "cuda" and not target and sweep.default_device() != "cuda":
        raise ValueError("There is no CUDA device here: leave --device out, or name a cluster.")
    configs = [config for name in chosen.name for config in _wanted(name, chosen)]
    alone = chosen.retrain or any(
        figures.FIGURES[n].weights for n in chosen.name if n in figures.FIGURES
    )
    store = Store(chosen.store, record=None if alone else record_folder())
    deadline = started + limit - _PACK_SECONDS * bool(chosen.pack) if limit else None
    there = cluster.count(target) if target else sweep.default_workers(device)
    todo = plan.make(
        configs,
        store,
        device,
        chosen.workers or there or None,
        retrain=chosen.retrain,
        deadline=deadline,
        remote=bool(target),
    )
    print(todo, flush=True)
    if chosen.plan or not todo.jobs:
        return 0 if chosen.plan else _pack(configs, store, chosen.pack)
    if target and target.address and not there:
        print(f"No worker is at {target.address} yet: the sweep waits for `dask worker`s.")
    if todo.needs_consent(limit) and not chosen.yes:
        raise ValueError("--yes starts what takes over an hour; --stop-after does a part of it.")
    title = f"{todo.runs - todo.stored} of {todo.runs} runs"
    try:
        if target:
            with cluster.connect(target, todo.workers, device, store) as client:
                engine = cluster.engine(client, store, device, deadline)
                sweep.train_jobs(todo.jobs, engine, store, title, deadline)
        else:
            engine = local.engine(store, device, todo.workers, deadline)
            sweep.train_jobs(todo.jobs, engine, store, title, deadline)
    except sweep.Interrupted:
        if chosen.retrain:
            raise
        print(_standing(todo.jobs, store), file=sys.stderr)
        return 130
    finally:
        _pack(configs, store, chosen.pack)
    print(_standing(todo.jobs, store))
    return 0


def _pack(configs: Sequence[Any], store: Any, folder: Path | None) -> int:
    from seams.training.record import pack_runs

    if folder:
        found = [run for c in sorted(configs, key=lambda c: c.seed) if (run := store.find(c))]
        runs = [run for run in dict.fromkeys(found) if run.has_weights]
        packed, decoders = pack_runs(runs, folder)
        print(
            f"seams: {packed} of {len(runs)} finished runs, {decoders} of them with decoders, "
            f"are in {shown(folder)}: `seams record import {shown(folder)}` takes them"
        )
    return 0


def _wanted(name: str, chosen: argparse.Namespace) -> list[Any]:
    """Runs of one notebook, with the values that `seams run` would give it."""
    from seams.paper import figures, notebook

    known = notebook.available()
    names = [n for n, figure in figures.FIGURES.items() if figure.runs and n in known]
    if name not in names:
        close = difflib.get_close_matches(name, names, 1)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(names)}."
        raise ValueError(f"No notebook {name!r} has runs to train. {hint}")
    parameters = notebook.parameters_of(known[name])
    profile = chosen.profile or notebook.default_profile()
    values = {n: parameter.default for n, parameter in parameters.items()}
    values |= notebook.check(notebook.profile_of(name, profile), parameters, "params.yaml")
    values |= notebook.check(notebook.parse(chosen.p), parameters, name)
    return figures.FIGURES[name].runs(**values)  # type: ignore[misc]  # not None: see above


def _standing(jobs: Sequence[Any], store: Any) -> str:
    from seams.sweep.jobs import unfinished

    runs = [config for job in jobs for config in job.configs]
    left = unfinished(runs, store)
    if not left:
        return f"seams: {len(runs)} runs were trained and are in {shown(store.root)}"
    begun = sum(step > 0 for step in left.values())
    return (
        f"seams: stopped; {len(runs) - len(left)} runs were finished, {len(left)} are left "
        f"({begun} begun); the same command goes on"
    )
