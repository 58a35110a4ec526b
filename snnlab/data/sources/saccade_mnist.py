"""MNIST's digits before a simulated event camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from snnlab.data.registry import DATASETS
from snnlab.data.sources.mnist_files import FOLDER, MNISTFiles
from snnlab.data.sources.saccades import SeenDuringSaccades
from snnlab.events import SensorSize


@DATASETS.register("saccade_mnist")
class SaccadeMNIST(SeenDuringSaccades):
    """MNIST's 60,000 and 10,000 digits, each seen during three saccades of 100 ms.

    Args:
        root: Folder that holds `smnist/train-images-idx3-ubyte` and the other three files of MNIST.
        download: Whether what is missing is fetched.
        archives: What is fetched: a name, an md5 and a url each.
        num_train: The first so many for training; null: all.
        num_test: The first so many for testing; null: all.
        simulation_seed: Seed of the simulated cameras; recording k is made from (simulation_seed, k) alone.
        encoder: What makes spikes of an image in the place of the camera, `{type: poisson, max_rate_hz: 50}` or
            `{type: latency}`, in 300 ms; null: the camera.

    Raises:
        DataError: if a file is missing or damaged.
        ValueError: if a setting is out of its range.

    Source: digits: LeCun, Cortes, Burges; camera: `snnlab.events.saccades`, fitted to N-MNIST.
    """

    label = "saccade_mnist"
    folder_name = FOLDER
    sensor_size: SensorSize = (34, 34, 2)
    num_classes = 10
    groups = None
    class_names = None

    def __init__(
        self,
        root: str | None,
        download: bool = True,
        archives: Sequence[Mapping[str, Any]] = (),
        num_train: int | None = None,
        num_test: int | None = None,
        simulation_seed: int = 0,
        encoder: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(simulation_seed, encoder)
        for name, number in (("num_train", num_train), ("num_test", num_test)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be 1 or more, or null, got {number}")
        self._files = MNISTFiles.obtain(root, archives, download)
        self.origin = self._files.folder
        numbers = enumerate((num_train, num_test))
        parts = [np.flatnonzero(self._files.split == part)[:number] for part, number in numbers]
        # A digit's number among all of them decides its camera, however many are taken.
        self._places = np.concatenate(parts)
        self.targets, self.split = self._files.targets[self._places], self._files.split[self._places]
        self.notes: list[str] = []

    def fingerprint(self) -> dict[str, Any]:
        """Return the files, which digits, and the camera."""
        numbers = np.bincount(self.split, minlength=2).tolist()
        return {"dataset": self.label, "files": self._files.fingerprint(), "numbers": numbers, **self.camera()}

    def __len__(self) -> int:
        return self._places.size

    def name(self, index: int) -> str:
        """Return which image of which file it is."""
        return self._files.name(int(self._places[index]))

    def key(self, index: int) -> int:
        """Return the digit's number among all 70,000."""
        return int(self._places[index])

    def image(self, index: int) -> np.ndarray:
        return self._files.image(int(self._places[index])) / 255.0
