"""What a run's network answers to recordings: windows of them, pieces of these, and the outputs to them.

Axes: T steps, B recordings, K outputs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.data.control import Controlled
from snnlab.data.data_settings import DATASETS, DataSettings
from snnlab.data.events import Events, check_events
from snnlab.data.events.frames import EventBatch
from snnlab.data.events.representation import Framing, in_pieces
from snnlab.data.formats import Reading, read_file, recordings_of
from snnlab.data.windows import window_counts
from snnlab.errors import ConfigError, DataError
from snnlab.nn import Network
from snnlab.nn.losses import Loss
from snnlab.session.early_exit_options import clock_of, no_early_answers
from snnlab.session.opened_run import OpenedRun, left_out_pixels

# Options of `snnlab predict` that say how files are read.
READING = ("--time-unit", "--time-origin", "--columns")


class Window(NamedTuple):
    """A window of a recording.

    Attributes:
        start_us: When it begins, us.
        events: Its events, their times from there on.
        left_out: Later events, which no window has.
    """

    start_us: int
    events: Events
    left_out: int


class Heard(NamedTuple):
    """What the network gave until the end of a piece of a window.

    Attributes:
        y: Its output at all steps until now.
        first: Number of the piece's first step.
        last: Whether no piece follows.

    Shape:
        y: `[T, 1, K]`.
    """

    y: Tensor
    first: int
    last: bool


def windows(events: Events, settings: DataSettings) -> Iterator[Window]:
    """Yield the windows of a recording: one from its start on, or one every `stride_ms`."""
    stride, last_t = settings.stride_us, events.t[-1:] if events.t.size else np.array([-1])
    many = 1 if stride is None else int(window_counts(last_t, stride, settings.duration_us)[0])
    for number in range(many):
        start = number * (stride or 0)
        first, stop = np.searchsorted(events.t, (start, start + settings.duration_us)).tolist()
        seen = events.take(slice(first, stop))
        yield Window(start, seen._replace(t=seen.t - start), events.t.size - stop if stride is None else 0)


def hear(network: Network, framing: Framing, events: Events, size: int) -> Iterator[Heard]:
    """Feed a window to a network in pieces of time, with the state carried from each to the next.

    Frames and what the layers make of them are there for a piece at a time; outputs, K numbers a step, are kept, so
    that any loss reads them out as it does those of the whole. They are those of the whole bit for bit, as far as the
    library of matrices is, whose sums may be rounded otherwise for fewer rows.

    Args:
        network: The network, in evaluation.
        events: The window's events.
        size: Steps of a piece.
    """
    batch = EventBatch.of([events])
    steps = framing.steps.num_bins
    valid = int(framing.valid_steps(framing.region(batch)))
    outputs: list[Tensor] = []
    state, first = None, 0
    for x in in_pieces(framing, batch, size):
        x = x[: valid - first]
        # A batch norm a step begins with one step or with all.
        for part in x.split([1, len(x) - 1]) if first == 0 and 1 < len(x) < steps else (x,):
            with torch.no_grad():
                y, state = network(part, state)
            outputs.append(y)
        first += len(x)
        yield Heard(torch.cat(outputs), first - len(x), first == valid)
        if first == valid:
            return


def steps_of_piece(text: str, settings: DataSettings) -> int:
    """Return how many steps a piece of so many ms has.

    Args:
        text: The piece's length, ms.
        settings: The steps.

    Raises:
        ConfigError: if it is no whole number of steps, or steps have no length.
    """
    if settings.step_ms is None:
        raise ConfigError("predict", "--pieces are pieces of time, and steps of data.bin_by: count have no length")
    try:
        many = Fraction(text) * settings.steps / Fraction(str(settings.duration_ms))
    except (ValueError, ZeroDivisionError):
        raise ConfigError("predict", f"--pieces needs a length in ms, got {text}") from None
    # A step of a third of a ms has no end of digits.
    if many < Fraction(1, 2) or abs(many - round(many)) > Fraction(1, 1000):
        near = max(1, round(many))
        raise ConfigError(
            "predict",
            f"--pieces must be a whole number of steps, and dt is {settings.step_ms:g} ms, got {text} ms",
            f"near is {near * settings.step_ms:g}",
        )
    return round(many)


def require_sensor(events: Events, settings: DataSettings, name: str | Path) -> None:
    """Refuse a recording that is not of the run's sensor, or that cannot be used for another reason.

    Raises:
        DataError: naming the recording, such as by its file.
    """
    width, height, _ = settings.size
    for key, column, size in (("x", events.x, width), ("y", events.y, height)):
        if column is not None and column.size and not 0 <= column.min() <= column.max() < size:
            raise DataError(
                name,
                (
                    f"is of another sensor: {key} spans {column.min()}..{column.max()}, and this run's"
                    f" sensor has {width} x {height} pixels"
                ),
            )
    check_events(events, settings.size, str(name))


Row = dict[str, Any]
_ANSWER = ("answer", "name", "probability", "events", "left_out")


class Rows(NamedTuple):
    """How outputs become rows.

    Attributes:
        loss: What the network was trained for, which reads its outputs out.
        settings: The targets, and the steps.
        names: What classes or values are called; None: by their numbers.
    """

    loss: Loss
    settings: DataSettings
    names: Sequence[str] | None

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns; those of values are as in a table of labels."""
        if self.settings.targets == "value":
            return ("file", "start_ms", *map(self._value, range(self.settings.num_classes)), "events", "left_out")
        if self.settings.targets == "steps":
            return ("file", "window_ms", "start_ms", "end_ms", *_ANSWER)
        return ("file", "start_ms", *_ANSWER)

    def of(self, file: str, window: Window, heard: Heard) -> Iterator[Row]:
        """Yield the rows of a window, from all steps until now; of labels over time those of the piece's steps."""
        steps, lengths = len(heard.y), torch.tensor([len(heard.y)])
        readout = self.loss.readout(heard.y, lengths)
        if self.settings.targets == "steps":
            yield from self._stretches(file, window, readout[heard.first :, 0], heard.first)
            return
        if self.settings.targets == "value":
            answer = {self._value(k): value for k, value in enumerate(readout[0].tolist())}
        else:
            answer = self._label(readout.float().softmax(-1))
        # Of a recording that is over before its window is, all events are seen.
        seen = window.events.t.size if heard.last else self._events_before(window, steps)
        start = {"file": file, "start_ms": window.start_us / 1000}
        yield {**start, **answer, "events": seen, "left_out": window.left_out}

    def confidence(self, heard: Heard) -> float:
        """Return how probable the answer of a class is until now."""
        readout = self.loss.readout(heard.y, torch.tensor([len(heard.y)]))
        return float(readout.float().softmax(-1).max())

    def until_ms(self, window: Window, steps: int) -> float:
        """Return when so many steps of a window are over, ms of the recording."""
        data = self.settings
        return round((window.start_us + steps * data.duration_us / data.steps) / 1000, 4)

    def _stretches(self, file: str, window: Window, readout: Tensor, first: int) -> Iterator[Row]:
        """Yield a row for each stretch of steps with the same answer, `readout [T, K]`."""
        odds = readout.float().softmax(-1)
        labels = odds.argmax(-1)
        begins = [0, *(labels.diff().nonzero().flatten() + 1).tolist(), len(labels)]
        for begin, end in pairwise(begins):
            yield {
                "file": file,
                "window_ms": window.start_us / 1000,
                "start_ms": self.until_ms(window, first + begin),
                "end_ms": self.until_ms(window, first + end),
                **self._label(odds[begin:end]),
                "events": self._events_before(window, first + end) - self._events_before(window, first + begin),
                "left_out": window.left_out,
            }

    def _label(self, odds: Tensor) -> Row:
        """Return the label of steps that have the same, `odds [T, K]`, and its mean probability."""
        answer = int(odds[0].argmax())
        name = str(answer) if self.names is None else self.names[answer]
        return {"answer": answer, "name": name, "probability": round(float(odds[:, answer].mean()), 4)}

    def _events_before(self, window: Window, step: int) -> int:
        ends_us = -(-step * self.settings.duration_us // self.settings.steps)
        return int(np.searchsorted(window.events.t, ends_us))

    def _value(self, number: int) -> str:
        return f"value_{number if self.names is None else self.names[number]}"


def answers(
    run: OpenedRun,
    rows: Rows,
    framing: Framing,
    events: Events,
    name: str,
    size: int | None = None,
    *,
    each: bool = False,
    until: float | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield what the network answers to each window of a recording.

    Args:
        name: What it is called, such as its file.

    Raises:
        DataError: if it is not of the run's sensor.
    """
    settings, camera, ahead = rows.settings, rows.settings.camera, 0.0
    if until is not None:
        ahead = clock_of(settings).ahead_ms  # a frame may wait for events after its step
    require_sensor(events, settings, name)
    if camera is not None:
        events = camera.still(events, settings.size)
    for window in windows(events, settings):
        for heard in hear(run.network, framing, window.events, size or settings.steps):
            if each:
                so_far = {"until_ms": rows.until_ms(window, len(heard.y)), "final": heard.last}
                yield from (row | so_far for row in rows.of(name, window, heard))
            elif until is not None and (heard.last or rows.confidence(heard) >= until):
                at = {"until_ms": rows.until_ms(window, len(heard.y)) + ahead}
                yield from (row | at for row in rows.of(name, window, heard))
                break
            elif heard.last:
                yield from rows.of(name, window, heard._replace(first=0))


def as_trained(run: OpenedRun, framing: Framing) -> Framing:
    """Return how events become frames for a run; of one that was trained under a control it is told."""
    kind = run.experiment.control
    if kind is None:
        return framing
    print(f"snnlab: {run.folder}: was trained under control: {kind}; its answers are worth little", file=sys.stderr)
    return Controlled(kind, run.experiment.seed, framing.steps.duration_us).framing(framing)


def check_until(run: OpenedRun, settings: DataSettings) -> None:
    """Refuse answers before a window's end where the run's network has none.

    Raises:
        ConfigError: saying why.
    """
    if why := no_early_answers(run.experiment, settings) or (
        "steps of data.bin_by: count have no time" if settings.step_ms is None else None
    ):
        raise ConfigError("predict", f"--until: {why}")


def reading_of(data: Mapping[str, Any], options: Mapping[str, str]) -> Reading:
    """Return how files are read: as the run's dataset reads its own, with what the options say.

    Raises:
        ConfigError: if an option is none of what there is.
    """
    own = getattr(DATASETS.get(data["type"], "data"), "reading", Reading(time_origin="zero"))
    if data["type"] == "folder":
        columns, values = data.get("columns"), data.get("polarity_values")
        own = Reading(
            data.get("time_unit", "us"),
            data.get("time_origin", "first"),
            data.get("sort", False),
            None if columns is None else tuple(columns),
            None if values is None else tuple(values),
        )
    given: dict[str, Any] = {
        name.lstrip("-").replace("-", "_"): value for name, value in options.items() if name in READING
    }
    if "columns" in given:
        given["columns"] = tuple(given["columns"].split(","))
    try:
        return replace(own, **given)
    except ValueError as error:
        raise ConfigError("predict", error) from error


class RunInput:
    """What makes recordings into frames as a run has them.

    Args:
        options: `time_unit`, `time_origin`, `columns`, where they are not those of the run's own dataset.
    """

    def __init__(self, run: OpenedRun, options: Mapping[str, Any]) -> None:
        self.run = run
        self.settings: DataSettings = run.session.settings
        self.framing: Framing = as_trained(run, self.settings.framing(left_out_pixels(run, self.settings)))
        said = {f"--{name.replace('_', '-')}": _word(value) for name, value in options.items() if value is not None}
        self.reading: Reading = reading_of(run.experiment.data, said)

    def frames(self, given: Any) -> Tensor:
        """Return the frames of the first window of each recording, `[T, B, ...]`."""
        recordings = []
        for name, events in recordings_of(given, self.reading, self.settings.size):
            require_sensor(events, self.settings, name)
            camera = self.settings.camera
            recordings.append(events if camera is None else camera.still(events, self.settings.size))
        return self.framing(EventBatch.of(recordings)).x

    @cached_property
    def rows(self) -> Rows:
        """What makes rows of the network's outputs."""
        names = self.run.recorded.class_names(self.settings.num_classes)
        return Rows(self.run.session.loss, self.settings, names)

    def answers(self, given: Any) -> list[dict[str, Any]]:
        """Return what the network answers to each window of each recording, as `snnlab predict` writes it."""
        return [
            row
            for name, events in recordings_of(given, self.reading, self.settings.size)
            for row in answers(self.run, self.rows, self.framing, events, name)
        ]

    def predictions(
        self, files: Sequence[Path], pieces: str | None = None, until: float | None = None, *, each: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Return what the network answers to each window of each file.

        Args:
            files: The files.
            pieces: The ms that the network is fed at a time; None: a window at once, or with `until` step by step.
            until: The probability at which it answers; None: at the end.
            each: Whether there is a row after each of the pieces that are asked for, too.

        Raises:
            SnnlabError: for pieces that are no whole number of steps, early answers that there are not, a bad file.
        """
        size = None if pieces is None else steps_of_piece(pieces, self.settings)
        if until is not None:
            check_until(self.run, self.settings)
        each, size = each and size is not None and until is None, 1 if until is not None and size is None else size
        return (
            row
            for path in files
            for row in answers(
                self.run,
                self.rows,
                self.framing,
                read_file(path, self.reading, self.settings.size),
                str(path),
                size,
                each=each,
                until=until,
            )
        )


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(value)
