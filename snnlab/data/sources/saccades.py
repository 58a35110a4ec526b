"""Simulated event cameras in front of static images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image, ImageOps

from snnlab.data.dataset import DATASETS
from snnlab.data.events import Events, SensorSize
from snnlab.data.events.simulators import Saccades, digit_image, simulate_saccades
from snnlab.data.sources.folder import assign_parts, discover_folders, number_labels
from snnlab.data.sources.mnist import FOLDER, MNISTFiles
from snnlab.data.splits import TEST, draw_test_part, merge_groups
from snnlab.errors import ConfigError, DataError
from snnlab.nn.encoders import ENCODERS as KINDS
from snnlab.spec.interval import Count, NonNegative, at_least, between

# The allowed encoders, and their steps of 1 ms, which together are as long as a camera recording.
ENCODERS, STEPS = ("poisson", "latency"), 300
# A line for each digit: 64 pixels, and the class. To import scikit-learn for its file would take half a second.
_DIGITS = Path(__file__).with_name("digits.csv.gz")
# Fraction of the digits for testing.
_TEST_FRACTION = 0.2
_MARGIN = 3  # pixels between the image and the edge of the sensor


class SaccadeDataset(ABC):
    """Static images, each recorded by a simulated event camera that makes three saccades of 100 ms.

    Args:
        simulation_seed: Seed of the simulated cameras; recording k depends on (simulation_seed, k) alone.
        encoder: Encoder that replaces the camera, for 300 ms: `{type: poisson,
            max_rate_hz: 50}` or `{type: latency}`, with the settings of `snnlab list encoders NAME`; null: the camera.
    """

    def __init__(self, simulation_seed: NonNegative = 0, encoder: Mapping[str, Any] | None = None) -> None:
        self.simulation_seed, self.encoder = simulation_seed, None if encoder is None else dict(encoder)
        if self.encoder is not None:
            if self.encoder.get("type") not in ENCODERS:
                raise ConfigError("encoder.type", f"must be poisson or latency, got {self.encoder.get('type')}")
            self._encode(np.zeros((1, 1)), 0)

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Return the grey values 0..1 of one image, `[H, W]`."""

    def key(self, index: int) -> int:
        """Return the key that, with the seed, decides a recording's camera; here its index."""
        return index

    def camera(self) -> dict[str, Any]:
        """Return the fingerprint of the camera or of the encoder."""
        if self.encoder is not None:
            return {"encoder": self.encoder, "seed": self.simulation_seed}
        return {"camera": vars(Saccades()), "seed": self.simulation_seed}

    def read(self, index: int) -> Events:
        if self.encoder is not None:
            return self._encode(self.image(index), self.key(index))
        return simulate_saccades(self.image(index), np.random.default_rng([self.simulation_seed, self.key(index)]))

    def _encode(self, image: np.ndarray, key: int) -> Events:
        """Return the spikes of an encoder, at the centre of each step and of the sensor."""
        settings = dict(self.encoder or {})
        kind = settings.pop("type")
        if kind == "poisson":
            own = np.random.SeedSequence([self.simulation_seed, settings.get("seed", 0), key])
            settings["seed"] = int(own.generate_state(1)[0])
        spikes = KINDS.build(kind, settings, "encoder", dt=1.0)(torch.from_numpy(image).float(), STEPS)
        step, y, x = spikes.nonzero(as_tuple=True)
        x, y = ((axis + _MARGIN).numpy().astype(np.int16) for axis in (x, y))
        return Events(1000 * step.numpy() + 500, x, y, np.ones(len(step), bool))


@DATASETS.register("saccade_digits")
class SaccadeDigits(SaccadeDataset):
    """1,797 digits of 8x8 pixels, each recorded during three saccades of 100 ms; a fifth of each class is for testing.

    Source: digits: Alpaydin and Kaynak, UCI, 1998 (CC BY 4.0), the file of scikit-learn; camera:
    `snnlab.data.events.simulators`.
    """

    label = "saccade_digits"
    sensor_size: SensorSize = (34, 34, 2)
    num_classes = 10
    groups = None
    class_names = None

    def __init__(self, simulation_seed: NonNegative = 0, encoder: Mapping[str, Any] | None = None) -> None:
        super().__init__(simulation_seed, encoder)
        self.notes: list[str] = []

    @cached_property
    def _digits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return images `[N, 8, 8]` of values from 0 to 16, and their classes."""
        table = np.loadtxt(_DIGITS, delimiter=",")
        return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)

    @property
    def targets(self) -> np.ndarray:
        """The digits."""
        return self._digits[1]

    @property
    def split(self) -> np.ndarray:
        """A fixed stratified fifth is for testing."""
        return draw_test_part(self.targets, _TEST_FRACTION)

    def fingerprint(self) -> dict[str, Any]:
        return {"dataset": self.label, **self.camera()}

    def __len__(self) -> int:
        return 1797

    def name(self, index: int) -> str:
        return f"digit {index}"

    def image(self, index: int) -> np.ndarray:
        """Return the digit, enlarged to MNIST's size."""
        return digit_image(self._digits[0][index])


