"""How files and whole folders get to their places, so that a reader never sees a part.

What is made is called `.new-PID-HOST-TOKEN`, and what it replaces `.old-PID-HOST-TOKEN-NAME`. A
process that is killed leaves them; `clean` puts old ones back that nothing has replaced, and
removes the rest.
"""

import ctypes
import errno
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["clean", "making", "partial", "publish", "scratch", "write"]

_FOREIGN_SECONDS = 86_400.0  # age at which what another, unseen machine made counts as left


def write(path: Path, content: bytes | str) -> None:
    """Put a file in place whole, and on the disk; text as UTF-8, permissions by the umask."""
    made = partial(path)
    try:
        with made.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except BaseException:  # an interruption too
        made.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def partial(path: Path) -> Path:
    """Where a file may be made that will be moved to `path`."""
    return path.with_name(_name("new"))


@contextmanager
def making(parent: Path) -> Iterator[Path]:
    """A new folder to be filled and published, gone at the end; first what the dead left goes."""
    clean(parent)
    folder = scratch(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def scratch(parent: Path) -> Path:
    """A new folder to be filled and published, in a folder that is made if it is absent."""
    folder = parent / _name("new")
    folder.mkdir(parents=True)
    return folder


def publish(source: Path, target: Path) -> None:
    """Move a finished folder of the same file system over what is in place, even as others do."""
    for path in (*source.rglob("*"), source):
        _sync(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and _exchanged(source, target):
        shutil.rmtree(source, ignore_errors=True)
        _sync(target.parent)
        return
    while True:
        old = target.with_name(f"{_name('old')}-{target.name}")
        try:
            with suppress(FileNotFoundError):
                target.rename(old)
            source.rename(target)
        except BaseException as error:  # an interruption too
            if old.exists() and not target.exists():
                old.rename(target)
            if getattr(error, "errno", None) not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            # another writer was faster: replace what it has put there
        else:
            _sync(target.parent)
            return
        finally:
            shutil.rmtree(old, ignore_errors=True)


def clean(folder: Path) -> None:
    """Remove what processes that are gone have left half made in a folder."""
    for path in (*folder.glob(".new-*"), *folder.glob(".old-*")):
        made = re.fullmatch(r"\.(?:new|old)-(\d+)-([^-]*)-[0-9a-f]{8}(?:-(.+))?", path.name)
        pid, host, name = made.groups() if made else ("", "", None)
        with suppress(OSError):  # another process cleans too, or may and we may not
            if not _is_gone(path, pid, host):
                continue
            if name and not path.with_name(name).exists():
                path.rename(path.with_name(name))
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _exchanged(source: Path, target: Path) -> bool:
    """Let them change places, so that there is always one of them; False where that cannot be."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):  # not Linux
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    return renameat2(here, os.fsencode(source), here, os.fsencode(target), exchange) == 0


def _name(kind: str) -> str:
    return f".{kind}-{os.getpid()}-{_host()}-{uuid.uuid4().hex[:8]}"


def _host() -> str:
    return socket.gethostname().replace("-", "_")


def _is_gone(path: Path, pid: str, host: str) -> bool:
    if not pid or host != _host():
        return time.time() - path.stat().st_mtime > _FOREIGN_SECONDS
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's
        pass
    with suppress(OSError):  # where there is no /proc; a zombie, which in a container nobody reaps
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] in (b"Z", b"X")
    return False


def _sync(path: Path) -> None:
    """To the disk; a system that cannot do that for a folder goes without."""
    with suppress(OSError):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
