from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from snnlab.data.data_module import BatchSampler
from snnlab.data.splits import Fold, Split, make_split, merge_validation, overfit_split, stratified_holdout
from snnlab.errors import DataError

from ..refusals import assert_raises, assert_text_has

TARGETS = np.arange(60) % 3
IS_TEST = (np.arange(60) % 6 == 0).astype(np.uint8)


def _split(fraction: float = 0.2, seed: int = 0) -> Split:
    return make_split(TARGETS, IS_TEST, fraction, seed)


def test_validation_is_stratified() -> None:
    # 50 training recordings: the test ones are all of class 0, which has 10 left; the others have 20.
    split = _split()
    assert np.bincount(TARGETS[split.val]).tolist() == [2, 4, 4]
    assert np.bincount(TARGETS[split.train]).tolist() == [8, 16, 16]


def test_the_choice_is_random_and_depends_on_its_seed() -> None:
    assert np.array_equal(_split().val, _split().val)
    assert _split().hash == _split().hash
    hashes = {_split(seed=seed).hash for seed in range(10)}
    assert len(hashes) == 10


@pytest.mark.parametrize(
    ("members", "fraction", "share"),
    [
        (1, 0.1, 0),
        (1, 0.4, 0),
        (2, 0.01, 1),
        (2, 0.99, 1),
        (3, 0.01, 1),
        (3, 0.99, 2),
        (10, 0.26, 3),
        (10, 0.0, 0),
        (2, 0.0, 0),
    ],
)
def test_small_classes_stay_on_both_sides(members: int, fraction: float, share: int) -> None:
    # Between two others, which show that a class does not take from its neighbours.
    targets = np.repeat([4, 5, 7], [20, members, 20])
    chosen = stratified_holdout(targets, fraction, np.random.default_rng(0))
    assert chosen[20:-20].sum() == share
    assert chosen[:20].sum() == chosen[-20:].sum() == min(max(round(20 * fraction), fraction > 0), 19)


def test_classes_that_do_not_begin_at_zero_and_empty_sets_are_fine() -> None:
    assert stratified_holdout(np.full(10, 900), 0.5, np.random.default_rng(0)).sum() == 5
    empty = make_split(np.zeros(0, np.int64), np.zeros(0, np.uint8), 0.5, 0)
    assert (empty.train.size, empty.val.size, empty.test.size) == (0, 0, 0)


def test_the_hash_depends_on_the_lists() -> None:
    split = Split(np.array([0, 2]), np.array([1]), np.array([3]), "a rule")
    # Stored in run folders: it must never change.
    assert split.hash == "e970a1fe584b4085bf2bab209f7756c8ce545108602094c0a5b420a226762391"
    assert replace(split, rule="in other words").hash == split.hash
    narrow = [part.astype(np.int32) for part in (split.train, split.val, split.test)]
    assert Split(narrow[0], narrow[1], narrow[2], "").hash == split.hash
    others = [
        replace(split, train=np.array([0, 4])),
        replace(split, val=np.array([4])),
        replace(split, test=np.array([4])),
        # The same numbers one after the other, divided elsewhere.
        Split(np.array([0]), np.array([2, 1]), np.array([3]), ""),
        Split(np.array([0, 2]), np.array([1, 3]), np.array([], np.int64), ""),
        Split(np.array([0, 2]), np.array([], np.int64), np.array([1, 3]), ""),
    ]
    assert len({split.hash, *(other.hash for other in others)}) == len(others) + 1


def test_one_batch_is_the_runs_first_for_training_and_validation() -> None:
    split = _split()
    batch = overfit_split(split, 8, seed=3)
    first = next(iter(BatchSampler(split.train, 8, 3)))
    assert batch.train.tolist() == batch.val.tolist() == sorted(first.indices)
    assert batch.test.size == 0
    assert_text_has(batch.rule, "training batch")


GROUPS = np.arange(60) // 6  # ten of six recordings, two of each class


def test_groups_are_held_out_whole_and_as_many_as_the_fraction_says() -> None:
    for seed in range(20):
        chosen = stratified_holdout(TARGETS, 0.3, np.random.default_rng(seed), GROUPS)
        assert [np.unique(chosen[group == GROUPS]).size for group in range(10)] == [1] * 10
        assert np.bincount(TARGETS[chosen]).tolist() == [6, 6, 6]
    first, second = (stratified_holdout(TARGETS, 0.3, np.random.default_rng(seed), GROUPS) for seed in (0, 1))
    assert (first != second).any()


