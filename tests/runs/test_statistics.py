"""Estimates hold for new seeds and new recordings, tests keep their level, and what could tell would tell.

`tests/experiments/scripts/test_calibrate_verdicts.py` simulates how often verdicts are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from snnlab.runs.statistics import (
    accuracy_interval,
    agreement,
    balanced_accuracy,
    compare_methods,
    confusion,
    holm,
    independent_recordings,
    inspection_factor,
    mcnemar,
    wilson,
)

from ..refusals import assert_raises


def answers(rng: np.random.Generator, seeds: int, p: np.ndarray) -> np.ndarray:
    """Return the correct answers of S networks, with probability p for each recording."""
    return rng.random((seeds, p.shape[-1])) < p


def two_way(right: np.ndarray) -> tuple[float, float, float]:
    """Return MS_s, MS_i and MS_r of a table of seeds and recordings, by their definitions."""
    seeds, rows = right.shape
    mean, of_seed, of_row = right.mean(), right.mean(1, keepdims=True), right.mean(0, keepdims=True)
    left = right - of_seed - of_row + mean
    return (
        rows * ((of_seed - mean) ** 2).sum() / (seeds - 1),
        seeds * ((of_row - mean) ** 2).sum() / (rows - 1),
        (left**2).sum() / ((seeds - 1) * (rows - 1)),
    )


def test_paired_seeds_give_the_variance_and_degrees_of_freedom_of_a_crossed_design():
    rng = np.random.default_rng(0)
    strength = np.array([0.0, 0.05, -0.05, 0.02, 0.1])[:, None]
    one = rng.random((5, 80)) < 0.7 + strength
    other = rng.random((5, 80)) < 0.6 + strength
    found = compare_methods(one, other, paired=True)
    ms, cells = two_way(one.astype(float) - other), 5 * 80
    expected = max(ms[0] + ms[1] - ms[2], ms[0], ms[1]) / cells
    df = expected**2 / sum((m / cells) ** 2 / d for m, d in zip(ms, (4, 79, 4 * 79), strict=True))
    assert found.effect == pytest.approx(one.mean() - other.mean())
    assert found.variance.total == pytest.approx(expected)
    assert found.variance.df == pytest.approx(df)
    assert found.high - found.effect == pytest.approx(stats.t.ppf(0.975, df) * math.sqrt(expected))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.effect) / math.sqrt(expected), df))


def test_unpaired_seeds_add_their_variances():
    rng = np.random.default_rng(1)
    one, other = rng.random((5, 80)) < 0.7, rng.random((8, 80)) < 0.6
    found = compare_methods(one, other)
    mine, theirs = two_way(one.astype(float)), two_way(other.astype(float))
    of_rows = (one.mean(0) - other.mean(0)).var(ddof=1) / 80
    between = mine[0] / 400 + theirs[0] / 640
    assert found.variance.total == pytest.approx(
        max(between + of_rows - mine[2] / 400 - theirs[2] / 640, of_rows, between)
    )
    assert not found.between_networks


@pytest.mark.parametrize("sizes", [[8] * 12, [2, 3, 4, 6, 8, 9, 12, 30]])
def test_the_variance_of_clusters_is_that_of_the_jackknife(sizes: Sequence[int]):
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    d = rng.random(len(clusters)) < 0.8
    e = rng.random(len(clusters)) < 0.7
    without = np.array([(d[clusters != g].mean() - e[clusters != g].mean()) for g in range(len(sizes))])
    jackknife = (len(sizes) - 1) / len(sizes) * ((without - (d.mean() - e.mean())) ** 2).sum()
    shuffled = rng.permutation(len(clusters))
    found = compare_methods(d[None, shuffled], e[None, shuffled], clusters[shuffled] * 7)
    assert found.variance.total == pytest.approx(jackknife)
    assert found.variance.clusters == len(sizes)
    assert found.variance.df == pytest.approx(sum(sizes) ** 2 / sum(size**2 for size in sizes) - 1)


def test_repeated_windows_have_no_more_information_than_their_recording():
    rng = np.random.default_rng(3)
    one, other = answers(rng, 5, np.full(60, 0.8)), answers(rng, 5, np.full(60, 0.7))
    once = compare_methods(one, other)
    windows = compare_methods(np.repeat(one, 5, axis=1), np.repeat(other, 5, axis=1), np.repeat(np.arange(60), 5))
    assert (windows.effect, windows.low, windows.p) == pytest.approx((once.effect, once.low, once.p))


@pytest.mark.parametrize(
    ("seeds", "clusters", "word"), [((3, 3), 200, "3 seeds"), ((1, 5), 200, "1 and 5"), ((5, 5), 5, "5 independent")]
)
def test_few_seeds_and_few_clusters_give_no_verdict(seeds: tuple[int, int], clusters: int, word: str):
    one, other = np.ones((seeds[0], 200), bool), np.zeros((seeds[1], 200), bool)
    found = compare_methods(one, other, np.arange(200) % clusters)
    assert word in str(found.no_verdict_reason)
    assert (found.p, math.isnan(found.low), found.effect) == (1.0, True, 1.0)


@pytest.mark.parametrize(("number", "p"), [(400, 0.8), (40, 0.75)])
def test_two_networks_are_compared_by_the_exact_test_and_an_interval_that_contains_the_exact_one(number: int, p: float):
    rng = np.random.default_rng(4)
    one, other = answers(rng, 1, np.full(number, 0.9)), answers(rng, 1, np.full(number, p))
    found = compare_methods(one, other)
    b, c = int((one & ~other).sum()), int((other & ~one).sum())
    exact = [(b + c) / number * (2 * end - 1) for end in stats.binomtest(b, b + c).proportion_ci(0.95, "exact")]
    half = stats.t.ppf(0.975, number - 1) * (one.astype(float) - other)[0].std(ddof=1) / math.sqrt(number)
    assert found.between_networks
    assert found.p == mcnemar(one[0], other[0])
    assert found.low == pytest.approx(min(exact[0], found.effect - half))
    assert found.high == pytest.approx(max(exact[1], found.effect + half))


def test_equal_answers_have_no_significant_difference():
    one = np.ones((5, 50), bool)
    found = compare_methods(one, one)
    assert (found.effect, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_answers_that_all_agree_have_a_variance_above_zero():
    found = compare_methods(np.ones((5, 20), bool), np.zeros((5, 20), bool))
    assert found.effect == 1
    assert 0 < found.p < 0.001
    assert found.low < 1


def test_methods_with_different_rows_are_refused():
    with assert_raises(ValueError, "shapes"):
        compare_methods(np.ones((1, 5), bool), np.ones((1, 6), bool))
    with assert_raises(ValueError, "shapes"):
        compare_methods(np.ones((4, 5), bool), np.ones((5, 5), bool), paired=True)


def test_the_estimated_number_of_seeds_is_enough():
    rng = np.random.default_rng(5)
    difficulty = rng.beta(8, 2, 3_000)

    def networks(seeds: int) -> np.ndarray:
        return answers(rng, seeds, np.clip(difficulty + 0.02 * rng.standard_normal((seeds, 1)), 0, 1))

    few = compare_methods(networks(5), networks(5))
    needed = few.seeds_needed(0.02)
    assert needed is not None
    assert (
        few.variance.with_seeds(needed).smallest_detectable()
        <= 0.02
        < few.variance.with_seeds(needed - 1).smallest_detectable()
    )
    assert few.smallest_detectable(0.05 / 15) > few.smallest_detectable()
    assert compare_methods(networks(needed), networks(needed)).smallest_detectable() == pytest.approx(0.02, rel=0.5)


def test_no_number_of_seeds_is_enough_if_recordings_differ_too_much():
    rng = np.random.default_rng(6)
    one, other = (np.repeat(rng.random((1, 40)) < 0.7, 5, axis=0) for _ in range(2))
    assert compare_methods(one, other).seeds_needed(0.03) is None


@pytest.mark.parametrize(("right", "number"), [(0, 20), (16, 16), (45, 50), (900, 1000)])
def test_the_interval_of_one_network_is_wilsons(right: int, number: int):
    expected = stats.binomtest(right, number).proportion_ci(0.95, "wilson")
    assert wilson(right, number) == pytest.approx((expected.low, expected.high))
    row = (np.arange(number) < right)[None]
    assert accuracy_interval(row) == pytest.approx((expected.low, expected.high))
    assert accuracy_interval(row, np.arange(number)) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_an_accuracy_is_wider_with_seeds_that_differ_and_rows_that_repeat():
    rng = np.random.default_rng(7)
    p = rng.beta(8, 2, 300)
    same, apart = answers(rng, 5, p), answers(rng, 5, np.clip(p + np.array([[-0.2], [-0.1], [0], [0.1], [0.2]]), 0, 1))
    spans = []
    for right, clusters in ((same, None), (apart, None), (np.repeat(same, 4, axis=1), np.repeat(np.arange(300), 4))):
        found = accuracy_interval(right, clusters)
        assert found is not None
        assert 0 <= found.low < right.mean() < found.high <= 1
        spans.append(found.high - found.low)
    assert spans[1] > 2 * spans[0]
    assert spans[2] == pytest.approx(spans[0])
    perfect = accuracy_interval(np.ones((5, 100), bool))
    assert perfect is not None
    assert 0.9 < perfect.low < 0.99
    assert accuracy_interval(same, np.arange(300) % 4) is None


def test_repeated_rows_count_as_their_recordings():
    rng = np.random.default_rng(8)
    right = rng.random(100) < 0.8
    assert independent_recordings(right, np.arange(100)) == 100
    assert independent_recordings(np.repeat(right, 10), np.repeat(np.arange(100), 10)) == pytest.approx(99, abs=1.5)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 5), (12, 3), (30, 30)])
def test_mcnemar_is_the_binomial_test_of_those_that_differ(b: int, c: int):
    one = np.array([True] * b + [False] * c + [True] * 20 + [False] * 4)
    other = np.array([False] * b + [True] * c + [True] * 20 + [False] * 4)
    expected = min(1.0, 2 * stats.binom.cdf(min(b, c), b + c, 0.5)) if b + c else 1.0
    assert mcnemar(one, other) == pytest.approx(expected)


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_each_inspection_costs_more_than_the_one_before():
    assert [inspection_factor(look) for look in (1, 2, 3)] == [1, 4, 9]


@pytest.mark.parametrize(("shift", "shown"), [(0.0, True), (0.008, False), (-0.02, False)])
def test_means_agree_if_welchs_interval_lies_within_the_margin(shift: float, shown: bool):
    one = [0.8440, 0.8493, 0.8613, 0.8513, 0.8508]
    other = [0.8391 + shift, 0.8552 + shift, 0.8520 + shift, 0.8601 + shift]
    found = agreement(one, other, 0.013)
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.shown == shown == bool(expected.low > -0.013 and expected.high < 0.013)
    assert agreement([0.5, 0.5], [0.5, 0.5], 0.01).shown


def test_a_rare_class_counts_as_much_as_a_frequent_one_in_the_balanced_accuracy():
    rng = np.random.default_rng(0)
    targets, answers = rng.choice(4, 500, p=[0.9, 0.05, 0.05, 0.0]), rng.integers(0, 4, 500)
    each = [np.mean(answers[targets == number] == number) for number in range(3)]
    assert balanced_accuracy(confusion(targets, answers, 4)) == pytest.approx(np.mean(each))
