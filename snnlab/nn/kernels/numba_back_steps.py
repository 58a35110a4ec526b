"""A step back of any neurons, by rows: through spike and reset, to the step before, through the synapse.

See `numba_backward` for the equations.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from snnlab.nn.kernels.numba_bells import GIVEN, derivative
from snnlab.nn.kernels.numba_rows import add, add_product, copy, fire, product, total, total_of_products
from snnlab.nn.kernels.numba_table import (
    DECAY_FIRST,
    HEIGHT,
    JUMP_FIRST,
    NONE,
    SUBTRACT,
    THRESHOLD,
    V_RESET,
    VALUE,
    A,
    B,
    C,
    G,
    R,
    Rows,
)

# Rows of a task's memory: the derivative, what arrives at the spikes and at the membrane, the spikes, what arrives at
# them from a delayed reset, the membrane before a step, what arrives at the input.
D, GS, GU, S, LATE, V, TO_X = range(7)


@njit(nogil=True, error_model="numpy")
def rows_of_memory(memory: np.ndarray, to: int) -> Rows:
    """Return the beginning of each row."""
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
def through_spike(
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
def to_step_before(
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
def through_synapse(
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
def through_first(
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
