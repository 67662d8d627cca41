"""What `seams.paper.results` has written, read and checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seams.project import project_root
from seams.training.record import Imported, move, scratch

__all__ = [
    "PROFILES",
    "RECORDS",
    "VERDICTS",
    "Result",
    "import_figures",
    "read_result",
    "read_results",
]

_FIGURE_FILES = ("numbers.json", "gallery.json", "*.svg", "*.png")  # that the record keeps

PROFILES = ("smoke", "quick", "desk", "paper")
"""A profile only chooses numbers."""

RECORDS = ("paper", "desk")
"""Profiles of runs of record, the better one first."""

VERDICTS = {
    "supported": "supported",
    "not supported": "not-supported",
    "not testable at this scale": "not-testable",
}
"""Verdict of a claim, and the class that the style sheet colours."""


@dataclass(frozen=True)
class Result:
    """What one executed notebook left behind.

    Attributes:
        name: Name of the figure, as in `fig05`.
        profile: One of `PROFILES`.
        folder: Where it lies.
        numbers: Content of `numbers.json`.
        images: The figures, one file for each stem, SVG before PNG, `figure` first.
        notebook: The executed notebook, or None if it was not kept.
    """

    name: str
    profile: str
    folder: Path
    numbers: Mapping[str, Any]
    images: tuple[Path, ...]
    notebook: Path | None

    @property
    def claims(self) -> list[dict[str, Any]]:
        """The claims tested, in the notebook's order."""
        return self.numbers["claims"]


def read_results(
    results: Path | str, record: Path | str | None = None
) -> dict[tuple[str, str], Result]:
    """Everything that notebooks have written, by name and profile.

    A `numbers.json` that is not what a notebook writes, or a notebook that stores an error, is
    refused with a `ValueError`.

    Args:
        results: Folder of `PROFILE/NAME/numbers.json`.
        record: Folder whose `figures/NAME/` stands in for `PROFILE/NAME/` where that is absent,
            with the profile that its numbers name; default `record` in the project.

    Returns:
        One entry for each notebook that left a `numbers.json`; empty if none did.
    """
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
    except json.JSONDecodeError as error:
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
        if claim.get("verdict") not in VERDICTS or not {"id", "statement"} <= claim.keys():
            raise ValueError(
                f"A claim must have an id, a statement and a verdict among {', '.join(VERDICTS)}; "
                f"{path} has {claim.get('id')!r} with {claim.get('verdict')!r}."
            )
    return numbers


def read_result(folder: Path, profile: str = "") -> Result:
    """What one notebook has written; `ValueError` if it is not that.

    Args:
        folder: Of its `numbers.json`, under the notebook's name.
        profile: Which it must be of; empty for one of `RECORDS`.

    Returns:
        The result.
    """
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
    """Take figures and numbers that notebooks drew into the record; executed notebooks stay.

    Args:
        results: Folder with a folder for each notebook, `results/desk` or `results/paper`.
        record: Folder of the figures of the record; made if it is absent.

    Returns:
        What was taken.

    Raises:
        ValueError: Something is wrong; nothing was changed.
    """
    folders = sorted(path.parent for path in results.glob("[!.]*/numbers.json"))
    if not folders:
        raise ValueError(f"There are no figures in {results}: run notebooks in a profile first.")
    for folder in folders:
        numbers = json.loads((folder / "numbers.json").read_text())
        if numbers.get("profile") not in RECORDS:
            raise ValueError(
                f"Figures of record are of the profile {' or '.join(RECORDS)}; {folder.name} is "
                f"of {numbers.get('profile')!r}."
            )
        if read_result(folder).numbers["environment"].get("dirty"):
            raise ValueError(
                f"{folder.name} was drawn with uncommitted changes: commit, and run it again."
            )
    names: dict[str, list[str]] = {"added": [], "replaced": [], "known": []}
    for folder in folders:
        target = record / folder.name
        files = sorted(path for kind in _FIGURE_FILES for path in folder.glob(kind))
        contents = {path.name: path.read_bytes() for path in files}
        there = {path.name: path.read_bytes() for path in target.glob("*")}
        kind = "known" if there == contents else "replaced" if there else "added"
        names[kind].append(folder.name)
        if kind == "known":
            continue
        new = scratch(record)
        for name, content in contents.items():
            (new / name).write_bytes(content)
        move(new, target)
    return Imported(**{kind: tuple(found) for kind, found in names.items()})
