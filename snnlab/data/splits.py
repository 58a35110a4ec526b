"""Which recordings are for training, validation and testing, and a hash that names the choice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

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


def held_out(targets: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Choose a part of each class at random.

    Each class gives its share rounded, so that the part is stratified; a class of two or more keeps at least one on
    either side.

    Shape:
        targets: `[R]`; returns a mask `[R]`, true where chosen.
    """
    chosen = np.zeros(targets.size, bool)
    if fraction == 0:
        return chosen
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        share = round(fraction * members.size)
        if members.size > 1:
            share = min(max(share, 1), members.size - 1)
        chosen[rng.permutation(members)[:share]] = True
    return chosen


def make_split(targets: np.ndarray, is_test: np.ndarray, val_fraction: float, split_seed: int) -> Split:
    """Hold a stratified part of the training recordings out for validation.

    Args:
        targets: Class of each recording.
        is_test: 1 for the dataset's test recordings.
        val_fraction: Part of the training recordings, 0 <= f < 1.
        split_seed: Seed of the choice.
    """
    training = np.flatnonzero(is_test == 0)
    val = held_out(targets[training], val_fraction, generator(split_seed, Stream.SPLIT))
    rule = f"stratified {val_fraction:g} of the training recordings, split_seed {split_seed}"
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
