"""Simulated classes of spike trains, which differ in time only: orders of motifs, and times of bursts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np

from snnlab.data.dataset import DATASETS
from snnlab.data.events import Events, SensorSize
from snnlab.data.events.simulators import Motifs, Recipe, draw_motifs, draw_orders, simulate_spike_patterns
from snnlab.data.splits import draw_test_part
from snnlab.errors import ConfigError
from snnlab.spec.interval import NonNegative, at_least

_TEST_FRACTION = 0.2


class SimulatedClasses(ABC):
    """Simulated recordings, equally many of each class; a fixed stratified fifth is for testing.

    Args:
        sensor_size: [W, H, P].
        num_classes: Number of classes.
        num_recordings: Number of recordings, training and test, at least two per class.
        simulation_seed: Seed of the simulation; recording k depends on (simulation_seed, k) alone.
    """

    label: ClassVar[str]
    recipe: ClassVar[Any]
    groups = None
    class_names = None

    def __init__(
        self, sensor_size: Sequence[int], num_classes: int, num_recordings: int, simulation_seed: NonNegative
    ) -> None:
        if num_recordings < 2 * num_classes:
            raise ConfigError(
                "num_recordings", f"must be {2 * num_classes} or more, two per class, got {num_recordings}"
            )
        width, height, polarities = sensor_size
        self.sensor_size: SensorSize = (width, height, polarities)
        self.num_classes, self.simulation_seed = num_classes, simulation_seed
        self.targets = np.arange(num_recordings) % num_classes
        self.notes: list[str] = []

    @property
    def split(self) -> np.ndarray:
        """The part of each recording: 1 for testing, else 0."""
        return draw_test_part(self.targets, _TEST_FRACTION)

    def fingerprint(self) -> dict[str, Any]:
        """Return the recipe, the number of classes and the seed."""
        return {
            "dataset": self.label,
            "recipe": vars(self.recipe),
            "seed": self.simulation_seed,
            "num_classes": self.num_classes,
        }

    def __len__(self) -> int:
        return len(self.targets)

    def name(self, index: int) -> str:
        """Return the index of the recording, as text."""
        return f"{self.label.replace('_', ' ')}, recording {index}"

    @abstractmethod
    def read(self, index: int) -> Events:
        """Simulate one recording."""

    def generator(self, *key: int) -> np.random.Generator:
        """Return the random numbers of a part of the simulation."""
        return np.random.default_rng(np.random.SeedSequence(self.simulation_seed, spawn_key=key))


# Keys of the random streams of spike patterns.
_MOTIFS, _ORDERS, _PATTERNS = range(3)


@DATASETS.register("spike_patterns")
class SpikePatterns(SimulatedClasses):
    """Simulated spike patterns: all classes have the same motifs, each class in its own order, so only time differs.

    A fifth of each class is for testing.

    Args:
        sensor_size: [W, H, P], any: channels are not spatially related.
        num_classes: Number of classes, at most 120.

    Source: `snnlab.data.events.simulators`.
    """

    label = "simulated_spike_patterns"
    recipe = Recipe()

    def __init__(
        self, sensor_size: Sequence[int], num_classes: int, num_recordings: int = 2000, simulation_seed: NonNegative = 0
    ) -> None:
        super().__init__(sensor_size, num_classes, num_recordings, simulation_seed)
        self._orders = draw_orders(num_classes, self.generator(_ORDERS), self.recipe)

    @cached_property
    def _motifs(self) -> Motifs:
        width, height, polarities = self.sensor_size
        return draw_motifs(width * height * polarities, self.generator(_MOTIFS), self.recipe)

    def read(self, index: int) -> Events:
        """Simulate one recording."""
        order = self._orders[self.targets[index]]
        return simulate_spike_patterns(
            self._motifs, order, self.sensor_size, self.generator(_PATTERNS, index), self.recipe
        )


@dataclass(frozen=True)
class BurstRecipe:
    """Settings of the bursts; the defaults are those of the published code, whose steps are taken as 1 ms.

    Args:
        steps: Steps of a recording, each 1 ms.
        first: Earliest time of a burst, as a fraction of the recording.
        span: Time from the earliest to the latest burst, as a fraction of the recording.
        width: Standard deviation of a burst, steps.
        low: Probability of a spike at a step far from the burst.
        high: Probability of a spike at the middle of the burst.
    """

    steps: int = 200
    first: float = 0.1
    span: float = 0.75
    width: float = 10 * 0.1**0.5
    low: float = 0.05
    high: float = 0.8

    def draw_times(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Draw random times of bursts, steps, `[number]`."""
        return self.steps * (self.first + self.span * rng.random(number))


