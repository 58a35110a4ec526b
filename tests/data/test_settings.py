from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from snnlab.data.registry import DATASETS
from snnlab.data.settings import DataSettings, build_dataset, read_settings
from snnlab.errors import ConfigError, DataError

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


@pytest.fixture
def toy() -> Iterator[str]:
    DATASETS.register("toy")(_Toy)
    yield "toy"
    del DATASETS._entries["toy"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sensor_size": [34, 34]}, r"sensor_size is \[W, H, P\], got \[34, 34\]"),
        ({"sensor_size": [34, 34, 0]}, "sensor_size: must be >= 1"),
        ({"sensor_size": [34, 0, 2]}, "sensor_size: must be >= 1"),
        ({"sensor_size": []}, "sensor_size is"),
        ({"num_classes": 1}, "num_classes: must be >= 2, got 1"),
        ({"batch_size": 0}, "batch_size: must be >= 1, got 0"),
        ({"num_workers": -1}, "num_workers: must be >= 0, got -1"),
        ({"split_seed": -3}, "split_seed: must be >= 0, got -3"),
        ({"val_fraction": -0.1}, "val_fraction: must be >= 0 and < 1"),
        ({"val_fraction": 1}, "val_fraction: must be >= 0 and < 1"),
        ({"val_fraction": float("nan")}, "val_fraction: must be >= 0 and < 1"),
        ({"duration_ms": 0}, "duration_ms: must be > 0"),
        ({"duration_ms": float("nan")}, "duration_ms: must be > 0"),
        ({"duration_ms": float("inf")}, "duration_ms: must be > 0"),
        ({"num_bins": 0}, "num_bins: must be between 1 and 20,000, got 0"),
        ({"num_bins": 20_001}, "num_bins: must be between 1 and 20,000, got 20001"),
        ({"num_bins": 1_000_000, "bin_by": "count"}, "num_bins: must be between 1 and 20,000, got 1000000"),
        ({"num_bins": None}, "exactly one of num_bins and dt"),
        ({"dt": 10.0}, "exactly one of num_bins and dt"),
        ({"num_bins": None, "dt": 0.0}, "dt: must be > 0"),
        ({"num_bins": None, "dt": -1.0}, "dt: must be > 0"),
        ({"num_bins": None, "dt": float("inf")}, "dt: must be > 0"),
    ],
)
def test_a_value_out_of_range_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^.*{message}"):
        _settings(**changes)


def test_bins_and_dt_say_the_same_thing() -> None:
    bins, dt = _settings(), _settings(num_bins=None, dt=10.0)
    assert (bins.steps, bins.step_ms, bins.duration_us) == (32, 10.0, 320_000)
    assert (dt.steps, dt.step_ms, dt.duration_us) == (32, 10.0, 320_000)


def test_bins_need_not_divide_the_window() -> None:
    assert _settings(num_bins=30).step_ms == pytest.approx(10.6667, abs=1e-4)


@pytest.mark.parametrize(("duration", "dt", "steps"), [(0.3, 0.1, 3), (1.1, 0.1, 11), (9, 1e-3, 9_000), (5, 5, 1)])
def test_whether_dt_divides_is_asked_in_decimals(duration: float, dt: float, steps: int) -> None:
    assert _settings(duration_ms=duration, num_bins=None, dt=dt).steps == steps


@pytest.mark.parametrize(("dt", "bins", "step"), [(7.0, 46, "6.95652"), (0.3, 1067, "0.299906"), (1000.0, 1, "320")])
def test_a_dt_that_does_not_divide_proposes_bins(dt: float, bins: int, step: str) -> None:
    with pytest.raises(ValueError, match=f"num_bins: {bins} gives {step} ms a step$"):
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


def test_a_node_is_divided_into_what_all_share_and_the_datasets_own() -> None:
    node = {"type": "saccade_digits", "simulation_seed": 3, "batch_size": 4, **GOOD}
    shared, kind, own = read_settings(node)
    assert (shared.batch_size, kind, own) == (4, "saccade_digits", {"simulation_seed": 3})
    assert node["type"] == "saccade_digits"  # the caller's node is as it was


def test_an_unknown_setting_is_refused_with_all_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"^data: unknown setting 'btch_size'.*Did you mean 'batch_size'"):
        read_settings({"type": "saccade_digits", "btch_size": 4, **GOOD})
    with pytest.raises(ConfigError, match=r"^data: unknown setting 'zzz'") as caught:
        read_settings({"type": "saccade_digits", "zzz": 4, **GOOD})
    for name in ("num_bins", "duration_ms (ms)", "val_fraction", "simulation_seed"):
        assert name in str(caught.value)
    assert "root" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"Did you mean 'simulation_seed'"):
        read_settings({"type": "saccade_digits", "simulaton_seed": 4, **GOOD})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": None}, r"^data: needs a type"),
        ({"type": "nmist"}, r"^data\.type: there is no dataset 'nmist'\. Did you mean 'nmnist'"),
        ({"num_bins": 2.5}, r"^data\.num_bins: expected a whole number"),
        ({"simulation_seed": "x"}, r"^data\.simulation_seed: expected a whole number"),
        ({"batch_size": 0}, r"^data\.batch_size: must be >= 1"),
        ({"dt": 3.0}, r"^data: give exactly one of num_bins and dt"),
        ({"root": "here"}, r"^data\.root: saccade_digits reads no files.* one of asldvs, .* folder, .* nmnist"),
        ({"download": False}, r"^data\.download: saccade_digits fetches nothing.* one of asldvs, .* nmnist"),
        ({"type": "folder", "download": True}, r"^data\.download: folder fetches nothing"),
    ],
)
def test_a_mistake_in_the_node_names_its_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_settings({"type": "saccade_digits", **GOOD, **changes})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^data: saccade_digits needs num_classes, duration_ms \(ms\)$"):
        read_settings({"type": "saccade_digits", "sensor_size": [34, 34, 2], "num_bins": 32})


