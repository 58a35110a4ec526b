"""MNIST's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snnlab.data.sources.mnist import read_images, read_labels
from snnlab.errors import DataError

from ..refusals import assert_raises


def encode(array: np.ndarray) -> bytes:
    """Return an array of bytes in the idx format."""
    head = np.array([0x0800 + array.ndim, *array.shape], ">u4")
    return head.tobytes() + array.astype(np.uint8).tobytes()


def test_images_and_labels_come_back(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5)).astype(np.uint8)
    (tmp_path / "images").write_bytes(encode(images))
    (tmp_path / "labels").write_bytes(encode(images[:, 0, 0]))
    assert np.array_equal(read_images(tmp_path / "images"), images)
    assert np.array_equal(read_labels(tmp_path / "labels"), images[:, 0, 0])


def test_a_file_without_images_is_one(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(encode(np.zeros((0, 28, 28))))
    assert read_images(tmp_path / "images").shape == (0, 28, 28)


@pytest.mark.parametrize(
    ("content", "message_parts"),
    [
        (b"", ("images",)),
        (b"\x1f\x8b compressed", ("images",)),
        (encode(np.zeros(7)), ("images",)),
        (encode(np.zeros((2, 3, 3)))[:-1], ("images", 33, 34)),
        (encode(np.zeros((2, 3, 3))) + b"x", ("images", 35, 34)),
    ],
)
def test_an_incomplete_file_is_named(tmp_path: Path, content: bytes, message_parts: tuple) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with assert_raises(DataError, *message_parts):
        read_images(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with assert_raises(DataError, "none", "read"):
        read_labels(tmp_path / "none")
