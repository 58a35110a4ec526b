"""Shared parts of the tests of plots: the text in a figure, and recordings of each kind of sensor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from snnlab.data.events import Events, SensorSize
from snnlab.runs.plots import render

MakeEvents = Callable[[SensorSize, int, float], Events]


def words(figure: Figure) -> str:
    """Render a figure, which creates its tick labels, and return all its text."""
    pixels = render(figure)
    assert pixels.dtype == np.uint8
    assert pixels.shape[1:] == (614, 3)
    return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())  # type: ignore[attr-defined]


@pytest.fixture
def make_events() -> MakeEvents:
    """Return a function that makes a random recording."""

    def make(sensor_size: SensorSize, count: int = 300, duration_ms: float = 20.0) -> Events:
        rng = np.random.default_rng(count)
        width, height, _ = sensor_size
        t = np.sort(rng.integers(0, round(duration_ms * 1000), count))
        y = rng.integers(0, height, count).astype(np.int16) if height > 1 else None
        return Events(t, rng.integers(0, width, count).astype(np.int16), y, rng.random(count) < 0.5)

    return make
