"""The memory of an event-driven engine: all of its numbers in a few arrays, and a table of where they are.

Channels are the last axis, and their number is rounded up to full vectors. Of each layer:

    input      [H, W, C]       what arrives in a step, pooling included; zeros between steps
    current    [H', left + W' + right, C']   sums of the step, with columns at both ends for kernels that reach over
    membrane   [H", W", C']    H", W" after a pooling of the currents
    weights    [C, rows, phases, columns, C']   columns from right to left, so that the outputs of an input are adjacent

A bitmap has a bit per pixel, and whole words per row; its summary has a bit per row. `input` and `current` have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import NamedTuple

import numpy as np

from snnlab.kernels.vectors import LANES
from snnlab.streaming.stream_layers import StreamLayer, StreamNeuron

WORD = 64
NO_POOL, SUM_POOL, MAX_POOL = 0, 1, 2
SUBTRACT, VALUE, NO_RESET, INTEGRATE = 0, 1, 2, 3
NO_FLOOR, FLOOR, ROUNDED_FLOOR = 0, 1, 2
_RESETS = {"subtract": SUBTRACT, "value": VALUE, "none": NO_RESET, "integrate": INTEGRATE}

_WHOLE_NUMBERS = (
    # Sizes of the input, of its bitmap, of the kernel and of the currents.
    *("in_height", "in_width", "in_channels", "in_words", "is_whole"),
    *("sensor_height", "sensor_width", "polarities", "is_merged"),
    *("rows", "row_dilation", "columns", "stride_y", "stride_x", "pad_y", "pad_x"),
    *("height", "width", "channels", "words", "left", "current_width"),
    # The windows, and the rules of the neurons; per_pool is 2^32 / window, so that x // window = (x * per_pool) >> 32.
    *("current_pool_y", "current_pool_x", "pool", "per_pool_y", "per_pool_x"),
    *("reset", "delayed", "strict", "several", "floor_rule", "is_dense", "has_bias"),
    # Places in the array of numbers, of bits, and of weights.
    *("input", "current", "membrane", "unused", "in_bits", "in_rows", "touched", "touched_rows", "weights", "bias"),
)
_FRACTIONS = ("divisor", "a", "g", "c", "v_threshold", "r", "v_reset", "floor", "start")
LAYER = np.dtype(
    [*((name, np.int64) for name in _WHOLE_NUMBERS), *((name, np.float32) for name in _FRACTIONS)], align=True
)

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
_HOUR_US = 3_600_000_000


def clock_of(dt: float | None) -> np.ndarray:
    """Return the clock of steps of dt ms, `[1]`."""
    # Products with times of a hundred days must fit 64 bits.
    us = (Fraction(str(dt or 1)) * 1000).limit_denominator(10**6)
    clock = np.zeros(1, CLOCK)
    clock["us_numerator"], clock["us_denominator"], clock["most_ahead"] = us.numerator, us.denominator, _HOUR_US
    return clock


class Buffers(NamedTuple):
    """The arrays of an engine.

    Attributes:
        layers: A row of `LAYER` for each layer, and one for the output.
        values: Inputs, currents and membranes.
        bits: Bitmaps and their summaries.
        weights: Weights and biases.
        starts, factors: The channels of one pixel that are not zero: places of their weights, and their values.
        counts: A row of `COUNTS` for each layer.
        cells: The `SensorMap`'s cells.
    """

    layers: np.ndarray
    values: np.ndarray
    bits: np.ndarray
    weights: np.ndarray
    starts: np.ndarray
    factors: np.ndarray
    counts: np.ndarray
    cells: np.ndarray


class SensorMap(NamedTuple):
    """Where the events of each pixel of a sensor enter the network.

    Attributes:
        cells: channel << 32 | y << 16 | x of the first layer's input, int64; negative: its events are dropped.
        polarities: Number of polarities, from 0; the polarity is added to the channel.
        is_merged: Whether all polarities share a channel.

    Shape:
        cells: `[H, W]`.
    """

    cells: np.ndarray
    polarities: int
    is_merged: bool = False


def plain_sensor(in_shape: tuple[int, ...]) -> SensorMap:
    """Return the map of a sensor that is the network's input: (P, H, W), (P, W) or (W,)."""
    if len(in_shape) == 1:
        return SensorMap(np.arange(in_shape[0], dtype=np.int64)[None] << 32, 1)
    height, width = in_shape[-2] if len(in_shape) == 3 else 1, in_shape[-1]
    return SensorMap(np.arange(height)[:, None] << 16 | np.arange(width), in_shape[0])


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
        self.values = self.bits = self.num_weights = 0
        self.parts: list[np.ndarray] = []

    def take_values(self, count: int) -> int:
        place, self.values = self.values, self.values + whole_vectors(count)
        return place

    def take_bitmap(self, height: int, words: int) -> tuple[int, int]:
        """Return the places of a bitmap and of its summary."""
        place, self.bits = self.bits, self.bits + height * words + _words(height)
        return place, place + height * words

    def take_weights(self, weights: np.ndarray) -> int:
        place, self.num_weights = self.num_weights, self.num_weights + whole_vectors(weights.size)
        self.parts.append(np.pad(weights.ravel(), (0, self.num_weights - place - weights.size)))
        return place

    def place_input(self, row: np.void, shape: tuple[int, ...], channels: int) -> None:
        """Set the fields of a layer's input."""
        row["in_height"], row["in_width"], row["in_channels"], row["in_words"] = *shape[1:], channels, _words(shape[2])
        row["input"] = self.take_values(prod(shape[1:]) * channels)
        row["in_bits"], row["in_rows"] = self.take_bitmap(shape[1], _words(shape[2]))


