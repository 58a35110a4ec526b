from __future__ import annotations

import numpy as np
import pytest

from snnlab.data.events import SensorSize
from snnlab.runs.plots import draw_event_times

from ...refusals import assert_text_has
from .conftest import MakeEvents, words
from .test_events import SENSORS


@pytest.mark.parametrize("sensor_size", SENSORS, ids=str)
@pytest.mark.parametrize("count", [0, 300])
def test_every_kind_of_sensor_is_drawn_with_units(sensor_size: SensorSize, count: int, make_events: MakeEvents) -> None:
    text = words(draw_event_times(make_events(sensor_size, count, 20.0), sensor_size, 20.0, "class 3"))
    assert_text_has(text, "class 3")
    places = ("address (px)",) if sensor_size[1] == 1 else ("column (px)", "row (px)")
    assert_text_has(text, *places, "time (ms)", "per ms")
    assert ("OFF" in text) == (sensor_size[2] == 2)


def test_the_rate_sums_to_the_number_of_events(make_events: MakeEvents) -> None:
    events = make_events((5, 4, 2), 300, 20.0)
    (*_, rate) = draw_event_times(events, (5, 4, 2), 20.0, "").axes
    totals = [(p.get_data().values * np.diff(p.get_data().edges)).sum() for p in rate.patches]  # type: ignore[attr-defined]
    np.testing.assert_allclose(totals, [events.p.sum(), (~events.p).sum()])
