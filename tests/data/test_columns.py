from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from snnlab import data
from snnlab.data.events import Events
from snnlab.data.formats import ReadOptions, TimeUnit, events_from_columns
from snnlab.errors import ConfigError, DataError

from ..refusals import assert_raises, assert_text_has

SENSOR = (10, 8, 2)


def recording(reading: ReadOptions | None = None, sensor: tuple[int, int, int] = SENSOR, **columns: Any) -> Events:
    usual = {"t": [5, 7, 7], "x": [0, 9, 3], "y": [0, 7, 2], "p": [1, 0, 1]} | columns
    found = {name: np.asarray(values) for name, values in usual.items() if values is not None}
    return events_from_columns(found, reading or ReadOptions(), sensor, "a.npy")


@pytest.mark.parametrize(
    ("unit", "given", "us"),
    [
        ("us", [3, 4], [3, 4]),
        ("ms", [3, 4], [3000, 4000]),
        ("s", [3, 4], [3_000_000, 4_000_000]),
        ("ns", [3999, 4000], [3, 4]),
        ("s", [0.25, 0.5000004], [250_000, 500_000]),
        ("ms", np.array([0.5, 2.0], np.float32), [500, 2000]),
        ("us", np.array([3, 2**32 - 1], np.uint32), [3, 2**32 - 1]),
        ("ns", [1_764_000_000_000_000_001, 1_764_000_000_000_001_000], [1_764_000_000_000_000, 1_764_000_000_000_001]),
    ],
)
def test_times_become_microseconds(unit: TimeUnit, given: Any, us: list[int]) -> None:
    reading = ReadOptions(unit, time_origin="zero")
    assert recording(reading, t=given, x=[1, 1], y=[1, 1], p=[1, 1]).t.tolist() == us


def test_time_0_is_the_first_event_or_the_files_own() -> None:
    assert recording(ReadOptions(time_origin="first"), t=[100, 100, 130]).t.tolist() == [0, 0, 30]
    assert recording(ReadOptions(time_origin="zero"), t=[100, 100, 130]).t.tolist() == [100, 100, 130]


def test_events_are_sorted_on_request_and_equal_times_keep_their_order() -> None:
    sorted_ = recording(ReadOptions(sort=True), t=[9, 4, 4], x=[1, 2, 3])
    assert (sorted_.t.tolist(), sorted_.x.tolist()) == ([0, 0, 5], [2, 3, 1])
    assert recording(t=[9, 4, 4]).t.tolist() == [5, 0, 0]  # refused later, by the check of all recordings


@pytest.mark.parametrize(
    ("given", "on"), [([-1, 1, 0], [0, 1, 0]), ([True, False, True], [1, 0, 1]), ([0.0, 1.0, 1.0], [0, 1, 1])]
)
def test_a_polarity_is_on_above_0(given: Any, on: list[int]) -> None:
    assert recording(p=given).p.tolist() == [bool(one) for one in on]


def test_more_than_two_polarities_keep_their_number() -> None:
    p = recording(sensor=(10, 8, 5), p=[4, 0, 2]).p
    assert (p.tolist(), p.dtype) == ([4, 0, 2], np.uint8)
    with assert_raises(DataError, "a.npy", -1, 0, 2, 3, 4):
        recording(sensor=(10, 8, 5), p=[-1, 0, 2])


@pytest.mark.parametrize("given", [[1, 2, 2], [1, 0, 7], [1.0, np.nan, 0.0], [0, 255, 255], [0.5, 0, 1]], ids=str)
def test_an_invalid_polarity_is_refused(given: Any) -> None:
    with assert_raises(DataError, "a.npy", -1, 0, "data.polarity_values"):
        recording(p=given)


@pytest.mark.parametrize(
    ("values", "given", "meant"),
    [((1, 2), [1, 2, 2], [0, 1, 1]), ((2, 1), [1, 2, 2], [1, 0, 0]), ((0, 255), [0.0, 255.0, 0.0], [0, 1, 0])],
    ids=str,
)
def test_polarity_values_define_on_and_off(values: Any, given: Any, meant: list[int]) -> None:
    p = recording(ReadOptions(polarity_values=values), p=given).p
    assert (p.tolist(), p.dtype) == ([bool(one) for one in meant], np.bool_)
    with assert_raises(DataError, "a.npy", 3, 1):
        recording(ReadOptions(polarity_values=values), p=[values[0], 3, values[0]])


def test_more_than_two_polarities_may_be_numbered_otherwise() -> None:
    p = recording(ReadOptions(polarity_values=(5, 1, 9)), sensor=(10, 8, 3), p=[1, 9, 5]).p
    assert (p.tolist(), p.dtype) == ([1, 2, 0], np.uint8)
    with assert_raises(ConfigError, "polarity_values"):
        ReadOptions(polarity_values=(1, 1))


