"""What datasets of still images before a simulated event camera have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from snnlab.events import Events


class SeenDuringSaccades(ABC):
    """Still images, each seen by a simulated event camera that makes three saccades of 100 ms.

    Args:
        simulation_seed: Seed of the simulated cameras; recording k is made from (simulation_seed, k) alone.

    Raises:
        ValueError: if the seed is negative.
    """

    def __init__(self, simulation_seed: int = 0) -> None:
        if simulation_seed < 0:
            raise ValueError(f"simulation_seed must be 0 or more, got {simulation_seed}")
        self.simulation_seed = simulation_seed

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Return the grey values 0..1 of one image, `[H, W]`."""

    def key(self, index: int) -> int:
        """Return what decides a recording's camera, besides the seed; here its place."""
        return index

    def camera(self) -> dict[str, Any]:
        """Return what a fingerprint says of the camera."""
        from snnlab.events.saccades import Saccades

        return {"camera": vars(Saccades()), "seed": self.simulation_seed}

    def read(self, index: int) -> Events:
        """Simulate one recording."""
        # Here, since it brings numba and scipy, which only the packing needs.
        from snnlab.events.saccades import simulate

        return simulate(self.image(index), np.random.default_rng([self.simulation_seed, self.key(index)]))
