"""A small source for the store's tests, in a module that reading processes can import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from snnlab.data.events import Events, SensorSize


class ToySource:
    """Random recordings; every fourth one is empty. Each reading is noted in `journal`."""

    label = "toy"

    def __init__(
        self,
        size: int = 37,
        sensor_size: SensorSize = (7, 5, 2),
        *,
        journal: Path | None = None,
        failing: tuple[int, BaseException] | None = None,
        grouped: bool = True,
        empty: bool = False,
        version: int = 1,
    ) -> None:
        self.size = size
        self.sensor_size = sensor_size
        self.targets = np.arange(size) % 3
        self.split = (np.arange(size) % 5 == 0).astype(np.uint8)
        self.groups = np.arange(size) // 4 if grouped else None
        self.journal = journal
        self.failing = failing
        self.empty = empty
        self.version = version

    def fingerprint(self) -> dict[str, Any]:
        return {"size": self.size, "sensor_size": list(self.sensor_size), "version": self.version}

    def __len__(self) -> int:
        return self.size

    def name(self, index: int) -> str:
        return f"toy/{index:03d}.bin"

    def read(self, index: int) -> Events:
        if self.journal is not None:
            with self.journal.open("a") as file:
                file.write(f"{index}\n")
        if self.failing is not None and index == self.failing[0]:
            raise self.failing[1]
        rng = np.random.default_rng([self.version, index])
        width, height, polarities = self.sensor_size
        count = 0 if self.empty or index % 4 == 3 else int(rng.integers(1, 200))
        t = np.sort(rng.integers(0, 1000, count))
        y = rng.integers(0, height, count) if height > 1 else None
        p = rng.random(count) < 0.5 if polarities < 3 else rng.integers(0, polarities, count).astype(np.uint8)
        return Events(t, rng.integers(0, width, count), y, p)
