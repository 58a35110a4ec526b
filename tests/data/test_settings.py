from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest

from snnlab.data.data_settings import DataSettings, build_dataset, read_settings
from snnlab.data.dataset import DATASETS
from snnlab.errors import ConfigError, DataError, UnknownSettingError

from ..refusals import assert_raises, assert_text_has

GOOD: dict[str, Any] = {"sensor_size": [34, 34, 2], "num_classes": 10, "duration_ms": 320.0, "num_bins": 32}


def _settings(**changes: Any) -> DataSettings:
    return DataSettings(**{**GOOD, **changes})


class _Toy:
    """A dataset whose facts the tests choose."""

    label, groups = "toy", None
    targets = split = np.zeros(0, np.int64)

    def __init__(self, classes: int = 10, width: int = 34, root: str | None = None, download: bool = True) -> None:
        if classes > 100:
            raise ValueError("classes must be 100 or less")
        self.num_classes, self.sensor_size = classes, (width, 34, 2)
        self.given = (root, download)


def test_a_dataset_keeps_its_own_defaults(toy: str) -> None:
    class Kept(_Toy):
        def __init__(self, root: str | None = "recordings", download: bool = False) -> None:
            super().__init__(root=root, download=download)

    DATASETS._entries["toy"] = Kept
    node = {"type": toy, **GOOD}
    for given, expected in (
        ({}, ("recordings", False)),
        ({"root": None}, ("recordings", False)),
        ({"root": "mine", "download": True}, ("mine", True)),
    ):
        assert cast(Kept, build_dataset({**node, **given})).given == expected


@pytest.fixture
def toy() -> Iterator[str]:
    DATASETS.register("toy")(_Toy)
    yield "toy"
    del DATASETS._entries["toy"]


@pytest.mark.parametrize(
    ("changes", "message_parts"),
    [
        ({"sensor_size": [34, 34]}, ("sensor_size", "[W, H, P]", [34, 34])),
        ({"sensor_size": [34, 34, 0]}, ("sensor_size",)),
        ({"sensor_size": [34, 0, 2]}, ("sensor_size",)),
        ({"sensor_size": []}, ("sensor_size",)),
        ({"num_classes": 1}, ("num_classes", 2, 1)),
        ({"batch_size": 0}, ("batch_size", 1, 0)),
        ({"num_workers": -1}, ("num_workers", 0, -1)),
        ({"split_seed": -3}, ("split_seed", 0, -3)),
        ({"val_fraction": -0.1}, ("val_fraction",)),
        ({"val_fraction": 1}, ("val_fraction",)),
        ({"val_fraction": float("nan")}, ("val_fraction",)),
        ({"duration_ms": 0}, ("duration_ms",)),
        ({"duration_ms": float("nan")}, ("duration_ms",)),
        ({"duration_ms": float("inf")}, ("duration_ms",)),
        ({"num_bins": 0}, ("num_bins", 1, "20,000", 0)),
        ({"num_bins": 20_001}, ("num_bins", 1, "20,000")),
        ({"num_bins": 1_000_000, "bin_by": "count"}, ("num_bins", 1, "20,000")),
        ({"num_bins": None}, ("", "num_bins")),
        ({"dt": 10.0}, ("", "num_bins")),
        ({"num_bins": None, "dt": 0.0}, ("dt",)),
        ({"num_bins": None, "dt": -1.0}, ("dt",)),
        ({"num_bins": None, "dt": float("inf")}, ("dt",)),
    ],
)
def test_a_value_out_of_range_is_named(changes: dict[str, Any], message_parts: tuple) -> None:
    with assert_raises((ValueError, ConfigError), *message_parts):
        _settings(**changes)


def test_bins_and_dt_are_equivalent() -> None:
    bins, dt = _settings(), _settings(num_bins=None, dt=10.0)
    assert (bins.steps, bins.step_ms, bins.duration_us) == (32, 10.0, 320_000)
    assert (dt.steps, dt.step_ms, dt.duration_us) == (32, 10.0, 320_000)


def test_bins_need_not_divide_the_window() -> None:
    assert _settings(num_bins=30).step_ms == pytest.approx(10.6667, abs=1e-4)


