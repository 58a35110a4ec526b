"""The compiled loops of the event-driven engine: a step goes through all layers, and only where something arrives.

A current is the sum over its inputs row by row, within a pixel by channel; each product is rounded before it is added.
That is the order of a plain loop over (kernel row, kernel column, channel), and sums of zeros change nothing, so that
the results are those of the plain loop bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from snnlab.compiled import borrow, compiled
from snnlab.kernels.vectors import LANES, add_scaled_rows, differs, load, splat, store, trailing_zeros
from snnlab.streaming.neuron_loops import SPIKED, ZERO, current_of, fire, leak, plain_rules_of, rules_of, send
from snnlab.streaming.spike_raster import column_place, count_spikes, end_step

ONE = np.uint64(1)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)

# Only the loops that Python calls are cached on disk; the others are part of these.
_loop, _inner = compiled(nogil=True, error_model="numpy"), njit(nogil=True, error_model="numpy", forceinline=True)
# Functions that become part of each loop that calls them: as functions of their own, they would be compiled once more.
_within = njit(nogil=True, error_model="numpy", inline="always")


@_inner
def set_bit(bits: Any, bitmap: Any, summary: Any, words: Any, y: Any, x: Any) -> None:
    """Mark a pixel in a bitmap and its row in the summary."""
    bits[bitmap + y * words + (x >> 6)] |= ONE << np.uint64(x & 63)
    bits[summary + (y >> 6)] |= ONE << np.uint64(y & 63)


@_inner
def first_outside(layers: Any, x: Any, y: Any, p: Any, first: Any, stop: Any) -> int:
    """Return the index of the first event outside the sensor, or -1."""
    t = layers[0]
    for n in range(first, stop):
        inside = 0 <= x[n] < t.sensor_width and 0 <= y[n] < t.sensor_height and 0 <= p[n] < t.polarities
        if not inside:
            return n
    return -1


@_inner
def take_events(layers: Any, values: Any, bits: Any, cells: Any, x: Any, y: Any, p: Any, first: Any, stop: Any) -> None:
    """Add events to the input of the first layer."""
    t = layers[0]
    to, width, channels, bitmap, summary, words = t.input, t.in_width, t.in_channels, t.in_bits, t.in_rows, t.in_words
    sensor_width, per_polarity = t.sensor_width, 0 if t.is_merged else 1
    for n in range(first, stop):
        cell = cells[y[n] * sensor_width + x[n]]
        if cell >= 0:
            in_y, in_x = (cell >> 16) & 0xFFFF, cell & 0xFFFF
            channel = (cell >> 32) + p[n] * per_polarity
            values[to + (in_y * width + in_x) * channels + channel] += np.float32(1)
            set_bit(bits, bitmap, summary, words, in_y, in_x)


@_inner
def take_channels(
    values: Any, at: Any, channels: Any, divisor: Any, weights: Any, distance: Any, starts: Any, factors: Any
) -> int:
    """List the channels of a pixel that are not zero, with the places of their weights; clear them."""
    found = 0
    if channels < LANES:
        for channel in range(channels):
            if values[at + channel] != 0:
                starts[found] = weights + channel * distance
                factors[found] = values[at + channel] / divisor
                values[at + channel] = 0
                found += 1
        return found
    nothing = splat(ZERO, LANES)
    for block in range(0, channels, LANES):
        lanes = differs(load(values, at + block, LANES), nothing)
        if lanes == 0:
            continue
        while lanes != 0:
            channel = block + trailing_zeros(lanes)
            lanes &= lanes - ONE
            starts[found] = weights + channel * distance
            factors[found] = values[at + channel] / divisor
            found += 1
        store(nothing, values, at + block)
    return found


@_inner
def add_rows(
    values: Any, at: Any, weights: Any, starts: Any, factors: Any, count: Any, shift: Any, vectors: Any
) -> None:
    """Add the weights of the listed channels to `vectors` vectors of currents."""
    if vectors == 1:
        add_scaled_rows(values, at, weights, starts, factors, count, shift, 1)
    elif vectors == 3:
        add_scaled_rows(values, at, weights, starts, factors, count, shift, 3)
    elif vectors == 5:
        add_scaled_rows(values, at, weights, starts, factors, count, shift, 5)
    else:
        n = 0
        while n + 6 <= vectors:
            add_scaled_rows(values, at + n * LANES, weights, starts, factors, count, shift + n * LANES, 6)
            n += 6
        while n + 2 <= vectors:
            add_scaled_rows(values, at + n * LANES, weights, starts, factors, count, shift + n * LANES, 2)
            n += 2
        if n < vectors:
            add_scaled_rows(values, at + n * LANES, weights, starts, factors, count, shift + n * LANES, 1)


@_inner
def mark_columns(bits: Any, row: Any, words: Any, width: Any, first: Any, count: Any) -> None:
    """Set the bits of the columns from `first` on that exist, in a row of a bitmap."""
    stop = min(first + count, width)
    first = max(first, 0)
    while first < stop:
        last = min(stop, (first | 63) + 1)
        ones = ALL >> np.uint64(64 - (last - first))
        bits[row + (first >> 6)] |= ones << np.uint64(first & 63)
        first = last


@_inner
def copy_pixel(to: Any, values: Any, bits: Any, at: Any, channels: Any, divisor: Any, y: Any, x: Any) -> None:
    """Add the channels of a pixel to the input of another layer."""
    place = to.input + (y * to.in_width + x) * to.in_channels
    for channel in range(channels):
        if values[at + channel] != 0:
            values[place + channel] += values[at + channel] / divisor
    set_bit(bits, to.in_bits, to.in_rows, to.in_words, y, x)


@_inner
def scatter(k: Any, layers: Any, values: Any, bits: Any, weights: Any, starts: Any, factors: Any, counts: Any) -> None:
    """Add the inputs of layer k to its currents, and mark the currents that they reach."""
    t = layers[k]
    in_height, in_width, in_channels, in_words, in_bits = t.in_height, t.in_width, t.in_channels, t.in_words, t.in_bits
    channels, height, width, words, left = t.channels, t.height, t.width, t.words, t.left
    kernel_rows, dilation, columns = t.rows, t.row_dilation, t.columns
    stride_y, stride_x, pad_y, pad_x = t.stride_y, t.stride_x, t.pad_y, t.pad_x
    inputs, currents, current_width, first_weight = t.input, t.current, t.current_width, t.weights
    touched, touched_rows, divisor, whole = t.touched, t.touched_rows, t.divisor, t.is_whole
    run = columns * channels
    kernel_row = stride_x * run
    distance = channels if whole else kernel_rows * kernel_row
    operations = 0
    active = 0
    for group in range((in_height + 63) >> 6):
        some_rows = bits[t.in_rows + group]
        bits[t.in_rows + group] = 0
        while some_rows != 0:
            y = (group << 6) + trailing_zeros(some_rows)
            some_rows &= some_rows - ONE
            for part in range(in_words):
                word = in_bits + y * in_words + part
                pixels = bits[word]
                bits[word] = 0
                while pixels != 0:
                    x = (part << 6) + trailing_zeros(pixels)
                    pixels &= pixels - ONE
                    pixel = y * in_width + x
                    right = x + pad_x
                    phase = right % stride_x if stride_x > 1 else 0
                    begin = first_weight + (pixel * in_channels * channels if whole else phase * run)
                    at = inputs + pixel * in_channels
                    if t.copy_to >= 0:
                        copy_pixel(layers[t.copy_to], values, bits, at, in_channels, divisor, y, x)
                    count = take_channels(values, at, in_channels, divisor, begin, distance, starts, factors)
                    if count == 0:
                        continue
                    active += count
                    if whole:
                        add_rows(values, currents, weights, starts, factors, count, 0, channels // LANES)
                        set_bit(bits, touched, touched_rows, words, 0, 0)
                        operations += count * channels
                        continue
                    column = (right - phase) // stride_x - (columns - 1) if stride_x > 1 else right - (columns - 1)
                    for kernel_y in range(kernel_rows):
                        below = y + pad_y - kernel_y * dilation
                        if stride_y > 1:
                            if below % stride_y != 0:
                                continue
                            below //= stride_y
                        if below < 0 or below >= height:
                            continue
                        to = currents + (below * current_width + column + left) * channels
                        add_rows(values, to, weights, starts, factors, count, kernel_y * kernel_row, run // LANES)
                        mark_columns(bits, touched + below * words, words, width, column, columns)
                        bits[touched_rows + (below >> 6)] |= ONE << np.uint64(below & 63)
                        operations += count * run
    counts[k].operations += operations
    counts[k].inputs += active


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
    """Update the neurons of one pixel and send their outputs to the next layer; `row` is their place in the raster."""
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
    if any_lane & SPIKED != 0:
        if t.feeds_itself:
            set_bit(bits, t.in_bits, t.in_rows, t.in_words, y, x)
        if is_kept:
            set_bit(bits, t.to_in_bits, t.to_in_rows, t.to_in_words, to_y, to_x)
        elif t.overlaps:
            send_to_windows(t, values, bits, y, x)
    return any_lane


@_inner
def update_touched(k: Any, layers: Any, values: Any, bits: Any, weights: Any, counts: Any, raster: Any) -> None:
    """Update the neurons of layer k that got input, or are still at their threshold; the others only leak."""
    t, count, row = layers[k], counts[k], column_place(raster, layers.size - 1, k)
    if t.a != 1:
        leak(t, values, weights)
    if t.is_plain:
        update_marked(t, plain_rules_of(layers, k), k, count, values, bits, weights, raster, row)
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
                pixels = bits[t.touched + y * t.words + part]
                bits[t.touched + y * t.words + part] = 0
                while pixels != 0:
                    x = (part << 6) + trailing_zeros(pixels)
                    pixels &= pixels - ONE
                    lanes = update_pixel(rules, k, count, values, bits, weights, raster, row, y, x, True)
                    if lanes > SPIKED:
                        set_bit(bits, t.touched, t.touched_rows, t.words, y, x)


@_inner
def update_all(k: Any, layers: Any, values: Any, bits: Any, weights: Any, counts: Any, raster: Any) -> None:
    """Update all neurons of layer k."""
    t, rules, count = layers[k], rules_of(layers, k), counts[k]
    place = column_place(raster, layers.size - 1, k)
    size_y, size_x = t.current_pool_y, t.current_pool_x
    for y in range(t.height // size_y):
        for x in range(t.width // size_x):
            some = np.uint64(0)
            for row in range(y * size_y, (y + 1) * size_y):
                for column in range(x * size_x, (x + 1) * size_x):
                    some |= bits[t.touched + row * t.words + (column >> 6)] >> np.uint64(column & 63) & ONE
            update_pixel(rules, k, count, values, bits, weights, raster, place, y, x, some != 0)
    bits[t.touched : t.touched + t.height * t.words] = 0
    bits[t.touched_rows : t.touched_rows + ((t.height + 63) >> 6)] = 0


@_within
def step(
    layers: Any, values: Any, bits: Any, weights: Any, starts: Any, factors: Any, counts: Any, raster: Any
) -> None:
    """Run all layers on the input that has been taken."""
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
