from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.data.data_settings import build_dataset
from snnlab.data.events import Events, check_events
from snnlab.data.events.packing import store_path
from snnlab.data.sources.simulated_classes import SpikePatterns
from snnlab.errors import ConfigError, UnknownSettingError

from ...refusals import assert_raises

NODE: dict[str, Any] = {"type": "spike_patterns", "duration_ms": 1000.0, "num_bins": 100}


def _source(**changes: Any) -> SpikePatterns:
    return SpikePatterns(**{"sensor_size": [60, 1, 1], "num_classes": 4, "num_recordings": 40, **changes})


def _same(one: Events, other: Events) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None)


@pytest.mark.parametrize(("sensor", "classes"), [([700, 1, 1], 10), ([28, 28, 1], 5), ([16, 8, 2], 20)])
def test_the_yaml_says_size_and_classes_once(sensor: list[int], classes: int) -> None:
    dataset = build_dataset({**NODE, "sensor_size": sensor, "num_classes": classes})
    assert dataset.sensor_size == tuple(sensor)
    assert dataset.num_classes == classes
    assert set(dataset.targets) == set(range(classes))
    events = dataset.read(3)
    check_events(events, dataset.sensor_size, dataset.name(3))
    assert events.x.max() == sensor[0] - 1


@pytest.mark.parametrize(
    ("changes", "message_parts"),
    [
        ({"num_classes": 121}, ("data.num_classes", 120, 5, 121)),
        ({"num_recordings": 19}, ("data.num_recordings", 20, 19)),
        ({"simulation_seed": -1}, ("data.simulation_seed", 0, -1)),
        ({"recipe": {}}, ("data.recipe",)),
    ],
)
def test_a_setting_out_of_range_is_named(changes: dict[str, Any], message_parts: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *message_parts):
        build_dataset({**NODE, "sensor_size": [60, 1, 1], "num_classes": 10, **changes})


def test_a_recording_is_made_from_the_seed_and_its_place_alone() -> None:
    source = _source()
    first = source.read(5)
    source.read(6)
    assert _same(source.read(5), first)
    assert _same(_source(num_recordings=400).read(5), first)
    assert not _same(source.read(9), first)  # of the same class
    check_events(first, source.sensor_size, source.name(5))


def test_another_seed_makes_other_motifs_orders_and_recordings() -> None:
    one, other = _source(), _source(simulation_seed=1)
    assert not np.array_equal(one._motifs.time, other._motifs.time)
    assert not np.array_equal(one._orders, other._orders)
    assert not _same(one.read(0), other.read(0))


def test_a_fifth_of_each_class_is_for_testing_and_the_same_for_everyone() -> None:
    source = SpikePatterns([700, 1, 1], 10, simulation_seed=9)
    assert len(source) == 2000
    for k in range(10):
        assert source.split[source.targets == k].tolist().count(1) == 40
    # Published results depend on it: it must never change.
    places = np.flatnonzero(source.split)
    assert (places[:8].tolist(), places.sum()) == ([5, 18, 21, 22, 31, 33, 37, 38], 395_600)


def test_the_first_recording_is_the_same_for_everyone() -> None:
    events = SpikePatterns([700, 1, 1], 10).read(0)
    # A change of the generator needs a change of the recipe, else old stores would be opened as new ones.
    assert (events.t.size, events.t[-1]) == (1453, 999_750)
    assert list(zip(events.t[:4], events.x[:4], strict=True)) == [(4101, 381), (6905, 455), (8397, 506), (17_651, 227)]


@pytest.mark.parametrize(
    "changes", [{"simulation_seed": 1}, {"sensor_size": [30, 2, 1]}, {"num_classes": 5}, {"num_recordings": 41}]
)
def test_the_store_follows_everything_that_decides_the_recordings(changes: dict[str, Any], tmp_path: Path) -> None:
    assert store_path(_source(), tmp_path) == store_path(_source(), tmp_path)
    assert store_path(_source(**changes), tmp_path) != store_path(_source(), tmp_path)
