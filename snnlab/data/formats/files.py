"""The kinds of files, and what reads each: a recording's columns by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from snnlab.data.formats.columns import Reading, events_of
from snnlab.data.formats.hdf5 import own
from snnlab.errors import DataError, listing
from snnlab.events import Events, SensorSize

Columns = Mapping[str, np.ndarray]


def read_file(path: Path, reading: Reading, sensor_size: SensorSize) -> Events:
    """Return the recording in a file, of the kind that the end of its name says.

    Args:
        path: The file.
        reading: How its columns are to be understood; formats of cameras say themselves in what unit their times are.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).

    Raises:
        DataError: if it is of no known kind, damaged, or holds no events of this sensor.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(path, f"files of events end in {listing(SUFFIXES)}")
    try:
        columns = read(path, reading, sensor_size)
    except DataError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, KeyError, BadZipFile, MemoryError) as error:
        # NumPy takes whatever it does not know for a pickle, and tells how those are allowed.
        reason = "it holds no array of numbers" if "pickle" in str(error) else str(error) or type(error).__name__
        raise DataError(path, f"cannot be read ({reason})") from error
    if path.suffix.lower() in _IN_MICROSECONDS:
        reading = Reading("us", reading.time_origin, reading.sort)
    return events_of(columns, reading, sensor_size, str(path))


def read_array(array: np.ndarray | Columns, reading: Reading, sensor_size: SensorSize, name: str = "events") -> Events:
    """Return the recording in an array: a table with a row an event, one with named columns, or columns by name.

    Args:
        array: The array, or the arrays of its columns.
        reading: How its columns are to be understood.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        name: What a message calls it.

    Shape:
        array: `[N, 4]`, or `[N]` with fields; columns: `[N]` each.

    Raises:
        DataError: if it holds no events of this sensor.
    """
    columns = array if isinstance(array, Mapping) else _of_array(np.asarray(array), Path(name), reading, sensor_size)
    return events_of(columns, reading, sensor_size, name)


def _numpy(path: Path, reading: Reading, sensor_size: SensorSize) -> Columns:
    with path.open("rb") as file:
        array = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise DataError(path, "is an archive of arrays, whose name ends in .npz")
    return _of_array(array, path, reading, sensor_size)


def _numpy_archive(path: Path, reading: Reading, sensor_size: SensorSize) -> Columns:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if len(arrays) == 1:
        return _of_array(next(iter(arrays.values())), path, reading, sensor_size)
    return arrays


def _of_array(array: np.ndarray, path: Path, reading: Reading, sensor_size: SensorSize) -> Columns:
    """Return the columns of a table of events: by its own names, or in their order."""
    if array.dtype.names is not None:
        return {name: array[name].reshape(-1) for name in array.dtype.names}
    if array.size == 0:
        return {name: np.empty(0, np.int64) for name in "txyp"}
    names = reading.unnamed(sensor_size, array.shape[-1])
    if array.ndim != 2 or array.shape[1] != len(names):
        raise DataError(
            path,
            f"is an array {array.shape}, and not a row for each event with {', '.join(names)}",
            "set data.columns to its columns",
        )
    return {name: array[:, number] for number, name in enumerate(names) if name != "-"}


