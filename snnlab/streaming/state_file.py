"""A stream's state in a file: arrays without pickles, complete or not there at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from snnlab.errors import ConfigError, DataError
from snnlab.files import write_atomically
from snnlab.streaming.buffers import CLOCK
from snnlab.streaming.event_stream import EventStream, StreamState

_OWN = ("values", "bits", "clock", "digest")


def save_state(path: Path, stream: EventStream, others: Mapping[str, np.ndarray]) -> None:
    """Write the state of a stream, and other arrays, to a file.

    Raises:
        DataError: if it cannot be written.
    """
    state = stream.state()
    clock = state.clock.view(np.int64)
    arrays: dict[str, Any] = dict(zip(_OWN, (state.values, state.bits, clock, np.array(stream.digest())), strict=True))
    arrays |= others
    try:
        write_atomically(path, lambda file: np.savez(file, **arrays))
    except OSError as error:
        raise DataError(path, f"cannot be written ({error.strerror})") from None


def load_state(path: Path, stream: EventStream, most_bytes: int) -> dict[str, np.ndarray]:
    """Set a stream to the state in a file, and return the other arrays.

    Args:
        path: The file.
        stream: The stream, of the same network, sensor and step.
        most_bytes: Bytes that the other arrays have at most.

    Raises:
        DataError: if it is no complete file of a state.
        ConfigError: if it is the state of another network, sensor or step.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            size = sum(part.file_size for part in archive.zip.infolist())
            if size > stream.num_bytes + most_bytes:
                raise ConfigError(path, "is the state of a larger network", "name another file")
            found = {name: archive[name] for name in archive.files}
        state = StreamState(found["values"], found["bits"], found["clock"].view(CLOCK))
        digest = str(found["digest"])
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise DataError(path, f"is no state of a stream ({error})", "delete it, or name another file") from None
    if digest != stream.digest():
        raise ConfigError(path, "is the state of another network, sensor or step", "name another file")
    stream.load(state)
    return {name: array for name, array in found.items() if name not in _OWN}
