from __future__ import annotations

import re

from snnlab.runs.statistics import small_validation_warning


def test_few_validation_recordings_leave_room_even_where_all_are_right():
    said = small_validation_warning(16, 1.0)
    assert said is not None
    low, high = (float(end) for end in re.findall(r"([0-9]+)% to ([0-9]+)%", said)[0])
    assert 75 < low < 85
    assert high == 100


def test_many_validation_recordings_give_no_warning():
    assert small_validation_warning(1000, 0.9) is None
