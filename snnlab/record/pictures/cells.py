"""Events counted in the cells of an image, whatever the size of the sensor and the length of the window."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from snnlab.events import Events


class Cells(NamedTuple):
    """Equal parts of an image's axis.

    Args:
        number: How many.
        size: Of each, px or ms.
        start: Where the first begins, px or ms: pixel 0 begins at -0.5.
        stop: Where the axis ends, px or ms.
    """

    number: int
    size: float
    start: float
    stop: float

    @classmethod
    def of_pixels(cls, pixels: int, most: int, size: float = 0) -> Cells:
        """Return cells of whole pixels: of `size`, or of the least size with which there are at most `most`."""
        size = size or math.ceil(pixels / most)
        return cls(math.ceil(pixels / size), size, -0.5, pixels - 0.5)

    @classmethod
    def of_time(cls, duration_ms: float, number: int) -> Cells:
        """Return `number` parts of the window `[0, duration_ms)`."""
        return cls(number, duration_ms / number, 0.0, duration_ms)

    @property
    def end(self) -> float:
        """Where the last cell ends, which may be after the axis."""
        return self.start + self.number * self.size

    def place(self, values: np.ndarray) -> np.ndarray:
        """Return the cell of each value: pixels, or times in ms."""
        return np.minimum((values / self.size).astype(np.int64), self.number - 1)


class Window(NamedTuple):
    """The events of a recording that are in a window.

    Args:
        t: Time, ms.
        x: Column.
        y: Row, or None.
        on: Which events are ON; all, where the polarities are one.

    Shape:
        `[N]` each.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray | None
    on: np.ndarray

    @classmethod
    def of(cls, events: Events, duration_ms: float, polarities: int) -> Window:
        """Return the events of `[0, duration_ms)`."""
        t, x, y, p = events
        n = int(np.searchsorted(t, round(duration_ms * 1000)))
        return cls(t[:n] / 1000, x[:n], None if y is None else y[:n], p[:n] if polarities == 2 else np.ones(n, bool))

    def histograms(
        self, across: Cells, up: Cells, places: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Count the ON and the OFF events of each cell.

        Args:
            across: Columns of the image.
            up: Rows of the image.
            places: Where the events are along the one and the other, `[N]`.

        Shape:
            returns two `[up.number, across.number]`.
        """
        cells = up.place(places[1]) * across.number + across.place(places[0])
        size = up.number * across.number
        on, off = (np.bincount(cells[chosen], minlength=size) for chosen in (self.on, ~self.on))
        return on.reshape(up.number, -1), off.reshape(up.number, -1)
