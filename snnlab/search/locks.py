"""Who runs a search at this moment, and who may look and ask.

POSIX record locks, as in `snnlab.record.lock`: they end with their process, however that ends. A process loses them
when it closes any of its files of that name, so that none is opened twice.
"""

from __future__ import annotations

import fcntl
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snnlab.files import unwritable

DRIVERS = "drivers"
_COUNTING, _ENDING = ".counting", ".ending"


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Wait until no other process is inside, and keep the others out."""
    with (folder / _COUNTING).open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


class Driver:
    """This process, as the others see it.

    Args:
        folder: The sweep's folder.

    Raises:
        RecordError: if the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        self._folder = folder / DRIVERS
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = (self._folder / self.name).open("w")
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise unwritable(folder, error) from error

    def alive(self, name: str) -> bool:
        """Return whether a driver of this name, this one or another, is at work; nobody, "", is not."""
        if not name:
            return False
        if name == self.name:
            return True
        try:
            with (self._folder / name).open("r+") as file:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def leave(self) -> None:
        """Say that this process is done."""
        (self._folder / self.name).unlink(missing_ok=True)
        self._file.close()


@contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Give whether this process is the only one inside; the others do not wait."""
    with (folder / _ENDING).open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
