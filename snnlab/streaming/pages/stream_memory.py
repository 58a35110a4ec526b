"""What a stream shows on its page, in memory that it shares with the process of the page's server.

The stream writes, the server reads, and neither waits: a number may be read while it is replaced, which a page of
30 pictures a second survives. Each ring has its numbers at their count modulo its length.
"""

from __future__ import annotations

import mmap
from dataclasses import asdict, dataclass
from math import ceil, prod
from typing import Any, Self

import numpy as np

# Reasons for the end; 0 while it runs.
RUNNING, SOURCE_CLOSED, ANSWERED, STOPPED, FAILED = range(5)
# Places in `state`: how many answers and times there are, why the stream has ended, how often a page asked for data.
ANSWERS, TIMES, ENDED, REQUESTS, _NUM_STATES = range(5)
_MOST_COLUMNS, _MOST_PIXELS = 1000, 320
_NUM_ANSWERS, _NUM_TIMES = 1024, 4096
# How long an event can be seen, ms.
_SEEN_MS = 1000
NEVER = -(1 << 60)


@dataclass(frozen=True)
class StreamLayout:
    """What the page of a stream shows; it names the sizes of the shared memory.

    Attributes:
        stream: A name that no other stream has.
        run, source: How a user names them.
        dt: Length of a step, ms.
        window_ms: Length of what the page shows, ms.
        sensor: Height, width, polarities.
        layers: Name, shape (C, H, W), first row in a column, and rows, of each layer that spikes.
        raster_size, raster_head, columns, steps_per_column: Of the raster; see `snnlab.streaming.spike_raster`.
        numbers: Names of the whole numbers that are shown.
        outputs: Names of the classes, or of the values.
        has_values: Whether the outputs are values rather than classes.
        speed: How much faster than real time a recording plays; None: as fast as it comes.
    """

    stream: str
    run: str
    source: str
    dt: float
    window_ms: float
    sensor: tuple[int, int, int]
    layers: list[tuple[str, tuple[int, ...], int, int]]
    raster_size: int
    raster_head: int
    columns: int
    steps_per_column: int
    numbers: list[str]
    outputs: list[str]
    has_values: bool = False
    speed: float | None = None

    @property
    def pixel(self) -> int:
        """How many rows and columns of the sensor are one pixel of the picture."""
        return max(1, ceil(max(self.sensor[:2]) / _MOST_PIXELS))

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width of the picture."""
        height, width, _ = self.sensor
        return -(-height // self.pixel), -(-width // self.pixel)

    def as_json(self) -> dict[str, Any]:
        """Return the fields and the picture's size."""
        return {**asdict(self), "picture": self.picture}


def columns_of_window(window_ms: float, dt: float) -> tuple[int, int]:
    """Return the number of columns of a raster, and the steps of each."""
    steps = ceil(window_ms / dt)
    per_column = ceil(steps / _MOST_COLUMNS)
    return ceil(steps / per_column) + 1, per_column


class StreamMemory:
    """The shared memory as arrays.

    Args:
        layout: What is shown.
        descriptor: The file that both processes map; -1: memory of this process only.

    Attributes:
        state: See `ANSWERS`.
        numbers: Those of `StreamLayout.numbers`.
        picture: Of each pixel, twice the time of its last event, us, plus its polarity, `[H * W]`.
        raster: See `snnlab.streaming.spike_raster`.
        answers: Times, ms, and outputs, `[N, 1 + K]`.
        times: Ends of steps, ms, and the time that each took, us, `[N, 2]`.
    """

    def __init__(self, layout: StreamLayout, descriptor: int = -1) -> None:
        self.layout = layout
        self._map = mmap.mmap(descriptor, self.size_of(layout))
        place, self._arrays = 0, {}
        for name, kind, shape in self._parts(layout):
            array = np.frombuffer(self._map, kind, prod(shape), place).reshape(shape)
            self._arrays[name] = array
            place += array.nbytes
        self.state, self.numbers, self.picture = (self._arrays[name] for name in ("state", "numbers", "picture"))
        self.raster, self.answers, self.times = (self._arrays[name] for name in ("raster", "answers", "times"))

    @staticmethod
    def _parts(layout: StreamLayout) -> list[tuple[str, np.dtype, tuple[int, ...]]]:
        whole, number = np.dtype(np.int64), np.dtype(np.float64)
        return [
            ("state", whole, (_NUM_STATES,)),
            ("numbers", whole, (len(layout.numbers),)),
            ("picture", whole, (prod(layout.picture),)),
            ("raster", whole, (layout.raster_size,)),
            ("answers", number, (_NUM_ANSWERS, 1 + len(layout.outputs))),
            ("times", number, (_NUM_TIMES, 2)),
        ]

    @classmethod
    def size_of(cls, layout: StreamLayout) -> int:
        """Return the size of the memory, bytes."""
        return sum(kind.itemsize * prod(shape) for _, kind, shape in cls._parts(layout))

    def clear(self) -> Self:
        """Set all to nothing."""
        for array in self._arrays.values():
            array[...] = 0
        self.picture[:] = NEVER
        return self

    def add_answer(self, t_ms: float, outputs: np.ndarray) -> None:
        """Add the outputs at a time."""
        count = int(self.state[ANSWERS])
        row = self.answers[count % _NUM_ANSWERS]
        row[0], row[1:] = t_ms, outputs
        self.state[ANSWERS] = count + 1

    def add_time(self, t_ms: float, us: float) -> None:
        """Add the time that a step took."""
        count = int(self.state[TIMES])
        self.times[count % _NUM_TIMES] = t_ms, us
        self.state[TIMES] = count + 1


