"""What an augmentation is, and the registry of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated

import numpy as np

from snnlab.errors import ConfigError
from snnlab.events import Events
from snnlab.intervals import Interval, between
from snnlab.registry import Registry
from snnlab.settings import checks_arguments

AUGMENTATIONS = Registry("augmentation")

# The probability of a change, and a part of a whole.
Chance = Annotated[float, between(0, 1, with_low=False)]
Part = Annotated[float, Interval(0, 1)]


@checks_arguments
class Augmentation(ABC):
    """A change of a recording that leaves it sorted by time and within the sensor.

    Args:
        p: Probability that it is done.
    """

    # What may make another class of a scene, if it is more than another view of it; a dataset's YAML says of what.
    alters: str | None = None
    # Whether events get other times, as a whole, so that labels over time would no longer be theirs.
    shifts_time: bool = False

    def __init__(self, p: Chance = 1.0) -> None:
        self.p = p

    def happens(self, rng: np.random.Generator) -> bool:
        """Return whether it is done this time."""
        return self.p == 1 or rng.random() < self.p

    def reach_us(self, until_us: float) -> float:
        """Return until when (us) it must see a recording, so that all is right before `until_us`; infinite for its end.

        What comes later is not read. Here: as far, or the whole recording where events get other times.
        """
        return math.inf if self.shifts_time else until_us

    @abstractmethod
    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the changed recording; the one that is given stays as it is.

        Args:
            events: The recording.
            rng: Where everything at random comes from.
        """


def in_order(events: Events) -> Events:
    """Return events sorted by time, those of one time in the order that they have."""
    if (events.t[1:] >= events.t[:-1]).all():
        return events
    return events.take(np.argsort(events.t, kind="stable"))


def within_pixel(events: Events, rng: np.random.Generator) -> np.ndarray:
    """Return where along an axis each event is within its pixel, uniform in [-1/2, 1/2)."""
    return rng.random(events.t.size, np.float32) - np.float32(0.5)


def placed(events: Events, x: np.ndarray, y: np.ndarray | float, width: int, height: int) -> Events:
    """Return events at other places, rounded to pixels; those outside the sensor are gone.

    Args:
        events: The events; where they have no rows, y is not looked at.
        x: Their new columns, pixels.
        y: Their new rows, pixels.
        width: The sensor's.
        height: The sensor's.
    """
    new_x = np.rint(x).astype(np.int64)
    inside = (new_x >= 0) & (new_x < width)
    if events.y is None:
        return events._replace(x=new_x.astype(events.x.dtype)).take(inside)
    new_y = np.rint(y).astype(np.int64)
    inside &= (new_y >= 0) & (new_y < height)
    return events._replace(x=new_x.astype(events.x.dtype), y=new_y.astype(events.y.dtype)).take(inside)


def require_range(name: str, given: Sequence[float], least: float, most: float) -> None:
    """Raise a ConfigError unless `least <= given[0] <= given[1] <= most`."""
    if len(given) != 2 or not least <= given[0] <= given[1] <= most:
        raise ConfigError(name, f"must be [from, to] with {least:g} <= from <= to <= {most:g}, got {list(given)}")
