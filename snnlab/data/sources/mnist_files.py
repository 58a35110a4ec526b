"""MNIST's four files, from which several datasets are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.data.fetching import fetch_missing
from snnlab.errors import DataError

_IMAGES, _LABELS = 0x0803, 0x0801


def read_images(path: Path) -> np.ndarray:
    """Return the grey values 0..255 of a file such as `train-images-idx3-ubyte`.

    Args:
        path: The file, not compressed.

    Shape:
        uint8 `[R, H, W]`, a read-only map of the file.

    Raises:
        DataError: if it is no such file, or truncated.
    """
    return _read(path, _IMAGES, 3)


def read_labels(path: Path) -> np.ndarray:
    """Return the labels of a file such as `train-labels-idx1-ubyte`.

    Args:
        path: The file, not compressed.

    Shape:
        uint8 `[R]`, a read-only map of the file.

    Raises:
        DataError: if it is no such file, or truncated.
    """
    return _read(path, _LABELS, 1)


def _read(path: Path, magic: int, axes: int) -> np.ndarray:
    head = 4 * (1 + axes)
    try:
        with path.open("rb") as file:
            start = file.read(head)
        size = path.stat().st_size
    except OSError as error:
        raise DataError(path, f"cannot be read ({error})") from error
    words = np.frombuffer(start[: len(start) // 4 * 4], ">u4")
    if len(start) != head or words[0] != magic:
        raise DataError(path, f"is no idx file of {'images' if axes == 3 else 'labels'}")
    shape = tuple(int(word) for word in words[1:])
    expected = head + int(np.prod(shape, dtype=np.int64))
    if size != expected:
        raise DataError(path, f"has {size:,} bytes, and its head says {expected:,}", "fetch it again")
    return np.memmap(path, np.uint8, "r", head, shape) if size > head else np.empty(shape, np.uint8)


PARTS = ("train", "t10k")
FOLDER = "smnist"


class MNISTFiles:
    """The images of `train-*` and `t10k-*`, in that order, and their labels.

    Args:
        folder: Where the four files are.

    Attributes:
        targets: Label of each image, `[R]`, int64.
        split: 0 for `train`, 1 for `t10k`, `[R]`, uint8.

    Raises:
        DataError: if a file is missing, damaged, or does not go with another.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for images, names in (_names(part) for part in PARTS):
            self._images.append(read_images(folder / images))
            labels.append(read_labels(folder / names))
            if len(labels[-1]) != len(self._images[-1]):
                raise DataError(
                    folder, f"{images} has {len(self._images[-1]):,} images, {names} {len(labels[-1]):,} labels"
                )
        self.targets = np.concatenate(labels).astype(np.int64)
        self.split = np.repeat(np.array([0, 1], np.uint8), [len(part) for part in labels])

    @classmethod
    def obtain(cls, root: str | None, archives: Sequence[Mapping[str, Any]], download: bool) -> MNISTFiles:
        """Return the files below `root/smnist`, where tonic has them too; fetch what is missing.

        Args:
            root: Folder that holds `smnist`.
            archives: What is fetched: a name, an md5 and a url each.
            download: Whether it is.

        Raises:
            ConfigError: if an archive's settings cannot be used.
            DataError: if a file is missing or damaged, or a download fails.
        """
        folder = Path(root or "data").expanduser() / FOLDER
        names = [name for part in PARTS for name in _names(part)]
        fetch_missing(
            archives,
            folder,
            lambda: {name: int((folder / name).is_file()) for name in names},
            dict.fromkeys(names, 1),
            download=download,
        )
        if missing := [name for name in names if not (folder / name).is_file()]:
            cure = "" if download else ", or data.download=true"
            raise DataError(
                "data.root",
                f"{folder} lacks {', '.join(missing)}",
                f"set data.root to the folder that holds {FOLDER}{cure}",
            )
        return cls(folder)

    def fingerprint(self) -> list[str]:
        """Return every file's name, size and time of change."""
        stats = [(name, (self.folder / name).stat()) for part in PARTS for name in _names(part)]
        return [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]

    def __len__(self) -> int:
        return self.targets.size

    def image(self, index: int) -> np.ndarray:
        """Return one image, uint8 `[H, W]`."""
        first = len(self._images[0])
        return self._images[0][index] if index < first else self._images[1][index - first]

    def name(self, index: int) -> str:
        """Return which image of which file it is."""
        first = len(self._images[0])
        part, place = (0, index) if index < first else (1, index - first)
        return f"{self.folder / _names(PARTS[part])[0]}, image {place}"

    def __getstate__(self) -> dict[str, Any]:
        """Travel to a reading process as a path: pickling a memory map would copy it."""
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])


def _names(part: str) -> tuple[str, str]:
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
