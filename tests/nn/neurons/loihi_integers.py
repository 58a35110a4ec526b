"""Lava's fixed-point LIF in 64-bit integers, from the text of its model: the oracle of `loihi2`.

Axes: T steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LIMIT = 2**23


class Traces(NamedTuple):
    """Current u, membrane v after its resets, and spikes s of each step, `[T, ...]`."""

    u: np.ndarray
    v: np.ndarray
    s: np.ndarray


def towards_zero(product: np.ndarray) -> np.ndarray:
    """Return a product over 4096: the magnitude is shifted right by 12 bits."""
    return np.sign(product) * (np.abs(product) >> 12)


def of_24_bits(u: np.ndarray) -> np.ndarray:
    """Return u in (-2^23, 2^23]: what passes an end begins anew at the other."""
    return LIMIT - (LIMIT - u) % (2 * LIMIT)


def fixed_point_lif(
    arriving: np.ndarray, du: int, dv: int, vth: int, bias: np.ndarray | int = 0, bias_exponent: int = 6
) -> Traces:
    """Return the traces of Lava's LIF.

    Args:
        arriving: Weighted sums of the spikes, whole numbers.
        du: Decay of the current but 1, from 0 to 4095, or -1 for none.
        dv: Decay of the membrane.
        vth: Mantissa of the threshold.
        bias: Mantissa of the bias.
        bias_exponent: Its exponent.

    Shape:
        arriving: `[T, ...]`; bias: broadcasts to `[...]`.
    """
    u = v = np.zeros(arriving.shape[1:], np.int64)
    traces = []
    for a in arriving.astype(np.int64):
        u = of_24_bits(towards_zero(u * (4096 - du - 1)) + (a << 6))
        v = towards_zero(v * (4096 - dv)) + u + (np.asarray(bias, np.int64) << bias_exponent)
        v = np.clip(v, 1 - LIMIT, LIMIT - 1)
        s = v > vth << 6
        v = np.where(s, 0, v)
        traces.append((u, v, s))
    return Traces(*map(np.stack, zip(*traces, strict=True)))
