"""What a page shows of a stream: when the neurons of each layer spiked, and the last event of each pixel.

Spikes are counted in columns of time, which the compiled loops fill in turn. Their array of int64 begins with the
number of columns, their size, the steps of a column, and the column and the step in it that run now, counted from the
start; then of each layer its place in a column, -1 for none, and (rows << 32) / channels, by which a channel finds its
row. A row is a channel, or some adjacent ones, of all pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from snnlab.compiled import compiled
from snnlab.kernels.vectors import LANES, trailing_zeros
from snnlab.streaming.stream_layers import StreamLayer

_COLUMNS, _SIZE, _STEPS, _COLUMN, _STEP, _HEAD = range(6)
_FIELDS = 2
_MOST_ROWS = 64
NO_RASTER = np.zeros(0, np.int64)

_inner = njit(nogil=True, error_model="numpy", forceinline=True)
_once = njit(nogil=True, error_model="numpy")


class RasterRows(NamedTuple):
    """The rows of a layer: its name, the shape of its neurons (C, H, W), its first row, and the number of rows."""

    name: str
    shape: tuple[int, ...]
    first: int
    rows: int


def raster_rows(layers: Sequence[StreamLayer]) -> list[RasterRows | None]:
    """Return the rows of each layer; None for one that does not spike."""
    found: list[RasterRows | None] = []
    first = 0
    for layer in layers:
        if layer.form is None or not layer.form.spiking:
            found.append(None)
            continue
        rows = min(layer.shape[0], _MOST_ROWS)
        found.append(RasterRows(layer.label, layer.shape, first, rows))
        # Vectors are filled up with channels that never spike; they have places, so that nothing is written beyond.
        first += rows + LANES
    return found


def raster_size(rows: Sequence[RasterRows | None], columns: int) -> int:
    """Return how many int64 a raster takes."""
    return raster_head(rows) + columns * _column_size(rows)


def raster_head(rows: Sequence[RasterRows | None]) -> int:
    """Return where the first column begins."""
    return _HEAD + _FIELDS * len(rows)


def _column_size(rows: Sequence[RasterRows | None]) -> int:
    return max((one.first + one.rows + LANES for one in rows if one is not None), default=0)


def start_raster(
    raster: np.ndarray, rows: Sequence[RasterRows | None], columns: int, steps: int, num_steps: int = 0
) -> None:
    """Write an empty raster.

    Args:
        raster: `raster_size` numbers.
        rows: The rows of each layer.
        columns: Number of columns.
        steps: Steps of a column.
        num_steps: Number of steps that have ended.
    """
    raster[:] = 0
    raster[_COLUMN], raster[_STEP] = divmod(num_steps, steps)
    raster[_COLUMNS], raster[_SIZE], raster[_STEPS] = columns, _column_size(rows), steps
    for k, one in enumerate(rows):
        at = _HEAD + _FIELDS * k
        raster[at], raster[at + 1] = (-1, 0) if one is None else (one.first, (one.rows << 32) // one.shape[0])


@_inner
def column_place(raster: Any, num_layers: Any, k: Any) -> int:
    """Return where layer k's spikes of this step are counted, or -1."""
    if raster.size == 0 or raster[_HEAD + _FIELDS * k] < 0:
        return -1
    first = _HEAD + _FIELDS * num_layers + raster[_HEAD + _FIELDS * k]
    return first + raster[_COLUMN] % raster[_COLUMNS] * raster[_SIZE]


@_once
def count_spikes(raster: Any, k: Any, place: Any, block: Any, lanes: Any) -> None:
    """Count the lanes of a vector of layer k that spiked."""
    per_row = raster[_HEAD + _FIELDS * k + 1]
    while lanes != 0:
        raster[place + (((block + trailing_zeros(lanes)) * per_row) >> 32)] += 1
        lanes &= lanes - np.uint64(1)


@_once
def end_step(raster: Any, num_layers: Any) -> None:
    """Go on to the next step, in an empty column if this one is full."""
    raster[_STEP] += 1
    if raster[_STEP] < raster[_STEPS]:
        return
    first = _HEAD + _FIELDS * num_layers + (raster[_COLUMN] + 1) % raster[_COLUMNS] * raster[_SIZE]
    raster[first : first + raster[_SIZE]] = 0
    raster[_STEP] = 0
    raster[_COLUMN] += 1


@compiled(nogil=True, error_model="numpy")
def mark_events(picture: Any, height: Any, width: Any, pixel: Any, t: Any, x: Any, y: Any, p: Any) -> None:
    """Write twice the time of each event, plus its polarity, at its pixel of a smaller picture.

    Args:
        picture: The picture, row by row.
        height: Rows of the sensor.
        width: Columns of the sensor.
        pixel: How many rows and columns are one pixel of the picture.
        t: Times, us.
        x: Columns.
        y: Rows.
        p: Polarities.
    """
    row = (width + pixel - 1) // pixel
    for n in range(t.size):
        if 0 <= x[n] < width and 0 <= y[n] < height:
            place = y[n] // pixel * row + x[n] // pixel
            picture[place] = max(picture[place], 2 * t[n] + (p[n] > 0))
