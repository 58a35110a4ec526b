"""Means have the intervals of scipy, and one seed has none."""

from __future__ import annotations

import pytest
from scipy import stats

from snnlab.experiments.suite_statistics import summarize_seeds

from ..refusals import assert_raises


@pytest.mark.parametrize("values", [[0.9, 0.95], [0.91, 0.93, 0.98], [0.5, 0.6, 0.7, 0.9, 0.95]])
def test_the_interval_is_students(values: list[float]):
    found = summarize_seeds(values)
    low, high = stats.t.interval(0.95, len(values) - 1, stats.tmean(values), stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.sd == pytest.approx(stats.tstd(values))
    assert found.n == len(values)


def test_one_seed_has_neither_deviation_nor_interval():
    assert summarize_seeds([0.9]) == (1, 0.9, None, None, None, (0.9,))


def test_seeds_that_are_all_alike_have_an_interval_of_no_width():
    found = summarize_seeds([0.9, 0.9, 0.9])
    assert found.low == found.high == pytest.approx(0.9)


def test_nothing_has_no_mean():
    with assert_raises(ValueError, "values"):
        summarize_seeds([])
