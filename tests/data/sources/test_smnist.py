"""S-MNIST: the spikes of tonic's SMNIST in the order of time, and the grey values pixel by pixel."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.data.data_settings import build_dataset, read_settings
from snnlab.data.events import open_or_build
from snnlab.data.events.frames import EventBatch
from snnlab.data.sources.mnist import SMNIST, PixelMNIST, crossings, permutation_text, pixel_order
from snnlab.errors import ConfigError, DataError

from ...refusals import assert_raises, assert_text_has

SENSOR = (99, 1, 1)


class _Hostile:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


SIZES = {"train": 6, "t10k": 3}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder of random images in MNIST's format, with runs of black and of white as digits have."""
    folder, rng = tmp_path / "smnist", np.random.default_rng(0)
    folder.mkdir()
    for part, size in SIZES.items():
        images = rng.integers(-300, 500, (size, 28, 28)).clip(0, 255).astype(np.uint8)
        labels = rng.integers(0, 10, size).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            head = np.array([0x0800 + array.ndim, *array.shape], ">u4")
            (folder / name).write_bytes(head.tobytes() + array.tobytes())
    return tmp_path


def _tonics(root: Path, train: bool, **settings: Any) -> Any:
    import tonic.datasets

    return tonic.datasets.SMNIST(str(root), train=train, **settings)


def assert_as_tonic(root: Path, places: int, duplicate: bool, sensor: tuple[int, int, int] = SENSOR) -> None:
    ours = SMNIST(str(root), sensor, 2.0 if duplicate else 1.0, duplicate)
    first = 0
    for part in (0, 1):
        theirs = _tonics(root, part == 0, duplicate=duplicate, num_neurons=sensor[0])
        for place in range(0, len(theirs), places):
            events, label = theirs[place]
            order = np.argsort(events["t"], kind="stable")  # tonic's copies are not in the order of time
            got = ours.read(first + place)
            assert np.array_equal(got.t, events["t"][order])
            assert np.array_equal(got.x, events["x"][order])
            assert ours.targets[first + place] == label
            assert ours.split[first + place] == part
        first += len(theirs)
    assert len(ours) == first


@pytest.mark.parametrize("duplicate", [True, False])
@pytest.mark.parametrize("sensor", [SENSOR, (9, 1, 1)])
def test_spikes_and_labels_are_tonics(root: Path, duplicate: bool, sensor: tuple[int, int, int]) -> None:
    assert_as_tonic(root, 1, duplicate, sensor)


@pytest.mark.parametrize("duplicate", [True, False])
def test_spikes_of_the_genuine_digits_are_tonics(real_data: Path, duplicate: bool) -> None:
    assert_as_tonic(real_data, 997, duplicate)


def test_a_rise_and_a_fall_fire_the_channels_between(root: Path) -> None:
    thresholds = np.array([0, 100, 200])
    pixel, channel = crossings(np.array([0, 150, 255, 50]), thresholds)
    # 7 channels: 7 - j for a rise through threshold j, 4 - j for a fall, 0 for white.
    assert list(zip(pixel.tolist(), channel.tolist(), strict=True)) == [(0, 6), (1, 5), (2, 0), (2, 2), (2, 3)]


@pytest.mark.long
def test_the_store_takes_it_and_a_reading_process_opens_the_files_itself(root: Path, store_dir: Path) -> None:
    source = SMNIST(str(root), SENSOR)
    store = open_or_build(source, store_dir, workers=2)
    assert np.array_equal(store[7].t, source.read(7).t)
    assert len(pickle.dumps(source)) < 4000
    assert_text_has(source.name(7), "t10k-images-idx3-ubyte", "image 1")


def test_a_missing_or_damaged_file_is_named(root: Path, tmp_path: Path) -> None:
    path = root / "smnist" / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with assert_raises(DataError, "smnist/train-labels-idx1-ubyte", 13):
        SMNIST(str(root), SENSOR)
    path.unlink()
    with assert_raises(DataError, "data.root", "labels"):
        SMNIST(str(root), SENSOR)


@pytest.mark.parametrize("sensor", [[98, 1, 1], [99, 2, 1], [99, 1, 2], [1, 1, 1]])
def test_an_even_number_of_channels_is_refused(root: Path, sensor: list[int]) -> None:
    node = {"type": "smnist", "root": str(root), "num_classes": 10, "duration_ms": 1568.0, "num_bins": 4}
    with assert_raises(ConfigError, "data.sensor_size", "[W, 1, 1]"):
        build_dataset({**node, "sensor_size": sensor})


def _frames(root: Path, store_dir: Path, sensor: list[int], **settings: Any) -> np.ndarray:
    """Return the frames of all digits as the data module makes them, `[T, R, ...]`."""
    steps = 784 // sensor[2]
    shared = {"representation": "level", "duration_ms": 7840.0, "num_bins": steps, "num_classes": 10}
    node = {"type": "pixel_mnist", "root": str(root), "sensor_size": sensor, **shared, **settings}
    common, _, _ = read_settings(node)
    store = open_or_build(build_dataset(node), store_dir, workers=1)
    batch = EventBatch.from_packed(store.gather(np.arange(len(store)), duration_us=common.duration_us))
    return common.frame_builder()(batch).x.numpy()


