"""Choose recordings to hold out: a part of each class, or one of several folds; of groups all or nothing.

Not scikit-learn's splitters: they draw other recordings from the same seed, and what was held out of a run is part of
its record (`split_hash`); they refuse a class of one recording, and its groups are not stratified over one part
(`tests/data/test_holding_out.py`).

Axes: R recordings, G groups, K classes.
"""

from __future__ import annotations

import numpy as np

from snnlab.errors import DataError


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


def fold_of(targets: np.ndarray, folds: int, rng: np.random.Generator, groups: np.ndarray | None = None) -> np.ndarray:
    """Deal recordings out to folds of nearly equal sizes, each class evenly; a group goes to one fold.

    Large groups come first, each to the fold that lacks most of what the group has.

    Args:
        targets: Class of each recording.
        folds: How many folds, 2 or more.
        rng: Draws the order.
        groups: User, speaker or session of each recording, or None.

    Shape:
        targets, groups: `[R]`; returns the fold of each recording, 0 .. folds - 1, `[R]`.

    Raises:
        DataError: if there are fewer recordings, or groups of them, than folds.
    """
    units = np.arange(targets.size) if groups is None else groups
    names, places = np.unique(units, return_inverse=True)
    if names.size < folds:
        what = "recordings" if groups is None else "groups of recordings"
        raise DataError("data.folds", f"{names.size} {what} to train with cannot be dealt out to {folds} folds")
    if groups is None:
        fold, dealt = np.empty(targets.size, np.int64), 0
        for label in np.unique(targets):
            members = rng.permutation(np.flatnonzero(targets == label))
            fold[members] = (dealt + np.arange(members.size)) % folds  # the next class goes on where this one ended
            dealt += members.size
        return fold
    counts = _class_counts(targets, places, names.size)
    lacking = np.repeat(counts.sum(0, keepdims=True) / folds, folds, axis=0)
    order = rng.permutation(names.size)
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    taken, chosen = np.zeros(folds, np.int64), np.empty(names.size, np.int64)
    for left, place in zip(range(names.size, 0, -1), order.tolist(), strict=True):
        open_folds = np.flatnonzero(taken == 0) if left <= (taken == 0).sum() else np.arange(folds)
        gain = (np.abs(lacking[open_folds]) - np.abs(lacking[open_folds] - counts[place])).sum(1)
        best = int(open_folds[np.argmax(gain)])
        chosen[place], lacking[best] = best, lacking[best] - counts[place]
        taken[best] += 1
    return chosen[places]


def _held_out_groups(targets: np.ndarray, fraction: float, rng: np.random.Generator, groups: np.ndarray) -> list[int]:
    names, places = np.unique(groups, return_inverse=True)
    if names.size < 2:
        raise DataError(
            "",
            f"all {targets.size:,} recordings are of one group, of which no part can be held out: one person, one"
            " session, or parts of one file",
            "data.val_fraction=0, and for data=folder data.test_fraction=0, hold none out; the column group of"
            " data.labels says which belong together",
        )
    counts = _class_counts(targets, places, names.size)
    missing = fraction * counts.sum(0)
    order = rng.permutation(names.size)
    chosen: list[int] = []
    for place in order[:-1].tolist():  # one at least stays
        if np.abs(missing - counts[place]).sum() < np.abs(missing).sum():
            chosen.append(place)
            missing = missing - counts[place]
    smallest = min(order.tolist(), key=lambda place: counts[place].sum())
    return names[chosen or [smallest]].tolist()


def _class_counts(targets: np.ndarray, places: np.ndarray, groups: int) -> np.ndarray:
    """Return how many recordings of each class each group has, `[G, K]`."""
    classes = np.unique(targets, return_inverse=True)[1]
    counts = np.zeros((groups, classes.max() + 1))
    np.add.at(counts, (places, classes), 1)
    return counts