@DATASETS.register("saccade_mnist")
class SaccadeMNIST(SaccadeDataset):
    """MNIST's 60,000 and 10,000 digits, each recorded during three saccades of 100 ms.

    Args:
        root: Folder that holds `smnist/train-images-idx3-ubyte` and the other three files of MNIST.
        download: Whether missing files are downloaded.
        archives: Files to download: a name, an md5 and a url each.
        num_train: Number of training digits, from `first_train` on; null: all.
        num_test: Number of test digits, from the first; 0: none, null: all.
        first_train: Number of the first training digit, from 1, as N-MNIST numbers its files; 1001 leaves out the
            digits of N-MNIST's files 1 to 1000.

    Raises:
        DataError: if a file is missing or damaged.

    Source: digits: LeCun, Cortes, Burges; camera: `snnlab.data.events.simulators`, fitted to N-MNIST.
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
        num_train: Annotated[int | None, at_least(1)] = None,
        num_test: Annotated[int | None, at_least(0)] = None,
        first_train: Count = 1,
        simulation_seed: NonNegative = 0,
        encoder: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(simulation_seed, encoder)
        self._files = MNISTFiles.fetch(root, archives, download)
        self.origin = self._files.folder
        train, test = (np.flatnonzero(self._files.split == part) for part in (0, 1))
        if first_train > train.size:
            raise ConfigError("first_train", f"there are {train.size:,} training digits, got {first_train}")
        self._first_train = first_train
        # A digit's index in all of MNIST decides its camera, for any first_train, num_train and num_test.
        self._sources = np.concatenate([train[first_train - 1 :][:num_train], test[:num_test]])
        self.targets, self.split = self._files.targets[self._sources], self._files.split[self._sources]
        self.notes: list[str] = []

    def fingerprint(self) -> dict[str, Any]:
        """Return the files, the numbers of digits, and the camera."""
        numbers = np.bincount(self.split, minlength=2).tolist()
        digits = {"numbers": numbers, "first_train": self._first_train}
        return {"dataset": self.label, "files": self._files.fingerprint(), **digits, **self.camera()}

    def __len__(self) -> int:
        return self._sources.size

    def name(self, index: int) -> str:
        """Return the file and the index of the image."""
        return self._files.name(int(self._sources[index]))

    def key(self, index: int) -> int:
        """Return the digit's index in all 70,000."""
        return int(self._sources[index])

    def image(self, index: int) -> np.ndarray:
        return self._files.image(int(self._sources[index])) / 255.0


SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


@DATASETS.register("saccade_images")
class SaccadeImages(SaccadeDataset):
    """User-defined images, `root/CLASS/*.png`, each recorded during three saccades of 100 ms.

    Images in `root/train` and `root/test` are for training and testing; without these folders, `test_fraction` of each
    class is for testing. The central square of each image is scaled to `image_size` pixels, in grey.

    Args:
        root: The folder.
        image_size: Width and height of the scaled images, 8 or more; the sensor is 6 pixels larger.
        test_fraction: Fraction of the images for testing, if there are no such folders.

    Raises:
        DataError: if there are no images.

    Source: camera: `snnlab.data.events.simulators`, fitted to N-MNIST.
    """

    label = "saccade_images"
    groups = None

    def __init__(
        self,
        root: str | None,
        image_size: Annotated[int, "pixels", between(8, 4096)] = 28,
        test_fraction: Annotated[float, between(0, 1, with_high=False)] = 0.2,
        simulation_seed: NonNegative = 0,
        encoder: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(simulation_seed, encoder)
        self.image_size = image_size
        self.root = self.origin = Path(root or "data").expanduser()
        self.sensor_size: SensorSize = (image_size + 6, image_size + 6, 2)
        self._entries, notes = discover_folders(self.root, SUFFIXES)
        self.class_names, self.targets = number_labels(self._entries)
        self.num_classes = len(self.class_names)
        alone = merge_groups(range(len(self._entries)), [None] * len(self._entries))
        self.split = assign_parts(self._entries, self.targets, alone, test_fraction)
        self.has_no_test_part = self._entries[0].part is None
        tests = int((self.split == TEST).sum())
        self.notes = [f"saccade_images: {len(self):,} images in {self.root}, {tests:,} for testing"]
        self.notes += [f"saccade_images: {note}" for note in notes]

    def fingerprint(self) -> dict[str, Any]:
        """Return every image's file, size and modification time, and the camera."""
        stats = [(entry.path, entry.path.stat()) for entry in self._entries]
        images = [f"{path.relative_to(self.root).as_posix()} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats]
        return {"dataset": self.label, "images": images, "size": self.image_size, **self.camera()}

    def __len__(self) -> int:
        return len(self._entries)

    def name(self, index: int) -> str:
        return str(self._entries[index].path)

    def image(self, index: int) -> np.ndarray:
        """Return the central square of one image, in grey.

        Raises:
            DataError: if the file is not an image.
        """
        path = self._entries[index].path
        try:
            with Image.open(path) as file:
                grey = ImageOps.fit(file.convert("L"), (self.image_size, self.image_size))
        except (OSError, ValueError) as error:
            raise DataError(path, f"is not a readable image ({error})") from error
        return np.asarray(grey) / 255.0
