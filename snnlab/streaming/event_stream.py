"""A network that is fed with events as they arrive, and answers after each step.

Axes: T steps, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from snnlab.compiled import places_of
from snnlab.errors import ConfigError, DataError
from snnlab.kernels.vectors import LANES
from snnlab.nn.network import Network, build_network
from snnlab.nn.network_form import Shape, network_form
from snnlab.nn.neurons.base import Neuron
from snnlab.step_events import SensorMap, plain_sensor
from snnlab.streaming.buffers import (
    CLOCK,
    HOUR_US,
    clock_of,
    lay_out,
    reset,
    start_of_step,
    state_of,
)
from snnlab.streaming.event_loops import feed_events, run_step
from snnlab.streaming.rendered_updates import update_address
from snnlab.streaming.stream_layers import StreamLayer, stream_layers
from snnlab.streaming.update_loops import Engine

# Where the clock has the numbers of `DroppedEvents`.
_DROPPED = slice(CLOCK.names.index("late"), CLOCK.names.index("outside") + 1) if CLOCK.names else slice(0)
_INT64 = np.dtype(np.int64)
_CONTIGUOUS = (8,)
# Steps that one call of the compiled loop runs, so that a long silence needs little memory.
STEPS_AT_ONCE = 1024
# Shortest and longest step, ms: times are whole us, and an event may be an hour after the start of the open step.
_SHORTEST_MS, _LONGEST_MS = 1e-3, HOUR_US / 1e3


class DroppedEvents(NamedTuple):
    """How many events were dropped: of steps that had ended, more than an hour ahead, and outside the sensor."""

    late: int
    ahead: int
    outside: int


class StreamState(NamedTuple):
    """A copy of what a stream carries from one event to the next.

    Attributes:
        layers: Where the numbers of each layer are: a stream goes on from a state with the same places only.
        values, bits: The arrays of the engine's `Buffers`.
        clock: The numbers of `CLOCK`.
    """

    layers: np.ndarray
    values: np.ndarray
    bits: np.ndarray
    clock: np.ndarray


class StreamedSteps(NamedTuple):
    """The outputs of some steps.

    Attributes:
        t: Ends of the steps since the stream's start, ms.
        y: Outputs of the last layer.
        spikes: Numbers of spikes of all layers since the stream's start.

    Shape:
        t, spikes: `[T]`; y: `[T, ...]`.
    """

    t: np.ndarray
    y: np.ndarray
    spikes: np.ndarray


class EventStream:
    """Run a network on events, step by step, with work only where events arrive.

    Its results equal those of plain dense loops bit for bit, in the order (kernel row, kernel column, channel). torch
    sums in another order, so that a spike may differ where a membrane is within rounding of its threshold.

    Args:
        network: A network of `build_network`, or any other with `in_shape`; evaluation is assumed.
        in_shape: Shape of one sample at one step, such as (2, 128, 128); not needed after `build_network`.
        dt: Length of a step, ms; None: that of the network.
        sensor: The sensor's pixels in the input; None: the sensor is the input.
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
        dt = built.dt if dt is None and built is not None else dt
        if dt is not None and not _SHORTEST_MS <= dt <= _LONGEST_MS:
            raise ConfigError("dt", f"must be from {_SHORTEST_MS:g} ms to an hour, got {dt:g} ms")
        if built is not None:
            in_shape = built.in_shape if in_shape is None else in_shape
            if dt is not None and dt != built.dt:
                network = with_step(network, dt)
        if in_shape is None:
            raise ConfigError("in_shape", "is needed for this network", "for example in_shape=(2, 128, 128)")
        self.in_shape, self.dt = tuple(in_shape), dt
        self.form = network_form(network, self.in_shape)
        self.layers = stream_layers(self.form)
        self.sensor = plain_sensor(self.in_shape) if sensor is None else sensor
        self._buffers = lay_out(self.layers, self.sensor)
        last = self.layers[-1].out_shape
        self.out_shape = last[:1] if last[1:] == (1, 1) else last
        self._output = np.zeros((1, int(np.prod(last))), np.float32)
        self._rows = np.zeros((STEPS_AT_ONCE, self._output.size), np.float32)
        self._spikes = np.zeros(STEPS_AT_ONCE, np.int64)
        self._clock = clock_of(dt)
        self._bind()

    def _bind(self) -> None:
        """Prepare the arguments of the compiled loops: the arrays, or their addresses."""
        self._view = self._output.reshape(self.out_shape)
        addresses = [0 if layer.adds_to_next else update_address(layer, LANES) for layer in self.layers]
        self._updates = np.array(addresses, np.int64)
        own = self._buffers[: Engine._fields.index("clock")]
        self._places = places_of(*own, self._clock, self._output, self._updates)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copy a stream: its arrays have other addresses."""
        self.__dict__ |= state
        self._bind()

    def step(self, x: Any, y: Any, p: Any) -> np.ndarray:
        """Run one step with its events, and those that wait; return the output, a view that the next step overwrites.

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
        outside = run_step(self._places, x, y, p)
        if outside == -1:
            return self._view
        if outside >= 0:
            raise self._outside(x[outside], y[outside], p[outside])
        raise DataError("step", f"x, y and p need equal lengths, got {x.size}, {y.size}, {p.size}")

    def _outside(self, x: Any, y: Any, p: Any) -> DataError:
        return DataError("stream", f"an event at x={x}, y={y}, p={p} is outside the sensor: {self.sensor_text()}")

    def sensor_text(self) -> str:
        """Return the size of the sensor, as text."""
        height, width = self.sensor.cells.shape
        return f"it has {width} x {height} pixels and {self.sensor.polarities} polarities"

    @property
    def places(self) -> np.ndarray:
        """The places of the engine's arrays, for compiled loops."""
        return self._places

    @property
    def clock(self) -> tuple[int, ...]:
        """The numbers of `CLOCK`."""
        return self._clock[0].item()

    @property
    def num_steps(self) -> int:
        """Number of steps that have ended."""
        return int(self._clock["step"][0])

    @property
    def num_events(self) -> int:
        """Number of events so far, without those that were dropped."""
        return int(self._clock["events"][0])

    @property
    def num_waiting(self) -> int:
        """Number of events in the open step."""
        return int(self._clock["waiting"][0])

    @property
    def latest_us(self) -> int:
        """Time of the latest event that was fed, us."""
        return int(self._clock["latest"][0])

    @property
    def num_spikes(self) -> int:
        """Number of spikes of all layers since the start."""
        return int(self._buffers.counts["spikes"].sum())

    @property
    def dropped(self) -> DroppedEvents:
        """Numbers of events that `feed_usable` dropped."""
        return DroppedEvents(*self.clock[_DROPPED])

    def feed(self, events: Any) -> Iterator[StreamedSteps]:
        """Cut a stream of events into steps, and yield the outputs of the steps that have ended.

        A step ends when an event of a later step arrives. Events are taken while the results are asked for.

        Args:
            events: Columns t (us since the stream's start, ascending), x, y, p: `snnlab.data.events.Events`, a mapping,
                or an array with these fields; y is None for a sensor of one row.

        Raises:
            DataError: if an event is outside the sensor, earlier than the one before it, of a step that has ended, or
                more than an hour ahead; the stream is then as before.
        """
        columns = self._timed(events)
        t = columns[0]
        if (falls := np.flatnonzero(np.diff(t) < 0)).size or (t.size and t[0] < 0):
            at = int(falls[0]) + 1 if falls.size else 0
            raise DataError("stream", f"an event at {t[at]} us is earlier than the one before it", "sort the events")
        start = self.start_us(self.num_steps)
        if t.size and t[0] < start:
            raise DataError("stream", f"an event at {t[0]} us is in a step that has ended", "feed events in order")
        most = self._clock["most_ahead"] - (self.start_us(1) + 1)  # counted from the start of a step
        if (far := np.flatnonzero(np.diff(t, prepend=start) > most)).size:
            raise DataError("stream", f"an event at {t[far[0]]} us is more than an hour after the one before it")
        if (outside := np.flatnonzero(~self.inside(events))).size:
            raise self._outside(*(column[outside[0]] for column in columns[1:]))
        return self._feed(columns)

    def feed_usable(self, events: Any) -> Iterator[StreamedSteps]:
        """Do as `feed`, but drop and count the events that it would refuse; those of the open step have any order.

        Args:
            events: Columns as in `feed`.
        """
        return self._feed(self._timed(events))

    def end_steps(self, number: int) -> Iterator[StreamedSteps]:
        """Run steps until a number of them have ended, although no event of a later step has arrived.

        Args:
            number: Number of steps since the start; nothing happens if they have ended.
        """
        return self._feed(_no_events(), number)

    def finish(self) -> np.ndarray:
        """End the open step and return its output, as `step` does."""
        return self.step(*_no_events()[1:])

    def start_us(self, number: int) -> int:
        """Return the first whole us of a step."""
        return start_of_step(self._clock, number)

    def step_at(self, t_us: float) -> int:
        """Return the index of the step of a time, us."""
        return int(t_us) * int(self._clock["us_denominator"][0]) // int(self._clock["us_numerator"][0])

    def _timed(self, events: Any) -> tuple[np.ndarray, ...]:
        if self.dt is None:
            raise ConfigError("dt", "is needed to cut events into steps", "for example dt=1.0, in ms")
        return _columns(events)

    def _feed(self, columns: tuple[np.ndarray, ...], end: int = 0) -> Iterator[StreamedSteps]:
        for outputs, spikes in self.views(columns, end):
            last = self.num_steps
            t = np.arange(last - len(spikes) + 1, last + 1) * float(self.dt or 0)
            yield StreamedSteps(t, outputs.copy().reshape(-1, *self.out_shape), spikes.copy())

    def views(
        self, columns: tuple[np.ndarray, ...], end: int = 0, most: int = STEPS_AT_ONCE
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Do as `feed_usable`, for columns t, x, y, p of int64 and with little time of Python.

        Args:
            columns: The columns.
            end: Number of steps that end in any case.
            most: Largest number of steps in a result.

        Shape:
            yields outputs `[T, K]` and spikes since the start `[T]`, which the next result overwrites.
        """
        taken, ran = 0, most
        while ran == most:
            taken, ran = feed_events(self._places, *columns, taken, end, self._rows[:most], self._spikes[:most])
            if ran:
                yield self._rows[:ran], self._spikes[:ran]

    def inside(self, events: Any) -> np.ndarray:
        """Return which events are inside the sensor, `[N]`.

        Args:
            events: Columns as in `feed`.
        """
        _, x, y, p = _columns(events)
        height, width = self.sensor.cells.shape
        return (x >= 0) & (x < width) & (y >= 0) & (y < height) & (p >= 0) & (p < self.sensor.polarities)

    def count_channels(self) -> list[tuple[StreamLayer, np.ndarray]]:
        """Count the spikes of each channel from now on.

        Returns:
            The layers that spike, and the numbers of their channels, which grow: `[C]`.
        """
        rows = self._buffers.layers[:-1]
        counts = np.zeros(int(rows["channels"].sum()), np.int64)
        self._buffers = self._buffers._replace(channel_spikes=counts)
        self._bind()
        firsts = [int(row["channel_spikes"]) for row in rows]
        pairs = zip(self.layers, firsts, strict=True)
        return [(layer, counts[first : first + layer.shape[0]]) for layer, first in pairs if layer.spikes]

    def reset(self) -> None:
        """Return to the state before the first step."""
        reset(self._buffers)
        self._clock[:] = clock_of(self.dt)

    def state(self) -> StreamState:
        """Return a copy of the state."""
        own = self._buffers
        return StreamState(own.layers.copy(), own.values.copy(), own.bits.copy(), self._clock.copy())

    def load(self, state: StreamState) -> None:
        """Go on from a state of the same network with steps of the same length; after an error it is as before."""
        own = self._buffers
        if not np.array_equal(state.layers, own.layers):
            raise ConfigError("state", "is of another network")
        if any(state.clock[name] != self._clock[name] for name in ("us_numerator", "us_denominator")):
            raise ConfigError("state", f"has steps of another length than {self.dt:g} ms")
        own.values[:], own.bits[:], self._clock[:] = state.values, state.bits, state.clock

    def states(self) -> dict[str, dict[str, np.ndarray]]:
        """Return a copy of the states by the name of their neurons: `[C, H, W]` by the name of each state."""
        found = {}
        for layer, row in zip(self.layers, self._buffers.layers, strict=False):
            if layer.form is not None:
                found[layer.neurons] = {
                    name: state_of(self._buffers.values, row, n)[:, :, : layer.shape[0]].transpose(2, 0, 1).copy()
                    for n, name in enumerate(layer.form.start)
                }
        return found

    def stats(self) -> dict[str, Any]:
        """Return the numbers of steps and events, and for each layer those of its inputs, operations and spikes."""
        counts = self._buffers.counts
        names = counts.dtype.names or ()
        layers: dict[str, dict[str, int]] = {}
        for layer, row in zip(self.layers, counts, strict=True):
            own = layers.setdefault(layer.label, dict.fromkeys(names, 0))  # one name for each delay of a layer
            for name in names:
                own[name] += int(row[name])
        return {"steps": self.num_steps, "events": self.num_events, "layers": layers}


def _no_events() -> tuple[np.ndarray, ...]:
    return tuple(np.zeros(0, np.int64) for _ in range(4))


def _is_column(column: Any) -> bool:
    return type(column) is np.ndarray and column.dtype is _INT64 and column.strides == _CONTIGUOUS


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
    if any(isinstance(module, Neuron) and module.is_quantized for module in network.modules()):
        raise ConfigError("dt", "the decays of a network in whole numbers are those of its own steps", "leave it out")
    other = build_network(built.layers, in_shape=built.in_shape, dt=dt, num_steps=built.num_steps).network
    other.load_state_dict(network.state_dict())
    return other.eval()
