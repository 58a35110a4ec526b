"""The compiled backward walk of the canonical recurrence on CPUs, from the last step to the first.

What a step needs of the forward is computed again from u. Tasks and rows are as in `numba_forward`; the surrogate's
derivative is a row of its own. Written by hand, with d the
derivative at u, gs and gu what arrives at the spikes and at u, gv and gi what arrives at v[t] and i[t], late what
arrives at s[t] from a delayed reset, v' and i' the state before the step, and [...] what a detached reset leaves out:

    gs = gy[t] + late [- r * gv]              gu = gv + gs * d              reset "subtract"
    gs = gy[t] + late [+ (v_reset - u) * gv]  gu = (1 - s) * gv + gs * d    reset "value"
    gs = gy[t] + late                         gu = gv + gs * d              "none", or delayed
    gv = a * gu                               late = 0                      not delayed
    gv = a * gu                               late = [-r * gu]              "subtract", delayed
    gv = a * (1 - s') * gu                    late = [a * (v_reset - v') * gu]  "value", delayed
    gj = g * gu + gi;   jump first: dx = gj, gi = b * gj;   decay first: dx = gi = b * gj

Axes: T steps, B samples, n neurons as they lie in memory, m outputs: n, or what pooling leaves of them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from snnlab.compiled import compiled, lent
from snnlab.nn.kernels.numba_bells import ATAN, BOX, GIVEN, SUPERSPIKE, TRIANGLE, derivative, settle, swift
from snnlab.nn.kernels.numba_correlation import correlate_parts, lay_out, stride_of
from snnlab.nn.kernels.numba_pooling import repeat, spread
from snnlab.nn.kernels.numba_rows import add, add_product, copy, fire, product, total, total_of_products
from snnlab.nn.kernels.numba_table import (
    AVERAGE,
    DECAY_FIRST,
    HEIGHT,
    JUMP_FIRST,
    MAX,
    NONE,
    SLOPE,
    SUBTRACT,
    THRESHOLD,
    TOGETHER,
    V_RESET,
    VALUE,
    A,
    B,
    C,
    G,
    R,
    Rows,
    rows_of_table,
)
from snnlab.nn.kernels.numba_vectors import LANES

# Rows of a task's memory: the derivative, what arrives at the spikes and at the membrane, the spikes, what arrives at
# them from a delayed reset, the membrane before a step, what arrives at the input.
D, GS, GU, S, LATE, V, TO_X = range(7)


@compiled(nogil=True, error_model="numpy")
def backward(
    gy: np.ndarray,
    gcounts: np.ndarray,
    gv: np.ndarray,
    gi: np.ndarray,
    u: np.ndarray,
    j: np.ndarray,
    x: np.ndarray,
    v0: np.ndarray,
    i0: np.ndarray,
    given: np.ndarray,
    table: np.ndarray,
    uniform: bool,
    lengths: np.ndarray,
    dx: np.ndarray,
    sums: np.ndarray,
    slots: np.ndarray,
    events: Rows,
    reach: tuple[int, int, int, int, int, int, int],
    dkernel: np.ndarray,
    dbias: np.ndarray,
    piece: int,
    pool: tuple[int, int, int],
    reset: int,
    delayed: bool,
    attached: bool,
    strict: bool,
    synapse: int,
    bell: int,
    lobes: tuple[float, float, float],
    first: int,
    last: int,
) -> None:
    """Run the tasks from `first` to before `last`.

    Args:
        gy: Gradient of the outputs, if it has any.
        gcounts: Gradient of the counts, if it has any.
        gv: Gradient of the membrane at the end, and in its place of the one before.
        gi: Gradient of the current at the end, and in its place of the one before.
        u: Membrane before the reset, if anything depends on it.
        j: Current, if a coefficient's gradient needs it.
        x: Input, if a coefficient's gradient needs it.
        v0: Membrane before the first step.
        i0: Current before the first step.
        given: Derivative of the spike before the first step and at each, where the bell is GIVEN.
        table: Coefficients, a row each; a single piece where no neuron has its own.
        uniform: Whether none has.
        lengths: Valid steps, at most T.
        dx: Gradient of the input, written if it has room; it may be u itself.
        sums: Gradients of coefficients for each sample, added to.
        slots: Which of the sums is a coefficient's, by the row of the table; -1 where none is asked for.
        events: See `numba_forward`.
        reach: See `numba_forward`.
        dkernel: Gradient of the kernel for each equal part of the tasks, added to; without room where there is none.
        dbias: Gradient of the input, summed over the steps, added to if it has room.
        piece: Neurons of a task.
        pool: 0, MAX or AVERAGE; height of a window; channels.
        reset: NONE, SUBTRACT or VALUE.
        delayed: Whether the reset acts one step later.
        attached: Whether the gradient goes through the reset.
        strict: Whether a membrane exactly at the threshold stays silent.
        synapse: NONE, JUMP_FIRST or DECAY_FIRST.
        bell: The surrogate's formula; -1 where nothing spikes.
        lobes: Numbers of the bell with LOBES.
        first: The first task.
        last: The one behind the last.

    Shape:
        u, j, x, dx: `[T, B, n]`; gy: `[T, B, m]`; gcounts, gv, gi, v0, i0: `[B, n]`; given: `[T + 1, B, n]`; table:
        `[9, n]` or `[9, piece]`; lengths: `[B]`; sums: `[asked for, B, n]`, float64; slots: `[9]`.
    """
    out, neurons = gy.shape[2], gv.shape[1]
    pieces = (neurons + piece - 1) // piece
    kind, size, channels = pool
    outputs = piece if kind == 0 else piece // (size * channels) // size * channels
    room = np.empty((7, piece), gv.dtype)
    memory, gy, gcounts, gv, gi, table = lent(room), lent(gy), lent(gcounts), lent(gv), lent(gi), lent(table)
    u, j, x, v0, i0, given = lent(u), lent(j), lent(x), lent(v0), lent(i0), lent(given)
    dx, sums, dkernel, dbias = lent(dx), lent(sums), lent(dkernel), lent(dbias)
    offsets, event_rows, columns, values, kernel, _ = events
    offsets, event_rows, columns, values = lent(offsets), lent(event_rows), lent(columns), lent(values)
    kernel = lent(kernel)
    fires = bell >= 0
    resets_at_once = reset != NONE and not delayed
    needs_s = fires and (kind == MAX or (resets_at_once and (attached or reset == VALUE or slots[R] >= 0)))
    alike = uniform and bell > GIVEN and sums.size == 0 and not delayed and reset != VALUE
    alike = alike and (reset == NONE or not attached)
    kept = u, j, x, v0, given
    flags = reset, delayed, attached, strict, synapse, bell
    # What a delayed reset sends back waits in a row, of which there is one.
    together = 1 if delayed else max(1, TOGETHER // piece)
    height, a, g = table[HEIGHT, 0], table[A, 0], table[G, 0]  # of neurons that share them
    quick = alike and bell in (ATAN, SUPERSPIKE, TRIANGLE, BOX)
    shared = table[SLOPE, 0], table[THRESHOLD, 0], height, a, g, table[B, 0]
    jumps = quick and synapse == JUMP_FIRST
    over = dx.size > 0 and dx.ctypes.data == u.ctypes.data
    # Where only the mean of a window has a gradient, it is the same in all rows of the window.
    shares = alike and kind == AVERAGE and gy.size > 0 and gcounts.size == 0
    # Taken again only where they are others, for that takes as long as a row.
    known = min(piece, neurons)
    numbers, scratch = rows_of_table(table, 0, known), _rows_of_memory(memory, known)
    gs, s, late, spare, d = scratch[GS], scratch[S], scratch[LATE], scratch[V], scratch[D]
    # What arrives at a step's input, in lines with zeros on either side, where the kernel's gradient is asked for.
    tasks = gv.shape[0] * pieces
    many = reach[2] * min(together, pieces) if dkernel.size else 0
    beside_room = np.zeros(many * stride_of(reach) + 4 * LANES, gv.dtype)
    beside = lent(beside_room)
    task = first
    while task < last:
        sample = task // pieces
        behind = min(last, (sample + 1) * pieces, task + together)
        front, back = task - sample * pieces, behind - sample * pieces
        for t in range(lengths[sample], dx.shape[0]):
            dx[t, sample, front * piece : back * piece] = 0
        memory[LATE] = 0
        for t in range(lengths[sample] - 1, -1, -1):
            for place in range(front, back):
                start = place * piece
                stop = min(start + piece, neurons)
                long = stop - start
                if not uniform or long != known:
                    at = 0 if uniform else start
                    numbers, scratch, known = rows_of_table(table, at, at + long), _rows_of_memory(memory, long), long
                    gs, s, late, spare, d = scratch[GS], scratch[S], scratch[LATE], scratch[V], scratch[D]
                to_x = scratch[TO_X]
                gv_now = gv[sample, start:stop]
                gi_now = gi[sample, start:stop] if synapse else gv_now
                begin = place * outputs
                end = min(begin + outputs, out)
                where = t, sample, start, stop
                if dx.size:
                    to_x = dx[t, sample, start:stop]
                if needs_s:
                    fire(s, u[t, sample, start:stop], numbers[THRESHOLD], strict)
                if shares and end > begin:
                    width = long // size
                    repeat(gs[:width], gy[t, sample, begin:end], size, channels)
                    u_now = u[t, sample, start:stop]
                    if not quick:
                        derivative(d, u_now, spare, numbers, bell, lobes)
                    for line in range(size):
                        low, high = line * width, (line + 1) * width
                        gv_line, gi_line, to_line = gv_now[low:high], gi_now[low:high], to_x[low:high]
                        if quick:
                            swift(bell, over, jumps, gv_line, gi_line, to_line, gs[:width], u_now[low:high], shared)
                        else:
                            settle(gv_line, to_line, gs[:width], d[low:high], height, a, g)
                else:
                    if delayed:
                        copy(gs, late)
                    else:
                        gs[:] = 0
                    if kind and gy.size and end > begin:
                        spread(gs, gy[t, sample, begin:end], s, spare, kind, size, channels)
                    elif kind == 0 and gy.size:
                        add(gs, gy[t, sample, start:stop])
                    if gcounts.size:
                        add(gs, gcounts[sample, start:stop])
                    if quick:
                        swift(bell, over, jumps, gv_now, gi_now, to_x, gs, u[t, sample, start:stop], shared)
                    elif alike:
                        derivative(d, u[t, sample, start:stop], spare, numbers, bell, lobes)
                        settle(gv_now, to_x, gs, d, height, a, g)
                    else:
                        _through_spike(gv_now, scratch, numbers, kept, sums, slots, where, flags, lobes)
                        _to_step_before(gv_now, to_x, scratch, numbers, kept, sums, slots, where, flags)
                if synapse and not jumps:
                    _through_synapse(gi_now, to_x, numbers[B], i0, kept, sums, slots, where, synapse)
                if dkernel.size:
                    lay_out(beside, to_x, place - front, reach)
                if dbias.size:
                    add(dbias[sample, start:stop], to_x)
            if dkernel.size:
                frame = t * gv.shape[0] + sample
                correlate_parts(
                    dkernel, beside, task, behind, tasks, pieces, offsets, event_rows, columns, values, reach, frame
                )
        if delayed and attached and lengths[sample] > 0:
            start = front * piece
            stop = min(start + piece, neurons)
            at = 0 if uniform else start
            numbers, scratch = rows_of_table(table, at, at + stop - start), _rows_of_memory(memory, stop - start)
            where = -1, sample, start, stop
            _through_first(gv[sample, start:stop], scratch, numbers, kept, sums, slots, where, bell, lobes)
        task = behind
    room[:] = 0  # until here somebody has them
    beside_room[:1] = 0


@njit(nogil=True, error_model="numpy")
def _rows_of_memory(memory: np.ndarray, to: int) -> Rows:
    return (
        memory[0, :to],
        memory[1, :to],
        memory[2, :to],
        memory[3, :to],
        memory[4, :to],
        memory[5, :to],
        memory[6, :to],
    )


@njit(nogil=True, error_model="numpy")
def _through_spike(
    gv: np.ndarray,
    scratch: Rows,
    numbers: Rows,
    kept: Rows,
    sums: np.ndarray,
    slots: np.ndarray,
    where: tuple[int, int, int, int],
    flags: tuple[int, bool, bool, bool, int, int],
    lobes: tuple[float, float, float],
) -> None:
    """Go from what arrives at s[t] and v[t] to what arrives at u[t], through the spike and a reset at once."""
    u, _, _, _, given = kept
    t, sample, start, stop = where
    reset, delayed, attached, _, _, bell = flags
    gs, gu, s, d = scratch[GS], scratch[GU], scratch[S], scratch[D]
    if bell < 0:
        _add_to(gu, gs, gv)
        return
    u_now = u[t, sample, start:stop]
    if not delayed and reset == SUBTRACT:
        total_of_products(sums, slots[R], sample, start, s, gv, -1.0)
        if attached:
            add_product(gs, numbers[R], gv, -1.0)
    elif not delayed and reset == VALUE:
        total_of_products(sums, slots[V_RESET], sample, start, s, gv, 1.0)
        if attached:
            _add_above(gs, numbers[V_RESET], u_now, gv)
    if bell == GIVEN:
        copy(d, given[t + 1, sample, start:stop])
    else:
        derivative(d, u_now, scratch[V], numbers, bell, lobes)
    _times(gs, d, numbers[HEIGHT])
    total(sums, slots[THRESHOLD], sample, start, gs, -1.0)
    if not delayed and reset == VALUE:
        _add_kept(gu, gs, gv, s)
    else:
        _add_to(gu, gs, gv)


@njit(nogil=True, error_model="numpy")
def _to_step_before(
    gv: np.ndarray,
    to_x: np.ndarray,
    scratch: Rows,
    numbers: Rows,
    kept: Rows,
    sums: np.ndarray,
    slots: np.ndarray,
    where: tuple[int, int, int, int],
    flags: tuple[int, bool, bool, bool, int, int],
) -> None:
    """Go from what arrives at u[t] to what arrives at v[t-1] and at the drive, through a delayed reset."""
    u, j, x, v0, _ = kept
    t, sample, start, stop = where
    reset, delayed, attached, strict, synapse, bell = flags
    gu, s, late, v = scratch[GU], scratch[S], scratch[LATE], scratch[V]
    if delayed or slots[A] >= 0:
        copy(v, u[t - 1, sample, start:stop] if t else v0[sample, start:stop])
        if bell >= 0 and (delayed or (t and reset != NONE)):
            fire(s, v, numbers[THRESHOLD], strict)
            if not delayed and reset == SUBTRACT:
                _subtract(v, s, numbers[R])
            elif not delayed:
                _to_value(v, s, numbers[V_RESET])
    if delayed and reset == SUBTRACT:
        total_of_products(sums, slots[R], sample, start, s, gu, -1.0)
        if attached:
            product(late, numbers[R], gu, -1.0)
    elif delayed:
        if attached:
            _late_value(late, numbers[V_RESET], v, numbers[A], gu)
        _to_value(v, s, numbers[V_RESET])
    total_of_products(sums, slots[A], sample, start, gu, v, 1.0)
    total(sums, slots[C], sample, start, gu, 1.0)
    if slots[G] >= 0:
        drive = j[t, sample, start:stop] if synapse else x[t, sample, start:stop]
        total_of_products(sums, slots[G], sample, start, gu, drive, 1.0)
    _two_products(gv, numbers[A], to_x, numbers[G], gu)
    if delayed and reset == VALUE:
        total_of_products(sums, slots[V_RESET], sample, start, s, gv, 1.0)
        _kept(gv, s)


@njit(nogil=True, error_model="numpy")
def _through_synapse(
    gi: np.ndarray,
    to_x: np.ndarray,
    b: np.ndarray,
    i0: np.ndarray,
    kept: Rows,
    sums: np.ndarray,
    slots: np.ndarray,
    where: tuple[int, int, int, int],
    synapse: int,
) -> None:
    """Go from what arrives at the drive, in to_x, and at i[t] to what arrives at x[t] and at i[t-1]."""
    _, j, x, _, _ = kept
    t, sample, start, stop = where
    if slots[B] < 0:
        _jump_back(gi, to_x, b, synapse)
        return
    # What arrives at i[t] in all, whose gradient the sums need.
    add(gi, to_x)
    to_x[:] = 0
    before = j[t - 1, sample, start:stop] if t else i0[sample, start:stop]
    total_of_products(sums, slots[B], sample, start, gi, before, 1.0)
    if synapse == DECAY_FIRST:
        total_of_products(sums, slots[B], sample, start, gi, x[t, sample, start:stop], 1.0)
    _jump_back(gi, to_x, b, synapse)


@njit(nogil=True, error_model="numpy")
def _jump_back(gi: np.ndarray, to_x: np.ndarray, b: np.ndarray, synapse: int) -> None:
    if synapse == JUMP_FIRST:
        for n in range(gi.size):
            arrived = gi[n] + to_x[n]
            to_x[n] = arrived
            gi[n] = b[n] * arrived
    else:
        for n in range(gi.size):
            to_x[n] = b[n] * (gi[n] + to_x[n])
            gi[n] = to_x[n]


@njit(nogil=True, error_model="numpy")
def _through_first(
    gv: np.ndarray,
    scratch: Rows,
    numbers: Rows,
    kept: Rows,
    sums: np.ndarray,
    slots: np.ndarray,
    where: tuple[int, int, int, int],
    bell: int,
    lobes: tuple[float, float, float],
) -> None:
    """Go through the spike that the membrane before the first step stands for, which a delayed reset still sees."""
    _, _, _, v0, given = kept
    _, sample, start, stop = where
    late, d = scratch[LATE], scratch[D]
    if bell == GIVEN:
        copy(d, given[0, sample, start:stop])
    else:
        derivative(d, v0[sample, start:stop], scratch[V], numbers, bell, lobes)
    _times(late, d, numbers[HEIGHT])
    total(sums, slots[THRESHOLD], sample, start, late, -1.0)
    add(gv, late)


@njit(nogil=True, error_model="numpy")
def _times(to: np.ndarray, one: np.ndarray, other: np.ndarray) -> None:
    for n in range(to.size):
        to[n] *= one[n] * other[n]


@njit(nogil=True, error_model="numpy")
def _two_products(one: np.ndarray, a: np.ndarray, other: np.ndarray, g: np.ndarray, row: np.ndarray) -> None:
    for n in range(row.size):
        one[n] = a[n] * row[n]
        other[n] = g[n] * row[n]


@njit(nogil=True, error_model="numpy")
def _add_to(to: np.ndarray, one: np.ndarray, other: np.ndarray) -> None:
    for n in range(to.size):
        to[n] = one[n] + other[n]


@njit(nogil=True, error_model="numpy")
def _add_above(gs: np.ndarray, v_reset: np.ndarray, u: np.ndarray, gv: np.ndarray) -> None:
    for n in range(gs.size):
        gs[n] += (v_reset[n] - u[n]) * gv[n]


@njit(nogil=True, error_model="numpy")
def _add_kept(gu: np.ndarray, gs: np.ndarray, gv: np.ndarray, s: np.ndarray) -> None:
    one = gu.dtype.type(1)
    for n in range(gu.size):
        gu[n] = (one - s[n]) * gv[n] + gs[n]


@njit(nogil=True, error_model="numpy")
def _kept(gv: np.ndarray, s: np.ndarray) -> None:
    one = gv.dtype.type(1)
    for n in range(gv.size):
        gv[n] *= one - s[n]


@njit(nogil=True, error_model="numpy")
def _late_value(late: np.ndarray, v_reset: np.ndarray, v: np.ndarray, a: np.ndarray, gu: np.ndarray) -> None:
    for n in range(late.size):
        late[n] = a[n] * (v_reset[n] - v[n]) * gu[n]


@njit(nogil=True, error_model="numpy")
def _subtract(v: np.ndarray, s: np.ndarray, r: np.ndarray) -> None:
    for n in range(v.size):
        v[n] -= s[n] * r[n]


@njit(nogil=True, error_model="numpy")
def _to_value(v: np.ndarray, s: np.ndarray, v_reset: np.ndarray) -> None:
    one = v.dtype.type(1)
    for n in range(v.size):
        v[n] = (one - s[n]) * v[n] + s[n] * v_reset[n]
