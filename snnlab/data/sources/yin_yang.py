"""The Yin-Yang dataset: points of a disc in three areas, each point as the times of five spikes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from snnlab.data.dataset import DATASETS
from snnlab.data.events import Events, SensorSize
from snnlab.data.splits import TEST, TRAIN, VAL
from snnlab.errors import ConfigError
from snnlab.spec.interval import Count, NonNegative, above, at_least

NAMES = ("yin", "yang", "dot")
_RADIUS, _DOT = 0.5, 0.1  # of the disc, which is in the unit square, and of the two dots
_DOTS = ((0.75, 0.5), (0.25, 0.5))


def area_of(x: float, y: float) -> int:
    """Return the class of a point of the disc, an index of `NAMES`: 2 in a dot, else 1 in the half with the right dot.

    That half is the upper one with the half disc around the right dot left out, and the one around the left dot added.
    """
    right, left = (math.hypot(x - at[0], y - at[1]) for at in _DOTS)
    if right < _DOT or left < _DOT:
        return 2
    return int(left <= _RADIUS / 2 or (y > _RADIUS and right > _RADIUS / 2))


def draw_points(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw points of the published data set, and their classes, in its order.

    For each point, a class is drawn first, then points of the square until one is in this class.

    Shape:
        returns points in [0, 1], `[number, 2]`, and classes, int64 `[number]`.
    """
    rng = np.random.RandomState(seed)  # the published generator's; the numbers of a Generator are others
    points, classes = np.empty((number, 2)), np.empty(number, np.int64)
    for index in range(number):
        wanted = rng.randint(len(NAMES))
        while True:
            x, y = rng.rand(2)
            if math.hypot(x - _RADIUS, y - _RADIUS) <= _RADIUS and area_of(x, y) == wanted:
                break
        points[index], classes[index] = (x, y), wanted
    return points, classes


@DATASETS.register("yin_yang")
class YinYang:
    """Yin-Yang: points (x, y) of a disc in the classes yin, yang and dot, as spike times; one spike per channel.

        t_c = earliest_ms + v_c (latest_ms - earliest_ms),  v = (x, y, 1 - x, 1 - y);  t_4 = bias_ms

    Args:
        num_train: Number of points for training.
        num_val: Number of points for validation.
        num_test: Number of points for testing.
        seeds: Seeds of the points for training, validation and testing; those of the published arrays are 42, 41, 40.
        earliest_ms: Time of the spike of a value of 0, ms.
        latest_ms: Time of the spike of a value of 1, ms.
        bias_ms: Time of the fifth channel's spike, ms; null: there is none.

    Source: Kriener, Goeltz, Petrovici, The Yin-Yang dataset, NICE 2022; the points equal the published arrays.
    """

    label = "yin_yang"
    sensor_size: SensorSize = (5, 1, 1)
    num_classes = len(NAMES)
    class_names = NAMES
    groups = None

    def __init__(
        self,
        num_train: Count = 5000,
        num_val: Annotated[int, at_least(0)] = 1000,
        num_test: Annotated[int, at_least(0)] = 1000,
        seeds: Sequence[NonNegative] = (42, 41, 40),
        earliest_ms: Annotated[float, "ms", at_least(0)] = 0.0,
        latest_ms: Annotated[float, "ms", above(0)] = 30.25,
        bias_ms: Annotated[float, "ms", at_least(0)] | None = 20.0,
    ) -> None:
        if len(seeds) != len(set(seeds)) or len(seeds) != 3:
            raise ConfigError("seeds", f"expected three different seeds, [train, val, test], got {list(seeds)}")
        if latest_ms <= earliest_ms:
            raise ConfigError("latest_ms", f"must be more than earliest_ms, {earliest_ms:g} ms, got {latest_ms:g}")
        self.seeds, self.numbers = tuple(seeds), (num_train, num_val, num_test)
        self.earliest_ms, self.latest_ms, self.bias_ms = earliest_ms, latest_ms, bias_ms
        drawn = [draw_points(number, seed) for number, seed in zip(self.numbers, self.seeds, strict=True)]
        points, self.targets = (np.concatenate(part) for part in zip(*drawn, strict=True))
        self.values = np.concatenate([points, 1.0 - points], 1)
        self.split = np.repeat(np.array([TRAIN, VAL, TEST], np.uint8), self.numbers)
        self.notes: list[str] = []

    def fingerprint(self) -> dict[str, Any]:
        """Return the seeds, the numbers of points and the times."""
        return {
            "dataset": self.label,
            "seeds": list(self.seeds),
            "numbers": list(self.numbers),
            "times_ms": [self.earliest_ms, self.latest_ms, self.bias_ms],
        }

    def __len__(self) -> int:
        return len(self.targets)

    def name(self, index: int) -> str:
        """Return the point's index, as text."""
        return f"Yin-Yang point {index}"

    def read(self, index: int) -> Events:
        """Return the spikes of one point, in order of time."""
        times_ms = self.earliest_ms + self.values[index] * (self.latest_ms - self.earliest_ms)
        if self.bias_ms is not None:
            times_ms = np.append(times_ms, self.bias_ms)
        t = np.rint(1000 * times_ms).astype(np.int64)
        order = np.argsort(t, kind="stable")
        return Events(t[order], order.astype(np.int16), None, np.zeros(len(t), bool))
