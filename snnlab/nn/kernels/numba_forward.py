"""The compiled forward walk of the canonical recurrence on CPUs.

A task is one sample and one piece of its neurons, which walks through all steps with its part of the state, and is the
same whichever thread runs it. Each row function is one plain loop over a piece, as in `numba_rows`, with the operations
of the plain loop in its order; without fastmath nothing is contracted, so the bits are the same.

Where pooling follows, a piece is as many rows of the image as a window is high, and only what is pooled is written.
Where the input is a convolution of events, it is computed for a piece on the way: each event adds a line of the kernel
to the neurons that it reaches.

Axes: T steps, B samples, n neurons as they lie in memory, m outputs: n, or what pooling leaves of them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from snnlab.compiled import compiled, lent
from snnlab.nn.kernels.numba_pooling import pool_row
from snnlab.nn.kernels.numba_rows import add, copy, fire, integrate, subtract, to_value
from snnlab.nn.kernels.numba_steps import step, step_jumping, step_over
from snnlab.nn.kernels.numba_table import (
    JUMP_FIRST,
    NONE,
    SUBTRACT,
    THRESHOLD,
    TOGETHER,
    VALUE,
    A,
    B,
    C,
    G,
    R,
    rows_of_table,
)
from snnlab.nn.kernels.numba_vectors import LANES, add_row


@compiled(nogil=True, error_model="numpy")
def forward(
    x: np.ndarray,
    v: np.ndarray,
    i: np.ndarray,
    table: np.ndarray,
    uniform: bool,
    lengths: np.ndarray,
    y: np.ndarray,
    u: np.ndarray,
    j: np.ndarray,
    counts: np.ndarray,
    events: tuple[np.ndarray, ...],
    reach: tuple[int, int, int, int, int, int, int],
    piece: int,
    pool: tuple[int, int, int],
    reset: int,
    delayed: bool,
    strict: bool,
    synapse: int,
    spikes: bool,
    first: int,
    last: int,
) -> None:
    """Run the tasks from `first` to before `last`.

    Args:
        x: Input; without room where it comes from events.
        v: Membrane before, and in its place after.
        i: Current before, and in its place after.
        table: Coefficients, a row each; a single piece where no neuron has its own.
        uniform: Whether none has.
        lengths: Valid steps, at most T.
        y: Spikes, pooled or not, or the membrane of an integrator, written.
        u: Membrane before the reset, written if it has room; it may be x itself.
        j: Current, written if it has room.
        counts: Spikes of each neuron, added to if it has room.
        events: Where the events of each row of each channel of each frame begin, their rows, columns and values, and
            what they meet: the kernel, `[height, channels, width * features + zeros]`, its columns from the last to the
            first, and the bias.
        reach: Height of a frame, width of the image, its rows in a task, rows and columns of padding, features, columns
            of the kernel.
        piece: Neurons of a task.
        pool: 0, MAX or AVERAGE; height of a window; channels.
        reset: NONE, SUBTRACT or VALUE.
        delayed: Whether the reset acts one step later.
        strict: Whether a membrane exactly at the threshold stays silent.
        synapse: NONE, JUMP_FIRST or DECAY_FIRST.
        spikes: Whether the output is spikes.
        first: The first task.
        last: The one behind the last.

    Shape:
        x, u, j: `[T, B, n]`; y: `[T, B, m]`; v, i, counts: `[B, n]`; table: `[9, n]` or `[9, piece]`; lengths: `[B]`.
    """
    num_steps, out, neurons = y.shape[0], y.shape[2], v.shape[1]
    pieces = (neurons + piece - 1) // piece
    kind, size, channels = pool
    outputs = piece if kind == 0 else piece // (size * channels) // size * channels
    # To spare behind each row: see `_convolve`.
    memory = np.empty((5, piece + LANES), v.dtype)
    rows, x, v, i, table, y = lent(memory), lent(x), lent(v), lent(i), lent(table), lent(y)
    u, j, counts = lent(u), lent(j), lent(counts)
    offsets, event_rows, columns, values, kernel, bias = events
    offsets, event_rows, columns, values = lent(offsets), lent(event_rows), lent(columns), lent(values)
    kernel, bias = lent(kernel), lent(bias)
    at_once = uniform and spikes and reset == SUBTRACT and not delayed
    over = x.size > 0 and u.size > 0 and x.ctypes.data == u.ctypes.data
    jumps = at_once and synapse == JUMP_FIRST and j.size == 0 and not over
    # Of neurons that share them.
    a, g, c, b, v_threshold, r = table[A, 0], table[G, 0], table[C, 0], table[B, 0], table[THRESHOLD, 0], table[R, 0]
    task = first
    while task < last:
        sample = task // pieces
        behind = min(last, (sample + 1) * pieces, task + max(1, TOGETHER // piece))
        places = range(task - sample * pieces, behind - sample * pieces)
        for t in range(lengths[sample]):
            for place in places:
                start = place * piece
                stop = min(start + piece, neurons)
                at = 0 if uniform else start
                to = at + stop - start
                u_now, s, s_before = rows[0, : stop - start], rows[1, : stop - start], rows[2, : stop - start]
                v_now = v[sample, start:stop]
                i_now = i[sample, start:stop] if synapse else v_now
                begin = place * outputs
                end = min(begin + outputs, out)
                drive = rows[4, : stop - start]
                if x.size:
                    drive = x[t, sample, start:stop]
                else:
                    frame = t * v.shape[0] + sample
                    copy(drive, bias)
                    _convolve(drive, offsets, event_rows, columns, values, kernel, reach, frame, place)
                if synapse and not jumps:
                    _current(i_now, drive, table[B, at:to], synapse)
                    drive = i_now
                    if j.size:
                        copy(j[t, sample, start:stop], i_now)
                if at_once and kind == 0:
                    s = y[t, sample, begin:end]
                if jumps:
                    if u.size:
                        u_now = u[t, sample, start:stop]
                    step_jumping(u_now, s, v_now, i_now, drive, a, g, c, b, v_threshold, r, strict)
                elif at_once and over and not synapse:
                    step_over(drive, s, v_now, a, g, c, v_threshold, r, strict)
                elif at_once:
                    if u.size:
                        u_now = u[t, sample, start:stop]
                    step(u_now, s, v_now, drive, a, g, c, v_threshold, r, strict)
                else:
                    numbers = rows_of_table(table, at, to)
                    _walk(u_now, s, s_before, v_now, drive, numbers, reset, delayed, strict, spikes)
                    if u.size:
                        copy(u[t, sample, start:stop], u_now)
                if counts.size:
                    add(counts[sample, start:stop], s)
                if kind == 0:
                    if not at_once:
                        copy(y[t, sample, begin:end], s)
                elif end > begin:
                    pool_row(y[t, sample, begin:end], s, rows[3], kind, size, channels)
        begin, end = (task - sample * pieces) * outputs, min((behind - sample * pieces) * outputs, out)
        for t in range(lengths[sample], num_steps):
            y[t, sample, begin:end] = 0
        task = behind
    memory[:] = 0  # until here somebody has it


@njit(nogil=True, error_model="numpy")
def _walk(
    u: np.ndarray,
    s: np.ndarray,
    s_before: np.ndarray,
    v: np.ndarray,
    j: np.ndarray,
    numbers: tuple[np.ndarray, ...],
    reset: int,
    delayed: bool,
    strict: bool,
    spikes: bool,
) -> None:
    """Do a step of any neurons."""
    a, g, c, _, v_threshold, r, v_reset, _, _ = numbers
    if delayed:
        fire(s_before, v, v_threshold, strict)
    if delayed and reset == VALUE:
        to_value(v, v, s_before, v_reset)
    integrate(u, v, j, a, g, c)
    if delayed and reset == SUBTRACT:
        subtract(u, u, s_before, r)
    if spikes:
        fire(s, u, v_threshold, strict)
    else:
        copy(s, u)
    if reset == NONE or delayed:
        copy(v, u)
    elif reset == SUBTRACT:
        subtract(v, u, s, r)
    else:
        to_value(v, u, s, v_reset)


@njit(nogil=True, error_model="numpy")
def _convolve(
    to: np.ndarray,
    offsets: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    kernel: np.ndarray,
    reach: tuple[int, int, int, int, int, int, int],
    frame: int,
    place: int,
) -> None:
    """Add what the events of a frame bring to the neurons of a piece, which are whole rows of the image."""
    height, width, lines, pad_y, pad_x, features, taps = reach
    across, channels = kernel.shape[2], kernel.shape[1]
    for line in range(to.size // (width * features)):
        # The frame's row that the kernel's first row meets; the events of all its rows follow one another.
        top = place * lines + line - pad_y
        above, below = max(0, top), min(height, top + kernel.shape[0])
        for channel in range(channels if above < below else 0):
            row = channel * height
            for e in range(offsets[frame, row + above], offsets[frame, row + below]):
                left = columns[e] + pad_x - taps + 1
                low, high = max(0, -left), min(taps, width - left)
                at = (line * width + left + low) * features
                of = ((rows[e] - top) * channels + channel) * across + low * features
                # Up to the kernel's last column whole vectors are taken: what is behind it are zeros.
                many = (high - low) * features
                many = many if high < taps else (many + LANES - 1) // LANES * LANES
                add_row(to, at, kernel, of, values[e], many)


@njit(nogil=True, error_model="numpy")
def _current(i: np.ndarray, x: np.ndarray, b: np.ndarray, synapse: int) -> None:
    if synapse == JUMP_FIRST:
        for n in range(i.size):
            i[n] = b[n] * i[n] + x[n]
    else:
        for n in range(i.size):
            i[n] = b[n] * (i[n] + x[n])
