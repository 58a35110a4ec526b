"""Datasets from MNIST's four files, such as S-MNIST.

Axes: K pixels, N spikes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from snnlab.data.dataset import DATASETS
from snnlab.data.events import Events, SensorSize
from snnlab.data.events.recording import polarity_dtype
from snnlab.data.fetching import fetch_missing
from snnlab.errors import ConfigError, DataError
from snnlab.files import open_regular
from snnlab.spec.interval import NonNegative, between
from snnlab.torch_files import read_torch_file

_IMAGES, _LABELS = 0x0803, 0x0801


def read_images(path: Path) -> np.ndarray:
    """Return the grey values 0..255 of a file such as `train-images-idx3-ubyte`.

    Args:
        path: The uncompressed file.

    Shape:
        uint8 `[R, H, W]`, a read-only memory map.

    Raises:
        DataError: if the format is another one, or the file is truncated.
    """
    return _read_idx(path, _IMAGES, 3)


def read_labels(path: Path) -> np.ndarray:
    """Return the labels of a file such as `train-labels-idx1-ubyte`.

    Args:
        path: The uncompressed file.

    Shape:
        uint8 `[R]`, a read-only memory map.

    Raises:
        DataError: if the format is another one, or the file is truncated.
    """
    return _read_idx(path, _LABELS, 1)


def _read_idx(path: Path, magic: int, axes: int) -> np.ndarray:
    head = 4 * (1 + axes)
    try:
        with path.open("rb") as file:
            start = file.read(head)
        size = path.stat().st_size
    except OSError as error:
        raise DataError(path, f"cannot be read ({error})") from error
    words = np.frombuffer(start[: len(start) // 4 * 4], ">u4")
    if len(start) != head or words[0] != magic:
        raise DataError(path, f"is not an idx file of {'images' if axes == 3 else 'labels'}")
    shape = tuple(int(word) for word in words[1:])
    expected = head + math.prod(shape)
    if size != expected:
        raise DataError(path, f"has {size:,} bytes, but its header says {expected:,}", "fetch it again")
    return np.memmap(path, np.uint8, "r", head, shape) if size > head else np.empty(shape, np.uint8)


PARTS = ("train", "t10k")
FOLDER = "smnist"


class MNISTFiles:
    """The images of `train-*` and `t10k-*`, in that order, and their labels.

    Args:
        folder: Folder of the four files.

    Attributes:
        targets: Label of each image, `[R]`, int64.
        split: 0 for `train`, 1 for `t10k`, `[R]`, uint8.

    Raises:
        DataError: if a file is missing or damaged, or images and labels do not match.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for images, names in (_file_names(part) for part in PARTS):
            self._images.append(read_images(folder / images))
            labels.append(read_labels(folder / names))
            if len(labels[-1]) != len(self._images[-1]):
                raise DataError(
                    folder, f"{images} has {len(self._images[-1]):,} images, {names} {len(labels[-1]):,} labels"
                )
        self.targets = np.concatenate(labels).astype(np.int64)
        self.split = np.repeat(np.array([0, 1], np.uint8), [len(part) for part in labels])

    @classmethod
    def fetch(cls, root: str | None, archives: Sequence[Mapping[str, Any]], download: bool) -> MNISTFiles:
        """Return the files in `root/smnist`, as in tonic; download missing ones.

        Args:
            root: Folder that holds `smnist`.
            archives: Files to download: a name, an md5 and a url each.
            download: Whether missing files are downloaded.

        Raises:
            DataError: if a file is missing or damaged, or a download fails.
        """
        folder = Path(root or "data").expanduser() / FOLDER
        names = [name for part in PARTS for name in _file_names(part)]
        fetch_missing(
            archives,
            folder,
            lambda: {name: int((folder / name).is_file()) for name in names},
            dict.fromkeys(names, 1),
            download=download,
        )
        if missing := [name for name in names if not (folder / name).is_file()]:
            hint = "" if download else ", or data.download=true"
            raise DataError(
                "data.root",
                f"{folder} lacks {', '.join(missing)}",
                f"set data.root to the folder that holds {FOLDER}{hint}",
            )
        return cls(folder)

    def fingerprint(self) -> list[str]:
        """Return every file's name, size and modification time."""
        stats = [(name, (self.folder / name).stat()) for part in PARTS for name in _file_names(part)]
        return [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]

    def require(self, sha256: Mapping[str, str]) -> None:
        """Raise a DataError if a file is not that of a SHA-256, by name: other digits, or another order of them."""
        for name, expected in sha256.items():
            if name not in (every := [name for part in PARTS for name in _file_names(part)]):
                raise ConfigError("data.sha256", f"unknown file '{name}'", "", every)
            if hashlib.sha256((self.folder / name).read_bytes()).hexdigest() != expected:
                raise DataError(
                    "data.sha256",
                    f"{self.folder / name} has other digits than MNIST, or another order of them",
                    "fetch it again; sha256=null uses it as it is",
                )

    def __len__(self) -> int:
        return self.targets.size

    def image(self, index: int) -> np.ndarray:
        """Return one image, uint8 `[H, W]`."""
        first = len(self._images[0])
        return self._images[0][index] if index < first else self._images[1][index - first]

    def name(self, index: int) -> str:
        """Return the file and the index of an image."""
        first = len(self._images[0])
        part, number = (0, index) if index < first else (1, index - first)
        return f"{self.folder / _file_names(PARTS[part])[0]}, image {number}"

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the path alone: pickling a memory map would copy it."""
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])


def _file_names(part: str) -> tuple[str, str]:
    """Return the names of the files of images and of labels."""
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


class PixelSequences:
    """All digits of MNIST's files as sequences of pixels; a subclass says how one is read.

    Args:
        files: The images and their labels.
    """

    folder_name = FOLDER
    num_classes = 10
    groups = None
    class_names = None

    def __init__(self, files: MNISTFiles) -> None:
        self._files = files
        self.origin = self._files.folder
        self.targets, self.split = self._files.targets, self._files.split

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Return the file and the index of an image."""
        return self._files.name(index)


