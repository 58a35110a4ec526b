"""The compiled loops of the event-driven engine: a step goes through all layers, and only where something arrives.

A current is the sum over its inputs row by row, within a pixel by channel; each product is rounded before it is added.
That is the order of a plain loop over (kernel row, kernel column, channel), and sums of zeros change nothing, so that
the results are those of the plain loop bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from snnlab.compiled import array_at, borrow, compiled, keep_apart
from snnlab.kernels.vectors import LANES, load, splat, store, trailing_zeros
from snnlab.streaming.buffers import CLOCK, COUNTS, LAYER
from snnlab.streaming.neuron_loops import (
    SPIKED,
    ZERO,
    current_of,
    fire,
    leak,
    plain_dense_rules_of,
    plain_rules_of,
    rules_of,
    send,
)
from snnlab.streaming.scatter_loops import ALL, NONE, ONE, scatter, set_bit
from snnlab.streaming.spike_raster import column_place, count_spikes, end_step

# Only the loops that Python calls are cached on disk; the others are part of these.
_loop, _inner = compiled(nogil=True, error_model="numpy"), njit(nogil=True, error_model="numpy", forceinline=True)
# A step is compiled once for all loops that call it; `update_touched` by itself keeps more in registers.
_once = njit(nogil=True, error_model="numpy")
# Functions that become part of each loop that calls them: as functions of their own, they would be compiled once more.
_within = njit(nogil=True, error_model="numpy", inline="always")


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


@_inner
def window_at(place: Any, offset: Any, padding: Any, stride: Any, size: Any) -> int:
    """Return the window in which a pixel has this offset, or -1."""
    found = place + padding - offset
    if found < 0 or found % stride != 0 or found // stride >= size:
        return -1
    return found // stride


@_inner
def send_to_windows(t: Any, values: Any, bits: Any, y: Any, x: Any) -> None:
    """Join the outputs of a pixel, which are at `unused`, to each window that has the pixel; clear them."""
    for row in range(t.window_y):
        to_y = window_at(y, row, t.pool_pad_y, t.pool_stride_y, t.to_in_height)
        if to_y < 0:
            continue
        for column in range(t.window_x):
            to_x = window_at(x, column, t.pool_pad_x, t.pool_stride_x, t.to_in_width)
            if to_x < 0:
                continue
            to = t.to_input + (to_y * t.to_in_width + to_x) * t.channels
            for block in range(0, t.channels, LANES):
                send(t, values, to + block, load(values, t.unused + block, LANES))
            set_bit(bits, t.to_in_bits, t.to_in_rows, t.to_in_words, to_y, to_x)
    for block in range(0, t.channels, LANES):
        store(splat(ZERO, LANES), values, t.unused + block)


@_inner
def update_pixel(
    t: Any,
    k: Any,
    count: Any,
    values: Any,
    bits: Any,
    weights: Any,
    raster: Any,
    row: Any,
    y: Any,
    x: Any,
    touched: Any,
) -> np.uint64:
    """Update the neurons of one pixel and send their outputs to the next layer; `row` is their place in the raster.

    Plain layers run with a constant -1 for the row, so that nothing of a raster is in their loops.
    """
    to_y, to_x = (y * t.per_pool_y) >> 32, (x * t.per_pool_x) >> 32
    width = t.width // t.current_pool_x if t.current_pool_x > 1 else t.width
    at = t.membrane + (y * width + x) * t.channels
    is_kept = not t.overlaps and to_y < t.to_in_height and to_x < t.to_in_width
    to = t.to_input + (to_y * t.to_in_width + to_x) * t.channels if is_kept else t.unused
    decays = t.is_dense and t.a != 1
    any_lane = np.uint64(0)
    for block in range(0, t.channels, LANES):
        if touched:
            current = current_of(t, values, weights, y, x, block)
        elif t.has_bias:
            current = load(weights, t.bias + block, LANES)
        else:
            current = splat(ZERO, LANES)
        lanes = fire(t, count, values, weights, at + block, current, to + block, decays)
        if row >= 0 and lanes & SPIKED != 0:
            count_spikes(raster, k, row, block, lanes & SPIKED)
        any_lane |= lanes
    if (t.feeds_itself or t.overlaps) and any_lane & SPIKED != 0:
        if t.feeds_itself:
            set_bit(bits, t.in_bits, t.in_rows, t.in_words, y, x)
        if t.overlaps:
            send_to_windows(t, values, bits, y, x)
    return any_lane


@_inner
def sent_bits(t: Any, lanes: Any, place: Any, x: Any) -> np.uint64:
    """Return the bit of a pixel that spiked: of its window in a row of one word, else of its place in its own word."""
    spiked = lanes & SPIKED != 0
    if t.to_in_words == 1:
        place = (x * t.per_pool_x) >> 32
        spiked &= place < t.to_in_width
    return np.uint64(spiked) << np.uint64(place & 63)


@_inner
def mark_sent(t: Any, bits: Any, sent: Any, y: Any, part: Any) -> None:
    """Mark the inputs of the next layer that `sent_bits` of a row, or of its word `part`, are in."""
    to_y = (y * t.per_pool_y) >> 32
    if sent == 0 or t.overlaps or to_y >= t.to_in_height:
        return
    marked = ONE
    if t.to_in_words == 1:
        bits[t.to_in_bits + to_y] |= sent
    else:
        marked = NONE
        while sent != 0:
            to_x = (((part << 6) + trailing_zeros(sent)) * t.per_pool_x) >> 32
            sent &= sent - ONE
            if to_x < t.to_in_width:
                bits[t.to_in_bits + to_y * t.to_in_words + (to_x >> 6)] |= ONE << np.uint64(to_x & 63)
                marked = ONE
    bits[t.to_in_rows + (to_y >> 6)] |= marked << np.uint64(to_y & 63)


@_once
def update_touched(k: Any, layers: Any, values: Any, bits: Any, weights: Any, counts: Any, raster: Any) -> None:
    """Update the neurons of layer k that got input, or are still at their threshold; the others only leak."""
    keep_apart()
    t, count, row = layers[k], counts[k], column_place(raster, layers.size - 1, k)
    if t.a != 1:
        leak(t, values, weights)
    if t.is_plain and row < 0:
        update_marked(t, plain_rules_of(layers, k), k, count, values, bits, weights, raster, -1)
    else:
        update_marked(t, rules_of(layers, k), k, count, values, bits, weights, raster, row)


@_inner
def update_marked(
    t: Any, rules: Any, k: Any, count: Any, values: Any, bits: Any, weights: Any, raster: Any, row: Any
) -> None:
    """Update the neurons whose pixels are marked."""
    for group in range((t.height + 63) >> 6):
        some_rows = bits[t.touched_rows + group]
        bits[t.touched_rows + group] = 0
        while some_rows != 0:
            y = (group << 6) + trailing_zeros(some_rows)
            some_rows &= some_rows - ONE
            for part in range(t.words):
                pixels, sent, still = bits[t.touched + y * t.words + part], NONE, NONE
                while pixels != 0:
                    place = trailing_zeros(pixels)
                    pixels &= pixels - ONE
                    x = (part << 6) + place
                    lanes = update_pixel(rules, k, count, values, bits, weights, raster, row, y, x, True)
                    sent |= sent_bits(rules, lanes, place, x)
                    still |= np.uint64(lanes > SPIKED) << np.uint64(place)
                bits[t.touched + y * t.words + part] = still
                if still != 0:
                    bits[t.touched_rows + (y >> 6)] |= ONE << np.uint64(y & 63)
                mark_sent(rules, bits, sent, y, part)


@_inner
def update_rows(
    t: Any, rules: Any, k: Any, count: Any, values: Any, bits: Any, weights: Any, raster: Any, row: Any
) -> None:
    """Update all neurons, row by row."""
    size_y, size_x = t.current_pool_y, t.current_pool_x
    width = t.width // size_x
    window = ALL >> np.uint64(64 - size_x)
    for y in range(t.height // size_y):
        for part in range((width + 63) >> 6):
            sent, first = NONE, part << 6
            line = NONE
            if t.words == 1:
                for in_y in range(y * size_y, (y + 1) * size_y):
                    line |= bits[t.touched + in_y]
            for place in range(min(width - first, 64)):
                x = first + place
                if t.words == 1:
                    some = line & window
                    line >>= np.uint64(size_x)
                else:
                    some = window_bits(t, bits, y, x)
                lanes = update_pixel(rules, k, count, values, bits, weights, raster, row, y, x, some != 0)
                sent |= sent_bits(rules, lanes, place, x)
            mark_sent(rules, bits, sent, y, part)


@_inner
def window_bits(t: Any, bits: Any, y: Any, x: Any) -> np.uint64:
    """Return a number other than 0 if a current in a window of the pooling of currents is marked."""
    some = NONE
    for row in range(y * t.current_pool_y, (y + 1) * t.current_pool_y):
        for column in range(x * t.current_pool_x, (x + 1) * t.current_pool_x):
            some |= bits[t.touched + row * t.words + (column >> 6)] >> np.uint64(column & 63) & ONE
    return some


@_inner
def update_all(k: Any, layers: Any, values: Any, bits: Any, weights: Any, counts: Any, raster: Any) -> None:
    """Update all neurons of layer k."""
    t, count, row = layers[k], counts[k], column_place(raster, layers.size - 1, k)
    if t.is_plain and row < 0:
        update_rows(t, plain_dense_rules_of(layers, k), k, count, values, bits, weights, raster, -1)
    else:
        update_rows(t, rules_of(layers, k), k, count, values, bits, weights, raster, row)
    bits[t.touched : t.touched + t.height * t.words] = 0
    bits[t.touched_rows : t.touched_rows + ((t.height + 63) >> 6)] = 0


@_once
def step(
    layers: Any, values: Any, bits: Any, weights: Any, starts: Any, factors: Any, counts: Any, raster: Any
) -> None:
    """Run all layers on the input that has been taken."""
    keep_apart()
    layers, values, bits, weights = borrow(layers), borrow(values), borrow(bits), borrow(weights)
    starts, factors, counts, raster = borrow(starts), borrow(factors), borrow(counts), borrow(raster)
    for k in range(layers.size - 1):
        scatter(k, layers, values, bits, weights, starts, factors, counts)
        if layers[k].adds_to_next:
            continue
        if layers[k].is_dense:
            update_all(k, layers, values, bits, weights, counts, raster)
        else:
            update_touched(k, layers, values, bits, weights, counts, raster)
    if raster.size != 0:
        end_step(raster, layers.size - 1)


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
def run_steps(
    layers: Any,
    values: Any,
    bits: Any,
    weights: Any,
    starts: Any,
    factors: Any,
    counts: Any,
    cells: Any,
    raster: Any,
    clock: Any,
    x: Any,
    y: Any,
    p: Any,
    stops: Any,
    outputs: Any,
    spikes: Any,
) -> int:
    """Run a step for each number of `stops`, with the events before it; return the first event outside, or -1.

    The arguments are the `Buffers`, the clock, the events' columns, the ends of the steps in them, and what is filled.

    Shape:
        x, y, p: `[N]`; stops: `[T]`; outputs: `[T, K]`; spikes: `[T]`, the number in all layers since the start.
    """
    outside = first_outside(layers, x, y, p, 0, x.size)
    if outside >= 0:
        return outside
    layers, values, bits, weights = borrow(layers), borrow(values), borrow(bits), borrow(weights)
    starts, factors, counts, cells = borrow(starts), borrow(factors), borrow(counts), borrow(cells)
    first = 0
    for n in range(stops.size):
        take_events(layers, values, bits, cells, x, y, p, first, stops[n])
        first = stops[n]
        step(layers, values, bits, weights, starts, factors, counts, raster)
        take_output(layers, values, bits, outputs[n])
        spikes[n] = all_spikes(counts)
    clock[0].step += stops.size
    clock[0].events += x.size
    clock[0].waiting = 0
    return -1


@_loop
def run_step(places: Any, x: Any, y: Any, p: Any) -> int:
    """Run a step with its events; return the first event outside, -1 if none is, or -2 if lengths differ.

    `places` are the `places_of` the `Buffers`, the clock and the output.

    Shape:
        x, y, p: `[N]`.
    """
    if not x.size == y.size == p.size:
        return -2
    layers, values, bits = array_at(places, 0, LAYER), array_at(places, 1, np.float32), array_at(places, 2, np.uint64)
    outside = first_outside(layers, x, y, p, 0, x.size)
    if outside >= 0:
        return outside
    weights, starts = array_at(places, 3, np.float32), array_at(places, 4, np.int64)
    factors, counts = array_at(places, 5, np.float32), array_at(places, 6, COUNTS)
    cells, raster = array_at(places, 7, np.int64), array_at(places, 8, np.int64)
    clock, output = array_at(places, 9, CLOCK), array_at(places, 10, np.float32)
    take_events(layers, values, bits, cells, x, y, p, 0, x.size)
    step(layers, values, bits, weights, starts, factors, counts, raster)
    take_output(layers, values, bits, output)
    clock[0].step += 1
    clock[0].events += x.size
    clock[0].waiting = 0
    return -1


@_inner
def first_us(number: Any, clock: Any) -> int:
    """Return the first whole us of a step."""
    return -((-number * clock.us_numerator) // clock.us_denominator)


@_within
def feed(
    layers: Any,
    values: Any,
    bits: Any,
    weights: Any,
    starts: Any,
    factors: Any,
    counts: Any,
    cells: Any,
    raster: Any,
    clock: Any,
    t: Any,
    x: Any,
    y: Any,
    p: Any,
    first: Any,
    end: Any,
    outputs: Any,
    spikes: Any,
) -> tuple[int, int]:
    """Take events from the one at `first` on, and run each step that an event of a later step, or `end`, ends.

    Events of the open step wait in the input of the first layer, where their order makes no difference. Events of
    earlier steps, too far ahead, or outside the sensor are counted in `clock`.

    Returns:
        The index of the event to go on with, and the number of steps that have run: it stops where `outputs` is full.

    Shape:
        t, x, y, p: `[N]`; outputs: `[T, K]`; spikes: `[T]`, the number in all layers since the start.
    """
    layers, values, bits, weights = borrow(layers), borrow(values), borrow(bits), borrow(weights)
    starts, factors, counts, cells = borrow(starts), borrow(factors), borrow(counts), borrow(cells)
    own, ran, n = clock[0], 0, first
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
            step(layers, values, bits, weights, starts, factors, counts, raster)
            take_output(layers, values, bits, outputs[ran])
            spikes[ran] = all_spikes(counts)
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


@_loop
def feed_events(
    layers: Any,
    values: Any,
    bits: Any,
    weights: Any,
    starts: Any,
    factors: Any,
    counts: Any,
    cells: Any,
    raster: Any,
    clock: Any,
    t: Any,
    x: Any,
    y: Any,
    p: Any,
    first: Any,
    end: Any,
    outputs: Any,
    spikes: Any,
) -> tuple[int, int]:
    """Do as `feed`, for Python."""
    return feed(
        layers, values, bits, weights, starts, factors, counts, cells, raster, clock, t, x, y, p, first, end,
        outputs, spikes,
    )  # fmt: skip
