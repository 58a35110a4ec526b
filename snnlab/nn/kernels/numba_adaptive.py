"""The compiled walks of the neuron with an adaptive threshold on CPUs, forward and back.

Tasks, rows and tables are as in `numba_forward`, and the forward operations those of the plain loop, in its order:

    u = a * v' + (g * x + c),   A = adaptation * w' + v_threshold,   s = H(u - A),   w = rho * w' + s
    v = u - s * r   reset "subtract"        u - s * (A * r)   "adapted"        (1 - s) * u + s * v_reset   "value"

The backward walk is written by hand, with d the derivative at u - A, gv and gw what arrives at v[t] and w[t], v' and w'
the state before the step, and [...] what a detached reset leaves out:

    gs = gy[t] + gw [- r * gv]               gu = gv + gs * d              gA = -gs * d                 "subtract"
    gs = gy[t] + gw [- A * r * gv]           gu = gv + gs * d              gA = -gs * d - s * r * gv    "adapted"
    gs = gy[t] + gw [+ (v_reset - u) * gv]   gu = (1 - s) * gv + gs * d    gA = -gs * d                 "value"
    gs = gy[t] + gw                          gu = gv + gs * d              gA = -gs * d                 "none"
    gv = a * gu,   gw = rho * gw + adaptation * gA,   dx = g * gu

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from snnlab.compiled import compiled, lent
from snnlab.nn.kernels.numba_rows import add, copy, integrate, product, subtract, to_value, total, total_of_products
from snnlab.nn.kernels.numba_table import NONE, SUBTRACT, VALUE, Rows

# Rows of the table of coefficients and of their gradients.
A, G, C, THRESHOLD, R, V_RESET, RHO, ADAPTATION = range(8)

# A reset beside those of other neurons.
ADAPTED = VALUE + 1


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
        numbers = _rows_of_table(table, at, at + long)
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


@compiled(nogil=True, error_model="numpy")
def backward(
    gy: np.ndarray,
    gcounts: np.ndarray,
    gv: np.ndarray,
    gw: np.ndarray,
    d: np.ndarray,
    y: np.ndarray,
    gaps: np.ndarray,
    x: np.ndarray,
    vs: np.ndarray,
    ws: np.ndarray,
    table: np.ndarray,
    uniform: bool,
    lengths: np.ndarray,
    dx: np.ndarray,
    sums: np.ndarray,
    slots: np.ndarray,
    piece: int,
    reset: int,
    attached: bool,
    first: int,
    last: int,
) -> None:
    """Run the tasks from `first` to before `last`.

    Args:
        gy: Gradient of the spikes, if they have any.
        gcounts: Gradient of the counts, if they have any.
        gv: Gradient of the membrane at the end, and in its place of the one before.
        gw: Gradient of the adaptation at the end, and in its place of the one before.
        d: Derivative of the spike at each step.
        y: Spikes, if anything depends on them.
        gaps: See `forward`; needed where an attached reset leads to a value.
        x: Input, if g's gradient needs it.
        vs: Membrane before each step, if a's gradient needs it.
        ws: Adaptation before each step, if anything depends on it.
        table: Coefficients, a row each; a single piece where no neuron has its own.
        uniform: Whether none has.
        lengths: Valid steps, at most T.
        dx: Gradient of the input, written; it may be d itself.
        sums: Gradients of coefficients for each sample, added to.
        slots: Which of the sums is a coefficient's, by the row of the table; -1 where none is asked for.
        piece: Neurons of a task.
        reset: NONE, SUBTRACT, VALUE or ADAPTED.
        attached: Whether the gradient goes through the reset.
        first: The first task.
        last: The one behind the last.

    Shape:
        gy, d, y, gaps, x, vs, ws, dx: `[T, B, n]`; gcounts, gv, gw: `[B, n]`; table: `[10, n]` or `[10, piece]`;
        lengths: `[B]`; sums: `[asked for, B, n]`, float64; slots: `[10]`.
    """
    neurons = gv.shape[1]
    pieces = (neurons + piece - 1) // piece
    room = np.empty((5, piece), gv.dtype)
    memory, gy, gcounts, gv, gw, d = lent(room), lent(gy), lent(gcounts), lent(gv), lent(gw), lent(d)
    y, gaps, x, vs, ws, table, dx, sums = (
        lent(y),
        lent(gaps),
        lent(x),
        lent(vs),
        lent(ws),
        lent(table),
        lent(dx),
        lent(sums),
    )
    alike = uniform and sums.size == 0 and (reset == NONE or (reset == SUBTRACT and not attached))
    for task in range(first, last):
        sample, start = task // pieces, task % pieces * piece
        stop = min(start + piece, neurons)
        long = stop - start
        at = 0 if uniform else start
        numbers = _rows_of_table(table, at, at + long)
        gs, gu, ga = memory[0, :long], memory[1, :long], memory[2, :long]
        line, to_x = memory[3, :long], memory[4, :long]
        gv_now, gw_now = gv[sample, start:stop], gw[sample, start:stop]
        for t in range(lengths[sample], dx.shape[0]):
            dx[t, sample, start:stop] = 0
        for t in range(lengths[sample] - 1, -1, -1):
            copy(gs, gw_now)
            if gy.size:
                add(gs, gy[t, sample, start:stop])
            if gcounts.size:
                add(gs, gcounts[sample, start:stop])
            bell = d[t, sample, start:stop]
            if alike:
                _settle(gv_now, gw_now, gs, bell, to_x, numbers)
            else:
                where = t, sample, start, stop
                if ws.size:
                    _threshold(line, ws[t, sample, start:stop], numbers)
                spikes = y[t, sample, start:stop] if y.size else gs
                gap = gaps[t, sample, start:stop] if gaps.size else gs
                _through_reset(gs, gu, ga, gv_now, spikes, gap, line, numbers, sums, slots, where, reset, attached)
                _through_spike(gs, gu, ga, bell)
                _to_step_before(gv_now, gw_now, to_x, gu, ga, x, vs, ws, numbers, sums, slots, where)
            copy(dx[t, sample, start:stop], to_x)
    room[:] = 0  # until here somebody has it


# Rows one by one: as rows of a part of a table they would not be known to be contiguous, and a third as fast.
@njit(nogil=True, error_model="numpy")
def _rows_of_table(table: np.ndarray, at: int, to: int) -> Rows:
    return (
        table[0, at:to],
        table[1, at:to],
        table[2, at:to],
        table[3, at:to],
        table[4, at:to],
        table[5, at:to],
        table[6, at:to],
        table[7, at:to],
    )


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
    _threshold(line, w, numbers)
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
def _threshold(line: np.ndarray, w: np.ndarray, numbers: Rows) -> None:
    adaptation, v_threshold = numbers[ADAPTATION], numbers[THRESHOLD]
    for n in range(line.size):
        line[n] = adaptation[n] * w[n] + v_threshold[n]


@njit(nogil=True, error_model="numpy")
def _fire(s: np.ndarray, gap: np.ndarray, strict: bool) -> None:
    if strict:
        for n in range(s.size):
            s[n] = gap[n] > 0
    else:
        for n in range(s.size):
            s[n] = gap[n] >= 0


@njit(nogil=True, error_model="numpy")
def _settle(gv: np.ndarray, gw: np.ndarray, gs: np.ndarray, d: np.ndarray, dx: np.ndarray, numbers: Rows) -> None:
    """Go back a step of neurons that share their numbers, with nothing through the reset."""
    a, g, rho, adaptation = numbers[A][0], numbers[G][0], numbers[RHO][0], numbers[ADAPTATION][0]
    for n in range(gs.size):
        gs[n] *= d[n]
    for n in range(gv.size):
        gu = gv[n] + gs[n]
        gv[n] = a * gu
        dx[n] = g * gu
    for n in range(gw.size):
        gw[n] = rho * gw[n] - adaptation * gs[n]


@njit(nogil=True, error_model="numpy")
def _through_reset(
    gs: np.ndarray,
    gu: np.ndarray,
    ga: np.ndarray,
    gv: np.ndarray,
    s: np.ndarray,
    gap: np.ndarray,
    line: np.ndarray,
    numbers: Rows,
    sums: np.ndarray,
    slots: np.ndarray,
    where: tuple[int, int, int, int],
    reset: int,
    attached: bool,
) -> None:
    """Go from what arrives at v[t] to what arrives at u[t], at the spikes and at the threshold."""
    _, sample, start, _ = where
    r, v_reset = numbers[R], numbers[V_RESET]
    one = gv.dtype.type(1)
    copy(gu, gv)
    ga[:] = 0
    if reset == SUBTRACT:
        total_of_products(sums, slots[R], sample, start, s, gv, -1.0)
        if attached:
            for n in range(gs.size):
                gs[n] -= r[n] * gv[n]
    elif reset == ADAPTED:
        for n in range(ga.size):
            ga[n] = -(s[n] * gv[n])
        total_of_products(sums, slots[R], sample, start, ga, line, 1.0)
        product(ga, ga, r, 1.0)
        if attached:
            for n in range(gs.size):
                gs[n] -= line[n] * r[n] * gv[n]
    elif reset == VALUE:
        total_of_products(sums, slots[V_RESET], sample, start, s, gv, 1.0)
        for n in range(gu.size):
            gu[n] *= one - s[n]
        if attached:
            for n in range(line.size):
                line[n] = v_reset[n] - (gap[n] + line[n])
            for n in range(gs.size):
                gs[n] += line[n] * gv[n]


@njit(nogil=True, error_model="numpy")
def _through_spike(gs: np.ndarray, gu: np.ndarray, ga: np.ndarray, d: np.ndarray) -> None:
    """Go from what arrives at the spikes to what arrives at u[t] and at the threshold."""
    for n in range(gs.size):
        gs[n] *= d[n]
    for n in range(gs.size):
        gu[n] += gs[n]
        ga[n] -= gs[n]


@njit(nogil=True, error_model="numpy")
def _to_step_before(
    gv: np.ndarray,
    gw: np.ndarray,
    to_x: np.ndarray,
    gu: np.ndarray,
    ga: np.ndarray,
    x: np.ndarray,
    vs: np.ndarray,
    ws: np.ndarray,
    numbers: Rows,
    sums: np.ndarray,
    slots: np.ndarray,
    where: tuple[int, int, int, int],
) -> None:
    """Go from what arrives at u[t] and at the threshold to what arrives at x[t] and at the state before the step."""
    t, sample, start, stop = where
    a, g, rho, adaptation = numbers[A], numbers[G], numbers[RHO], numbers[ADAPTATION]
    total(sums, slots[C], sample, start, gu, 1.0)
    total(sums, slots[THRESHOLD], sample, start, ga, 1.0)
    if slots[A] >= 0:
        total_of_products(sums, slots[A], sample, start, gu, vs[t, sample, start:stop], 1.0)
    if slots[G] >= 0:
        total_of_products(sums, slots[G], sample, start, gu, x[t, sample, start:stop], 1.0)
    if slots[RHO] >= 0:
        total_of_products(sums, slots[RHO], sample, start, gw, ws[t, sample, start:stop], 1.0)
    if slots[ADAPTATION] >= 0:
        total_of_products(sums, slots[ADAPTATION], sample, start, ga, ws[t, sample, start:stop], 1.0)
    product(to_x, g, gu, 1.0)
    product(gv, a, gu, 1.0)
    for n in range(gw.size):
        gw[n] = rho[n] * gw[n] + adaptation[n] * ga[n]
