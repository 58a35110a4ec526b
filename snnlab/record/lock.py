"""One process trains in a run's folder, and no other at the same time."""

from __future__ import annotations

import errno
import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    try:
        path.touch()
    except OSError as error:
        raise RecordError(f"{folder}: cannot be written: {error.strerror}") from error
    with path.open("w") as file:
        try:
            # Not flock, whose lock the workers of a killed process would keep for some seconds.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise RecordError(f"{folder}: another process trains in it at this moment") from error
            _log.warning("%s cannot be locked (%s): do not train in it twice at once", folder, error.strerror)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


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
