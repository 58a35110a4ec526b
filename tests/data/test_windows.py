"""Long recordings cut into windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.data.events import Events, Store, open_or_build
from snnlab.data.windows import Windows

# Times (us) of the events of each recording.
TIMES = [np.arange(0, 1000, 7), np.zeros(0, int), np.array([0]), np.array([99]), np.array([100]), np.array([5, 260])]


class _Source:
    label, sensor_size, groups = "long", (4, 1, 1), None
    targets, split = np.arange(6), np.zeros(6, np.uint8)

    def fingerprint(self) -> dict[str, Any]:
        return {}

    def __len__(self) -> int:
        return len(TIMES)

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> Events:
        t = TIMES[index].astype(np.int64)
        return Events(t, (t % 4).astype(np.int16), None, np.ones(t.size, bool))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_or_build(_Source(), tmp_path)


def test_windows_come_as_long_as_events_follow(store: Store) -> None:
    windows = Windows.cut(store, 50, 100)
    starts = [windows.start_us[windows.recording == index].tolist() for index in range(6)]
    assert starts == [list(range(0, 901, 50)), [0], [0], [0], [0, 50], [0, 50, 100, 150, 200]]


@pytest.mark.parametrize(("stride", "duration"), [(100, 100), (50, 100), (30, 100), (250, 100)])
def test_every_event_is_in_a_window_unless_windows_leave_gaps(store: Store, stride: int, duration: int) -> None:
    windows = Windows.cut(store, stride, duration)
    for index, times in enumerate(TIMES):
        own = windows.of(np.array([index]))
        packed = windows.gather(store, own)
        assert packed.index.tolist() == [index] * own.size
        assert packed.start is not None
        seen: set[int] = set()
        for place, start in enumerate(packed.start.tolist()):
            t = packed.t[packed.offsets[place] : packed.offsets[place + 1]]
            x = packed.x[packed.offsets[place] : packed.offsets[place + 1]]
            expected = times[(times >= start) & (times < start + duration)]
            assert np.array_equal(t + start, expected)
            assert np.array_equal(x, expected % 4)
            seen |= set(expected.tolist())
        if stride <= duration:
            assert seen == set(times.tolist())
