"""Events as they arrive: from bytes of a live source, or from a recording that is there already."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from snnlab.streaming.byte_sources import ByteSource
from snnlab.streaming.event_decoders import BadLine, Columns, Decoder

_PIECE = 1 << 16
# Shortest and longest time between two looks at a recording that plays, s.
_PACE_S, _LOOK_S = 0.0005, 1.0


class EventInput(Protocol):
    """A source of events.

    Attributes:
        closed: Whether nothing follows.
        arrived_s: `time.monotonic()` when the last events arrived.
        num_bad: Number of lines that were no events, or of bytes of an event that was cut.
        first_bad: The first of these lines.
    """

    closed: bool
    arrived_s: float
    num_bad: int
    first_bad: BadLine | None

    def read(self, timeout_s: float | None) -> Columns | None:
        """Return the events that have arrived, t (us), x, y, p; None: nothing in this time."""
        ...

    def close(self) -> None:
        """Close the source."""
        ...


class LiveInput:
    """Events in the bytes of a live source.

    Args:
        source: The bytes.
        decoder: Their form.
        origin_us: Time of the source that is time 0, us; None: that of the first event.
    """

    def __init__(self, source: ByteSource, decoder: Decoder, origin_us: int | None = 0) -> None:
        self._source, self._decoder, self._origin_us = source, decoder, origin_us
        self.closed, self.arrived_s = False, time.monotonic()
        self.num_bad = 0
        self.first_bad: BadLine | None = None

    def read(self, timeout_s: float | None) -> Columns | None:
        """Return the events that have arrived."""
        piece = self._source.read(timeout_s)
        if piece is None:
            return None
        self.arrived_s = time.monotonic()
        self.closed = not piece
        events = self._decoder.finish() if self.closed else self._decoder.decode(piece)
        self.num_bad, self.first_bad = self._decoder.num_bad, self._decoder.first_bad
        if self._origin_us is None and events["t"].size:
            self._origin_us = int(events["t"][0])
        if self._origin_us:
            events["t"] -= self._origin_us
        return events

    def close(self) -> None:
        """Close the source."""
        self._source.close()


class RecordedInput:
    """The events of a recording.

    Args:
        events: Columns t (us), x, y, p.
    """

    num_bad = 0
    first_bad: BadLine | None = None

    def __init__(self, events: Columns) -> None:
        self._events, self._position = events, 0
        self.closed, self.arrived_s = False, 0.0

    def read(self, timeout_s: float | None) -> Columns | None:
        """Return the next events."""
        return self._take(_PIECE)

    def _take(self, count: int) -> Columns:
        self.arrived_s = time.monotonic()
        part = slice(self._position, self._position + count)
        self._position += count
        self.closed = self._position >= self._events["t"].size
        return {name: column[part] for name, column in self._events.items()}

    def close(self) -> None:
        """Do nothing: the events are in memory."""


class PacedInput(RecordedInput):
    """The events of a recording, at its own pace.

    Args:
        speed: How much faster than real time.
        wait: Returns when it begins; None: at once.
    """

    def __init__(self, events: Columns, speed: float, wait: Callable[[], object] | None = None) -> None:
        super().__init__(events)
        self._speed, self._wait = speed, wait
        # The times at which an event, or one before it, is due: they do not fall.
        self._due = np.maximum.accumulate(events["t"])
        self._begun_s = 0.0

    def read(self, timeout_s: float | None) -> Columns | None:
        """Return the events up to now; wait for the next one."""
        if self._position == self._due.size:
            return self._take(0)
        if not self._begun_s:
            if self._wait is not None:
                self._wait()
            self._begun_s = time.monotonic() - self._due[0] / 1e6 / self._speed
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            now = time.monotonic()
            due = int(np.searchsorted(self._due, (now - self._begun_s) * self._speed * 1e6, "right"))
            if due > self._position:
                return self._take(due - self._position)
            if end is not None and now >= end:
                return None
            rest = self._begun_s + self._due[self._position] / 1e6 / self._speed - now
            time.sleep(max(_PACE_S, min(_LOOK_S, rest if end is None else min(rest, end - now))))
