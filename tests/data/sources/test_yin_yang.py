from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.config.compose import compose_experiment
from snnlab.data.data_settings import build_dataset, read_settings
from snnlab.data.events import check_events
from snnlab.data.sources.yin_yang import YinYang
from snnlab.errors import ConfigError

from ...refusals import assert_raises


def source(**changes: Any) -> YinYang:
    return YinYang(**{"num_train": 20, "num_val": 5, "num_test": 5, **changes})


def test_points_and_classes_equal_the_published_arrays_bit_for_bit(real_data: Path) -> None:
    published = real_data / "foreign" / "yin_yang"
    dataset = YinYang()
    for part, code in (("train", 0), ("test", 1), ("validation", 2)):
        of_part = dataset.split == code
        assert np.array_equal(dataset.values[of_part], np.load(published / f"{part}_samples.npy"))
        assert np.array_equal(dataset.targets[of_part], np.load(published / f"{part}_labels.npy"))


def test_the_yaml_builds_the_published_numbers_in_its_window() -> None:
    node = compose_experiment(["data=yin_yang"], None)[0].data
    dataset, settings = build_dataset(node), read_settings(node)[0]
    assert np.bincount(dataset.split).tolist() == [5000, 1000, 1000]
    assert (dataset.sensor_size, dataset.num_classes) == ((5, 1, 1), 3)
    events = [dataset.read(index) for index in range(50)]
    for index, one in enumerate(events):
        check_events(one, dataset.sensor_size, dataset.name(index))
    assert max(one.t[-1] for one in events) < 1000 * settings.duration_ms


def test_values_are_times_between_the_earliest_and_the_latest_with_a_bias_spike() -> None:
    dataset = source(earliest_ms=5.0, latest_ms=25.0, bias_ms=12.0)
    events, values = dataset.read(3), dataset.values[3]
    times = dict(zip(events.x.tolist(), events.t.tolist(), strict=True))
    assert [times[channel] for channel in range(4)] == np.rint(5000 + 20000 * values).tolist()
    assert times[4] == 12000
    assert (np.diff(events.t) >= 0).all()
    assert sorted(source(bias_ms=None).read(3).x.tolist()) == [0, 1, 2, 3]


def test_points_depend_on_their_part_and_its_seed_alone() -> None:
    one, other = source(), source(num_train=10, seeds=[42, 3, 40])
    assert np.array_equal(one.values[:10], other.values[:10])
    assert np.array_equal(one.values[25:], other.values[15:])
    assert not np.array_equal(one.values[20:25], other.values[10:15])


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"seeds": [1, 1, 2]}, ("seeds", "[1, 1, 2]")),
        ({"seeds": [1, 2]}, ("seeds", "[1, 2]")),
        ({"earliest_ms": 30.0}, ("latest_ms", "30 ms")),
    ],
)
def test_settings_that_give_no_data_set_are_refused(changes: dict[str, Any], facts: tuple[str, ...]) -> None:
    with assert_raises(ConfigError, *facts):
        source(**changes)
