"""Splits into training, validation and test recordings: drawn by group and class, or read from a file.

scikit-learn's splitters are not used: they draw other recordings from the same seed, and the held-out recordings are
part of a run's folder (`split_hash`); they refuse a class of one recording, and do not stratify groups over one part
(`tests/data/test_holding_out.py`).

Axes: R recordings, G groups, K classes.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.errors import DataError, did_you_mean, join_names, one_line
from snnlab.experiment_fields import OnBad
from snnlab.files import open_regular
from snnlab.seeds import Stream, generator
from snnlab.target_kinds import kind_of

# Names of the parts TRAIN, TEST and VAL.
_PART_NAMES = ("train", "test", "val")
# The test recordings are the same for everyone, independent of a run's seeds.
_TEST_SEED = 0
# Number of names that a message lists.
_FEW = 10
# More digits than any index has.
_DIGITS = 18


class RecordingGroups(NamedTuple):
    """Groups of recordings that must be in one part of a split.

    Attributes:
        groups: Number of the group of each recording, int64 `[R]`; None: each recording is its own group.
        names: Name of each recording's group in messages: the user's name for it, or its file.
        user_groups: The user's name of each recording's group, or None, `[R]`.
    """

    groups: np.ndarray | None
    names: Sequence[str]
    user_groups: Sequence[str | None]


def merge_groups(files: Sequence[Hashable], user_groups: Sequence[str | None]) -> RecordingGroups:
    """Merge the recordings of one file and the recordings of one group, transitively.

    Args:
        files: File of each recording.
        user_groups: The user's group of each recording, or None.
    """
    names = [str(file) if group is None else group for file, group in zip(files, user_groups, strict=True)]
    if not any(user_groups) and len(set(files)) == len(files):
        return RecordingGroups(None, names, user_groups)
    parent_of: dict[Hashable, Hashable] = {}

    def root(node: Hashable) -> Hashable:
        while (parent := parent_of.setdefault(node, node)) != node:
            parent_of[node] = parent_of[parent]
            node = parent
        return node

    for file, group in zip(files, user_groups, strict=True):
        if group is not None:
            parent_of[root(("file", file))] = root(("group", group))
    roots = [root(("file", file)) for file in files]
    number_of = {one: number for number, one in enumerate(dict.fromkeys(roots))}
    return RecordingGroups(np.array([number_of[one] for one in roots], np.int64), names, user_groups)


def group_numbers(groups: np.ndarray | None, recordings: int) -> np.ndarray:
    """Return the group number of each recording; a recording without group gets a number of its own.

    Args:
        groups: Group of each recording, negative for none; or None.
        recordings: Number of recordings.

    Shape:
        groups: `[R]`; returns int64 `[R]`.
    """
    alone = np.arange(recordings)
    return alone if groups is None else np.where(groups >= 0, groups, groups.max(initial=-1) + 1 + alone)


def select_test_groups(merged: RecordingGroups, test_groups: Sequence[str]) -> np.ndarray:
    """Return a mask of the recordings of the given groups, bool `[R]`.

    Raises:
        DataError: if a group does not exist or shares files with another one, or no group is left for training.
    """
    known = sorted({name for name in merged.user_groups if name is not None})
    if merged.groups is None or not known:
        raise DataError(
            "data.test_groups",
            "these recordings have no groups",
            "the column group of a table, or data.group_by=COLUMN, sets them",
        )
    for name in test_groups:
        if name not in known:
            there = [*known[:_FEW], *(["..."] if len(known) > _FEW else [])]
            raise DataError("data.test_groups", f"there is no group {name}", did_you_mean(name, known), there)
    chosen = np.isin(merged.groups, merged.groups[[name in test_groups for name in merged.user_groups]])
    sharing = {name for name, test in zip(merged.user_groups, chosen, strict=True) if test and name} - set(test_groups)
    if sharing:
        raise DataError(
            "data.test_groups",
            f"{join_names(sorted(sharing)[:_FEW])} shares files with {join_names(test_groups)}",
            "name all of them",
        )
    if chosen.all():
        raise DataError("data.test_groups", f"all {len(known)} groups are for testing, and none is left for training")
    return chosen


def find_divided_groups(groups: np.ndarray | None, parts: np.ndarray) -> np.ndarray:
    """Return the index of one recording of each group that is in two parts.

    Args:
        groups: Group of each recording, negative for none; or None.
        parts: Part of each recording; -1 for none.

    Shape:
        groups, parts: `[R]`.
    """
    if groups is None:
        return np.zeros(0, np.int64)
    used = np.flatnonzero((parts >= 0) & (groups >= 0))
    names, first, inverse = np.unique(groups[used], return_index=True, return_inverse=True)
    seen = np.zeros((names.size, 3), bool)
    seen[inverse, parts[used]] = True
    return used[first[seen.sum(1) > 1]]


def format_parts(groups: np.ndarray, parts: np.ndarray, recording: int) -> str:
    """Return the names of the parts of a recording's group: `train and test`."""
    return " and ".join(
        _PART_NAMES[part] for part in np.unique(parts[(groups == groups[recording]) & (parts >= 0)]).tolist()
    )


