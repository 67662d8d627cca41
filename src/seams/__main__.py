"""Command line: `seams run | data | book`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from seams.paths import project_root

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
    run.add_argument("--profile", help="of params.yaml: smoke, quick or paper")
    run.add_argument("-o", metavar="FOLDER", type=Path, help="where the results go")
    run.set_defaults(command=_run)

    data = commands.add_parser("data", help="make the data files")
    data.add_argument("--out", type=Path, help="folder; default `data` under the project")
    data.add_argument(
        "--original",
        type=Path,
        metavar="NPZ",
        help="the original dSprites npz, used after a checksum; default: $SEAMS_DSPRITES if set",
    )
    data.set_defaults(command=_data)

    book = commands.add_parser("book", help="build the book from the results at hand")
    book.add_argument("--out", type=Path, help="folder; default build/book under the project")
    book.add_argument("--profile", help="of params.yaml: smoke, quick or paper")
    book.set_defaults(command=_book)
    return parser


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


def _data(chosen: argparse.Namespace) -> int:
    import os

    from seams import data
    from seams.data import dsprites

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


def _shown(path: Path) -> Path:
    """Relative to the working directory where that is shorter."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


if __name__ == "__main__":
    sys.exit(main())
