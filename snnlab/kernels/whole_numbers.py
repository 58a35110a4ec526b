"""Operations on whole numbers that a neuron's step may use: exact in single precision, with gradients straight through.

Single precision holds each whole number up to 2^24. The operations here have no larger number in between, so that no
result depends on the precision or on how loops are rendered.

Shape: any; returns the same.
"""

from __future__ import annotations

from typing import Any

import torch

from snnlab.kernels.trace import with_slope

# Single precision holds all whole numbers of this many bits and a sign.
EXACT_BITS = 24
# A factor of more bits would make `scaled` multiply to more than `EXACT_BITS`.
MOST_FACTOR_BITS = EXACT_BITS // 2


def _straight(_: Any) -> float:
    return 1.0


def truncated(x: Any) -> Any:
    """Return the whole number towards zero; its derivative is 1."""
    return with_slope(torch.trunc, x, _straight)


def floored(x: Any) -> Any:
    """Return the next whole number below; its derivative is 1."""
    return with_slope(torch.floor, x, _straight)


def rounded(x: Any, *, to_even: bool = False) -> Any:
    """Return the nearest whole number, halves up or to the even one (tensors only); its derivative is 1."""
    return with_slope(torch.round, x, _straight) if to_even else floored(x + 0.5)


def scaled(x: Any, factor: Any, bits: int) -> Any:
    """Return x * factor / 2^bits towards zero; its derivatives are those without rounding.

    Args:
        x: A whole number of at most 24 bits and a sign.
        factor: A whole number from 0 to 2^bits.
        bits: At most 12.
    """
    size = float(2**bits)
    high = truncated(x / size)
    return high * factor + truncated((x - high * size) * factor / size)


def wrapped(x: Any, bits: int, *, without_least: bool = False) -> Any:
    """Return x as a whole number of so many bits that begins anew beyond its ends; its derivative is 1.

    Args:
        x: A whole number.
        bits: Its bits, one of them the sign.
        without_least: Whether -2^(bits - 1) is left out, and its negative is the largest number.
    """
    size = float(2**bits)
    if without_least:
        return x + size * torch.floor((size / 2.0 - x) / size)
    return x - size * torch.floor((x + size / 2.0) / size)


def saturated(x: Any, bits: int, *, without_least: bool = False) -> Any:
    """Return the nearest whole number of so many bits; its derivative is 1, or 0 outside.

    Args:
        x: A whole number.
        bits: Its bits, one of them the sign.
        without_least: Whether -2^(bits - 1) is left out.
    """
    most = float(2 ** (bits - 1))
    return x.clamp(min=1.0 - most if without_least else -most, max=most - 1.0)
