"""Readers of recordings in files and arrays, and `to_frames`, which makes frames of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from torch import Tensor

from snnlab.data.camera_files import CAMERA_FORMATS, read_camera_file
from snnlab.data.cochlea import Cochlea
from snnlab.data.events import Events, SensorSize, check_events
from snnlab.data.events.frames import EventBatch
from snnlab.data.events.representation import REPRESENTATIONS, FrameBuilder, Region, Steps
from snnlab.data.reading_process import read_apart
from snnlab.data.wav_files import read_wav
from snnlab.errors import ConfigError, DataError, MissingPackageError, join_names, one_line
from snnlab.files import load_array, load_arrays
from snnlab.spec.interval import Count, above
from snnlab.spec.signatures import checks_arguments

TimeUnit = Literal["s", "ms", "us", "ns"]
TIME_UNITS: tuple[str, ...] = get_args(TimeUnit)
TimeOrigin = Literal["first", "zero"]
# Known names of the columns in files; the first is this project's name.
NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs", "col", "channel", "unit", "units"),
    "y": ("y", "ys", "row"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
_PER_MICROSECOND = {"ns": 1000}
_MICROSECONDS = {"us": 1, "ms": 1000, "s": 1_000_000}
_HALF_OF_32_BITS = 2**31
LONGEST = 2**62  # us; sums of longer times would wrap


@checks_arguments
@dataclass(frozen=True)
class ReadOptions:
    """Options for reading the columns of a file.

    Args:
        time_unit: Unit of the times: s, ms, us or ns.
        time_origin: Time 0: `first`, a recording's first event, or `zero`, the time 0 of the file.
        sort: Whether unsorted events are sorted by time; otherwise they are an error.
        columns: Names of the columns, in order, for files that do not name them: t, x, y, p, and `-` for one to ignore.
            None: x, y, t, p; without y if the sensor has no rows, and without p if there is no fourth column.
        polarity_values: Values of OFF and ON in files; for more polarities, one value each. None: 1 for ON and 0 or -1
            for OFF; for more polarities, 0, 1, 2, ...
        cochlea: What makes events of sound; None: the files are of events.
    """

    time_unit: TimeUnit = "us"
    time_origin: TimeOrigin = "first"
    sort: bool = False
    columns: Sequence[str] | None = None
    polarity_values: Sequence[float] | None = None
    cochlea: Cochlea | None = None

    def __post_init__(self) -> None:
        if self.cochlea is not None:
            for name in ("time_unit", "sort", "columns", "polarity_values"):
                if getattr(self, name) != getattr(ReadOptions, name):
                    raise ConfigError(name, "has no effect: the files are sound, of which cochlea makes the events")
        named = [name for name in self.columns or NAMES if name != "-"]
        if not set(named) <= NAMES.keys() or len(set(named)) < len(named) or not {"t", "x"} <= set(named):
            raise ConfigError(
                "columns", f"expected t, x and optionally y and p, or - for others, got {list(self.columns or ())}"
            )
        values = self.polarity_values
        if values is not None and (len(set(values)) < max(len(values), 2) or not np.isfinite(values).all()):
            raise ConfigError("polarity_values", f"must be two or more different numbers, got {list(values)}")

    def default_columns(self, sensor_size: SensorSize, count: int) -> list[str]:
        """Return the names of `count` columns for a file that does not name them."""
        if self.columns is not None:
            return list(self.columns)
        usual = ["x", "y", "t", "p"] if sensor_size[1] > 1 else ["x", "t", "p"]
        return usual[:count] if count == len(usual) - 1 else usual


def events_from_columns(
    found: Mapping[str, np.ndarray], reading: ReadOptions, sensor_size: SensorSize, name: str, first: int = 0
) -> Events:
    """Return the recording in named columns.

    Args:
        found: Columns under any name in `NAMES`; others are ignored.
        reading: The reading options.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        name: Name of the recording in messages, such as its file.
        first: Number of the first event in messages.

    Shape:
        `[N]` each.

    Raises:
        DataError: if a column is missing, has another length, or holds invalid times, coordinates or polarities.
    """
    columns = {standard: values for standard in NAMES if (values := _find_column(found, standard, name)) is not None}
    _, height, polarities = sensor_size
    if height == 1:
        columns.pop("y", None)
    needed = ["t", "x", *(["y"] if height > 1 else []), *(["p"] if polarities > 1 else [])]
    if missing := [standard for standard in needed if standard not in columns]:
        has = f"; it has {join_names(found)}" if found else ""
        raise DataError(name, f"has no column {' and no '.join(missing)} for a sensor of {list(sensor_size)}{has}")
    sizes = {standard: len(values) for standard, values in columns.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(name, f"its columns have different lengths: {sizes}")
    t = _to_microseconds(columns["t"], reading.time_unit, name)
    x, y = _checked_coordinates(columns["x"], "x", name), columns.get("y")
    y = None if y is None else _checked_coordinates(y, "y", name)
    p = _to_polarities(columns.get("p"), t.size, polarities, reading.polarity_values, name, first)
    return _sort_and_shift(Events(t, x, y, p), reading)


def _find_column(found: Mapping[str, np.ndarray], standard: str, name: str) -> np.ndarray | None:
    matches = [key for key in found if key.strip().lower() in NAMES[standard]]
    if len(matches) > 1:
        raise DataError(
            name, f"has {' and '.join(matches)}, which may all be the column {standard}", "keep one of them"
        )
    return np.asarray(found[matches[0]]) if matches else None


def _to_microseconds(t: np.ndarray, unit: str, name: str) -> np.ndarray:
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
    if t.size and float(np.abs(t).max()) * factor > LONGEST:
        raise DataError(name, f"t reaches {t.max()}, which is too large", "check data.time_unit")


def _require_no_wrap(t: np.ndarray, name: str) -> None:
    """Raise if a counter wrapped around: sorted, the recording would be spread over more than an hour."""
    if t.size and int(t.max()) - int(t.min()) >= _HALF_OF_32_BITS:
        falls = np.flatnonzero(t[:-1].astype(np.int64) - t[1:].astype(np.int64) >= _HALF_OF_32_BITS)
        if falls.size:
            raise DataError(
                name,
                f"t falls at event {int(falls[0]) + 1}, like a counter of 32 bits that wraps around",
                "cut the file there, or add 2^32 to the later times",
            )


def _checked_coordinates(column: np.ndarray, key: str, name: str) -> np.ndarray:
    _require_numbers(column, key, name)
    if column.dtype.kind == "f":
        if not ((np.abs(column) < LONGEST).all() and (column == np.rint(column)).all()):
            raise DataError(name, f"{key} has values that are not whole numbers of pixels", "check data.columns")
        column = column.astype(np.int64)
    # Values outside the type of pixels are kept, so that the check of the sensor names them.
    fits = not column.size or (column.min() >= 0 and column.max() < 2**15)
    return column.astype(np.int16) if fits else column


def _to_polarities(
    p: np.ndarray | None, size: int, polarities: int, values: Sequence[float] | None, name: str, first: int
) -> np.ndarray:
    if p is None:
        return np.zeros(size, bool)
    if p.dtype.kind != "b":
        _require_numbers(p, "p", name)
    if polarities == 1:  # polarities are ignored
        return p > 0
    usual = np.array([-1, 0, 1]) if polarities == 2 else np.arange(polarities)
    known = usual if values is None else np.asarray(values)
    if values is None and p.dtype.kind in "iu":  # many times faster than isin
        unknown = np.flatnonzero((p < usual[0]) | (p > usual[-1]))
    else:
        unknown = np.flatnonzero(~np.isin(p, known))
    if unknown.size:
        allowed = join_names(f"{value:g}" for value in known)
        raise DataError(
            name,
            f"p is {float(p[unknown[0]]):g} at event {first + unknown[0]}, but polarities are {allowed}",
            (
                "data.polarity_values of data=folder, such as [1, 2] for OFF and ON, sets other"
                " values, and data.columns the column p"
            ),
        )
    if values is None:
        return p > 0 if polarities == 2 else p.astype(np.uint8)
    order = np.argsort(known)
    return order[np.searchsorted(known[order], p)].astype(bool if polarities == 2 else np.uint8)


def _require_numbers(column: np.ndarray, key: str, name: str) -> None:
    if column.ndim != 1 or column.dtype.kind not in "iuf":
        raise DataError(name, f"{key} is {column.dtype} {column.shape}, expected one axis of numbers")


def _sort_and_shift(events: Events, reading: ReadOptions) -> Events:
    if reading.sort and (events.t[1:] < events.t[:-1]).any():
        order = np.argsort(events.t, kind="stable")
        events = events.take(order)
    if reading.time_origin == "first" and events.t.size:
        # The minimum, since unsorted events are refused later only.
        events = events._replace(t=events.t - events.t.min())
    return events


Columns = Mapping[str, np.ndarray]


def read_file(path: Path, reading: ReadOptions, sensor_size: SensorSize) -> Events:
    """Return the recording in a file; the ending of its name gives the format.

    Args:
        path: The file.
        reading: The reading options; camera formats define the unit of their times themselves.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).

    Raises:
        DataError: if the format is unknown, or the file is damaged or holds no events of this sensor.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(path, f"files of events end in {join_names(SUFFIXES)}")
    if path.exists() and not path.is_file() and not (read is _read_text and path.is_fifo()):
        raise DataError(path, "is not a regular file")
    try:
        columns = read(path, reading, sensor_size)
    except (DataError, MissingPackageError):
        raise
    except (OSError, ValueError, TypeError, RuntimeError, KeyError, MemoryError) as error:
        raise DataError(path, f"cannot be read ({one_line(error)})") from error
    if path.suffix.lower() in CAMERA_FORMATS:  # their times are in microseconds
        reading = ReadOptions("us", reading.time_origin, reading.sort)
    return events_from_columns(columns, reading, sensor_size, str(path))


