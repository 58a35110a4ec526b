"""The memory of an event-driven engine: all of its numbers in a few arrays, and a table of where they are.

Channels are the last axis, and their number is rounded up to full vectors. Of each layer:

    input      [H, W, C]       what arrives in a step, pooling included; zeros between steps
    current    [H', left + W' + right, C']   sums of the step, with columns at both ends for kernels that reach over
    membrane   [S, H", W", C'] the states of the neurons; H", W" after a pooling of the currents
    kept       [L, H, W, C]    the inputs of the last steps, that of step t at t mod L, where a layer has delays
    weights    [C, rows, phases, columns, C']   columns from right to left, so that the outputs of an input are adjacent

A bitmap has a bit per pixel, and whole words per row; its summary has a bit per row. `input`, `current` and each step
of `kept` have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from snnlab.kernels.vectors import LANES
from snnlab.step_events import SensorMap, plain_sensor, step_us
from snnlab.streaming.stream_layers import StreamLayer

WORD = 64
NO_POOL, SUM_POOL, MAX_POOL = 0, 1, 2
_WHOLE_NUMBERS = (
    # Sizes of the input, of its bitmap, of the kernel and of the currents; per_n is 2^32 / n rounded up, so that
    # x // n = (x * per_n) >> 32.
    *("in_height", "in_width", "in_channels", "in_words", "is_whole"),
    *("sensor_height", "sensor_width", "polarities", "is_merged", "is_direct"),
    *("rows", "row_dilation", "columns", "block", "stride_y", "stride_x", "per_stride_y", "per_stride_x"),
    *("pad_y", "pad_x"),
    *("height", "width", "channels", "words", "left", "current_width"),
    # The windows.
    *("current_pool_y", "current_pool_x", "pool", "per_pool_y", "per_pool_x"),
    *("overlaps", "window_y", "window_x", "pool_stride_y", "pool_stride_x", "pool_pad_y", "pool_pad_x"),
    # Channels in the last vector, neurons with the fill, states of a neuron, and whether all are updated in each step.
    *("last", "neurons", "num_states", "is_dense", "has_bias"),
    # Where outputs go, and a second place of the input; -1: none.
    *("to", "copy_to", "adds_to_next", "feeds_itself"),
    # The steps for which inputs are kept, 0: none; whether this layer keeps them; its delay; the places of the steps
    # and their sizes; and a second place of what is kept.
    *("slots", "keeps", "delay", "kept", "kept_bits", "slot_values", "slot_bits", "copy_kept_to"),
    # Places in the array of numbers, of bits, and of weights.
    *("input", "current", "membrane", "unused", "in_bits", "in_rows", "touched", "touched_rows"),
    *("weights", "bias", "numbers", "scratch"),
    # Place in the numbers of spikes of channels.
    "channel_spikes",
)
# The fields that two layers share whose currents are added.
_OF_CURRENTS = ("left", "current_width", "current", "touched", "touched_rows")
# Those that layers share which take inputs that one of them keeps.
_OF_INPUT = (
    *("in_height", "in_width", "in_channels", "in_words", "input", "in_bits", "in_rows", "divisor"),
    *("slots", "kept", "kept_bits", "slot_values", "slot_bits"),
)
LAYER = np.dtype([*((name, np.int64) for name in _WHOLE_NUMBERS), ("divisor", np.float32)], align=True)

COUNTS = np.dtype([(name, np.int64) for name in ("inputs", "operations", "spikes")])

# The open step; events so far and those in the open step; the latest time, us; events that were dropped; the length of
# a step, us, as a fraction; how far an event may be after the start of the open step, us.
CLOCK = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("step", "events", "waiting", "latest", "late", "ahead", "outside"),
            *("us_numerator", "us_denominator", "most_ahead"),
        )
    ]
)
HOUR_US = 3_600_000_000


def clock_of(dt: float | None) -> np.ndarray:
    """Return the clock of steps of dt ms, `[1]`."""
    us = step_us(dt)
    clock = np.zeros(1, CLOCK)
    clock["us_numerator"], clock["us_denominator"], clock["most_ahead"] = us.numerator, us.denominator, HOUR_US
    return clock


def start_of_step(clock: np.ndarray, number: int) -> int:
    """Return the first whole us of a step."""
    return -(-number * int(clock["us_numerator"][0]) // int(clock["us_denominator"][0]))


class Buffers(NamedTuple):
    """The arrays of an engine.

    Attributes:
        layers: A row of `LAYER` for each layer, and one for the output.
        values: Inputs, those that are kept, currents and membranes.
        bits: Bitmaps and their summaries.
        weights: Weights and biases.
        starts, factors: The channels of one pixel that are not zero: places of their weights, and their values.
        counts: A row of `COUNTS` for each layer.
        cells: The cells of the sensor's map.
        channel_spikes: Numbers of spikes of each channel, where something asks for them; else empty.
        begun: The values before the first step.
    """

    layers: np.ndarray
    values: np.ndarray
    bits: np.ndarray
    weights: np.ndarray
    starts: np.ndarray
    factors: np.ndarray
    counts: np.ndarray
    cells: np.ndarray
    channel_spikes: np.ndarray
    begun: np.ndarray


def whole_vectors(count: int) -> int:
    """Return a number rounded up to a multiple of the numbers in a vector."""
    return -(-count // LANES) * LANES


def _words(count: int) -> int:
    return -(-count // WORD)


def aligned_zeros(count: int) -> np.ndarray:
    """Return float32 zeros that begin at a vector's alignment."""
    memory = np.zeros(count + LANES, np.float32)
    first = (-memory.ctypes.data // 4) % LANES
    return memory[first : first + count]


class _Layout:
    """Assigns places in the arrays, one after another."""

    def __init__(self) -> None:
        self.values = self.bits = self.num_weights = self.channels = 0
        self.parts: list[np.ndarray] = []

    def take_values(self, count: int) -> int:
        offset, self.values = self.values, self.values + whole_vectors(count)
        return offset

    def take_bitmap(self, height: int, words: int) -> tuple[int, int]:
        """Return the places of a bitmap and of its summary."""
        offset, self.bits = self.bits, self.bits + height * words + _words(height)
        return offset, offset + height * words

    def take_weights(self, weights: np.ndarray) -> int:
        offset, self.num_weights = self.num_weights, self.num_weights + whole_vectors(weights.size)
        self.parts.append(np.pad(weights.ravel(), (0, self.num_weights - offset - weights.size)))
        return offset

    def place_input(self, row: np.void, shape: tuple[int, ...], channels: int) -> None:
        """Set the fields of a layer's input."""
        row["in_height"], row["in_width"], row["in_channels"], row["in_words"] = *shape[1:], channels, _words(shape[2])
        row["input"] = self.take_values(prod(shape[1:]) * channels)
        row["in_bits"], row["in_rows"] = self.take_bitmap(shape[1], _words(shape[2]))

    def place_kept(self, row: np.void, slots: int) -> None:
        """Set the places of the inputs of the last steps."""
        height, words = int(row["in_height"]), int(row["in_words"])
        row["keeps"], row["slots"] = 1, slots
        row["slot_values"] = row["in_height"] * row["in_width"] * row["in_channels"]
        row["slot_bits"] = height * words + _words(height)
        row["kept"] = self.take_values(int(slots * row["slot_values"]))
        row["kept_bits"], self.bits = self.bits, self.bits + int(slots * row["slot_bits"])


def lay_out(layers: Sequence[StreamLayer], sensor: SensorMap) -> Buffers:
    """Return the arrays for layers in order, before their first step."""
    table = np.zeros(len(layers) + 1, LAYER)
    table["divisor"], table["copy_to"], table["copy_kept_to"] = 1, -1, -1
    layout = _Layout()
    for k, (row, layer) in enumerate(zip(table, layers, strict=False)):
        alone = k == 0 and layer.in_shape[0] < LANES
        if layer.delay is None or layer.keeps:
            layout.place_input(row, layer.in_shape, layer.in_shape[0] if alone else whole_vectors(layer.in_shape[0]))
            if layer.keeps:
                layout.place_kept(row, layer.keeps)
        else:
            for name in _OF_INPUT:
                row[name] = table[k - 1][name]
        row["to"], row["delay"] = k + 1 if layer.to is None else layer.to, layer.delay or 0
        row["copy_to" if layer.delay is None else "copy_kept_to"] = -1 if layer.copy_to is None else layer.copy_to
        _place_layer(layout, row, layer, whole_vectors(layer.weight.shape[0]))
        if k and layers[k - 1].adds_to_next:
            for name in _OF_CURRENTS:
                row[name] = table[k - 1][name]
        else:
            last = next(n for n in range(k, len(layers)) if not layers[n].adds_to_next)
            _place_currents(layout, row, layers[k : last + 1])
        if layer.pool == "avg":
            table[row["to"]]["divisor"] = prod(layer.window)
    layout.place_input(table[-1], layers[-1].out_shape, whole_vectors(layers[-1].out_shape[0]))
    table[0]["sensor_height"], table[0]["sensor_width"] = sensor.cells.shape
    table[0]["polarities"], table[0]["is_merged"] = sensor.polarities, sensor.is_merged
    own = plain_sensor(layers[0].in_shape)
    table[0]["is_direct"] = not sensor.is_merged and np.array_equal(sensor.cells, own.cells) and own.cells.shape[0] > 0
    most = max(int(table["in_channels"].max()), LANES)
    weights = aligned_zeros(layout.num_weights)
    weights[:] = np.concatenate(layout.parts)
    begun = np.zeros(layout.values, np.float32)
    for row, layer in zip(table, layers, strict=False):
        for number, values in enumerate([] if layer.form is None else layer.form.start.values()):
            state_of(begun, row, number)[:] = filled_up(values, int(row["channels"]))
    found = Buffers(
        table,
        aligned_zeros(layout.values),
        np.zeros(layout.bits, np.uint64),
        weights,
        np.zeros(most, np.int64),
        np.zeros(most, np.float32),
        np.zeros(len(layers), COUNTS),
        np.ascontiguousarray(sensor.cells, np.int64).ravel(),
        np.zeros(0, np.int64),
        begun,
    )
    reset(found)
    return found


def _place_layer(layout: _Layout, row: np.void, layer: StreamLayer, channels: int) -> None:
    _, height, width = layer.conv_shape
    row["height"], row["width"], row["channels"], row["words"] = height, width, channels, _words(width)
    row["is_whole"] = layer.whole
    (row["stride_y"], row["stride_x"]), (row["pad_y"], row["pad_x"]) = layer.stride, layer.padding
    row["per_stride_y"], row["per_stride_x"] = (_per(size) for size in layer.stride)
    row["rows"], row["row_dilation"] = layer.weight.shape[2], layer.row_dilation
    row["columns"] = _columns(layer)
    vectors = row["columns"] * channels // LANES
    row["block"] = next((size for size in (6, 5) if vectors % size == 0), 0)
    row["adds_to_next"], row["feeds_itself"] = layer.adds_to_next, layer.feeds_itself
    row["current_pool_y"], row["current_pool_x"] = layer.current_pool
    row["neurons"], row["last"] = prod(layer.shape[1:]) * channels, (layer.shape[0] - 1) % LANES + 1
    row["num_states"] = 0 if layer.form is None else len(layer.form.start)
    row["membrane"] = layout.take_values(int(row["neurons"] * row["num_states"]))
    row["unused"], row["scratch"] = layout.take_values(channels), layout.take_values(LANES)
    row["pool"] = {"none": NO_POOL, "max": MAX_POOL}.get(layer.pool, SUM_POOL)
    row["per_pool_y"], row["per_pool_x"] = (_per(size) for size in layer.window)
    row["overlaps"], (row["window_y"], row["window_x"]) = layer.windows_overlap, layer.window
    row["pool_stride_y"], row["pool_stride_x"] = layer.pool_stride or layer.window
    row["pool_pad_y"], row["pool_pad_x"] = layer.pool_padding
    row["weights"] = layout.take_weights(_weight_rows(layer, int(row["in_channels"]), channels))
    bias = np.zeros(channels, np.float32)
    if layer.bias is not None:
        bias[: layer.bias.size] = layer.bias
    row["bias"], row["has_bias"] = layout.take_weights(bias), layer.bias is not None
    numbers = [] if layer.form is None else [_table(one, channels) for one in layer.form.numbers.values()]
    row["numbers"] = layout.take_weights(np.concatenate([np.zeros(0, np.float32), *numbers]))
    row["channel_spikes"], layout.channels = layout.channels, layout.channels + channels
    row["is_dense"] = not layer.is_driven


def _table(number: np.ndarray, channels: int) -> np.ndarray:
    """Return a number as a vector for all neurons, one for each channel, or one for each neuron, in memory's order."""
    return np.full(LANES, number, np.float32) if number.size == 1 else filled_up(number, channels).ravel()


def filled_up(values: np.ndarray, channels: int) -> np.ndarray:
    """Return `[C, H, W]` as `[H, W, channels]`; the channels that fill up vectors have the values of the last one."""
    more = np.repeat(values[-1:], channels - values.shape[0], 0)
    return np.concatenate([values, more]).transpose(1, 2, 0)


def _per(size: int) -> int:
    """Return 2^32 / size, rounded up."""
    return -(-(1 << 32) // size)


def _columns(layer: StreamLayer) -> int:
    """Return the number of adjacent outputs of an input."""
    return 1 if layer.whole else -(-layer.weight.shape[3] // layer.stride[1])


def _beyond(layer: StreamLayer) -> int:
    """Return the number of columns on the right that kernels reach and that do not exist."""
    reached = (layer.in_shape[2] - 1 + layer.padding[1]) // layer.stride[1]
    return 0 if layer.whole else max(0, reached - layer.conv_shape[2] + 1)


def _place_currents(layout: _Layout, row: np.void, layers: Sequence[StreamLayer]) -> None:
    """Set the place of the currents of layers that are added."""
    row["left"] = max(_columns(one) for one in layers) - 1
    row["current_width"] = row["left"] + row["width"] + max(_beyond(one) for one in layers)
    row["current"] = layout.take_values(int(row["height"] * row["current_width"] * row["channels"]))
    row["touched"], row["touched_rows"] = layout.take_bitmap(int(row["height"]), int(row["words"]))


def _weight_rows(layer: StreamLayer, in_channels: int, channels: int) -> np.ndarray:
    """Return the weights `[C, rows, phases, columns, C']`, or `[H * W, C, C']` of a whole kernel."""
    outputs, inputs, rows, columns = layer.weight.shape
    if layer.whole:
        full = np.zeros((rows * columns, in_channels, channels), np.float32)
        full[:, :inputs, :outputs] = layer.weight.reshape(outputs, inputs, -1).transpose(2, 1, 0)
        return full
    phases = layer.stride[1]
    steps = -(-columns // phases)
    full = np.zeros((in_channels, rows, phases, steps, channels), np.float32)
    for column in range(columns):
        kernel_column = layer.weight[:, :, :, column].transpose(1, 2, 0)
        full[:inputs, :, column % phases, steps - 1 - column // phases, :outputs] = kernel_column
    return full


def reset(buffers: Buffers) -> None:
    """Set all states to their first values, and clear everything else but the weights."""
    buffers.values[:] = buffers.begun
    buffers.bits[:] = 0
    buffers.counts[:] = 0


def state_of(values: np.ndarray, row: np.void, number: int) -> np.ndarray:
    """Return a layer's state with this number as a view, `[H, W, C]` with the channels that fill up vectors."""
    height, width = row["height"] // row["current_pool_y"], row["width"] // row["current_pool_x"]
    first = row["membrane"] + number * row["neurons"]
    return values[first : first + row["neurons"]].reshape(height, width, row["channels"])
