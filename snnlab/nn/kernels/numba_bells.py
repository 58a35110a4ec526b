"""The surrogate's derivative in compiled loops, and of quick bells with the step back in one loop.

A new bell adds a loop and multiplies nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from snnlab.compiled import compiled, lent
from snnlab.nn.kernels.numba_table import HEIGHT, SLOPE, THRESHOLD, Rows, rows_of_table

GIVEN, ATAN, SUPERSPIKE, LOGISTIC, CIRC, TRIANGLE, BOX, EXPONENTIAL, GAUSSIAN, LOBES, FLAT = range(11)


@compiled(nogil=True, error_model="numpy")
def derive(
    gaps: np.ndarray,
    table: np.ndarray,
    uniform: bool,
    lengths: np.ndarray,
    d: np.ndarray,
    piece: int,
    bell: int,
    lobes: tuple[float, float, float],
    first: int,
    last: int,
) -> None:
    """Run the tasks from `first` to before `last` of what other walks call, which have no bells of their own.

    Args:
        gaps: Membrane before the reset less the threshold.
        table: See `numba_backward`; that of the thresholds is 0.
        uniform: See `numba_backward`, as the rest.
        lengths: Valid steps, at most T.
        d: Derivative of the spike, written.
        piece: Neurons of a task.
        bell: The surrogate's formula, which is not GIVEN.
        lobes: Numbers of the bell with LOBES.
        first: The first task.
        last: The one behind the last.

    Shape:
        gaps, d: `[T, B, n]`; table: `[9, n]` or `[9, piece]`; lengths: `[B]`.
    """
    neurons = d.shape[2]
    pieces = (neurons + piece - 1) // piece
    room = np.empty(piece, d.dtype)
    memory, gaps, table, d = lent(room), lent(gaps), lent(table), lent(d)
    for task in range(first, last):
        sample, start = task // pieces, task % pieces * piece
        stop = min(start + piece, neurons)
        at = 0 if uniform else start
        numbers = rows_of_table(table, at, at + stop - start)
        spare, height = memory[: stop - start], numbers[HEIGHT]
        for t in range(lengths[sample]):
            row = d[t, sample, start:stop]
            derivative(row, gaps[t, sample, start:stop], spare, numbers, bell, lobes)
            for n in range(row.size):
                row[n] *= height[n]
    room[:] = 0  # until here somebody has it


@njit(nogil=True, error_model="numpy")
def _atan(x: Any) -> Any:
    return np.float32(1) / (np.float32(1) + x * x)


@njit(nogil=True, error_model="numpy")
def _superspike(x: Any) -> Any:
    far = np.float32(1) + abs(x)
    return np.float32(1) / (far * far)


@njit(nogil=True, error_model="numpy")
def _triangle(x: Any) -> Any:
    return max(np.float32(1) - abs(x), x - x)


@njit(nogil=True, error_model="numpy")
def _box(x: Any) -> Any:
    within, half = np.float32(1) - abs(x), np.float32(0.5)
    return half * (within > 0) + half * (within >= 0)


@njit(nogil=True, error_model="numpy")
def derivative(
    d: np.ndarray, u: np.ndarray, spare: np.ndarray, numbers: Rows, bell: int, lobes: tuple[float, float, float]
) -> None:
    """Write bell(slope * (u - v_threshold)); spare is a row to work in."""
    v_threshold, slope = numbers[THRESHOLD], numbers[SLOPE]
    one, half = d.dtype.type(1), d.dtype.type(0.5)
    for n in range(d.size):
        d[n] = slope[n] * (u[n] - v_threshold[n])
    if bell == ATAN:
        for n in range(d.size):
            d[n] = _atan(d[n])
    elif bell == SUPERSPIKE:
        for n in range(d.size):
            d[n] = _superspike(d[n])
    elif bell == LOGISTIC:
        for n in range(d.size):
            d[n] = -abs(d[n])
        _exp(d, spare)
        for n in range(d.size):
            d[n] = d[n] / ((half + half * d[n]) * (half + half * d[n]))
    elif bell == CIRC:
        for n in range(d.size):
            q = one + d[n] * d[n]
            d[n] = one / (q * math.sqrt(q))
    elif bell == TRIANGLE:
        for n in range(d.size):
            d[n] = _triangle(d[n])
    elif bell == BOX:
        for n in range(d.size):
            d[n] = _box(d[n])
    elif bell == EXPONENTIAL:
        for n in range(d.size):
            d[n] = -abs(d[n])
        _exp(d, spare)
    elif bell == GAUSSIAN:
        for n in range(d.size):
            d[n] = -d[n] * d[n]
        _exp(d, spare)
    elif bell == LOBES:
        narrow, wide, weight = lobes
        for n in range(d.size):
            x = d[n]
            sides = math.exp((x - one) * (x - one) * wide) + math.exp((x + one) * (x + one) * wide)
            d[n] = math.exp(-half * x * x) * narrow - sides * weight
    else:
        d[:] = 1


@njit(nogil=True, error_model="numpy")
def _exp(row: np.ndarray, spare: np.ndarray) -> None:
    """Put e^x in the place of each x <= 0: 2^k, made of its bits, times the series of e^f with |f| <= ln(2) / 2.

    The C library's exp is called for one number at a time, which takes ten times as long.
    """
    real = row.dtype.type
    one, half, k_per_x, x_per_k = real(1), real(0.5), real(1 / math.log(2.0)), real(math.log(2.0))
    c3, c4, c5, c6 = real(1 / 3), real(1 / 4), real(1 / 5), real(1 / 6)
    if row.itemsize == 4:
        bits, least = spare.view(np.int32), real(-127)
        for n in range(row.size):
            k = np.floor(max(row[n] * k_per_x, least) + half)
            f = max(row[n], least * x_per_k) - k * x_per_k
            row[n] = one + f * (one + f * half * (one + f * c3 * (one + f * c4 * (one + f * c5 * (one + f * c6)))))
            bits[n] = (np.int32(k) + np.int32(127)) << np.int32(23)
    else:
        longs, least = spare.view(np.int64), real(-1023)
        c7, c8, c9, c10, c11, c12 = real(1 / 7), real(1 / 8), real(1 / 9), real(1 / 10), real(1 / 11), real(1 / 12)
        for n in range(row.size):
            k = np.floor(max(row[n] * k_per_x, least) + half)
            f = max(row[n], least * x_per_k) - k * x_per_k
            tail = one + f * c7 * (one + f * c8 * (one + f * c9 * (one + f * c10 * (one + f * c11 * (one + f * c12)))))
            row[n] = one + f * (
                one + f * half * (one + f * c3 * (one + f * c4 * (one + f * c5 * (one + f * c6 * tail))))
            )
            longs[n] = (np.int64(k) + 1023) << 52
    for n in range(row.size):
        row[n] *= spare[n]


@njit(nogil=True, error_model="numpy")
def settle(gv: np.ndarray, dx: np.ndarray, gs: np.ndarray, d: np.ndarray, height: float, a: float, g: float) -> None:
    """Go back a step of neurons that share their numbers, with nothing through the reset, in one loop."""
    for n in range(gv.size):
        gu = gv[n] + gs[n] * (d[n] * height)
        gv[n] = a * gu
        dx[n] = g * gu


def _swift_by(bell: Callable[[Any], Any]) -> Callable[..., None]:
    """Return `derivative` and `settle` in one loop, with a synapse that jumps first or without.

    With dx in an array of its own and in that of u: as two arrays of one memory they would not be vectorised.
    """

    @njit(nogil=True, error_model="numpy")
    def apart(gv: np.ndarray, dx: np.ndarray, gs: np.ndarray, u: np.ndarray, shared: tuple[float, ...]) -> None:
        slope, v_threshold, height, a, g, _ = shared
        for n in range(gv.size):
            gu = gv[n] + gs[n] * (bell(slope * (u[n] - v_threshold)) * height)
            gv[n] = a * gu
            dx[n] = g * gu

    @njit(nogil=True, error_model="numpy")
    def over(gv: np.ndarray, u: np.ndarray, gs: np.ndarray, shared: tuple[float, ...]) -> None:
        slope, v_threshold, height, a, g, _ = shared
        for n in range(gv.size):
            gu = gv[n] + gs[n] * (bell(slope * (u[n] - v_threshold)) * height)
            gv[n] = a * gu
            u[n] = g * gu

    @njit(nogil=True, error_model="numpy")
    def apart_jumping(
        gv: np.ndarray, gi: np.ndarray, dx: np.ndarray, gs: np.ndarray, u: np.ndarray, shared: tuple[float, ...]
    ) -> None:
        slope, v_threshold, height, a, g, b = shared
        for n in range(gv.size):
            gu = gv[n] + gs[n] * (bell(slope * (u[n] - v_threshold)) * height)
            arrived = gi[n] + g * gu
            gv[n] = a * gu
            gi[n] = b * arrived
            dx[n] = arrived

    @njit(nogil=True, error_model="numpy")
    def over_jumping(gv: np.ndarray, gi: np.ndarray, u: np.ndarray, gs: np.ndarray, shared: tuple[float, ...]) -> None:
        slope, v_threshold, height, a, g, b = shared
        for n in range(gv.size):
            gu = gv[n] + gs[n] * (bell(slope * (u[n] - v_threshold)) * height)
            arrived = gi[n] + g * gu
            gv[n] = a * gu
            gi[n] = b * arrived
            u[n] = arrived

    @njit(nogil=True, error_model="numpy")
    def swift(
        in_place: bool,
        jumps: bool,
        gv: np.ndarray,
        gi: np.ndarray,
        dx: np.ndarray,
        gs: np.ndarray,
        u: np.ndarray,
        shared: tuple[float, ...],
    ) -> None:
        if jumps and in_place:
            over_jumping(gv, gi, u, gs, shared)
        elif jumps:
            apart_jumping(gv, gi, dx, gs, u, shared)
        elif in_place:
            over(gv, u, gs, shared)
        else:
            apart(gv, dx, gs, u, shared)

    return swift


_swift_atan, _swift_superspike = _swift_by(_atan), _swift_by(_superspike)
_swift_triangle, _swift_box = _swift_by(_triangle), _swift_by(_box)


@njit(nogil=True, error_model="numpy")
def swift(
    bell: int,
    in_place: bool,
    jumps: bool,
    gv: np.ndarray,
    gi: np.ndarray,
    dx: np.ndarray,
    gs: np.ndarray,
    u: np.ndarray,
    shared: tuple[float, ...],
) -> None:
    """Do what `derivative` and `settle` do, of bells of few operations, and go through a synapse that jumps first."""
    if bell == ATAN:
        _swift_atan(in_place, jumps, gv, gi, dx, gs, u, shared)
    elif bell == SUPERSPIKE:
        _swift_superspike(in_place, jumps, gv, gi, dx, gs, u, shared)
    elif bell == TRIANGLE:
        _swift_triangle(in_place, jumps, gv, gi, dx, gs, u, shared)
    else:
        _swift_box(in_place, jumps, gv, gi, dx, gs, u, shared)
