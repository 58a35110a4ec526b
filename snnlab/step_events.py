"""Events for what takes them step by step: the pixels of a sensor, and the events of each step."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import numpy as np

# Columns x, y, p of the events of a step.
StepColumns = tuple[np.ndarray, np.ndarray, np.ndarray]


class SensorMap(NamedTuple):
    """Where the events of each pixel of a sensor enter the network.

    Attributes:
        cells: channel << 32 | y << 16 | x of the first layer's input, int64; negative: its events are dropped.
        polarities: Number of polarities, from 0; the polarity is added to the channel.
        is_merged: Whether all polarities share a channel.

    Shape:
        cells: `[H, W]`.
    """

    cells: np.ndarray
    polarities: int
    is_merged: bool = False


def plain_sensor(in_shape: tuple[int, ...]) -> SensorMap:
    """Return the map of a sensor that is the network's input: (P, H, W), (P, W) or (W,)."""
    if len(in_shape) == 1:
        return SensorMap(np.arange(in_shape[0], dtype=np.int64)[None] << 32, 1)
    height, width = in_shape[-2] if len(in_shape) == 3 else 1, in_shape[-1]
    return SensorMap(np.arange(height)[:, None] << 16 | np.arange(width), in_shape[0])


def step_us(dt: float | None) -> Fraction:
    """Return the length of a step of dt ms in us; of one without a length, 1 ms."""
    # Products with times of a hundred days must fit 64 bits.
    return (Fraction(str(dt or 1)) * 1000).limit_denominator(10**6)


def columns_of(events: object, height: int) -> dict[str, np.ndarray]:
    """Return the columns of a recording as int64; rows are 0 for a sensor of one row."""
    found = {name: getattr(events, name) for name in "txyp"}
    if found["y"] is None or height == 1:
        found["y"] = np.zeros(found["t"].size, np.int64)
    return {name: np.asarray(column).astype(np.int64) for name, column in found.items()}


def events_by_step(events: object, height: int, dt: float | None, num_steps: int) -> list[StepColumns]:
    """Return the events of each step of dt ms of a recording, on a sensor with so many rows."""
    columns, us = columns_of(events, height), step_us(dt)
    stops = np.searchsorted(columns["t"], [ceil(n * us) for n in range(num_steps + 1)])
    x, y, p = (np.ascontiguousarray(columns[name]) for name in "xyp")
    return [(x[i:j].copy(), y[i:j].copy(), p[i:j].copy()) for i, j in pairwise(stops)]