@dataclass(frozen=True)
class Place:
    """How far a page has read a stream: columns of the raster, answers, times of steps, and the picture's time, us."""

    stream: str = ""
    column: int = 0
    answers: int = 0
    times: int = 0
    picture_us: int = NEVER

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the place that a page sent; the beginning for anything else."""
        stream, *numbers = text.split(".")
        try:
            return cls(stream, *map(int, numbers))
        except (TypeError, ValueError):
            return cls()

    def __str__(self) -> str:
        """Return the place for a page."""
        return f"{self.stream}.{self.column}.{self.answers}.{self.times}.{self.picture_us}"


def changes(memory: StreamMemory, place: Place) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the values and arrays that a page needs after a place; those that were overwritten since are left out.

    Times are in ms before `now_ms`, so that 32 bits are enough.

    Args:
        memory: The memory.
        place: How far the page has read; that of another stream is the beginning.
    """
    layout, state = memory.layout, memory.state.copy()
    numbers = dict(zip(layout.numbers, memory.numbers.tolist(), strict=True))
    begins = place.stream != layout.stream
    place = Place(layout.stream) if begins else place
    column = int(memory.raster[3])
    now_ms = max(numbers["latest"] / 1e3, numbers["step"] * layout.dt)
    first = max(place.column, column - layout.columns + 1, 0)
    arrays = {}
    if layout.layers:
        columns = memory.raster[layout.raster_head :].reshape(layout.columns, -1)[
            np.arange(first, column) % layout.columns
        ]
        for k, (_, _, at, rows) in enumerate(layout.layers):
            arrays[f"raster{k}"] = np.minimum(columns[:, at : at + rows], 255).astype(np.uint8)
    answers = _since(memory.answers, place.answers, int(state[ANSWERS]))
    times = _since(memory.times, place.times, int(state[TIMES]))
    arrays |= {"answers_ms": answers[:, 0] - now_ms, "answers": answers[:, 1:]}
    arrays |= {"times_ms": times[:, 0] - now_ms, "times_us": times[:, 1]}
    pixels, newest_us = _pixels(memory.picture.copy(), place.picture_us, now_ms)
    following = Place(layout.stream, column, int(state[ANSWERS]), int(state[TIMES]), newest_us)
    values = {"numbers": numbers, "ended": int(state[ENDED]), "now_ms": now_ms, "first_column": first}
    values |= {"next": str(following), "layout": layout.as_json() if begins else None}
    floats = {name: array.astype(np.float32) if array.dtype == np.float64 else array for name, array in arrays.items()}
    return values, floats | pixels


def _since(ring: np.ndarray, first: int, end: int) -> np.ndarray:
    """Return the rows of a ring from one count to another, without those that may be overwritten."""
    first = max(first, end - len(ring) + 1, 0)
    return ring[np.arange(first, end) % len(ring)]


def _pixels(picture: np.ndarray, after_us: int, now_ms: float) -> tuple[dict[str, np.ndarray], int]:
    """Return the pixels with events since a time, with their times and polarities, and the latest time, us."""
    oldest_us = max(after_us, round((now_ms - _SEEN_MS) * 1e3))
    changed = np.flatnonzero(picture >= 2 * oldest_us)
    found = picture[changed]
    arrays = {
        "pixels": changed.astype(np.uint32),
        "pixels_ms": ((found >> 1) / 1e3 - now_ms).astype(np.float32),
        "polarities": (found & 1).astype(np.uint8),
    }
    return arrays, int(found.max() >> 1) if found.size else after_us
