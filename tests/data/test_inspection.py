from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Events, Store, open_or_build
from snnlab.data.inspection import RangeStats, inspect
from snnlab.data.sources.recordings import NMNIST
from snnlab.data.splits import make_split


class Source:
    """Four recordings: of 1, 2, 0 and 3 events."""

    label = "four"
    groups = None
    sensor_size = (4, 2, 2)
    targets = np.array([0, 1, 1, 0])
    split = np.array([0, 0, 0, 1], np.uint8)

    def fingerprint(self) -> dict[str, Any]:
        return {}

    def __len__(self) -> int:
        return 4

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> Events:
        t = np.array([[1000], [2000, 5000], [], [0, 0, 12_000]][index] if index != 2 else np.empty(0, np.int64))
        places = np.zeros(t.size, np.int16)
        return Events(t.astype(np.int64), places, places, np.arange(t.size) % 2 == 0)


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return open_or_build(Source(), tmp_path)


def test_it_counts_events_durations_parts_and_frames(store: Store) -> None:
    settings = DataSettings((4, 2, 2), 2, 10.0, num_bins=5)
    found = inspect(store, make_split(store.targets, store.split, 0.0, 0), settings, ["left", "right"])
    train, validation, test, everything = found.parts
    assert (train.recordings, validation.recordings, test.recordings) == (3, 0, 1)
    assert validation.events is None
    assert everything.events == RangeStats(1.5, 0, 3)
    assert everything.last_ms == RangeStats(6.0, 1.0, 12.0)
    assert everything.rate == pytest.approx(6 / 18)
    assert everything.on == pytest.approx(4 / 6)
    assert [(group.name, group.recordings, group.parts) for group in found.classes] == [
        ("left", 2, (1, 0, 1)),
        ("right", 2, (2, 0, 0)),
    ]
    assert found.empty == [2]
    # 0 and 0 us are one cell of OFF and one of ON; the event at 12 ms is after the window.
    assert (found.binning.outside, found.binning.most, found.binning.sampled) == (1, 1, 4)
    assert found.binning.filled == pytest.approx(5 / (4 * 5 * 4 * 2 * 2))


def test_a_sensor_without_two_polarities_has_no_on_fraction(store: Store) -> None:
    store.sensor_size = (4, 2, 1)
    settings = DataSettings((4, 2, 1), 2, 20.0, num_bins=1)
    found = inspect(store, make_split(store.targets, store.split, 0.0, 0), settings, None)
    assert found.parts[-1].on is None
    assert [group.name for group in found.classes] == ["0", "1"]
    assert found.binning.most == 3
    assert found.binning.many == pytest.approx(2 / 3)


def test_the_genuine_recordings_of_nmnist_are_as_they_were_published(real_data: Path, tmp_path: Path) -> None:
    if not (real_data / "NMNIST").is_dir():
        pytest.skip(f"no NMNIST in {real_data}")
    recordings = NMNIST(str(real_data), download=False)
    packed = open_or_build(recordings, tmp_path)
    settings = DataSettings((34, 34, 2), 10, 320.0, num_bins=30)
    found = inspect(packed, make_split(packed.targets, packed.split, 0.1, 0), settings, None)
    train, validation, test, everything = found.parts
    assert (everything.recordings, train.recordings + validation.recordings, test.recordings) == (800, 700, 100)
    assert everything.events is not None
    assert everything.last_ms is not None
    assert round(everything.events.mean) == 4101
    assert everything.events[1:] == (1112, 6960)
    assert everything.last_ms.least == pytest.approx(297, abs=1)
    assert found.binning.many == pytest.approx(0.36, abs=0.02)  # of the cells with events, in 30 steps


def test_events_in_no_frame_are_counted(store: Store) -> None:
    whole = DataSettings([4, 2, 2], 2, 10.0, num_bins=2)
    split = make_split(store.targets, store.split, 0.0, 0)

    def dropped(settings: DataSettings) -> float:
        return inspect(store, split, settings, None).binning.dropped

    assert dropped(whole) == 0
    assert dropped(replace(whole, representation="time_surface")) == 0
    # All 5 events of the window are at pixel (0, 0).
    assert dropped(replace(whole, crop=[1, 0, 3, 2])) == 1
    # Recordings 1 and 3 have two events, of which one step by count, with one event, holds the first.
    assert dropped(replace(whole, bin_by="count", num_bins=1, events_per_bin=1)) == pytest.approx(2 / 5)


def of(targets: np.ndarray, tmp_path: Path) -> Store:
    source = Source()
    source.targets = targets
    return open_or_build(source, tmp_path)
