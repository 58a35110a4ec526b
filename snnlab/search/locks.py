"""Who runs a search at this moment, and who may look and ask: locks of files, which end with their process."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from snnlab.files import unwritable

DRIVERS = "drivers"
_COUNTING, _ENDING = ".counting", ".ending"


def guarded(folder: Path) -> FileLock:
    """Return what waits until no other process is inside, and keeps the others out."""
    return FileLock(folder / _COUNTING)


@contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Give whether this process is the only one inside; the others do not wait."""
    lock = FileLock(folder / _ENDING, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


class Driver:
    """This process, as the others see it.

    Raises:
        RecordError: if the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        self._folder = folder / DRIVERS
        self._lock = FileLock(self._folder / self.name, blocking=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise unwritable(folder, error) from error

    def alive(self, name: str) -> bool:
        """Return whether a driver of this name, this one or another, is at work; nobody, "", is not."""
        if name == self.name:
            return True
        if not name or not (self._folder / name).is_file():
            return False
        try:
            with FileLock(self._folder / name, blocking=False):
                return False
        except Timeout:
            return True

    def leave(self) -> None:
        """Say that this process is done."""
        self._lock.release()
        (self._folder / self.name).unlink(missing_ok=True)
