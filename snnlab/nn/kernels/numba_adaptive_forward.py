"""The forward walk of the neuron with an adaptive threshold on CPUs; see `numba_adaptive`."""

from __future__ import annotations

import numpy as np
from numba import njit

from snnlab.compiled import compiled, lent
from snnlab.nn.kernels.numba_adaptive import (
    ADAPTATION,
    RHO,
    THRESHOLD,
    V_RESET,
    A,
    C,
    G,
    R,
    rows_of_table,
    threshold_line,
)
from snnlab.nn.kernels.numba_rows import add, copy, integrate, product, subtract, to_value
from snnlab.nn.kernels.numba_table import NONE, SUBTRACT, VALUE, Rows


@compiled(nogil=True, error_model="numpy")
def forward(
    x: np.ndarray,
    v: np.ndarray,
    w: np.ndarray,
    table: np.ndarray,
    uniform: bool,
    lengths: np.ndarray,
    y: np.ndarray,
    gaps: np.ndarray,
    vs: np.ndarray,
    ws: np.ndarray,
    counts: np.ndarray,
    piece: int,
    reset: int,
    strict: bool,
    first: int,
    last: int,
) -> None:
    """Run the tasks from `first` to before `last`.

    Args:
        x: Input.
        v: Membrane before, and in its place after.
        w: Adaptation before, and in its place after.
        table: Coefficients, a row each; a single piece where no neuron has its own.
        uniform: Whether none has.
        lengths: Valid steps, at most T.
        y: Spikes, written.
        gaps: Membrane before the reset less the threshold, written if it has room.
        vs: Membrane before each step, written if it has room.
        ws: Adaptation before each step, written if it has room.
        counts: Spikes of each neuron, added to if it has room.
        piece: Neurons of a task.
        reset: NONE, SUBTRACT, VALUE or ADAPTED.
        strict: Whether a membrane exactly at the threshold stays silent.
        first: The first task.
        last: The one behind the last.

    Shape:
        x, y, gaps, vs, ws: `[T, B, n]`; v, w, counts: `[B, n]`; table: `[10, n]` or `[10, piece]`; lengths: `[B]`.
    """
    neurons = v.shape[1]
    pieces = (neurons + piece - 1) // piece
    room = np.empty((3, piece), v.dtype)
    memory, x, v, w, table, y = lent(room), lent(x), lent(v), lent(w), lent(table), lent(y)
    gaps, vs, ws, counts = lent(gaps), lent(vs), lent(ws), lent(counts)
    at_once = uniform and reset == SUBTRACT
    for task in range(first, last):
        sample, start = task // pieces, task % pieces * piece
        stop = min(start + piece, neurons)
        long = stop - start
        at = 0 if uniform else start
        numbers = rows_of_table(table, at, at + long)
        u, line, gap = memory[0, :long], memory[1, :long], memory[2, :long]
        v_now, w_now = v[sample, start:stop], w[sample, start:stop]
        for t in range(lengths[sample]):
            drive, s = x[t, sample, start:stop], y[t, sample, start:stop]
            if gaps.size:
                gap = gaps[t, sample, start:stop]
            if vs.size:
                copy(vs[t, sample, start:stop], v_now)
            if ws.size:
                copy(ws[t, sample, start:stop], w_now)
            if at_once:
                _step(gap, v_now, w_now, drive, numbers, strict)
                _fire(s, gap, strict)
            else:
                _walk(u, line, gap, s, v_now, w_now, drive, numbers, reset, strict)
            if counts.size:
                add(counts[sample, start:stop], s)
        for t in range(lengths[sample], y.shape[0]):
            y[t, sample, start:stop] = 0
    room[:] = 0  # until here somebody has it


@njit(nogil=True, error_model="numpy")
def _step(gap: np.ndarray, v: np.ndarray, w: np.ndarray, x: np.ndarray, numbers: Rows, strict: bool) -> None:
    """Do a step of neurons that share their numbers, reset by subtraction, in one loop."""
    zero, one = v.dtype.type(0), v.dtype.type(1)
    a, g, c, v_threshold = numbers[A][0], numbers[G][0], numbers[C][0], numbers[THRESHOLD][0]
    r, rho, adaptation = numbers[R][0], numbers[RHO][0], numbers[ADAPTATION][0]
    if strict:
        for n in range(v.size):
            u_n = a * v[n] + (g * x[n] + c)
            gap_n = u_n - (adaptation * w[n] + v_threshold)
            s_n = one if gap_n > zero else zero
            gap[n] = gap_n
            v[n] = u_n - s_n * r
            w[n] = rho * w[n] + s_n
    else:
        for n in range(v.size):
            u_n = a * v[n] + (g * x[n] + c)
            gap_n = u_n - (adaptation * w[n] + v_threshold)
            s_n = one if gap_n >= zero else zero
            gap[n] = gap_n
            v[n] = u_n - s_n * r
            w[n] = rho * w[n] + s_n


@njit(nogil=True, error_model="numpy")
def _walk(
    u: np.ndarray,
    line: np.ndarray,
    gap: np.ndarray,
    s: np.ndarray,
    v: np.ndarray,
    w: np.ndarray,
    x: np.ndarray,
    numbers: Rows,
    reset: int,
    strict: bool,
) -> None:
    """Do a step of any neurons."""
    integrate(u, v, x, numbers[A], numbers[G], numbers[C])
    threshold_line(line, w, numbers)
    for n in range(u.size):
        gap[n] = u[n] - line[n]
    _fire(s, gap, strict)
    if reset == NONE:
        copy(v, u)
    elif reset == VALUE:
        to_value(v, u, s, numbers[V_RESET])
    elif reset == SUBTRACT:
        subtract(v, u, s, numbers[R])
    else:
        product(line, line, numbers[R], 1.0)
        subtract(v, u, s, line)
    rho = numbers[RHO]
    for n in range(w.size):
        w[n] = rho[n] * w[n] + s[n]


@njit(nogil=True, error_model="numpy")
def _fire(s: np.ndarray, gap: np.ndarray, strict: bool) -> None:
    if strict:
        for n in range(s.size):
            s[n] = gap[n] > 0
    else:
        for n in range(s.size):
            s[n] = gap[n] >= 0