def _pixels(root: Path) -> np.ndarray:
    """Return the grey values of all digits, row by row, `[R, 784]`."""
    names = [f"{part}-images-idx3-ubyte" for part in SIZES]
    parts = [np.frombuffer((root / "smnist" / name).read_bytes()[16:], np.uint8) for name in names]
    return np.concatenate(parts).reshape(-1, 784)


def test_a_step_is_the_grey_value_of_a_pixel(root: Path, store_dir: Path) -> None:
    frames = _frames(root, store_dir, [255, 1, 1])
    assert frames.shape == (784, 9, 1)
    assert np.array_equal(frames[:, :, 0].T, (_pixels(root) / np.float32(255)).astype(np.float32))


@pytest.mark.parametrize("pixels", [2, 4])
def test_several_binarised_pixels_a_step_are_channels(root: Path, store_dir: Path, pixels: int) -> None:
    frames = _frames(root, store_dir, [1, 1, pixels])
    assert frames.shape == (784 // pixels, 9, pixels, 1)
    assert np.array_equal(frames.transpose(1, 0, 2, 3).reshape(9, 784), (_pixels(root) >= 128).astype(np.float32))


def test_a_permutation_of_a_seed_and_its_file_are_the_same_dataset(root: Path, store_dir: Path, tmp_path: Path) -> None:
    order, path = pixel_order(7, 784), tmp_path / "order.txt"
    path.write_text(permutation_text(order))
    assert sorted(order) == list(range(784))
    by_seed, by_file, plain = (PixelMNIST(str(root), (255, 1, 1), permutation=given) for given in (7, str(path), None))
    assert by_seed.fingerprint() == by_file.fingerprint() != plain.fingerprint()
    assert_text_has(by_seed.notes[0], "7", hashlib.sha256(path.read_bytes()).hexdigest())
    frames = _frames(root, store_dir, [255, 1, 1], permutation=str(path))
    assert np.array_equal(frames[:, :, 0].T, (_pixels(root)[:, order] / np.float32(255)).astype(np.float32))


def test_a_permutation_is_read_from_a_tensor(root: Path, tmp_path: Path) -> None:
    order, path = torch.randperm(784, generator=torch.Generator().manual_seed(3)), tmp_path / "order.pt"
    torch.save(order, path)
    assert PixelMNIST(str(root), (255, 1, 1), permutation=str(path)).pixel_order.tolist() == order.tolist()


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (torch.arange(783), ("int64", 784)),
        (torch.arange(784.0), ("int64",)),
        ({"order": torch.arange(784)}, ("int64",)),
        (torch.zeros(784, dtype=torch.int64), (783,)),
    ],
)
def test_a_tensor_that_is_no_permutation_is_refused(root: Path, tmp_path: Path, content: Any, facts: tuple) -> None:
    torch.save(content, tmp_path / "order.pt")
    with assert_raises(DataError, "data.permutation", "order.pt", *facts):
        PixelMNIST(str(root), (255, 1, 1), permutation=str(tmp_path / "order.pt"))


def test_a_permutation_that_would_run_code_is_refused_and_runs_none(root: Path, tmp_path: Path) -> None:
    torch.save(_Hostile(tmp_path / "ran"), tmp_path / "order.pt")
    with assert_raises(DataError, "order.pt", "posix.mkdir"):
        PixelMNIST(str(root), (255, 1, 1), permutation=str(tmp_path / "order.pt"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("0 1 2", ("3 numbers", 781)),
        ("".join(f"{n} " for n in [*range(783), 5]), ("784 numbers", "lacks 1 ")),
        ("zero", ()),
        ("\u00e9", ()),
        ("9" * 30, ()),
        ("0 " * 40_000, ("larger",)),
        (None, ()),
    ],
)
def test_a_file_that_is_no_permutation_is_refused(root: Path, tmp_path: Path, text: str | None, facts: tuple) -> None:
    path = tmp_path / "order.txt"
    if text is not None:
        path.write_text(text, "utf-8")
    with assert_raises(DataError, "data.permutation", "order.txt", *facts, "0 to 783"):
        PixelMNIST(str(root), (255, 1, 1), permutation=str(path))


def test_other_digits_or_another_order_are_refused(root: Path) -> None:
    name = "train-labels-idx1-ubyte"
    found = hashlib.sha256((root / "smnist" / name).read_bytes()).hexdigest()
    assert len(PixelMNIST(str(root), (255, 1, 1), sha256={name: found})) == 9
    with assert_raises(DataError, "data.sha256", name, "order", "null"):
        PixelMNIST(str(root), (255, 1, 1), sha256={name: "0" * 64})
    with assert_raises(ConfigError, "data.sha256", "labels", name):
        PixelMNIST(str(root), (255, 1, 1), sha256={"labels": found})


@pytest.mark.parametrize("sensor", [(256, 1, 1), (255, 2, 1)])
def test_more_levels_than_grey_values_are_refused(root: Path, sensor: tuple[int, int, int]) -> None:
    with assert_raises(ConfigError, "sensor_size", "[W, 1, P]", list(sensor)):
        PixelMNIST(str(root), sensor)
