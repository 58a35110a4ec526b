"""One process trains in a run's folder, and no other at the same time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snnlab.errors import RecordError

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder; the lock ends with this process, however that ends.

    Raises:
        RecordError: if another process trains in it, or it cannot be written.
    """
    path = folder / LOCK
    try:
        path.touch()
    except OSError as error:
        raise RecordError(f"{folder}: cannot be written: {error.strerror}") from error
    with path.open("w") as file:
        try:
            # Not flock, whose lock the workers of a killed process would keep for some seconds.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise RecordError(f"{folder}: another process trains in it at this moment") from error
        yield
