"""Predicts with a run's network: windows of recordings, streamed in pieces, and their rows of answers.

Axes: T steps, B recordings, K outputs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.data.ablation import Ablation
from snnlab.data.cochlea import Cochlea
from snnlab.data.data_settings import DATASETS, DataSettings
from snnlab.data.events import Events, check_events
from snnlab.data.events.frames import EventBatch
from snnlab.data.events.representation import FrameBuilder, frame_chunks
from snnlab.data.formats import ReadOptions, iter_recordings, read_file
from snnlab.data.windows import window_counts
from snnlab.errors import ConfigError, DataError
from snnlab.nn import Network
from snnlab.nn.layer import whole_recording_layer
from snnlab.nn.losses import Loss
from snnlab.nn.neurons.base import plain_loops
from snnlab.printable import printable
from snnlab.session.early_exit_options import early_exit_problem, step_time
from snnlab.session.opened_run import OpenedRun, hot_pixel_mask
from snnlab.spec.nodes import load

# For as few files the plain loop takes less time than to compile, or load, a kernel for each kind of neuron.
FEW_FILES = 8
# The options of `snnlab predict` for reading files.
READING = ("--time-unit", "--time-origin", "--columns")


class RecordingWindow(NamedTuple):
    """A window of a recording.

    Attributes:
        start_us: Its start, us.
        events: Its events, with times relative to the start.
        num_dropped: The number of later events that are in no window.
    """

    start_us: int
    events: Events
    num_dropped: int


class StreamedOutput(NamedTuple):
    """The network's output until the end of a piece of a window.

    Attributes:
        y: The output of all steps so far.
        first: Index of the piece's first step.
        last: True for the last piece.

    Shape:
        y: `[T, 1, K]`.
    """

    y: Tensor
    first: int
    last: bool


def split_windows(events: Events, settings: DataSettings) -> Iterator[RecordingWindow]:
    """Yield the windows of a recording: one from its start, or one every `stride_ms`."""
    stride, duration = settings.stride_us, settings.duration_us
    last_t = int(events.t[-1]) if events.t.size else -1
    count = 1 if stride is None else int(window_counts(np.array([last_t]), stride, duration)[0])
    for number in range(count):
        start = number * (stride or 0)
        first, stop = np.searchsorted(events.t, (start, start + duration)).tolist()
        seen = events.take(slice(first, stop))
        yield RecordingWindow(start, seen._replace(t=seen.t - start), events.t.size - stop if stride is None else 0)


def stream_window(
    network: Network, frame_builder: FrameBuilder, events: Events, size: int, *, plain: bool = False
) -> Iterator[StreamedOutput]:
    """Stream a window through a network in pieces of time, and carry the state from piece to piece.

    Frames and activations exist for one piece at a time. The outputs, K numbers per step, are kept, so that any loss
    can read them out. They equal the outputs of the whole window bit for bit, unless the matrix library rounds sums
    differently for fewer rows.

    Args:
        network: The network, in eval mode.
        events: The window's events.
        size: Steps per piece.
        plain: Run the neurons in the plain loop, which compiles nothing; their spikes are the same.
    """
    batch = EventBatch.of([events])
    steps = frame_builder.steps.num_bins
    valid = int(frame_builder.valid_steps(frame_builder.region(batch)))
    outputs: list[Tensor] = []
    state, first = None, 0
    for x in frame_chunks(frame_builder, batch, size):
        x = x[: valid - first]
        # A batch norm with per_step must start with one step or with all.
        for part in x.split([1, len(x) - 1]) if first == 0 and 1 < len(x) < steps else (x,):
            with torch.no_grad(), plain_loops() if plain else nullcontext():
                y, state = network(part, state)
            outputs.append(y)
        first += len(x)
        yield StreamedOutput(torch.cat(outputs), first - len(x), first == valid)
        if first == valid:
            return


def chunk_steps(text: str, settings: DataSettings) -> int:
    """Return the number of steps of a piece.

    Args:
        text: The length of a piece, ms.
        settings: The data settings, for the length of a step.
    """
    if settings.step_ms is None:
        raise ConfigError(
            "predict", "--pieces needs steps of a fixed length, and those of data.bin_by: count have none"
        )
    try:
        count = Fraction(text) * settings.steps / Fraction(str(settings.duration_ms))
    except (ValueError, ZeroDivisionError):
        raise ConfigError("predict", f"--pieces needs a length in ms, got {text}") from None
    # A tolerance, since a step of 1/3 ms has infinitely many digits.
    if count < Fraction(1, 2) or abs(count - round(count)) > Fraction(1, 1000):
        near = max(1, round(count))
        raise ConfigError(
            "predict",
            f"--pieces must be a whole number of steps, and dt is {settings.step_ms:g} ms, got {text} ms",
            f"the nearest is {near * settings.step_ms:g}",
        )
    return round(count)


def require_sensor(events: Events, settings: DataSettings, name: str | Path) -> None:
    """Refuse a recording of another sensor than the run's, or with invalid events."""
    width, height, _ = settings.size
    for key, column, size in (("x", events.x, width), ("y", events.y, height)):
        if column is not None and column.size and not 0 <= column.min() <= column.max() < size:
            raise DataError(
                name,
                (
                    f"is from another sensor: {key} spans {column.min()}..{column.max()}, and the sensor of"
                    f" this run has {width} x {height} pixels"
                ),
            )
    check_events(events, settings.size, str(name))


