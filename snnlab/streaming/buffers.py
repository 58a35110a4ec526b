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
from snnlab.streaming.spike_raster import NO_RASTER
from snnlab.streaming.stream_layers import StreamLayer

WORD = 64
NO_POOL, SUM_POOL, MAX_POOL = 0, 1, 2
SUBTRACT, VALUE, NO_RESET, INTEGRATE, RELAY = 0, 1, 2, 3, 4
NO_FLOOR, FLOOR, ROUNDED_FLOOR = 0, 1, 2
NO_ARRAYS, PER_CHANNEL, PER_NEURON = 0, 1, 2
# The coefficients that may differ between neurons, and the values that change nothing, of a neuron that never spikes.
_NEVER = float(np.finfo(np.float32).max)
COEFFICIENTS = {"a": 1.0, "g": 1.0, "c": 0.0, "v_threshold": _NEVER, "r": 0.0, "v_reset": 0.0, "start": 0.0}
COEFFICIENTS |= {"b": 0.0, "rho": 0.0, "adaptation": 0.0}
NO_SYNAPSE, JUMP_FIRST, DECAY_FIRST, NEXT_STEP = 0, 1, 2, 3
_SYNAPSES = {"none": NO_SYNAPSE, "jump_first": JUMP_FIRST, "decay_first": DECAY_FIRST, "next_step": NEXT_STEP}
NO_ADAPTATION, ADAPTED, ADAPTED_RESET = 0, 1, 2
_RESETS = {"subtract": SUBTRACT, "value": VALUE, "none": NO_RESET, "integrate": INTEGRATE, "relay": RELAY}

_WHOLE_NUMBERS = (
    # Sizes of the input, of its bitmap, of the kernel and of the currents; per_n is 2^32 / n rounded up, so that
    # x // n = (x * per_n) >> 32.
    *("in_height", "in_width", "in_channels", "in_words", "is_whole"),
    *("sensor_height", "sensor_width", "polarities", "is_merged", "is_direct"),
    *("rows", "row_dilation", "columns", "block", "stride_y", "stride_x", "per_stride_y", "per_stride_x"),
    *("pad_y", "pad_x"),
    *("height", "width", "channels", "words", "left", "current_width"),
    # The windows, and the rules of the neurons.
    *("current_pool_y", "current_pool_x", "pool", "per_pool_y", "per_pool_x"),
    *("overlaps", "window_y", "window_x", "pool_stride_y", "pool_stride_x", "pool_pad_y", "pool_pad_x"),
    *("reset", "delayed", "strict", "several", "floor_rule", "is_dense", "has_bias", "synapse", "adapts"),
    "is_plain",
    # Where outputs go, and a second place of the input; -1: none.
    *("to", "copy_to", "adds_to_next", "feeds_itself"),
    # Whether coefficients differ between channels or neurons, and the distance from one coefficient to the next.
    *("arrays", "span"),
    # Places in the array of numbers, of bits, and of weights.
    *("input", "current", "membrane", "unused", "in_bits", "in_rows", "touched", "touched_rows"),
    *("weights", "bias", "coefficients", "synaptic", "adaptive"),
)
# The fields that two layers share whose currents are added.
_OF_CURRENTS = ("left", "current_width", "current", "touched", "touched_rows")
_FRACTIONS = ("divisor", "floor", *COEFFICIENTS)
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
HOUR_US = 3_600_000_000


