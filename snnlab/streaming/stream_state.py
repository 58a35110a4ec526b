"""What a stream carries from one event to the next, which values it may have, and its file.

Bitmaps follow from the numbers, and places in arrays from the network, so that no state leads a compiled loop out of
its arrays. What is not listed here is 0 between two steps, or is never read.

A file has a size that is known before it is read:

    16 bytes   the format
    32 bytes   SHA-256 of what follows
    32 bytes   SHA-256 of what the state belongs to, and of its form
    the rest   the arrays of the `StateEntry`s, one after another
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.errors import ConfigError, DataError
from snnlab.files import open_regular, write_atomically
from snnlab.streaming.buffers import CLOCK, WORD, Buffers

# Numbers up to here are sums of 32-bit floats of 1 without loss.
_MOST_COUNT = 2.0**24
MOST_WHOLE = 2**62
MOST_FLOAT = float(np.finfo(np.float32).max)
# A time is printed in units of 0.1 us, and multiplied by the denominator of a step, in 64 bits.
_UNITS_PER_US = 10

_FORMAT = b"snnlab stream 3\n"
_HASH_BYTES = 32
_HEAD_BYTES = len(_FORMAT) + 2 * _HASH_BYTES
_ELSEWHERE = "name another file"
_ANEW = "delete it to begin anew, or name another file"

Bound = float | Callable[[Mapping[str, np.ndarray]], Any]


class StateEntry(NamedTuple):
    """An array of a state: its form, and its legal values.

    Attributes:
        name: Its name.
        dtype: Its type.
        shape: Its shape.
        least, most: Bounds: numbers, or a function of the entries before it and itself that returns one for each value.
        is_whole: Whether all values are whole numbers.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    least: Bound
    most: Bound
    is_whole: bool = False

    @property
    def num_bytes(self) -> int:
        """Size of the array."""
        return np.dtype(self.dtype).itemsize * prod(self.shape)

    def fits(self, array: Any) -> bool:
        """Return whether this is an array of this form."""
        return isinstance(array, np.ndarray) and (array.dtype, array.shape) == (np.dtype(self.dtype), self.shape)


class StreamState(NamedTuple):
    """The state of a stream.

    Attributes:
        input: Events of the open step, for each cell of the first layer.
        fed_back: Spikes of the last step, of layers that feed them back to themselves.
        kept: Inputs of the last steps, of layers with delays.
        values: The states of all neurons.
        still: Whether a pixel has neurons that are still at their threshold after their spikes, 0 or 1.
        clock: The numbers of `CLOCK`.
    """

    input: np.ndarray
    fed_back: np.ndarray
    kept: np.ndarray
    values: np.ndarray
    still: np.ndarray
    clock: np.ndarray


def check_values(entries: Sequence[StateEntry], found: Mapping[str, np.ndarray], place: object, hint: str = "") -> None:
    """Check that the arrays of a state, which have their forms, have legal values.

    Raises:
        DataError: naming the first entry that has not.
    """
    for entry in entries:
        array = found[entry.name]
        least, most = (bound(found) if callable(bound) else bound for bound in (entry.least, entry.most))
        with np.errstate(invalid="ignore"):
            is_legal = (array >= least) & (array <= most)  # not of NaN
            if entry.is_whole:
                is_legal &= array == np.trunc(array)
        if not np.all(is_legal):
            first = array.flat[int(np.argmin(is_legal))]
            raise DataError(place, f"{entry.name} has a value that no stream has, {first}", hint)


def state_entries(buffers: Buffers, clock: np.ndarray) -> list[StateEntry]:
    """Return the entries of the state of an engine."""
    sizes = {name: sum(part.stop - part.start for part in parts) for name, parts in _kept(buffers).items()}
    pixels = sum(height * width for _, height, width in _marked(buffers))
    limits = _ClockLimits(clock)
    return [
        StateEntry("input", "<f4", (sizes["input"],), 0, _MOST_COUNT, is_whole=True),
        StateEntry("fed_back", "<f4", (sizes["fed_back"],), 0, MOST_FLOAT, is_whole=True),
        StateEntry("kept", "<f4", (sizes["kept"],), 0, MOST_FLOAT),
        StateEntry("values", "<f4", (sizes["values"],), -MOST_FLOAT, MOST_FLOAT),
        StateEntry("still", "|u1", (pixels,), 0, 1),
        StateEntry("clock", "<i8", (len(CLOCK.names or ()),), limits.least, limits.most),
    ]


def take_state(buffers: Buffers, clock: np.ndarray) -> StreamState:
    """Return a copy of the state of an engine."""
    values = {name: np.concatenate([buffers.values[part] for part in parts]) for name, parts in _kept(buffers).items()}
    still = [
        _flags_of(buffers.bits[row["touched"] :], height, width).ravel() for row, height, width in _marked(buffers)
    ]
    return StreamState(**values, still=np.concatenate([*still, _NO_FLAGS]), clock=clock.view(np.int64).copy())


