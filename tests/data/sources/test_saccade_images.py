"""A user's own images before the simulated camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snnlab.data.events import open_or_build
from snnlab.data.sources.saccades import SaccadeImages
from snnlab.errors import ConfigError, DataError

from ...refusals import assert_raises


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder of images of several sizes and kinds: bars that stand and bars that lie."""
    for name, number in (("standing", 0), ("lying", 1)):
        (tmp_path / name).mkdir()
        for k in range(5):
            grey = np.zeros((40 + k, 60), np.uint8)
            grey[:, 25:35] = 255
            colour = np.stack([grey, grey, grey], -1)
            picture = Image.fromarray(grey if k % 2 else colour).rotate(90 * number, expand=True)
            picture.save(tmp_path / name / f"{k}.{'png' if k % 2 else 'jpg'}")
    (tmp_path / "standing" / "notes.txt").write_text("not an image")
    return tmp_path


def test_folders_are_classes_and_images_become_recordings(root: Path, store_dir: Path) -> None:
    source = SaccadeImages(str(root), test_fraction=0.4)
    assert source.class_names == ["lying", "standing"]
    assert source.targets.tolist() == [0] * 5 + [1] * 5
    assert source.split.sum() == 4
    store = open_or_build(source, store_dir)
    assert (store.sizes > 500).all()
    assert source.name(0).endswith("lying/0.jpg")


def test_an_image_is_the_middle_in_grey(root: Path) -> None:
    source = SaccadeImages(str(root), image_size=20)
    assert source.sensor_size == (26, 26, 2)
    image = source.image(5)
    assert image.shape == (20, 20)
    assert image[:, 9:11].min() > 0.9
    assert image[:, :5].max() < 0.1
    assert np.abs(source.image(0) - image.T).max() < 0.1


def test_a_file_that_is_not_an_image_is_named_and_can_be_skipped(root: Path, store_dir: Path) -> None:
    (root / "lying" / "9.png").write_bytes(b"not an image")
    with assert_raises(DataError, "", 9):
        open_or_build(SaccadeImages(str(root)), store_dir)
    assert list(open_or_build(SaccadeImages(str(root)), store_dir, on_bad="skip").bad) == [5]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with assert_raises(DataError, "data.root", "recordings"):
        SaccadeImages(str(tmp_path))
    with assert_raises(ConfigError, "image_size", 8):
        SaccadeImages(str(tmp_path), image_size=4)
