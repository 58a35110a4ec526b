"""Disturbances of events, each of one strength, its level: what a sensor does that it did not do in the training.

They are changes of a recording like augmentations, with the same random numbers for the same seed, repetition and
recording, but their strength is given, not drawn.

Axes: N events.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import numpy as np

from snnlab.data.augmentation import Augmentation, Pipeline, PipelineStep, sort_by_time
from snnlab.data.events import Events
from snnlab.data.events.recording import polarity_dtype
from snnlab.registry import Registry

EVENT_DISTURBANCES = Registry("disturbance of events")


class EventDisturbance(Augmentation):
    """A disturbance of one level.

    Args:
        level: Its strength, in the unit of `unit`.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        duration_ms: Length of the window, ms.
    """

    levels: ClassVar[tuple[float, ...]] = ()
    unit: ClassVar[str] = ""

    def __init__(self, level: float, sensor_size: tuple[int, int, int], duration_ms: float) -> None:
        super().__init__()
        self.level, self.sensor_size, self.duration_ms = level, sensor_size, duration_ms

    @property
    def pipeline(self) -> Pipeline:
        """The disturbance as what a data module takes."""
        return Pipeline((PipelineStep(self, None),))

    @abstractmethod
    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the disturbed recording."""


@EVENT_DISTURBANCES.register("events_lost")
class EventsLost(EventDisturbance):
    """Each event is lost with the same probability: kept[k] ~ Bernoulli(1 - level)."""

    levels = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    unit = "probability"

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        return events.take(rng.random(events.t.size) >= self.level)


@EVENT_DISTURBANCES.register("events_added")
class EventsAdded(EventDisturbance):
    """Each pixel has background events over the whole window, a Poisson process of rate `level` (Hz)."""

    levels = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
    unit = "Hz per pixel"

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        width, height, _ = self.sensor_size
        number = int(rng.poisson(self.level * width * height * self.duration_ms / 1000))
        pixels = rng.integers(0, width * height, number)
        return self.with_events(events, pixels, rng)

    def with_events(self, events: Events, pixels: np.ndarray, rng: np.random.Generator) -> Events:
        """Return a recording with an event at each of these pixels, at random times, of random polarity."""
        width, _, polarities = self.sensor_size
        x, y = pixels % width, pixels // width
        p = rng.integers(0, max(polarities, 2), pixels.size).astype(polarity_dtype(polarities))
        t = rng.integers(0, max(round(1000 * self.duration_ms), 1), pixels.size)
        joined = Events(
            np.concatenate([events.t, t]),
            np.concatenate([events.x, x.astype(events.x.dtype)]),
            None if events.y is None else np.concatenate([events.y, y.astype(events.y.dtype)]),
            np.concatenate([events.p, p]),
        )
        return sort_by_time(joined)


@EVENT_DISTURBANCES.register("hot_pixels")
class HotPixels(EventsAdded):
    """A part `level` of the pixels, at least one, fires at 100 Hz all the time, a Poisson process for each.

    The pixels are drawn for each recording anew, so that the curve is one of many sensors.
    """

    levels = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)
    unit = "part of the pixels"
    rate_hz: ClassVar[float] = 100.0

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        width, height, _ = self.sensor_size
        hot = math.ceil(self.level * width * height)
        pixels = rng.choice(width * height, hot, replace=False)
        return self.with_events(
            events, np.repeat(pixels, rng.poisson(self.rate_hz * self.duration_ms / 1000, hot)), rng
        )


@EVENT_DISTURBANCES.register("clock_drift")
class ClockDrift(EventDisturbance):
    """The sensor's clock runs too fast or too slow, by another rate in each recording.

        t' = floor(t * exp(level * n)),   n ~ N(0, 1) of each recording

    Events that leave the window are lost, and later ones enter it.
    """

    levels = (0.0, 0.01, 0.03, 0.1, 0.2, 0.3)
    unit = "part of the rate"
    shifts_time = True

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        scale = math.exp(self.level * rng.standard_normal())
        return events._replace(t=(events.t * scale).astype(np.int64))
