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

from snnlab.compiled import compiled, lent
from snnlab.nn.kernels.numba_back_steps import (
    GS,
    LATE,
    TO_X,
    D,
    S,
    V,
    rows_of_memory,
    through_first,
    through_spike,
    through_synapse,
    to_step_before,
)
from snnlab.nn.kernels.numba_bells import ATAN, BOX, GIVEN, SUPERSPIKE, TRIANGLE, derivative, settle, swift
from snnlab.nn.kernels.numba_correlation import correlate_parts, lay_out, stride_of
from snnlab.nn.kernels.numba_pooling import repeat, spread
from snnlab.nn.kernels.numba_rows import add, copy, fire
from snnlab.nn.kernels.numba_table import (
    AVERAGE,
    HEIGHT,
    JUMP_FIRST,
    MAX,
    NONE,
    SLOPE,
    THRESHOLD,
    TOGETHER,
    VALUE,
    A,
    B,
    G,
    R,
    Rows,
    rows_of_table,
)
from snnlab.nn.kernels.numba_vectors import LANES


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
    numbers, scratch = rows_of_table(table, 0, known), rows_of_memory(memory, known)
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
                    numbers, scratch, known = rows_of_table(table, at, at + long), rows_of_memory(memory, long), long
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
                        through_spike(gv_now, scratch, numbers, kept, sums, slots, where, flags, lobes)
                        to_step_before(gv_now, to_x, scratch, numbers, kept, sums, slots, where, flags)
                if synapse and not jumps:
                    through_synapse(gi_now, to_x, numbers[B], i0, kept, sums, slots, where, synapse)
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
            numbers, scratch = rows_of_table(table, at, at + stop - start), rows_of_memory(memory, stop - start)
            where = -1, sample, start, stop
            through_first(gv[sample, start:stop], scratch, numbers, kept, sums, slots, where, bell, lobes)
        task = behind
    room[:] = 0  # until here somebody has them
    beside_room[:1] = 0
