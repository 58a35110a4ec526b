"""The compiled loops of the event-driven engine: a step goes through all layers, and only where something arrives.

A current is the sum over its inputs row by row, within a pixel by channel; each product is rounded before it is added.
That is the order of a plain loop over (kernel row, kernel column, channel), and sums of zeros change nothing, so that
the results are those of the plain loop bit for bit.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from snnlab.compiled import compiled, keep_apart
from snnlab.kernels.vectors import LANES, splat, store
from snnlab.streaming.kept_inputs import take_delayed
from snnlab.streaming.scatter_loops import NONE, ONE, ZERO, scatter
from snnlab.streaming.update_loops import engine_at

# Only the loops that Python calls are cached on disk; the others are part of these.
_loop, _inner = compiled(nogil=True, error_model="numpy"), njit(nogil=True, error_model="numpy", forceinline=True)
# A step is compiled once for all loops that call it.
_once = njit(nogil=True, error_model="numpy")


@_inner
def first_outside(layers: Any, x: Any, y: Any, p: Any, first: Any, stop: Any) -> int:
    """Return the index of the first event outside the sensor, or -1."""
    t = layers[0]
    last_x, last_y, last_p = t.sensor_width - 1, t.sensor_height - 1, t.polarities - 1
    signs = 0  # negative if any event is outside; without branches, several events at a time
    for n in range(first, stop):
        signs |= x[n] | (last_x - x[n]) | y[n] | (last_y - y[n]) | p[n] | (last_p - p[n])
    if signs >= 0:
        return -1
    for n in range(first, stop):
        inside = 0 <= x[n] <= last_x and 0 <= y[n] <= last_y and 0 <= p[n] <= last_p
        if not inside:
            return n
    return -1


@_inner
def take_events(layers: Any, values: Any, bits: Any, cells: Any, x: Any, y: Any, p: Any, first: Any, stop: Any) -> None:
    """Add events to the input of the first layer."""
    t = layers[0]
    to, width, channels, bitmap, summary, words = t.input, t.in_width, t.in_channels, t.in_bits, t.in_rows, t.in_words
    height, sensor_width, per_polarity = t.in_height, t.sensor_width, 0 if t.is_merged else 1
    if t.is_direct:
        for n in range(first, stop):
            values[to + (y[n] * width + x[n]) * channels + p[n]] += np.float32(1)
            bits[bitmap + y[n] * words + (x[n] >> 6)] |= ONE << np.uint64(x[n] & 63)
    else:
        for n in range(first, stop):
            cell = cells[y[n] * sensor_width + x[n]]
            if cell >= 0:
                in_y, in_x = (cell >> 16) & 0xFFFF, cell & 0xFFFF
                channel = (cell >> 32) + p[n] * per_polarity
                values[to + (in_y * width + in_x) * channels + channel] += np.float32(1)
                bits[bitmap + in_y * words + (in_x >> 6)] |= ONE << np.uint64(in_x & 63)
    # Of many events the rows are found afterwards: to mark the same word for each event waits for the one before.
    if (stop - first) * 4 > height * words:
        mark_rows(bits, bitmap, summary, words, height)
    else:
        for n in range(first, stop):
            in_y = y[n] if t.is_direct else (cells[y[n] * sensor_width + x[n]] >> 16) & 0xFFFF
            is_used = t.is_direct or cells[y[n] * sensor_width + x[n]] >= 0
            bits[summary + (in_y >> 6)] |= np.uint64(is_used) << np.uint64(in_y & 63)


@_inner
def mark_rows(bits: Any, bitmap: Any, summary: Any, words: Any, height: Any) -> None:
    """Mark the rows of a bitmap that have bits."""
    for group in range((height + 63) >> 6):
        rows = NONE
        for y in range(group << 6, min(height, (group + 1) << 6)):
            some = NONE
            for word in range(bitmap + y * words, bitmap + (y + 1) * words):
                some |= bits[word]
            rows |= np.uint64(some != 0) << np.uint64(y & 63)
        bits[summary + group] |= rows


def _call_update(context: Any, address: Any, places: Any, k: Any) -> Any:
    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        number = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [number, number])
        builder.call(builder.inttoptr(arguments[0], ir.PointerType(kind)), arguments[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), build


call_update = cast(Any, intrinsic(_call_update))
"""Call the update of a layer, a compiled function at an address, with the address of the engine's places."""