def lay_out(layers: Sequence[StreamLayer], sensor: SensorMap) -> Buffers:
    """Return the arrays for layers in order, with all membranes at rest."""
    table = np.zeros(len(layers) + 1, LAYER)
    layout = _Layout()
    channels = layers[0].in_shape[0]
    if channels >= LANES:
        channels = whole_vectors(channels)
    divisor = 1
    for row, layer in zip(table, layers, strict=False):
        layout.place_input(row, layer.in_shape, channels)
        row["divisor"] = divisor
        channels = whole_vectors(layer.weight.shape[0])
        _place_layer(layout, row, layer, channels)
        divisor = prod(layer.window) if layer.pool == "avg" else 1
    layout.place_input(table[-1], layers[-1].out_shape, channels)
    table[-1]["divisor"] = divisor
    table[0]["sensor_height"], table[0]["sensor_width"] = sensor.cells.shape
    table[0]["polarities"], table[0]["is_merged"] = sensor.polarities, sensor.is_merged
    most = max(int(table["in_channels"].max()), LANES)
    weights = aligned_zeros(layout.num_weights)
    weights[:] = np.concatenate(layout.parts)
    found = Buffers(
        table,
        aligned_zeros(layout.values),
        np.zeros(layout.bits, np.uint64),
        weights,
        np.zeros(most, np.int64),
        np.zeros(most, np.float32),
        np.zeros(len(layers), COUNTS),
        np.ascontiguousarray(sensor.cells, np.int64).ravel(),
    )
    reset(found)
    return found


def _place_layer(layout: _Layout, row: np.void, layer: StreamLayer, channels: int) -> None:
    _, height, width = layer.conv_shape
    row["height"], row["width"], row["channels"], row["words"] = height, width, channels, _words(width)
    row["is_whole"] = layer.whole
    (row["stride_y"], row["stride_x"]), (row["pad_y"], row["pad_x"]) = layer.stride, layer.padding
    row["rows"], row["row_dilation"] = layer.weight.shape[2], layer.row_dilation
    row["columns"] = 1 if layer.whole else -(-layer.weight.shape[3] // layer.stride[1])
    row["left"] = row["columns"] - 1
    right = 0 if layer.whole else max(0, (layer.in_shape[2] - 1 + layer.padding[1]) // layer.stride[1] - width + 1)
    row["current_width"] = row["left"] + width + right
    row["current"] = layout.take_values(height * int(row["current_width"]) * channels)
    row["current_pool_y"], row["current_pool_x"] = layer.current_pool
    row["membrane"] = layout.take_values(prod(layer.shape[1:]) * channels)
    row["unused"] = layout.take_values(channels)
    row["touched"], row["touched_rows"] = layout.take_bitmap(height, _words(width))
    row["pool"] = {"none": NO_POOL, "max": MAX_POOL}.get(layer.pool, SUM_POOL)
    row["per_pool_y"], row["per_pool_x"] = (-(-(1 << 32) // size) for size in layer.window)
    row["weights"] = layout.take_weights(_weight_rows(layer, int(row["in_channels"]), channels))
    bias = np.zeros(channels, np.float32)
    if layer.bias is not None:
        bias[: layer.bias.size] = layer.bias
    row["bias"], row["has_bias"] = layout.take_weights(bias), layer.bias is not None
    _set_neuron(row, layer.neuron)
    row["is_dense"] = not layer.neuron.is_driven or layer.bias is not None or layer.current_pool != (1, 1)


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


def _set_neuron(row: np.void, neuron: StreamNeuron) -> None:
    for name in ("a", "g", "c", "v_threshold", "r", "v_reset", "delayed", "strict", "several", "start"):
        row[name] = getattr(neuron, name)
    row["reset"] = _RESETS[neuron.reset]
    if neuron.floor is not None:
        row["floor"], row["floor_rule"] = neuron.floor, ROUNDED_FLOOR if neuron.rounded_floor else FLOOR


def reset(buffers: Buffers) -> None:
    """Set all membranes to their initial value and clear everything else but the weights."""
    buffers.values[:] = 0
    buffers.bits[:] = 0
    buffers.counts[:] = 0
    for row in buffers.layers[:-1]:
        if row["start"]:
            membranes(buffers, row)[:] = row["start"]


def membranes(buffers: Buffers, row: np.void) -> np.ndarray:
    """Return a layer's membranes as a view, `[H, W, C]` with the channels that fill up vectors."""
    height, width = row["height"] // row["current_pool_y"], row["width"] // row["current_pool_x"]
    count = height * width * row["channels"]
    return buffers.values[row["membrane"] : row["membrane"] + count].reshape(height, width, row["channels"])
