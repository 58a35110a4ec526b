"""A stream's state in a file, of a size that is known before it is read; nothing in it says where something is.

16 bytes   the format
32 bytes   SHA-256 of what follows
32 bytes   SHA-256 of what the state belongs to, and of its form
the rest   the arrays of the `Entry`s, one after another
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from snnlab.errors import ConfigError, DataError
from snnlab.files import write_atomically
from snnlab.streaming.stream_state import Entry, check_values

_FORMAT = b"snnlab stream 2\n"
_HASH_BYTES = 32
_HEAD_BYTES = len(_FORMAT) + 2 * _HASH_BYTES
_ELSEWHERE = "name another file"
_ANEW = "delete it to begin anew, or name another file"


def write_state(path: Path, owner: str, entries: Sequence[Entry], arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays of a state to a file: complete or not at all.

    Args:
        path: The file.
        owner: What the state belongs to, as text.
        entries: What the state holds.
        arrays: The arrays, by the names of the entries.

    Raises:
        DataError: if it cannot be written.
    """
    parts = [np.ascontiguousarray(arrays[entry.name], entry.dtype).tobytes() for entry in entries]
    content = b"".join([_owner_hash(owner, entries), *parts])
    try:
        write_atomically(path, lambda file: file.writelines([_FORMAT, hashlib.sha256(content).digest(), content]))
    except OSError as error:
        raise DataError(path, f"cannot be written ({error.strerror})") from None


def read_state(path: Path, owner: str, entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    """Return the arrays of a state, which have their forms and legal values.

    Args:
        path: The file.
        owner: What the state has to belong to.
        entries: What the state holds.

    Raises:
        DataError: if it is no complete file of a state.
        ConfigError: if it is the state of something else.
    """
    size = _HEAD_BYTES + sum(entry.num_bytes for entry in entries)
    data = _read(path, size + 1)
    if not data.startswith(_FORMAT):
        raise DataError(path, "is no state of a stream, or one of another version", _ELSEWHERE)
    checksum, content = data[len(_FORMAT) : len(_FORMAT) + _HASH_BYTES], data[len(_FORMAT) + _HASH_BYTES :]
    if len(data) >= _HEAD_BYTES and content[:_HASH_BYTES] != _owner_hash(owner, entries):
        raise ConfigError(path, "is the state of another network, sensor or step", _ELSEWHERE)
    if len(data) != size or hashlib.sha256(content).digest() != checksum:
        raise DataError(path, "is damaged", _ANEW)
    found, at = {}, _HASH_BYTES
    for entry in entries:
        part = content[at : at + entry.num_bytes]
        found[entry.name] = np.frombuffer(part, entry.dtype).reshape(entry.shape)
        at += entry.num_bytes
    check_values(entries, found, path, _ANEW)
    return found


def _owner_hash(owner: str, entries: Sequence[Entry]) -> bytes:
    return hashlib.sha256(repr((owner, [entry[:3] for entry in entries])).encode()).digest()


def _read(path: Path, most: int) -> bytes:
    """Return up to `most` bytes of a regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would wait for its writer
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DataError(path, "is no regular file", _ELSEWHERE)
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(most)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", _ELSEWHERE) from None
