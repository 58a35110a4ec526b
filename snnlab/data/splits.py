"""Which recordings are for training, validation and testing: drawn by group and class, or read from a file.

Not by scikit-learn's splitters: they draw other recordings from the same seed, and what was held out of a run is part
of its record (`split_hash`); they refuse a class of one recording, and its groups are not stratified over one part
(`tests/data/test_holding_out.py`).

Axes: R recordings, G groups, K classes.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from snnlab.errors import DataError, did_you_mean, listing
from snnlab.seeds import Stream, generator
from snnlab.target_kinds import kind_of

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
        targets: `[R]`, or see `snnlab.target_kinds`; parts, groups: `[R]`.

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


OnDividedGroup = Literal["fail", "keep"]


def read_split(
    path: Path,
    names: Sequence[str],
    parts: np.ndarray,
    bad: Sequence[int] = (),
    groups: np.ndarray | None = None,
    on_divided_group: OnDividedGroup = "fail",
) -> Split:
    """Read which recordings are for what; a recording that is not named is for nothing.

    A `.csv` has the columns `recording` and `split` (train, val or test). A recording is its number in the store, or
    the end of its file's name, as far as it is the only one so called: `user01/0.npy`. A `.json` has lists of numbers
    `train`, `val` and `test`, as a run's `split.json` has.

    Args:
        path: The file.
        names: What the recordings are called, in their order.
        parts: 0 for training, 1 for the dataset's test recordings, 2 for its validation recordings; where any are for
            testing, those only are.
        bad: Places of recordings that are for nothing, whatever the file says.
        groups: User, speaker or session of each recording, or None.
        on_divided_group: What is done where recordings of a group are for different things: `fail`, or `keep` the file.

    Shape:
        parts, groups: `[R]`.

    Raises:
        DataError: naming the line or the key that cannot be used, a test recording that is for training, or a recording
            of a group that is divided.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("data.split_file", f"{path} cannot be read ({error})") from error
    said = _from_json(path, text, len(names)) if path.suffix.lower() == ".json" else _from_table(path, text, names)
    if (parts == TEST).any() and ((said != -1) & (said != TEST) & (parts == TEST)).any():
        place = int(np.flatnonzero((said != -1) & (said != TEST) & (parts == TEST))[0])
        raise DataError(
            "data.split_file",
            f"{path}: {names[place]} is one of the dataset's test recordings",
            "of your own recordings, folders, the table's column split and data.test_groups say which these are",
        )
    if not (said == TRAIN).any():
        raise DataError("data.split_file", f"{path} names no recordings for training")
    said[list(bad)] = -1
    if on_divided_group == "fail" and groups is not None and (found := divided(groups, said)).size:
        more = f" (of {found.size:,} such groups the first)" if found.size > 1 else ""
        raise DataError(
            "data.split_file",
            (
                f"{path}: the person or group of {names[found[0]]} is in"
                f" {parts_in_words(groups, said, int(found[0]))} both{more}"
            ),
            "data.on_divided_group=keep keeps it so",
        )
    train, test, val = (np.flatnonzero(said == part) for part in (TRAIN, TEST, VAL))
    return Split(train, val, test, f"the file {path.name}")


def _from_json(path: Path, text: str, total: int) -> np.ndarray:
    try:
        page = json.loads(text)
        given = {word: np.array(page[word], np.int64).reshape(-1) for word in ("train", "val", "test")}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("data.split_file", f"{path} has no lists of numbers train, val and test ({error})") from error
    said = np.full(total, -1)
    for word, places in given.items():
        if places.size and not 0 <= places.min() <= places.max() < total:
            raise DataError("data.split_file", f"{path}: {word} names {places.max()}, and there are {total} recordings")
        if np.unique(places).size < places.size or (said[places] != -1).any():
            raise DataError("data.split_file", f"{path}: a recording of {word} is named twice")
        said[places] = PART_WORDS[word]
    return said


def _from_table(path: Path, text: str, names: Sequence[str]) -> np.ndarray:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if not {"recording", "split"} <= set(reader.fieldnames or ()):
        raise DataError("data.split_file", f"{path}: its first line must name the columns recording and split")
    ends = _by_end(names)
    said = np.full(len(names), -1)
    for row in reader:
        line = (path, reader.line_num)
        word = (row["split"] or "").strip().lower()
        if word not in PART_WORDS:
            raise _at(line, f"split must be train, val or test, got {word or 'nothing'}")
        place = _place(line, (row["recording"] or "").strip(), ends, len(names))
        if said[place] != -1:
            raise _at(line, f"{names[place]} is named twice")
        said[place] = PART_WORDS[word]
    return said


def _by_end(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the places of the recordings that each end of a name means: of `a/b/c`, `a/b/c`, `b/c` and `c`."""
    ends: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        steps = name.replace("\\", "/").split("/")
        for first in range(len(steps)):
            ends.setdefault("/".join(steps[first:]), []).append(place)
    return ends


def _at(line: tuple[Path, int], message: str, hint: str = "") -> DataError:
    return DataError("data.split_file", message, hint).moved(origin=line)


def _place(line: tuple[Path, int], word: str, ends: dict[str, list[int]], total: int) -> int:
    if word.isdecimal() and word not in ends:
        if int(word) >= total:
            raise _at(line, f"there are {total} recordings, 0 to {total - 1}, not {word}")
        return int(word)
    found = ends.get(word, [])
    if len(found) != 1:
        if found:
            raise _at(line, f"{word} names {len(found)} recordings", "write more of their path")
        raise _at(line, f"{word} is no recording", did_you_mean(word, ends))
    return found[0]
