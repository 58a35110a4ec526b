"""Which recordings are for training, validation and testing, and a hash that names the choice.

Axes: R recordings.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from snnlab.data.grouping import divided, parts_in_words
from snnlab.data.holding_out import fold_of, held_out
from snnlab.errors import DataError
from snnlab.events.targets import kind_of
from snnlab.seeds import Stream, generator

TRAIN, TEST, VAL = 0, 1, 2
"""What `Source.split` says of a recording."""
PART_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), VAL),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""What users call them: in a split file, a table's column split, the name of a folder."""


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


class Fold(NamedTuple):
    """One of several folds, which is held out for validation."""

    number: int
    folds: int


def make_split(
    targets: np.ndarray,
    parts: np.ndarray,
    val_fraction: float,
    split_seed: int,
    groups: np.ndarray | None = None,
    *,
    fold: Fold | None = None,
    bad: np.ndarray | None = None,
) -> Split:
    """Hold a part of the training recordings out for validation, stratified by class, unless the dataset has its own.

    Args:
        targets: Class of each recording; recordings of other targets are drawn at random from all.
        parts: 0 for training, 1 for the dataset's test recordings, 2 for its validation recordings.
        val_fraction: Part of the training recordings, 0 <= f < 1.
        split_seed: Seed of the choice.
        groups: User, speaker or session of each recording, of which none is in two parts; or None.
        fold: Which fold of how many is held out instead; of the dataset's training and validation recordings together.
        bad: Places of recordings that are for nothing.

    Shape:
        targets: `[R]`, or see `snnlab.events.targets`; parts, groups: `[R]`.

    Raises:
        DataError: if the training recordings are of one group, or a group is in two of the dataset's own parts.
    """
    kept = np.ones(parts.size, bool)
    kept[[] if bad is None else bad] = False
    test = np.flatnonzero(kept & (parts == TEST))
    training = np.flatnonzero(kept & (parts != TEST))
    own = None if groups is None else groups[training]
    said = np.where(kept, parts if fold is None else np.where(parts == VAL, TRAIN, parts), -1)
    if groups is not None and (found := divided(groups, said)).size:
        raise DataError(
            "", (f"{found.size:,} groups of recordings are in {parts_in_words(groups, said, int(found[0]))} both")
        )
    classes, stratified = strata(targets, parts.size), "stratified " if kind_of(targets) == "class" else ""
    rng, whole = generator(split_seed, Stream.SPLIT), "" if groups is None else "whole groups, "
    if fold is not None:
        val = fold_of(classes[training], fold.folds, rng, own) == fold.number
        rule = f"fold {fold.number} of {fold.folds} {stratified and 'stratified ones '}of the training recordings"
    elif (parts[training] == VAL).any():
        return Split(training[parts[training] == TRAIN], training[parts[training] == VAL], test, "the dataset's own")
    else:
        val = held_out(classes[training], val_fraction, rng, own)
        rule = f"{stratified}{val_fraction:g} of the training recordings"
    return Split(training[~val], training[val], test, f"{rule}, {whole}split_seed {split_seed}")


def strata(targets: np.ndarray, recordings: int) -> np.ndarray:
    """Return what is divided evenly: the class of each recording, or one for all where they have none, `[R]`."""
    return targets if kind_of(targets) == "class" else np.zeros(recordings, np.int64)


def one_batch(split: Split, size: int, seed: int) -> Split:
    """Return a split whose training and validation recordings are the first batch of a run, and without a test.

    Args:
        split: What the batch is taken from.
        size: Recordings in it.
        seed: The run's seed.
    """
    batch = np.sort(generator(seed, Stream.ORDER, 0).permutation(split.train)[:size])
    return Split(batch, batch, split.test[:0], "overfit: the training batch itself")


def with_validation(split: Split) -> Split:
    """Return a split whose validation recordings are trained on too, so that there are none to choose with."""
    both = np.sort(np.concatenate([split.train, split.val]))
    return Split(both, split.val[:0], split.test, f"trained on too: {split.rule}")
