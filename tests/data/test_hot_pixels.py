"""Hot pixels are those of the training recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.data.hot_pixels import hot_pixels
from snnlab.data.settings import DataSettings
from snnlab.errors import DataError
from snnlab.events import Events, Store, open_or_build


class _Source:
    """Recordings of 100 ms of a 4 x 3 sensor: pixel 5 at 1,000 Hz, of recording 2 pixel 7 too; others at 20 Hz."""

    label, sensor_size, groups = "hot", (4, 3, 2), None
    targets, split = np.zeros(3, np.int64), np.zeros(3, np.uint8)

    def fingerprint(self) -> dict[str, Any]:
        return {}

    def __len__(self) -> int:
        return 3

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> Events:
        pixel = np.concatenate([np.repeat(np.arange(12), 2), [5] * 100, [7] * 100 * (index == 2)])
        t = np.sort(np.random.default_rng(index).integers(0, 100_000, pixel.size))
        y, x = np.divmod(pixel.astype(np.int16), 4)
        return Events(t, x, y, pixel % 2 == 0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_or_build(_Source(), tmp_path)


def _hot(store: Store, indices: list[int], limit: float, duration: float = 100.0) -> list[int]:
    settings = DataSettings([4, 3, 2], 2, duration, num_bins=2, hot_pixels_hz=limit)
    hot = hot_pixels(store, np.array(indices), settings)
    assert hot.dtype == torch.bool
    assert hot.shape == (12,)
    return hot.nonzero().flatten().tolist()


def test_pixels_above_the_limit_are_hot_on_average_over_the_training_recordings(store: Store) -> None:
    assert _hot(store, [0, 1], 100) == [5]
    assert _hot(store, [0, 1, 2], 300) == [5, 7]
    assert _hot(store, [0, 1, 2], 400) == [5]
    assert _hot(store, [0, 1, 2], 1100) == []


def test_only_the_window_counts(store: Store) -> None:
    with pytest.raises(DataError, match="all 2 pixels with events"):  # of the few events of the first ms
        _hot(store, [0, 1], 100, duration=1.0)


def test_a_limit_below_every_rate_is_refused(store: Store) -> None:
    with pytest.raises(DataError, match=r"data\.hot_pixels_hz: all 12 pixels with events"):
        _hot(store, [0, 1], 1)
