"""One process trains in a run's folder, and no other at the same time."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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
    with _opened(path) as file:
        try:
            yield
        finally:
            # Of the next process, which may have its own file there by now, the lock is left alone.
            if _is_at(file, path):
                path.unlink(missing_ok=True)


def _opened(path: Path) -> IO[str]:
    """Return the file with its lock, which is the one that lies there: one that its owner has removed is opened anew.

    Raises:
        RecordError: if another process has it, or it cannot be written.
    """
    while True:
        try:
            file = path.open("w")
        except OSError as error:
            raise RecordError(f"{path.parent}: cannot be written: {error.strerror}") from error
        try:
            # Not flock, whose lock the workers of a killed process would keep for some seconds.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                file.close()
                raise RecordError(f"{path.parent}: another process trains in it at this moment") from error
            _log.warning("%s cannot be locked (%s): do not train in it twice at once", path.parent, error.strerror)
        if _is_at(file, path):
            return file
        file.close()


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_locked(folder: Path) -> bool:
    """Return whether another process trains in a folder at this moment."""
    try:
        with (folder / LOCK).open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    return False
