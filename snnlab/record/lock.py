"""One process trains in a run's folder, and no other at the same time; a folder that is written to holds no links."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from snnlab.errors import RecordError


def require_no_links(folder: Path) -> None:
    """Raise if something in a folder is a link, or neither a file nor a folder; the folder itself may be linked.

    Args:
        folder: Of a run, a search or a suite, or one that is not there yet. Other runs in it are looked at by whoever
            writes them.

    Raises:
        RecordError: naming the first one.
    """
    for entry in _entries(folder):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            what = "a link" if entry.is_symlink() else "neither a file nor a folder"
            raise RecordError(entry.path, f"is {what}, and nothing is written through it", "remove it")


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as found:
        for entry in sorted(found, key=lambda one: one.name):
            yield entry
            # Folders of a run's own, and of a search's; those of further runs hold a page, and are runs of their own.
            if entry.is_dir(follow_symlinks=False) and not Path(entry.path, "config.yaml").exists():
                yield from _entries(Path(entry.path))


_log = logging.getLogger(__name__)
LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder; the lock ends with this process, however that ends.

    Raises:
        RecordError: if another process trains in it, it holds links, or it cannot be written.
    """
    require_no_links(folder)
    path = folder / LOCK
    lock = FileLock(path)
    try:
        path.open("a").close()  # or FileLock would make the folder
    except OSError as error:
        raise RecordError(folder, f"cannot be written ({error.strerror})") from error
    try:
        lock.acquire(timeout=0.2)  # one that its owner removes meanwhile is opened anew
        of_this_process = path.stat()
    except Timeout as error:
        raise RecordError(folder, "another process trains in it at this moment") from error
    except OSError as error:
        _log.warning("%s cannot be locked (%s): do not train in it twice at once", folder, error.strerror)
        yield
        return
    try:
        yield
    finally:
        # Of the next process, which may have its own file there by now, the lock is left alone.
        if path.exists() and path.stat().st_ino == of_this_process.st_ino:
            path.unlink(missing_ok=True)  # while it is held: who waits for it sees that it is gone
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return whether another process trains in a folder at this moment."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with FileLock(folder / LOCK).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False
