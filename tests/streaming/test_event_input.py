"""Recordings as the input of a stream: the same in any pieces, one piece in memory."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from snnlab.streaming.event_decoders import Columns
from snnlab.streaming.event_input import PacedInput, RecordedInput


def _pieces(sizes: Sequence[int], alive: list[int] | None = None) -> Iterator[Columns]:
    """Yield columns of rising numbers, and keep count of those of pieces that are in memory."""
    first = 0
    for size in sizes:
        made = np.arange(first, first + size)
        if alive is not None:
            alive[0] += 1
            alive.append(alive[0])
            weakref.finalize(made, lambda: alive.__setitem__(0, alive[0] - 1))
        yield {name: made if name == "t" else made + 1 for name in "txyp"}
        first += size
        del made


def _read(events: RecordedInput) -> np.ndarray:
    found = []
    while not events.closed:
        columns = events.read(None)
        assert columns is not None
        found.append(columns["t"])
    return np.concatenate(found)


@pytest.mark.parametrize("sizes", [[1000], [300, 0, 500, 200], [1] * 1000])
def test_a_recording_is_the_same_in_any_pieces(sizes: list[int]) -> None:
    for position in (0, 299, 300, 1000):
        events = RecordedInput(_pieces(sizes), 1000, position=position, start_us=7)
        seen = np.arange(max(0, position - 256), position)
        parts = [seen, seen + 1, seen + 1, seen + 1]
        assert events.checksum(position) == hashlib.sha256(b"".join(part.tobytes() for part in parts)).digest()
        assert np.array_equal(_read(events), np.arange(position, 1000) + 7)
        assert events.position == 1000
    assert np.array_equal(_read(PacedInput(_pieces(sizes), 1000, 1e6, position=300)), np.arange(300, 1000))


def test_a_recording_without_events_and_one_that_was_cut_end() -> None:
    for sizes, size in (([], 0), ([0], 0), ([10], 20)):
        assert _read(RecordedInput(_pieces(sizes), size)).size == sum(sizes)


def test_of_a_recording_of_any_size_one_piece_is_in_memory() -> None:
    alive = [0]
    events = RecordedInput(_pieces([100_000] * 30, alive), 3_000_000)
    while not events.closed:
        events.read(None)
    assert max(alive) <= 2