def put_state(buffers: Buffers, clock: np.ndarray, state: StreamState) -> None:
    """Set an engine to a state that was checked."""
    buffers.values[:] = 0
    buffers.bits[:] = 0
    for name, parts in _kept(buffers).items():
        at = 0
        for part in parts:
            size = part.stop - part.start
            buffers.values[part] = getattr(state, name)[at : at + size]
            at += size
    for k, row in enumerate(buffers.layers[:-1]):
        if k == 0 or (row["feeds_itself"] and not row["adds_to_next"]):
            _mark_input(buffers, row, _input_of(row), int(row["in_bits"]))
        for slot in range(row["slots"] * row["keeps"]):
            first = row["kept"] + slot * row["slot_values"]
            place = slice(first, first + row["slot_values"])
            _mark_input(buffers, row, place, int(row["kept_bits"] + slot * row["slot_bits"]))
    at = 0
    for row, height, width in _marked(buffers):
        size = height * width
        _mark(buffers.bits, row["touched"], row["touched_rows"], state.still[at : at + size].reshape(height, width))
        at += size
    clock.view(np.int64)[:] = state.clock


class _ClockLimits:
    """The bounds of the numbers of a clock, with which no product of a time leaves 64 bits within two hours."""

    def __init__(self, clock: np.ndarray) -> None:
        self._fixed = tuple(int(clock[name][0]) for name in ("us_numerator", "us_denominator", "most_ahead"))
        self._numerator, self._denominator, ahead = self._fixed
        last_us = (2**63 - 1) // max(self._denominator, _UNITS_PER_US) - 2 * ahead
        self._last_step = last_us * self._denominator // self._numerator

    def least(self, found: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the least numbers: the events that wait are in the input, or in no cell."""
        waiting = int(found["input"].sum(dtype=np.float64))
        return np.array([0, 0, waiting, 0, 0, 0, 0, *self._fixed])

    def most(self, found: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the largest numbers: no event is later than the open step."""
        step, events = (int(number) for number in found["clock"][:2])
        after = min(max(step, 0), self._last_step) + 1
        latest = max(0, -(-after * self._numerator // self._denominator) - 1)
        return np.array([self._last_step, MOST_WHOLE, events, latest, *[MOST_WHOLE] * 3, *self._fixed])


_NO_FLAGS = np.zeros(0, np.uint8)


def _input_of(row: np.void) -> slice:
    """Return the place of a layer's input."""
    return slice(row["input"], row["input"] + row["in_height"] * row["in_width"] * row["in_channels"])


def _kept(buffers: Buffers) -> dict[str, list[slice]]:
    """Return the places of the numbers that outlive a step, by the field of `StreamState`."""
    found: dict[str, list[slice]] = {"input": [], **{name: [slice(0, 0)] for name in ("fed_back", "kept", "values")}}
    for k, row in enumerate(buffers.layers[:-1]):
        if k == 0:
            found["input"].append(_input_of(row))
        if row["feeds_itself"] and not row["adds_to_next"]:  # those before it have the same input
            found["fed_back"].append(_input_of(row))
        if row["keeps"]:
            found["kept"].append(slice(row["kept"], row["kept"] + row["slots"] * row["slot_values"]))
        if not row["adds_to_next"]:
            found["values"].append(slice(row["membrane"], row["membrane"] + row["neurons"] * row["num_states"]))
    return found


def _marked(buffers: Buffers) -> Iterator[tuple[np.void, int, int]]:
    """Yield the layers whose bitmap of currents outlives a step, with its height and width."""
    for row in buffers.layers[:-1]:
        if not (row["is_dense"] or row["adds_to_next"]):
            yield row, int(row["height"]), int(row["width"])


def _flags_of(bits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the pixels of the bitmap that bits begin with as 0 or 1, `[height, width]`."""
    words = -(-width // WORD)
    return np.unpackbits(bits[: height * words].reshape(height, words).view(np.uint8), 1, width, "little")


def _words_of(flags: np.ndarray) -> np.ndarray:
    """Return flags `[N, M]` as whole words, in a row."""
    found = np.zeros((len(flags), -(-flags.shape[1] // WORD), WORD // 8), np.uint8)
    packed = np.packbits(flags, 1, "little")
    found.reshape(len(flags), -1)[:, : packed.shape[1]] = packed
    return found.view(np.uint64).ravel()


def _mark_input(buffers: Buffers, row: np.void, place: slice, bitmap: int) -> None:
    """Write the bitmap of an input, and its summary, from its numbers."""
    cells = buffers.values[place].reshape(row["in_height"], row["in_width"], row["in_channels"])
    _mark(buffers.bits, bitmap, bitmap + int(row["in_height"] * row["in_words"]), (cells != 0).max(-1))


def _mark(bits: np.ndarray, bitmap: int, summary: int, flags: np.ndarray) -> None:
    """Write a bitmap and its summary."""
    for first, part in ((bitmap, flags), (summary, flags.max(1)[None])):
        words = _words_of(part)
        bits[first : first + words.size] = words


def write_state(path: Path, owner: str, entries: Sequence[StateEntry], arrays: Mapping[str, np.ndarray]) -> None:
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


def read_state(path: Path, owner: str, entries: Sequence[StateEntry]) -> dict[str, np.ndarray]:
    """Return the arrays of a state, which have their forms and legal values.

    Args:
        path: The file.
        owner: What the state has to belong to.
        entries: What the state holds.

    Raises:
        DataError: if it is no complete file of a state.
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


def _owner_hash(owner: str, entries: Sequence[StateEntry]) -> bytes:
    return hashlib.sha256(repr((owner, [entry[:3] for entry in entries])).encode()).digest()


def _read(path: Path, most: int) -> bytes:
    """Return up to `most` bytes of a regular file."""
    try:
        with open_regular(path) as file:
            return file.read(most)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", _ELSEWHERE) from None
