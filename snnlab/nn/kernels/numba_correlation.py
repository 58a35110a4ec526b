"""The gradient of a kernel that met events, in compiled loops."""

from __future__ import annotations

import numpy as np
from numba import njit

from snnlab.nn.kernels.numba_rows import copy
from snnlab.nn.kernels.numba_vectors import LANES, add_events_1, add_events_4


@njit(nogil=True, error_model="numpy")
def stride_of(reach: tuple[int, int, int, int, int, int, int]) -> int:
    """Return the length of a line with its zeros."""
    return (reach[1] + 2 * (reach[6] - 1)) * reach[5]


@njit(nogil=True, error_model="numpy")
def lay_out(beside: np.ndarray, row: np.ndarray, place: int, reach: tuple[int, int, int, int, int, int, int]) -> None:
    """Copy what arrives at a piece's input to its lines."""
    _, width, lines, _, _, features, taps = reach
    long, margin, stride = width * features, (taps - 1) * features, stride_of(reach)
    for line in range(row.size // long):
        at = (place * lines + line) * stride + margin
        copy(beside[at : at + long], row[line * long : (line + 1) * long])


@njit(nogil=True, error_model="numpy")
def correlate_parts(
    dkernel: np.ndarray,
    beside: np.ndarray,
    task: int,
    behind: int,
    tasks: int,
    pieces: int,
    offsets: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    reach: tuple[int, int, int, int, int, int, int],
    frame: int,
) -> None:
    """Add to the kernel's gradient what a sample's tasks have of a frame's events, each to its part's."""
    height, _, lines, pad_y, _, _, _ = reach
    parts, sample = dkernel.shape[0], task // pieces
    bottom = height + 2 * pad_y - dkernel.shape[1] + 1
    place = front = task - sample * pieces
    for part in range(task * parts // tasks, (behind - 1) * parts // tasks + 1):
        until = min(behind, -(-(part + 1) * tasks // parts)) - sample * pieces
        top = place * lines
        # The last task of a sample may have fewer lines.
        many = min(until * lines, bottom) - top
        _correlate(
            dkernel[part], beside, (place - front) * lines, many, top, offsets, rows, columns, values, reach, frame
        )
        place = until


@njit(nogil=True, error_model="numpy")
def _correlate(
    to: np.ndarray,
    beside: np.ndarray,
    first: int,
    many: int,
    top: int,
    offsets: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    reach: tuple[int, int, int, int, int, int, int],
    frame: int,
) -> None:
    """Add to the kernel's gradient what `many` lines from `first`, the image's from `top`, have of a frame's events.

    For each row of the kernel and each channel, what the events meet is summed up in registers.
    """
    height, _, _, pad_y, pad_x, features, _ = reach
    stride = stride_of(reach)
    channels, across = to.shape[1], to.shape[2]
    for tap in range(to.shape[0]):
        # Of the frame's rows, the first is met by the first line.
        row = top - pad_y + tap
        above, below = max(0, row), min(height, row + many)
        base = (first - row) * stride + pad_x * features
        for channel in range(channels if above < below else 0):
            begin = offsets[frame, channel * height + above]
            end = offsets[frame, channel * height + below]
            at, of = (tap * channels + channel) * across, 0
            while of + 4 * LANES <= across:
                add_events_4(to, at + of, beside, base + of, stride, features, rows, columns, values, begin, end)
                of += 4 * LANES
            while of < across:
                add_events_1(to, at + of, beside, base + of, stride, features, rows, columns, values, begin, end)
                of += LANES