@pytest.mark.parametrize(("duration", "dt", "steps"), [(0.3, 0.1, 3), (1.1, 0.1, 11), (9, 1e-3, 9_000), (5, 5, 1)])
def test_dt_is_divided_in_decimals(duration: float, dt: float, steps: int) -> None:
    assert _settings(duration_ms=duration, num_bins=None, dt=dt).steps == steps


@pytest.mark.parametrize(("dt", "bins", "step"), [(7.0, 46, "6.95652"), (0.3, 1067, "0.299906"), (1000.0, 1, "320")])
def test_a_dt_that_does_not_divide_proposes_bins(dt: float, bins: int, step: str) -> None:
    with assert_raises(ConfigError, "dt", dt, "num_bins", bins, step):
        _settings(num_bins=None, dt=dt)
    assert _settings(num_bins=bins).step_ms == pytest.approx(float(step), rel=1e-4)


@pytest.mark.parametrize(
    ("sensor", "shape"),
    [
        ((34, 34, 2), (2, 34, 34)),
        ((40, 30, 2), (2, 30, 40)),
        ((34, 34, 1), (1, 34, 34)),
        ((700, 1, 1), (700,)),
        ((64, 1, 2), (2, 64)),
    ],
)
def test_a_frame_has_rows_and_polarities_where_the_sensor_has_them(
    sensor: tuple[int, int, int], shape: tuple[int, ...]
) -> None:
    settings = _settings(sensor_size=list(sensor))
    assert settings.size == sensor
    assert settings.frame_shape == shape


def test_a_node_is_divided_into_shared_and_own_settings() -> None:
    node = {"type": "saccade_digits", "simulation_seed": 3, "batch_size": 4, **GOOD}
    shared, kind, own = read_settings(node)
    assert (shared.batch_size, kind, own) == (4, "saccade_digits", {"simulation_seed": 3})
    assert node["type"] == "saccade_digits"  # the caller's node is as it was


def test_an_unknown_setting_is_refused_with_all_known_ones() -> None:
    with assert_raises(UnknownSettingError, "data.btch_size", "batch_size"):
        read_settings({"type": "saccade_digits", "btch_size": 4, **GOOD})
    takes = ("num_bins", "duration_ms (ms)", "val_fraction", "simulation_seed")
    with assert_raises(UnknownSettingError, "data.zzz", *takes) as caught:
        read_settings({"type": "saccade_digits", "zzz": 4, **GOOD})
    assert "root" not in str(caught.value)
    with assert_raises(UnknownSettingError, "data.simulaton_seed", "simulation_seed"):
        read_settings({"type": "saccade_digits", "simulaton_seed": 4, **GOOD})


@pytest.mark.parametrize(
    ("changes", "message_parts"),
    [
        ({"type": None}, ("data", "type")),
        ({"type": "nmist"}, ("data.type", "nmist", "nmnist")),
        ({"num_bins": 2.5}, ("data.num_bins", "expected")),
        ({"simulation_seed": "x"}, ("data.simulation_seed", "expected")),
        ({"batch_size": 0}, ("data.batch_size", 1)),
        ({"dt": 3.0}, ("data", "num_bins")),
        ({"root": "here"}, ("data.root", "saccade_digits")),
        ({"download": False}, ("data.download", "saccade_digits")),
        ({"type": "folder", "download": True}, ("data.download", "fetches")),
    ],
)
def test_a_mistake_in_the_node_names_its_place(changes: dict[str, Any], message_parts: tuple) -> None:
    with assert_raises(ConfigError, *message_parts):
        read_settings({"type": "saccade_digits", **GOOD, **changes})


def test_missing_files_are_named() -> None:
    with assert_raises(ConfigError, "data", "saccade_digits", "num_classes", "duration_ms"):
        read_settings({"type": "saccade_digits", "sensor_size": [34, 34, 2], "num_bins": 32})


def test_a_dataset_gets_its_own_settings_and_the_shared_ones_it_takes(toy: str) -> None:
    dataset = build_dataset({"type": toy, "root": "here", "download": False, "classes": 10, **GOOD})
    assert isinstance(dataset, _Toy)
    assert dataset.given == ("here", False)


