"""Pixels that fire without a cause, found in the training recordings alone.

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

# Events that are looked at together.
_TOGETHER = 1 << 20


def hot_pixels(store: Store, indices: np.ndarray, settings: DataSettings) -> Tensor:
    """Return which pixels have more than `hot_pixels_hz` events a second, over all windows and both polarities.

        rate = events of the pixel in the windows / (windows * length of a window)

    A recording has one window from its start on, or one every `stride_ms`; where these overlap, an event counts in each
    that it is in.

    Args:
        store: The packed recordings.
        indices: Those that are for training.
        settings: The windows, the sensor, and the limit.

    Shape:
        indices: `[R]`; returns bool `[H * W]`.

    Raises:
        DataError: if all pixels that have events are hot.
    """
    assert settings.hot_pixels_hz is not None
    width, height, _ = settings.size
    counts, windows = np.zeros(width * height), _windows(store, indices, settings)
    for piece in _pieces(store, indices, windows, settings):
        with store.blamed(lambda piece=piece: np.array(piece.recordings)):
            counts += np.bincount(np.concatenate(piece.pixels), np.concatenate(piece.often), counts.size)
    hot = counts > settings.hot_pixels_hz * windows.sum() * settings.duration_ms / 1000
    if hot.any() and not (counts[~hot] > 0).any():
        raise DataError(
            "data.hot_pixels_hz",
            f"all {hot.sum():,} pixels with events have more than {settings.hot_pixels_hz:g} events a second",
            "raise it",
        )
    return torch.from_numpy(hot)


class _Piece(NamedTuple):
    """Events that are counted together: of which recordings, their pixels, in how many windows each is."""

    recordings: list[int]
    pixels: list[np.ndarray]
    often: list[np.ndarray]


def _pieces(store: Store, indices: np.ndarray, windows: np.ndarray, settings: DataSettings) -> Iterator[_Piece]:
    """Yield the events of recordings' windows, some recordings or a part of one at a time."""
    width, piece, held = settings.size[0], _Piece([], [], []), 0
    for index, many in zip(indices.tolist(), windows.tolist(), strict=True):
        events, end = store[index], (many - 1) * (settings.stride_us or 0) + settings.duration_us
        stop = int(np.searchsorted(events.t, end))
        for start in range(0, stop, _TOGETHER):
            part = events.take(slice(start, min(start + _TOGETHER, stop)))
            piece.recordings.append(index)
            piece.pixels.append(part.x.astype(np.int64) + (0 if part.y is None else part.y.astype(np.int64) * width))
            piece.often.append(_windows_of(part.t, many, settings))
            held += part.t.size
            if held >= _TOGETHER:
                yield piece
                piece, held = _Piece([], [], []), 0
    if held:
        yield piece


def _windows(store: Store, indices: np.ndarray, settings: DataSettings) -> np.ndarray:
    """Return how many windows each recording has, `[R]`."""
    if settings.stride_us is None:
        return np.ones(indices.size, np.int64)
    return window_counts(store.last_t[indices], settings.stride_us, settings.duration_us)


def _windows_of(t: np.ndarray, many: int, settings: DataSettings) -> np.ndarray:
    """Return in how many of a recording's windows each event is, `[N]`."""
    if settings.stride_us is None:
        return (t < settings.duration_us).astype(np.int64)
    last = np.minimum(t // settings.stride_us, many - 1)
    first = np.maximum(-((settings.duration_us - 1 - t) // settings.stride_us), 0)
    return np.maximum(last - first + 1, 0)
