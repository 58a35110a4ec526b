"""Detection of hot pixels, which fire without a cause, in the training recordings alone.

Axes: N events, R recordings, M windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Store
from snnlab.data.windows import window_counts
from snnlab.errors import DataError

# Number of events that are counted together.
_CHUNK_EVENTS = 1 << 20


def hot_pixels(store: Store, indices: np.ndarray, settings: DataSettings) -> Tensor:
    """Return a mask of the pixels with more than `hot_pixels_hz` events per second over all windows and polarities.

        rate = events of the pixel in the windows / (number of windows * length of a window)

    A recording has one window from its start, or one every `stride_ms`; if these overlap, an event counts once in each
    window.

    Args:
        store: The packed recordings.
        indices: Indices of the training recordings.
        settings: The windows, the sensor, and the limit.

    Shape:
        indices: `[R]`; returns bool `[H * W]`.

    Raises:
        DataError: if all pixels that have events are hot.
    """
    assert settings.hot_pixels_hz is not None
    width, height, _ = settings.size
    counts, windows = np.zeros(width * height), _windows(store, indices, settings)
    for chunk in _chunks(store, indices, windows, settings):
        counts += np.bincount(np.concatenate(chunk.pixels), np.concatenate(chunk.weights), counts.size)
    hot = counts > settings.hot_pixels_hz * windows.sum() * settings.duration_ms / 1000
    if hot.any() and not (counts[~hot] > 0).any():
        raise DataError(
            "data.hot_pixels_hz",
            f"all {hot.sum():,} pixels with events have more than {settings.hot_pixels_hz:g} events per second",
            "set a higher limit",
        )
    return torch.from_numpy(hot)


class _Chunk(NamedTuple):
    """Events that are counted together: their pixels, and the number of windows of each event."""

    pixels: list[np.ndarray]
    weights: list[np.ndarray]


def _chunks(store: Store, indices: np.ndarray, windows: np.ndarray, settings: DataSettings) -> Iterator[_Chunk]:
    """Yield the events in the windows of recordings, of several recordings or a part of one at a time."""
    width, chunk, num_events = settings.size[0], _Chunk([], []), 0
    for index, num_windows in zip(indices.tolist(), windows.tolist(), strict=True):
        events, end = store[index], (num_windows - 1) * (settings.stride_us or 0) + settings.duration_us
        stop = int(np.searchsorted(events.t, end))
        for start in range(0, stop, _CHUNK_EVENTS):
            part = events.take(slice(start, min(start + _CHUNK_EVENTS, stop)))
            chunk.pixels.append(part.x.astype(np.int64) + (0 if part.y is None else part.y.astype(np.int64) * width))
            chunk.weights.append(_windows_of(part.t, num_windows, settings))
            num_events += part.t.size
            if num_events >= _CHUNK_EVENTS:
                yield chunk
                chunk, num_events = _Chunk([], []), 0
    if num_events:
        yield chunk


def _windows(store: Store, indices: np.ndarray, settings: DataSettings) -> np.ndarray:
    """Return the number of windows of each recording, `[R]`."""
    if settings.stride_us is None:
        return np.ones(indices.size, np.int64)
    return window_counts(store.last_t[indices], settings.stride_us, settings.duration_us)


def _windows_of(t: np.ndarray, num_windows: int, settings: DataSettings) -> np.ndarray:
    """Return the number of a recording's windows that hold each event, `[N]`."""
    if settings.stride_us is None:
        return (t < settings.duration_us).astype(np.int64)
    last = np.minimum(t // settings.stride_us, num_windows - 1)
    first = np.maximum(-((settings.duration_us - 1 - t) // settings.stride_us), 0)
    return np.maximum(last - first + 1, 0)
