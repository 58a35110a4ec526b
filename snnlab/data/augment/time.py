"""Changes of when events are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from snnlab.data.augment.base import AUGMENTATIONS, Augmentation, Chance, in_order, require_range
from snnlab.events import Events
from snnlab.intervals import above

# Standard deviations of a jitter beyond which no event is looked for: one of 10^15 moves further.
JITTER_REACH = 8


@AUGMENTATIONS.register("time_shift")
class TimeShift(Augmentation):
    """Let a recording begin later or earlier; events before time 0 are gone.

        t' = t + d,   |d| <= most

    Args:
        most: Largest |d|, ms.
        p: Probability that it is done.

    Raises:
        ValueError: if a number is out of its range.
    """

    shifts_time = True

    def __init__(self, most: Annotated[float, "ms", above(0)], p: Chance = 1.0) -> None:
        super().__init__(p)
        self.most = most

    def reach_us(self, until_us: float) -> float:
        return until_us + 1000 * self.most + 1

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        t = events.t + round(1000 * rng.uniform(-self.most, self.most))
        return events._replace(t=t).take(slice(int(np.searchsorted(t, 0)), None))


@AUGMENTATIONS.register("time_scale")
class TimeScale(Augmentation):
    """Let a recording run slower or faster.

        t' = floor(s t)

    Args:
        scale: [from, to] of s.
        p: Probability that it is done.

    Raises:
        ValueError: if a number is out of its range.
    """

    shifts_time = True

    def __init__(self, scale: Sequence[float], p: Chance = 1.0) -> None:
        super().__init__(p)
        require_range("scale", scale, 0.1, 10)
        self.least, self.most = scale

    def reach_us(self, until_us: float) -> float:
        return until_us / min(self.least, 1.0) + 1

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        return events._replace(t=(events.t * rng.uniform(self.least, self.most)).astype(np.int64))


@AUGMENTATIONS.register("time_jitter")
class TimeJitter(Augmentation):
    """Move every event a little in time; those that would be before time 0 are at 0.

        t' = max(0, t + std e),   e ~ N(0, 1)

    Args:
        std: Standard deviation, ms.
        p: Probability that it is done.

    Raises:
        ValueError: if a number is out of its range.
    """

    def __init__(self, std: Annotated[float, "ms", above(0)], p: Chance = 1.0) -> None:
        super().__init__(p)
        self.std = std

    def reach_us(self, until_us: float) -> float:
        return until_us + JITTER_REACH * 1000 * self.std

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        moved = np.rint(rng.normal(0.0, 1000 * self.std, events.t.size)).astype(np.int64)
        return in_order(events._replace(t=np.maximum(events.t + moved, 0)))


@AUGMENTATIONS.register("reverse")
class Reverse(Augmentation):
    """Let a recording run backwards: what became brighter becomes darker.

        t' = t_last - t,   ON and OFF change places

    Args:
        p: Probability that it is done.
    """

    alters = "reverse"
    shifts_time = True

    def __init__(self, p: Chance = 0.5) -> None:
        super().__init__(p)

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        if not events.t.size:
            return events
        back = events.take(slice(None, None, -1))
        p = ~back.p if back.p.dtype == np.bool_ else back.p
        return back._replace(t=events.t[-1] - back.t, p=p)