def read_array(
    array: np.ndarray | Columns, reading: ReadOptions, sensor_size: SensorSize, name: str = "events"
) -> Events:
    """Return the recording in an array: a table with one event per row, an array with fields, or columns by name.

    Args:
        array: The array, or the arrays of its columns.
        reading: The reading options.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        name: Its name in messages.

    Shape:
        array: `[N, 4]`, or `[N]` with fields; columns: `[N]` each.

    Raises:
        DataError: if it holds no events of this sensor.
    """
    columns = (
        array if isinstance(array, Mapping) else _columns_of_array(np.asarray(array), Path(name), reading, sensor_size)
    )
    return events_from_columns(columns, reading, sensor_size, name)


def iter_recordings(recordings: Any, reading: ReadOptions, sensor_size: SensorSize) -> Iterator[tuple[str, Events]]:
    """Yield one or several recordings given in Python, with their names in messages.

    Args:
        recordings: `Events`, a file, or an array as for `read_array`; or a list of these.
        reading: The reading options of files and arrays.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).

    Raises:
        DataError: if one holds no events of this sensor.
    """
    several = isinstance(recordings, list | tuple) and not isinstance(recordings, Events)
    for index, one in enumerate(recordings if several else [recordings]):
        name = f"events[{index}]" if several else "events"
        if isinstance(one, Events):
            yield name, one
        elif isinstance(one, str | Path):
            path = Path(one).expanduser()
            yield str(path), read_file(path, reading, sensor_size)
        elif isinstance(one, np.ndarray | Mapping):
            yield name, read_array(one, reading, sensor_size, name)
        else:
            raise TypeError(
                f"{name}: expected a file, an array [N, 4] or with fields t, x, y, p, or snnlab.data.events.Events, got"
                f" a {type(one).__name__}"
            )


