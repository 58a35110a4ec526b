"""The same recording, by its events, in two parts of a split.

Axes: R recordings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from snnlab.data.splits import Split
from snnlab.errors import DataError

OnDuplicate = Literal["fail", "skip"]
# Recordings of fewer events may be equal by chance, as those of noise alone.
FEW_EVENTS = 10
# Pairs that a message lists.
_LISTED = 3


class Duplicates(NamedTuple):
    """How many recordings are in two parts of a split, event by event the same.

    Attributes:
        compared: Recordings that are looked at: all but those of few events.
        val_in_test: Validation recordings that are test recordings too.
        train_in_test: Training recordings that are test recordings too.
        train_in_val: Training recordings that are validation recordings too.
        left_out: Whether the copies are left out of the parts, by `data.on_duplicate: skip`.
    """

    compared: int
    val_in_test: int
    train_in_test: int
    train_in_val: int
    left_out: bool

    @property
    def passed(self) -> bool:
        """Whether no recording that is trained on or chosen with is a test recording too, nor one in both of these."""
        return self.left_out or not any((self.val_in_test, self.train_in_test, self.train_in_val))

    @property
    def said(self) -> str:
        """The same in one line."""
        found = f"{self.train_in_test:,} training and {self.val_in_test:,} validation recordings are in the test too"
        rest = f"{self.train_in_val:,} training recordings in the validation; {self.compared:,} were compared"
        return f"{found}, {rest}{', and the copies are left out' if self.left_out else ''}"


def duplicates(split: Split, hashes: np.ndarray, sizes: np.ndarray, *, left_out: bool) -> Duplicates:
    """Count recordings that are in two parts; arguments are those of `without_duplicates`.

    Args:
        split: The parts.
        hashes: Checksum of each recording's events.
        sizes: Events of each recording.
        left_out: What `Duplicates` says of it.

    Shape:
        hashes, sizes: `[R]`.
    """
    test, val, train = (hashes[part[sizes[part] >= FEW_EVENTS]] for part in (split.test, split.val, split.train))
    return Duplicates(
        test.size + val.size + train.size,
        val_in_test=int(np.isin(val, test).sum()),
        train_in_test=int(np.isin(train, test).sum()),
        train_in_val=int(np.isin(train, val).sum()),
        left_out=left_out,
    )


def without_duplicates(
    split: Split, hashes: np.ndarray, sizes: np.ndarray, name: Callable[[int], str], on_duplicate: OnDuplicate
) -> Split:
    """Return the split without recordings that are in a more precious part too; test before validation before training.

    Args:
        split: The parts.
        hashes: Checksum of each recording's events.
        sizes: Events of each recording; those of few are taken to be different.
        name: What a message calls a recording.
        on_duplicate: `fail`, or `skip` those copies.

    Shape:
        hashes, sizes: `[R]`.

    Raises:
        DataError: naming both, if there are any and `on_duplicate` is `fail`.
    """
    test, val, train = (part[sizes[part] >= FEW_EVENTS] for part in (split.test, split.val, split.train))
    in_test = np.isin(hashes[val], hashes[test])
    elsewhere = np.concatenate([test, val])
    in_both = np.isin(hashes[train], hashes[elsewhere])
    copies = np.concatenate([val[in_test], train[in_both]])
    if not copies.size:
        return split
    if on_duplicate == "fail":
        raise DataError("data", _text(copies, elsewhere, split, hashes, name))
    return replace(
        split,
        train=np.setdiff1d(split.train, copies),
        val=np.setdiff1d(split.val, copies),
        rule=f"{split.rule}; {copies.size:,} copies of recordings of other parts left out",
    )


def _text(
    copies: np.ndarray, elsewhere: np.ndarray, split: Split, hashes: np.ndarray, name: Callable[[int], str]
) -> str:
    lines = []
    for copy in copies[:_LISTED].tolist():
        twin = int(elsewhere[np.flatnonzero((hashes[elsewhere] == hashes[copy]) & (elsewhere != copy))[0]])
        lines.append(f"\n  {name(copy)} ({_part(split, copy)}) and {name(twin)} ({_part(split, twin)})")
    more = f"\n  and {copies.size - _LISTED:,} more" if copies.size > _LISTED else ""
    return (
        f"{copies.size:,} recordings are in two parts of the split, event by event the same:{''.join(lines)}"
        f"{more}\n  data.on_duplicate=skip leaves the copies out of training, and those of test recordings out of"
        " validation"
    )


def _part(split: Split, place: int) -> str:
    return "test" if place in split.test else "validation" if place in split.val else "training"
