"""How files and whole folders get to their places, so that a reader never sees a part."""

import shutil
from pathlib import Path

__all__ = ["publish"]


def publish(source: Path, target: Path) -> None:
    """Move a finished folder into place, replacing what was there.

    Args:
        source: A complete folder on the same file system.
        target: Where readers look for it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    old = source.with_name(f"{source.name}.old")
    if target.exists():
        target.rename(old)
    try:
        source.rename(target)
    except BaseException:  # an interruption too
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
