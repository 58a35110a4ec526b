"""Loops that decode the words of cameras' files into events.

Each loop takes the words, the index of the first one, what earlier words have set (`state`, int64; item
`OTHERS` counts words that are no events), and four columns to fill, t (us), x, y, p. It stops where the columns are
full, where the next event is not whole, or at a word of an unknown type.

It returns the index of the next word, the number of events, and whether that word is known.

Axes: N events.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from snnlab.compiled import compiled

STATE_SIZE = 12
OTHERS = 0
# Most events of one word, a vector of EVT3.
MOST_PER_WORD = 12
_LARGEST_COLUMN = 2**15 - 1
_WRAP = 2**32

_inner = njit(nogil=True, inline="always")


@_inner
def _unwrapped(time: Any, state: Any) -> Any:
    """Return a time of 32 bits, later by 2^32 us for each time that it fell by half of its range or more.

    Items 1 to 3 of the state: whether there was a time, the last one, what is added.
    """
    if state[1] and state[2] - time >= _WRAP // 2:
        state[3] += _WRAP
    state[1], state[2] = 1, time
    return time + state[3]


@compiled(nogil=True)
def decode_nmnist(data: Any, at: Any, state: Any, t: Any, x: Any, y: Any, p: Any) -> tuple[int, int, bool]:
    """Decode N-MNIST's events of 5 bytes: x, y, the polarity and 23 bits of the time.

    A row of 240 is no event: from there on all times are 2^13 us later (item 1 of the state).
    """
    count = 0
    while at + 5 <= data.size and count < t.size:
        row, high = np.int64(data[at + 1]), np.int64(data[at + 2])
        if row == 240:
            state[1] += 1 << 13
        else:
            t[count] = ((high & 127) << 16 | np.int64(data[at + 3]) << 8 | np.int64(data[at + 4])) + state[1]
            x[count], y[count], p[count] = data[at], row, high >> 7
            count += 1
        at += 5
    return at, count, True


@compiled(nogil=True)
def decode_dat(words: Any, at: Any, state: Any, t: Any, x: Any, y: Any, p: Any) -> tuple[int, int, bool]:
    """Decode Prophesee's DAT, 64 bits for an event: 32 of the time, 14 of x, 14 of y, 4 of the polarity."""
    count = 0
    while at < words.size and count < t.size:
        word = np.int64(words[at])
        t[count] = _unwrapped(word & 0xFFFFFFFF, state)
        x[count], y[count], p[count] = word >> 32 & 0x3FFF, word >> 46 & 0x3FFF, word >> 60 & 15
        count += 1
        at += 1
    return at, count, True


@compiled(nogil=True)
def decode_aedat2(words: Any, at: Any, state: Any, t: Any, x: Any, y: Any, p: Any) -> tuple[int, int, bool]:
    """Decode jAER's AEDAT 2: 32 bits of the address, 32 of the time.

    Items 4 to 11 of the state, which are those of a camera: bits of addresses that are no events, shift and mask of x,
    of y, shift of the polarity, the column and the row of address 0; jAER counts columns and rows from the lower right.
    """
    count = 0
    skipped, x_shift, x_mask, y_shift, y_mask, p_shift = state[4], state[5], state[6], state[7], state[8], state[9]
    while at < words.size and count < t.size:
        word = np.int64(words[at])
        address, time = word >> 32 & 0xFFFFFFFF, _unwrapped(word & 0xFFFFFFFF, state)
        if address & skipped:
            state[OTHERS] += 1
        else:
            t[count], p[count] = time, address >> p_shift & 1
            x[count] = state[10] - (address >> x_shift & x_mask)
            y[count] = state[11] - (address >> y_shift & y_mask)
            count += 1
        at += 1
    return at, count, True


@compiled(nogil=True)
def decode_evt2(words: Any, at: Any, state: Any, t: Any, x: Any, y: Any, p: Any) -> tuple[int, int, bool]:
    """Decode Prophesee's EVT2, words of 32 bits.

    The type is in the upper 4: 0 OFF and 1 ON, with 6 bits of the time, 11 of x and 11 of y; 8 the upper 28 bits of the
    time; 10 a trigger, 14 and 15 others. Items 1 and 2 of the state: whether there was a time, and its upper bits.
    """
    count, has_time, high = 0, state[1], state[2]
    is_known = True
    while at < words.size and count < t.size:
        word = np.int64(words[at])
        kind = word >> 28
        if kind <= 1:
            if has_time:
                t[count], p[count] = high << 6 | word >> 22 & 0x3F, kind
                x[count], y[count] = word >> 11 & 0x7FF, word & 0x7FF
                count += 1
            else:
                state[OTHERS] += 1
        elif kind == 8:
            value = (high & ~np.int64(0xFFFFFFF)) | word & 0xFFFFFFF
            high = value + (1 << 28) if has_time and high - value >= 1 << 27 else value
            has_time = 1
        elif kind == 10 or kind == 14 or kind == 15:
            state[OTHERS] += 1
        else:
            is_known = False
            break
        at += 1
    state[1], state[2] = has_time, high
    return at, count, is_known


@compiled(nogil=True)
def decode_evt3(words: Any, at: Any, state: Any, t: Any, x: Any, y: Any, p: Any) -> tuple[int, int, bool]:
    """Decode Prophesee's EVT3, words of 16 bits.

    The type is in the upper 4: 0 a row; 2 the column and polarity of an event; 3 those of the next vectors, 4 of 12
    columns and 5 of 8, a bit for each; 6 and 8 the lower and upper 12 bits of the time; 10 a trigger, 7, 14 and 15
    others. Items 1 to 6 of the state: whether there was a time, its upper and lower bits, row, column, polarity.
    """
    count, has_time, high, low = 0, state[1], state[2], state[3]
    row, first, polarity = state[4], state[5], state[6]
    is_known = True
    while at < words.size and count + MOST_PER_WORD <= t.size:
        word = np.int64(words[at])
        kind, value = word >> 12, word & 0xFFF
        if kind == 0:
            row = value & 0x7FF
        elif kind == 6:
            low = value
        elif kind == 8:
            value |= high & ~np.int64(0xFFF)
            if has_time and high - value >= 1 << 11:
                value += 1 << 12
            if value != high:
                low = np.int64(0)
            high, has_time = value, 1
        elif 2 <= kind <= 5:
            if kind <= 3:
                first, polarity = value & 0x7FF, value >> 11
            if kind != 3:
                width = 1 if kind == 2 else 12 if kind == 4 else 8
                for k in range(width):
                    if kind == 2 or value >> k & 1:
                        if has_time:
                            t[count], p[count] = high << 12 | low, polarity
                            x[count], y[count] = min(first + k, _LARGEST_COLUMN), row
                            count += 1
                        else:
                            state[OTHERS] += 1
                if kind != 2:
                    first += width
        elif kind == 7 or kind == 10 or kind == 14 or kind == 15:
            state[OTHERS] += 1
        else:
            is_known = False
            break
        at += 1
    state[1], state[2], state[3] = has_time, high, low
    state[4], state[5], state[6] = row, first, polarity
    return at, count, is_known