def test_a_dataset_gets_its_own_settings_and_the_shared_ones_it_asks_for(toy: str) -> None:
    dataset = build_dataset({"type": toy, "root": "here", "download": False, "classes": 10, **GOOD})
    assert isinstance(dataset, _Toy)
    assert dataset.given == ("here", False)


def test_a_contradiction_between_yaml_and_recordings_is_refused(toy: str) -> None:
    with pytest.raises(DataError, match=r"^data\.num_classes: 10, but toy has 11 classes$"):
        build_dataset({"type": toy, "classes": 11, **GOOD})
    with pytest.raises(DataError, match=r"^data\.sensor_size: \[34, 34, 2\], but toy's sensor is \[35, 34, 2\]$"):
        build_dataset({"type": toy, "width": 35, **GOOD})


def test_what_a_dataset_refuses_names_its_place(toy: str) -> None:
    with pytest.raises(ConfigError, match=r"^data: classes must be 100 or less$"):
        build_dataset({"type": toy, "classes": 101, **GOOD})


@pytest.mark.parametrize(
    ("given", "shape", "text"),
    [
        ({}, (2, 34, 34), "20 steps of 16 ms"),
        ({"frames": "signed"}, (1, 34, 34), "20 steps of 16 ms"),
        ({"frames": {"type": "binary", "merge": True}, "downsample": 2}, (1, 17, 17), "20 steps of 16 ms"),
        ({"crop": [1, 2, 30, 20], "bin_by": "count"}, (2, 20, 30), "20 steps of equally many events"),
        ({"bin_by": "count", "events_per_bin": 1000}, (2, 34, 34), "at most 20 steps of 1,000 events"),
    ],
)
def test_how_events_become_frames(given: dict[str, Any], shape: tuple[int, ...], text: str) -> None:
    settings, _, _ = read_settings({"type": "saccade_digits", **GOOD, "num_bins": 20, **given})
    assert settings.frame_shape == shape
    assert settings.steps_text == text
    assert (settings.step_ms is None) == (settings.bin_by == "count")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"frames": "binari"}, r"^data\.frames\.type: there is no kind of frames 'binari'\. Did you mean 'binary'"),
        ({"frames": {"type": "binary", "tau": 3}}, r"^data\.frames: unknown setting 'tau'"),
        ({"frames": {"type": "time_surface", "tau": 0}}, r"^data\.frames\.tau: must be > 0"),
        ({"crop": [0, 0, 40, 34]}, r"^data: crop is \[left, top, width, height\] within 34 x 34"),
        ({"crop": [0, 0]}, r"^data: crop is \[left, top, width, height\], got"),
        ({"bin_by": "counts"}, r"data\.bin_by|bin_by must be time or count"),
        ({"bin_by": "count", "num_bins": None, "dt": 10.0}, r"^data: bin_by: count has no dt"),
        ({"bin_by": "count", "frames": "rate"}, r"^data: frames of this type need bin_by: time"),
        ({"hot_pixels_hz": 0}, r"^data\.hot_pixels_hz: must be > 0"),
        ({"still": True, "camera_path": None}, r"^data: still: needs camera_path"),
        ({"camera_path": [[0, 0, 0]]}, r"^data: camera_path must be two or more corners"),
        (
            {"still": True, "camera_path": [[0, 0, 0], [9, 1, 1]], "hot_pixels_hz": 9.0},
            r"^data: give still or hot_pixels",
        ),
        ({"fold": 1}, r"^data: fold: 1 needs folds"),
        ({"folds": 3, "fold": 3}, r"^data\.fold: must be < 3"),
        ({"folds": 3, "split_file": "a.csv"}, r"^data: give folds or split_file"),
    ],
)
def test_frames_and_splits_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_settings({"type": "saccade_digits", **GOOD, "num_bins": 20, **given})


def test_only_a_dataset_that_takes_other_targets_has_them(toy: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.targets: value is for data=folder; recordings of toy have a class"):
        read_settings({"type": toy, **GOOD, "targets": "value"})
    assert read_settings({"type": "folder", **GOOD, "root": "x", "num_classes": 1, "targets": "value"})[0].targets


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"targets": "values"}, "targets: expected one of class, value, steps, got 'values'"),
        ({"targets": "steps", "bin_by": "count"}, "targets: steps are labels at times"),
        ({"targets": "steps", "num_classes": 1}, "num_classes: must be >= 2"),
        ({"targets": "value", "num_classes": 0}, "num_classes: must be >= 1"),
    ],
)
def test_targets_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _settings(**changes)
