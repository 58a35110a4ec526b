"""Simulated spike patterns of a sensor of any size; made on first use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from snnlab.data.holding_out import held_out
from snnlab.data.registry import DATASETS
from snnlab.errors import ConfigError
from snnlab.events import Events, SensorSize
from snnlab.events.spike_patterns import Motifs, Recipe, draw_motifs, draw_orders, simulate
from snnlab.intervals import NotNegative
from snnlab.seeds import Stream, generator

TEST_FRACTION = 0.2
# Which recordings are for testing is the same for everyone, whatever seeds a run has.
TEST_SEED = 0
# Keys of the simulation's own streams, apart from one another.
MOTIFS, ORDERS, RECORDINGS = range(3)


@DATASETS.register("spike_patterns")
class SpikePatterns:
    """Simulated spike patterns: every class has the same motifs, in an order of its own, so that only time tells.

    A fifth of each class is for testing.

    Args:
        sensor_size: [W, H, P], any: the channels have no neighbourhood.
        num_classes: Number of classes, at most 120.
        num_recordings: Number of recordings, training and test, at least two a class.
        simulation_seed: Seed of the simulation; recording k is made from (simulation_seed, k) alone.

    Raises:
        ConfigError: If a number is out of its range.

    Source: `snnlab.events.spike_patterns`.
    """

    label = "simulated_spike_patterns"
    groups = None
    class_names = None
    recipe = Recipe()

    def __init__(
        self, sensor_size: Sequence[int], num_classes: int, num_recordings: int = 2000, simulation_seed: NotNegative = 0
    ) -> None:
        if num_recordings < 2 * num_classes:
            raise ConfigError("num_recordings", f"must be {2 * num_classes} or more, two a class, got {num_recordings}")
        width, height, polarities = sensor_size
        self.sensor_size: SensorSize = (width, height, polarities)
        self.num_classes = num_classes
        self.simulation_seed = simulation_seed
        self.targets = np.arange(num_recordings) % num_classes
        self.notes: list[str] = []
        self._orders = draw_orders(num_classes, self._generator(ORDERS), self.recipe)

    @cached_property
    def _motifs(self) -> Motifs:
        width, height, polarities = self.sensor_size
        return draw_motifs(width * height * polarities, self._generator(MOTIFS), self.recipe)

    @property
    def split(self) -> np.ndarray:
        """A stratified fifth, chosen once and for all, is for testing."""
        test = held_out(self.targets, TEST_FRACTION, generator(TEST_SEED, Stream.TEST))
        return test.astype(np.uint8)

    def fingerprint(self) -> dict[str, Any]:
        """Return the recipe, the sizes and the seed."""
        return {
            "dataset": self.label,
            "recipe": vars(self.recipe),
            "seed": self.simulation_seed,
            "sensor_size": list(self.sensor_size),
            "num_classes": self.num_classes,
            "num_recordings": len(self),
            "test": [TEST_FRACTION, TEST_SEED, int(Stream.TEST)],
        }

    def __len__(self) -> int:
        return len(self.targets)

    def name(self, index: int) -> str:
        """Return which pattern it is."""
        return f"simulated pattern {index}"

    def read(self, index: int) -> Events:
        """Simulate one recording."""
        order = self._orders[self.targets[index]]
        return simulate(self._motifs, order, self.sensor_size, self._generator(RECORDINGS, index), self.recipe)

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.simulation_seed, spawn_key=key))
