"""The backward walk of the canonical recurrence on a GPU, from the last step to the first, in one launch.

Programs are as in `triton_forward`. Only u is read again (and j or x where a gradient needs it): spikes and the state
before a step follow from it. With d the derivative at u, gs and gu what arrives at the spikes and at u, gv and gi what
arrives at v[t] and i[t], late what arrives at s[t] from a delayed reset, v' and i' the state before the step, and [...]
what a detached reset leaves out:

    gs = gy[t] + late [- r * gv]              gu = gv + gs * d              reset "subtract"
    gs = gy[t] + late [+ (v_reset - u) * gv]  gu = (1 - s) * gv + gs * d    reset "value"
    gs = gy[t] + late                         gu = gv + gs * d              "none", or delayed
    gv = a * gu                               late = 0                      not delayed
    gv = a * gu                               late = [-r * gu]              "subtract", delayed
    gv = a * (1 - s') * gu                    late = [a * (v_reset - v') * gu]  "value", delayed
    gj = g * gu + gi;   jump first: dx = gj, gi = b * gj;   decay first: dx = gi = b * gj

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

import typing

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from snnlab.nn.kernels.triton_bells import GIVEN, bell
from snnlab.nn.kernels.triton_numbers import (
    CENTRE,
    HEIGHT,
    LOBE,
    SIDE,
    SLOPE,
    V_RESET,
    V_THRESHOLD,
    A,
    B,
    G,
    R,
    number,
)
from snnlab.nn.kernels.triton_steps import after, clear, keep, part, place, spike, to_value, valid


@triton.jit(do_not_specialize=["num_steps"])
def backward(
    gy: typing.Any,
    gv: typing.Any,
    gi: typing.Any,
    gn: typing.Any,
    u: typing.Any,
    j: typing.Any,
    x: typing.Any,
    v0: typing.Any,
    i0: typing.Any,
    given: typing.Any,
    given0: typing.Any,
    table: typing.Any,
    lengths: typing.Any,
    dx: typing.Any,
    dv0: typing.Any,
    di0: typing.Any,
    da: typing.Any,
    dg: typing.Any,
    dc: typing.Any,
    db: typing.Any,
    dv_threshold: typing.Any,
    dr: typing.Any,
    dv_reset: typing.Any,
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
    attached: tl.constexpr,
    formula: tl.constexpr,
) -> None:
    """Run all steps of one block of a sample's neurons, from the last valid one.

    What is read is None where it is not needed, or where nothing arrives, and what is written where it is not wanted.
    Other arguments are those of `forward`.

        gy, gv, gi, gn     gradients of y, v, i and count
        u                  membrane before the reset; an integrator's output
        given, given0      the surrogate's derivative at u and at v0, where the formula is GIVEN
        dx, dv0, di0       gradients of x, v0 and i0, written
        da .. dv_reset     gradients of each sample's coefficients, added to
        attached           whether the gradient goes through the reset
        formula            that of the surrogate's bell

    Shape:
        gy, u, given, dx: `[T, B, n]`; gradients of states and coefficients, gn, given0: `[B, n]`.
    """
    sample, at, mask, first = place(n, block)
    a, g, b = number(table, at, mask, n, A, own), number(table, at, mask, n, G, own), number(table, at, mask, n, B, own)
    v_threshold, v_reset = number(table, at, mask, n, V_THRESHOLD, own), number(table, at, mask, n, V_RESET, own)
    r = number(table, at, mask, n, R, own)
    zero = tl.full([block], 0, table.dtype.element_ty)
    g_v, g_i, g_n = part(gv, first, at, mask, zero), part(gi, first, at, mask, zero), part(gn, first, at, mask, zero)
    v_first, i_first = part(v0, first, at, mask, zero), part(i0, first, at, mask, zero)
    k, height = number(table, at, mask, n, SLOPE, own), number(table, at, mask, n, HEIGHT, own)
    centre, lobe = number(table, at, mask, n, CENTRE, own), number(table, at, mask, n, LOBE, own)
    side = number(table, at, mask, n, SIDE, own)
    s, late = zero, zero
    # The sums over a sample's steps are of x's precision: they have few terms. PyTorch adds those of samples and
    # neurons, which can be millions, in float64.
    sum_a, sum_g, sum_c = (
        part(da, first, at, mask, zero),
        part(dg, first, at, mask, zero),
        part(dc, first, at, mask, zero),
    )
    sum_b, sum_r = part(db, first, at, mask, zero), part(dr, first, at, mask, zero)
    sum_threshold, sum_reset = part(dv_threshold, first, at, mask, zero), part(dv_reset, first, at, mask, zero)
    steps = valid(lengths, sample, num_steps)
    row = first + steps.to(tl.int64) * stride
    clear(dx, row, at, mask, zero, steps, num_steps, stride)
    row -= stride
    some = at < tl.where(steps > 0, n, 0)
    u_now, j_now = part(u, row, at, some, zero), part(j, row, at, some, zero)
    for back in range(steps):
        earlier = at < tl.where(back < steps - 1, n, 0)  # where there is a step before this one
        u_before = part(u, row - stride, at, earlier, zero)
        g_s = part(gy, row, at, mask, zero) + g_n + late
        g_u = g_v
        if spikes:
            s = spike(u_now, v_threshold, strict)
            if reset == "subtract" and not delayed:
                sum_r -= s * g_v
                if attached:
                    g_s -= r * g_v
            if reset == "value" and not delayed:
                sum_reset += s * g_v
                g_u = (1.0 - s) * g_v
                if attached:
                    g_s += (v_reset - u_now) * g_v
            if formula == GIVEN:
                d = part(given, row, at, mask, zero)
            else:
                d = height * bell((u_now - v_threshold) * k, centre, lobe, side, formula)
            sum_threshold -= g_s * d
            g_s *= d
        g_u += g_s
        sum_c += g_u
        g_v = a * g_u
        v_before = tl.where(earlier, u_before, v_first)
        if delayed:
            s = spike(v_before, v_threshold, strict)
        if delayed and reset == "subtract":
            sum_r -= s * g_u
            if attached:
                late = -r * g_u
        elif delayed:
            sum_reset += s * g_v
            if attached:
                late = (v_reset - v_before) * g_v
            g_v = (1.0 - s) * g_v
            v_before = to_value(v_before, s, v_reset)
        elif spikes:
            s = spike(u_before, v_threshold, strict)
            u_after = after(u_before, s, r, v_reset, reset)  # pyright: ignore[reportArgumentType]
            v_before = tl.where(earlier, u_after, v_first)
        sum_a += g_u * v_before
        g_j = g * g_u + g_i
        x_now = part(x, row, at, mask, zero)
        if synapse == "none":
            sum_g += g_u * x_now
            keep(dx, row, at, mask, g_j)
        else:
            j_before = tl.where(earlier, part(j, row - stride, at, earlier, zero), i_first)
            sum_g += g_u * j_now
            g_i = b * g_j
            if synapse == "jump_first":
                sum_b += g_j * j_before
                keep(dx, row, at, mask, g_j)
            else:
                sum_b += g_j * (j_before + x_now)
                keep(dx, row, at, mask, g_i)
            j_now = j_before
        u_now = u_before
        row -= stride
    if delayed and attached:
        # The spike that the first step's reset answers is that of the state before.
        if formula == GIVEN:
            late *= part(given0, first, at, mask, zero)
        else:
            late *= height * bell((v_first - v_threshold) * k, centre, lobe, side, formula)
        sum_threshold -= late
        g_v += late
    keep(dv0, first, at, mask, g_v)
    keep(di0, first, at, mask, g_i)
    keep(da, first, at, mask, sum_a)
    keep(dg, first, at, mask, sum_g)
    keep(dc, first, at, mask, sum_c)
    keep(db, first, at, mask, sum_b)
    keep(dv_threshold, first, at, mask, sum_threshold)
    keep(dr, first, at, mask, sum_r)
    keep(dv_reset, first, at, mask, sum_reset)
