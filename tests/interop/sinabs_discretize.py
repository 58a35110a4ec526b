"""Sinabs' `discretize` for Speck in numpy, from the text of its source, which is not imported, since it needs samna.

Source: Sinabs 3.1.3, sinabs.backend.dynapcnn.discretize (Apache-2.0).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WEIGHT_BITS, STATE_BITS = 8, 16
# The lower bound of a membrane that has none.
NO_FLOOR = -(2.0**15)


class Discretized(NamedTuple):
    """Whole numbers of a convolution and its neurons, and the factor that all were multiplied by."""

    weight: np.ndarray
    bias: np.ndarray
    v_threshold: int
    floor: int
    scale: float


def scale_of(values: np.ndarray, bits: int) -> np.float32:
    """Return the largest factor with which values fit into so many bits, the first of which is the sign."""
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    low, high = np.float32(values.min()), np.float32(values.max())
    with np.errstate(divide="ignore"):
        if abs(low) <= abs(high) * np.float32(abs(lowest / highest)):
            return np.abs(np.float32(highest) / high)
        return np.abs(np.float32(lowest) / low)


def discretized(weight: np.ndarray, bias: np.ndarray | None, v_threshold: float, floor: float | None) -> Discretized:
    """Return weights, biases, threshold and floor in whole numbers: all times one factor, rounded, halves to even.

    Args:
        weight: Weights of a convolution.
        bias: Its biases, or None.
        v_threshold: Threshold of its neurons.
        floor: Lower bound of their membranes, or None.
    """
    weight = weight.astype(np.float32)
    bias = np.zeros(len(weight), np.float32) if bias is None else bias.astype(np.float32)
    ends = np.array([NO_FLOOR if floor is None else floor, v_threshold], np.float32)
    scale = min(scale_of(weight, WEIGHT_BITS), scale_of(bias, WEIGHT_BITS), scale_of(ends, STATE_BITS))
    lowest, threshold = np.rint(ends * scale).astype(int).tolist()
    return Discretized(np.rint(weight * scale), np.rint(bias * scale), threshold, lowest, float(scale))
