"""What the Triton kernels share: where a program stands, the spike and the reset."""

from __future__ import annotations

import typing

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit
def place(n: typing.Any, block: tl.constexpr) -> typing.Any:
    """Return a program's sample, its neurons, which of them there are, and where the sample begins in `[B, n]`."""
    pieces = (n + block - 1) // block
    program = tl.program_id(0)
    sample = (program // pieces).to(tl.int64)
    at = (program % pieces) * block + tl.arange(0, block)
    return sample, at, at < n, sample * n


@triton.jit
def valid(lengths: typing.Any, sample: typing.Any, num_steps: typing.Any) -> typing.Any:
    """Return a sample's number of valid steps."""
    if lengths is None:
        steps = num_steps
    else:
        steps = tl.minimum(tl.maximum(tl.load(lengths + sample), 0), num_steps).to(tl.int32)
    return steps


@triton.jit
def part(rows: typing.Any, row: typing.Any, at: typing.Any, mask: typing.Any, zero: typing.Any) -> typing.Any:
    """Return the entries at the offset `row`, or zeros where there are no rows."""
    return zero if rows is None else tl.load(rows + row + at, mask=mask, other=0.0)


@triton.jit
def keep(rows: typing.Any, row: typing.Any, at: typing.Any, mask: typing.Any, values: typing.Any) -> None:
    """Write the entries at the offset `row`, if there are rows."""
    if rows is not None:
        tl.store(rows + row + at, values, mask=mask)


@triton.jit
def clear(
    rows: typing.Any,
    row: typing.Any,
    at: typing.Any,
    mask: typing.Any,
    zero: typing.Any,
    steps: typing.Any,
    num_steps: typing.Any,
    stride: typing.Any,
) -> None:
    """Write zeros past the last valid step, whose end is the offset `row`, if there are rows."""
    if rows is not None:
        for _ in range(steps, num_steps):
            tl.store(rows + row + at, zero, mask=mask)
            row += stride


@triton.jit
def spike(u: typing.Any, v_threshold: typing.Any, strict: tl.constexpr) -> typing.Any:
    """Return 1 where u has reached the threshold, else 0."""
    fires = u - v_threshold > 0 if strict else u - v_threshold >= 0
    return fires.to(u.dtype)


@triton.jit
def subtract(u: typing.Any, s: typing.Any, r: typing.Any) -> typing.Any:
    """Return the membrane after a reset by subtraction."""
    return u - s * r


@triton.jit
def to_value(u: typing.Any, s: typing.Any, v_reset: typing.Any) -> typing.Any:
    """Return the membrane after a reset to a value."""
    return (1.0 - s) * u + s * v_reset


@triton.jit
def after(u: typing.Any, s: typing.Any, r: typing.Any, v_reset: typing.Any, reset: tl.constexpr) -> typing.Any:
    """Return the membrane after the reset."""
    if reset == "subtract":
        u = subtract(u, s, r)
    elif reset == "value":
        u = to_value(u, s, v_reset)
    return u
