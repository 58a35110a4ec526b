"""A recorded run on a stream of events: lines of answers, silence, dropped events, saved state."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Generator, Iterable, Mapping
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from snnlab.errors import ConfigError
from snnlab.session.early_exit_options import early_exit_problem
from snnlab.session.opened_run import OpenedRun
from snnlab.streaming.event_decoders import Columns
from snnlab.streaming.event_input import CHECKSUM_BYTES, MOST_TIME_US, EventInput
from snnlab.streaming.latency import LatencyHistogram
from snnlab.streaming.live_loop import DECODE, DONE, READ, LiveLoop
from snnlab.streaming.pages.stream_memory import ANSWERED, FAILED, SOURCE_CLOSED, STOPPED
from snnlab.streaming.session.open_stream import stream
from snnlab.streaming.session.stream_answers import StreamAnswers
from snnlab.streaming.session.stream_page import PageText, StreamPage
from snnlab.streaming.stream_state import MOST_WHOLE, StateEntry, StreamState, read_state, write_state
from snnlab.streaming.system_calls import now_s
from snnlab.zoo import run_label

log = logging.getLogger(__name__)

DEFAULT_EVERY_MS = 100.0
# Time from one saved state to the next, s.
_SAVE_S = 10.0
# Bytes of the name of an input, such as a path, and of its form.
_NAME_BYTES, _FORM_BYTES = 4096, 256
# How long the compiled loop runs before Python looks at signals and at the time, s.
_LOOP_S = 0.25
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Row = dict[str, Any]
# Outputs `[T, K]` and the numbers of spikes since the start, `[T]`.
Steps = tuple[np.ndarray, np.ndarray]
_NOTHING: Columns = {}
_NO_EVENTS = tuple(np.zeros(0, np.int64) for _ in range(4))


class LiveOptions(NamedTuple):
    """Options of `snnlab stream`.

    Attributes:
        dt: Length of a step, ms; None: that of the run.
        every: Time from one answer to the next, ms; None: 100 ms, or one step if that is longer.
        until: The first answer with this probability is the last one.
        by_event: Whether each event runs through the network when it arrives.
        max_wait: A step without later events ends this long after its end by the clock, ms; None: it waits for them.
        fold_norm: Whether batch normalizations are folded.
        times: Whether rows have their latency.
    """

    dt: float | None = None
    every: float | None = None
    until: float | None = None
    by_event: bool = False
    max_wait: float | None = None
    fold_norm: bool = False
    times: bool = False


class SourceName(NamedTuple):
    """An input, and the form in which it is read, with which a position is another place."""

    name: str
    form: str

    @classmethod
    def of(cls, name: str, form: str) -> Self:
        """Return the name of an input, whose end is kept if it is long."""
        return cls(os.fsdecode(os.fsencode(name)[-_NAME_BYTES:]), form)


NO_SOURCE = SourceName("", "")


class SavedPlace(NamedTuple):
    """Where a stream has read its input.

    Attributes:
        source: The input.
        position: The position in it; see `EventInput`.
        num_lines: Number of lines before the position.
        origin_us: Time of the input that is time 0, us; None: no event has come.
        checksum: Of what the input has before the position.
    """

    source: SourceName = NO_SOURCE
    position: int = 0
    num_lines: int = 0
    origin_us: int | None = None
    checksum: bytes = bytes(CHECKSUM_BYTES)

    @staticmethod
    def state_entries() -> list[StateEntry]:
        """Return what the state of a place holds."""
        return [
            StateEntry("source", "|u1", (_NAME_BYTES,), 0, 255),
            StateEntry("form", "|u1", (_FORM_BYTES,), 0, 255),
            StateEntry("checksum", "|u1", (CHECKSUM_BYTES,), 0, 255),
            StateEntry("position", "<i8", (), 0, MOST_WHOLE),
            StateEntry("lines", "<i8", (), 0, MOST_WHOLE),
            StateEntry("origin", "<i8", (), -MOST_TIME_US, MOST_TIME_US),
            StateEntry("has_origin", "|u1", (), 0, 1),
        ]

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of `state_entries`."""
        texts = {"source": (self.source.name, _NAME_BYTES), "form": (self.source.form, _FORM_BYTES)}
        numbers = {"position": self.position, "lines": self.num_lines}
        numbers |= {"origin": self.origin_us or 0, "has_origin": self.origin_us is not None}
        return {
            "checksum": _bytes_array(self.checksum),
            **{key: _bytes_array(os.fsencode(text).ljust(size, b"\0")) for key, (text, size) in texts.items()},
            **{key: np.array(number) for key, number in numbers.items()},
        }

    @classmethod
    def of_state(cls, state: Mapping[str, np.ndarray]) -> Self:
        """Return the place in arrays of `state_entries` that were checked."""
        name, form = (os.fsdecode(state[one].tobytes().rstrip(b"\0")) for one in ("source", "form"))
        origin_us = int(state["origin"]) if state["has_origin"] else None
        position, num_lines = int(state["position"]), int(state["lines"])
        return cls(SourceName(name, form), position, num_lines, origin_us, state["checksum"].tobytes())


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
        if options.by_event:
            self.stream.check_each()
        self.latency = LatencyHistogram()
        self._loop = None if options.by_event or not self.answers.are_sums else self._compiled_loop()
        self._reads = True  # whether Python has to read, rather than the compiled loop
        self._warm_up()
        self.place = SavedPlace()
        self._bin = -1  # the open step of `by_event`
        self._reported: set[str] = set()
        self._dropped_before = self.stream.dropped
        self._is_done, self._run_label = False, run_label(run.folder)
        self.page: StreamPage | None = None

    def show(self, listener: socket.socket, source: str, speed: float | None = None) -> StreamPage:
        """Serve a page of the stream until it is closed.

        Args:
            listener: The socket of `open_port`.
            source: Name of the input.
            speed: How much faster than real time a recording plays.
        """
        if self.options.by_event:
            raise ConfigError("--page", "shows steps; with --by-event there are none")
        answers = self.answers
        said = PageText(self._run_label, source, answers.names, answers.has_values, answers.num_steps * self.dt, speed)
        self.page = StreamPage(self.stream, listener, said)
        self._loop = None  # Python hands the page what arrives
        self._warm_up()
        return self.page

    @property
    def _answered_spikes(self) -> int:
        return int(self.answers.shared.windows["spikes"][0])

    @_answered_spikes.setter
    def _answered_spikes(self, number: int) -> None:
        self.answers.shared.windows["spikes"] = number

    def _warm_up(self) -> None:
        """Load the compiled loops and their memory, which takes some tenths of a second, before events arrive."""
        if self._loop is None:
            for outputs, _ in self.stream.views(_NO_EVENTS, 1):
                self.answers.add(outputs)
            self.answers.add(self.stream.finish().reshape(1, -1))
            self.answers.answer()
        else:
            self._loop.end_steps(1)
            self._loop.run(now_s())
            self._loop.clear()
        self.answers.clear()
        self.stream.reset()

    def _compiled_loop(self) -> LiveLoop:
        return LiveLoop(
            self.stream,
            self.answers.shared,
            self.answers.names,
            every=self._every,
            until=self.options.until,
            max_wait=self.options.max_wait,
            latency=self.latency if self.options.times else None,
        )

    def lines(
        self,
        events: EventInput,
        source: SourceName = NO_SOURCE,
        state: Path | None = None,
        output: int | None = None,
    ) -> Generator[str]:
        """Yield lines of JSON while events arrive; the generator must be closed, so that the state is saved.

        Args:
            events: The events.
            source: The input, for the saved state.
            state: File for the state; it is written every 10 s, and at the end.
            output: Descriptor that lines are written to without Python, where that is possible; these are not yielded.
        """
        saved_s, is_settled, ended, signals = now_s(), True, STOPPED, _HeldSignals()
        if self._loop is not None:
            self._loop.live["output"] = -1 if output is None else output
        try:
            while not (events.closed or self._is_done):
                arrived = events.read(self._until_clock(events)) if self._reads else _NOTHING
                if state is not None:
                    signals.hold()
                is_settled = False
                found = self._piece(events, arrived)
                if self.page is not None:
                    self.page.update(events.num_bad)
                self.place = SavedPlace(source, events.position, events.num_lines, events.origin_us)
                is_settled = True
                if found:
                    yield found  # before a signal ends the stream: the saved state is that after these lines
                signals.release()
                self._report(events)
                is_whole = self._loop is None or self._loop.is_whole
                if state is not None and is_whole and now_s() - saved_s > _SAVE_S:
                    self.save(state, events)
                    saved_s = now_s()
            while not self._is_done and (self.stream.num_waiting or not self._reads):
                yield self._last_lines(events)
            ended = ANSWERED if self._is_done else SOURCE_CLOSED
        except Exception:
            ended = FAILED
            raise
        finally:
            if self.page is not None:
                if self.answers.window.size:
                    self.page.add_answer(self.stream.num_steps, self.answers.outputs())
                self.page.end(ended, events.num_bad)
            try:
                if state is not None and is_settled:
                    if self._loop is not None and not self._loop.is_whole:
                        self._loop.feed_rest()
                    self.save(state, events)
            finally:
                events.close()
                signals.release()

    def _piece(self, events: EventInput, arrived: Columns | None) -> str:
        """Run the network on what has arrived, or until now if that is nothing; return the lines to write."""
        end = self.stream.step_at(self._now_us(events)) if arrived is None else 0
        if self._loop is not None:
            if arrived is None:
                self._loop.end_steps(end)
            elif arrived:
                self._loop.give(tuple(arrived.values()), events.arrived_s)
            return self._run_loop(events)
        if self.page is not None and arrived is not None:
            self.page.add_events(arrived)
        if arrived is None:
            return _text(self._rows(self.stream.views(_NO_EVENTS, end), now_s()))
        if self.options.by_event:
            return _text(self._event_rows(arrived, events.arrived_s))
        return _text(self._rows(self.stream.views(tuple(arrived.values())), events.arrived_s))

    def _run_loop(self, events: EventInput) -> str:
        """Let the compiled loop feed events and read on, until Python has to do something."""
        assert self._loop is not None
        reason = events.run(self._loop, now_s() + _LOOP_S)
        self._reads = reason in (READ, DECODE)
        self._is_done = reason == DONE
        return self._loop.take_text()

    def _now_us(self, events: EventInput) -> float:
        """Return the time of the source, less the time that a step waits: it goes on since the last event came."""
        since_us = (now_s() - events.arrived_s) * 1e6
        return self.stream.latest_us + since_us - (self.options.max_wait or 0) * 1e3

    def _until_clock(self, events: EventInput) -> float | None:
        """Return the time until the open step ends by the clock, s; None: never."""
        if self.options.max_wait is None or not self.stream.num_events or self.options.by_event:
            return None
        return max(0.0, (self.stream.start_us(self.stream.num_steps + 1) - self._now_us(events)) / 1e6)

    def _last_lines(self, events: EventInput) -> str:
        """End the open step, and return what is left to write."""
        if self._loop is not None:
            if self._reads:
                self._loop.end_steps(self.stream.num_steps + 1, is_last=True)
            return self._run_loop(events)
        y = self.stream.finish().reshape(1, -1)
        return _text(self._rows([(y, np.array([self.stream.num_spikes]))], events.arrived_s, is_last=True))

    def _rows(self, parts: Iterable[Steps], arrived_s: float, *, is_last: bool = False) -> list[Row]:
        """Add outputs to the window, and return a row for the end of each interval."""
        rows: list[Row] = []
        for outputs, spikes in parts if self.page is None else self.page.timed(parts):
            if self._is_done:  # the steps after the last answer run, but are not answered
                continue
            end = self.stream.num_steps
            first = end - len(outputs)
            done = first
            while done < end and not self._is_done:
                stop = end if is_last else min(end, done // self._every * self._every + self._every)
                if self.page is not None:
                    stop = min(stop, max(self.page.next_answer, done + 1))
                self.answers.add(outputs[done - first : stop - first])
                done = stop
                if self.page is not None and self.page.wants_answer(done):
                    self.page.add_answer(done, self.answers.outputs())
                if is_last or done % self._every == 0:
                    rows.append(self._row(done * self.dt, int(spikes[done - first - 1]), arrived_s))
        return rows

    def _event_rows(self, events: Columns, arrived_s: float) -> list[Row]:
        """Run each event, and return a row for each one that causes an output."""
        inside = self.stream.inside(events)
        self.stream.count_outside(int(np.count_nonzero(~inside)))
        usable = {name: column[inside] for name, column in events.items()}
        outputs, spikes = self.stream.feed_each(usable)
        outputs = outputs.reshape(len(outputs), self.answers.window.shape[1])
        rows: list[Row] = []
        for n in np.flatnonzero(outputs.any(1)):
            t = int(usable["t"][n])
            step = max(self._bin, self.stream.step_at(t))
            self.answers.add(np.zeros((min(step - self._bin, self.answers.num_steps), outputs.shape[1]), np.float32))
            self._bin = step
            self.answers.add_to_last(outputs[n])
            rows.append(self._row(t / 1e3, int(spikes[n]), arrived_s))
            if self._is_done:
                break
        return rows

    def _row(self, t_ms: float, spikes: int, arrived_s: float) -> Row:
        row = {"t_ms": round(t_ms, 4), **self.answers.answer(), "spikes": spikes - self._answered_spikes}
        self._answered_spikes = spikes
        self._is_done = row.get("probability", 0) >= (inf if self.options.until is None else self.options.until)
        if self.options.times:
            us = (now_s() - arrived_s) * 1e6
            self.latency.add(us)
            row["latency_us"] = round(us, 1)
        return row

    def _report(self, events: EventInput) -> None:
        """Say once of each kind that events are dropped."""
        dropped = self.stream.dropped
        if dropped == self._dropped_before and events.first_bad is None:
            return
        self._dropped_before = dropped
        for kind, count, advice in (
            (
                "outside the sensor",
                dropped.outside,
                f"{self.stream.sensor_text()}; for another order of columns see --columns",
            ),
            ("of a step that had ended", dropped.late, "send events in the order of their times"),
            ("more than an hour ahead", dropped.ahead, "see --time-origin and --max-wait"),
        ):
            if count and kind not in self._reported:
                self._reported.add(kind)
                log.warning("%s", f"an event {kind} was dropped, as all such events will be; {advice}")
        bad = events.first_bad
        if bad is not None and "bad" not in self._reported:
            self._reported.add("bad")
            log.warning("line %d is no event, got '%s'; all such lines will be dropped", *bad)

    def _state_entries(self) -> list[StateEntry]:
        """Return what a saved state holds."""
        return [
            *self.stream.state_entries(),
            *self.answers.state_entries(),
            *self.place.state_entries(),
            StateEntry("spikes", "<i8", (), 0, MOST_WHOLE),  # since the last answer
            StateEntry("bin", "<i8", (), -1, MOST_TIME_US),  # steps are not shorter than 1 us
            StateEntry("by_event", "|u1", (), 0, 1),
        ]

    def save(self, path: Path, events: EventInput) -> None:
        """Write the state to a file.

        Args:
            path: The file.
            events: The input that was read.
        """
        own = {
            "spikes": self.stream.num_spikes - self._answered_spikes,
            "bin": self._bin,
            "by_event": self.options.by_event,
        }
        place = self.place._replace(checksum=events.checksum(self.place.position))
        arrays = self.stream.state()._asdict() | self.answers.state() | place.state()
        arrays |= {name: np.array(number) for name, number in own.items()}
        write_state(path, self.stream.digest(), self._state_entries(), arrays)

    def load(self, path: Path) -> None:
        """Go on from the state in a file."""
        found = read_state(path, self.stream.digest(), self._state_entries())
        if bool(found["by_event"]) != self.options.by_event:
            problem = f"is the state of a stream {'with' if found['by_event'] else 'without'} --by-event"
            raise ConfigError(path, problem, "stream as then, or name another file")
        self.stream.load(StreamState(*(found[name] for name in StreamState._fields)))
        self.answers.load(found)
        self.place = SavedPlace.of_state(found)
        self._answered_spikes, self._bin = self.stream.num_spikes - int(found["spikes"]), int(found["bin"])

    def summary(self, num_bad: int) -> str:
        """Return the numbers of steps and events, as text.

        Args:
            num_bad: Number of lines that were no events.
        """
        own, dropped = self.stream, self.stream.dropped
        lost = f"dropped {dropped.late:,} late, {dropped.ahead:,} an hour ahead, {dropped.outside:,} outside the sensor"
        steps = "" if self.options.by_event else f"{own.num_steps:,} steps of {own.dt:g} ms, "
        return f"{steps}{own.num_events:,} events; {lost}, {num_bad:,} unreadable"


def _bytes_array(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8)


def _text(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


class _HeldSignals:
    """Lets signals wait while a piece is half done: a state in between could not be saved.

    A signal that reaches another thread, such as one of torch, runs its handler in the main thread all the same, so
    handlers are exchanged: a mask of signals would hold back those of this thread only.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._arrived: list[int] = []

    def hold(self) -> None:
        """Keep signals from now on; in another thread than the main one, where no handler runs, do nothing."""
        if threading.current_thread() is threading.main_thread():
            numbers = [number for number in _ENDING if signal.getsignal(number) is not None]
            self._handlers = {number: signal.signal(number, self._keep) for number in numbers}

    def _keep(self, number: int, _: object) -> None:
        self._arrived.append(number)

    def release(self) -> None:
        """Let the signals that waited act."""
        handlers, self._handlers = self._handlers, {}
        for number, handler in handlers.items():
            signal.signal(number, handler)
        arrived, self._arrived = self._arrived, []
        for number in arrived:
            signal.raise_signal(number)
