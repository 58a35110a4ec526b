"""The backward walk of the neuron with an adaptive threshold on CPUs; see `numba_adaptive`."""

from __future__ import annotations

import numpy as np
from numba import njit

from snnlab.compiled import compiled, lent
from snnlab.nn.kernels.numba_adaptive import (
    ADAPTATION,
    ADAPTED,
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
from snnlab.nn.kernels.numba_rows import add, copy, product, total, total_of_products
from snnlab.nn.kernels.numba_table import NONE, SUBTRACT, VALUE, Rows


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
        numbers = rows_of_table(table, at, at + long)
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
                    threshold_line(line, ws[t, sample, start:stop], numbers)
                spikes = y[t, sample, start:stop] if y.size else gs
                gap = gaps[t, sample, start:stop] if gaps.size else gs
                _through_reset(gs, gu, ga, gv_now, spikes, gap, line, numbers, sums, slots, where, reset, attached)
                _through_spike(gs, gu, ga, bell)
                _to_step_before(gv_now, gw_now, to_x, gu, ga, x, vs, ws, numbers, sums, slots, where)
            copy(dx[t, sample, start:stop], to_x)
    room[:] = 0  # until here somebody has it


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