def _text(path: Path, reading: Reading, sensor_size: SensorSize) -> Columns:
    with path.open(encoding="utf-8-sig") as file:  # read once, from its beginning on: it may be a pipe
        head = file.readline()
        delimiter = next((mark for mark in (",", ";", "\t") if mark in head), None)
        words = [word.strip().strip('"') for word in head.split(delimiter)]
        named = not all(_is_number(word) for word in words)
        rows = [line for line in [*([] if named else [head]), *file] if line.strip()]
    if not rows:
        return {name: np.empty(0, np.int64) for name in "txyp"}
    # Whole numbers as such: a double has not enough digits for nanoseconds since 1970.
    whole = not any(mark in line for line in rows for mark in ".eE")
    table = np.loadtxt(rows, dtype=np.int64 if whole else np.float64, delimiter=delimiter, ndmin=2)
    if named and table.shape[1] == len(words):
        if twice := [word for word in words if words.count(word) > 1]:
            raise DataError(path, f"names the column {twice[0]} twice")
        return {word: table[:, number] for number, word in enumerate(words)}
    return _of_array(table, path, reading, sensor_size)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _hdf5(path: Path, reading: Reading, sensor_size: SensorSize) -> Columns:
    import h5py

    with h5py.File(path, "r") as file:
        # In the file itself, or in the group in which cameras' tools put them.
        place = next((name for name in ("events", "CD/events") if name in file), None)
        group: Any = file if place is None else own(file, place)
        if isinstance(group, h5py.Dataset):
            return _of_array(group[()], path, reading, sensor_size)
        parts = {name: own(group, name) for name in group}
        return {name: part[()] for name, part in parts.items() if isinstance(part, h5py.Dataset) and part.ndim == 1}


def _nmnist(path: Path, reading: Reading, sensor_size: SensorSize) -> Columns:
    from snnlab.data import tonic_adapter

    size = path.stat().st_size
    if size % 5:
        raise DataError(
            path,
            f"truncated: {size} bytes are not a whole number of 5-byte events",
            "fetch the file again, or remove it",
        )
    return {name: part for name, part in tonic_adapter.read_nmnist_file(path)._asdict().items() if part is not None}


def _prophesee(path: Path, reading: Reading, sensor_size: SensorSize) -> Columns:
    from expelliarmus import Wizard

    encoding = "dat" if path.suffix.lower() == ".dat" else _encoding(path)
    _check_whole(path, encoding)
    array = Wizard(encoding=encoding).read(path)
    if array is None:  # it says why on stderr
        raise DataError(path, f"is no {encoding.upper()} file")
    return {name: array[name] for name in array.dtype.names or ()}


def _check_whole(path: Path, encoding: str) -> None:
    """Refuse a file that ends within an event, which expelliarmus leaves out without a word."""
    start = 0
    with path.open("rb") as file:
        # A line of the head is text; an event may begin with a % too.
        while (line := file.readline(4096)).startswith(b"% ") and line.isascii() and b"\0" not in line:
            start = file.tell()
            if line.strip().lower() == b"% end":
                break
    size = path.stat().st_size - start - (2 if encoding == "dat" else 0)  # .dat: type and size of its events
    if size % _EVENT_BYTES[encoding]:
        raise DataError(path, "truncated: it ends within an event", "fetch the file again, or remove it")


def _encoding(path: Path) -> str:
    """Return the encoding that the head of a `.raw` file says."""
    with path.open("rb") as file:
        head = file.read(4096).lower()
    for words, encoding in ((b"evt 3", "evt3"), (b"evt3", "evt3"), (b"evt 2", "evt2"), (b"evt2", "evt2")):
        if words in head:
            return encoding
    raise DataError(path, "its head names neither EVT2 nor EVT3, the encodings of .raw that can be read")


def _aedat4(path: Path, reading: Reading, sensor_size: SensorSize) -> Columns:
    try:
        import aedat  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(path, ".aedat4 needs another package: pip install 'snnlab-train[aedat]'") from error
    packets = [packet["events"] for packet in aedat.Decoder(path) if "events" in packet]
    if not packets:
        raise DataError(path, "holds no events")
    array = np.concatenate(packets)
    return {name: array[name] for name in array.dtype.names or ()}


_EVENT_BYTES = {"dat": 8, "evt2": 4, "evt3": 2}
_READERS: dict[str, Callable[[Path, Reading, SensorSize], Columns]] = {
    ".npy": _numpy,
    ".npz": _numpy_archive,
    ".csv": _text,
    ".txt": _text,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".bin": _nmnist,
    ".aedat4": _aedat4,
    ".dat": _prophesee,
    ".raw": _prophesee,
}
# Formats of cameras, whose times are in microseconds.
_IN_MICROSECONDS = {".bin", ".aedat4", ".dat", ".raw"}
SUFFIXES = tuple(_READERS)
