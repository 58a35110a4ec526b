"""Opens an event stream for a recorded run: the cells of its input, its steps, and its answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from snnlab.data.data_settings import DataSettings
from snnlab.data.events.frames import EventBatch
from snnlab.data.events.recording import Events, polarity_dtype
from snnlab.data.events.representation import DROPPED, Counts, FrameBuilder
from snnlab.data.formats import read_file
from snnlab.errors import ConfigError, DataError, join_names
from snnlab.interop.fold_norm import fold_norm as folded
from snnlab.nn.network import Network
from snnlab.session.loading import load
from snnlab.session.opened_run import OpenedRun, hot_pixel_mask
from snnlab.session.prediction import reading_settings
from snnlab.streaming.buffers import SensorMap
from snnlab.streaming.event_stream import EventStream, StreamedSteps

DEFAULT_EVERY_MS = 100.0
UNITS_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}


def stream(
    run_or_network: OpenedRun | Network | str | Path,
    in_shape: tuple[int, ...] | None = None,
    *,
    dt: float | None = None,
    fold_norm: bool = False,
) -> EventStream:
    """Return an event stream of a recorded run, its folder, or a network.

    Args:
        run_or_network: A run of `snnlab.load`, its folder, or a network. Events of a run are those of its sensor.
        in_shape: Shape of one sample at one step, for a network that `build_network` did not build.
        dt: Length of a step, ms; None: that of the run or the network.
        fold_norm: Whether batch normalizations are folded into the layers before them, which rounds their weights.

    Raises:
        ConfigError: naming the layer or the setting that cannot run on events.
    """
    if isinstance(run_or_network, Network):
        return EventStream(folded(run_or_network) if fold_norm else run_or_network, in_shape, dt=dt)
    run = run_or_network if isinstance(run_or_network, OpenedRun) else load(run_or_network)
    settings = run.session.settings
    sensor = sensor_map(settings.frame_builder(hot_pixel_mask(run, settings)), settings)
    network = folded(run.network) if fold_norm else run.network
    return EventStream(network, settings.frame_shape, dt=dt, sensor=sensor)


def sensor_map(frame_builder: FrameBuilder, settings: DataSettings) -> SensorMap:
    """Return where each pixel's events enter the network, after crop, cells and hot pixels.

    Raises:
        ConfigError: if frames are not counts of events in steps of equal length.
    """
    kind = frame_builder.representation
    if type(kind) is not Counts:
        raise ConfigError("data.representation", "streaming needs counts", "train with data.representation=counts")
    if not frame_builder.steps.plain:
        raise ConfigError("data", "streaming needs bin_by: time and overlap_ms: 0")
    if settings.camera is not None:
        raise ConfigError("data.stabilize", "streaming needs false: a camera's motion is not known as it happens")
    width, height, polarities = settings.size
    y, x = (column.ravel() for column in np.mgrid[:height, :width])
    none = np.zeros(x.size, polarity_dtype(polarities))
    rows = y.astype(np.int16) if height > 1 else None
    pixels = frame_builder.region(EventBatch.of([Events(np.zeros(x.size, np.int64), x.astype(np.int16), rows, none)]))
    cell_x = pixels.x.numpy().astype(np.int64)
    cell_y = np.zeros_like(cell_x) if pixels.y is None else pixels.y.numpy().astype(np.int64)
    cells = cell_x << 32 if len(settings.frame_shape) == 1 else cell_y << 16 | cell_x
    cells[pixels.t.numpy() == DROPPED] = -1
    return SensorMap(cells.reshape(height, width), polarities, kind.merge)


class StreamAnswers(NamedTuple):
    """Reads out the outputs of the last window of steps, as the run's loss does.

    Attributes:
        run: The run.
        outputs: Outputs of the last steps, at most those of a window of `data.duration_ms`.
    """

    run: OpenedRun
    outputs: deque[np.ndarray]

    @classmethod
    def of(cls, run: OpenedRun, dt: float) -> StreamAnswers:
        """Return the answers of a run for steps of dt ms."""
        return cls(run, deque(maxlen=max(1, round(run.session.settings.duration_ms / dt))))

    def answer(self) -> dict[str, Any]:
        """Return the class and its probability, or the values."""
        y = torch.from_numpy(np.stack(self.outputs))[:, None]
        settings, lengths = self.run.session.settings, torch.tensor([len(y)])
        names = self.run.recorded.class_names(settings.num_classes)
        readout = self.run.session.loss.readout(y, lengths)
        if settings.targets == "value":
            return {f"value_{k if names is None else names[k]}": value for k, value in enumerate(readout[0].tolist())}
        probabilities = readout.float().softmax(-1).reshape(-1, readout.shape[-1])[-1]
        answer = int(probabilities.argmax())
        name = str(answer) if names is None else names[answer]
        return {"answer": answer, "name": name, "probability": round(float(probabilities[answer]), 4)}


class LiveStream:
    """A run's event stream and its answers, for `snnlab stream`.

    Args:
        run: The run.
        dt: Length of a step, ms; None: that of the run.
        every: Time from one answer to the next, ms; None: 100 ms, or one step if that is longer.
        fold_norm: Whether batch normalizations are folded.

    Raises:
        ConfigError: if the run cannot stream, or `every` is no whole number of steps.
    """

    def __init__(
        self, run: OpenedRun, dt: float | None = None, every: float | None = None, *, fold_norm: bool = False
    ) -> None:
        settings = run.session.settings
        self.run, self.stream = run, stream(run, dt=dt or settings.step_ms, fold_norm=fold_norm)
        step = self.stream.dt
        assert step is not None
        self.every = max(1, round((every or DEFAULT_EVERY_MS) / step))
        if every is not None and abs(self.every * step - every) > 1e-6 * every:
            raise ConfigError("stream", f"--every must be a whole number of steps of {step:g} ms, got {every:g} ms")
        self.window = StreamAnswers.of(run, step)
        self.num_late = self.num_outside = 0

    def read_file(self, file: Path, time_unit: str | None) -> Iterator[Any]:
        """Yield the events of a file, read as in the run's dataset."""
        if time_unit is not None:
            _unit_us(time_unit)
        options = {} if time_unit is None else {"--time-unit": time_unit}
        reading = reading_settings(self.run.experiment.data, options)
        yield read_file(file, reading, self.run.session.settings.size)

    def read_lines(self, pieces: Iterable[bytes], time_unit: str | None) -> Iterator[Any]:
        """Yield the events of pieces of lines."""
        lines = EventLines(_unit_us(time_unit or "us"))
        for piece in pieces:
            yield lines.read(piece)
        yield lines.finish()

    def answers(self, pieces: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Yield the answers while pieces of events arrive."""
        for events in pieces:
            usable = self.stream.in_order(events)
            self.num_late, self.num_outside = self.num_late + usable.late, self.num_outside + usable.outside
            for steps in self.stream.feed(usable.events):
                yield from self._answers(steps)
        if not self.stream.num_waiting:  # nothing has arrived
            return
        y = self.stream.finish()
        end = self.stream.num_steps
        yield from self._answers(StreamedSteps(np.array([end * float(self.stream.dt or 0)]), y[None]), last=True)

    def _answers(self, steps: StreamedSteps, *, last: bool = False) -> Iterator[dict[str, Any]]:
        first = self.stream.num_steps - len(steps.t)
        for number, (t, y) in enumerate(zip(steps.t, steps.y, strict=True), first + 1):
            self.window.outputs.append(y.copy())
            if last or number % self.every == 0:
                yield {"t_ms": round(float(t), 4), **self.window.answer()}

    def summary(self) -> str:
        """Return the numbers of steps and events, as text."""
        own = self.stream
        dropped = f"dropped {self.num_late:,} late, {self.num_outside:,} outside the sensor"
        return f"{own.num_steps:,} steps of {own.dt:g} ms, {own.num_events:,} events; {dropped}"


def _unit_us(unit: str) -> float:
    if unit not in UNITS_US:
        raise ConfigError("stream", f"--time-unit must be one of {join_names(UNITS_US)}, got {unit}")
    return UNITS_US[unit]


class EventLines:
    """Reads lines `t,x,y,p` of a stream of text in pieces; lines that are no events are errors with their number.

    Args:
        us: Length of the unit of time, us.
    """

    def __init__(self, us: float = 1.0) -> None:
        self.us, self.num_lines, self._rest = us, 0, b""

    def read(self, piece: bytes) -> dict[str, np.ndarray]:
        """Return the events of the lines that end in a piece.

        Raises:
            DataError: for a line that has no four numbers.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return self._columns(lines)

    def finish(self) -> dict[str, np.ndarray]:
        """Return the event of a last line without an end."""
        rest, self._rest = self._rest, b""
        return self._columns([rest] if rest.strip() else [])

    def _columns(self, lines: list[bytes]) -> dict[str, np.ndarray]:
        rows = []
        for line in lines:
            self.num_lines += 1
            words = line.replace(b",", b" ").split()
            if not words or (self.num_lines == 1 and words == [b"t", b"x", b"y", b"p"]):
                continue
            try:
                t, x, y, p = map(float, words)
                rows.append((int(t * self.us), int(x), int(y), int(p)))
            except (ValueError, OverflowError):
                text = line.decode("utf-8", "replace").strip()[:40]
                raise DataError(f"line {self.num_lines}", f"is no event, got '{text}'", "write t,x,y,p") from None
        table = np.array(rows, np.int64).reshape(-1, 4)
        return dict(zip("txyp", table.T, strict=True))
