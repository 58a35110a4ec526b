"""MNIST's digits before the simulated camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snnlab.data.events import open_or_build
from snnlab.data.events.simulators import simulate_saccades
from snnlab.data.sources.saccades import SaccadeMNIST
from snnlab.errors import ConfigError, DataError, UnknownSettingError

from ...refusals import assert_raises


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "smnist", np.random.default_rng(0)
    folder.mkdir()
    for part, size in {"train": 5, "t10k": 3}.items():
        images = rng.integers(0, 256, (size, 28, 28)).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", np.arange(size, dtype=np.uint8))):
            head = np.array([0x0800 + array.ndim, *array.shape], ">u4")
            (folder / f"{part}-{name}-ubyte").write_bytes(head.tobytes() + array.tobytes())
    return tmp_path


def test_each_digit_is_simulated_with_a_camera_of_its_own(root: Path, store_dir: Path) -> None:
    source = SaccadeMNIST(str(root), simulation_seed=3)
    store = open_or_build(source, store_dir)
    assert store.targets.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert store.split.tolist() == [0] * 5 + [1] * 3
    for index in (0, 6):
        expected = simulate_saccades(source.image(index), np.random.default_rng([3, index]))
        assert np.array_equal(store[index].t, expected.t)
        assert np.array_equal(store[index].x, expected.x)
    assert source.image(2).max() <= 1


def test_fewer_digits_are_the_first_ones_with_the_same_cameras(root: Path) -> None:
    few, every = SaccadeMNIST(str(root), num_train=2, num_test=1), SaccadeMNIST(str(root))
    assert len(few) == 3
    assert few.split.tolist() == [0, 0, 1]
    assert np.array_equal(few.read(2).t, every.read(5).t)
    assert few.name(2) == every.name(5)
    assert few.fingerprint() != every.fingerprint()


def test_digits_before_the_first_one_and_test_digits_can_be_left_out(root: Path) -> None:
    rest, every = SaccadeMNIST(str(root), first_train=3, num_test=0), SaccadeMNIST(str(root))
    assert rest.targets.tolist() == [2, 3, 4]
    assert rest.name(0) == every.name(2)
    assert np.array_equal(rest.read(0).t, every.read(2).t)
    other = SaccadeMNIST(str(root), first_train=2, num_train=3, num_test=0)
    assert len(other) == len(rest)
    assert other.fingerprint() != rest.fingerprint()


def test_missing_files_and_impossible_numbers_are_refused(root: Path, tmp_path: Path) -> None:
    with assert_raises(ConfigError, "num_train", 1):
        SaccadeMNIST(str(root), num_train=0)
    with assert_raises(ConfigError, "first_train", 5):
        SaccadeMNIST(str(root), first_train=6)
    with assert_raises(ConfigError, "simulation_seed"):
        SaccadeMNIST(str(root), simulation_seed=-1)
    with assert_raises(DataError, "data.root", "data.download=true"):
        SaccadeMNIST(str(tmp_path / "none"), download=False)


def test_an_encoder_replaces_the_camera(root: Path, store_dir: Path) -> None:
    source = SaccadeMNIST(str(root), encoder={"type": "latency"})
    events, image = open_or_build(source, store_dir)[2], source.image(2)
    assert len(events.t) == (image >= 0.01).sum()
    assert events.y is not None
    x, y = events.x.astype(int) - 3, events.y.astype(int) - 3
    assert np.array_equal((events.t - 500) / 1000, np.round(299 * (1 - image[y, x].astype(np.float32))))
    assert events.p.all()


def test_poisson_spikes_differ_from_recording_to_recording_and_are_those_of_the_seed(root: Path) -> None:
    encoder = {"type": "poisson", "max_rate_hz": 100}
    one, again, other = (SaccadeMNIST(str(root), simulation_seed=seed, encoder=encoder) for seed in (0, 0, 1))
    assert np.array_equal(one.read(1).t, again.read(1).t)
    assert one.read(1).t.size != other.read(1).t.size
    assert one.read(1).t.size == pytest.approx(30 * one.image(1).sum(), rel=0.05)
    assert one.fingerprint() == again.fingerprint() != SaccadeMNIST(str(root)).fingerprint()


@pytest.mark.parametrize(
    ("encoder", "message_parts"),
    [
        ({"type": "delta"}, ("encoder.type", "poisson")),
        ({"type": "poisson", "rate": 5}, ("encoder.rate",)),
        ({"type": "poisson", "max_rate_hz": 2000}, ("encoder.max_rate_hz", 2000, 2)),
    ],
)
def test_an_invalid_encoder_is_refused(root: Path, encoder: dict[str, object], message_parts: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *message_parts):
        SaccadeMNIST(str(root), encoder=encoder)
