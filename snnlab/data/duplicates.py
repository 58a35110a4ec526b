"""Finds recordings with equal events in two parts of a split.

Axes: R recordings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from snnlab.data.splits import Split
from snnlab.errors import DataError
from snnlab.experiment_fields import OnBad

# Recordings with fewer events may be equal by chance, for example noise.
FEW_EVENTS = 10
# Number of pairs that a message lists.
_LISTED = 3


class Duplicates(NamedTuple):
    """Number of recordings that are in two parts of a split, with equal events.

    Attributes:
        compared: Recordings that are compared: all but those with few events.
        val_in_test: Validation recordings that are also test recordings.
        train_in_test: Training recordings that are also test recordings.
        train_in_val: Training recordings that are also validation recordings.
        dropped: True if the copies are dropped from the parts, by `data.on_bad: skip`.
    """

    compared: int
    val_in_test: int
    train_in_test: int
    train_in_val: int
    dropped: bool

    @property
    def passed(self) -> bool:
        """True if no recording is in two parts, or the copies are dropped."""
        return self.dropped or not any((self.val_in_test, self.train_in_test, self.train_in_val))

    @property
    def summary(self) -> str:
        """The same numbers, in one line of text."""
        found = (
            f"{self.train_in_test:,} training and {self.val_in_test:,} validation recordings are also test recordings"
        )
        rest = f"{self.train_in_val:,} training recordings are also validation recordings; {self.compared:,} compared"
        return f"{found}; {rest}{', and the copies are dropped' if self.dropped else ''}"


def duplicates(split: Split, hashes: np.ndarray, sizes: np.ndarray, *, dropped: bool) -> Duplicates:
    """Count recordings that are in two parts.

    Args:
        split: The parts.
        hashes: Checksum of each recording's events.
        sizes: Number of events of each recording.
        dropped: True if the copies are dropped from the parts.

    Shape:
        hashes, sizes: `[R]`.
    """
    test, val, train = (hashes[part[sizes[part] >= FEW_EVENTS]] for part in (split.test, split.val, split.train))
    return Duplicates(
        test.size + val.size + train.size,
        val_in_test=int(np.isin(val, test).sum()),
        train_in_test=int(np.isin(train, test).sum()),
        train_in_val=int(np.isin(train, val).sum()),
        dropped=dropped,
    )


def drop_duplicates(
    split: Split,
    hashes: np.ndarray,
    sizes: np.ndarray,
    name: Callable[[int], str],
    on_bad: OnBad,
) -> Split:
    """Drop copies from the split: from training and validation if they are in the test, from training if in validation.

    Args:
        split: The parts.
        hashes: Checksum of each recording's events.
        sizes: Number of events of each recording; recordings with few events are not compared.
        name: Returns the name of a recording in messages.
        on_bad: `fail`, or `skip` the copies.

    Shape:
        hashes, sizes: `[R]`.

    Raises:
        DataError: names both recordings, if there are copies and `on_bad` is `fail`.
    """
    test, val, train = (part[sizes[part] >= FEW_EVENTS] for part in (split.test, split.val, split.train))
    in_test = np.isin(hashes[val], hashes[test])
    elsewhere = np.concatenate([test, val])
    in_both = np.isin(hashes[train], hashes[elsewhere])
    copies = np.concatenate([val[in_test], train[in_both]])
    if not copies.size:
        return split
    if on_bad == "fail":
        raise DataError("data", _format_copies(copies, elsewhere, split, hashes, name))
    return replace(
        split,
        train=np.setdiff1d(split.train, copies),
        val=np.setdiff1d(split.val, copies),
        rule=f"{split.rule}; {copies.size:,} copies of recordings of other parts dropped",
    )


def _format_copies(
    copies: np.ndarray, elsewhere: np.ndarray, split: Split, hashes: np.ndarray, name: Callable[[int], str]
) -> str:
    lines = []
    for copy in copies[:_LISTED].tolist():
        original = int(elsewhere[np.flatnonzero((hashes[elsewhere] == hashes[copy]) & (elsewhere != copy))[0]])
        lines.append(f"\n  {name(copy)} ({_part_of(split, copy)}) and {name(original)} ({_part_of(split, original)})")
    more = f"\n  and {copies.size - _LISTED:,} more" if copies.size > _LISTED else ""
    return (
        f"{copies.size:,} recordings are in two parts of the split, with equal events:{''.join(lines)}"
        f"{more}\n  data.on_bad=skip drops the copies from training, and copies of test recordings from"
        " validation"
    )


def _part_of(split: Split, index: int) -> str:
    return "test" if index in split.test else "validation" if index in split.val else "training"
