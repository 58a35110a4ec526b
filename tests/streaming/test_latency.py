"""Percentiles of many times in constant memory."""

from __future__ import annotations

import numpy as np
import pytest

from snnlab.streaming.latency import LatencyHistogram


def test_percentiles_are_right_within_one_percent() -> None:
    times = np.random.default_rng(0).lognormal(4, 2, 3001)
    histogram = LatencyHistogram()
    for us in times:
        histogram.add(us)
    for percent in (1, 50, 99, 99.9):
        expected = np.percentile(times, percent, method="inverted_cdf")
        assert histogram.percentile(percent) == pytest.approx(expected, rel=0.011)
    assert histogram.percentile(100) == histogram.max_us == times.max()
    assert histogram.count == 3001


def test_times_of_any_size_are_counted() -> None:
    histogram = LatencyHistogram()
    assert histogram.percentile(50) == 0
    for us in (0.0, 1e15):
        histogram.add(us)
    assert (histogram.percentile(50), histogram.percentile(100), histogram.count) == (
        0.1,
        pytest.approx(1.2e9, rel=0.1),
        2,
    )
