"""Sources that take long, take much, or die, in a module that reading processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from toy_source import ToySource

from snnlab.data.events import Events


class Slow(ToySource):
    """The same recordings, each after a pause in seconds; the same store."""

    def __init__(self, pause: float = 0.01, *, journal: Path | None = None) -> None:
        super().__init__(journal=journal)
        self.pause = pause

    def read(self, index: int) -> Events:
        time.sleep(self.pause)
        return super().read(index)


class Deadly(ToySource):
    """A source that kills the process that reads the recording of this number."""

    deadly = 20

    def read(self, index: int) -> Events:
        if index == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(index)


class Large(ToySource):
    """200 recordings of 100,000 events."""

    events = 100_000

    def __init__(self) -> None:
        super().__init__(200, (640, 480, 2))

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"events": self.events}

    def read(self, index: int) -> Events:
        number = np.arange(self.events) + index
        return Events(10 * number, (number % 640).astype(np.int16), (number % 480).astype(np.int16), number % 3 == 0)
