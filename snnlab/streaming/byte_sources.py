"""Where the bytes of a live stream of events come from: pipes and growing files.

Nothing is read ahead: if the network is slower than the events, the system's buffer fills, and the writer waits.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from snnlab.errors import DataError

# Bytes of one read: as many as a pipe holds.
_PIECE = 1 << 16
# Time between two looks at a file that does not grow, s.
_LOOK_S = 0.002


@contextmanager
def _reading(name: object) -> Iterator[None]:
    """Turn a failure of the system into a DataError that names the source."""
    try:
        yield
    except OSError as error:
        raise DataError(name, f"cannot be read ({error.strerror})") from None


class ByteSource(Protocol):
    """A source of bytes."""

    def read(self, timeout_s: float | None) -> bytes | None:
        """Return what has arrived, waiting until something does; None: nothing in this time; empty: the end."""
        ...

    def close(self) -> None:
        """Close the source."""
        ...


class PipeSource:
    """Standard input, a FIFO or another pipe; it ends when all writers have closed it.

    Args:
        descriptor: Descriptor of the open file.
        name: Its name, for errors.
        closes: Whether `close` closes it.
    """

    def __init__(self, descriptor: int, name: str = "stdin", *, closes: bool = False) -> None:
        self._descriptor, self._name, self._closes = descriptor, name, closes

    def read(self, timeout_s: float | None) -> bytes | None:
        """Return what has arrived.

        Raises:
            DataError: if it cannot be read.
        """
        with _reading(self._name):
            if not select.select([self._descriptor], [], [], timeout_s)[0]:
                return None
            return os.read(self._descriptor, _PIECE)

    def close(self) -> None:
        """Close the pipe if it was opened for this."""
        if self._closes:
            os.close(self._descriptor)


class FileSource:
    """A file; one that is followed has no end, and is read on as it grows.

    Args:
        path: The file.
        follows: Whether to wait for more at its end.
    """

    def __init__(self, path: Path, *, follows: bool = False) -> None:
        self._path, self._follows, self._num_read = path, follows, 0
        self._file = path.open("rb", buffering=0)

    def read(self, timeout_s: float | None) -> bytes | None:
        """Return what follows in the file.

        Raises:
            DataError: if the file became shorter.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            with _reading(self._path):
                piece = self._file.read(_PIECE)
            if piece or not self._follows:
                self._num_read += len(piece)
                return piece
            size = os.fstat(self._file.fileno()).st_size
            if size < self._num_read:
                raise DataError(self._path, f"has {size:,} bytes, and {self._num_read:,} of it were read: it was cut")
            wait = _LOOK_S if end is None else min(_LOOK_S, end - time.monotonic())
            if wait <= 0:
                return None
            time.sleep(wait)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_pipe(path: Path) -> PipeSource:
    """Open a FIFO, or another file that is no regular file; wait for its writer."""
    return PipeSource(os.open(path, os.O_RDONLY), str(path), closes=True)


def is_pipe(path: Path) -> bool:
    """Return whether a path is a FIFO or a device rather than a regular file."""
    mode = path.stat().st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
