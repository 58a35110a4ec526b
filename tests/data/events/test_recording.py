from __future__ import annotations

import numpy as np
import pytest

from snnlab.data.events import Events, check_events
from snnlab.errors import DataError

from ...refusals import assert_raises

SENSOR = (4, 3, 2)


def test_y_must_match_the_sensor_for_any_number_of_events(recording: Events) -> None:
    empty = Events(*(column[:0] for column in recording if column is not None))
    for events, sensor in ((recording, SENSOR), (empty, SENSOR), (recording._replace(y=None), (4, 1, 1))):
        check_events(events, sensor, "a.bin")
        another = SENSOR if events.y is None else (4, 1, 1)
        with assert_raises(DataError, "a.bin", list(another)):
            check_events(events, another, "a.bin")


@pytest.mark.parametrize(
    ("change", "message_parts"),
    [
        ({"t": np.array([0, 5, 4, 9])}, ("a.bin", "sorted")),
        ({"t": np.array([0, 5, 4, 9], np.uint64)}, ("a.bin", "sorted")),
        ({"t": np.array([-1, 5, 6, 9])}, ("a.bin", -1)),
        ({"t": np.array([0.0, 5.0, 6.0, 9.0])}, ("a.bin", "microseconds")),
        ({"x": np.array([0, 4, 1, 2])}, ("a.bin", 0)),
        ({"x": np.array([0, -1, 1, 2])}, ("a.bin", -1)),
        ({"y": np.array([0, 3, 1, 2])}, ("a.bin", 0)),
        ({"y": np.array([0, 1, 2])}, ("a.bin", "shape")),
        ({"y": None}, ("a.bin",)),
        ({"p": np.array([1, -1, 1, 1])}, ("a.bin", "bool")),
        ({"p": np.array([True])}, ("a.bin", "shape")),
    ],
)
def test_a_bad_recording_is_named_with_its_mistake(recording: Events, change: dict, message_parts: tuple) -> None:
    with assert_raises(DataError, *message_parts):
        check_events(recording._replace(**change), SENSOR, "a.bin")


def test_y_on_a_sensor_of_one_row_is_refused(recording: Events) -> None:
    with assert_raises(DataError, "a.bin", "> 1"):
        check_events(recording, (4, 1, 2), "a.bin")


@pytest.mark.parametrize("sensor_size", [(4, 3, 256), (4, 3, 0), (0, 3, 2), (40000, 3, 2), (4, 3)])
def test_an_impossible_sensor_is_refused(recording: Events, sensor_size: tuple) -> None:
    with assert_raises(DataError, "", "sensor_size"):
        check_events(recording, sensor_size, "a.bin")


def test_more_than_two_polarities_are_numbers_within_the_sensor(recording: Events) -> None:
    colours = recording._replace(p=np.arange(recording.t.size, dtype=np.uint8) % 3)
    check_events(colours, (*SENSOR[:2], 3), "a.bin")
    with assert_raises(DataError, "a.bin", "p"):
        check_events(recording, (*SENSOR[:2], 3), "a.bin")
    with assert_raises(DataError, "a.bin"):
        check_events(colours._replace(p=colours.p + np.uint8(1)), (*SENSOR[:2], 3), "a.bin")
