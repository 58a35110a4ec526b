"""Spiking sequential MNIST: the pixels of a digit one after the other, and spikes where their grey crosses thresholds.

Axes: K pixels, N spikes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from snnlab.data.registry import DATASETS
from snnlab.data.sources.mnist_files import FOLDER, MNISTFiles
from snnlab.errors import ConfigError
from snnlab.events import Events, SensorSize
from snnlab.intervals import between


@DATASETS.register("smnist")
class SMNIST:
    """S-MNIST: MNIST's digits as sequences of 784 pixels, 60,000 for training and 10,000 for testing.

    Channels of the upper half spike where the grey rises above their threshold from a pixel to the next, those of the
    lower half where it falls below, channel 0 where it is 255; channels of high numbers have low thresholds.

    Args:
        root: Folder that holds `smnist/train-images-idx3-ubyte` and the other three files of MNIST.
        sensor_size: [W, 1, 1] with an odd number W of channels; 99 in tonic and in the literature.
        pixel_ms: From a pixel to the next (ms).
        duplicate: Whether each spike comes twice, the second half a pixel later.
        download: Whether what is missing is fetched.
        archives: What is fetched: a name, an md5 and a url each.

    Raises:
        DataError: if a file is missing or damaged.
        ConfigError: if a setting is out of its range.

    Source: Bellec et al., Long short-term memory and learning-to-learn in networks of spiking neurons, 2018; the same
        spikes as tonic's SMNIST.
    """

    label = "smnist"
    folder_name = FOLDER
    num_classes = 10
    groups = None
    class_names = None

    def __init__(
        self,
        root: str | None,
        sensor_size: SensorSize,
        pixel_ms: Annotated[float, "ms", between(0.002, 1e6)] = 2.0,
        duplicate: bool = True,
        download: bool = True,
        archives: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        channels, *others = sensor_size
        if list(others) != [1, 1] or channels < 3 or channels % 2 == 0:
            raise ConfigError("sensor_size", f"must be [W, 1, 1] with an odd W of 3 or more, got {list(sensor_size)}")
        self.sensor_size = (channels, 1, 1)
        self.pixel_us, self.duplicate = round(1000 * pixel_ms), duplicate
        self._files = MNISTFiles.obtain(root, archives, download)
        self.origin = self._files.folder
        self.targets, self.split = self._files.targets, self._files.split
        self.thresholds = np.linspace(0.0, 254.0, channels // 2).astype(np.uint8)
        self.notes: list[str] = []

    def fingerprint(self) -> dict[str, Any]:
        """Return the files, and how they become spikes."""
        encoding = [self.sensor_size[0], self.pixel_us, self.duplicate]
        return {"dataset": self.label, "files": self._files.fingerprint(), "encoding": encoding}

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Return which image of which file it is."""
        return self._files.name(index)

    def read(self, index: int) -> Events:
        """Return the spikes of one digit."""
        pixel, channel = crossings(self._files.image(index).reshape(-1), self.thresholds)
        if self.duplicate:
            t = np.repeat(pixel * self.pixel_us, 2)
            t[1::2] += self.pixel_us // 2
            channel = np.repeat(channel, 2)
            # Twice a spike, then twice the next of the same pixel: not in the order of time.
            order = np.argsort(t, kind="stable")
            t, channel = t[order], channel[order]
        else:
            t = pixel * self.pixel_us
        return Events(t, channel.astype(np.int16), None, np.ones(t.size, bool))


def crossings(grey: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return after which pixel a threshold is crossed and by which channel, in the order of pixels, then channels.

    Args:
        grey: The pixels' values 0..255.
        thresholds: In ascending order; their number is half of that of the channels.

    Shape:
        grey `[K]`; returns `[N]` twice.
    """
    half = thresholds.size
    level = np.searchsorted(thresholds, grey, side="right")
    lower, upper = np.minimum(level[:-1], level[1:]), np.maximum(level[:-1], level[1:])
    many = upper - lower
    # The crossings of one step are those of neighbouring channels.
    first = 2 * half + 2 - upper - np.where(level[1:] < level[:-1], half, 0)
    pixel = np.repeat(np.arange(many.size), many)
    within = np.arange(pixel.size) - np.repeat(np.cumsum(many) - many, many)
    white = np.flatnonzero(grey == 255)
    pixels = np.concatenate([white, pixel])
    channels = np.concatenate([np.zeros(white.size, np.int64), first[pixel] + within])
    order = np.argsort(pixels, kind="stable")
    return pixels[order], channels[order]
