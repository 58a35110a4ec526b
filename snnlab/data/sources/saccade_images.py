"""A user's own images before a simulated event camera."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.data.class_folders import from_folders
from snnlab.data.grouping import join
from snnlab.data.listing import by_number, parts_of
from snnlab.data.registry import DATASETS
from snnlab.data.sources.saccades import SeenDuringSaccades
from snnlab.data.splits import TEST
from snnlab.errors import DataError
from snnlab.events import SensorSize

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


@DATASETS.register("saccade_images")
class SaccadeImages(SeenDuringSaccades):
    """A user's own images, `root/CLASS/*.png`, each seen during three saccades of 100 ms.

    Below `root/train` and `root/test` images are for training and testing; where nothing says so, `test_fraction` of
    each class is for testing. They become grey squares: the middle, made `image_size` pixels wide.

    Args:
        root: The folder.
        image_size: Width and height at which images are looked at, 8 or more (pixels); the camera's are 6 more.
        test_fraction: Part of the images that is for testing, where nothing says which, 0 <= f < 1.
        simulation_seed: Seed of the simulated cameras; recording k is made from (simulation_seed, k) alone.
        encoder: What makes spikes of an image in the place of the camera, `{type: poisson, max_rate_hz: 50}` or
            `{type: latency}`, in 300 ms; null: the camera.

    Raises:
        DataError: if there are no images.
        ValueError: if a setting is out of its range.

    Source: camera: `snnlab.events.saccades`, fitted to N-MNIST.
    """

    label = "saccade_images"
    groups = None

    def __init__(
        self,
        root: str | None,
        image_size: int = 28,
        test_fraction: float = 0.2,
        simulation_seed: int = 0,
        encoder: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(simulation_seed, encoder)
        if not 8 <= image_size <= 4096:
            raise ValueError(f"image_size must be 8 to 4096, got {image_size}")
        if not 0 <= test_fraction < 1:
            raise ValueError(f"test_fraction must be 0 to below 1, got {test_fraction}")
        self.image_size = image_size
        self.root = self.origin = Path(root or "data").expanduser()
        self.sensor_size: SensorSize = (image_size + 6, image_size + 6, 2)
        self._entries, notes = from_folders(self.root, SUFFIXES)
        self.class_names, self.targets = by_number(self._entries)
        self.num_classes = len(self.class_names)
        alone = join(range(len(self._entries)), [None] * len(self._entries))
        self.split = parts_of(self._entries, self.targets, alone, test_fraction)
        self.draws_test = self._entries[0].part is None
        tests = int((self.split == TEST).sum())
        self.notes = [f"saccade_images: {len(self):,} images in {self.root}, {tests:,} for testing"]
        self.notes += [f"saccade_images: {note}" for note in notes]

    def fingerprint(self) -> dict[str, Any]:
        """Return every image's file, size, time of change, class and part, and the camera."""
        stats = [(entry.path, entry.path.stat()) for entry in self._entries]
        images = [
            f"{path.relative_to(self.root).as_posix()} {stat.st_size} {stat.st_mtime_ns} {target} {part}"
            for (path, stat), target, part in zip(stats, self.targets, self.split, strict=True)
        ]
        return {"dataset": self.label, "images": images, "size": self.image_size, **self.camera()}

    def __len__(self) -> int:
        return len(self._entries)

    def name(self, index: int) -> str:
        return str(self._entries[index].path)

    def image(self, index: int) -> np.ndarray:
        """Return the middle of one image, in grey.

        Raises:
            DataError: if the file is no image.
        """
        from PIL import Image, ImageOps

        path = self._entries[index].path
        try:
            with Image.open(path) as file:
                grey = ImageOps.fit(file.convert("L"), (self.image_size, self.image_size))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: is no image that can be read ({error})") from error
        return np.asarray(grey) / 255.0