def test_a_contradiction_between_yaml_and_recordings_is_refused(toy: str) -> None:
    with assert_raises(DataError, "data.num_classes", 10, 11):
        build_dataset({"type": toy, "classes": 11, **GOOD})
    with assert_raises(DataError, "data.sensor_size", [34, 34, 2], [35, 34, 2]):
        build_dataset({"type": toy, "width": 35, **GOOD})


def test_an_error_of_a_dataset_names_its_place(toy: str) -> None:
    with assert_raises(ConfigError, "data", "classes", 100):
        build_dataset({"type": toy, "classes": 101, **GOOD})


@pytest.mark.parametrize(
    ("given", "shape", "text"),
    [
        ({}, (2, 34, 34), ("20 steps", "16 ms")),
        ({"representation": "signed"}, (1, 34, 34), ("20 steps", "16 ms")),
        ({"representation": {"type": "binary", "merge": True}, "downsample": 2}, (1, 17, 17), ("20 steps", "16 ms")),
        ({"crop": [1, 2, 30, 20], "bin_by": "count"}, (2, 20, 30), ("20 steps",)),
        ({"bin_by": "count", "events_per_bin": 1000}, (2, 34, 34), ("most 20 steps", "1,000 events")),
    ],
)
def test_frames_equal_a_plain_loop(given: dict[str, Any], shape: tuple[int, ...], text: tuple) -> None:
    settings, _, _ = read_settings({"type": "saccade_digits", **GOOD, "num_bins": 20, **given})
    assert settings.frame_shape == shape
    assert_text_has(settings.steps_text, *text)
    assert (settings.step_ms is None) == (settings.bin_by == "count")


@pytest.mark.parametrize(
    ("given", "message_parts"),
    [
        ({"representation": "binari"}, ("data.representation.type", "binari", "binary")),
        ({"representation": {"type": "binary", "tau": 3}}, ("data.representation.tau",)),
        ({"representation": {"type": "time_surface", "tau": 0}}, ("data.representation.tau", "> 0")),
        ({"crop": [0, 0, 40, 34]}, ("data.crop", "[left, top, width, height]", "34")),
        ({"crop": [0, 0]}, ("data.crop", "[left, top, width, height]")),
        ({"bin_by": "counts"}, ("data.bin_by", "count")),
        ({"bin_by": "count", "num_bins": None, "dt": 10.0}, ("data.bin_by",)),
        ({"bin_by": "count", "representation": "rate"}, ("data.representation", "bin_by")),
        ({"hot_pixels_hz": 0}, ("data.hot_pixels_hz", "> 0")),
        ({"stabilize": True, "camera_path": None}, ("data.stabilize", "camera_path")),
        ({"camera_path": [[0, 0, 0]]}, ("data.camera_path",)),
        (
            {"stabilize": True, "camera_path": [[0, 0, 0], [9, 1, 1]], "hot_pixels_hz": 9.0},
            ("data", "pixels"),
        ),
        ({"fold": 1}, ("data.fold", "1")),
        ({"folds": 3, "fold": 3}, ("data.fold", "folds")),
        ({"folds": 3, "split_file": "a.csv"}, ("data", "split_file")),
    ],
)
def test_invalid_frames_and_splits_are_refused(given: dict[str, Any], message_parts: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *message_parts):
        read_settings({"type": "saccade_digits", **GOOD, "num_bins": 20, **given})


def test_only_a_dataset_that_takes_other_targets_has_them(toy: str) -> None:
    with assert_raises(ConfigError, "data.targets", "value", "data=folder"):
        read_settings({"type": toy, **GOOD, "targets": "value"})
    assert read_settings({"type": "folder", **GOOD, "root": "x", "num_classes": 1, "targets": "value"})[0].targets


@pytest.mark.parametrize(
    ("changes", "message_parts"),
    [
        ({"targets": "values"}, ("targets",)),
        ({"targets": "steps", "bin_by": "count"}, ("targets",)),
        ({"targets": "steps", "num_classes": 1}, ("num_classes", 2)),
        ({"targets": "value", "num_classes": 0}, ("num_classes", 1)),
    ],
)
def test_invalid_targets_are_refused(changes: dict[str, Any], message_parts: tuple) -> None:
    with assert_raises((ValueError, ConfigError), *message_parts):
        _settings(**changes)