def test_a_sensor_without_rows_or_polarities_needs_neither() -> None:
    t, x, y, p = recording(sensor=(10, 1, 1), y=None, p=None)
    assert (t.size, x.size, y, p.tolist()) == (3, 3, None, [False] * 3)
    assert recording(sensor=(10, 1, 1), y=[0, 0, 0]).y is None


@pytest.mark.parametrize(
    "names", [("ts", "xs", "ys", "ps"), ("Timestamp", "X", "Y", "Polarity"), ("t", "x", "y", "on")]
)
def test_other_names_are_known(names: tuple[str, ...]) -> None:
    found = dict(zip(names, (np.arange(3), np.arange(3), np.arange(3), np.ones(3)), strict=True))
    assert events_from_columns(found, ReadOptions(), SENSOR, "a").x.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("columns", "message_parts"),
    [
        ({"y": None}, ("a.npy", [10, 8, 2])),
        ({"x": None, "p": None}, ("a.npy", "column")),
        ({"x": [1, 2]}, ("a.npy", "different")),
        ({"t": [0.0, np.nan, 1.0]}, ("a.npy", "t", 1)),
        ({"t": [0.0, 1e30, 1.0]}, ("a.npy", "data.time_unit")),
        ({"x": [0.5, 1.0, 2.0]}, ("a.npy", "x", "data.columns")),
        ({"p": ["a", "b", "c"]}, ("a.npy",)),
        ({"t": [[1], [2], [3]]}, ("a.npy", "t", 3, 1)),
    ],
)
def test_invalid_events_are_named(columns: dict[str, Any], message_parts: tuple) -> None:
    with assert_raises(DataError, *message_parts):
        recording(**columns)


@pytest.mark.parametrize(
    ("settings", "message_parts"),
    [
        ({"time_unit": "min"}, ("time_unit",)),
        ({"time_origin": "last"}, ("time_origin",)),
        ({"columns": ["x", "y"]}, ("columns",)),
        ({"columns": ["t", "x", "q"]}, ("columns",)),
        ({"columns": ["t", "x", "x"]}, ("columns",)),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message_parts: tuple) -> None:
    with assert_raises((ValueError, ConfigError), *message_parts):
        ReadOptions(**settings)


# Rows of x, y, t (us), p: two windows of 2 ms in steps of 1 ms, and one event after them.
EVENTS = np.array([[0, 0, 100, 1], [0, 0, 900, 1], [2, 1, 999, 0], [2, 1, 1000, 0], [1, 0, 1999, 1], [1, 0, 2000, 1]])


def test_frames_of_an_array_are_its_events_counted_by_hand() -> None:
    frames = data.to_frames(EVENTS, num_bins=2, duration_ms=2, sensor_size=(3, 2, 2), time_origin="zero")
    expected = torch.zeros(2, 1, 2, 2, 3)  # step, recording, polarity, row, column
    expected[0, 0, 1, 0, 0] = 2
    expected[0, 0, 0, 1, 2] = expected[1, 0, 0, 1, 2] = expected[1, 0, 1, 0, 1] = 1
    assert torch.equal(frames, expected)


def test_frames_are_of_columns_events_and_several_recordings_alike() -> None:
    x, y, t, p = EVENTS.T
    one = Events(t.astype(np.int64), x.astype(np.int16), y.astype(np.int16), p > 0)
    settings = {"num_bins": 2, "duration_ms": 2.0, "sensor_size": (3, 2, 2), "time_origin": "zero"}
    several = data.to_frames([EVENTS, {"t": t, "x": x, "y": y, "p": p}, one], **settings)
    assert several.shape == (2, 3, 2, 2, 3)
    assert torch.equal(several[:, :1], several[:, 1:2])
    assert torch.equal(several[:, 1:2], several[:, 2:])
    binary = data.to_frames(EVENTS, **settings, representation="binary")
    assert torch.equal(binary, several[:, :1].clamp(max=1))


def test_columns_in_another_order_are_refused_with_the_order() -> None:
    with pytest.raises(DataError) as caught:
        data.to_frames(EVENTS[:, [2, 0, 1, 3]], num_bins=2, duration_ms=2, sensor_size=(3, 2, 2))
    assert_text_has(caught.value.hint, "x, y, t, p")


def test_invalid_batches_and_settings_are_refused() -> None:
    with assert_raises(DataError, "events", "x"):
        data.to_frames(EVENTS, num_bins=2, duration_ms=2, sensor_size=(2, 2, 2))
    with assert_raises(ConfigError, "num_bins"):
        data.to_frames(EVENTS, num_bins=0, duration_ms=2, sensor_size=(3, 2, 2))
    with assert_raises(ConfigError, "representation.type"):
        data.to_frames(EVENTS, num_bins=1, duration_ms=2, sensor_size=(3, 2, 2), representation="cuonts")
    with pytest.raises(TypeError):
        data.to_frames(3, num_bins=1, duration_ms=2, sensor_size=(3, 2, 2))
