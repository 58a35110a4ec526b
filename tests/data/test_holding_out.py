"""Folds: everything is held out once, classes evenly, groups whole."""

from __future__ import annotations

import numpy as np
import pytest

from snnlab.data.splits import Fold, assign_folds, make_split, stratified_holdout
from snnlab.errors import DataError

from ..refusals import assert_raises

TARGETS = np.repeat(np.arange(4), [50, 33, 21, 7])


def _folds(folds: int, groups: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    return assign_folds(TARGETS, folds, np.random.default_rng(seed), groups)


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_folds_have_equal_sizes_and_equal_shares_of_each_class(folds: int) -> None:
    fold = _folds(folds)
    for label in range(4):
        counts = np.bincount(fold[label == TARGETS], minlength=folds)
        assert counts.max() - counts.min() <= 1
    counts = np.bincount(fold, minlength=folds)
    assert counts.max() - counts.min() <= 1


def test_a_group_is_in_one_fold_and_no_fold_is_empty() -> None:
    for seed in range(20):
        groups = np.random.default_rng(seed).integers(0, 9, TARGETS.size)
        fold = _folds(5, groups, seed)
        assert all(np.unique(fold[groups == group]).size == 1 for group in np.unique(groups))
        assert np.unique(fold).tolist() == [0, 1, 2, 3, 4]


def test_groups_of_equal_sizes_make_equal_folds() -> None:
    groups = np.arange(TARGETS.size) % 10
    counts = np.bincount(_folds(5, groups))
    assert counts.max() - counts.min() <= 2


def test_more_folds_than_recordings_or_groups_are_refused() -> None:
    with assert_raises(DataError, "data.folds", 3):
        _folds(4, np.arange(TARGETS.size) % 3)
    with assert_raises(DataError, "data.folds", 2):
        assign_folds(np.arange(2), 3, np.random.default_rng(0))


def test_over_all_folds_each_training_recording_is_held_out_once_and_none_for_testing() -> None:
    parts = (np.arange(TARGETS.size) % 6 == 0).astype(np.uint8)
    splits = [make_split(TARGETS, parts, 0.1, 0, fold=Fold(number, 5)) for number in range(5)]
    assert np.array_equal(np.sort(np.concatenate([split.val for split in splits])), np.flatnonzero(parts == 0))
    for split in splits:
        assert np.array_equal(split.test, np.flatnonzero(parts == 1))
        assert np.intersect1d(split.train, split.val).size == 0
    assert splits[2].rule.startswith("fold 2 of 5")


@pytest.mark.parametrize("groups", [None, np.arange(TARGETS.size) % 10], ids=["each", "groups"])
def test_a_seed_holds_the_same_share_of_each_class_out_again_and_another_seed_others(groups: np.ndarray | None) -> None:
    first, again, *others = (
        stratified_holdout(TARGETS, 0.2, np.random.default_rng(seed), groups) for seed in (3, 3, 4, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not all(np.array_equal(first, other) for other in others)
    for chosen in (first, *others):
        shares = np.bincount(TARGETS[chosen], minlength=4)
        if groups is None:
            assert shares.tolist() == [10, 7, 4, 1]  # a fifth of 50, 33, 21 and 7
        else:
            assert np.unique(groups[chosen]).size == 2
            assert chosen.sum() == np.isin(groups, groups[chosen]).sum()
