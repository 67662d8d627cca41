"""Where the project is on disk."""

import os
from pathlib import Path

__all__ = ["project_root", "record_folder", "shown"]


def project_root() -> Path:
    """The folder that holds `params.yaml`, from here upwards; else the working directory.

    Returns:
        An absolute path. The environment variable SEAMS_ROOT overrides the search.
    """
    if chosen := os.environ.get("SEAMS_ROOT"):
        return Path(chosen).resolve()
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "params.yaml").is_file()), here)


def record_folder() -> Path:
    """The runs of the record.

    Returns:
        `record/runs` under the project; it need not exist.
    """
    return project_root() / "record" / "runs"


def shown(path: Path) -> Path:
    """A path as it is told to the user: relative to the working directory where that is shorter.

    Args:
        path: Any.

    Returns:
        The path, or what of it lies below the working directory.
    """
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
