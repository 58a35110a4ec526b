"""A plugin: reading a simulated recording sends this process a SIGTERM, as a cluster does."""

from __future__ import annotations

import os
import signal

from snnlab.data.events import Events
from snnlab.data.sources.simulated_classes import SpikePatterns

_read = SpikePatterns.read


def read(self: SpikePatterns, index: int) -> Events:
    if index == 5:
        os.kill(os.getpid(), signal.SIGTERM)
    return _read(self, index)


SpikePatterns.read = read  # type: ignore[method-assign]
