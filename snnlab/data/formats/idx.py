"""MNIST's own format: images and their labels, each in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
        raise DataError(f"{path}: cannot be read ({error})") from error
    words = np.frombuffer(start[: len(start) // 4 * 4], ">u4")
    if len(start) != head or words[0] != magic:
        raise DataError(f"{path}: is no idx file of {'images' if axes == 3 else 'labels'}")
    shape = tuple(int(word) for word in words[1:])
    expected = head + int(np.prod(shape, dtype=np.int64))
    if size != expected:
        raise DataError(f"{path}: has {size:,} bytes, and its head says {expected:,}; fetch it again")
    return np.memmap(path, np.uint8, "r", head, shape) if size > head else np.empty(shape, np.uint8)
