"""The event-driven engine: a network fed with events as they arrive, on one core."""

from snnlab.streaming.event_stream import EventStream

__all__ = ["EventStream"]
