"""Where the project is on disk, and where what it says of its progress goes."""

import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["progress_stream", "project_root", "record_folder", "say", "shown"]


def project_root() -> Path:
    """The folder of `params.yaml`, from here upwards, else this one; or $SEAMS_ROOT; absolute."""
    if chosen := os.environ.get("SEAMS_ROOT"):
        return Path(chosen).resolve()
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "params.yaml").is_file()), here)


def record_folder() -> Path:
    """The runs of the record: `record/runs` under the project; it need not exist."""
    return project_root() / "record" / "runs"


def shown(path: Path) -> Path:
    """A path as it is told to the user: relative to the working directory if below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def progress_stream() -> Any:
    """The file named in SEAMS_PROGRESS, so that executed notebooks hold none, else stderr."""
    path = os.environ.get("SEAMS_PROGRESS")
    return open(path, "a", encoding="utf-8") if path else sys.stderr  # noqa: SIM115


def say(text: str) -> None:
    """A line where progress goes."""
    stream = progress_stream()
    print(text, file=stream, flush=True)
    if stream is not sys.stderr:
        stream.close()
