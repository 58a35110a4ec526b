"""Recordings that are in two parts of a split are found by their events."""

from __future__ import annotations

import numpy as np
import pytest

from snnlab.data.duplicates import FEW_EVENTS, Duplicates, drop_duplicates, duplicates
from snnlab.data.splits import Split
from snnlab.errors import DataError

from ..refusals import assert_raises, assert_text_has

# Recordings 0 and 1 train, 2 and 3 validate, 4 and 5 test.
SPLIT = Split(np.array([0, 1]), np.array([2, 3]), np.array([4, 5]), "by hand")
SIZES = np.full(6, FEW_EVENTS)


def _hashes(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def _name(index: int) -> str:
    return f"file{index}"


@pytest.mark.parametrize(
    ("hashes", "message_parts"),
    [
        ((1, 2, 3, 4, 1, 6), ("data", "training")),
        ((1, 2, 2, 4, 5, 6), ("data", "validation")),
        ((1, 2, 3, 4, 5, 4), ("data", "validation")),
    ],
)
def test_a_copy_in_another_part_is_refused_and_both_are_named(hashes: tuple[int, ...], message_parts: tuple) -> None:
    with assert_raises(DataError, *message_parts):
        drop_duplicates(SPLIT, _hashes(*hashes), SIZES, _name, "fail")


def test_skipping_drops_training_copies_before_validation_copies_before_test_recordings() -> None:
    kept = drop_duplicates(SPLIT, _hashes(1, 4, 3, 4, 4, 6), SIZES, _name, "skip")
    assert (kept.train.tolist(), kept.val.tolist(), kept.test.tolist()) == ([0], [2], [4, 5])
    assert "2 copies" in kept.rule


def test_recordings_of_few_events_may_be_equal_by_chance() -> None:
    sizes = np.array([0, 9, 0, 0, 0, 9])
    assert drop_duplicates(SPLIT, _hashes(1, 2, 1, 1, 1, 2), sizes, _name, "fail") is SPLIT


def test_copies_are_counted_by_the_parts_they_are_in() -> None:
    found = duplicates(SPLIT, _hashes(1, 2, 2, 4, 1, 4), SIZES, dropped=False)
    assert found == Duplicates(6, val_in_test=1, train_in_test=1, train_in_val=1, dropped=False)
    assert not found.passed
    assert_text_has(found.summary, "1 training", "1 validation", "test")
    assert found._replace(dropped=True).passed
    assert duplicates(SPLIT, _hashes(1, 1, 3, 3, 5, 5), SIZES, dropped=False).passed
