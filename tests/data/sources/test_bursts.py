from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from snnlab.data.data_settings import build_dataset
from snnlab.data.events import Events, check_events
from snnlab.data.sources.simulated_classes import BurstSequences
from snnlab.errors import ConfigError

from ...refusals import assert_raises

NODE: dict[str, Any] = {"type": "burst_sequences", "duration_ms": 200.0, "num_bins": 200, "sensor_size": [10, 1, 1]}


def source(**changes: Any) -> BurstSequences:
    return BurstSequences(**{"sensor_size": [10, 1, 1], "num_classes": 4, "num_recordings": 800, **changes})


def probabilities(dataset: BurstSequences, target: int) -> np.ndarray:
    """Return the fraction of a class's recordings with a spike, `[steps, channels]`."""
    counts, indices = np.zeros((200, 10)), np.flatnonzero(dataset.targets == target).tolist()
    for index in indices:
        events = dataset.read(index)
        counts[events.t // 1000, events.x] += 1
    return counts / len(indices)


def test_the_yaml_builds_recordings_of_one_row_of_channels_and_of_the_window() -> None:
    dataset = build_dataset({**NODE, "num_classes": 5, "num_recordings": 20})
    assert (dataset.num_classes, dataset.sensor_size) == (5, (10, 1, 1))
    assert dataset.targets.tolist() == list(range(5)) * 4
    events = dataset.read(3)
    check_events(events, dataset.sensor_size, dataset.name(3))
    assert events.t.max() < 200_000
    assert len(np.unique(events.t * 10 + events.x)) == len(events.t)  # at most one spike of a channel in a step


def test_fixed_channels_burst_at_the_time_of_their_class_and_the_others_anywhere() -> None:
    dataset = source()
    found = probabilities(dataset, 1)
    channels, times = dataset.classes.channels[1], dataset.classes.times[1]
    step = np.arange(200)[:, None]
    expected = 0.05 + 0.75 * np.exp(-((step - times) ** 2) / (2 * 10.0))  # a variance of 0.1, in units of ten steps
    assert np.abs(found[:, channels] - expected).max() < 5 * 0.5 / 200**0.5
    others = np.delete(found, channels, axis=1)
    assert others.max() < 0.3
    assert others[:15].mean() == pytest.approx(0.05, abs=0.01)  # no burst is so early


def test_the_number_of_spikes_of_a_channel_tells_nothing_about_the_class() -> None:
    dataset = source()
    totals = np.array([probabilities(dataset, target).sum(0) for target in range(2)])
    assert np.abs(totals[0] - totals[1]).max() < 5 * (totals.mean() * 2 / 200) ** 0.5


def test_a_recording_is_made_from_the_seed_and_its_place_alone() -> None:
    def same(one: Events, other: Events) -> bool:
        return np.array_equal(one.t, other.t) and np.array_equal(one.x, other.x)

    dataset = source()
    first = dataset.read(5)
    dataset.read(6)
    assert same(source(num_recordings=8).read(5), first)
    assert not same(source(simulation_seed=1).read(5), first)
    assert not same(dataset.read(9), first)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"num_recordings": 7}, ("data.num_recordings", 8, 7)),
        ({"fixed_channels": 11}, ("data.fixed_channels", 10, 11)),
        ({"fixed_channels": 0}, ("data.fixed_channels", 1, 0)),
        ({"sensor_size": [10, 2, 1]}, ("data.sensor_size", "[10, 2, 1]")),
        ({"simulation_seed": -1}, ("data.simulation_seed", 0, -1)),
    ],
)
def test_a_setting_out_of_range_is_named(changes: dict[str, Any], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        build_dataset({**NODE, "num_classes": 4, "num_recordings": 8, **changes})


def test_a_fifth_of_each_class_is_for_testing() -> None:
    dataset = source()
    assert np.bincount(dataset.targets[dataset.split == 1]).tolist() == [40] * 4