class BurstClasses(NamedTuple):
    """The channels whose bursts have a fixed time in each class, and these times, steps; both `[classes, fixed]`."""

    channels: np.ndarray
    times: np.ndarray


# Keys of the random streams of bursts.
_CLASSES, _SEQUENCES = range(2)


@DATASETS.register("burst_sequences")
class BurstSequences(SimulatedClasses):
    """Burst sequences: every channel bursts once; in each class, some channels do so at times that tell the class.

        P(spike of channel c at step t) = low + (high - low) exp(-(t - m_c)^2 / (2 width^2))

    m_c is fixed for the few channels of a class, and random in each recording for all others. The number of spikes of a
    channel tells nothing. A fifth of each class is for testing.

    Args:
        sensor_size: [W, 1, 1], W channels.
        fixed_channels: Number of channels with a fixed time in a class.

    Source: Baronig et al., Nature Communications 16, 2025; sizes, widths and probabilities from their code.
    """

    label = "simulated_burst_sequences"
    recipe = BurstRecipe()

    def __init__(
        self,
        sensor_size: Sequence[int],
        num_classes: int,
        num_recordings: int = 8000,
        fixed_channels: Annotated[int, at_least(1)] = 3,
        simulation_seed: NonNegative = 0,
    ) -> None:
        super().__init__(sensor_size, num_classes, num_recordings, simulation_seed)
        width, height, polarities = sensor_size
        if (height, polarities) != (1, 1):
            raise ConfigError("sensor_size", f"must be [W, 1, 1], W channels, got {list(sensor_size)}")
        if fixed_channels > width:
            raise ConfigError("fixed_channels", f"must be at most the {width} channels, got {fixed_channels}")
        self.fixed_channels = fixed_channels

    @cached_property
    def classes(self) -> BurstClasses:
        """The channels and times of each class."""
        rng = self.generator(_CLASSES)
        drawn = [
            (
                rng.choice(self.sensor_size[0], self.fixed_channels, replace=False),
                self.recipe.draw_times(self.fixed_channels, rng),
            )
            for _ in range(self.num_classes)
        ]
        return BurstClasses(*(np.array(part) for part in zip(*drawn, strict=True)))

    def fingerprint(self) -> dict[str, Any]:
        """Return the recipe, the sizes and the seed."""
        return {**super().fingerprint(), "fixed_channels": self.fixed_channels}

    def read(self, index: int) -> Events:
        """Simulate one recording; a spike is in the middle of its step."""
        rng, recipe, target = self.generator(_SEQUENCES, index), self.recipe, self.targets[index]
        times = recipe.draw_times(self.sensor_size[0], rng)
        times[self.classes.channels[target]] = self.classes.times[target]
        after = np.arange(recipe.steps)[:, None] - times
        probability = recipe.low + (recipe.high - recipe.low) * np.exp(-(after**2) / (2 * recipe.width**2))
        step, channel = np.nonzero(rng.random(probability.shape) < probability)
        t = (1000 * step + 500).astype(np.int64)
        return Events(t, channel.astype(np.int16), None, np.zeros(len(t), bool))