@checks_arguments
def to_frames(
    events: Any,
    *,
    num_bins: Count,
    duration_ms: Annotated[float, "ms", above(0)],
    sensor_size: SensorSize,
    representation: str | Mapping[str, Any] = "counts",
    time_unit: TimeUnit = "us",
    time_origin: TimeOrigin = "first",
) -> Tensor:
    """Convert one or several recordings to frames: each event of `[0, duration_ms)` is in the frame of its time.

        step = floor(t * num_bins / duration_ms)

    Args:
        events: A file, an array `[N, 4]` of x, y, t, p or with fields t, x, y, p, a mapping of columns, or
            `snnlab.data.events.Events`; or a list of these.
        num_bins: Number of steps T.
        duration_ms: Length of the window, ms; later events are dropped.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities); with P = 1 both polarities are summed.
        representation: Content of a frame: `counts` (events per cell), or another of `snnlab list
            representations`, with settings as in `{"type": "time_surface", "tau": 30}`.
        time_unit: Unit of the times in files and arrays: s, ms, us or ns; those of `Events` are in us.
        time_origin: Time 0 in files and arrays: `first`, the first event, or `zero`, the time 0 of the file.

    Shape:
        float32 `[T, B, C, H, W]`, B = 1 for one recording, C = P for counts; of sensors of one row (H = 1)
        `[T, B, C, W]`, or `[T, B, W]` for C = 1.

    Raises:
        DataError: if an input is no recording of this sensor.
    """
    reading, size = ReadOptions(time_unit, time_origin), (sensor_size[0], sensor_size[1], sensor_size[2])
    node = {"type": representation} if isinstance(representation, str) else dict(representation)
    kind = REPRESENTATIONS.build(node.pop("type", None), node, "representation")
    frame_builder = FrameBuilder(Region(size), Steps(round(1000 * duration_ms), num_bins), kind)
    recordings = []
    try:
        for name, found in iter_recordings(events, reading, size):
            check_events(found, size, name)
            recordings.append(found)
    except DataError as error:  # name this function's setting; an array may have other columns
        hint = error.hint.replace("data.sensor_size", "sensor_size")
        raise error.with_fields(hint=f"{hint}; the columns of an array without names are x, y, t, p") from error
    return frame_builder(EventBatch.of(recordings)).x


