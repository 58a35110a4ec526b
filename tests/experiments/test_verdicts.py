"""Verdicts on two methods: the difference, and the smallest detectable difference."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from snnlab.experiments.verdicts import MethodResults, are_paired, read_test, verdicts
from snnlab.runs.statistics import accuracy_interval, independent_recordings
from snnlab.target_kinds import IGNORED

from ..refusals import assert_text_has

N = 400


def method(name: str, right: np.ndarray, splits: Sequence[str] | None = None) -> MethodResults:
    """Return networks that were tested on independent recordings."""
    rows = right.shape[1]
    recordings = np.stack([np.arange(rows), np.zeros(rows, int)], 1)
    seeds = list(range(len(right)))
    return MethodResults(name, seeds, right, recordings, "abc", np.arange(rows), list(splits or ["same"] * len(right)))


@pytest.fixture
def methods() -> list[MethodResults]:
    """Return three methods, of which the last is worse."""
    rng = np.random.default_rng(0)
    difficulty = rng.beta(9, 1, N)
    return [method(name, rng.random((5, N)) < difficulty - less) for name, less in (("a", 0), ("b", 0.01), ("c", 0.3))]


def test_the_better_method_is_named_in_either_order(methods: list[MethodResults]):
    for order, sign in ((methods, "+"), (methods[::-1], "-")):
        (found,) = [each for each in verdicts(order) if {each.one.name, each.other.name} == {"a", "c"}]
        assert found.significant
        assert_text_has(found.sentence, "a", "better", f"c: {sign}")


def test_an_undecided_comparison_has_the_smallest_detectable_difference_and_the_seeds_for_three_points(
    methods: list[MethodResults],
):
    undecided = verdicts(methods)[0]
    assert not undecided.significant
    smallest_detectable, needed = re.findall(
        r"detect ([0-9.]+) points in 80 % .* 3 points need ([0-9,]+) seeds", undecided.sentence
    )[0]
    level = 0.05 / 3
    assert float(smallest_detectable) == pytest.approx(100 * undecided.difference.smallest_detectable(level), abs=0.05)
    assert int(needed) == undecided.difference.seeds_needed(0.03, level)


def test_p_is_holms_over_all_pairs_and_counts_the_looks(methods: list[MethodResults]):
    alone = verdicts(methods[:2])[0].p
    looked = verdicts(methods[:2], looks=lambda one, other: 2)[0]
    assert verdicts(methods)[0].p == pytest.approx(alone)  # the largest of three
    assert looked.p == pytest.approx(min(1, 4 * alone))
    assert_text_has(looked.sentence, "2 times")


def test_comparisons_without_a_verdict_do_not_count_in_holms_method(methods: list[MethodResults]):
    few = method("few", methods[0].right[:2])
    found = verdicts([*methods[:2], few])
    assert [each.comparisons for each in found] == [1, 1, 1]
    assert found[0].p == verdicts(methods[:2])[0].p
    assert_text_has(found[1].sentence, "no", "verdict")


def test_seeds_are_paired_only_where_the_split_or_the_initial_weights_follow_them(methods: list[MethodResults]):
    splits = [f"split {seed}" for seed in range(5)]
    one, other = (method(name, of.right, splits) for name, of in zip("ab", methods, strict=False))
    assert are_paired(one, other)
    assert not are_paired(methods[0], methods[1])
    assert not are_paired(one, methods[1])
    begun = [each._replace(origins=[f"float/{seed}" for seed in range(5)]) for each in methods[:2]]
    assert are_paired(*begun)
    assert not are_paired(begun[0], methods[1])
    assert not are_paired(*(each._replace(origins=["zoo:one"] * 5) for each in methods[:2]))
    assert not are_paired(begun[0], begun[1]._replace(seeds=[1, 2, 3, 4, 5]))
    for pair in ([one, other], begun):
        assert len(verdicts(pair)[0].difference.variance.of_seeds) == 1
    assert len(verdicts(methods[:2])[0].difference.variance.of_seeds) == 2


def test_tested_on_names_the_rows():
    right = np.ones((1, 12), bool)
    whole = method("a", right)
    windows = whole._replace(recordings=np.stack([np.repeat(np.arange(4), 3), np.tile([0, 1, 2], 4)], 1))
    assert whole.test_rows == "12 recordings"
    assert_text_has(windows._replace(clusters=np.repeat(np.arange(4), 3)).test_rows, "12 windows", "4 recordings")
    assert_text_has(whole._replace(clusters=np.arange(12) % 6).test_rows, "12 recordings", "6 groups")


class _Tested:
    """A run that was tested on labels over time: 40 recordings of 50 steps, the first ten of them without a label."""

    folder = Path("run")

    def __init__(self, right: np.ndarray) -> None:
        """Answer the labelled steps of the recordings in `right`, and no other, correctly."""
        target = np.tile(np.repeat([IGNORED, 1, 2, 3, 0], 10), (40, 1))
        answer = np.where(right[:, None], target, (target + 1) % 4).astype(np.uint8)
        self.arrays = {"test_target": target, "test_recording": np.arange(40), "test_answer": answer}

    def predictions(self) -> dict[str, np.ndarray]:
        return self.arrays


def test_of_labels_over_time_a_row_is_a_labelled_step_and_chance_is_of_the_recording() -> None:
    right = np.random.default_rng(0).random(40) < 0.8
    steps = read_test(_Tested(right))  # type: ignore[arg-type]
    assert steps.right.shape == steps.clusters.shape == (40 * 40,)
    assert steps.right.mean() == right.mean()
    assert len(np.unique(steps.recordings, axis=0)) == 40 * 40
    assert steps.recordings[:2].tolist() == [[0, 10], [0, 11]]
    # All steps of a recording are alike here, so that they tell as much as the recording.
    assert independent_recordings(steps.right, steps.clusters) == pytest.approx(40, rel=0.05)
    found = accuracy_interval(steps.right[None], steps.clusters)
    alone = accuracy_interval(right[None])
    assert found is not None
    assert alone is not None
    assert found.low == pytest.approx(alone.low, abs=0.01)
    assert found.high == pytest.approx(alone.high, abs=0.01)
