"""The forward walk of the neuron with an adaptive threshold on a GPU: one launch for all steps.

Programs and memory are as in `triton_forward`, the operations those of the plain loop in its order:

    u = a * v' + (g * x + c),   A = adaptation * w' + v_threshold,   s = H(u - A),   w = rho * w' + s
    v = u - s * r   reset "subtract"        u - s * (A * r)   "adapted"        (1 - s) * u + s * v_reset   "value"

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

import typing

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from snnlab.nn.kernels.triton_numbers import ADAPTATION, RHO, V_RESET, V_THRESHOLD, A, C, G, R, number
from snnlab.nn.kernels.triton_steps import after, clear, keep, part, place, spike, subtract, valid


@triton.jit(do_not_specialize=["num_steps"])
def forward(
    x: typing.Any,
    v: typing.Any,
    w: typing.Any,
    table: typing.Any,
    lengths: typing.Any,
    y: typing.Any,
    count: typing.Any,
    gaps: typing.Any,
    vs: typing.Any,
    ws: typing.Any,
    num_steps: typing.Any,
    stride: typing.Any,
    n: typing.Any,
    own: tl.constexpr,
    reset: tl.constexpr,
    strict: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Run all steps of one block of a sample's neurons.

    Other arguments are those of `triton_forward.forward`.

        v, w        membrane and adaptation before, and in their place after
        y           spikes, written
        count       spikes over the valid steps, added to, or None
        gaps        membrane before the reset less the threshold, written, or None
        vs, ws      membrane and adaptation before each step, written, or None
        reset       subtract, adapted, value or none

    Shape:
        x, y, gaps, vs, ws: `[T, B, n]`; v, w, count: `[B, n]`; lengths: `[B]`.
    """
    sample, at, mask, first = place(n, block)
    a, g, c = number(table, at, mask, n, A, own), number(table, at, mask, n, G, own), number(table, at, mask, n, C, own)
    v_threshold, v_reset = number(table, at, mask, n, V_THRESHOLD, own), number(table, at, mask, n, V_RESET, own)
    r, rho = number(table, at, mask, n, R, own), number(table, at, mask, n, RHO, own)
    adaptation = number(table, at, mask, n, ADAPTATION, own)
    zero = tl.full([block], 0, x.dtype.element_ty)
    v_now, w_now = part(v, first, at, mask, zero), part(w, first, at, mask, zero)
    fired = part(count, first, at, mask, zero)
    row = first
    steps = valid(lengths, sample, num_steps)
    for _ in range(steps):
        keep(vs, row, at, mask, v_now)
        keep(ws, row, at, mask, w_now)
        u = a * v_now + (g * part(x, row, at, mask, zero) + c)
        line = adaptation * w_now + v_threshold
        keep(gaps, row, at, mask, u - line)
        s = spike(u, line, strict)
        fired += s
        tl.store(y + row + at, s, mask=mask)
        v_now = subtract(u, s, line * r) if reset == "adapted" else after(u, s, r, v_reset, reset)
        w_now = rho * w_now + s
        row += stride
    tl.store(v + first + at, v_now, mask=mask)
    tl.store(w + first + at, w_now, mask=mask)
    keep(count, first, at, mask, fired)
    clear(y, row, at, mask, zero, steps, num_steps, stride)
