"""What a file of events holds: its sensor, duration, number of events and what is wrong with them.

Axes: N events.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.data.camera_files import CAMERA_FORMATS, CameraFile, read_camera_file
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


def survey_file(path: Path, reading: ReadOptions, most: int = 0) -> FileSurvey:
    """Read a file of events.

    Args:
        path: The file.
        reading: How columns are read; cameras' files define that themselves.
        most: Number of first events to return.

    Raises:
        DataError: if it is damaged, or of no known format.
        MissingPackageError: if a package that reads it is not installed.
    """
    try:
        file = read_camera_file(path) if path.suffix.lower() in CAMERA_FORMATS else _read_other(path, reading)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror or error})") from error
    t, x, y, p = (file.columns[name] for name in "txyp")
    wrong: list[tuple[str, np.ndarray, tuple[np.ndarray, ...]]] = [
        ("t falls", np.concatenate([[False], t[1:] < t[:-1]])[: t.size], (t,))
    ]
    if file.size is not None:
        width, height = file.size
        wrong.append(("outside of the sensor", (x < 0) | (x >= width) | (y < 0) | (y >= height), (x, y)))
    wrong.append(("a polarity above 1", p > 1, (p,)))
    span, columns, rows = ((int(each.min()), int(each.max())) if t.size else None for each in (t, x, y))
    start = Events(t[:most], x[:most], y[:most], p[:most] > 0)
    return FileSurvey(
        file.form,
        file.size,
        t.size,
        file.others,
        span,
        columns,
        rows,
        np.count_nonzero(p) / t.size if t.size else None,
        [_fault(what, chosen, shown) for what, chosen, shown in wrong if chosen.any()],
        start._replace(t=start.t - start.t.min()) if start.t.size else start,
    )


def _read_other(path: Path, reading: ReadOptions) -> CameraFile:
    t, x, y, p = read_file(path, reading, _ANY_SENSOR)
    columns = {"t": t, "x": x, "y": np.zeros(t.size, np.int16) if y is None else y, "p": p}
    return CameraFile(path.suffix.lower(), None, columns, 0)


def _fault(what: str, chosen: np.ndarray, shown: tuple[np.ndarray, ...]) -> Fault:
    """Return the number of the chosen events, and what some columns hold of the first."""
    index = int(np.argmax(chosen))
    values = ", ".join(str(int(column[index])) for column in shown)
    return Fault(what, int(np.count_nonzero(chosen)), f"event {index:,}: {values}")