def clock_of(dt: float | None) -> np.ndarray:
    """Return the clock of steps of dt ms, `[1]`."""
    # Products with times of a hundred days must fit 64 bits.
    us = (Fraction(str(dt or 1)) * 1000).limit_denominator(10**6)
    clock = np.zeros(1, CLOCK)
    clock["us_numerator"], clock["us_denominator"], clock["most_ahead"] = us.numerator, us.denominator, HOUR_US
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
        raster: Where the spikes of the last steps are counted; see `spike_raster`.
    """

    layers: np.ndarray
    values: np.ndarray
    bits: np.ndarray
    weights: np.ndarray
    starts: np.ndarray
    factors: np.ndarray
    counts: np.ndarray
    cells: np.ndarray
    raster: np.ndarray


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


def lay_out(layers: Sequence[StreamLayer], sensor: SensorMap) -> Buffers:
    """Return the arrays for layers in order, with all membranes at rest."""
    table = np.zeros(len(layers) + 1, LAYER)
    table["divisor"], table["copy_to"] = 1, -1
    layout = _Layout()
    for k, (row, layer) in enumerate(zip(table, layers, strict=False)):
        alone = k == 0 and layer.in_shape[0] < LANES
        layout.place_input(row, layer.in_shape, layer.in_shape[0] if alone else whole_vectors(layer.in_shape[0]))
        row["to"] = k + 1 if layer.to is None else layer.to
        row["copy_to"] = -1 if layer.copy_to is None else layer.copy_to
        _place_layer(layout, row, layer, whole_vectors(layer.weight.shape[0]))
        following = layers[k + 1] if layer.adds_to_next else None
        if k and layers[k - 1].adds_to_next:
            for name in _OF_CURRENTS:
                row[name] = table[k - 1][name]
        else:
            _place_currents(layout, row, layer, following)
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
    found = Buffers(
        table,
        aligned_zeros(layout.values),
        np.zeros(layout.bits, np.uint64),
        weights,
        np.zeros(most, np.int64),
        np.zeros(most, np.float32),
        np.zeros(len(layers), COUNTS),
        np.ascontiguousarray(sensor.cells, np.int64).ravel(),
        NO_RASTER,
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
    row["membrane"] = layout.take_values(prod(layer.shape[1:]) * channels)
    row["unused"] = layout.take_values(channels)
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
    _set_neuron(layout, row, layer)
    row["is_dense"] = not layer.neuron.is_driven or layer.bias is not None or layer.current_pool != (1, 1)
    # What most layers are: they reset by subtraction, and have nothing else; see `plain_rules_of`.
    special = ("overlaps", "feeds_itself", "synapse", "adapts", "arrays")
    special += ("several", "floor_rule") if row["is_dense"] else ("delayed",)
    row["is_plain"] = row["reset"] == SUBTRACT and row["g"] == 1 and not any(row[name] for name in special)
    row["is_plain"] &= not row["is_dense"] or row["c"] == 0


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


def _place_currents(layout: _Layout, row: np.void, layer: StreamLayer, following: StreamLayer | None) -> None:
    """Set the place of a layer's currents, which may be those of the following one too."""
    both = [layer] if following is None else [layer, following]
    row["left"] = max(_columns(one) for one in both) - 1
    row["current_width"] = row["left"] + row["width"] + max(_beyond(one) for one in both)
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


def _set_neuron(layout: _Layout, row: np.void, layer: StreamLayer) -> None:
    neuron = layer.neuron
    for name in ("delayed", "strict", "several"):
        row[name] = getattr(neuron, name)
    row["reset"] = _RESETS[neuron.reset]
    if neuron.floor is not None:
        row["floor"], row["floor_rule"] = neuron.floor, ROUNDED_FLOOR if neuron.rounded_floor else FLOOR
    row["synapse"], row["adapts"] = _SYNAPSES[neuron.synapse], neuron.adapts + neuron.adapted_reset
    count = prod(layer.shape[1:]) * int(row["channels"])
    row["synaptic"] = layout.take_values(count) if row["synapse"] else 0
    row["adaptive"] = layout.take_values(count) if row["adapts"] else 0
    given = {name: np.asarray(getattr(neuron, name), np.float32) for name in COEFFICIENTS}
    for name, neutral in COEFFICIENTS.items():
        # Of arrays, a value that says whether the operation changes anything.
        effective = given[name][given[name] != neutral]
        row[name] = effective.flat[0] if effective.size else neutral
    # What fills up the vectors must not spike, so it has values of its own where neurons spike without input.
    fills_up = neuron.spikes_alone and layer.shape[0] < row["channels"]
    if all(values.size == 1 for values in given.values()) and not fills_up:
        return
    shape = layer.shape if any(values.size > layer.shape[0] for values in given.values()) else (layer.shape[0], 1, 1)
    row["arrays"] = PER_CHANNEL if shape[1:] == (1, 1) else PER_NEURON
    row["span"] = prod(shape[1:]) * int(row["channels"])
    table = np.zeros((len(given), *shape[1:], int(row["channels"])), np.float32)
    for part, (name, neutral) in zip(table, COEFFICIENTS.items(), strict=True):
        part[:] = neutral
        part[..., : shape[0]] = np.broadcast_to(given[name], shape).transpose(1, 2, 0)
    row["coefficients"] = layout.take_weights(table)


def reset(buffers: Buffers) -> None:
    """Set all membranes to their initial value and clear everything else but the weights."""
    buffers.values[:] = 0
    buffers.bits[:] = 0
    buffers.counts[:] = 0
    for row in buffers.layers[:-1]:
        v = membranes(buffers, row)
        if row["arrays"]:
            first = row["coefficients"] + row["span"] * list(COEFFICIENTS).index("start")
            start = buffers.weights[first : first + row["span"]]
            v[:] = start if row["arrays"] == PER_CHANNEL else start.reshape(v.shape)
        else:
            v[:] = row["start"]


def membranes(buffers: Buffers, row: np.void) -> np.ndarray:
    """Return a layer's membranes as a view, `[H, W, C]` with the channels that fill up vectors."""
    height, width = row["height"] // row["current_pool_y"], row["width"] // row["current_pool_x"]
    count = height * width * row["channels"]
    return buffers.values[row["membrane"] : row["membrane"] + count].reshape(height, width, row["channels"])
