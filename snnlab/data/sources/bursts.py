"""Simulated burst sequences: in each class, a few channels burst at times of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import numpy as np

from snnlab.data.dataset import DATASETS
from snnlab.data.events import Events
from snnlab.data.sources.simulated import SimulatedClasses
from snnlab.errors import ConfigError
from snnlab.settings import NonNegative, at_least


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


# Keys of the simulation's random streams.
_CLASSES, _RECORDINGS = range(2)


@DATASETS.register("burst_sequences")
class BurstSequences(SimulatedClasses):
    """Burst sequences: every channel bursts once; in each class, some channels do so at times that tell the class.

        P(spike of channel c at step t) = low + (high - low) exp(-(t - m_c)^2 / (2 width^2))

    m_c is fixed for the few channels of a class, and random in each recording for all others. The number of spikes of a
    channel tells nothing. A fifth of each class is for testing.

    Args:
        sensor_size: [W, 1, 1], W channels.
        num_classes: Number of classes.
        num_recordings: Number of recordings, training and test, at least two per class.
        fixed_channels: Number of channels with a fixed time in a class.
        simulation_seed: Seed of the simulation; recording k depends on (simulation_seed, k) alone.

    Raises:
        ConfigError: If a number is out of its range.

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
        rng, recipe, target = self.generator(_RECORDINGS, index), self.recipe, self.targets[index]
        times = recipe.draw_times(self.sensor_size[0], rng)
        times[self.classes.channels[target]] = self.classes.times[target]
        after = np.arange(recipe.steps)[:, None] - times
        probability = recipe.low + (recipe.high - recipe.low) * np.exp(-(after**2) / (2 * recipe.width**2))
        step, channel = np.nonzero(rng.random(probability.shape) < probability)
        t = (1000 * step + 500).astype(np.int64)
        return Events(t, channel.astype(np.int16), None, np.zeros(len(t), bool))
