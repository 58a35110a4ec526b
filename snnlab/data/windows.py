"""Long recordings cut into windows, after they have been split.

Axes: M windows, R recordings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snnlab.data.events import Packed, Store


def window_counts(last_t: np.ndarray, stride_us: int, duration_us: int) -> np.ndarray:
    """Return how many windows it takes until every event is in one, or in a gap before one; at least 1.

    Args:
        last_t: Time of each recording's last event (us), -1 where there is none.
        stride_us: From the start of a window to that of the next (us).
        duration_us: Length of a window (us).

    Shape:
        last_t: `[R]`; returns int64 `[R]`.
    """
    return np.maximum(-(-(last_t + 1 - duration_us) // stride_us), 0) + 1


@dataclass(frozen=True)
class Windows:
    """Windows of a store's recordings, one recording after the other.

    Args:
        recording: Place of each window's recording in the store.
        start_us: When it begins (us).
        duration_us: How long it is (us).

    Shape:
        recording, start_us: int64 `[M]`.
    """

    recording: np.ndarray
    start_us: np.ndarray
    duration_us: int

    @classmethod
    def cut(cls, store: Store, stride_us: int, duration_us: int) -> Windows:
        """Begin a window at 0 and every `stride_us` as long as events follow; a recording has one at least.

        Args:
            store: The packed recordings.
            stride_us: From the start of a window to that of the next (us).
            duration_us: Length of a window (us).
        """
        many = window_counts(store.last_t, stride_us, duration_us)
        recording = np.repeat(np.arange(len(store)), many)
        number = np.arange(recording.size) - np.repeat(np.cumsum(many) - many, many)
        return cls(recording, number * stride_us, duration_us)

    def of(self, recordings: np.ndarray) -> np.ndarray:
        """Return the windows of some recordings, ascending."""
        return np.flatnonzero(np.isin(self.recording, recordings))

    def gather(self, store: Store, windows: np.ndarray) -> Packed:
        """Copy the events of some windows into one block, their times from each window's start on.

        Args:
            store: The packed recordings.
            windows: Which.

        Shape:
            windows: `[B]`.
        """
        return store.gather(self.recording[windows], self.start_us[windows], self.duration_us)
