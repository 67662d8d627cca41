"""What `seams.paper.results` has written, read and checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seams.files import publish, scratch
from seams.paper.gallery import image_bytes
from seams.project import project_root
from seams.training.record import Imported
from seams.training.runs import parse

__all__ = [
    "PROFILES",
    "RECORDS",
    "VERDICTS",
    "Result",
    "import_figures",
    "read_result",
    "read_results",
]

_FIGURE_FILES = (
    "numbers.json",
    "gallery.json",
    "film.json",
    "*.svg",
    "*.png",
)  # that the record keeps

PROFILES = ("smoke", "quick", "desk", "paper")  # a profile only chooses numbers
RECORDS = ("paper", "desk")  # profiles of runs of record, the better one first

VERDICTS = {  # verdict of a claim, and the class that the style sheet colours
    "supported": "supported",
    "not supported": "not-supported",
    "not testable at this scale": "not-testable",
}


@dataclass(frozen=True)
class Result:
    """What one executed notebook left behind."""

    name: str  # as in "fig05"
    profile: str  # one of PROFILES
    folder: Path
    numbers: Mapping[str, Any]  # content of numbers.json
    images: tuple[Path, ...]  # one file for each stem, SVG before PNG, `figure` first
    notebook: Path | None  # executed; None if it was not kept

    @property
    def claims(self) -> list[dict[str, Any]]:
        """The claims tested, in the notebook's order."""
        return self.numbers["claims"]


def read_results(
    results: Path | str, record: Path | str | None = None
) -> dict[tuple[str, str], Result]:
    """Results by name and profile, the record's where absent; `ValueError` for a malformed one."""
    found: dict[tuple[str, str], Result] = {}
    figures = Path(record or project_root() / "record") / "figures"
    for parent, profile in [(figures, ""), *((Path(results) / p, p) for p in PROFILES)]:
        # A name with a dot before it is a folder that is still being written.
        for numbers in sorted(parent.glob("[!.]*/numbers.json")):
            result = read_result(numbers.parent, profile)
            found[result.name, result.profile] = result
    return dict(sorted(found.items()))


def _read_numbers(path: Path, name: str, profile: str) -> dict[str, Any]:
    try:
        numbers = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"`numbers.json` must be JSON; {path} is not ({error}). Run its notebook again."
        ) from error
    wanted = {"name": str, "parameters": dict, "values": dict, "claims": list, "runs": dict}
    for key, kind in {**wanted, "environment": dict}.items():
        if not isinstance(numbers, dict) or not isinstance(numbers.get(key), kind):
            raise ValueError(
                f"`numbers.json` must hold {key!r} as a {kind.__name__}; {path} does not. "
                "Run its notebook again."
            )
    profile = profile or next((p for p in RECORDS if p == numbers.get("profile")), RECORDS[0])
    if (numbers["name"], numbers.get("profile")) != (name, profile):
        raise ValueError(
            f"`numbers.json` must name its own folder, {name!r} in profile {profile!r}; "
            f"{path} says {numbers['name']!r} in {numbers.get('profile')!r}. Was it moved?"
        )
    for claim in numbers["claims"]:
        if not isinstance(claim, dict):
            raise ValueError(f"A claim must be a table of names; {path} has {claim!r}.")
        if claim.get("verdict") not in VERDICTS or not {"id", "statement"} <= claim.keys():
            raise ValueError(
                f"A claim must have an id, a statement and a verdict among {', '.join(VERDICTS)}; "
                f"{path} has {claim.get('id')!r} with {claim.get('verdict')!r}."
            )
    return numbers


def read_result(folder: Path, profile: str = "") -> Result:
    """What one notebook has written, in the profile given or one of `RECORDS`."""
    numbers = _read_numbers(folder / "numbers.json", folder.name, profile)
    notebook = folder / "notebook.ipynb"
    if notebook.is_file():
        _check_notebook(notebook)
    return Result(
        name=folder.name,
        profile=numbers["profile"],
        folder=folder,
        numbers=numbers,
        images=_images(folder),
        notebook=notebook if notebook.is_file() else None,
    )


def _images(folder: Path) -> tuple[Path, ...]:
    """One file for each stem, the sharper kind; `figure` first."""
    by_stem = {path.stem: path for kind in ("png", "svg") for path in folder.glob(f"*.{kind}")}
    return tuple(
        by_stem[stem] for stem in sorted(by_stem, key=lambda stem: (stem != "figure", stem))
    )


def _check_notebook(path: Path) -> None:
    # Sphinx shows a stored error without a warning, so the book itself has to refuse it.
    for index, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        for output in cell.get("outputs", ()):
            if output.get("output_type") == "error":
                raise ValueError(
                    f"A notebook in the book must have run to its end; cell {index} of {path} "
                    f"stores {output.get('ename', 'an error')}. Run it again."
                )


def import_figures(results: Path, record: Path) -> Imported:
    """Take figures and numbers into the record, not the notebooks; if one is refused, none."""
    folders = sorted(path.parent for path in results.glob("[!.]*/numbers.json"))
    if not folders:
        raise ValueError(f"There are no figures in {results}: run notebooks in a profile first.")
    for folder in folders:
        numbers = parse("numbers.json", (folder / "numbers.json").read_bytes())
        if numbers.get("profile") not in RECORDS:
            raise ValueError(
                f"Figures of record are of the profile {' or '.join(RECORDS)}; {folder.name} is "
                f"of {numbers.get('profile')!r}."
            )
        if read_result(folder).numbers["environment"].get("dirty"):
            raise ValueError(
                f"{folder.name} was drawn with uncommitted changes: commit, and run it again."
            )
    taken = {folder: _contents(folder) for folder in folders}
    names: dict[str, list[str]] = {"added": [], "replaced": [], "known": []}
    for folder, contents in taken.items():
        target = record / folder.name
        there = {path.name: path.read_bytes() for path in target.glob("*")}
        kind = "known" if there == contents else "replaced" if there else "added"
        names[kind].append(folder.name)
        if kind == "known":
            continue
        new = scratch(record)
        for name, content in contents.items():
            (new / name).write_bytes(content)
        publish(new, target)
    return Imported(**{kind: tuple(found) for kind, found in names.items()})


def _contents(folder: Path) -> dict[str, bytes]:
    """What the record keeps of a figure; `ValueError` for a link, or another thing than named."""
    contents = {}
    for path in sorted(path for kind in _FIGURE_FILES for path in folder.glob(kind)):
        if path.is_symlink():
            raise ValueError(f"{path} is a link: the record takes files alone.")
        pictured = path.suffix in (".svg", ".png")
        contents[path.name] = image_bytes(path) if pictured else path.read_bytes()
    return contents
