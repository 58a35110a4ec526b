"""Columns of events, under whatever names, types and units a file has them, made into a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from snnlab.errors import ConfigError, DataError, listing
from snnlab.events import Events, SensorSize
from snnlab.settings import checks_arguments

TimeUnit = Literal["s", "ms", "us", "ns"]
TIME_UNITS: tuple[str, ...] = get_args(TimeUnit)
TimeOrigin = Literal["first", "zero"]

# Under which names files have the columns; the first is ours.
NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs", "col", "channel", "unit", "units"),
    "y": ("y", "ys", "row"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
_PER_MICROSECOND = {"ns": 1000}
_MICROSECONDS = {"us": 1, "ms": 1000, "s": 1_000_000}
_HALF_OF_32_BITS = 2**31
_LONGEST = 2**62  # us; beyond it sums of times would wrap


@checks_arguments
@dataclass(frozen=True)
class Reading:
    """How the columns of a file are to be understood.

    Args:
        time_unit: Unit of the times: s, ms, us or ns.
        time_origin: What is time 0: `first`, a recording's first event, or `zero`, the file's own.
        sort: Whether events that are not in the order of time are put into it; otherwise they are refused.
        columns: Names of the columns of files that name none, in their order: t, x, y, p, and `-` for one to leave out.
            None: x, y, t, p, without y where the sensor has no rows, and without p where there is no fourth.
        polarity_values: What files have as the polarity of OFF and of ON; of more polarities, for each. None: 1 for ON
            and 0 or -1 for OFF; of more, their numbers from 0 on.

    Raises:
        ConfigError: if a setting is none of these.
    """

    time_unit: TimeUnit = "us"
    time_origin: TimeOrigin = "first"
    sort: bool = False
    columns: Sequence[str] | None = None
    polarity_values: Sequence[float] | None = None

    def __post_init__(self) -> None:
        named = [name for name in self.columns or NAMES if name != "-"]
        if not set(named) <= NAMES.keys() or len(set(named)) < len(named) or not {"t", "x"} <= set(named):
            raise ConfigError(
                "columns", f"expected t, x and perhaps y and p, or - for others, got {list(self.columns or ())}"
            )
        values = self.polarity_values
        if values is not None and (len(set(values)) < max(len(values), 2) or not np.isfinite(values).all()):
            raise ConfigError("polarity_values", f"must be two or more different numbers, got {list(values)}")

    def unnamed(self, sensor_size: SensorSize, count: int) -> list[str]:
        """Return the names of so many columns that have none in their file."""
        if self.columns is not None:
            return list(self.columns)
        usual = ["x", "y", "t", "p"] if sensor_size[1] > 1 else ["x", "t", "p"]
        return usual[:count] if count == len(usual) - 1 else usual


def events_of(found: Mapping[str, np.ndarray], reading: Reading, sensor_size: SensorSize, name: str) -> Events:
    """Return the recording that columns hold.

    Args:
        found: Columns under any of `NAMES`; others are left out.
        reading: How they are to be understood.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        name: What a message calls the recording, such as its file.

    Shape:
        `[N]` each.

    Raises:
        DataError: if a column is missing, has another length, or holds what is no time, place or polarity.
    """
    columns = {ours: values for ours in NAMES if (values := _under(found, ours, name)) is not None}
    _, height, polarities = sensor_size
    if height == 1:
        columns.pop("y", None)
    needed = ["t", "x", *(["y"] if height > 1 else []), *(["p"] if polarities > 1 else [])]
    if missing := [ours for ours in needed if ours not in columns]:
        has = f"; it has {listing(found)}" if found else ""
        raise DataError(name, f"has no column {' and no '.join(missing)} for a sensor of {list(sensor_size)}{has}")
    sizes = {ours: len(values) for ours, values in columns.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(name, f"its columns have different lengths: {sizes}")
    t = _microseconds(columns["t"], reading.time_unit, name)
    x, y = _places(columns["x"], "x", name), columns.get("y")
    y = None if y is None else _places(y, "y", name)
    p = _polarity(columns.get("p"), t.size, polarities, reading.polarity_values, name)
    return _in_order(Events(t, x, y, p), reading)


def _under(found: Mapping[str, np.ndarray], ours: str, name: str) -> np.ndarray | None:
    theirs = [key for key in found if key.strip().lower() in NAMES[ours]]
    if len(theirs) > 1:
        raise DataError(name, f"has {' and '.join(theirs)}, which both may be the column {ours}", "keep one of them")
    return np.asarray(found[theirs[0]]) if theirs else None


def _microseconds(t: np.ndarray, unit: str, name: str) -> np.ndarray:
    _require_numbers(t, "t", name)
    if t.dtype.kind == "f":
        if not np.isfinite(t).all():
            raise DataError(name, f"t is not finite at event {int(np.flatnonzero(~np.isfinite(t))[0])}")
        t = t.astype(np.float64) * _MICROSECONDS.get(unit, 1) / _PER_MICROSECOND.get(unit, 1)
        _require_below(t, 1, name)
        return np.rint(t).astype(np.int64)
    _require_below(t, _MICROSECONDS.get(unit, 1), name)
    _require_no_wrap(t, name)
    return t.astype(np.int64) * _MICROSECONDS.get(unit, 1) // _PER_MICROSECOND.get(unit, 1)


def _require_below(t: np.ndarray, factor: int, name: str) -> None:
    if t.size and float(np.abs(t).max()) * factor > _LONGEST:
        raise DataError(name, f"t reaches {t.max()}, which is too long ago", "check data.time_unit")


def _require_no_wrap(t: np.ndarray, name: str) -> None:
    """Refuse a counter that began again: sorted, the recording would be spread over more than an hour."""
    if t.size and int(t.max()) - int(t.min()) >= _HALF_OF_32_BITS:
        falls = np.flatnonzero(t[:-1].astype(np.int64) - t[1:].astype(np.int64) >= _HALF_OF_32_BITS)
        if falls.size:
            raise DataError(
                name,
                f"t falls at event {int(falls[0]) + 1} as a counter of 32 bits does that begins again",
                "cut the file there, or add 2^32 to what follows",
            )


def _places(column: np.ndarray, key: str, name: str) -> np.ndarray:
    _require_numbers(column, key, name)
    if column.dtype.kind == "f":
        if not (np.isfinite(column).all() and (column == np.rint(column)).all()):
            raise DataError(name, f"{key} is not a whole number of pixels everywhere", "check data.columns")
        column = column.astype(np.int64)
    # What a pixel's type does not hold stays as it is, for the check of the sensor to name.
    fits = not column.size or (column.min() >= 0 and column.max() < 2**15)
    return column.astype(np.int16) if fits else column


def _polarity(
    p: np.ndarray | None, size: int, polarities: int, values: Sequence[float] | None, name: str
) -> np.ndarray:
    if p is None:
        return np.zeros(size, bool)
    if p.dtype.kind != "b":
        _require_numbers(p, "p", name)
    if polarities == 1:  # nothing looks at them
        return p > 0
    usual = np.array([-1, 0, 1]) if polarities == 2 else np.arange(polarities)
    known = usual if values is None else np.asarray(values)
    strange = np.flatnonzero(~np.isin(p, known))
    if strange.size:
        allowed = listing(f"{value:g}" for value in known)
        raise DataError(
            name,
            f"p is {float(p[strange[0]]):g} at event {strange[0]}, and polarities are {allowed}",
            (
                "data.polarity_values of data=folder, such as [1, 2] for OFF and ON, says what"
                " others mean, and data.columns which column is p"
            ),
        )
    if values is None:
        return p > 0 if polarities == 2 else p.astype(np.uint8)
    order = np.argsort(known)
    return order[np.searchsorted(known[order], p)].astype(bool if polarities == 2 else np.uint8)


def _require_numbers(column: np.ndarray, key: str, name: str) -> None:
    if column.ndim != 1 or column.dtype.kind not in "iuf":
        raise DataError(name, f"{key} is {column.dtype} {column.shape}, and not a row of numbers")


def _in_order(events: Events, reading: Reading) -> Events:
    if reading.sort and (events.t[1:] < events.t[:-1]).any():
        order = np.argsort(events.t, kind="stable")
        events = events.take(order)
    if reading.time_origin == "first" and events.t.size:
        # Of events that are not in order, which are refused later, the least.
        events = events._replace(t=events.t - events.t.min())
    return events
