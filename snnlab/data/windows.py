"""Cuts long recordings into windows, after the split.

Axes: M windows, R recordings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snnlab.data.events import Packed, Store


def window_counts(last_t: np.ndarray, stride_us: int, duration_us: int) -> np.ndarray:
    """Return the number of windows until every event is in a window or in a gap before one; at least 1.

    Args:
        last_t: Time of each recording's last event (us), -1 if it has none.
        stride_us: Distance between the starts of two windows (us).
        duration_us: Length of a window (us).

    Shape:
        last_t: `[R]`; returns int64 `[R]`.
    """
    return np.maximum(-(-(last_t + 1 - duration_us) // stride_us), 0) + 1


@dataclass(frozen=True)
class Windows:
    """Windows of a store's recordings, one recording after the other.

    Args:
        recording: Index of each window's recording in the store.
        start_us: Start of each window (us).
        duration_us: Length of the windows (us).

    Shape:
        recording, start_us: int64 `[M]`.
    """

    recording: np.ndarray
    start_us: np.ndarray
    duration_us: int

    @classmethod
    def cut(cls, store: Store, stride_us: int, duration_us: int) -> Windows:
        """Start a window at 0 and every `stride_us` until all events are covered; each recording has at least one.

        Args:
            store: The packed recordings.
            stride_us: Distance between the starts of two windows (us).
            duration_us: Length of a window (us).
        """
        counts = window_counts(store.last_t, stride_us, duration_us)
        recording = np.repeat(np.arange(len(store)), counts)
        number = np.arange(recording.size) - np.repeat(np.cumsum(counts) - counts, counts)
        return cls(recording, number * stride_us, duration_us)

    def of(self, recordings: np.ndarray) -> np.ndarray:
        """Return the indices of the windows of some recordings, ascending."""
        return np.flatnonzero(np.isin(self.recording, recordings))

    def gather(self, store: Store, windows: np.ndarray) -> Packed:
        """Copy the events of some windows into one block, with times from each window's start.

        Args:
            store: The packed recordings.
            windows: Indices of the windows.

        Shape:
            windows: `[B]`.
        """
        return store.gather(self.recording[windows], self.start_us[windows], self.duration_us)
