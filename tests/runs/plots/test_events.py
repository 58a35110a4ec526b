from __future__ import annotations

import numpy as np
import pytest

from snnlab.data.events import SensorSize
from snnlab.runs.plots import draw_events

from ...refusals import assert_text_has
from .conftest import MakeEvents, words

SENSORS = [(34, 34, 2), (34, 34, 1), (346, 260, 2), (64, 1, 2), (700, 1, 1), (12, 90, 2)]


@pytest.mark.parametrize("sensor_size", SENSORS, ids=str)
def test_every_kind_of_sensor_is_drawn_with_units(sensor_size: SensorSize, make_events: MakeEvents) -> None:
    figure = draw_events(make_events(sensor_size, 300, 20.0), sensor_size, 20.0, "class 3")
    text = words(figure)
    assert_text_has(text, "class 3", "300 events", "20 ms")
    axes = ("time (ms)", "address (px)") if sensor_size[1] == 1 else ("column (px)", "row (px)")
    assert all(name in text for name in axes)
    assert len(figure.axes) == sensor_size[2]
    assert "ON: " in text if sensor_size[2] == 2 else "events: 300" in text


def test_each_event_darkens_its_pixel_and_rows_go_down(make_events: MakeEvents) -> None:
    events = make_events((5, 4, 2), 40, 20.0)
    figure = draw_events(events, (5, 4, 2), 20.0, "")
    for ax, chosen in zip(figure.axes, (events.p, ~events.p), strict=True):
        image = np.asarray(ax.images[0].get_array())
        assert events.y is not None
        expected = np.zeros((4, 5), bool)
        expected[events.y[chosen], events.x[chosen]] = True
        np.testing.assert_array_equal((image < 1).any(-1), expected)
        assert ax.get_ylim() == (3.5, -0.5)


def test_events_after_the_window_are_left_out(make_events: MakeEvents) -> None:
    events = make_events((5, 4, 2), 40, 20.0)
    assert_text_has(words(draw_events(events, (5, 4, 2), 10.0, "")), f"{(events.t < 10000).sum()} events", "10 ms")


def test_a_recording_without_events_is_drawn(make_events: MakeEvents) -> None:
    assert "0 events" in words(draw_events(make_events((5, 4, 2), 0, 20.0), (5, 4, 2), 20.0, ""))