def check_undivided(place: str, merged: RecordingGroups, parts: np.ndarray) -> None:
    """Check that no group is in two parts.

    Args:
        place: The setting that defines the parts.
        merged: The groups.
        parts: Part of each recording, `[R]`.

    Raises:
        DataError: names a group and its parts.
    """
    found = find_divided_groups(merged.groups, parts.astype(np.int64))
    if merged.groups is not None and found.size:
        first = int(found[0])
        more = f" (the first of {found.size:,} such groups)" if found.size > 1 else ""
        raise DataError(
            place,
            (f"the recordings of {merged.names[first]} are in both {format_parts(merged.groups, parts, first)}{more}"),
            "all recordings of a group, and all segments of a file, must be in one part; without groups,"
            " data.split_by_time=[0.7,0.1,0.2] divides files by time",
        )


def stratified_holdout(
    targets: np.ndarray, fraction: float, rng: np.random.Generator, groups: np.ndarray | None = None
) -> np.ndarray:
    """Choose a random fraction of each class, or whole groups.

    Each class contributes its rounded share, so the result is stratified; of a class of two or more recordings, at
    least one is chosen and one is not. Groups are taken in random order if each brings the classes closer to their
    shares.

    Args:
        targets: Class of each recording.
        fraction: The fraction f, 0 <= f < 1.
        rng: Source of the random order.
        groups: User, speaker or session of each recording, or None.

    Shape:
        targets, groups: `[R]`; returns a mask `[R]`, true where chosen.

    Raises:
        DataError: if all recordings are in one group.
    """
    chosen = np.zeros(targets.size, bool)
    if fraction == 0:
        return chosen
    if groups is not None:
        return np.isin(groups, _group_holdout(targets, fraction, rng, groups))
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        share = round(fraction * members.size)
        if members.size > 1:
            share = min(max(share, 1), members.size - 1)
        chosen[rng.permutation(members)[:share]] = True
    return chosen


def draw_test_part(targets: np.ndarray, fraction: float, groups: np.ndarray | None = None) -> np.ndarray:
    """Choose the test recordings of a dataset that defines none: the same for everyone.

    Args:
        targets: Class of each recording.
        fraction: The fraction f of each class, 0 <= f < 1.
        groups: User, speaker or session of each recording, or None.

    Shape:
        targets, groups: `[R]`; returns `[R]`, uint8, 1 for testing.

    Raises:
        DataError: if all recordings are in one group.
    """
    return stratified_holdout(targets, fraction, generator(_TEST_SEED, Stream.TEST), groups).astype(np.uint8)


def assign_folds(
    targets: np.ndarray, folds: int, rng: np.random.Generator, groups: np.ndarray | None = None
) -> np.ndarray:
    """Assign recordings to folds of nearly equal size, each class evenly; a group stays in one fold.

    Large groups are assigned first, each to the fold that lacks most of the group's classes.

    Args:
        targets: Class of each recording.
        folds: Number of folds, 2 or more.
        rng: Source of the random order.
        groups: User, speaker or session of each recording, or None.

    Shape:
        targets, groups: `[R]`; returns the fold of each recording, 0 .. folds - 1, `[R]`.

    Raises:
        DataError: if there are fewer recordings, or groups of them, than folds.
    """
    units = np.arange(targets.size) if groups is None else groups
    names, inverse = np.unique(units, return_inverse=True)
    if names.size < folds:
        what = "recordings" if groups is None else "groups of recordings"
        raise DataError("data.folds", f"{names.size} {what} for training cannot be divided into {folds} folds")
    if groups is None:
        fold, dealt = np.empty(targets.size, np.int64), 0
        for label in np.unique(targets):
            members = rng.permutation(np.flatnonzero(targets == label))
            fold[members] = (dealt + np.arange(members.size)) % folds  # the next class starts at the next fold
            dealt += members.size
        return fold
    counts = _class_counts(targets, inverse, names.size)
    lacking = np.repeat(counts.sum(0, keepdims=True) / folds, folds, axis=0)
    order = rng.permutation(names.size)
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    taken, chosen = np.zeros(folds, np.int64), np.empty(names.size, np.int64)
    for left, unit in zip(range(names.size, 0, -1), order.tolist(), strict=True):
        open_folds = np.flatnonzero(taken == 0) if left <= (taken == 0).sum() else np.arange(folds)
        gain = (np.abs(lacking[open_folds]) - np.abs(lacking[open_folds] - counts[unit])).sum(1)
        best = int(open_folds[np.argmax(gain)])
        chosen[unit], lacking[best] = best, lacking[best] - counts[unit]
        taken[best] += 1
    return chosen[inverse]


