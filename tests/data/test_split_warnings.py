from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Store
from snnlab.data.inspection import late_events_warning, split_warnings, time_unit_warning
from snnlab.data.splits import Split

from ..refusals import assert_lines_have, assert_text_has


def store(**values: Any) -> Store:
    plain = {"targets": np.arange(6) % 3, "groups": None, "last_t": np.full(6, 90_000), "time_unit": "us"} | values
    return cast(Store, _Plain(**plain))


class _Plain(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.last_t)


def split(train: list[int], val: list[int], test: list[int]) -> Split:
    parts = [np.array(part, np.int64) for part in (train, val, test)]
    return Split(parts[0], parts[1], parts[2], "by hand")


def test_a_group_in_two_parts_is_reported() -> None:
    groups = np.array([0, 0, 1, 1, 2, 2])
    whole, divided = split([0, 1, 2, 3, 4, 5], [], []), split([0, 2, 3, 4, 5], [], [1])
    assert list(split_warnings(store(groups=groups, targets=np.zeros(6, np.int64)), whole, None)) == []
    assert_lines_have(
        list(split_warnings(store(groups=groups, targets=np.zeros(6, np.int64)), divided, None)), ("groups", 1)
    )
    batch = split([0, 1], [0, 1], [])  # one batch, for overfitting
    assert list(split_warnings(store(groups=groups, targets=np.zeros(6, np.int64)), batch, None)) == []


@pytest.mark.parametrize(
    ("last_ms", "settings", "unit"),
    [
        (90.0, {}, None),
        (0.09, {}, "ms"),  # 90 ms, read as us
        (0.0, {}, "s"),
        (0.9, {"num_bins": 4}, "ms"),
        (1.1, {"num_bins": 4}, None),  # short, but plausible
        (0.09, {"num_bins": 1}, None),
        (0.09, {"bin_by": "count"}, None),
        (0.9, {"num_bins": 200}, "ms"),
    ],
)
def test_events_at_the_very_start_of_a_window_are_noticed(
    last_ms: float, settings: dict[str, Any], unit: str | None
) -> None:
    last_t = np.full(6, round(1000 * last_ms))
    last_t[0] = -1  # without events
    found = time_unit_warning(store(last_t=last_t), DataSettings([8, 6, 2], 2, 100.0, **{"num_bins": 4, **settings}))
    assert (found is None) == (unit is None)
    if found is not None:
        assert_text_has(found, f"data.time_unit={unit}", "data=folder")
        assert_text_has(found, "5 recordings")


def test_recordings_without_events_say_nothing_of_their_unit() -> None:
    assert time_unit_warning(store(last_t=np.full(6, -1)), DataSettings([8, 6, 2], 2, 100.0, num_bins=4)) is None


@pytest.mark.parametrize(
    ("last_ms", "read_as", "outside", "stride_ms", "expected"),
    [
        (300.0, "us", 51, None, ""),  # no unit makes these recordings about as long as the window
        (90_000.0, "us", 99, None, "ns"),
        (90_000.0, "ms", 99, None, "us"),
        (90_000_000.0, "s", 99, None, "us"),
        (90_000.0, None, 99, None, ""),  # not files of the user
        (300.0, "us", 50, None, None),
        (300.0, "us", 51, 100.0, None),
    ],
)
def test_most_events_after_the_window_are_noticed(
    last_ms: float, read_as: str | None, outside: int, stride_ms: float | None, expected: str | None
) -> None:
    last_t = np.full(6, round(1000 * last_ms))
    made = store(last_t=last_t, time_unit=read_as, num_events=100, count_outside=lambda chosen, until: outside)
    found = late_events_warning(made, DataSettings([8, 6, 2], 2, 100.0, num_bins=4, stride_ms=stride_ms))
    assert (found is None) == (expected is None)
    if found is not None:
        assert_text_has(found, f"{outside} of 100 events", "duration_ms = 100", f"{last_ms:,.4g} ms")
        assert ("data.time_unit=" in found) == bool(expected)
        assert not expected or f"data.time_unit={expected}" in found


def test_times_that_were_read_as_seconds_are_named_as_another_unit() -> None:
    last_t = np.full(6, 90)  # 90 ns would be 0.09 us: of the smaller units none fits a window of 100 ms better
    found = time_unit_warning(store(last_t=last_t, time_unit="s"), DataSettings([8, 6, 2], 2, 100.0, num_bins=4))
    assert_text_has(found, "0.09 ms", "data.duration_ms")
    assert found is not None
    assert "data.time_unit" not in found