def _read_npy(path: Path, reading: ReadOptions, sensor_size: SensorSize) -> Columns:
    return _columns_of_array(load_array(path), path, reading, sensor_size)


def _read_npz(path: Path, reading: ReadOptions, sensor_size: SensorSize) -> Columns:
    return _columns_of_arrays(load_arrays(path), path, reading, sensor_size)


def _read_hdf5(path: Path, reading: ReadOptions, sensor_size: SensorSize) -> Columns:
    return _columns_of_arrays(read_apart(path, "hdf5"), path, reading, sensor_size)


def _columns_of_arrays(arrays: Columns, path: Path, reading: ReadOptions, sensor_size: SensorSize) -> Columns:
    """Return columns by name, or those of the only array."""
    if len(arrays) == 1:
        return _columns_of_array(next(iter(arrays.values())), path, reading, sensor_size)
    return arrays


def _columns_of_array(array: np.ndarray, path: Path, reading: ReadOptions, sensor_size: SensorSize) -> Columns:
    """Return the columns of a table of events, by their names or by their order."""
    if array.dtype.names is not None:
        return {name: array[name].reshape(-1) for name in array.dtype.names}
    if array.size == 0:
        return {name: np.empty(0, np.int64) for name in "txyp"}
    names = reading.default_columns(sensor_size, array.shape[-1])
    if array.ndim != 2 or array.shape[1] != len(names):
        raise DataError(
            path,
            f"is an array {array.shape}, expected one row per event with {', '.join(names)}",
            "set data.columns to its columns",
        )
    return {name: array[:, number] for number, name in enumerate(names) if name != "-"}


def _read_text(path: Path, reading: ReadOptions, sensor_size: SensorSize) -> Columns:
    with path.open(encoding="utf-8-sig") as file:  # read once, from start to end: it may be a pipe
        head = file.readline()
        delimiter, names = _split(head)
        named = not all(_is_number(word) for word in names)
        rows = [line for line in [*([] if named else [head]), *file] if line.strip()]
    if not rows:
        return {name: np.empty(0, np.int64) for name in "txyp"}
    # Integers stay integers: a double has not enough digits for nanoseconds since 1970.
    whole = not any(mark in line for line in rows for mark in ".eE")
    table = np.loadtxt(rows, dtype=np.int64 if whole else np.float64, delimiter=delimiter, ndmin=2)
    if named and table.shape[1] == len(names):
        if twice := [word for word in names if names.count(word) > 1]:
            raise DataError(path, f"names the column {twice[0]} twice")
        return {word: table[:, number] for number, word in enumerate(names)}
    return _columns_of_array(table, path, reading, sensor_size)


def names_columns(path: Path) -> bool:
    """Return whether a file is no text, or its first line names the columns or is empty."""
    if _READERS.get(path.suffix.lower()) is not _read_text:
        return True
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        head = file.readline()
    return not head.strip() or not all(_is_number(word) for word in _split(head)[1])


def _split(head: str) -> tuple[str | None, list[str]]:
    """Return what separates the words of a file's first line, and the words."""
    delimiter = next((mark for mark in (",", ";", "\t") if mark in head), None)
    return delimiter, [word.strip().strip('"') for word in head.split(delimiter)]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _read_sound(path: Path, reading: ReadOptions, sensor_size: SensorSize) -> Columns:
    if reading.cochlea is None:
        raise DataError(path, "is sound, and these recordings are events", "data=spoken_digits makes events of sound")
    return reading.cochlea.columns(read_wav(path), sensor_size[0], str(path))


_READERS: dict[str, Callable[[Path, ReadOptions, SensorSize], Columns]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_text,
    ".txt": _read_text,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    **dict.fromkeys(CAMERA_FORMATS, lambda path, _, size: read_camera_file(path, size[:2]).columns),
}
SUFFIXES = tuple(_READERS)
SOUND_SUFFIXES = (".wav",)
_READERS |= dict.fromkeys(SOUND_SUFFIXES, _read_sound)
