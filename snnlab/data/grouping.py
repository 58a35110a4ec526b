"""Which recordings must be in one part of a split together: those of a person, and the parts of one file.

Axes: R recordings.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from snnlab.errors import DataError, did_you_mean, listing

# What `snnlab.data.splits` calls the parts, in words.
_PARTS = ("train", "test", "val")
# Names that a message lists.
_FEW = 10


class Joined(NamedTuple):
    """Recordings that belong together.

    Attributes:
        groups: A number for each recording, the same for those that are together, int64 `[R]`; None: all are alone.
        names: What a message calls each recording's group: the name that the user gave it, or its file.
        given: The names among them that the user gave, or None, `[R]`.
    """

    groups: np.ndarray | None
    names: Sequence[str]
    given: Sequence[str | None]


def join(files: Sequence[Hashable], given: Sequence[str | None]) -> Joined:
    """Join recordings of one file, and recordings of one group; what is joined to the same is joined.

    Args:
        files: Of which file each recording is.
        given: Which group the user gave it, or None.
    """
    names = [str(file) if group is None else group for file, group in zip(files, given, strict=True)]
    if not any(given) and len(set(files)) == len(files):
        return Joined(None, names, given)
    above: dict[Hashable, Hashable] = {}

    def root(node: Hashable) -> Hashable:
        while (parent := above.setdefault(node, node)) != node:
            above[node] = above[parent]
            node = parent
        return node

    for file, group in zip(files, given, strict=True):
        if group is not None:
            above[root(("file", file))] = root(("group", group))
    roots = [root(("file", file)) for file in files]
    places = {one: number for number, one in enumerate(dict.fromkeys(roots))}
    return Joined(np.array([places[one] for one in roots], np.int64), names, given)


def numbered(groups: np.ndarray | None, recordings: int) -> np.ndarray:
    """Return a number for the group of each recording; one that is in none has a number of its own.

    Args:
        groups: Group of each recording, negative for none; or None.
        recordings: How many there are.

    Shape:
        groups: `[R]`; returns int64 `[R]`.
    """
    alone = np.arange(recordings)
    return alone if groups is None else np.where(groups >= 0, groups, groups.max(initial=-1) + 1 + alone)


def named_for_testing(joined: Joined, test_groups: Sequence[str]) -> np.ndarray:
    """Return which recordings are of groups that the user names, bool `[R]`.

    Raises:
        DataError: if there is no such group, it shares files with another one, or none is left to train with.
    """
    known = sorted({name for name in joined.given if name is not None})
    if joined.groups is None or not known:
        raise DataError(
            "data.test_groups",
            "these recordings have no groups",
            "a table's column group, or data.group_by=COLUMN, says which belong together",
        )
    for name in test_groups:
        if name not in known:
            there = [*known[:_FEW], *(["..."] if len(known) > _FEW else [])]
            raise DataError("data.test_groups", f"there is no group {name}", did_you_mean(name, known), there)
    chosen = np.isin(joined.groups, joined.groups[[name in test_groups for name in joined.given]])
    beside = {name for name, test in zip(joined.given, chosen, strict=True) if test and name} - set(test_groups)
    if beside:
        raise DataError(
            "data.test_groups",
            f"{listing(sorted(beside)[:_FEW])} shares files with {listing(test_groups)}",
            "name all of them",
        )
    if chosen.all():
        raise DataError("data.test_groups", f"all {len(known)} groups are for testing, and none is left to train with")
    return chosen


def divided(groups: np.ndarray | None, parts: np.ndarray) -> np.ndarray:
    """Return one recording of each group that is in two parts.

    Args:
        groups: Group of each recording, negative for none; or None.
        parts: The part of each; -1 for none.

    Shape:
        groups, parts: `[R]`.
    """
    if groups is None:
        return np.zeros(0, np.int64)
    used = np.flatnonzero((parts >= 0) & (groups >= 0))
    names, first, place = np.unique(groups[used], return_index=True, return_inverse=True)
    seen = np.zeros((names.size, 3), bool)
    seen[place, parts[used]] = True
    return used[first[seen.sum(1) > 1]]


def parts_in_words(groups: np.ndarray, parts: np.ndarray, place: int) -> str:
    """Return in which parts a recording's group is: `train and test`."""
    return " and ".join(_PARTS[part] for part in np.unique(parts[(groups == groups[place]) & (parts >= 0)]).tolist())


def require_undivided(place: str, joined: Joined, parts: np.ndarray) -> None:
    """Refuse parts that divide a group.

    Args:
        place: The setting that says what is for what.
        joined: The groups.
        parts: The part of each recording, `[R]`.

    Raises:
        DataError: naming a group and its parts.
    """
    found = divided(joined.groups, parts.astype(np.int64))
    if joined.groups is not None and found.size:
        first = int(found[0])
        more = f" (of {found.size:,} such groups the first)" if found.size > 1 else ""
        raise DataError(
            place,
            (
                f"the recordings of {joined.names[first]} are in"
                f" {parts_in_words(joined.groups, parts, first)} both{more}"
            ),
            "a group, and the parts of one file, must be in one part",
        )