PredictionRow = dict[str, Any]
_ANSWER = ("answer", "name", "probability", "events", "left_out")


class RowBuilder(NamedTuple):
    """Converts outputs to rows.

    Attributes:
        loss: The loss of the training; its readout is used.
        settings: The data settings, for targets and steps.
        names: Names of the classes or values; None: their numbers.
    """

    loss: Loss
    settings: DataSettings
    names: Sequence[str] | None

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns; values are named as in a table of labels."""
        values = map(self._value_column, range(self.settings.num_classes))
        if self.settings.targets == "value":
            return ("file", "start_ms", *values, "events", "left_out")
        if self.settings.targets == "series":
            return ("file", "window_ms", "start_ms", "end_ms", *values)
        if self.settings.targets == "steps":
            return ("file", "window_ms", "start_ms", "end_ms", *_ANSWER)
        return ("file", "start_ms", *_ANSWER)

    def build(self, file: str, window: RecordingWindow, output: StreamedOutput) -> Iterator[PredictionRow]:
        """Yield the rows of a window from all steps so far; for targets over time, only those of the piece's steps.

        Without events, and where all outputs are equal, the fields of the answer are None; a label of one step is then
        class 0, as while nothing has reached the outputs.
        """
        steps, lengths = len(output.y), torch.tensor([len(output.y)])
        readout = self.loss.readout(output.y, lengths)
        if self.settings.targets == "steps":
            yield from self._segments(file, window, readout[output.first :, 0], output.first)
            return
        if self.settings.targets == "series":
            yield from self._each_step(file, window, self.loss.answers(output.y)[output.first :, 0], output.first)
            return
        # A recording may end before its window: then all events are seen.
        seen = window.events.t.size if output.last else self._events_before(window, steps)
        if self.settings.targets == "value":
            answer = self._values(readout[0], seen)
        else:
            probabilities = readout.float().softmax(-1)
            answer = self._label(probabilities, 0 if _are_equal(probabilities[0]) else seen)
        start = {"file": file, "start_ms": window.start_us / 1000}
        yield {**start, **answer, "events": seen, "left_out": window.num_dropped}

    def confidence(self, window: RecordingWindow, output: StreamedOutput) -> float:
        """Return the probability of the most probable class so far; 0 before the first event."""
        if not self._events_before(window, len(output.y)):
            return 0.0
        readout = self.loss.readout(output.y, torch.tensor([len(output.y)]))
        return float(readout.float().softmax(-1).max())

    def problem(self, window: RecordingWindow, row: PredictionRow) -> str | None:
        """Return why the last row of a window has no answer; None if it has one."""
        if not window.events.t.size:
            later = f", and {window.num_dropped:,} later: --time-origin first begins at the first event"
            return f"no events in it{later if window.num_dropped else ''}"
        return "all outputs are equal" if self.settings.targets == "class" and row["answer"] is None else None

    def until_ms(self, window: RecordingWindow, steps: int) -> float:
        """Return the end of so many steps of a window, ms of the recording."""
        data = self.settings
        return round((window.start_us + steps * data.duration_us / data.steps) / 1000, 4)

    def _segments(self, file: str, window: RecordingWindow, readout: Tensor, first: int) -> Iterator[PredictionRow]:
        """Yield a row for each segment of steps with the same answer, `readout [T, K]`."""
        probabilities = readout.float().softmax(-1)
        labels = probabilities.argmax(-1)
        bounds = [0, *(labels.diff().nonzero().flatten() + 1).tolist(), len(labels)]
        for begin, end in pairwise(bounds):
            yield {
                "file": file,
                "window_ms": window.start_us / 1000,
                "start_ms": self.until_ms(window, first + begin),
                "end_ms": self.until_ms(window, first + end),
                **self._label(probabilities[begin:end], window.events.t.size),
                "events": self._events_before(window, first + end) - self._events_before(window, first + begin),
                "left_out": window.num_dropped,
            }

    def _each_step(self, file: str, window: RecordingWindow, answers: Tensor, first: int) -> Iterator[PredictionRow]:
        """Yield a row for each step, with its values, `answers [T, K]`."""
        for step, values in enumerate(answers, first):
            yield {
                "file": file,
                "window_ms": window.start_us / 1000,
                "start_ms": self.until_ms(window, step),
                "end_ms": self.until_ms(window, step + 1),
                **self._values(values, window.events.t.size),
            }

    def _values(self, values: Tensor, seen: int) -> PredictionRow:
        """Return the values `[K]` by their columns, None without events."""
        return {self._value_column(k): value if seen else None for k, value in enumerate(values.tolist())}

    def _label(self, probabilities: Tensor, seen: int) -> PredictionRow:
        """Return the common label of all steps, and its mean probability, `probabilities [T, K]`."""
        if not seen:
            return {"answer": None, "name": None, "probability": None}
        answer = int(probabilities[0].argmax())
        name = str(answer) if self.names is None else self.names[answer]
        return {"answer": answer, "name": name, "probability": round(float(probabilities[:, answer].mean()), 4)}

    def _events_before(self, window: RecordingWindow, step: int) -> int:
        ends_us = -(-step * self.settings.duration_us // self.settings.steps)
        return int(np.searchsorted(window.events.t, ends_us))

    def _value_column(self, number: int) -> str:
        return f"value_{number if self.names is None else self.names[number]}"


def _are_equal(probabilities: Tensor) -> Tensor:
    """Return where all classes are equally probable, `[...]` of `[..., K]`: the largest is then the first one."""
    return probabilities.amax(-1) == probabilities.amin(-1)


def predict_windows(
    run: OpenedRun,
    rows: RowBuilder,
    frame_builder: FrameBuilder,
    recording: Events,
    name: str,
    size: int | None = None,
    *,
    each: bool = False,
    until: float | None = None,
    plain: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield the network's answers to each window of a recording, and say on stderr how many have none.

    Args:
        name: Name of the recording, such as its file.
        size: Steps per piece; None: the whole window at once.
        each: Yield a row after each piece.
        until: Answer as soon as this probability is reached; None: at the end of the window.
        plain: Run the neurons in the plain loop.
    """
    # A frame may need events after its step.
    ahead = 0.0 if until is None else step_time(rows.settings).ahead_ms

    def answers(window: RecordingWindow) -> Iterator[dict[str, Any]]:
        steps = size or rows.settings.steps
        for output in stream_window(run.network, frame_builder, window.events, steps, plain=plain):
            if each:
                progress = {"until_ms": rows.until_ms(window, len(output.y)), "final": output.last}
                yield from (row | progress for row in rows.build(name, window, output))
            elif until is not None and (output.last or rows.confidence(window, output) >= until):
                at = {"until_ms": rows.until_ms(window, len(output.y)) + ahead}
                yield from (row | at for row in rows.build(name, window, output))
                break
            elif output.last:
                yield from rows.build(name, window, output._replace(first=0))

    problems: list[str | None] = []
    for window in split_windows(recording, rows.settings):
        row: dict[str, Any] = {}
        for row in answers(window):
            yield row
        problems.append(rows.problem(window, row))
    for problem in filter(None, dict.fromkeys(problems)):
        windows = "" if len(problems) == 1 else f" in {problems.count(problem):,} of {len(problems):,} windows"
        print(printable(f"snnlab: {name}: no answer{windows}: {problem}"), file=sys.stderr)


