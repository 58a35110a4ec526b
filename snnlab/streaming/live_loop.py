"""The compiled loop of a live stream: it reads bytes, runs the steps that have ended, and writes lines of answers.

For each piece of events, Python would take as long as the network. So it does only what is rare; see `LiveLoop.run`.

Axes: T steps, K outputs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from snnlab.compiled import borrow, compiled
from snnlab.streaming.event_decoders import EVENT, LineForm, parse_lines
from snnlab.streaming.event_loops import feed, first_us
from snnlab.streaming.event_stream import STEPS_AT_ONCE, EventStream
from snnlab.streaming.latency import LatencyHistogram, bin_of
from snnlab.streaming.system_calls import SET_WORDS, clock_s, now_s, read_bytes, wait_readable, write_bytes
from snnlab.streaming.update_loops import engine_at

_loop, _inner = compiled(nogil=True, error_model="numpy"), njit(nogil=True, error_model="numpy")

_bin = _inner(bin_of)

# Bytes of one read, as many as a pipe holds, and of the beginning of an event that the read before it left.
PIECE, _LONGEST_REST = 1 << 16, 1 << 16
# Bytes of a line without its name, if all numbers have 20 digits.
_LONGEST_LINE = 192
NEWLINE, EVENT_BYTES = np.uint8(10), EVENT.itemsize
# Why the loop returns; see `LiveLoop.run`.
READ, DECODE, WRITE, PAUSE, DONE, DROPPED = range(6)

# The window of the last `num_steps` outputs: where it ends in its memory; whether answers are means; the number of
# spikes before the last answer.
WINDOW = np.dtype([(name, np.int64) for name in ("end", "num_steps", "is_mean", "spikes")])
LIVE = np.dtype(
    [
        *(
            (name, np.int64)
            for name in (
                # Where bytes come from, the largest descriptor, and where lines go to, -1: Python; the form of events,
                # and their time that is 0, us.
                *("descriptor", "top", "output", "is_binary", "power", "lowest", "origin"),
                # Bytes of an event that has not ended, of a piece that Python should decode, and of pieces decoded.
                *("rest", "piece", "bytes", "lines"),
                # Events of the table that wait; the step that ends in any case, and whether it is the last one.
                *("first", "count", "end_step", "is_last"),
                # Steps from one line to the next; whether the last answer is there; what the lines have.
                *("every", "is_done", "has_latency", "name_size", "text_size"),
            )
        ),
        # Step, ms; probability of the last answer; patience, us; times of the clock, s, of the last events, and of
        # what ended a step; the largest latency, us.
        *((name, np.float64) for name in ("dt", "until", "max_wait", "arrived", "since", "return_at", "most_us")),
    ]
)
# The fields of `EVENT` that are read.
_READ = np.dtype(
    {
        "names": list("txyp"),
        "formats": ["<i8", "<u2", "<u2", "u1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": EVENT.itemsize,
    }
)


class Answers(NamedTuple):
    """The window of the last outputs, which is shared with the readouts that are not compiled; see `add_outputs`."""

    windows: np.ndarray
    memory: np.ndarray
    total: np.ndarray


class LoopArrays(NamedTuple):
    """The memory of the loop.

    Attributes:
        live: The record of `LIVE`.
        names: Quoted names of the classes; shorter ones end with zeros.
        text: Lines that have not been written.
        latencies: The bins of a `LatencyHistogram`.
        wanted, ready: Sets of descriptors: those that end the waiting, and those that can be read.
        data: Bytes that were read.
        events: The same memory as events of 16 bytes.
        table: Columns t, x, y, p of events that wait.
    """

    live: np.ndarray
    names: np.ndarray
    text: np.ndarray
    latencies: np.ndarray
    wanted: np.ndarray
    ready: np.ndarray
    data: np.ndarray
    events: np.ndarray
    table: np.ndarray


@_loop
def add_outputs(memory: Any, total: Any, windows: Any, y: Any) -> None:
    """Add the outputs of steps to a window.

    Args:
        memory: At least twice the window.
        total: The window's sum.
        windows: The record of `WINDOW`.
        y: The outputs.

    Shape:
        memory: `[N, K]`; total: `[K]`; y: `[T, K]`.
    """
    window = windows[0]  # numba compiles the loops over outputs in a fraction of the time of whole rows
    for row in range(y.shape[0]):
        if window.end == memory.shape[0]:
            first = window.end - window.num_steps
            for k in range(total.size):
                total[k] = 0
            for n in range(window.num_steps):
                for k in range(total.size):
                    memory[n, k] = memory[first + n, k]
                    total[k] += memory[n, k]  # differences round; they start again here
            window.end = window.num_steps
        for k in range(total.size):
            memory[window.end, k] = y[row, k]
            total[k] += y[row, k]
        gone = window.end - window.num_steps
        if gone >= 0:
            for k in range(total.size):
                total[k] -= memory[gone, k]
        window.end += 1


@_inner
def class_of(total: Any, window: Any) -> tuple[int, float]:
    """Return the class of the largest mean or sum of a window, and its probability."""
    scale = 1 / min(window.end, window.num_steps) if window.is_mean else 1.0
    found = int(total.argmax())
    weight = 0.0
    for k in range(total.size):
        weight += np.exp((total[k] - total[found]) * scale)
    return found, 1 / weight


@_inner
def put(text: Any, at: Any, word: Any) -> int:
    """Write the bytes of a word, and return the place after them."""
    for n in range(len(word)):
        text[at + n] = word[n]
    return at + len(word)


@_inner
def put_number(text: Any, at: Any, number: Any, decimals: Any) -> int:
    """Write a number that is not negative, in units of its last decimal and without zeros at its end, such as 0.5."""
    count = 0
    while decimals > 1 and number % 10 == 0:
        number, decimals = number // 10, decimals - 1
    rest = number
    while count <= decimals or rest > 0:
        rest //= 10
        count += 1
    end = at + count + (decimals > 0)
    for n in range(1, end - at + 1):
        if decimals > 0 and n == decimals + 1:
            text[end - n] = 46
        else:
            text[end - n] = 48 + number % 10
            number //= 10
    return end


@_inner
def put_line(live: Any, text: Any, names: Any, answer: Any, probability: Any, spikes: Any, done: Any, us: Any) -> None:
    """Write the line of an answer after the step number `done`."""
    at = put(text, live.text_size, b'{"t_ms": ')
    at = put_number(text, at, int(np.rint(done * live.dt * 1e4)), 4)
    at = put_number(text, put(text, at, b', "answer": '), answer, 0)
    at = put(text, at, b', "name": ')
    for n in range(live.name_size):
        if names[answer, n] != 0:
            text[at] = names[answer, n]
            at += 1
    at = put_number(text, put(text, at, b', "probability": '), int(np.rint(probability * 1e4)), 4)
    at = put_number(text, put(text, at, b', "spikes": '), spikes, 0)
    if live.has_latency:
        at = put_number(text, put(text, at, b', "latency_us": '), int(np.rint(us * 10)), 1)
    live.text_size = put(text, at, b"}\n")


@_inner
def answer_steps(own: Any, clock: Any, outputs: Any, spikes: Any, ran: Any, answers: Any, arrays: Any) -> None:
    """Add the outputs of steps that have run to the window, and write the lines that are due."""
    window = answers.windows[0]
    for n in range(ran):
        add_outputs(answers.memory, answers.total, answers.windows, outputs[n : n + 1])
        done = clock.step - ran + n + 1
        if own.is_done or (done % own.every != 0 and not (own.is_last and n == ran - 1)):
            continue
        answer, probability = class_of(answers.total, window)
        us = 0.0
        if own.has_latency:
            us = max(0.0, (clock_s() - own.since) * 1e6)
            arrays.latencies[_bin(us)] += 1
            own.most_us = max(own.most_us, us)
        put_line(own, arrays.text, arrays.names, answer, probability, spikes[n] - window.spikes, done, us)
        window.spikes = spikes[n]
        own.is_done = round(probability, 4) >= own.until


@_inner
def decode(own: Any, data: Any, events: Any, order: Any, table: Any, size: Any) -> bool:
    """Write the events that end in a piece to the table; return whether that was possible, else nothing changes."""
    size += own.rest
    if own.is_binary:
        count = size // EVENT_BYTES
        for n in range(count):
            event = events[n]
            table[0, n], table[1, n], table[2, n], table[3, n] = event.t, event.x, event.y, event.p
        end = count * EVENT_BYTES
    else:
        end = size
        while end > 0 and data[end - 1] != NEWLINE:
            end -= 1
        count, lines, bad, _, _ = parse_lines(data[:end], order, own.power, own.lowest, table)
        if bad > 0 or size - end >= _LONGEST_REST:
            return False
        own.lines += lines
    if own.origin != 0:
        for n in range(count):
            table[0, n] -= own.origin
    for n in range(size - end):
        data[n] = data[end + n]
    own.bytes += size - own.rest
    own.rest, own.count, own.first = size - end, count, 0
    return True


@_inner
def kinds_dropped(clock: Any) -> int:
    """Return how many kinds of events were dropped."""
    return int(clock.late > 0) + int(clock.ahead > 0) + int(clock.outside > 0)


@_inner
def is_other_ready(ready: Any, descriptor: Any) -> bool:
    """Return whether another descriptor than the one of the events can be read."""
    ready[descriptor >> 6] &= ~(np.uint64(1) << np.uint64(descriptor & 63))
    return bool(ready.any())


@_inner
def write_lines(own: Any, text: Any) -> bool:
    """Write lines to the output; return whether none is left, for Python to write."""
    written = max(0, write_bytes(own.output, text, 0, own.text_size)) if own.output >= 0 else 0
    for n in range(written, own.text_size):
        text[n - written] = text[n]
    own.text_size -= written
    return own.text_size == 0


@_inner
def end_of_patience(own: Any, clock: Any) -> float:
    """Return when the open step ends although no event of a later step has arrived, s."""
    if own.max_wait == np.inf or clock.events == 0:
        return np.inf
    return own.arrived + (first_us(clock.step + 1, clock) - clock.latest + own.max_wait) / 1e6


@_inner
def end_by_clock(own: Any, clock: Any) -> None:
    """Let the open step end, and those whose patience is over too."""
    own.since = clock_s()
    us = int(clock.latest + (own.since - own.arrived) * 1e6 - own.max_wait)
    own.end_step = max(clock.step + 1, us * clock.us_denominator // clock.us_numerator)


@_loop
def run_live(places: Any, outputs: Any, spikes: Any, answers: Any, arrays: Any, order: Any) -> int:
    """Feed the events of the table, read on, and write lines, until Python has to do something; return what.

    Args:
        places: The places of the `Engine`.
        outputs: Memory of the outputs of steps.
        spikes: Memory of their numbers of spikes.
        answers: The window of `Answers`.
        arrays: The `LoopArrays`.
        order: See `parse_lines`.
    """
    data, table, text = borrow(arrays.data), borrow(arrays.table), borrow(arrays.text)
    own, clock = arrays.live[0], engine_at(places).clock[0]
    kinds = kinds_dropped(clock)
    while True:
        ran = outputs.shape[0]
        while ran == outputs.shape[0]:
            n = own.count
            own.first, ran = feed(
                places, table[0, :n], table[1, :n], table[2, :n], table[3, :n], own.first, own.end_step, outputs, spikes
            )
            answer_steps(own, clock, outputs, spikes, ran, answers, arrays)
            if own.text_size > 0 and not write_lines(own, text):
                return WRITE
        own.first = own.count = own.end_step = 0
        if own.is_done:
            return DONE
        if kinds_dropped(clock) > kinds:
            return DROPPED
        if own.descriptor < 0:
            return READ
        now, ends_at = clock_s(), end_of_patience(own, clock)
        if now >= own.return_at:
            return PAUSE
        for n in range(arrays.ready.size):  # as a whole it would take seconds to compile
            arrays.ready[n] = arrays.wanted[n]
        found = wait_readable(arrays.ready, own.top + 1, max(0.0, min(own.return_at, ends_at) - now + 1e-6))
        if found == 0:
            if clock_s() >= ends_at:
                end_by_clock(own, clock)
            continue
        if found < 0 or is_other_ready(arrays.ready, own.descriptor):
            return READ
        size = read_bytes(own.descriptor, data, own.rest, PIECE)
        if size <= 0:
            return READ
        own.arrived = own.since = clock_s()
        if not decode(own, data, arrays.events, order, table, size):
            own.piece = size
            return DECODE


class LiveLoop:
    """Runs `run_live` with the memory that it needs.

    Args:
        stream: The stream.
        answers: The window of its outputs.
        names: Names of the classes.
        every: Steps from one line to the next.
        until: Probability of the last answer; None: there is none.
        max_wait: How long a step without later events waits after its end, ms; None: forever.
        latency: Latencies of the lines, which then have their own; None: they have none.

    Attributes:
        live: The record of `LIVE`.
        data: The bytes that were read; those before `rest` are of an event that has not ended.
    """

    def __init__(
        self,
        stream: EventStream,
        answers: Answers,
        names: Sequence[str],
        *,
        every: int,
        until: float | None,
        max_wait: float | None,
        latency: LatencyHistogram | None,
    ) -> None:
        self._latency = LatencyHistogram() if latency is None else latency
        words = [json.dumps(name).encode() for name in names]
        quoted = np.array([list(word.ljust(max(map(len, words)), b"\0")) for word in words], np.uint8)
        data = np.zeros(PIECE + _LONGEST_REST, np.uint8)
        self._engine, self._answers, self._order = stream.compiled_arguments, answers, np.zeros(1, np.int64)
        self._arrays = LoopArrays(
            live=np.zeros(1, LIVE),
            names=quoted,
            text=np.zeros(STEPS_AT_ONCE * (_LONGEST_LINE + quoted.shape[1]), np.uint8),
            latencies=self._latency.counts,
            wanted=np.zeros(SET_WORDS, np.uint64),
            ready=np.zeros(SET_WORDS, np.uint64),
            data=data,
            events=data.view(_READ),
            table=np.zeros((4, PIECE + 2), np.int64),
        )
        self.data, self.live = data, self._arrays.live[0]
        live = self.live
        live["every"], live["until"] = every, inf if until is None else until
        live["max_wait"] = inf if max_wait is None else max_wait * 1e3
        live["dt"], live["has_latency"], live["name_size"] = stream.dt, latency is not None, quoted.shape[1]
        live["descriptor"] = live["output"] = -1

    def give(self, columns: Sequence[np.ndarray], arrived_s: float) -> None:
        """Set the events that `run` begins with: columns t, x, y, p, and when they arrived."""
        size = columns[0].size
        for row, column in zip(self._arrays.table, columns, strict=True):
            row[:size] = column
        self.live["first"], self.live["count"] = 0, size
        self.live["arrived"] = self.live["since"] = arrived_s

    def end_steps(self, number: int, *, is_last: bool = False) -> None:
        """Let `run` end steps until a number of them have ended; the last one of all is answered in any case."""
        self.live["end_step"], self.live["is_last"], self.live["since"] = number, is_last, now_s()

    def read_from(self, descriptors: Sequence[int], form: LineForm, origin: int = 0, rest: bytes = b"") -> None:
        """Let `run` read bytes.

        Args:
            descriptors: Where they come from, then others that wake `run`; nothing: there are no bytes.
            form: Their form.
            origin: The time that is 0, us.
            rest: The bytes of an event that has not ended.
        """
        live = self.live
        live["descriptor"], live["top"] = next(iter(descriptors), -1), max(descriptors, default=0)
        live["origin"], live["is_binary"] = origin, form.order is None
        live["power"], live["lowest"] = form.power, form.lowest
        self._order = np.zeros(1, np.int64) if form.order is None else form.order
        self._arrays.wanted[:] = 0
        for one in descriptors:
            self._arrays.wanted[one >> 6] |= np.uint64(1 << (one & 63))
        self.data[: len(rest)] = np.frombuffer(rest, np.uint8)
        live["rest"], live["bytes"], live["lines"], live["piece"] = len(rest), 0, 0, 0

    def run(self, return_at: float) -> int:
        """Feed the events that were given, and read on, until Python has to do something; return what.

        READ: read, as there is nothing that the loop can read; DECODE: decode the `piece` of bytes after the `rest` in
        `data`; WRITE: write the text, and go on; PAUSE: the time is over; DONE: the last answer is there; DROPPED:
        events of another kind than before were dropped.

        Args:
            return_at: When to return at the latest, by `now_s`.
        """
        self.live["return_at"] = return_at
        reason = run_live(*self._engine, self._answers, self._arrays, self._order)
        self._latency.max_us = max(self._latency.max_us, float(self.live["most_us"]))
        return reason

    @property
    def is_whole(self) -> bool:
        """Whether all events that were read have been fed."""
        return self.live["first"] == self.live["count"] and not self.live["end_step"]

    def feed_rest(self) -> None:
        """Feed the events that were read, without further lines."""
        self.live["is_done"], self.live["text_size"] = True, 0
        self.read_from((), LineForm())
        self.run(now_s())

    def clear(self) -> None:
        """Forget the step to end, lines and latencies."""
        self._latency.clear()
        for name in ("end_step", "is_done", "text_size", "most_us"):
            self.live[name] = 0

    def take_text(self) -> str:
        """Return the lines that Python should write."""
        size = int(self.live["text_size"])
        self.live["text_size"] = 0
        return self._arrays.text[:size].tobytes().decode()
