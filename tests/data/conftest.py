"""Fixtures of the tests of data: tiny stores and the bytes of N-MNIST's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.data.events import Events, SensorSize, Store, open_or_build
from snnlab.data.splits import Split


class TinySource:
    """Synthetic: 20 random recordings of 0 to 60 events, some of them after the window; every fifth is for testing."""

    label = "tiny"
    groups = None
    notes: tuple[str, ...] = ()

    def __init__(self, sensor_size: SensorSize) -> None:
        self.sensor_size = sensor_size
        self.targets = np.arange(20) % 4
        self.split = (np.arange(20) % 5 == 0).astype(np.uint8)

    def fingerprint(self) -> dict[str, Any]:
        return {"sensor_size": list(self.sensor_size)}

    def __len__(self) -> int:
        return 20

    def name(self, index: int) -> str:
        return f"tiny {index}"

    def read(self, index: int) -> Events:
        rng = np.random.default_rng(index)
        width, height, _ = self.sensor_size
        count = 0 if index == 7 else int(rng.integers(1, 60))
        y = rng.integers(0, height, count).astype(np.int16) if height > 1 else None
        return Events(
            np.sort(rng.integers(0, 1200, count)),
            rng.integers(0, width, count).astype(np.int16),
            y,
            rng.random(count) < 0.5,
        )


@pytest.fixture(params=[(5, 4, 2), (5, 4, 1), (5, 1, 2), (5, 1, 1)], ids=str)
def tiny_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Return a packed store of `TinySource`, for each kind of sensor."""
    return open_or_build(TinySource(request.param), tmp_path / "stores")


@pytest.fixture
def tiny_split() -> Split:
    """Return a split of the tiny store."""
    places = np.arange(20)
    return Split(places[places % 5 > 1], places[places % 5 == 1], places[places % 5 == 0], "by hand")
