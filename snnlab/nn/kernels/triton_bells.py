"""The surrogates' bells in Triton, each the formula of its class in `snnlab.nn.surrogate`.

The kernels call no function of `tl` that is itself Triton code, such as `tl.sigmoid`: where they are interpreted that
would have to be interpreted too, which is decided when Triton is first imported.
"""

from __future__ import annotations

# As a module: Triton looks annotations up, and knows only modules and its own.
import typing

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from snnlab.nn.kernels import bells

# A kernel reads numbers of its module only in this form.
ATAN, SUPERSPIKE, LOGISTIC = tl.constexpr(bells.ATAN), tl.constexpr(bells.SUPERSPIKE), tl.constexpr(bells.LOGISTIC)
CIRC, TRIANGLE, BOX = tl.constexpr(bells.CIRC), tl.constexpr(bells.TRIANGLE), tl.constexpr(bells.BOX)
EXPONENTIAL, GAUSSIAN, LOBES = (
    tl.constexpr(bells.EXPONENTIAL),
    tl.constexpr(bells.GAUSSIAN),
    tl.constexpr(bells.LOBES),
)
FLAT, GIVEN = tl.constexpr(bells.FLAT), tl.constexpr(bells.GIVEN)


@triton.jit
def bell(x: typing.Any, centre: typing.Any, lobe: typing.Any, side: typing.Any, formula: tl.constexpr) -> typing.Any:
    """Return the bell of height 1 at x."""
    far = tl.abs(x)
    if formula == ATAN:
        d = 1.0 / (x * x + 1.0)
    elif formula == SUPERSPIKE:
        d = 1.0 / ((far + 1.0) * (far + 1.0))
    elif formula == LOGISTIC:
        tail = tl.exp(-far)
        d = 4.0 * tail / ((1.0 + tail) * (1.0 + tail))
    elif formula == CIRC:
        root = tl.sqrt(x * x + 1.0)
        d = 1.0 / (root * root * root)
    elif formula == TRIANGLE:
        d = tl.maximum(1.0 - far, 0.0)
    elif formula == BOX:
        d = ((far < 1.0).to(x.dtype) + (far <= 1.0).to(x.dtype)) * 0.5
    elif formula == EXPONENTIAL:
        d = tl.exp(-far)
    elif formula == GAUSSIAN:
        d = tl.exp(-x * x)
    elif formula == LOBES:
        beside = tl.exp((x - 1.0) * (x - 1.0) * lobe) + tl.exp((x + 1.0) * (x + 1.0) * lobe)
        d = tl.exp(x * x * -0.5) * centre - beside * side
    else:
        tl.static_assert(formula == FLAT)
        d = x * 0.0 + 1.0
    return d
