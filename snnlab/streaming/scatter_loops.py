"""The compiled loops that add the inputs of a layer to its currents; see `event_loops`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from snnlab.compiled import keep_apart
from snnlab.kernels.vectors import LANES, add_scaled_rows, differs, load, splat, store, trailing_zeros

NONE, ONE = np.uint64(0), np.uint64(1)
ZERO = np.float32(0)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
# As few channels of events are all multiplied, zeros too: how many are not zero cannot be predicted.
FEW_CHANNELS = 2

_inner = njit(nogil=True, error_model="numpy", forceinline=True)
# A function of its own: within others LLVM keeps fewer numbers in registers.
_once = njit(nogil=True, error_model="numpy")


@_inner
def set_bit(bits: Any, bitmap: Any, summary: Any, words: Any, y: Any, x: Any) -> None:
    """Mark a pixel in a bitmap and its row in the summary."""
    bits[bitmap + y * words + (x >> 6)] |= ONE << np.uint64(x & 63)
    bits[summary + (y >> 6)] |= ONE << np.uint64(y & 63)


@_inner
def take_channels(
    values: Any, at: Any, channels: Any, divisor: Any, weights: Any, distance: Any, starts: Any, factors: Any
) -> int:
    """List the channels of a pixel that are not zero, or all if they are few, with the places of their weights.

    The channels are cleared. Returns the number of those that are not zero.
    """
    found = 0
    if channels < LANES:
        for channel in range(channels):
            value = values[at + channel]
            place = channel if channels <= FEW_CHANNELS else found
            starts[place] = weights + channel * distance
            factors[place] = value / divisor
            values[at + channel] = 0
            found += value != 0
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
def add_rows(values: Any, at: Any, weights: Any, starts: Any, factors: Any, count: Any, shift: Any, size: Any) -> None:
    """Add the weights of the listed channels to `size` currents."""
    n = 0
    while n + 6 * LANES <= size:
        add_scaled_rows(values, at + n, weights, starts, factors, count, shift + n, 6)
        n += 6 * LANES
    while n + 2 * LANES <= size:
        add_scaled_rows(values, at + n, weights, starts, factors, count, shift + n, 2)
        n += 2 * LANES
    if n < size:
        add_scaled_rows(values, at + n, weights, starts, factors, count, shift + n, 1)


@_inner
def add_patch(
    values: Any,
    at: Any,
    weights: Any,
    starts: Any,
    factors: Any,
    count: Any,
    shift: Any,
    size: Any,
    block: Any,
    rows: Any,
    below: Any,
    following: Any,
) -> None:
    """Add the weights of the listed channels to the rows of currents that a pixel reaches.

    A row has `size` numbers, in registers by `block` vectors. From row to row the currents are at `below` less, and the
    weights at `following` more.
    """
    if size == 3 * LANES:
        for _ in range(rows):
            add_scaled_rows(values, at, weights, starts, factors, count, shift, 3)
            at -= below
            shift += following
    elif size == 5 * LANES:
        for _ in range(rows):
            add_scaled_rows(values, at, weights, starts, factors, count, shift, 5)
            at -= below
            shift += following
    elif block == 6:
        for _ in range(rows):
            for n in range(0, size, 6 * LANES):
                add_scaled_rows(values, at + n, weights, starts, factors, count, shift + n, 6)
            at -= below
            shift += following
    elif block == 5:
        for _ in range(rows):
            for n in range(0, size, 5 * LANES):
                add_scaled_rows(values, at + n, weights, starts, factors, count, shift + n, 5)
            at -= below
            shift += following
    else:
        for _ in range(rows):
            add_rows(values, at, weights, starts, factors, count, shift, size)
            at -= below
            shift += following


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


class RowReach(NamedTuple):
    """The rows of currents that a row of inputs reaches, from below upwards.

    Attributes:
        first, step: Row of the first, and the distance to the next one above.
        kernel_row, kernel_step: Row of the kernel for the first, and the distance to the next one.
        number: Their number.
    """

    first: Any
    step: Any
    kernel_row: Any
    kernel_step: Any
    number: Any


@_inner
def row_reach(t: Any, y: Any) -> RowReach:
    """Return the rows of currents that row y of the input reaches; a layer has a stride of rows or a dilation."""
    top = y + t.pad_y
    first = (top * t.per_stride_y) >> 32
    row, step = top - first * t.stride_y, t.row_dilation
    while first >= t.height:
        first -= step
        row += t.stride_y
    number, below, at = 0, first, row
    while below >= 0 and at < t.rows:
        number += 1
        below -= step
        at += t.stride_y
    return RowReach(first, step, row, t.stride_y, number)


@_inner
def mark_reached(t: Any, bits: Any, reach: RowReach, column: Any) -> None:
    """Mark the currents that a pixel reaches; `column` is the first."""
    for n in range(reach.number):
        row = reach.first - n * reach.step
        mark_columns(bits, t.touched + row * t.words, t.words, t.width, column, t.columns)
        bits[t.touched_rows + (row >> 6)] |= ONE << np.uint64(row & 63)


@_inner
def mark_row(t: Any, bits: Any, reach: RowReach, columns: Any) -> None:
    """Mark the currents that a row of inputs reaches, where a bitmap has one word per row."""
    columns &= ALL >> np.uint64(64 - t.width)
    for n in range(reach.number):
        row = reach.first - n * reach.step
        bits[t.touched + row] |= columns
        bits[t.touched_rows + (row >> 6)] |= ONE << np.uint64(row & 63)


@_once
def scatter(k: Any, layers: Any, values: Any, bits: Any, weights: Any, starts: Any, factors: Any, counts: Any) -> None:
    """Add the inputs of layer k to its currents, and mark the currents that they reach."""
    keep_apart()
    t = layers[k]
    in_width, in_channels, in_words, in_bits = t.in_width, t.in_channels, t.in_words, t.in_bits
    channels, words, columns, whole = t.channels, t.words, t.columns, t.is_whole
    stride_x, per_stride_x, pad_x, divisor = t.stride_x, t.per_stride_x, t.pad_x, t.divisor
    run = columns * channels
    kernel_row = stride_x * run
    distance = channels if whole else t.rows * kernel_row
    row_size = t.current_width * channels
    products = 0
    active = 0
    for group in range((t.in_height + 63) >> 6):
        some_rows = bits[t.in_rows + group]
        bits[t.in_rows + group] = 0
        while some_rows != 0:
            y = (group << 6) + trailing_zeros(some_rows)
            some_rows &= some_rows - ONE
            reach = row_reach(t, y)
            shift, following, below = (
                reach.kernel_row * kernel_row,
                reach.kernel_step * kernel_row,
                reach.step * row_size,
            )
            to = t.current + reach.first * row_size + (t.left - columns + 1) * channels
            reached = NONE  # columns of a bitmap with one word per row
            for part in range(in_words):
                word = in_bits + y * in_words + part
                pixels = bits[word]
                bits[word] = 0
                while pixels != 0:
                    x = (part << 6) + trailing_zeros(pixels)
                    pixels &= pixels - ONE
                    pixel = y * in_width + x
                    right = x + pad_x
                    column = (right * per_stride_x) >> 32
                    phase = right - column * stride_x
                    begin = t.weights + (pixel * in_channels * channels if whole else phase * run)
                    at = t.input + pixel * in_channels
                    if t.copy_to >= 0:
                        copy_pixel(layers[t.copy_to], values, bits, at, in_channels, divisor, y, x)
                    count = take_channels(values, at, in_channels, divisor, begin, distance, starts, factors)
                    if count == 0:
                        continue
                    active += count
                    products += count * (channels if whole else run * reach.number)
                    if in_channels <= FEW_CHANNELS:
                        count = in_channels
                    if whole:
                        add_rows(values, t.current, weights, starts, factors, count, 0, channels)
                        set_bit(bits, t.touched, t.touched_rows, words, 0, 0)
                        continue
                    place, rows = to + column * channels, reach.number
                    add_patch(
                        values, place, weights, starts, factors, count, shift, run, t.block, rows, below, following
                    )
                    if words == 1:
                        ones = ALL >> np.uint64(64 - columns)
                        column -= columns - 1
                        reached |= ones << np.uint64(column) if column >= 0 else ones >> np.uint64(-column)
                    else:
                        mark_reached(t, bits, reach, column - columns + 1)
            if reached != 0:
                mark_row(t, bits, reach, reached)
    counts[k].operations += products
    counts[k].inputs += active
