"""The compiled backward walk of the canonical recurrence on CPUs, from the last step to the first.

What a step needs of the forward is computed again from u. Tasks and rows are as in `numba_forward`; the surrogate's
derivative is a row of its own, so that a new bell adds a loop and multiplies nothing. Written by hand, with d the
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

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from snnlab.compiled import compiled, lent
from snnlab.nn.kernels.numba_vectors import LANES, add_events_1, add_events_4

Rows = tuple[np.ndarray, ...]

# Rows of the table of coefficients and of their gradients: those of the recurrence, then the surrogate's factors.
A, G, C, B, THRESHOLD, R, V_RESET, SLOPE, HEIGHT = range(9)

NONE, SUBTRACT, VALUE = range(3)
JUMP_FIRST, DECAY_FIRST = 1, 2
MAX, AVERAGE = 1, 2

# See `numba_forward`.
TOGETHER = 2**15

# Rows of a task's memory: the derivative, what arrives at the spikes and at the membrane, the spikes, what arrives at
# them from a delayed reset, the membrane before a step, what arrives at the input.
D, GS, GU, S, LATE, V, TO_X = range(7)

GIVEN, ATAN, SUPERSPIKE, LOGISTIC, CIRC, TRIANGLE, BOX, EXPONENTIAL, GAUSSIAN, LOBES, FLAT = range(11)


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
    swift = alike and bell in (ATAN, SUPERSPIKE, TRIANGLE, BOX)
    shared = table[SLOPE, 0], table[THRESHOLD, 0], height, a, g, table[B, 0]
    jumps = swift and synapse == JUMP_FIRST
    over = dx.size > 0 and dx.ctypes.data == u.ctypes.data
    # Where only the mean of a window has a gradient, it is the same in all rows of the window.
    shares = alike and kind == AVERAGE and gy.size > 0 and gcounts.size == 0
    # Taken again only where they are others, for that takes as long as a row.
    known = min(piece, neurons)
    numbers, scratch = _rows_of_table(table, 0, known), _rows_of_memory(memory, known)
    gs, s, late, spare, d = scratch[GS], scratch[S], scratch[LATE], scratch[V], scratch[D]
    # What arrives at a step's input, in lines with zeros on either side, where the kernel's gradient is asked for.
    tasks = gv.shape[0] * pieces
    many = reach[2] * min(together, pieces) if dkernel.size else 0
    beside_room = np.zeros(many * _stride(reach) + 4 * LANES, gv.dtype)
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
                    numbers, scratch, known = _rows_of_table(table, at, at + long), _rows_of_memory(memory, long), long
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
                    _fire(s, u[t, sample, start:stop], numbers[THRESHOLD], strict)
                if shares and end > begin:
                    width = long // size
                    _repeat(gs[:width], gy[t, sample, begin:end], size, channels)
                    u_now = u[t, sample, start:stop]
                    if not swift:
                        _derivative(d, u_now, spare, numbers, bell, lobes)
                    for line in range(size):
                        low, high = line * width, (line + 1) * width
                        gv_line, gi_line, to_line = gv_now[low:high], gi_now[low:high], to_x[low:high]
                        if swift:
                            _swift(bell, over, jumps, gv_line, gi_line, to_line, gs[:width], u_now[low:high], shared)
                        else:
                            _settle(gv_line, to_line, gs[:width], d[low:high], height, a, g)
                else:
                    if delayed:
                        _copy(gs, late)
                    else:
                        gs[:] = 0
                    if kind and gy.size and end > begin:
                        _spread(gs, gy[t, sample, begin:end], s, spare, kind, size, channels)
                    elif kind == 0 and gy.size:
                        _add(gs, gy[t, sample, start:stop])
                    if gcounts.size:
                        _add(gs, gcounts[sample, start:stop])
                    if swift:
                        _swift(bell, over, jumps, gv_now, gi_now, to_x, gs, u[t, sample, start:stop], shared)
                    elif alike:
                        _derivative(d, u[t, sample, start:stop], spare, numbers, bell, lobes)
                        _settle(gv_now, to_x, gs, d, height, a, g)
                    else:
                        _through_spike(gv_now, scratch, numbers, kept, sums, slots, where, flags, lobes)
                        _to_step_before(gv_now, to_x, scratch, numbers, kept, sums, slots, where, flags)
                if synapse and not jumps:
                    _through_synapse(gi_now, to_x, numbers[B], i0, kept, sums, slots, where, synapse)
                if dkernel.size:
                    _lay_out(beside, to_x, place - front, reach)
                if dbias.size:
                    _add(dbias[sample, start:stop], to_x)
            if dkernel.size:
                frame = t * gv.shape[0] + sample
                _correlate_parts(
                    dkernel, beside, task, behind, tasks, pieces, offsets, event_rows, columns, values, reach, frame
                )
        if delayed and attached and lengths[sample] > 0:
            start = front * piece
            stop = min(start + piece, neurons)
            at = 0 if uniform else start
            numbers, scratch = _rows_of_table(table, at, at + stop - start), _rows_of_memory(memory, stop - start)
            where = -1, sample, start, stop
            _through_first(gv[sample, start:stop], scratch, numbers, kept, sums, slots, where, bell, lobes)
        task = behind
    room[:] = 0  # until here somebody has them
    beside_room[:1] = 0


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
        table: See `backward`; that of the thresholds is 0.
        uniform: See `backward`, as the rest.
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
        numbers = _rows_of_table(table, at, at + stop - start)
        spare, height = memory[: stop - start], numbers[HEIGHT]
        for t in range(lengths[sample]):
            row = d[t, sample, start:stop]
            _derivative(row, gaps[t, sample, start:stop], spare, numbers, bell, lobes)
            for n in range(row.size):
                row[n] *= height[n]
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
        table[8, at:to],
    )


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
        _sum_product(sums, slots[R], sample, start, s, gv, -1.0)
        if attached:
            _add_product(gs, numbers[R], gv, -1.0)
    elif not delayed and reset == VALUE:
        _sum_product(sums, slots[V_RESET], sample, start, s, gv, 1.0)
        if attached:
            _add_above(gs, numbers[V_RESET], u_now, gv)
    if bell == GIVEN:
        _copy(d, given[t + 1, sample, start:stop])
    else:
        _derivative(d, u_now, scratch[V], numbers, bell, lobes)
    _times(gs, d, numbers[HEIGHT])
    _sum(sums, slots[THRESHOLD], sample, start, gs, -1.0)
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
        _copy(v, u[t - 1, sample, start:stop] if t else v0[sample, start:stop])
        if bell >= 0 and (delayed or (t and reset != NONE)):
            _fire(s, v, numbers[THRESHOLD], strict)
            if not delayed and reset == SUBTRACT:
                _subtract(v, s, numbers[R])
            elif not delayed:
                _to_value(v, s, numbers[V_RESET])
    if delayed and reset == SUBTRACT:
        _sum_product(sums, slots[R], sample, start, s, gu, -1.0)
        if attached:
            _product(late, numbers[R], gu, -1.0)
    elif delayed:
        if attached:
            _late_value(late, numbers[V_RESET], v, numbers[A], gu)
        _to_value(v, s, numbers[V_RESET])
    _sum_product(sums, slots[A], sample, start, gu, v, 1.0)
    _sum(sums, slots[C], sample, start, gu, 1.0)
    if slots[G] >= 0:
        drive = j[t, sample, start:stop] if synapse else x[t, sample, start:stop]
        _sum_product(sums, slots[G], sample, start, gu, drive, 1.0)
    _two_products(gv, numbers[A], to_x, numbers[G], gu)
    if delayed and reset == VALUE:
        _sum_product(sums, slots[V_RESET], sample, start, s, gv, 1.0)
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
    _add(gi, to_x)
    to_x[:] = 0
    before = j[t - 1, sample, start:stop] if t else i0[sample, start:stop]
    _sum_product(sums, slots[B], sample, start, gi, before, 1.0)
    if synapse == DECAY_FIRST:
        _sum_product(sums, slots[B], sample, start, gi, x[t, sample, start:stop], 1.0)
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
        _copy(d, given[0, sample, start:stop])
    else:
        _derivative(d, v0[sample, start:stop], scratch[V], numbers, bell, lobes)
    _times(late, d, numbers[HEIGHT])
    _sum(sums, slots[THRESHOLD], sample, start, late, -1.0)
    _add(gv, late)


@njit(nogil=True, error_model="numpy")
def _settle(gv: np.ndarray, dx: np.ndarray, gs: np.ndarray, d: np.ndarray, height: float, a: float, g: float) -> None:
    """Go back a step of neurons that share their numbers, with nothing through the reset, in one loop."""
    for n in range(gv.size):
        gu = gv[n] + gs[n] * (d[n] * height)
        gv[n] = a * gu
        dx[n] = g * gu


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


def _swift_by(bell: Callable[[Any], Any]) -> Callable[..., None]:
    """Return `_derivative` and `_settle` in one loop, with a synapse that jumps first or without.

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
def _swift(
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
    """Do what `_derivative` and `_settle` do, of bells of few operations, and `_through_synapse` where it jumps."""
    if bell == ATAN:
        _swift_atan(in_place, jumps, gv, gi, dx, gs, u, shared)
    elif bell == SUPERSPIKE:
        _swift_superspike(in_place, jumps, gv, gi, dx, gs, u, shared)
    elif bell == TRIANGLE:
        _swift_triangle(in_place, jumps, gv, gi, dx, gs, u, shared)
    else:
        _swift_box(in_place, jumps, gv, gi, dx, gs, u, shared)


@njit(nogil=True, error_model="numpy")
def _derivative(
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
def _fire(s: np.ndarray, u: np.ndarray, v_threshold: np.ndarray, strict: bool) -> None:
    if strict:
        for n in range(s.size):
            s[n] = u[n] - v_threshold[n] > 0
    else:
        for n in range(s.size):
            s[n] = u[n] - v_threshold[n] >= 0


@njit(nogil=True, error_model="numpy")
def _spread(
    gs: np.ndarray, gy: np.ndarray, s: np.ndarray, found: np.ndarray, kind: int, size: int, channels: int
) -> None:
    """Add the gradient of pooled spikes to theirs: to all of a window alike, or to its first spike, else its first."""
    width = gs.size // size
    if kind == AVERAGE:
        _repeat(found[:width], gy, size, channels)
        for line in range(size):
            _add(gs[line * width : (line + 1) * width], found[:width])
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
    """Do what `_spread` does of the largest of two by two, in half of the time."""
    # Unsigned: see `_repeat`.
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
def _repeat(to: np.ndarray, gy: np.ndarray, size: int, channels: int) -> None:
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


@njit(nogil=True, error_model="numpy")
def _stride(reach: tuple[int, int, int, int, int, int, int]) -> int:
    """Return the length of a line with its zeros."""
    return (reach[1] + 2 * (reach[6] - 1)) * reach[5]


@njit(nogil=True, error_model="numpy")
def _lay_out(beside: np.ndarray, row: np.ndarray, place: int, reach: tuple[int, int, int, int, int, int, int]) -> None:
    """Copy what arrives at a piece's input to its lines."""
    _, width, lines, _, _, features, taps = reach
    long, margin, stride = width * features, (taps - 1) * features, _stride(reach)
    for line in range(row.size // long):
        at = (place * lines + line) * stride + margin
        _copy(beside[at : at + long], row[line * long : (line + 1) * long])


@njit(nogil=True, error_model="numpy")
def _correlate_parts(
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
    stride = _stride(reach)
    channels, across = to.shape[1], to.shape[2]
    for tap in range(to.shape[0]):
        # Of the frame's rows, the first is met by the first line.
        row = top - pad_y + tap
        above, below = max(0, row), min(height, row + many)
        base = (first - row) * stride + pad_x * features
        for channel in range(channels if above < below else 0):
            begin = offsets[(frame * channels + channel) * height + above]
            end = offsets[(frame * channels + channel) * height + below]
            at, of = (tap * channels + channel) * across, 0
            while of + 4 * LANES <= across:
                add_events_4(to, at + of, beside, base + of, stride, features, rows, columns, values, begin, end)
                of += 4 * LANES
            while of < across:
                add_events_1(to, at + of, beside, base + of, stride, features, rows, columns, values, begin, end)
                of += LANES


@njit(nogil=True, error_model="numpy")
def _copy(to: np.ndarray, row: np.ndarray) -> None:
    for n in range(to.size):
        to[n] = row[n]


@njit(nogil=True, error_model="numpy")
def _add(to: np.ndarray, row: np.ndarray) -> None:
    for n in range(to.size):
        to[n] += row[n]


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
def _product(to: np.ndarray, one: np.ndarray, other: np.ndarray, sign: float) -> None:
    sign = to.dtype.type(sign)
    for n in range(to.size):
        to[n] = sign * (one[n] * other[n])


@njit(nogil=True, error_model="numpy")
def _add_product(to: np.ndarray, one: np.ndarray, other: np.ndarray, sign: float) -> None:
    sign = to.dtype.type(sign)
    for n in range(to.size):
        to[n] += sign * (one[n] * other[n])


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


@njit(nogil=True, error_model="numpy")
def _sum(sums: np.ndarray, slot: int, sample: int, start: int, row: np.ndarray, sign: float) -> None:
    if slot >= 0:
        to = sums[slot, sample, start : start + row.size]
        for n in range(row.size):
            to[n] += sign * row[n]


@njit(nogil=True, error_model="numpy")
def _sum_product(
    sums: np.ndarray, slot: int, sample: int, start: int, one: np.ndarray, other: np.ndarray, sign: float
) -> None:
    if slot >= 0:
        to = sums[slot, sample, start : start + one.size]
        for n in range(one.size):
            to[n] += sign * (one[n] * other[n])
