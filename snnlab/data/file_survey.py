"""What a file of events holds: its sensor, duration, number of events and what is wrong with them, in constant memory.

Axes: N events.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.data.camera_files import CAMERA_FORMATS, CameraFile, Columns, open_camera_file
from snnlab.data.events import Events
from snnlab.data.formats import ReadOptions, read_file
from snnlab.errors import DataError

# For files that state no sensor; any column and row of the types that a recording has.
_ANY_SENSOR = (32767, 32767, 2)


class Fault(NamedTuple):
    """Events that are wrong: what it is, their number, and the first of them."""

    what: str
    number: int
    first: str


class FileSurvey(NamedTuple):
    """What a file holds.

    Attributes:
        form: Its format.
        size: Width and height of the sensor; None: the file does not state it.
        events: Number of events.
        others: Number of words or packets that are no events.
        span_us: Times of the earliest and of the latest event, us; the next three are None without events, as this is.
        columns: The lowest and the highest column.
        rows: The lowest and the highest row.
        on: Fraction of ON events.
        faults: What is wrong.
        start: The first events, as many as were asked for; times from the earliest one.
    """

    form: str
    size: tuple[int, int] | None
    events: int
    others: int
    span_us: tuple[int, int] | None
    columns: tuple[int, int] | None
    rows: tuple[int, int] | None
    on: float | None
    faults: list[Fault]
    start: Events


class _Count:
    """Counts events of one kind, and remembers the first one."""

    def __init__(self, what: str) -> None:
        self.what, self.number, self.first = what, 0, ""

    def add(self, chosen: np.ndarray, before: int, *shown: np.ndarray) -> None:
        """Count the chosen events of a piece; `shown` are the columns that a message shows of the first."""
        if number := int(np.count_nonzero(chosen)):
            if not self.number:
                index = int(np.argmax(chosen))
                values = ", ".join(str(int(column[index])) for column in shown)
                self.first = f"event {before + index:,}: {values}"
            self.number += number


def survey_file(path: Path, reading: ReadOptions, most: int = 0) -> FileSurvey:
    """Read a file of events once, in pieces if it is a camera's.

    Args:
        path: The file.
        reading: How columns are read; cameras' files define that themselves.
        most: Number of first events to return.

    Raises:
        DataError: if it is damaged, or of no known format.
        MissingPackageError: if a package that reads it is not installed.
    """
    try:
        with _opened(path, reading) as file:
            return _survey(file, most)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror or error})") from error


@contextmanager
def _opened(path: Path, reading: ReadOptions) -> Iterator[CameraFile]:
    if path.suffix.lower() in CAMERA_FORMATS:
        with open_camera_file(path) as file:
            yield file
        return
    events = read_file(path, reading, _ANY_SENSOR)
    y = np.zeros(events.t.size, np.int16) if events.y is None else events.y
    columns = {"t": events.t, "x": events.x, "y": y, "p": events.p}
    yield CameraFile(path.suffix.lower(), None, iter([columns]), np.zeros(1, np.int64))


def _survey(file: CameraFile, most: int) -> FileSurvey:
    falls, outside, others = _Count("t falls"), _Count("outside of the sensor"), _Count("a polarity above 1")
    events, on, last = 0, 0, np.int64(-(2**62))
    least, largest = np.full(3, 2**62), np.full(3, -(2**62))
    kept: list[Columns] = []
    for piece in file.pieces:
        t, x, y, p = (piece[name] for name in "txyp")
        if not t.size:
            continue
        falls.add(np.concatenate([[t[0] < last], t[1:] < t[:-1]]), events, t)
        others.add(p > 1, events, p)
        if file.size is not None:
            width, height = file.size
            outside.add((x < 0) | (x >= width) | (y < 0) | (y >= height), events, x, y)
        least = np.minimum(least, [t.min(), x.min(), y.min()])
        largest = np.maximum(largest, [t.max(), x.max(), y.max()])
        if events < most:
            kept.append({name: column[: most - events].copy() for name, column in piece.items()})
        events, on, last = events + t.size, on + int(np.count_nonzero(p)), t[-1]
    faults = [Fault(each.what, each.number, each.first) for each in (falls, outside, others) if each.number]
    span, columns, rows = ((int(low), int(high)) for low, high in zip(least, largest, strict=True))
    start = _joined(kept)
    return FileSurvey(
        file.form,
        file.size,
        events,
        int(file.others[0]),
        span if events else None,
        columns if events else None,
        rows if events else None,
        on / events if events else None,
        faults,
        start._replace(t=start.t - start.t.min()) if start.t.size else start,
    )


def _joined(pieces: list[Columns]) -> Events:
    """Return pieces as one recording, ON where the polarity is above 0."""
    if not pieces:
        return Events(np.empty(0, np.int64), np.empty(0, np.int16), np.empty(0, np.int16), np.empty(0, np.bool_))
    t, x, y, p = (np.concatenate([piece[name] for piece in pieces]) for name in "txyp")
    return Events(t, x, y, p > 0)
