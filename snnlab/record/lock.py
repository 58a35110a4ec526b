"""One process trains in a run's folder, and no other at the same time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from snnlab.errors import RecordError
from snnlab.record.links import require_no_links

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
        raise RecordError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        lock.acquire(timeout=0.2)  # one that its owner removes meanwhile is opened anew
        of_this_process = path.stat()
    except Timeout as error:
        raise RecordError(f"{folder}: another process trains in it at this moment") from error
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
