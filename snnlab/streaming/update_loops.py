"""The loops that update the neurons of a layer; `fire` is rendered from their step, see `rendered_updates`."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from snnlab.compiled import array_at
from snnlab.kernels.runtime import exp_
from snnlab.kernels.vectors import (
    LANES,
    above,
    add,
    load,
    multiply,
    number_of_bits,
    select,
    splat,
    store,
    total,
    trailing_zeros,
)
from snnlab.streaming.buffers import CLOCK, COUNTS, LAYER, MAX_POOL
from snnlab.streaming.scatter_loops import ALL, NONE, ONE, ZERO, set_bit

# Bits 0 to 15: lanes that spiked; bits 16 to 31: lanes that are still at the threshold.
SPIKED = np.uint64(0xFFFF)
STILL = np.uint64(16)

inner = njit(nogil=True, error_model="numpy", forceinline=True)
# A function of its own: it is called rarely.
once = njit(nogil=True, error_model="numpy")


class Engine(NamedTuple):
    """The arrays of an engine: its `Buffers`, the clock, the output, and the addresses of the layers' updates."""

    layers: Any
    values: Any
    bits: Any
    weights: Any
    starts: Any
    factors: Any
    counts: Any
    cells: Any
    channel_spikes: Any
    clock: Any
    output: Any
    updates: Any


@inner
def engine_at(places: Any) -> Engine:
    """Return the arrays of `places_of`."""
    return Engine(
        array_at(places, 0, LAYER),
        array_at(places, 1, np.float32),
        array_at(places, 2, np.uint64),
        array_at(places, 3, np.float32),
        array_at(places, 4, np.int64),
        array_at(places, 5, np.float32),
        array_at(places, 6, COUNTS),
        array_at(places, 7, np.int64),
        array_at(places, 8, np.int64),
        array_at(places, 9, CLOCK),
        array_at(places, 10, np.float32),
        array_at(places, 11, np.int64),
    )


# What the loops of a layer need, in registers: fields of `LAYER`, and those of the input that its outputs go to. Those
# that a rendered text has as constants let the compiler leave out what the layer does not need.
OWN_FIELDS = (
    *("channels", "last", "membrane", "neurons", "numbers", "scratch", "unused", "width", "current", "current_width"),
    *("left", "current_pool_y", "current_pool_x", "pool", "per_pool_y", "per_pool_x", "overlaps"),
    *("window_y", "window_x", "pool_stride_y", "pool_stride_x", "pool_pad_y", "pool_pad_x"),
    *("is_dense", "has_bias", "bias", "feeds_itself", "input", "in_bits", "in_rows", "in_words"),
)
FIELDS_OF_NEXT = ("input", "in_height", "in_width", "in_bits", "in_rows", "in_words")
Rules = namedtuple("Rules", [*OWN_FIELDS, *(f"to_{name}" for name in FIELDS_OF_NEXT)])


@inner
def leak(values: Any, first: Any, count: Any, weights: Any, place: Any, step: Any, size: Any) -> None:
    """Multiply states by their factor; 0 is added as a step does, which turns -0 to 0.

    The factor of the next vector of states is `step` further on, and begins again after `size`.
    """
    nothing = splat(ZERO, LANES)
    for begin in range(first, first + count, size):
        at = place
        for n in range(begin, begin + size, LANES):
            factor = load(weights, at, LANES)
            store(add(multiply(load(values, n, LANES), factor), nothing), values, n)
            at += step


@inner
def exponentials(t: Any, values: Any, x: Any) -> Any:
    """Return e^x of a vector."""
    store(x, values, t.scratch)
    for n in range(t.scratch, t.scratch + LANES):
        values[n] = exp_(values[n])
    return load(values, t.scratch, LANES)


@inner
def used_lanes(t: Any, block: Any) -> np.uint64:
    """Return the lanes of a vector of channels that are no fill."""
    return SPIKED if block + LANES < t.channels else ALL >> np.uint64(64 - t.last)


@inner
def send(t: Any, values: Any, to: Any, output: Any) -> None:
    """Join outputs to the input of the next layer: the sum of a window, or its maximum."""
    before = load(values, to, LANES)
    if t.pool == MAX_POOL:
        store(select(above(output, before), output, before), values, to)
    else:
        store(add(before, output), values, to)


@inner
def send_spikes(t: Any, count: Any, values: Any, at: Any, to: Any, spiked: Any, number: Any, several: Any) -> None:
    """Send the numbers of spikes of a vector of neurons, also to themselves, and count them."""
    send(t, values, to, number)
    if t.feeds_itself:
        store(number, values, t.input + at - t.membrane)
    if several and above(number, splat(np.float32(1), LANES)) != 0:
        count.spikes += np.int64(total(number))
    else:
        count.spikes += number_of_bits(spiked)


