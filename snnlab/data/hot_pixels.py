"""Pixels that fire without a cause, found in the training recordings alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snnlab.data.settings import DataSettings
from snnlab.errors import DataError
from snnlab.events import Store

# Recordings that are looked at together.
_TOGETHER = 64


def hot_pixels(store: Store, indices: np.ndarray, settings: DataSettings) -> Tensor:
    """Return which pixels have more than `hot_pixels_hz` events a second, over all recordings and both polarities.

        rate = events of the pixel in the windows / (recordings * window)

    Args:
        store: The packed recordings.
        indices: Those that are for training.
        settings: The window, the sensor, and the limit.

    Shape:
        indices: `[R]`; returns bool `[H * W]`.

    Raises:
        DataError: if all pixels that have events are hot.
    """
    assert settings.hot_pixels_hz is not None
    width, height, _ = settings.size
    counts = np.zeros(width * height, np.int64)
    for start in range(0, indices.size, _TOGETHER):
        packed = store.gather(indices[start : start + _TOGETHER])
        pixel = packed.x.astype(np.int64)
        if packed.y is not None:
            pixel += packed.y.astype(np.int64) * width
        counts += np.bincount(pixel[packed.t < settings.duration_us], minlength=counts.size)
    hot = counts > settings.hot_pixels_hz * indices.size * settings.duration_ms / 1000
    if hot.any() and not (counts[~hot] > 0).any():
        raise DataError(
            f"data.hot_pixels_hz: all {hot.sum():,} pixels with events have more than {settings.hot_pixels_hz:g} events"
            " a second; raise it"
        )
    return torch.from_numpy(hot)