def test_groups_that_hold_one_class_are_chosen_so_that_classes_have_their_shares() -> None:
    targets, groups = np.repeat([0, 1], 20), np.arange(40) // 2
    chosen = stratified_holdout(targets, 0.2, np.random.default_rng(0), groups)
    assert np.bincount(targets[chosen]).tolist() == [4, 4]


def test_one_group_at_least_is_on_either_side() -> None:
    for fraction in (0.01, 0.5, 0.99):
        chosen = stratified_holdout(np.zeros(4, int), fraction, np.random.default_rng(0), np.array([5, 5, 9, 9]))
        assert chosen.sum() == 2


def test_one_group_cannot_be_held_out_in_part() -> None:
    with assert_raises(DataError, "", "all", 4):
        stratified_holdout(np.arange(4), 0.5, np.random.default_rng(0), np.zeros(4, int))


def test_validation_holds_out_groups_and_the_rule_names_them() -> None:
    split = make_split(TARGETS, (GROUPS > 7).astype(np.uint8), 0.25, 0, GROUPS)
    assert not np.intersect1d(GROUPS[split.train], GROUPS[split.val]).size
    assert split.val.size == 12
    assert_text_has(split.rule, "stratified 0.25", "whole groups", "split_seed 0")


def test_a_group_in_training_and_in_test_is_refused() -> None:
    with assert_raises(DataError, "", 10):
        make_split(TARGETS, IS_TEST, 0.25, 0, GROUPS)
    own = np.arange(TARGETS.size).astype(np.uint8) % 2 * 2
    with assert_raises(DataError, "", "groups"):
        make_split(TARGETS, own, 0.25, 0, np.arange(TARGETS.size) // 2)


def test_validation_recordings_of_the_dataset_are_those() -> None:
    parts = np.arange(TARGETS.size).astype(np.uint8) % 3
    split = make_split(TARGETS, parts, 0.25, 0)
    assert np.array_equal(split.train, np.flatnonzero(parts == 0))
    assert np.array_equal(split.test, np.flatnonzero(parts == 1))
    assert np.array_equal(split.val, np.flatnonzero(parts == 2))
    assert_text_has(split.rule, "dataset's")


@pytest.mark.parametrize(
    "targets", [np.ones((40, 2), np.float32), np.array([[0, 0, 9, 1], [7, 0, 9, 0]])], ids=["value", "steps"]
)
def test_recordings_without_classes_are_drawn_from_all_and_groups_stay_whole(targets: np.ndarray) -> None:
    parts = (np.arange(40) >= 30).astype(np.uint8)
    split = make_split(targets, parts, 0.2, 0)
    assert (split.train.size, split.val.size, split.test.size) == (24, 6, 10)
    assert_text_has(split.rule, 0.2, "split_seed 0")
    groups = np.arange(40) // 5
    split = make_split(targets, parts, 0.2, 0, groups)
    assert not np.intersect1d(groups[split.train], groups[split.val]).size
    assert split.val.size == 5
    assert make_split(targets, parts, 0.2, 0, fold=Fold(1, 3)).val.size == 10


def test_validation_recordings_can_be_trained_on_too():
    split = make_split(np.arange(40) % 4, np.repeat([0, 1], [30, 10]), 0.2, 0)
    both = merge_validation(split)
    assert both.train.tolist() == list(range(30))
    assert both.val.size == 0
    assert both.test.tolist() == split.test.tolist()
    assert both.hash != split.hash
    assert_text_has(both.rule, "trained on", split.rule)


def test_a_recording_that_cannot_be_used_may_have_a_group() -> None:
    groups = np.arange(60) // 4
    split = make_split(TARGETS, groups % 3 == 0, 0.2, 0, groups, bad=np.array([5, 7]))
    parts = make_split(TARGETS, (groups % 3 == 0).astype(np.uint8), 0.2, 0, groups, bad=np.array([5, 7]))
    assert split.hash == parts.hash
    everything = np.concatenate([parts.train, parts.val, parts.test])
    assert sorted(everything.tolist()) == [index for index in range(60) if index not in (5, 7)]