def apply_control(run: OpenedRun, frame_builder: FrameBuilder) -> FrameBuilder:
    """Return the representation of a run, with its control; print a note for a run under a control."""
    kind = run.experiment.control
    if kind is None:
        return frame_builder
    print(f"snnlab: {run.folder}: was trained under control: {kind}; its answers are not meaningful", file=sys.stderr)
    return Ablation(kind, run.experiment.seed, frame_builder.steps.duration_us).frame_builder(frame_builder)


def check_early_exit(run: OpenedRun, settings: DataSettings) -> None:
    """Refuse early exit for a run where it is not possible."""
    if why := early_exit_problem(run.experiment, settings, run.network) or (
        "steps of data.bin_by: count have no length in time" if settings.step_ms is None else None
    ):
        raise ConfigError("predict", f"--until: {why}")


def reading_settings(data: Mapping[str, Any], options: Mapping[str, str], place: str = "predict") -> ReadOptions:
    """Return how files are read: as in the run's dataset, changed by the options.

    Args:
        data: The data settings of the experiment.
        options: The options of the command.
        place: The command, for errors.
    """
    own = getattr(DATASETS.get(data["type"], "data"), "reading", ReadOptions(time_origin="zero"))
    if data["type"] == "folder":
        columns, values, cochlea = data.get("columns"), data.get("polarity_values"), data.get("cochlea")
        own = ReadOptions(
            data.get("time_unit", "us"),
            data.get("time_origin", "first"),
            data.get("sort", False),
            None if columns is None else tuple(columns),
            None if values is None else tuple(values),
            None if cochlea is None else load(Cochlea, cochlea, "data.cochlea", "the cochlea"),
        )
    return changed_reading(own, options, place)


