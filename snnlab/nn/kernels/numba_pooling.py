"""The pooling behind neurons in compiled loops over rows of an image's windows, and its way back."""

from __future__ import annotations

import numpy as np
from numba import njit

from snnlab.nn.kernels.numba_rows import add
from snnlab.nn.kernels.numba_table import AVERAGE, MAX


@njit(nogil=True, error_model="numpy")
def pool_row(y: np.ndarray, s: np.ndarray, column: np.ndarray, kind: int, size: int, channels: int) -> None:
    """Pool the rows of a piece: first what is below one another, in long loops, then what is side by side."""
    if size == 2:
        _pool_pairs(y, s, column, kind, channels)
        return
    width = s.size // size
    for n in range(width):
        column[n] = s[n]
    for line in range(1, size):
        row = s[line * width : (line + 1) * width]
        if kind == MAX:
            for n in range(width):
                column[n] = max(column[n], row[n])
        else:
            for n in range(width):
                column[n] += row[n]
    many = y.dtype.type(size * size)
    for w in range(y.size // channels):
        to = y[w * channels : (w + 1) * channels]
        for k in range(size):
            row = column[(w * size + k) * channels : (w * size + k + 1) * channels]
            if k == 0:
                for n in range(channels):
                    to[n] = row[n]
            elif kind == MAX:
                for n in range(channels):
                    to[n] = max(to[n], row[n])
            else:
                for n in range(channels):
                    to[n] += row[n]
    if kind == AVERAGE:
        for n in range(y.size):
            y[n] /= many


@njit(nogil=True, error_model="numpy")
def _pool_pairs(y: np.ndarray, s: np.ndarray, column: np.ndarray, kind: int, channels: int) -> None:
    """Do what `pool_row` does of windows of two by two, in half of the time."""
    # Unsigned, because numba would look at each index whether it counts from the end.
    width, c = np.uintp(s.size // 2), np.uintp(channels)
    windows = np.uintp(y.size // channels)
    if kind == MAX:
        for n in range(width):
            column[n] = max(s[n], s[width + n])
        for w in range(windows):
            to, left, right = w * c, (w + w) * c, (w + w) * c + c
            for n in range(c):
                y[to + n] = max(column[left + n], column[right + n])
    else:
        quarter = y.dtype.type(0.25)
        for n in range(width):
            column[n] = s[n] + s[width + n]
        for w in range(windows):
            to, left, right = w * c, (w + w) * c, (w + w) * c + c
            for n in range(c):
                y[to + n] = (column[left + n] + column[right + n]) * quarter


@njit(nogil=True, error_model="numpy")
def spread(
    gs: np.ndarray, gy: np.ndarray, s: np.ndarray, found: np.ndarray, kind: int, size: int, channels: int
) -> None:
    """Add the gradient of pooled spikes to theirs: to all of a window alike, or to its first spike, else its first."""
    width = gs.size // size
    if kind == AVERAGE:
        repeat(found[:width], gy, size, channels)
        for line in range(size):
            add(gs[line * width : (line + 1) * width], found[:width])
        return
    if size == 2:
        _spread_pairs(gs, gy, s, channels)
        return
    one = gs.dtype.type(1)
    for n in range(gy.size):
        found[n] = 0
    for line in range(size):
        for w in range(gy.size // channels):
            g, over = gy[w * channels : (w + 1) * channels], found[w * channels : (w + 1) * channels]
            for k in range(size):
                at = line * width + (w * size + k) * channels
                to, fired = gs[at : at + channels], s[at : at + channels]
                for n in range(channels):
                    to[n] += g[n] * (fired[n] * (one - over[n]))
                for n in range(channels):
                    over[n] = max(over[n], fired[n])
    for w in range(gy.size // channels):
        g, over = gy[w * channels : (w + 1) * channels], found[w * channels : (w + 1) * channels]
        to = gs[w * size * channels : (w * size + 1) * channels]
        for n in range(channels):
            to[n] += g[n] * (one - over[n])


@njit(nogil=True, error_model="numpy")
def _spread_pairs(gs: np.ndarray, gy: np.ndarray, s: np.ndarray, channels: int) -> None:
    """Do what `spread` does of the largest of two by two, in half of the time."""
    # Unsigned: see `repeat`.
    width, c = np.uintp(gs.size // 2), np.uintp(channels)
    one = gs.dtype.type(1)
    for w in range(np.uintp(gy.size // channels)):
        of, left, right = w * c, (w + w) * c, (w + w) * c + c
        for n in range(c):
            first, second = s[left + n], s[right + n]
            none = one - first
            second = none * second
            none = none - second
            third = none * s[left + width + n]
            none = none - third
            fourth = none * s[right + width + n]
            none = none - fourth
            g = gy[of + n]
            gs[left + n] += g * (first + none)
            gs[right + n] += g * second
            gs[left + width + n] += g * third
            gs[right + width + n] += g * fourth


@njit(nogil=True, error_model="numpy")
def repeat(to: np.ndarray, gy: np.ndarray, size: int, channels: int) -> None:
    """Write the share of each cell in one row of the windows; what they leave over has none."""
    # Unsigned, because numba would look at each index whether it counts from the end.
    c, windows = np.uintp(channels), np.uintp(gy.size // channels)
    many, quarter = to.dtype.type(size * size), to.dtype.type(0.25)
    for w in range(windows):
        of, at = w * c, w * c * np.uintp(size)
        if size == 2:
            for n in range(c):
                to[at + n] = gy[of + n] * quarter
            for n in range(c):
                to[at + c + n] = gy[of + n] * quarter
        else:
            for k in range(np.uintp(size)):
                for n in range(c):
                    to[at + k * c + n] = gy[of + n] / many
    for n in range(gy.size * size, to.size):
        to[n] = 0
