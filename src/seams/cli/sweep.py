"""`seams sweep`: train the runs that notebooks will load, after showing what that takes."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seams.project import record_folder, shown

__all__ = ["add_sweep"]


def add_sweep(commands: Any) -> None:
    """Teach the command line this command.

    Args:
        commands: What `argparse.ArgumentParser.add_subparsers` returned.
    """
    sweep = commands.add_parser(
        "sweep",
        help="train what notebooks will load, here or on a cluster",
        description="Train the runs that notebooks need and do not find. Shows a plan first.",
        epilog="For example: seams sweep fig05 -p 'betas=[0.5, 1.0]' -p \"compare=''\" "
        "--stop-after 9m",
    )
    sweep.add_argument("name", nargs="+", help="short names of notebooks, such as fig05")
    sweep.add_argument(
        "-p",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter of the notebooks, such as 'betas=[2.5]'; may be repeated",
    )
    sweep.add_argument("--profile", help="of params.yaml: smoke, quick, desk or paper")
    sweep.add_argument("--device", choices=["cpu", "cuda"], help="default: a GPU if there is one")
    sweep.add_argument(
        "--workers",
        metavar="N",
        type=int,
        help="stacks trained at once; default: one a core, 1 on a GPU, at most 8 batch jobs",
    )
    sweep.add_argument("--store", metavar="DIR", type=Path, help="default: .runs, or $SEAMS_STORE")
    sweep.add_argument("--plan", action="store_true", help="show the plan, and train nothing")
    sweep.add_argument("--yes", action="store_true", help="start even what takes over an hour")
    sweep.add_argument("--retrain", action="store_true", help="train anew what is stored, too")
    sweep.add_argument(
        "--stop-after", metavar="TIME", help="end before 90s, 9m or 1h; the same call goes on"
    )
    sweep.add_argument("--engine", choices=["local", "dask"], help="default: local")
    sweep.add_argument("--scheduler", metavar="ADDRESS", help="of dask, such as tcp://host:8786")
    sweep.add_argument(
        "--slurm", metavar="KEY=VALUE,...", help="of dask_jobqueue.SLURMCluster: queue, cores, ..."
    )
    sweep.add_argument(
        "--cluster", metavar="YAML", type=Path, help="name and keywords of a dask_jobqueue cluster"
    )
    sweep.set_defaults(command=_sweep)


def _sweep(chosen: argparse.Namespace) -> int:
    import signal
    import time

    started = time.time()
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
    limit = plan.parse_seconds(chosen.stop_after) if chosen.stop_after else None
    target = cluster.target(chosen.engine, chosen.scheduler, chosen.slurm, chosen.cluster)
    device = chosen.device or ("cpu" if target else sweep.default_device())
    if device == "cuda" and not target and sweep.default_device() != "cuda":
        raise ValueError("There is no CUDA device here: leave --device out, or name a cluster.")
    configs = [config for name in chosen.name for config in _wanted(name, chosen)]
    alone = chosen.retrain or any(
        figures.FIGURES[n].weights for n in chosen.name if n in figures.FIGURES
    )
    store = Store(chosen.store, record=None if alone else record_folder())
    deadline = started + limit if limit else None
    there = cluster.count(target) if target else sweep.default_workers(device)
    workers = chosen.workers or there or None
    todo = plan.make(
        configs,
        store,
        device,
        workers,
        retrain=chosen.retrain,
        deadline=deadline,
        remote=bool(target),
    )
    print(todo, flush=True)
    if chosen.plan or not todo.jobs:
        return 0
    if target and target.address and not there:
        print(f"No worker is at {target.address} yet: the sweep waits for `dask worker`s.")
    if todo.needs_consent(limit) and not chosen.yes:
        raise ValueError("--yes starts what takes over an hour; --stop-after does a part of it.")
    title = f"{todo.runs - todo.stored} of {todo.runs} runs"
    try:
        if target:
            with cluster.connect(target, todo.workers, device, store) as client:
                sweep.train_jobs(todo.jobs, cluster.engine(client, store, device, deadline), title)
        else:
            engine = local.engine(store, device, todo.workers, deadline)
            sweep.train_jobs(todo.jobs, engine, title)
    except sweep.Interrupted:
        if chosen.retrain:
            raise
        print(_standing(todo.jobs, store), file=sys.stderr)
        return 130
    print(_standing(todo.jobs, store))
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
    """What became of the runs that were to be trained."""
    from seams.sweep.jobs import finished, steps_done

    runs = [config for job in jobs for config in job.configs]
    left = [config for config in runs if finished(config, store) is None]
    if not left:
        return f"seams: {len(runs)} runs were trained and are in {shown(store.root)}"
    begun = len(steps_done(left, store))
    return (
        f"seams: stopped; {len(runs) - len(left)} runs were finished, {len(left)} are left "
        f"({begun} begun); the same command goes on"
    )
