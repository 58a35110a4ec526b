"""Recordings of one person, and segments of one file, are never divided."""

from __future__ import annotations

import numpy as np
import pytest

from snnlab.data.splits import check_undivided, find_divided_groups, merge_groups, select_test_groups
from snnlab.errors import DataError

from ..refusals import assert_raises


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_merged_transitively(seed: int) -> None:
    rng = np.random.default_rng(seed)
    files = [f"{n}.npy" for n in rng.integers(0, 12, 20)]
    people = [None if rng.random() < 0.4 else f"p{rng.integers(0, 6)}" for _ in files]
    found = merge_groups(files, people).groups
    expected = np.arange(20)  # a plain loop: the smallest number of connected recordings, until nothing changes
    for _ in range(20):
        for a in range(20):
            for b in range(20):
                if files[a] == files[b] or (people[a] is not None and people[a] == people[b]):
                    expected[a] = expected[b] = min(expected[a], expected[b])
    assert found is not None
    assert [found[a] == found[b] for a in range(20) for b in range(20)] == [
        expected[a] == expected[b] for a in range(20) for b in range(20)
    ]


def test_recordings_that_share_nothing_have_no_groups() -> None:
    assert merge_groups(["a", "b"], [None, None]).groups is None
    assert merge_groups(["a", "a"], [None, None]).groups is not None
    assert merge_groups(["a", "b"], [None, "anna"]).groups is not None


def test_people_are_chosen_for_testing_by_their_names() -> None:
    joined = merge_groups(["a", "b", "c", "d"], ["anna", "ben", "anna", None])
    assert select_test_groups(joined, ["anna"]).tolist() == [True, False, True, False]
    with assert_raises(DataError, "data.test_groups", "anna"):
        select_test_groups(joined, ["ana"])
    with assert_raises(DataError, "data.test_groups", "all", 2):
        select_test_groups(merge_groups(["a", "b"], ["anna", "ben"]), ["anna", "ben"])
    with assert_raises(DataError, "data.test_groups", "recordings"):
        select_test_groups(merge_groups(["a", "a"], [None, None]), ["anna"])
    with assert_raises(DataError, "data.test_groups", "shares"):
        select_test_groups(merge_groups(["a", "a", "c"], ["anna", "ben", "eve"]), ["anna"])


def test_a_group_in_two_parts_is_found_and_named() -> None:
    joined = merge_groups(["a", "b", "c", "c"], ["anna", "anna", None, None])
    assert find_divided_groups(joined.groups, np.array([0, 0, 1, 1])).tolist() == []
    assert find_divided_groups(joined.groups, np.array([0, -1, 1, 2])).tolist() == [2]
    assert find_divided_groups(None, np.array([0, 1, 1, 2])).tolist() == []
    check_undivided("here", joined, np.array([0, 0, 1, 1]))
    with assert_raises(DataError, "here", 2):
        check_undivided("here", joined, np.array([0, 1, 0, 1]))
