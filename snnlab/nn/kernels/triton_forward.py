"""The forward walk of the canonical recurrence on a GPU: one launch for all steps.

A program is one sample and one block of its neurons; it goes through all steps with its part of the state in
registers, and touches memory to read x[t] and to write y[t] and what the backward walk needs. What is None is neither
read nor written. The operations are those of the plain loop in its order, and the launch forbids to contract them.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

import typing

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from snnlab.nn.kernels.triton_numbers import V_RESET, V_THRESHOLD, A, B, C, G, R, number
from snnlab.nn.kernels.triton_steps import after, clear, part, place, spike, subtract, to_value, valid


@triton.jit(do_not_specialize=["num_steps"])
def forward(
    x: typing.Any,
    v0: typing.Any,
    i0: typing.Any,
    table: typing.Any,
    lengths: typing.Any,
    y: typing.Any,
    v: typing.Any,
    i: typing.Any,
    count: typing.Any,
    u: typing.Any,
    j: typing.Any,
    num_steps: typing.Any,
    stride: typing.Any,
    n: typing.Any,
    own: tl.constexpr,
    reset: tl.constexpr,
    delayed: tl.constexpr,
    strict: tl.constexpr,
    synapse: tl.constexpr,
    spikes: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Run all steps of one block of a sample's neurons.

    Args:
        x: Input.
        v0: Membrane before it.
        i0: Current before it, or None.
        table: Coefficients; see `table_of`.
        lengths: Valid steps of each sample, or None.
        y: Spikes, or the membrane of an integrator, written.
        v: Membrane after the last valid step, written.
        i: Current after it, written, or None.
        count: Spikes over the valid steps, added to, or None.
        u: Membrane before the reset, written, or None.
        j: Current, written, or None.
        num_steps: T.
        stride: B * n, from one step to the next.
        n: Neurons of a sample.
        own: Whether neurons have coefficients of their own.
        reset: subtract, value or none.
        delayed: Whether the reset acts one step later.
        strict: Whether a membrane exactly at the threshold stays silent.
        synapse: jump_first, decay_first or none.
        spikes: Whether the output is spikes.
        block: Neurons of a program.

    Shape:
        x, y, u, j: `[T, B, n]`; v0, i0, v, i, count: `[B, n]`; lengths: `[B]`.
    """
    sample, at, mask, first = place(n, block)
    a, g, c = number(table, at, mask, n, A, own), number(table, at, mask, n, G, own), number(table, at, mask, n, C, own)
    b, r = number(table, at, mask, n, B, own), number(table, at, mask, n, R, own)
    v_threshold, v_reset = number(table, at, mask, n, V_THRESHOLD, own), number(table, at, mask, n, V_RESET, own)
    zero = tl.full([block], 0, x.dtype.element_ty)
    v_now, i_now = part(v0, first, at, mask, zero), part(i0, first, at, mask, zero)
    s, fired = zero, part(count, first, at, mask, zero)
    row = first
    steps = valid(lengths, sample, num_steps)
    for _ in range(steps):
        j_now = part(x, row, at, mask, zero)
        if synapse == "jump_first":
            j_now = b * i_now + j_now
        elif synapse == "decay_first":
            j_now = b * (i_now + j_now)
        i_now = j_now
        if j is not None:
            tl.store(j + row + at, j_now, mask=mask)
        if delayed:
            s = spike(v_now, v_threshold, strict)
        if delayed and reset == "value":
            v_now = to_value(v_now, s, v_reset)
        u_now = a * v_now + (g * j_now + c)
        if delayed and reset == "subtract":
            u_now = subtract(u_now, s, r)
        if u is not None:
            tl.store(u + row + at, u_now, mask=mask)
        v_now = u_now
        if spikes:
            s = spike(u_now, v_threshold, strict)
            fired += s
            tl.store(y + row + at, s, mask=mask)
            if not delayed:
                v_now = after(u_now, s, r, v_reset, reset)
        else:
            tl.store(y + row + at, u_now, mask=mask)
        row += stride
    tl.store(v + first + at, v_now, mask=mask)
    if i is not None:
        tl.store(i + first + at, i_now, mask=mask)
    if count is not None:
        tl.store(count + first + at, fired, mask=mask)
    clear(y, row, at, mask, zero, steps, num_steps, stride)
