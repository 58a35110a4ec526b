from __future__ import annotations

import numpy as np
import pytest

from snnlab.data.events import Events
from snnlab.runs.plots.event_plots import AxisBins, WindowEvents


@pytest.mark.parametrize(
    ("pixels", "most", "number", "size"), [(34, 160, 34, 1), (346, 160, 116, 3), (320, 160, 160, 2)]
)
def test_bins_are_whole_pixels_and_at_most_the_given_number(pixels: int, most: int, number: int, size: int) -> None:
    cells = AxisBins.of_pixels(pixels, most)
    assert (cells.number, cells.size, cells.start, cells.stop) == (number, size, -0.5, pixels - 0.5)
    assert cells.end >= cells.stop
    assert cells.bin_indices(np.array([0, size - 1, pixels - 1])).tolist() == [0, 0, number - 1]


def test_times_are_in_equal_parts_of_the_window() -> None:
    cells = AxisBins.of_time(300.0, 7)
    assert cells.bin_indices(np.array([0.0, 42.857, 42.858, 299.999])).tolist() == [0, 0, 1, 6]
    assert cells.end == pytest.approx(300.0)


@pytest.mark.parametrize("polarities", [1, 2])
def test_every_event_of_the_window_is_in_one_bin(polarities: int) -> None:
    t = np.array([0, 10, 500, 999, 1000, 2000])
    x, y = np.array([0, 3, 3, 3, 1, 1], np.int16), np.array([0, 1, 1, 0, 0, 0], np.int16)
    window = WindowEvents.of(Events(t, x, y, np.array([1, 1, 0, 1, 1, 0], bool)), 1.0, polarities)
    assert window.t.tolist() == [0, 0.01, 0.5, 0.999]
    assert window.y is not None
    on, off = window.histograms(AxisBins.of_pixels(4, 9), AxisBins.of_pixels(2, 9), (window.x, window.y))
    both = np.array([[1, 0, 0, 1], [0, 0, 0, 2]])
    np.testing.assert_array_equal(on + off, both)
    assert off.sum() == (1 if polarities == 2 else 0)