@DATASETS.register("smnist")
class SMNIST(PixelSequences):
    """S-MNIST: MNIST's digits as sequences of 784 pixels, 60,000 for training and 10,000 for testing.

    The channels are thresholds of the grey value. A channel of the upper half spikes if the value rises above its
    threshold from one pixel to the next, one of the lower half if it falls below, channel 0 if it is 255; higher
    channels have lower thresholds.

    Args:
        root: Folder that holds `smnist/train-images-idx3-ubyte` and the other three files of MNIST.
        sensor_size: [W, 1, 1] with an odd number W of channels; 99 in tonic and in the literature.
        pixel_ms: Time of a pixel (ms).
        duplicate: Whether each spike is repeated half a pixel later.
        download: Whether missing files are downloaded.
        archives: Files to download: a name, an md5 and a url each.

    Raises:
        DataError: if a file is missing or damaged.

    Source: Bellec et al., Long short-term memory and learning-to-learn in networks of spiking neurons, 2018; the same
        spikes as tonic's SMNIST.
    """

    label = "smnist"

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
        super().__init__(MNISTFiles.fetch(root, archives, download))
        self.thresholds = np.linspace(0.0, 254.0, channels // 2).astype(np.uint8)
        self.notes: list[str] = []

    def fingerprint(self) -> dict[str, Any]:
        """Return the files and the settings of the encoding."""
        encoding = [self.sensor_size[0], self.pixel_us, self.duplicate]
        return {"dataset": self.label, "files": self._files.fingerprint(), "encoding": encoding}

    def read(self, index: int) -> Events:
        """Return the spikes of one digit."""
        pixel, channel = crossings(self._files.image(index).reshape(-1), self.thresholds)
        if self.duplicate:
            t = np.repeat(pixel * self.pixel_us, 2)
            t[1::2] += self.pixel_us // 2
            channel = np.repeat(channel, 2)
            # The repetitions of a pixel's spikes are not in the order of time.
            order = np.argsort(t, kind="stable")
            t, channel = t[order], channel[order]
        else:
            t = pixel * self.pixel_us
        return Events(t, channel.astype(np.int16), None, np.ones(t.size, bool))


@DATASETS.register("pixel_mnist")
class PixelMNIST(PixelSequences):
    """The grey values of MNIST's digits, pixel by pixel, row by row or in a fixed random order (permuted S-MNIST).

    A pixel is one event at its time, whose column is its grey value, rounded to the W levels 1/W to 1; a black pixel is
    none. With several pixels a step, the polarity is the pixel's place in its step.

    Args:
        root: Folder that holds `smnist/train-images-idx3-ubyte` and the other three files of MNIST.
        sensor_size: [W, 1, P]: W grey levels above black, 255 for all, 1 for black and white (from 128 on); P pixels a
            step.
        pixel_ms: Time of a pixel (ms).
        permutation: Order of the pixels: the seed of a random one, a text file with their numbers from 0, a file of
            torch.save with a tensor of them, or null.
        sha256: SHA-256 of files of MNIST, by name; null: any digits in any order.
        download: Whether missing files are downloaded.
        archives: Files to download: a name, an md5 and a url each.

    Raises:
        DataError: if a file is missing, damaged or another one, or the permutation's file is none.

    Source: Le, Jaitly and Hinton, A simple way to initialize recurrent networks of rectified linear units, 2015.
    """

    label = "pixel_mnist"

    def __init__(
        self,
        root: str | None,
        sensor_size: SensorSize,
        pixel_ms: Annotated[float, "ms", between(0.002, 1e6)] = 10.0,
        permutation: NonNegative | str | None = None,
        sha256: Mapping[str, str] | None = None,
        download: bool = True,
        archives: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        if sensor_size[1] != 1 or sensor_size[0] > 255:
            raise ConfigError("sensor_size", f"must be [W, 1, P] with W from 1 to 255, got {list(sensor_size)}")
        self.sensor_size = sensor_size
        self.pixel_us = round(1000 * pixel_ms)
        super().__init__(MNISTFiles.fetch(root, archives, download))
        self._files.require(sha256 or {})
        pixels = self._files.image(0).size
        self.pixel_order = np.arange(pixels) if permutation is None else pixel_order(permutation, pixels)
        self.permutation = hashlib.sha256(permutation_text(self.pixel_order).encode()).hexdigest()
        self.notes = [] if permutation is None else [f"permutation {permutation}, SHA-256 {self.permutation}"]

    def fingerprint(self) -> dict[str, Any]:
        """Return the files, the settings of the encoding and the SHA-256 of the permutation."""
        encoding = [*self.sensor_size, self.pixel_us, self.permutation]
        return {"dataset": self.label, "files": self._files.fingerprint(), "encoding": encoding}

    def read(self, index: int) -> Events:
        """Return the grey values of one digit."""
        levels, _, pixels = self.sensor_size
        grey = self._files.image(index).reshape(-1).astype(np.int64)[self.pixel_order]
        level = (2 * levels * grey + 255) // 510  # floor(levels * grey / 255 + 1/2)
        place = np.flatnonzero(level)
        p = (place % pixels).astype(polarity_dtype(pixels))
        return Events(place * self.pixel_us, (level[place] - 1).astype(np.int16), None, p)


# With the white space around it, bytes.
_LONGEST_NUMBER = 32
# The first bytes of a ZIP archive, such as a file of torch.save.
_ARCHIVE = b"PK"


def pixel_order(permutation: int | str, pixels: int) -> np.ndarray:
    """Return the number of the pixel at each place of the sequence, `[pixels]`.

    Args:
        permutation: Seed of a random order; a text file with the numbers 0 to pixels - 1, separated by white space; or
            a file of `torch.save` with a tensor of them.
        pixels: Number of pixels.

    Raises:
        DataError: if the file cannot be read, or is no permutation of these numbers.
    """
    if isinstance(permutation, int):
        return np.random.default_rng(permutation).permutation(pixels)
    path, hint = Path(permutation).expanduser(), f"write each of 0 to {pixels - 1} once"
    try:
        with open_regular(path) as file:
            text = file.read(_LONGEST_NUMBER * pixels + 1)
    except OSError as error:
        raise DataError("data.permutation", f"{path} cannot be read ({error.strerror})", hint) from error
    order = _stored_order(path, pixels) if text[:2] == _ARCHIVE else _written_order(path, text, pixels, hint)
    missing = np.setdiff1d(np.arange(pixels), order).size
    if order.size != pixels or missing:
        raise DataError(
            "data.permutation", f"{path} has {order.size:,} numbers and lacks {missing:,} of {pixels:,} pixels", hint
        )
    return order


def _written_order(path: Path, text: bytes, pixels: int, hint: str) -> np.ndarray:
    if len(text) > _LONGEST_NUMBER * pixels:
        raise DataError("data.permutation", f"{path} is larger than any permutation of {pixels:,} pixels", hint)
    try:
        return np.array(text.decode("ascii").split(), np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError("data.permutation", f"{path} is no text of whole numbers", hint) from error


def _stored_order(path: Path, pixels: int) -> np.ndarray:
    content = read_torch_file(path)
    if not isinstance(content, Tensor) or content.shape != (pixels,) or content.dtype != torch.int64:
        raise DataError("data.permutation", f"{path} is no tensor of {pixels:,} whole numbers, int64")
    return content.numpy().copy()


def permutation_text(order: np.ndarray) -> str:
    """Return the text of a permutation's file: a number in each line."""
    return "".join(f"{number}\n" for number in order)


def crossings(grey: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel and the channel of each threshold crossing, sorted by pixel, then channel.

    Args:
        grey: The pixels' values 0..255.
        thresholds: Thresholds, ascending; half as num_crossings as channels.

    Shape:
        grey `[K]`; returns pixels `[N]` and channels `[N]`.
    """
    half = thresholds.size
    level = np.searchsorted(thresholds, grey, side="right")
    lower, upper = np.minimum(level[:-1], level[1:]), np.maximum(level[:-1], level[1:])
    num_crossings = upper - lower
    # The crossings of one step are those of neighbouring channels.
    first = 2 * half + 2 - upper - np.where(level[1:] < level[:-1], half, 0)
    pixel = np.repeat(np.arange(num_crossings.size), num_crossings)
    within = np.arange(pixel.size) - np.repeat(np.cumsum(num_crossings) - num_crossings, num_crossings)
    white = np.flatnonzero(grey == 255)
    pixels = np.concatenate([white, pixel])
    channels = np.concatenate([np.zeros(white.size, np.int64), first[pixel] + within])
    order = np.argsort(pixels, kind="stable")
    return pixels[order], channels[order]
