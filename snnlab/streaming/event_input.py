"""Events as they arrive: from bytes of a live source, or from a recording that is there already."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from snnlab.streaming.byte_sources import ByteSource
from snnlab.streaming.event_decoders import BadLine, Columns, Decoder, LineForm
from snnlab.streaming.live_loop import DECODE, LiveLoop
from snnlab.streaming.system_calls import now_s

_PIECE = 1 << 16
# What is compared to know a source again, before the position in it.
_SEEN_BYTES, _SEEN_EVENTS = 4096, 256
CHECKSUM_BYTES = hashlib.sha256().digest_size
MOST_TIME_US = 2**63 - 1
# Shortest and longest time between two looks at a recording that plays, s.
_PACE_S, _LOOK_S = 0.0005, 1.0


class EventInput(Protocol):
    """A source of events.

    Attributes:
        closed: Whether nothing follows.
        position: Where to go on after the events that `read` has returned; 0 for sources without places.
        arrived_s: `now_s()` when the last events arrived.
        origin_us: Time of the source that is time 0, us; None: no event has come.
        num_bad: Number of lines that were no events, or of bytes of an event that was cut.
        first_bad: The first of these lines.
    """

    closed: bool
    position: int
    arrived_s: float
    origin_us: int | None
    num_bad: int

    @property
    def num_lines(self) -> int:
        """Number of lines so far; 0 for sources without lines."""
        ...

    first_bad: BadLine | None

    def read(self, timeout_s: float | None) -> Columns | None:
        """Return the events that have arrived, t (us), x, y, p; None: nothing in this time."""
        ...

    def run(self, loop: LiveLoop, return_at: float) -> int:
        """Let a compiled loop feed its events, and read on where it can; return why it stopped, see `LiveLoop.run`."""
        ...

    def checksum(self, position: int) -> bytes:
        """Return the SHA-256 of what the source has right before a position, by which it is known again."""
        ...

    def close(self) -> None:
        """Close the source."""
        ...


class LiveInput:
    """Events in the bytes of a live source.

    Args:
        source: The bytes.
        decoder: Their form.
        position: Place of the first byte in its file.
        origin_us: Time of the source that is time 0, us; None: see `start_us`.
        start_us: Time that is given to the first event where it is the origin, us.
        has_places: Whether the source can be opened again at a position.
    """

    def __init__(
        self,
        source: ByteSource,
        decoder: Decoder,
        *,
        position: int = 0,
        origin_us: int | None = 0,
        start_us: int = 0,
        has_places: bool = False,
    ) -> None:
        self._source, self._decoder, self._first = source, decoder, position
        self._has_places = has_places
        self.closed, self.position, self.arrived_s = False, position, now_s()
        self.origin_us = origin_us
        self._start_us, self._num_bytes = start_us, 0
        self._pending = b""  # read, but not decoded
        self.num_bad = 0
        self.first_bad: BadLine | None = None

    @property
    def num_lines(self) -> int:
        """Number of lines so far."""
        return self._decoder.num_lines

    def read(self, timeout_s: float | None) -> Columns | None:
        """Return the events that have arrived."""
        piece, self._pending = self._pending or self._source.read(timeout_s), b""
        if piece is None:
            return None
        self.arrived_s = now_s()
        self.closed = not piece
        self._num_bytes += len(piece)
        events = self._decoder.finish() if self.closed else self._decoder.decode(piece)
        self.num_bad, self.first_bad = self._decoder.num_bad, self._decoder.first_bad
        self._set_position()
        if self.origin_us is None and events["t"].size:
            self.origin_us = max(int(events["t"][0]) - self._start_us, -MOST_TIME_US)
        if self.origin_us:
            events["t"] -= self.origin_us
        return events

    def _set_position(self) -> None:
        if self._has_places:
            self.position = self._first + self._num_bytes - len(self._decoder.rest)

    def run(self, loop: LiveLoop, return_at: float) -> int:
        """Let a compiled loop read on, after the first event, which may be time 0, and the first line."""
        descriptors, form = self._source.descriptors(), self._decoder.form()
        if not descriptors or form is None or self.origin_us is None or self.closed:
            loop.read_from((), LineForm())
            return loop.run(return_at)
        loop.read_from(descriptors, form, self.origin_us, self._decoder.rest)
        reason, live = loop.run(return_at), loop.live
        rest, piece, count = int(live["rest"]), int(live["piece"]), int(live["bytes"])
        self._decoder.rest = loop.data[:rest].tobytes()
        self._decoder.count_lines(int(live["lines"]))
        self._pending = loop.data[rest : rest + piece].tobytes() if reason == DECODE else b""
        self._source.skip(count + len(self._pending))
        self._num_bytes += count
        self.arrived_s = float(live["arrived"])
        self._set_position()
        return reason

    def checksum(self, position: int) -> bytes:
        """Return the SHA-256 of the bytes before a position; the same for all sources without places."""
        return hashlib.sha256(self._source.before(position, _SEEN_BYTES)).digest()

    def close(self) -> None:
        """Close the source."""
        self._source.close()


class RecordedInput:
    """The events of a recording, of which a piece is in memory.

    Args:
        pieces: Columns t (us), x, y, p, some at a time, from the first event on.
        size: Number of all events.
        position: Index of the first event that is read.
        start_us: Time that is added to all events, us.
    """

    num_bad = num_lines = 0
    first_bad: BadLine | None = None

    def __init__(self, pieces: Iterator[Columns], size: int, *, position: int = 0, start_us: int = 0) -> None:
        self._pieces, self._size, self._start_us = pieces, size, start_us
        self._held: Columns = {name: np.zeros(0, np.int64) for name in "txyp"}
        self._before = self._held  # the last events before the position
        self.position, self.arrived_s = 0, 0.0
        self.origin_us: int | None = -start_us
        self.closed = False
        while self.position < position and not self.closed:
            self._hold()
            self._take(position - self.position)
        self.closed = False

    def read(self, timeout_s: float | None) -> Columns | None:
        """Return the next events."""
        self._hold()
        return self._take(_PIECE)

    def _hold(self) -> None:
        """Hold some of the next events, if there are any."""
        while not self._held["t"].size and (piece := next(self._pieces, None)) is not None:
            self._held = piece

    def _take(self, count: int) -> Columns:
        """Return so many of the events that are held."""
        self.arrived_s = now_s()
        found = {name: column[:count] for name, column in self._held.items()}
        self._held = {name: column[count:] for name, column in self._held.items()}
        self._before = {
            name: np.concatenate([self._before[name], found[name][-_SEEN_EVENTS:]])[-_SEEN_EVENTS:] for name in found
        }
        self.position += found["t"].size
        self.closed = self.position >= self._size or not found["t"].size
        return found | {"t": found["t"] + self._start_us}

    def run(self, loop: LiveLoop, return_at: float) -> int:
        """Let a compiled loop feed its events."""
        loop.read_from((), LineForm())
        return loop.run(return_at)

    def checksum(self, position: int) -> bytes:
        """Return the SHA-256 of the events before the position, which is that of the last events read."""
        return hashlib.sha256(b"".join(self._before[name].tobytes() for name in "txyp")).digest()

    def close(self) -> None:
        """Close the recording."""
        self._pieces = iter(())


class PacedInput(RecordedInput):
    """The events of a recording, at its own pace.

    Args:
        speed: How much faster than real time.
        wait: Returns when it begins; None: at once.
    """

    def __init__(
        self,
        pieces: Iterator[Columns],
        size: int,
        speed: float,
        wait: Callable[[], None] | None = None,
        *,
        position: int = 0,
        start_us: int = 0,
    ) -> None:
        super().__init__(pieces, size, position=position, start_us=start_us)
        self._speed, self._wait, self._begun_s = speed, wait, 0.0

    def read(self, timeout_s: float | None) -> Columns | None:
        """Return the events up to now; wait for the next one."""
        self._hold()
        t = self._held["t"]
        if not self._begun_s and t.size:
            if self._wait is not None:
                self._wait()
            self._begun_s = now_s() - t[0] / 1e6 / self._speed
        end = None if timeout_s is None else now_s() + timeout_s
        while t.size:
            now = now_s()
            count = int(np.searchsorted(t, (now - self._begun_s) * self._speed * 1e6, "right"))
            if count:
                return self._take(count)
            if end is not None and now >= end:
                return None
            rest = self._begun_s + t[0] / 1e6 / self._speed - now
            time.sleep(max(_PACE_S, min(_LOOK_S, rest if end is None else min(rest, end - now))))
        return self._take(0)
