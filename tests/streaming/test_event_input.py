"""Recordings as the input of a stream: all events in their order, at once or at their own pace."""

from __future__ import annotations

import time

import numpy as np
import pytest

from snnlab.streaming.event_decoders import Columns
from snnlab.streaming.event_input import PacedInput, RecordedInput


def events_at(t: np.ndarray) -> Columns:
    return {name: t if name == "t" else np.arange(t.size) for name in "txyp"}


def read(events: RecordedInput) -> Columns:
    pieces: list[Columns] = []
    while not events.closed:
        piece = events.read(None)
        assert piece is not None
        pieces.append(piece)
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in "txyp"}


@pytest.mark.parametrize("size", [0, 10, 200_000])
def test_a_recording_is_read_once_and_in_order(size: int) -> None:
    events = events_at(np.arange(size))
    for found in (read(RecordedInput(events)), read(PacedInput(events, 1e6))):
        assert all(np.array_equal(found[name], events[name]) for name in "txyp")


def test_a_recording_at_its_pace_gives_events_when_they_are_due() -> None:
    t = np.array([5_000_000, 5_000_000, 4_000_000, 5_100_000])  # the third one is late, and due with the second
    paced = PacedInput(events_at(t), 1.0)
    first = paced.read(None)
    assert first is not None
    assert first["x"].tolist() == [0, 1, 2]
    assert paced.read(0.001) is None
    begun = time.monotonic()
    last = paced.read(None)
    assert last is not None
    assert (last["x"].tolist(), paced.closed) == ([3], True)
    assert time.monotonic() - begun < 5
