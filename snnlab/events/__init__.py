"""Event recordings: what one is, the packed store, and the saccade simulator.

Frames need PyTorch and are imported on their own, from `snnlab.events.frames`.
"""

from __future__ import annotations

from snnlab.events.build import Source, open_or_build
from snnlab.events.recording import Events, SensorSize, check_events
from snnlab.events.store import Packed, Store

__all__ = ["Events", "Packed", "SensorSize", "Source", "Store", "check_events", "open_or_build"]
