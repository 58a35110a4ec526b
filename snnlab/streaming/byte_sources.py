"""Where the bytes of a live stream of events come from: pipes, growing files, one program on a socket.

Nothing is read ahead: if the network is slower than the events, the system's buffer fills, and the writer waits.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from snnlab.errors import ConfigError, DataError
from snnlab.printable import masked

log = logging.getLogger(__name__)

# Bytes of one read: as many as a pipe holds.
_PIECE = 1 << 16
# Time between two looks at a file that does not grow, s.
_LOOK_S = 0.002
_SCHEME = "tcp://"
# Connections that may be open before a program sends something.
_MOST_SILENT = 16


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

    def descriptors(self) -> tuple[int, ...]:
        """Return the descriptor of the bytes, then others that `read` has to look after; nothing if there is none."""
        ...

    def skip(self, count: int) -> None:
        """Count bytes that were read from the descriptor."""
        ...

    def before(self, position: int, most: int) -> bytes:
        """Return the last bytes before a position, up to `most`; nothing of a source without places."""
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

    def descriptors(self) -> tuple[int, ...]:
        """Return the pipe's descriptor."""
        return (self._descriptor,)

    def skip(self, count: int) -> None:
        """Do nothing: a pipe has no places."""

    def before(self, position: int, most: int) -> bytes:
        """Return nothing."""
        return b""

    def close(self) -> None:
        """Close the pipe if it was opened for this."""
        if self._closes:
            os.close(self._descriptor)


class FileSource:
    """A file from a position on; one that is followed has no end, and is read on as it grows.

    Args:
        path: The file.
        follows: Whether to wait for more at its end.
        position: First byte to read.

    Raises:
        DataError: if the file is shorter than the position.
    """

    def __init__(self, path: Path, *, follows: bool = False, position: int = 0) -> None:
        self._path, self._follows, self._position = path, follows, position
        self._check_size(path.stat().st_size)
        self._file = path.open("rb", buffering=0)
        self._file.seek(position)

    def read(self, timeout_s: float | None) -> bytes | None:
        """Return what follows in the file.

        Raises:
            DataError: if the file became shorter.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            with _reading(self._path):
                piece = self._file.read(_PIECE)
            if piece:
                self._position += len(piece)
                return piece
            if not self._follows:
                return b""
            self._check_size(os.fstat(self._file.fileno()).st_size)
            wait = _LOOK_S if end is None else min(_LOOK_S, end - time.monotonic())
            if wait <= 0:
                return None
            time.sleep(wait)

    def _check_size(self, size: int) -> None:
        if size < self._position:
            raise DataError(self._path, f"has {size:,} bytes, and {self._position:,} of it were read: it was cut")

    def descriptors(self) -> tuple[int, ...]:
        """Return the file's descriptor."""
        return (self._file.fileno(),)

    def skip(self, count: int) -> None:
        """Count bytes that were read from the descriptor."""
        self._position += count

    def before(self, position: int, most: int) -> bytes:
        """Return the last bytes before a position."""
        first = max(0, position - most)
        with _reading(self._path):
            return os.pread(self._file.fileno(), position - first, first)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SocketSource:
    """What one program sends to a TCP port of this machine: the first one that sends a byte.

    Programs that connect and send nothing, as one that looks for open ports, keep nobody waiting. Others are refused
    once a program has sent something.

    Args:
        address: `tcp://HOST:PORT`; port 0 is any free one, and a message names it.
    """

    def __init__(self, address: str) -> None:
        host, port = parse_address(address)
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._listener = socket.create_server((host, port), family=family)
        except OSError as error:
            raise ConfigError(address, f"cannot be opened ({error.strerror or error})", _advice(error)) from None
        self._listener.setblocking(False)
        self._silent: list[socket.socket] = []  # connections that have sent nothing, the oldest first
        self._client: socket.socket | None = None
        self.port: int = self._listener.getsockname()[1]
        log.warning("waiting for events at %s%s", _SCHEME, _text(host, self.port))

    def read(self, timeout_s: float | None) -> bytes | None:
        """Return what the program has sent; empty after it has closed the connection."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            known = self._silent if self._client is None else [self._client]
            wait = None if end is None else max(0.0, end - time.monotonic())
            ready = select.select([self._listener, *known], [], [], wait)[0]
            if self._client is not None and self._client in ready:
                return self._receive(self._client)
            for one in ready:
                if one is self._listener:
                    self._accept()
                elif piece := self._receive(one):
                    self._choose(one)
                    return piece
                else:
                    self._silent.remove(one)
                    one.close()
            if not ready and end is not None:
                return None

    def _receive(self, client: socket.socket) -> bytes:
        """Return what a program has sent; empty if the connection was closed or lost."""
        try:
            return client.recv(_PIECE)
        except OSError as error:
            if client is self._client:
                log.warning("the connection was lost (%s)", error.strerror)
            return b""

    def _accept(self) -> None:
        try:
            client, address = self._listener.accept()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # notices a machine that has gone
        except OSError:  # it has gone already
            return
        self._silent.append(client)
        if self._client is not None:
            log.warning("%s was refused: another program is connected", _text(*address[:2]))
            self._close_silent()
        elif len(self._silent) > _MOST_SILENT:
            self._silent.pop(0).close()

    def _choose(self, client: socket.socket) -> None:
        """Read from a program, and refuse the others."""
        self._silent.remove(client)
        self._client = client
        self._close_silent()

    def _close_silent(self) -> None:
        while self._silent:
            self._silent.pop().close()

    def descriptors(self) -> tuple[int, ...]:
        """Return the descriptors of the connection and of the port, on which others are refused."""
        return () if self._client is None else (self._client.fileno(), self._listener.fileno())

    def skip(self, count: int) -> None:
        """Do nothing: a connection has no places."""

    def before(self, position: int, most: int) -> bytes:
        """Return nothing."""
        return b""

    def close(self) -> None:
        """Close the connection and the port."""
        self._close_silent()
        for one in (self._client, self._listener):
            if one is not None:
                one.close()


def is_address(text: str) -> bool:
    """Return whether a text names a socket rather than a file."""
    return text.startswith(_SCHEME)


def parse_address(address: str) -> tuple[str, int]:
    """Return the host and the port of `tcp://HOST:PORT`."""
    with suppress(ValueError):
        host, port = urlsplit(address).hostname, urlsplit(address).port
        is_whole = host is not None and address.lower() == f"{_SCHEME}{_text(host, port)}"
        if is_whole and host and port is not None and host.isprintable() and " " not in host:
            return host, port
    raise ConfigError(masked(address), "is no address", "write tcp://HOST:PORT, such as tcp://127.0.0.1:7000")


def open_pipe(path: Path) -> PipeSource:
    """Open a FIFO, or another file that is no regular file; wait for its writer."""
    return PipeSource(os.open(path, os.O_RDONLY), str(path), closes=True)


def is_pipe(path: Path) -> bool:
    """Return whether a path is a FIFO or a device rather than a regular file."""
    mode = path.stat().st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _text(host: str, port: int | None) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "choose another port, or 0 for any"
    return "choose a port above 1023" if error.errno == errno.EACCES else ""
