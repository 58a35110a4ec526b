"""The backward walk of the neuron with an adaptive threshold on a GPU, from the last step, in one launch.

With d the derivative at u - A, gv and gw what arrives at v[t] and w[t], v' and w' the state before the step, and [...]
what a detached reset leaves out:

    gs = gy[t] + gw [- r * gv]               gu = gv + gs * d              gA = -gs * d                 "subtract"
    gs = gy[t] + gw [- A * r * gv]           gu = gv + gs * d              gA = -gs * d - s * r * gv    "adapted"
    gs = gy[t] + gw [+ (v_reset - u) * gv]   gu = (1 - s) * gv + gs * d    gA = -gs * d                 "value"
    gs = gy[t] + gw                          gu = gv + gs * d              gA = -gs * d                 "none"
    gv = a * gu,   gw = rho * gw + adaptation * gA,   dx = g * gu

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

import typing

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from snnlab.nn.kernels.triton_bells import GIVEN, bell
from snnlab.nn.kernels.triton_numbers import (
    ADAPTATION,
    CENTRE,
    HEIGHT,
    LOBE,
    RHO,
    SIDE,
    SLOPE,
    V_RESET,
    V_THRESHOLD,
    A,
    G,
    R,
    number,
)
from snnlab.nn.kernels.triton_steps import clear, keep, part, place, spike, valid


@triton.jit(do_not_specialize=["num_steps"])
def backward(
    gy: typing.Any,
    gv: typing.Any,
    gw: typing.Any,
    gn: typing.Any,
    gaps: typing.Any,
    x: typing.Any,
    vs: typing.Any,
    ws: typing.Any,
    given: typing.Any,
    table: typing.Any,
    lengths: typing.Any,
    dx: typing.Any,
    da: typing.Any,
    dg: typing.Any,
    dc: typing.Any,
    dv_threshold: typing.Any,
    dr: typing.Any,
    dv_reset: typing.Any,
    drho: typing.Any,
    dadaptation: typing.Any,
    num_steps: typing.Any,
    stride: typing.Any,
    n: typing.Any,
    own: tl.constexpr,
    reset: tl.constexpr,
    strict: tl.constexpr,
    block: tl.constexpr,
    attached: tl.constexpr,
    formula: tl.constexpr,
) -> None:
    """Run all steps of one block of a sample's neurons, from the last valid one.

    What is read is None where it is not needed, or where nothing arrives, and what is written where it is not wanted.
    Other arguments are those of `triton_adaptive_forward.forward`.

        gy, gn              gradients of y and count
        gv, gw              gradients of v and w after the last step, and in their place of those before the first
        given               the surrogate's derivative, where the formula is GIVEN
        dx                  gradient of x, written
        da .. dadaptation   gradients of each sample's coefficients, added to
        attached            whether the gradient goes through the reset
        formula             that of the surrogate's bell

    Shape:
        gy, given, dx: `[T, B, n]`; gradients of states, counts and coefficients: `[B, n]`.
    """
    sample, at, mask, first = place(n, block)
    a, g, r = number(table, at, mask, n, A, own), number(table, at, mask, n, G, own), number(table, at, mask, n, R, own)
    v_threshold, v_reset = number(table, at, mask, n, V_THRESHOLD, own), number(table, at, mask, n, V_RESET, own)
    rho, adaptation = number(table, at, mask, n, RHO, own), number(table, at, mask, n, ADAPTATION, own)
    k, height = number(table, at, mask, n, SLOPE, own), number(table, at, mask, n, HEIGHT, own)
    centre, lobe = number(table, at, mask, n, CENTRE, own), number(table, at, mask, n, LOBE, own)
    side = number(table, at, mask, n, SIDE, own)
    zero = tl.full([block], 0, table.dtype.element_ty)
    g_v, g_w, g_n = part(gv, first, at, mask, zero), part(gw, first, at, mask, zero), part(gn, first, at, mask, zero)
    # Of x's precision, as in `triton_backward`.
    sum_a, sum_g, sum_c = (
        part(da, first, at, mask, zero),
        part(dg, first, at, mask, zero),
        part(dc, first, at, mask, zero),
    )
    sum_threshold, sum_r = part(dv_threshold, first, at, mask, zero), part(dr, first, at, mask, zero)
    sum_reset, sum_rho = part(dv_reset, first, at, mask, zero), part(drho, first, at, mask, zero)
    sum_adaptation = part(dadaptation, first, at, mask, zero)
    steps = valid(lengths, sample, num_steps)
    row = first + steps.to(tl.int64) * stride
    clear(dx, row, at, mask, zero, steps, num_steps, stride)
    for _ in range(steps):
        row -= stride
        gap, w_before = part(gaps, row, at, mask, zero), part(ws, row, at, mask, zero)
        s = spike(gap, zero, strict)
        line = adaptation * w_before + v_threshold
        g_s = part(gy, row, at, mask, zero) + g_n + g_w
        g_u, g_line = g_v, zero
        if reset == "subtract":
            sum_r -= s * g_v
            if attached:
                g_s -= r * g_v
        elif reset == "adapted":
            sum_r -= s * g_v * line
            g_line = -(s * g_v) * r
            if attached:
                g_s -= line * r * g_v
        elif reset == "value":
            sum_reset += s * g_v
            g_u = (1.0 - s) * g_v
            if attached:
                g_s += (v_reset - (gap + line)) * g_v
        if formula == GIVEN:
            g_s *= part(given, row, at, mask, zero)
        else:
            g_s *= height * bell(gap * k, centre, lobe, side, formula)
        g_u += g_s
        g_line -= g_s
        sum_c += g_u
        sum_threshold += g_line
        sum_a += g_u * part(vs, row, at, mask, zero)
        sum_g += g_u * part(x, row, at, mask, zero)
        sum_rho += g_w * w_before
        sum_adaptation += g_line * w_before
        keep(dx, row, at, mask, g * g_u)
        g_v = a * g_u
        g_w = rho * g_w + adaptation * g_line
    keep(gv, first, at, mask, g_v)
    keep(gw, first, at, mask, g_w)
    keep(da, first, at, mask, sum_a)
    keep(dg, first, at, mask, sum_g)
    keep(dc, first, at, mask, sum_c)
    keep(dv_threshold, first, at, mask, sum_threshold)
    keep(dr, first, at, mask, sum_r)
    keep(dv_reset, first, at, mask, sum_reset)
    keep(drho, first, at, mask, sum_rho)
    keep(dadaptation, first, at, mask, sum_adaptation)