@inner
def current_of(t: Any, values: Any, weights: Any, y: Any, x: Any, block: Any) -> Any:
    """Return the current of a vector of neurons, the maximum of a window, with the bias; clear it."""
    nothing = splat(ZERO, LANES)
    found = nothing
    if not t.is_dense:
        at = t.current + (y * t.current_width + x + t.left) * t.channels + block
        found = load(values, at, LANES)
        store(nothing, values, at)
        return found
    for row in range(t.current_pool_y):
        for column in range(t.current_pool_x):
            in_y, in_x = y * t.current_pool_y + row, x * t.current_pool_x + column
            at = t.current + (in_y * t.current_width + in_x + t.left) * t.channels + block
            one = load(values, at, LANES)
            store(nothing, values, at)
            found = one if row + column == 0 else select(above(one, found), one, found)
    return add(found, load(weights, t.bias + block, LANES)) if t.has_bias else found


@inner
def window_at(place: Any, offset: Any, padding: Any, stride: Any, size: Any) -> int:
    """Return the window in which a pixel has this offset, or -1."""
    found = place + padding - offset
    if found < 0 or found % stride != 0 or found // stride >= size:
        return -1
    return found // stride


@inner
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


@once
def count_channels(channel_spikes: Any, first: Any, lanes: Any) -> None:
    """Count the lanes of a vector of channels that spiked; those that fill it up have places too."""
    while lanes != 0:
        channel_spikes[first + trailing_zeros(lanes)] += 1
        lanes &= lanes - ONE


@inner
def update_pixel(
    fire: Any, t: Any, n: Any, e: Any, count: Any, channels: Any, y: Any, x: Any, touched: Any
) -> np.uint64:
    """Update the neurons of one pixel and send their outputs to the next layer.

    `channels` is where the spikes of their channels are counted, or -1.
    """
    values = e.values
    to_y, to_x = (y * t.per_pool_y) >> 32, (x * t.per_pool_x) >> 32
    width = t.width // t.current_pool_x if t.current_pool_x > 1 else t.width
    at = t.membrane + (y * width + x) * t.channels
    is_kept = not t.overlaps and to_y < t.to_in_height and to_x < t.to_in_width
    to = t.to_input + (to_y * t.to_in_width + to_x) * t.channels if is_kept else t.unused
    any_lane = np.uint64(0)
    for block in range(0, t.channels, LANES):
        if touched:
            current = current_of(t, values, e.weights, y, x, block)
        elif t.has_bias:
            current = load(e.weights, t.bias + block, LANES)
        else:
            current = splat(ZERO, LANES)
        lanes = fire(t, n, count, values, e.weights, at + block, block, current, to + block)
        if channels >= 0 and lanes & SPIKED != 0:
            count_channels(e.channel_spikes, channels + block, lanes & SPIKED)
        any_lane |= lanes
    if (t.feeds_itself or t.overlaps) and any_lane & SPIKED != 0:
        if t.feeds_itself:
            set_bit(e.bits, t.in_bits, t.in_rows, t.in_words, y, x)
        if t.overlaps:
            send_to_windows(t, values, e.bits, y, x)
    return any_lane


@inner
def sent_bits(t: Any, lanes: Any, place: Any, x: Any) -> np.uint64:
    """Return the bit of a pixel that spiked: of its window in a row of one word, else of its place in its own word."""
    spiked = lanes & SPIKED != 0
    if t.to_in_words == 1:
        place = (x * t.per_pool_x) >> 32
        spiked &= place < t.to_in_width
    return np.uint64(spiked) << np.uint64(place & 63)


@inner
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


@inner
def update_marked(fire: Any, rules: Any, n: Any, e: Any, k: Any, count: Any, channels: Any) -> None:
    """Update the neurons whose pixels are marked; the others only leak."""
    t, bits = e.layers[k], e.bits
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
                    lanes = update_pixel(fire, rules, n, e, count, channels, y, x, True)
                    sent |= sent_bits(rules, lanes, place, x)
                    still |= np.uint64(lanes > SPIKED) << np.uint64(place)
                bits[t.touched + y * t.words + part] = still
                if still != 0:
                    bits[t.touched_rows + (y >> 6)] |= ONE << np.uint64(y & 63)
                mark_sent(rules, bits, sent, y, part)


@inner
def window_bits(t: Any, bits: Any, y: Any, x: Any) -> np.uint64:
    """Return a number other than 0 if a current in a window of the pooling of currents is marked."""
    some = NONE
    for row in range(y * t.current_pool_y, (y + 1) * t.current_pool_y):
        for column in range(x * t.current_pool_x, (x + 1) * t.current_pool_x):
            some |= bits[t.touched + row * t.words + (column >> 6)] >> np.uint64(column & 63) & ONE
    return some


@inner
def update_rows(fire: Any, rules: Any, n: Any, e: Any, k: Any, count: Any, channels: Any) -> None:
    """Update all neurons, row by row."""
    t, bits = e.layers[k], e.bits
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
                lanes = update_pixel(fire, rules, n, e, count, channels, y, x, some != 0)
                sent |= sent_bits(rules, lanes, place, x)
            mark_sent(rules, bits, sent, y, part)
    bits[t.touched : t.touched + t.height * t.words] = 0
    bits[t.touched_rows : t.touched_rows + ((t.height + 63) >> 6)] = 0
