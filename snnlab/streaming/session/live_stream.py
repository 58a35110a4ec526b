"""A recorded run on a stream of events: lines of answers, silence, dropped events."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator, Iterable
from math import inf
from typing import Any, NamedTuple

import numpy as np

from snnlab.errors import ConfigError
from snnlab.session.early_exit_options import early_exit_problem
from snnlab.session.opened_run import OpenedRun
from snnlab.streaming.event_decoders import Columns
from snnlab.streaming.event_input import EventInput
from snnlab.streaming.latency import LatencyHistogram
from snnlab.streaming.session.open_stream import stream
from snnlab.streaming.session.stream_answers import StreamAnswers
from snnlab.streaming.session.stream_page import ANSWERED, FAILED, SOURCE_CLOSED, STOPPED, PageServer, StreamPage
from snnlab.zoo import run_label

log = logging.getLogger(__name__)

DEFAULT_EVERY_MS = 100.0

Row = dict[str, Any]
# Outputs `[T, K]` and the numbers of spikes since the start, `[T]`.
Steps = tuple[np.ndarray, np.ndarray]
_NO_EVENTS = tuple(np.zeros(0, np.int64) for _ in range(4))
# What a message says of the first dropped event of each kind, and what helps.
_DROPPED = {
    "late": ("of a step that had ended", "send events in the order of their times"),
    "ahead": ("more than an hour ahead", "see --time-origin and --max-wait"),
    "outside": ("outside the sensor", "for another order of columns see --columns"),
}


class LiveOptions(NamedTuple):
    """Options of `snnlab stream`.

    Attributes:
        dt: Length of a step, ms; None: that of the run.
        every: Time from one answer to the next, ms; None: 100 ms, or one step if that is longer.
        until: The first answer with this probability is the last one.
        max_wait: A step without later events ends this long after its end by the clock, ms; None: it waits for them.
        fold_norm: Whether batch normalizations are folded.
        times: Whether rows have their latency.
    """

    dt: float | None = None
    every: float | None = None
    until: float | None = None
    max_wait: float | None = None
    fold_norm: bool = False
    times: bool = False


class LiveStream:
    """A run's event stream and its answers, for `snnlab stream`.

    Args:
        run: The run.
        options: The options.
    """

    def __init__(self, run: OpenedRun, options: LiveOptions) -> None:
        settings = run.session.settings
        self.options = options
        self.stream = stream(run, dt=options.dt or settings.step_ms, fold_norm=options.fold_norm)
        self.dt = float(self.stream.dt or 0)
        self._every = max(1, round((options.every or DEFAULT_EVERY_MS) / self.dt))
        if options.every is not None and abs(self._every * self.dt - options.every) > 1e-6 * options.every:
            problem = f"must be a whole number of steps of {self.dt:g} ms, got {options.every:g} ms"
            raise ConfigError("--every", problem)
        if options.until is not None and (why := early_exit_problem(run.experiment, settings)):
            raise ConfigError("--until", why)
        self.answers = StreamAnswers(run, self.dt, int(np.prod(self.stream.out_shape)))
        self.latency = LatencyHistogram()
        self._warm_up()
        self._answered_spikes = 0
        self._reported: set[str] = set()
        self._is_done, self._run_label = False, run_label(run.folder)
        self.page: StreamPage | None = None

    def show(self, server: PageServer, source: str, speed: float | None = None) -> StreamPage:
        """Serve a page of the stream until it is closed.

        Args:
            server: The server.
            source: Name of the input.
            speed: How much faster than real time a recording plays.
        """
        shown = {"run": self._run_label, "source": source, "speed": speed}
        shown |= {"outputs": self.answers.names, "has_values": self.answers.has_values}
        self.page = StreamPage(self.stream, server, self.answers.num_steps * self.dt, shown)
        return self.page

    def _warm_up(self) -> None:
        """Load the compiled loops and the readout, which takes some tenths of a second, before events arrive."""
        for outputs, _ in self.stream.views(_NO_EVENTS, 1):
            self.answers.add(outputs)
        self.answers.add(self.stream.finish().reshape(1, -1))
        self.answers.answer()
        self.answers.clear()
        self.stream.reset()

    def lines(self, events: EventInput) -> Generator[str]:
        """Yield lines of JSON while events arrive; the generator must be closed, so that the input is."""
        ended = STOPPED
        try:
            while not (events.closed or self._is_done):
                arrived = events.read(self._until_clock(events))
                rows = self._rows_of(arrived, events)
                if rows:
                    yield _text(rows)
                self._report(events)
            if self.stream.num_waiting and not self._is_done:
                y, spikes = self.stream.finish().reshape(1, -1), np.array([self.stream.num_spikes])
                yield _text(self._rows([(y, spikes)], events.arrived_s, is_last=True))
            ended = ANSWERED if self._is_done else SOURCE_CLOSED
        except Exception:
            ended = FAILED
            raise
        finally:
            if self.page is not None:
                if self.answers.window.size:
                    self.page.add_answer(self.stream.num_steps, self.answers.outputs())
                self.page.ended = ended
            events.close()

    def _rows_of(self, arrived: Columns | None, events: EventInput) -> list[Row]:
        """Run the network on what has arrived, or until now if that is nothing; return a row for each answer."""
        if arrived is None:
            end = self.stream.step_at(self._now_us(events))
            return self._rows(self._steps(_NO_EVENTS, end), time.monotonic())
        if self.page is not None:
            self.page.add_events(arrived)
            self.page.unreadable = events.num_bad
        return self._rows(self._steps(tuple(arrived.values())), events.arrived_s)

    def _steps(self, columns: tuple[np.ndarray, ...], end: int = 0) -> Iterable[Steps]:
        if self.page is None:
            return self.stream.views(columns, end)
        return self.page.timed(self.stream.views(columns, end, most=1))

    def _now_us(self, events: EventInput) -> float:
        """Return the time of the source, less the time that a step waits: it goes on since the last event came."""
        since_us = (time.monotonic() - events.arrived_s) * 1e6
        return self.stream.latest_us + since_us - (self.options.max_wait or 0) * 1e3

    def _until_clock(self, events: EventInput) -> float | None:
        """Return the time until the open step ends by the clock, s; None: never."""
        if self.options.max_wait is None or not self.stream.num_events:
            return None
        return max(0.0, (self.stream.start_us(self.stream.num_steps + 1) - self._now_us(events)) / 1e6)

    def _rows(self, parts: Iterable[Steps], arrived_s: float, *, is_last: bool = False) -> list[Row]:
        """Add outputs to the window, and return a row for the end of each interval."""
        rows: list[Row] = []
        for outputs, spikes in parts:
            if self._is_done:  # the steps after the last answer run, but are not answered
                continue
            end = self.stream.num_steps
            first = end - len(outputs)
            done = first
            while done < end and not self._is_done:
                stop = end if is_last else min(end, done // self._every * self._every + self._every)
                self.answers.add(outputs[done - first : stop - first])
                done = stop
                if is_last or done % self._every == 0:
                    rows.append(self._row(done * self.dt, int(spikes[done - first - 1]), arrived_s))
            if self.page is not None and end % self.page.answer_steps == 0:
                self.page.add_answer(end, self.answers.outputs())
        return rows

    def _row(self, t_ms: float, spikes: int, arrived_s: float) -> Row:
        row = {"t_ms": round(t_ms, 4), **self.answers.answer(), "spikes": spikes - self._answered_spikes}
        self._answered_spikes = spikes
        self._is_done = row.get("probability", 0) >= (inf if self.options.until is None else self.options.until)
        if self.options.times:
            us = (time.monotonic() - arrived_s) * 1e6
            self.latency.add(us)
            row["latency_us"] = round(us, 1)
        return row

    def _report(self, events: EventInput) -> None:
        """Say once of each kind that events are dropped."""
        for name, number in self.stream.dropped._asdict().items():
            if number and name not in self._reported:
                self._reported.add(name)
                kind, advice = _DROPPED[name]
                where = f"{self.stream.sensor_text()}; " if name == "outside" else ""
                log.warning("an event %s was dropped, as all such events will be; %s%s", kind, where, advice)
        if events.first_bad is not None and "bad" not in self._reported:
            self._reported.add("bad")
            log.warning("line %d is no event, got '%s'; all such lines will be dropped", *events.first_bad)

    def summary(self, num_bad: int) -> str:
        """Return the numbers of steps and events, as text.

        Args:
            num_bad: Number of lines that were no events.
        """
        own, dropped = self.stream, self.stream.dropped
        lost = f"dropped {dropped.late:,} late, {dropped.ahead:,} an hour ahead, {dropped.outside:,} outside the sensor"
        steps = f"{own.num_steps:,} steps of {own.dt:g} ms ({own.num_steps * self.dt / 1e3:,.2f} s)"
        return f"{steps}, {own.num_events:,} events; {lost}, {num_bad:,} unreadable"


def _text(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
