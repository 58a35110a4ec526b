"""scikit-learn's handwritten digits before a simulated event camera; the embedded default."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from snnlab.data.holding_out import held_out
from snnlab.data.registry import DATASETS
from snnlab.events import Events, SensorSize
from snnlab.seeds import Stream, generator

TEST_FRACTION = 0.2
# The test recordings are the same for everyone, whatever seeds a run has.
TEST_SEED = 0


@DATASETS.register("saccade_digits")
class SaccadeDigits:
    """1,797 digits of 8x8 pixels, each seen during three saccades of 100 ms; a fifth of each class is for testing.

    Args:
        simulation_seed: Seed of the simulated cameras; recording k is made from (simulation_seed, k) alone.

    Source: digits: Alpaydin and Kaynak, UCI, 1998, as scikit-learn ships them; camera: `snnlab.events.saccades`.
    """

    label = "saccade_digits"
    sensor_size: SensorSize = (34, 34, 2)
    num_classes = 10
    groups = None
    class_names = None

    def __init__(self, simulation_seed: int = 0) -> None:
        if simulation_seed < 0:
            raise ValueError(f"simulation_seed must be 0 or more, got {simulation_seed}")
        self.simulation_seed = simulation_seed
        self.notes: list[str] = []

    @cached_property
    def _digits(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_digits

        images, targets = load_digits(return_X_y=True)
        return images.reshape(-1, 8, 8), targets.astype(np.int64)

    @property
    def targets(self) -> np.ndarray:
        """The digits."""
        return self._digits[1]

    @property
    def split(self) -> np.ndarray:
        """A stratified fifth, chosen once and for all, is for testing."""
        test = held_out(self.targets, TEST_FRACTION, generator(TEST_SEED, Stream.TEST))
        return test.astype(np.uint8)

    def fingerprint(self) -> dict[str, Any]:
        """Return the camera and the seed."""
        from snnlab.events.saccades import Saccades

        camera = vars(Saccades())
        test = [TEST_FRACTION, TEST_SEED, int(Stream.TEST)]
        return {"dataset": self.label, "camera": camera, "seed": self.simulation_seed, "test": test}

    def __len__(self) -> int:
        return 1797

    def name(self, index: int) -> str:
        """Return which digit it is."""
        return f"digit {index}"

    def read(self, index: int) -> Events:
        """Simulate one recording."""
        # Here, since it brings numba and scipy, which only the packing needs.
        from snnlab.events.saccades import digit_image, simulate

        return simulate(digit_image(self._digits[0][index]), np.random.default_rng([self.simulation_seed, index]))
