"""Hot pixels are those of the training recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Events, Store, open_or_build
from snnlab.data.hot_pixels import hot_pixels
from snnlab.errors import DataError

from ..refusals import assert_raises


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


def _hot(store: Store, indices: list[int], limit: float, duration: float = 100.0, **more: Any) -> list[int]:
    settings = DataSettings([4, 3, 2], 2, duration, num_bins=2, hot_pixels_hz=limit, **more)
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
    with assert_raises(DataError, "data.hot_pixels_hz", "all", 2):  # of the few events of the first ms
        _hot(store, [0, 1], 100, duration=1.0)


def test_a_limit_below_every_rate_is_refused(store: Store) -> None:
    with assert_raises(DataError, "data.hot_pixels_hz", "all", 12):
        _hot(store, [0, 1], 1)


class _Late(_Source):
    """Recordings of 1 s: pixel 5 fires at 2,000 Hz from 200 ms on, others at 20 Hz."""

    def read(self, index: int) -> Events:
        rng = np.random.default_rng(index)
        pixel = np.concatenate([np.repeat(np.arange(12), 20), np.full(1600, 5)])
        t = np.concatenate([rng.integers(0, 1_000_000, 240), rng.integers(200_000, 1_000_000, 1600)])
        order = np.argsort(t, kind="stable")
        y, x = np.divmod(pixel[order].astype(np.int16), 4)
        return Events(t[order], x, y, pixel[order] % 2 == 0)


@pytest.mark.parametrize("seed", range(5))
def test_rates_are_those_of_a_plain_loop_over_all_windows(seed: int, tmp_path: Path) -> None:
    store, rng = open_or_build(_Late(), tmp_path), np.random.default_rng(seed)
    duration_ms = float(rng.integers(1, 400))
    stride_ms = None if seed % 4 == 0 else float(rng.integers(1, 500))
    counts, windows = np.zeros(12), 0
    for index in (0, 2):
        t, x, y, _ = store[index]
        assert y is not None
        start = 0.0
        while start == 0 or (stride_ms is not None and int(t[-1]) >= start - (stride_ms - duration_ms) * 1000):
            inside = (t >= start) & (t < start + 1000 * duration_ms)
            np.add.at(counts, y[inside] * 4 + x[inside], 1)
            windows, start = windows + 1, start + 1000 * (stride_ms or np.inf)
    rates = counts / (windows * duration_ms / 1000)
    limit = float(np.sort(rates)[-2] + 0.5)
    assert _hot(store, [0, 2], limit, duration_ms, stride_ms=stride_ms) == np.flatnonzero(rates > limit).tolist()
