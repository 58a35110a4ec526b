"""Event recordings, the packed store, and the saccade simulator.

Frames need PyTorch and are imported separately, from `snnlab.data.events.frames`.
"""

from __future__ import annotations

from snnlab.data.events.packing import Source, open_or_build
from snnlab.data.events.recording import Events, SensorSize, check_events
from snnlab.data.events.store import Packed, Store

__all__ = ["Events", "Packed", "SensorSize", "Source", "Store", "check_events", "open_or_build"]