def changed_reading(own: ReadOptions, options: Mapping[str, str], place: str) -> ReadOptions:
    """Return how files are read, changed by the options of a command."""
    changes: dict[str, Any] = {
        name.lstrip("-").replace("-", "_"): value for name, value in options.items() if name in READING
    }
    if "columns" in changes:
        changes["columns"] = tuple(changes["columns"].split(","))
    try:
        return replace(own, **changes)
    except ValueError as error:
        raise ConfigError(place, error) from error


class RunPredictor:
    """Converts recordings to the frames of a run, and predicts on them.

    Args:
        options: `time_unit`, `time_origin`, `columns`, if they differ from those of the run's dataset.
    """

    def __init__(self, run: OpenedRun, options: Mapping[str, Any]) -> None:
        self.run = run
        self.settings: DataSettings = run.session.settings
        self.frame_builder: FrameBuilder = apply_control(
            run, self.settings.frame_builder(hot_pixel_mask(run, self.settings))
        )
        option_texts = {
            f"--{name.replace('_', '-')}": _option_text(value) for name, value in options.items() if value is not None
        }
        self.reading: ReadOptions = reading_settings(run.experiment.data, option_texts)

    def frames(self, inputs: Any) -> Tensor:
        """Return the frames of the first window of each recording, `[T, B, ...]`."""
        recordings = []
        for name, events in iter_recordings(inputs, self.reading, self.settings.size):
            recordings.append(self._checked(events, name))
        return self.frame_builder(EventBatch.of(recordings)).x

    @cached_property
    def rows(self) -> RowBuilder:
        """The converter from outputs to rows."""
        names = self.run.class_names()
        return RowBuilder(self.run.session.loss, self.settings, names)

    def predict(self, inputs: Any) -> list[dict[str, Any]]:
        """Return the answers to each window of each recording, as `snnlab predict` writes them."""
        return [
            row
            for name, events in iter_recordings(inputs, self.reading, self.settings.size)
            for row in predict_windows(self.run, self.rows, self.frame_builder, self._checked(events, name), name)
        ]

    def _checked(self, events: Events, name: str) -> Events:
        """Return a recording of the run's sensor, whose camera motion is subtracted if the run's is."""
        require_sensor(events, self.settings, name)
        camera = self.settings.camera
        return events if camera is None else camera.stabilize(events, self.settings.size)

    def predict_files(
        self, files: Sequence[Path], chunk: str | None = None, until: float | None = None, *, each: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Return the network's answers to each window of each file, as rows; a file is read when its rows are.

        Args:
            files: The files.
            chunk: Length of a piece that is fed at once, ms; None: the whole window, or with `until` one step.
            until: Answer as soon as this probability is reached; None: at the end of the window.
            each: Whether to return a row after each piece; ignored without `chunk`, and with `until`.
        """
        size = None if chunk is None else chunk_steps(chunk, self.settings)
        if size is not None and (layer := whole_recording_layer(self.run.network)) is not None:
            raise ConfigError("predict", f"--pieces: layer '{layer}' needs all steps of a recording at once")
        if until is not None:
            check_early_exit(self.run, self.settings)
        each, size = each and size is not None and until is None, 1 if until is not None and size is None else size
        return (
            row
            for path in files
            for row in predict_windows(
                self.run,
                self.rows,
                self.frame_builder,
                self._checked(read_file(path, self.reading, self.settings.size), str(path)),
                str(path),
                size,
                each=each,
                until=until,
                plain=len(files) <= FEW_FILES,
            )
        )


def _option_text(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(value)
