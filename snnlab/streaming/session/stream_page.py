"""The page of a live stream: what it shows, and the process that serves it."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

import numpy as np

from snnlab.streaming.buffers import CLOCK
from snnlab.streaming.event_decoders import Columns
from snnlab.streaming.event_stream import EventStream
from snnlab.streaming.pages.stream_memory import ENDED, REQUESTS, StreamLayout, StreamMemory, columns_of_window
from snnlab.streaming.spike_raster import mark_events, raster_head, raster_rows, raster_size, start_raster

_SHORTEST_WINDOW_MS, _LONGEST_WINDOW_MS = 2000.0, 10_000.0
_ANSWERS_PER_WINDOW = 250
# Time between two updates of what a page asks for 30 times a second, s.
_UPDATE_S, _ANSWER_S = 0.005, 0.002
_LOOK_S = 0.05
_CHECK_S = 1.0

log = logging.getLogger(__name__)


class PageText(NamedTuple):
    """What a page says about a stream: the run and the source as a user names them, and the outputs."""

    run: str
    source: str
    outputs: list[str]
    has_values: bool
    duration_ms: float
    speed: float | None = None


class StreamPage:
    """Gives a stream's events, spikes, answers and times to the process that serves its page.

    Args:
        stream: The stream.
        listener: The socket of `open_port`; the process gets it.
        shown: What the page says.
    """

    def __init__(self, stream: EventStream, listener: socket.socket, shown: PageText) -> None:
        self._stream, self._dt = stream, float(stream.dt or 0)
        rows = raster_rows(stream.layers)
        window_ms = min(max(_SHORTEST_WINDOW_MS, 2 * shown.duration_ms), _LONGEST_WINDOW_MS)
        columns, steps = columns_of_window(window_ms, self._dt)
        height, width = stream.sensor.cells.shape
        layout = StreamLayout(
            stream=uuid4().hex,
            run=shown.run,
            source=shown.source,
            dt=self._dt,
            window_ms=window_ms,
            sensor=(height, width, stream.sensor.polarities),
            layers=[(one.name, one.shape, one.first, one.rows) for one in rows if one is not None],
            raster_size=raster_size(rows, columns),
            raster_head=raster_head(rows),
            columns=columns,
            steps_per_column=steps,
            numbers=[*(CLOCK.names or ()), "spikes", "unreadable"],
            outputs=shown.outputs,
            has_values=shown.has_values,
            speed=shown.speed,
        )
        with _memory_file(StreamMemory.size_of(layout)) as file:
            self._memory = StreamMemory(layout, file.fileno()).clear()
            start_raster(self._memory.raster, rows, columns, steps, stream.num_steps)
            stream.count_spikes(self._memory.raster)
            mark_events(self._memory.picture, height, width, layout.pixel, *np.zeros((4, 0), np.int64))
            self._process = _serve(layout, listener, file.fileno())
        self._sensor = (height, width, layout.pixel)
        self._answer_steps = max(1, round(window_ms / self._dt / _ANSWERS_PER_WINDOW))
        self.next_answer = 0
        self._answered_s = self._updated_s = 0.0
        self._checked_s, self._has_ended = time.perf_counter(), False

    @property
    def is_open(self) -> bool:
        """Whether a browser has asked for data."""
        return bool(self._memory.state[REQUESTS])

    def wait(self) -> None:
        """Wait until a browser asks for data; return at once if nobody can."""
        while not self.is_open and not self._has_ended:
            time.sleep(_LOOK_S)
            self._check(time.perf_counter())

    def add_events(self, events: Columns) -> None:
        """Show events."""
        mark_events(self._memory.picture, *self._sensor, *(events[name] for name in "txyp"))

    def timed(self, parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield parts of a stream, and show how long their steps took."""
        begun = time.perf_counter()
        for part in parts:
            us = (time.perf_counter() - begun) * 1e6
            self._memory.add_time(self._stream.num_steps * self._dt, us / len(part[0]))
            yield part
            begun = time.perf_counter()

    def add_answer(self, step: int, outputs: np.ndarray) -> None:
        """Show the outputs after a step."""
        self.next_answer = step + self._answer_steps
        self._memory.add_answer(step * self._dt, outputs)

    def wants_answer(self, step: int) -> bool:
        """Return whether the outputs after a step are shown: a stream that is faster than real time shows fewer."""
        if step < self.next_answer:
            return False
        now_s = time.perf_counter()
        if now_s - self._answered_s < _ANSWER_S:
            self.next_answer = step + self._answer_steps
            return False
        self._answered_s = now_s
        return True

    def update(self, unreadable: int, *, at_once: bool = False) -> None:
        """Show the numbers of steps, events and spikes."""
        now_s = time.perf_counter()
        if at_once or now_s - self._updated_s > _UPDATE_S:
            self._updated_s = now_s
            self._memory.numbers[:] = *self._stream.clock, self._stream.num_spikes, unreadable
            self._check(now_s)

    def _check(self, now_s: float) -> None:
        """Report once that the page is gone; the stream needs no page."""
        if self._has_ended or now_s - self._checked_s < _CHECK_S:
            return
        self._checked_s, self._has_ended = now_s, self._process.poll() is not None
        if self._has_ended:
            log.warning("--page: the process that serves the page has ended; the stream goes on without it")

    def end(self, reason: int, unreadable: int) -> None:
        """Show that the stream has ended, and why."""
        self.update(unreadable, at_once=True)
        self._memory.state[ENDED] = reason

    def close(self) -> None:
        """Let the process end, after it has told the pages that are open of the end."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        threading.Thread(target=self._process.wait, daemon=True).start()


def _memory_file(size: int) -> BinaryIO:
    """Return an open file without a name, in memory where the system has such files."""
    file: Any = tempfile.TemporaryFile() if sys.platform == "darwin" else open(os.memfd_create("snnlab"), "r+b")  # noqa: SIM115
    file.truncate(size)
    return file


def _serve(layout: StreamLayout, listener: socket.socket, memory: int) -> subprocess.Popen[bytes]:
    """Start the process that serves the page."""
    files = (listener.fileno(), memory)
    command = [sys.executable, "-P", "-m", "snnlab.streaming.pages.stream_process", *map(str, files)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=files)
    listener.close()
    assert process.stdin is not None
    process.stdin.write(json.dumps(layout.__dict__).encode() + b"\n")
    process.stdin.flush()
    return process