def _group_holdout(targets: np.ndarray, fraction: float, rng: np.random.Generator, groups: np.ndarray) -> list[int]:
    names, inverse = np.unique(groups, return_inverse=True)
    if names.size < 2:
        raise DataError(
            "",
            f"all {targets.size:,} recordings are in one group (one person, one session or segments of one file), which"
            " cannot be divided",
            "use several files, and several groups in the column group of data.labels, or"
            " data.split_by_time=[0.7,0.1,0.2], which divides the segments of each file by time; data.val_fraction=0,"
            " and for data=folder data.test_fraction=0, hold no recordings out",
        )
    counts = _class_counts(targets, inverse, names.size)
    missing = fraction * counts.sum(0)
    order = rng.permutation(names.size)
    chosen: list[int] = []
    for group in order[:-1].tolist():  # at least one group is not chosen
        if np.abs(missing - counts[group]).sum() < np.abs(missing).sum():
            chosen.append(group)
            missing = missing - counts[group]
    smallest = min(order.tolist(), key=lambda group: counts[group].sum())
    return names[chosen or [smallest]].tolist()


def _class_counts(targets: np.ndarray, group_of: np.ndarray, groups: int) -> np.ndarray:
    """Return the number of recordings of each group and class, `[G, K]`."""
    classes = np.unique(targets, return_inverse=True)[1]
    counts = np.zeros((groups, classes.max() + 1))
    np.add.at(counts, (group_of, classes), 1)
    return counts


TRAIN, TEST, VAL = 0, 1, 2
"""Values of `Source.split`."""
PART_BY_NAME = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), VAL),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""Names of the parts for users: in a split file, in a table's column split, as names of folders."""


