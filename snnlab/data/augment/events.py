"""Events that go, come, or change their polarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from snnlab.data.augment.base import AUGMENTATIONS, Augmentation, Chance, Part, in_order
from snnlab.errors import ConfigError
from snnlab.events import Events
from snnlab.events.recording import polarity_dtype
from snnlab.intervals import above


@AUGMENTATIONS.register("flip_polarity")
class FlipPolarity(Augmentation):
    """Let ON and OFF change places.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        p: Probability that it is done.

    Raises:
        ConfigError: if the sensor has not two polarities.
    """

    def __init__(self, sensor_size: Sequence[int], p: Chance = 0.5) -> None:
        super().__init__(p)
        if sensor_size[2] != 2:
            raise ConfigError("", f"flip_polarity: the sensor has {sensor_size[2]} polarities, and not 2")

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        return events._replace(p=~events.p)


@AUGMENTATIONS.register("drop_events")
class DropEvents(Augmentation):
    """Let each event be gone with one probability, drawn for the recording evenly from 0 to `most`.

    Args:
        most: Largest part that goes.
        p: Probability that it is done.

    Raises:
        ConfigError: if a number is out of its range.

    Source: Gu et al., EventDrop, IJCAI 2021.
    """

    def __init__(self, most: Part, p: Chance = 1.0) -> None:
        super().__init__(p)
        self.most = most

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        return events.take(rng.random(events.t.size) >= rng.uniform(0, self.most))


@AUGMENTATIONS.register("drop_area")
class DropArea(Augmentation):
    """Let the events of a rectangle be gone, its sides parts of the sensor's drawn evenly from 0 to `most`.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        most: Largest part of a side.
        p: Probability that it is done.

    Raises:
        ConfigError: if a number is out of its range.

    Source: Gu et al., EventDrop, IJCAI 2021.
    """

    def __init__(self, sensor_size: Sequence[int], most: Part, p: Chance = 1.0) -> None:
        super().__init__(p)
        self.most = most
        self.width, self.height, _ = sensor_size

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        inside = _within(events.x, self.width, self.most, rng)
        if events.y is not None:
            inside &= _within(events.y, self.height, self.most, rng)
        return events.take(~inside)


@AUGMENTATIONS.register("drop_time")
class DropTime(Augmentation):
    """Let the events of an interval be gone, its length a part of the recording's drawn evenly from 0 to `most`.

    Args:
        most: Largest part of the time until the last event.
        p: Probability that it is done.

    Raises:
        ConfigError: if a number is out of its range.

    Source: Gu et al., EventDrop, IJCAI 2021.
    """

    def __init__(self, most: Part, p: Chance = 1.0) -> None:
        super().__init__(p)
        self.most = most

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        if not events.t.size:
            return events
        return events.take(~_within(events.t, int(events.t[-1]) + 1, self.most, rng))


@AUGMENTATIONS.register("noise")
class Noise(Augmentation):
    """Add events at random places and times, as many as a Poisson process of this rate has until the last event.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        rate: Events of the whole sensor per ms.
        p: Probability that it is done.

    Raises:
        ConfigError: if a number is out of its range.
    """

    def __init__(self, sensor_size: Sequence[int], rate: Annotated[float, "1/ms", above(0)], p: Chance = 1.0) -> None:
        super().__init__(p)
        self.width, self.height, self.polarities = sensor_size
        self.rate = rate

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        end = int(events.t[-1]) + 1 if events.t.size else 0
        number = int(rng.poisson(self.rate * end / 1000))
        x, y = rng.integers(0, self.width, number), rng.integers(0, self.height, number)
        p = rng.integers(0, max(self.polarities, 2), number).astype(polarity_dtype(self.polarities))
        joined = Events(
            np.concatenate([events.t, rng.integers(0, max(end, 1), number)]),
            np.concatenate([events.x, x.astype(events.x.dtype)]),
            None if events.y is None else np.concatenate([events.y, y.astype(events.y.dtype)]),
            np.concatenate([events.p, p]),
        )
        return in_order(joined)


def _within(values: np.ndarray, size: int, most: float, rng: np.random.Generator) -> np.ndarray:
    """Return which values are in an interval that lies at random within `[0, size)`."""
    length = rng.uniform(0, most) * size
    start = rng.uniform(0, size - length)
    return (values >= start) & (values < start + length)