@_once
def step(places: Any) -> None:
    """Run all layers on the input that has been taken."""
    keep_apart()
    e = engine_at(places)
    layers = e.layers
    for k in range(layers.size - 1):
        if layers[k].slots != 0:
            take_delayed(k, e.clock[0].step, layers, e.values, e.bits)
        scatter(k, layers, e.values, e.bits, e.weights, e.starts, e.factors, e.counts)
        if not layers[k].adds_to_next:
            call_update(e.updates[k], places.ctypes.data, k)


@_inner
def take_output(layers: Any, values: Any, bits: Any, output: Any) -> None:
    """Move the last layer's output, `[H, W, C]` in memory, to `[C * H * W]`."""
    t = layers[layers.size - 1]
    channels = output.size // (t.in_height * t.in_width)
    for pixel in range(t.in_height * t.in_width):
        at = t.input + pixel * t.in_channels
        for channel in range(channels):
            output[channel * t.in_height * t.in_width + pixel] = values[at + channel] / t.divisor
        for block in range(0, t.in_channels, LANES):
            store(splat(ZERO, LANES), values, at + block)
    for word in range(t.in_bits, t.in_rows + ((t.in_height + 63) >> 6)):
        bits[word] = 0


@_inner
def all_spikes(counts: Any) -> int:
    """Return the number of spikes of all layers."""
    total = 0
    for k in range(counts.size):
        total += counts[k].spikes
    return total


@_loop
def run_step(places: Any, x: Any, y: Any, p: Any) -> int:
    """Run a step with its events; return the first event outside, -1 if none is, or -2 if lengths differ.

    Shape:
        x, y, p: `[N]`.
    """
    if not x.size == y.size == p.size:
        return -2
    e = engine_at(places)
    outside = first_outside(e.layers, x, y, p, 0, x.size)
    if outside >= 0:
        return outside
    take_events(e.layers, e.values, e.bits, e.cells, x, y, p, 0, x.size)
    step(places)
    take_output(e.layers, e.values, e.bits, e.output)
    e.clock[0].step += 1
    e.clock[0].events += x.size
    e.clock[0].waiting = 0
    return -1


@_inner
def first_us(number: Any, clock: Any) -> int:
    """Return the first whole us of a step."""
    return -((-number * clock.us_numerator) // clock.us_denominator)


@_loop
def feed_events(
    places: Any, t: Any, x: Any, y: Any, p: Any, first: Any, end: Any, outputs: Any, spikes: Any
) -> tuple[int, int]:
    """Take events from the one at `first` on, and run each step that an event of a later step, or `end`, ends.

    `places` are those of an `Engine`.

    Events of the open step wait in the input of the first layer, where their order makes no difference. Events of
    earlier steps, too far ahead, or outside the sensor are counted in `clock`.

    Returns:
        The index of the event to go on with, and the number of steps that have run: it stops where `outputs` is full.

    Shape:
        t, x, y, p: `[N]`; outputs: `[T, K]`; spikes: `[T]`, the number in all layers since the start.
    """
    e = engine_at(places)
    layers, values, bits, cells = e.layers, e.values, e.bits, e.cells
    own, ran, n = e.clock[0], 0, first
    begin, after = first_us(own.step, own), first_us(own.step + 1, own)
    while True:
        target = end
        if n < t.size:
            outside, late = first_outside(layers, x, y, p, n, n + 1) >= 0, t[n] < begin
            ahead = t[n] - begin > own.most_ahead
            if outside or late or ahead:
                own.outside += outside
                own.late += late and not outside
                own.ahead += ahead and not outside
                n += 1
                continue
            target = own.step if t[n] < after else t[n] * own.us_denominator // own.us_numerator
        while own.step < target:
            if ran == outputs.shape[0]:
                return n, ran
            step(places)
            take_output(layers, values, bits, outputs[ran])
            spikes[ran] = all_spikes(e.counts)
            ran += 1
            own.step += 1
            own.waiting = 0
            begin, after = after, first_us(own.step + 1, own)
        if n >= t.size:
            return n, ran
        take_events(layers, values, bits, cells, x, y, p, n, n + 1)
        own.events += 1
        own.waiting += 1
        own.latest = max(own.latest, t[n])
        n += 1
