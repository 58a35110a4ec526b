"""Which recordings are for training, validation and testing, and a hash that names the choice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from snnlab.errors import DataError
from snnlab.seeds import Stream, generator


@dataclass(frozen=True)
class Split:
    """The recordings of each part, by their place in the store, ascending.

    Attributes:
        train: For training.
        val: Held out of the training recordings, for choosing.
        test: The dataset's own test recordings, never for choosing.
        rule: How `val` was chosen, in words.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    rule: str

    @property
    def hash(self) -> str:
        """SHA-256 of the three lists."""
        digest = hashlib.sha256()
        for part in (self.train, self.val, self.test):
            digest.update(np.int64(part.size).tobytes())
            digest.update(part.astype("<i8").tobytes())
        return digest.hexdigest()

    def as_record(self) -> dict[str, Any]:
        """Return the rule, the lists and the hash for a run's record."""
        lists = {name: getattr(self, name).tolist() for name in ("train", "val", "test")}
        return {"rule": self.rule, "hash": self.hash, **lists}


def held_out(
    targets: np.ndarray, fraction: float, rng: np.random.Generator, groups: np.ndarray | None = None
) -> np.ndarray:
    """Choose a part of each class at random, and of groups all or nothing.

    Each class gives its share rounded, so that the part is stratified; a class of two or more keeps at least one on
    either side. Groups in random order are taken as long as each brings the classes nearer to their shares.

    Args:
        targets: Class of each recording.
        fraction: The part, 0 <= f < 1.
        rng: Draws the order.
        groups: User, speaker or session of each recording, or None.

    Shape:
        targets, groups: `[R]`; returns a mask `[R]`, true where chosen.

    Raises:
        DataError: if all recordings are of one group.
    """
    chosen = np.zeros(targets.size, bool)
    if fraction == 0:
        return chosen
    if groups is not None:
        return np.isin(groups, _held_out_groups(targets, fraction, rng, groups))
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        share = round(fraction * members.size)
        if members.size > 1:
            share = min(max(share, 1), members.size - 1)
        chosen[rng.permutation(members)[:share]] = True
    return chosen


def _held_out_groups(targets: np.ndarray, fraction: float, rng: np.random.Generator, groups: np.ndarray) -> list[int]:
    names, places = np.unique(groups, return_inverse=True)
    if names.size < 2:
        raise DataError(
            f"all {targets.size:,} recordings are of one group, of which no part can be held out: one person, one"
            " session, or parts of one file\n  data.val_fraction=0, and for data=folder data.test_fraction=0, hold none"
            " out; the column group of data.labels says which belong together"
        )
    classes = np.unique(targets, return_inverse=True)[1]
    counts = np.zeros((names.size, classes.max() + 1))
    np.add.at(counts, (places, classes), 1)
    missing = fraction * counts.sum(0)
    order = rng.permutation(names.size)
    chosen: list[int] = []
    for place in order[:-1].tolist():  # one at least stays
        if np.abs(missing - counts[place]).sum() < np.abs(missing).sum():
            chosen.append(place)
            missing = missing - counts[place]
    smallest = min(order.tolist(), key=lambda place: counts[place].sum())
    return names[chosen or [smallest]].tolist()


def make_split(
    targets: np.ndarray,
    is_test: np.ndarray,
    val_fraction: float,
    split_seed: int,
    groups: np.ndarray | None = None,
) -> Split:
    """Hold a stratified part of the training recordings out for validation.

    Args:
        targets: Class of each recording.
        is_test: 1 for the dataset's test recordings.
        val_fraction: Part of the training recordings, 0 <= f < 1.
        split_seed: Seed of the choice.
        groups: User, speaker or session of each recording, of which none is in two parts; or None.

    Raises:
        DataError: if the training recordings are of one group, or a group is in training and in test.
    """
    training = np.flatnonzero(is_test == 0)
    own = None if groups is None else groups[training]
    if own is not None and groups is not None and (both := np.intersect1d(own, groups[is_test == 1])).size:
        raise DataError(f"{both.size:,} groups of recordings are in training and in test both")
    val = held_out(targets[training], val_fraction, generator(split_seed, Stream.SPLIT), own)
    whole = "" if groups is None else "whole groups, "
    rule = f"stratified {val_fraction:g} of the training recordings, {whole}split_seed {split_seed}"
    return Split(training[~val], training[val], np.flatnonzero(is_test == 1), rule)


def one_batch(split: Split, size: int, seed: int) -> Split:
    """Return a split whose training and validation recordings are the first batch of a run, and without a test.

    Args:
        split: What the batch is taken from.
        size: Recordings in it.
        seed: The run's seed.
    """
    batch = np.sort(generator(seed, Stream.ORDER, 0).permutation(split.train)[:size])
    return Split(batch, batch, split.test[:0], "overfit: the training batch itself")
