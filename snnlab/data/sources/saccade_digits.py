"""scikit-learn's handwritten digits before a simulated event camera; the embedded default."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from snnlab.data.holding_out import held_out
from snnlab.data.registry import DATASETS
from snnlab.data.sources.saccades import SeenDuringSaccades
from snnlab.events import SensorSize
from snnlab.seeds import Stream, generator

TEST_FRACTION = 0.2
# The test recordings are the same for everyone, whatever seeds a run has.
TEST_SEED = 0


@DATASETS.register("saccade_digits")
class SaccadeDigits(SeenDuringSaccades):
    """1,797 digits of 8x8 pixels, each seen during three saccades of 100 ms; a fifth of each class is for testing.

    Args:
        simulation_seed: Seed of the simulated cameras; recording k is made from (simulation_seed, k) alone.
        encoder: What makes spikes of an image in the place of the camera, `{type: poisson, max_rate_hz: 50}` or
            `{type: latency}`, in 300 ms; null: the camera.

    Source: digits: Alpaydin and Kaynak, UCI, 1998, as scikit-learn ships them; camera: `snnlab.events.saccades`.
    """

    label = "saccade_digits"
    sensor_size: SensorSize = (34, 34, 2)
    num_classes = 10
    groups = None
    class_names = None

    def __init__(self, simulation_seed: int = 0, encoder: Mapping[str, Any] | None = None) -> None:
        super().__init__(simulation_seed, encoder)
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
        test = [TEST_FRACTION, TEST_SEED, int(Stream.TEST)]
        return {"dataset": self.label, **self.camera(), "test": test}

    def __len__(self) -> int:
        return 1797

    def name(self, index: int) -> str:
        return f"digit {index}"

    def image(self, index: int) -> np.ndarray:
        """Return the digit in MNIST's size."""
        from snnlab.events.saccades import digit_image

        return digit_image(self._digits[0][index])
