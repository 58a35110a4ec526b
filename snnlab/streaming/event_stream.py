"""A network that is fed with events as they arrive, and answers after each step.

Axes: T steps, K outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from snnlab.errors import ConfigError, DataError
from snnlab.nn.network import Network, build_network
from snnlab.streaming.buffers import SensorMap, lay_out, membranes, plain_sensor, reset
from snnlab.streaming.event_loops import run_steps
from snnlab.streaming.stream_layers import Shape, stream_layers

_INT64 = np.dtype(np.int64)
# Steps that one call of the compiled loop runs, so that a long silence needs little memory.
_MOST_STEPS = 4096


class StreamState(NamedTuple):
    """The state of a stream between two steps.

    Attributes:
        values, bits: The arrays of the engine.
        steps: Number of steps so far.
        waiting: Times (us), columns, rows and channels of the events of the unfinished step.
    """

    values: np.ndarray
    bits: np.ndarray
    steps: int
    waiting: tuple[np.ndarray, ...]


class UsableEvents(NamedTuple):
    """Events in order, and how many were left out: of steps that have ended, and outside the sensor."""

    events: dict[str, np.ndarray]
    late: int
    outside: int


class StreamedSteps(NamedTuple):
    """The outputs of some steps.

    Attributes:
        t: Ends of the steps since the stream's start, ms.
        y: Outputs of the last layer.

    Shape:
        t: `[T]`; y: `[T, ...]`.
    """

    t: np.ndarray
    y: np.ndarray


class EventStream:
    """Run a network on events, step by step, with work only where events arrive.

    Its results equal those of plain dense loops bit for bit, in the order (kernel row, kernel column, channel). torch
    sums in another order, so that a spike may differ where a membrane is within rounding of its threshold.

    Args:
        network: A network of `build_network`, or any other with `in_shape`; evaluation is assumed.
        in_shape: Shape of one sample at one step, such as (2, 128, 128); not needed after `build_network`.
        dt: Length of a step, ms; None: that of the network.
        sensor: The sensor's pixels in the input; None: the sensor is the input.

    Raises:
        ConfigError: naming the first layer that cannot run on events.
    """

    def __init__(
        self,
        network: Network,
        in_shape: Shape | None = None,
        *,
        dt: float | None = None,
        sensor: SensorMap | None = None,
    ) -> None:
        built = network.built_from
        if built is not None:
            in_shape = built.in_shape if in_shape is None else in_shape
            if dt is not None and dt != built.dt:
                network = with_step(network, dt)
            dt = dt or built.dt
        if in_shape is None:
            raise ConfigError("in_shape", "is needed for this network", "for example in_shape=(2, 128, 128)")
        self.in_shape, self.dt = tuple(in_shape), dt
        self.layers = stream_layers(network, self.in_shape)
        self.sensor = plain_sensor(self.in_shape) if sensor is None else sensor
        self._buffers = lay_out(self.layers, self.sensor)
        last = self.layers[-1].out_shape
        self.out_shape = last[:1] if last[1:] == (1, 1) else last
        self._output = np.zeros((1, int(np.prod(last))), np.float32)
        self._view = self._output.reshape(self.out_shape)
        self._stop, self._zero = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self._arguments = tuple(self._buffers)
        self.num_steps = self.num_events = 0
        self._waiting = _no_events()

    def step(self, x: Any, y: Any, p: Any) -> np.ndarray:
        """Run one step with its events and return the output, a view that the next step overwrites.

        Args:
            x: Columns; of an input of one axis, the features.
            y: Rows; None for a sensor of one row.
            p: Polarities, from 0.

        Shape:
            x, y, p: `[N]`, or numbers for one event; returns `[K]`.

        Raises:
            DataError: if an event is outside the sensor; the stream is then as before.
        """
        if not (_is_column(x) and _is_column(y) and _is_column(p)):  # converting takes as long as a short step
            x, p = _as_column(x), _as_column(p)
            y = np.zeros_like(x) if y is None else _as_column(y)
        if not x.size == y.size == p.size:
            raise DataError("step", f"x, y and p need equal lengths, got {x.size}, {y.size}, {p.size}")
        self._stop[0] = x.size
        self._run(x, y, p, self._stop, self._output)
        return self._view

    def _run(self, x: np.ndarray, y: np.ndarray, p: np.ndarray, stops: np.ndarray, outputs: np.ndarray) -> None:
        outside = run_steps(*self._arguments, x, y, p, stops, outputs)
        if outside >= 0:
            raise self._outside(x[outside], y[outside], p[outside])
        self.num_steps += stops.size
        self.num_events += x.size

    def _outside(self, x: Any, y: Any, p: Any) -> DataError:
        height, width = self.sensor.cells.shape
        sensor = f"{width} x {height} pixels and {self.sensor.polarities} polarities"
        return DataError("stream", f"an event at x={x}, y={y}, p={p} is outside the sensor of {sensor}")

    @property
    def num_waiting(self) -> int:
        """Number of events that wait for the end of their step."""
        return self._waiting[0].size

    def feed(self, events: Any) -> Iterator[StreamedSteps]:
        """Cut a stream of events into steps, and yield the outputs of the steps that have ended.

        The events of the last step wait for the next call, since more of them may follow. Nothing is done before the
        first result is asked for.

        Args:
            events: Columns t (us since the stream's start, ascending), x, y, p: `snnlab.data.events.Events`, a mapping,
                or an array with these fields; y is None for a sensor of one row.

        Raises:
            DataError: if an event is outside the sensor, or earlier than the one before it; the stream is then as
                before.
        """
        if self.dt is None:
            raise ConfigError("dt", "is needed to cut events into steps", "for example dt=1.0, in ms")
        columns = tuple(map(np.concatenate, zip(self._waiting, _columns(events), strict=True)))
        t = columns[0]
        if (falls := np.flatnonzero(np.diff(t) < 0)).size or (t.size and t[0] < 0):
            at = int(falls[0]) + 1 if falls.size else 0
            raise DataError("stream", f"an event at {t[at]} us is earlier than the one before it", "sort the events")
        step = self._step_of(t)
        if t.size and step[0] < self.num_steps:
            raise DataError("stream", f"an event at {t[0]} us is in a step that has ended", "feed events in order")
        if (outside := np.flatnonzero(~self._inside(columns))).size:
            raise self._outside(*(column[outside[0]] for column in columns[1:]))
        return self._feed(columns, step)

    def _feed(self, columns: tuple[np.ndarray, ...], step: np.ndarray) -> Iterator[StreamedSteps]:
        self._waiting = columns
        end = int(step[-1]) if step.size else self.num_steps
        while self.num_steps < end:
            first = self.num_steps
            numbers = np.arange(first, min(end, first + _MOST_STEPS))
            stops = np.searchsorted(step, numbers, side="right").astype(np.int64)
            outputs = np.zeros((numbers.size, self._output.size), np.float32)
            x, y, p = (column[: stops[-1]] for column in self._waiting[1:])
            self._run(x, y, p, stops, outputs)
            self._waiting = tuple(column[stops[-1] :] for column in self._waiting)
            step = step[stops[-1] :]
            yield StreamedSteps((numbers + 1) * float(self.dt or 0), outputs.reshape(-1, *self.out_shape))

    def in_order(self, events: Any) -> UsableEvents:
        """Return the waiting events and new ones, by time, without those that `feed` would refuse; nothing waits then.

        Args:
            events: Columns as in `feed`, in any order.
        """
        columns = tuple(map(np.concatenate, zip(self._waiting, _columns(events), strict=True)))
        self._waiting = _no_events()
        t = columns[0]
        inside = self._inside(columns)
        in_time = (t >= 0) & (self._step_of(t) >= self.num_steps)
        kept = np.flatnonzero(inside & in_time)
        kept = kept[np.argsort(t[kept], kind="stable")]
        usable = dict(zip("txyp", (column[kept] for column in columns), strict=True))
        return UsableEvents(usable, int(np.count_nonzero(~in_time)), int(np.count_nonzero(in_time & ~inside)))

    def _inside(self, columns: tuple[np.ndarray, ...]) -> np.ndarray:
        _, x, y, p = columns
        height, width = self.sensor.cells.shape
        return (x >= 0) & (x < width) & (y >= 0) & (y < height) & (p >= 0) & (p < self.sensor.polarities)

    def _step_of(self, t: np.ndarray) -> np.ndarray:
        # Exact also for a step that is no whole number of us.
        us = Fraction(str(self.dt)) * 1000
        return t * us.denominator // us.numerator

    def finish(self) -> np.ndarray:
        """End the step of the waiting events and return its output, as `step` does."""
        waiting, self._waiting = self._waiting, _no_events()
        return self.step(*waiting[1:])

    def reset(self) -> None:
        """Return to the state before the first step."""
        reset(self._buffers)
        self.num_steps = self.num_events = 0
        self._waiting = _no_events()

    def state(self) -> StreamState:
        """Return a copy of the state."""
        return StreamState(self._buffers.values.copy(), self._buffers.bits.copy(), self.num_steps, self._waiting)

    def load(self, state: StreamState) -> None:
        """Go on from a state of the same network.

        Raises:
            ConfigError: if it is a state of another network.
        """
        own = self._buffers
        if state.values.shape != own.values.shape or state.bits.shape != own.bits.shape:
            raise ConfigError("state", "is of another network")
        own.values[:], own.bits[:] = state.values, state.bits
        self.num_steps, self._waiting = state.steps, copy.copy(state.waiting)

    def membranes(self) -> dict[str, np.ndarray]:
        """Return a copy of the membranes by the name of their neurons, or of a layer without neurons: `[C, H, W]`."""
        found = {}
        for layer, row in zip(self.layers, self._buffers.layers, strict=False):
            values = membranes(self._buffers, row)[:, :, : layer.shape[0]]
            found[layer.neuron.name or layer.name] = values.transpose(2, 0, 1).copy()
        return found

    def stats(self) -> dict[str, Any]:
        """Return the numbers of steps and events, and for each layer those of its inputs, operations and spikes."""
        counts = self._buffers.counts
        names = counts.dtype.names or ()
        layers = {
            layer.neuron.name or layer.name: {name: int(row[name]) for name in names}
            for layer, row in zip(self.layers, counts, strict=True)
        }
        return {"steps": self.num_steps, "events": self.num_events, "layers": layers}


def _no_events() -> tuple[np.ndarray, ...]:
    return tuple(np.zeros(0, np.int64) for _ in range(4))


def _is_column(column: Any) -> bool:
    return type(column) is np.ndarray and column.dtype is _INT64 and column.ndim == 1 and column.flags.c_contiguous


def _as_column(column: Any) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(column), np.int64).reshape(-1)


def _columns(events: Any) -> tuple[np.ndarray, ...]:
    """Return t, x, y and p as int64."""
    is_named = isinstance(events, Mapping | np.ndarray)
    t, x, y, p = (events[name] if is_named else getattr(events, name) for name in "txyp")
    columns = (t, x, np.zeros_like(x) if y is None else y, p)
    found = tuple(np.ascontiguousarray(column, np.int64) for column in columns)
    if len({column.shape for column in found}) > 1:
        raise DataError("stream", f"t, x, y and p need equal lengths, got {[column.size for column in found]}")
    return found


def with_step(network: Network, dt: float) -> Network:
    """Return a network of `build_network` with its weights and another length of a step, ms."""
    built = network.built_from
    assert built is not None
    other = build_network(built.layers, in_shape=built.in_shape, dt=dt, num_steps=built.num_steps).network
    other.load_state_dict(network.state_dict())
    return other.eval()