@dataclass(frozen=True)
class Split:
    """The recordings of each part, as ascending indices into the store.

    Attributes:
        train: For training.
        val: Held out of the training recordings, for model selection.
        test: The dataset's own test recordings, never for model selection.
        rule: The rule by which `val` was chosen, as text.
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
        """Return the rule, the lists and the hash for the run folder."""
        lists = {name: getattr(self, name).tolist() for name in ("train", "val", "test")}
        return {"rule": self.rule, "hash": self.hash, **lists}


class Fold(NamedTuple):
    """The fold that is held out for validation, and the number of folds."""

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
    """Hold out training recordings for validation, stratified by class, unless the dataset has a validation part.

    Args:
        targets: Class of each recording; without classes, recordings are drawn at random from all.
        parts: 0 for training, 1 for the dataset's test recordings, 2 for its validation recordings.
        val_fraction: Fraction of the training recordings, 0 <= f < 1.
        split_seed: Seed of the random choice.
        groups: User, speaker or session of each recording, each in one part only; or None.
        fold: The fold that is held out instead, of the dataset's training and validation recordings together.
        bad: Indices of recordings that are in no part.

    Shape:
        targets: `[R]`, `[R, D]` or `[S, 4]`; parts, groups: `[R]`.

    Raises:
        DataError: if the training recordings are in one group, or a group is in two of the dataset's own parts.
    """
    parts = parts.astype(np.int64)  # unsigned numbers of parts have no -1
    kept = np.ones(parts.size, bool)
    kept[[] if bad is None else bad] = False
    test = np.flatnonzero(kept & (parts == TEST))
    training = np.flatnonzero(kept & (parts != TEST))
    own = None if groups is None else groups[training]
    assigned = np.where(kept, parts if fold is None else np.where(parts == VAL, TRAIN, parts), -1)
    if groups is not None and (found := find_divided_groups(groups, assigned)).size:
        raise DataError(
            "", (f"{found.size:,} groups of recordings are in both {format_parts(groups, assigned, int(found[0]))}")
        )
    classes, stratified = strata(targets, parts.size), "stratified " if kind_of(targets) == "class" else ""
    rng, whole = generator(split_seed, Stream.SPLIT), "" if groups is None else "whole groups, "
    if fold is not None:
        val = assign_folds(classes[training], fold.folds, rng, own) == fold.number
        rule = f"fold {fold.number} of {fold.folds} {stratified and 'stratified ones '}of the training recordings"
    elif (parts[training] == VAL).any():
        return Split(training[parts[training] == TRAIN], training[parts[training] == VAL], test, "the dataset's own")
    else:
        val = stratified_holdout(classes[training], val_fraction, rng, own)
        rule = f"{stratified}{val_fraction:g} of the training recordings"
    return Split(training[~val], training[val], test, f"{rule}, {whole}split_seed {split_seed}")


def strata(targets: np.ndarray, recordings: int) -> np.ndarray:
    """Return the classes by which recordings are stratified, or one class for all if they have none, `[R]`."""
    return targets if kind_of(targets) == "class" else np.zeros(recordings, np.int64)


def overfit_split(split: Split, size: int, seed: int) -> Split:
    """Return a split whose training and validation recordings are the first batch of a run, without a test.

    Args:
        split: The split from which the batch is taken.
        size: Number of recordings in the batch.
        seed: The run's seed.
    """
    batch = np.sort(generator(seed, Stream.ORDER, 0).permutation(split.train)[:size])
    return Split(batch, batch, split.test[:0], "overfit: the training batch itself")


def merge_validation(split: Split) -> Split:
    """Return a split that also trains on the validation recordings, and has none for model selection."""
    both = np.sort(np.concatenate([split.train, split.val]))
    return Split(both, split.val[:0], split.test, f"trained on too: {split.rule}")


def read_split(
    path: Path,
    names: Sequence[str],
    parts: np.ndarray,
    bad: Sequence[int] = (),
    groups: np.ndarray | None = None,
    on_bad: OnBad = "fail",
) -> Split:
    """Read a split file; recordings that it does not name are in no part.

    A `.csv` has the columns `recording` and `split` (train, val or test). A recording is given by its index in the
    store, or by the end of its file's path if this is unique: `user01/0.npy`. A `.json` has lists of indices `train`,
    `val` and `test`, like the `split.json` of a run.

    Args:
        path: The file.
        names: Names of the recordings, in order.
        parts: 0 for training, 1 for the dataset's test recordings, 2 for its validation recordings; if there are test
            recordings, no others may be used for testing.
        bad: Indices of recordings that are in no part, even if the file names them.
        groups: User, speaker or session of each recording, or None.
        on_bad: Reaction to a group in two parts: `fail`, or `skip` its recordings in training (and in validation, if
            some are for testing).

    Shape:
        parts, groups: `[R]`.

    Raises:
        DataError: names the line or the key that cannot be used, a test recording in another part, or a recording of a
            group in two parts.
    """
    try:
        with open_regular(path) as file:
            text = file.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("data.split_file", f"{path} cannot be read ({error})") from error
    try:
        is_json = path.suffix.lower() == ".json"
        assigned = _read_json(path, text, len(names)) if is_json else _read_table(path, text, names)
    except csv.Error as error:
        raise DataError("data.split_file", f"{path} cannot be read ({error})") from error
    if (parts == TEST).any() and ((assigned != -1) & (assigned != TEST) & (parts == TEST)).any():
        recording = int(np.flatnonzero((assigned != -1) & (assigned != TEST) & (parts == TEST))[0])
        raise DataError(
            "data.split_file",
            f"{path}: {names[recording]} is one of the dataset's test recordings",
            "for your own recordings, folders, the table's column split or data.test_groups define the test recordings",
        )
    assigned[list(bad)] = -1
    rule = f"the file {path.name}"
    if groups is not None and (divided := find_divided_groups(groups, assigned)).size:
        if on_bad == "fail":
            more = f" (the first of {divided.size:,} such groups)" if divided.size > 1 else ""
            raise DataError(
                "data.split_file",
                f"{path}: the person or group of {names[divided[0]]} is in both"
                f" {format_parts(groups, assigned, int(divided[0]))}{more}",
                "data.on_bad=skip keeps it in one of them",
            )
        named = int((assigned >= 0).sum())
        for part, later in ((TRAIN, (VAL, TEST)), (VAL, (TEST,))):
            there = groups[np.isin(assigned, later) & (groups >= 0)]
            assigned[(assigned == part) & np.isin(groups, there)] = -1
        rule += f"; {named - int((assigned >= 0).sum()):,} recordings of groups in two parts left out"
    train, test, val = (np.flatnonzero(assigned == part) for part in (TRAIN, TEST, VAL))
    if not train.size:
        raise DataError("data.split_file", f"{path} leaves no recordings for training")
    return Split(train, val, test, rule)


def _read_json(path: Path, text: str, total: int) -> np.ndarray:
    try:
        entries = json.loads(text)
        lists = {word: np.array(entries[word], np.int64).reshape(-1) for word in ("train", "val", "test")}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = one_line(error)
        raise DataError("data.split_file", f"{path} has no lists of numbers train, val and test ({reason})") from error
    assigned = np.full(total, -1)
    for word, indices in lists.items():
        if indices.size and not 0 <= indices.min() <= indices.max() < total:
            raise DataError(
                "data.split_file", f"{path}: {word} names {indices.max()}, and there are {total} recordings"
            )
        if np.unique(indices).size < indices.size or (assigned[indices] != -1).any():
            raise DataError("data.split_file", f"{path}: a recording of {word} is named twice")
        assigned[indices] = PART_BY_NAME[word]
    return assigned


def _read_table(path: Path, text: str, names: Sequence[str]) -> np.ndarray:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if not {"recording", "split"} <= set(reader.fieldnames or ()):
        raise DataError("data.split_file", f"{path}: its first line must name the columns recording and split")
    ends = _index_by_end(names)
    assigned = np.full(len(names), -1)
    errors = LineErrors()
    for row in reader:
        line = (path, reader.line_num)
        with errors.of_line(reader.line_num):
            word = (row["split"] or "").strip().lower()
            if word not in PART_BY_NAME:
                raise _error_at(line, f"split must be train, val or test, got {word or 'nothing'}")
            recording = _find_recording(line, (row["recording"] or "").strip(), ends, len(names))
            if assigned[recording] != -1:
                raise _error_at(line, f"{names[recording]} is named twice")
            assigned[recording] = PART_BY_NAME[word]
    errors.raise_all("data.split_file", path)
    return assigned


class LineErrors:
    """The errors in the lines of a table."""

    def __init__(self) -> None:
        self.found: list[tuple[int, DataError]] = []

    @contextmanager
    def of_line(self, number: int) -> Iterator[None]:
        """Keep a DataError of a line, so that the next lines are read too."""
        try:
            yield
        except DataError as error:
            self.found.append((number, error))

    def text(self, table: Path) -> str:
        """Return all errors, with the numbers of their lines; nothing without errors."""
        if not self.found:
            return ""
        numbers: dict[str, list[str]] = {}
        for number, error in sorted(self.found, key=lambda each: each[0]):
            numbers.setdefault(self._without_place(error, number), []).append(str(number))
        shown = [f"line {', '.join(of_text)}: {text}" for text, of_text in numbers.items()]
        more = sum(map(len, list(numbers.values())[_FEW:]))
        rest = [f"and {more:,} more lines"] if more else []
        return "\n  ".join([f"{table}: {len(self.found):,} lines cannot be used", *shown[:_FEW], *rest])

    def raise_all(self, place: str, table: Path) -> None:
        """Raise the errors together.

        Args:
            place: The setting that names the table.
            table: The table.

        Raises:
            DataError: if a line has an error.
        """
        if len(self.found) == 1:
            raise self.found[0][1]
        if self.found:
            raise DataError(place, self.text(table))

    @staticmethod
    def _without_place(error: DataError, number: int) -> str:
        """Return the text of an error without the table and the line, which stand before it."""
        text = str(error.with_fields(place="", origin=None))
        return text.partition(f", line {number}: ")[2] or text


def _index_by_end(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the indices of the recordings for each end of a path: of `a/b/c`, these are `a/b/c`, `b/c` and `c`."""
    ends: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        steps = name.replace("\\", "/").split("/")
        for first in range(len(steps)):
            ends.setdefault("/".join(steps[first:]), []).append(index)
    return ends


def _error_at(line: tuple[Path, int], message: str, hint: str = "") -> DataError:
    return DataError("data.split_file", message, hint).with_fields(origin=line)


def _find_recording(line: tuple[Path, int], word: str, ends: dict[str, list[int]], total: int) -> int:
    if word.isdecimal() and len(word) <= _DIGITS and word not in ends:
        if int(word) >= total:
            raise _error_at(line, f"there are {total} recordings, 0 to {total - 1}, not {word}")
        return int(word)
    found = ends.get(word, [])
    if len(found) != 1:
        if found:
            raise _error_at(line, f"{word} names {len(found)} recordings", "write more of their path")
        raise _error_at(line, f"{word} is no recording", did_you_mean(word, ends))
    return found[0]
