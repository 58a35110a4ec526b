"""Comparisons keep their level, tell what can be told, and say what cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from snnlab.record.paired import difference, holm, mcnemar


def answers(rng: np.random.Generator, seeds: int, p: np.ndarray) -> np.ndarray:
    """Return what S networks answered rightly, with probability p of each recording."""
    return rng.random((seeds, len(p))) < p


def test_the_interval_of_one_seed_is_that_of_a_paired_mean():
    rng = np.random.default_rng(0)
    one, other = answers(rng, 1, np.full(400, 0.9)), answers(rng, 1, np.full(400, 0.7))
    found = difference(one, other, paired=True)
    d = one[0].astype(float) - other[0]
    half = 1.96 * d.std() / math.sqrt(400)
    assert found.effect == d.mean()
    assert found.low == pytest.approx(d.mean() - half, abs=0.006)
    assert found.high == pytest.approx(d.mean() + half, abs=0.006)
    assert found.told
    assert found.p < 0.001


@pytest.mark.parametrize("paired", [True, False])
def test_where_there_is_no_difference_few_are_told(paired: bool):
    rng = np.random.default_rng(1)
    told = 0
    for _ in range(60):
        difficulty = rng.beta(8, 1, 200)  # the same recordings are hard for all networks
        told += difference(answers(rng, 3, difficulty), answers(rng, 3, difficulty), paired=paired).told
    assert told <= 10  # 3 expected


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(2)
    base = answers(rng, 4, np.full(500, 0.8))
    spans = []
    for numbers in ((30, 30, 30, 30), (0, 60, 10, 50)):
        worse = base.copy()
        for seed, number in enumerate(numbers):
            worse[seed, :number] = False
        found = difference(base, worse, paired=True)
        spans.append(found.high - found.low)
    assert spans[1] > 1.5 * spans[0]


def test_what_could_tell_would_tell():
    rng = np.random.default_rng(3)
    few = difference(answers(rng, 1, np.full(100, 0.85)), answers(rng, 1, np.full(100, 0.8)), paired=True)
    if not few.told:
        assert few.recordings > 100
    d = 0.05
    spread = math.sqrt(0.85 * 0.15 + 0.8 * 0.2)
    expected = ((1.96 + 0.84) * spread / d) ** 2
    many = difference(answers(rng, 1, np.full(40000, 0.85)), answers(rng, 1, np.full(40000, 0.8)), paired=True)
    assert many.recordings == pytest.approx(expected, rel=0.15)


def test_equal_answers_are_never_told_apart():
    one = np.ones((2, 50), bool)
    found = difference(one, one, paired=True)
    assert (found.effect, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert not found.told
    assert math.isinf(found.recordings)


def test_arms_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"arms of shapes \(1, 5\) and \(1, 6\) cannot be compared"):
        difference(np.ones((1, 5), bool), np.ones((1, 6), bool), paired=True)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 5), (12, 3), (30, 30)])
def test_mcnemar_is_the_binomial_test_of_those_that_differ(b: int, c: int):
    one = np.array([True] * b + [False] * c + [True] * 20 + [False] * 4)
    other = np.array([False] * b + [True] * c + [True] * 20 + [False] * 4)
    expected = min(1.0, 2 * stats.binom.cdf(min(b, c), b + c, 0.5)) if b + c else 1.0
    assert mcnemar(one, other) == pytest.approx(expected)


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
