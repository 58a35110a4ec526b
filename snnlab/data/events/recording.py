"""One recording of events, and its checks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snnlab.errors import DataError

SensorSize = tuple[int, int, int]
"""[W, H, P] as in tonic: columns, rows, polarities."""


class Events(NamedTuple):
    """One recording as four columns, one event per row, sorted by time.

    Args:
        t: Time since the recording's start (us), int64.
        x: Column, int16.
        y: Row, int16; None only for sensors of one row (H = 1).
        p: Polarity, bool: True is ON; uint8 for more than two polarities.

    Shape:
        `[N]` each.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray | None
    p: np.ndarray

    def take(self, rows: slice | np.ndarray) -> Events:
        """Return the events at some rows."""
        return Events(self.t[rows], self.x[rows], None if self.y is None else self.y[rows], self.p[rows])


class Unusable(NamedTuple):
    """The reason why a recording cannot be used."""

    reason: str


def empty_events(sensor_size: SensorSize) -> Events:
    """Return a recording without events."""
    none = np.empty(0, np.int16)
    return Events(
        np.empty(0, np.int64), none, none if sensor_size[1] > 1 else None, np.empty(0, polarity_dtype(sensor_size[2]))
    )


def check_sensor_size(sensor_size: SensorSize) -> None:
    """Check that the columns' types can address the sensor.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).

    Raises:
        DataError: If it is not three integers, with W or H outside 1..32767 or P outside 1..255.
    """
    if len(sensor_size) == 3:
        width, height, polarities = sensor_size
        if 1 <= width <= 32767 and 1 <= height <= 32767 and 1 <= polarities <= 255:
            return
    raise DataError("", f"sensor_size {list(sensor_size)}: needs [W, H, P], W and H in 1..32767, P in 1..255")


def check_events(events: Events, sensor_size: SensorSize, name: str) -> None:
    """Check a recording, which would otherwise be counted in wrong cells.

    Args:
        events: The recording.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        name: Name of the recording in messages, such as its file.

    Shape:
        Columns of equal length `[N]`; N may be 0.

    Raises:
        DataError: If a column has the wrong shape or type (p: bool, or uint8 for more than two polarities), t is
            negative or not sorted, a coordinate is outside the sensor, or y is given for H = 1 or missing for H > 1.
    """
    check_sensor_size(sensor_size)
    width, height, _ = sensor_size
    if (events.y is None) != (height == 1):
        got = "no y" if events.y is None else "y"
        raise DataError(name, f"has {got}, but sensor_size is {list(sensor_size)}", "y is needed exactly for H > 1")
    _check_columns(events, sensor_size[2], name)
    _check_times(events.t, name)
    _check_inside(events.x, "x", width, name)
    if sensor_size[2] > 2:
        _check_inside(events.p, "p", sensor_size[2], name)
    if events.y is not None:
        _check_inside(events.y, "y", height, name)


def polarity_dtype(polarities: int) -> type[np.generic]:
    """Return the type of the column p: bool for ON, or the number of the polarity if there are more than two."""
    return np.bool_ if polarities <= 2 else np.uint8


def _check_columns(events: Events, polarities: int, name: str) -> None:
    for key, column in events._asdict().items():
        if column is None:
            continue
        if column.shape != (events.t.size,):
            raise DataError(name, f"{key} has shape {column.shape}, t has {events.t.size} events")
        if key == "p" and column.dtype != polarity_dtype(polarities):
            wanted = "bool, True for ON (p > 0)" if polarities <= 2 else "uint8, the number of the polarity"
            raise DataError(name, f"p is {column.dtype}", f"it must be {wanted}")
        if key != "p" and not np.issubdtype(column.dtype, np.integer):
            unit = "microseconds" if key == "t" else "pixels"
            raise DataError(name, f"{key} is {column.dtype}", f"it must be integer {unit}")


def _check_times(t: np.ndarray, name: str) -> None:
    if not t.size:
        return
    # Compared, not subtracted: differences of unsigned columns are never negative.
    falls = 1 + np.flatnonzero(t[1:] < t[:-1])
    if falls.size:
        raise DataError(name, f"t is not sorted (event {falls[0]} is earlier than the one before)", "sort by t")
    if t[0] < 0:
        raise DataError(name, f"the first event is at {t[0]} us", "times start at 0, subtract an offset")


def _check_inside(column: np.ndarray, key: str, size: int, name: str) -> None:
    if column.size and (column.min() < 0 or column.max() >= size):
        raise DataError(
            name,
            f"{key} spans {column.min()}..{column.max()}, the sensor has 0..{size - 1}",
            "check data.sensor_size ([W, H, P])",
        )
