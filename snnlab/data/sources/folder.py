"""User-defined recordings, from one folder per class or from a table of labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from snnlab.data.cochlea import Cochlea
from snnlab.data.dataset import DATASETS
from snnlab.data.events import Events, SensorSize
from snnlab.data.formats import SOUND_SUFFIXES, SUFFIXES, ReadOptions, TimeOrigin, TimeUnit, read_file
from snnlab.data.sources.file_names import discover_names, fields_of_names
from snnlab.data.sources.label_table import (
    BY_FILE,
    Discovery,
    Entry,
    FileTargets,
    LabelInterval,
    discover_table,
    divide_by_time,
)
from snnlab.data.splits import (
    PART_BY_NAME,
    TEST,
    TRAIN,
    VAL,
    RecordingGroups,
    check_undivided,
    draw_test_part,
    merge_groups,
    select_test_groups,
    strata,
)
from snnlab.errors import ConfigError, DataError, join_names
from snnlab.experiment_fields import OnBad
from snnlab.files import files_below
from snnlab.printable import is_printable, printable
from snnlab.spec.interval import at_least, between
from snnlab.spec.nodes import load
from snnlab.target_kinds import NO_END

# Number of files that a note lists.
_MAX_FILES = 3
Parts = list[tuple[Path, int | None]]
"""Folders that hold one folder per class, and the part of each; None if the part is not given."""


def discover_folders(root: Path, suffixes: Sequence[str] = SUFFIXES) -> Discovery:
    """List the recordings in `root/CLASS/...`, or in `root/train/CLASS/...`, `root/val/...`, `root/test/...`, by path.

    Args:
        root: The folder.
        suffixes: Endings of the file names.

    Raises:
        DataError: if there are no recordings, or a folder may be a class as well as a part.
    """
    parts, notes = _parts(root, suffixes)
    entries: list[Entry] = []
    others: list[Path] = []
    loose: list[Path] = []
    for above, part in parts:
        loose += [path for path in sorted(above.iterdir()) if _is_recording(path, suffixes)]
        others += [path for path in sorted(above.iterdir()) if _is_broken_link(path)]
        for folder in _subfolders(above):
            files = sorted(_files(folder))
            found = [path for path in files if _is_recording(path, suffixes)]
            entries += [Entry(path, folder.name, part=part) for path in found]
            others += [path for path in files if not _is_recording(path, suffixes)]
            if not found:
                notes.append(f"no recordings in {folder}")
    if not entries:
        table = ", or data.labels names a table of recordings" if suffixes in (SUFFIXES, SOUND_SUFFIXES) else ""
        raise DataError(
            "data.root",
            f"no recordings in {root}, files that end in {join_names(suffixes)}",
            f"it should hold one folder per class, {root}/CLASS/*{suffixes[0]}, perhaps below train, val and"
            f" test{table}",
        )
    if all(entry.part not in (None, TRAIN) for entry in entries):
        raise DataError(
            "data.root", f"{root} holds {join_names((above.name for above, _ in parts))}, and no recordings in train"
        )
    nowhere = [path for path in others if _is_broken_link(path)]
    endings = [path for path in others if path not in set(nowhere)]
    left = ((loose, "in no class folder"), (nowhere, "broken links"), (endings, "unknown file endings"))
    return Discovery(entries, [*notes, *(_skipped_note(root, paths, why) for paths, why in left if paths)])


def _parts(root: Path, suffixes: Sequence[str]) -> tuple[Parts, list[str]]:
    """Return the folders that hold one folder per class, and notes about other folders, which are skipped.

    A folder named train may be the training part, or the class of trains.
    """
    named = [folder for folder in _subfolders(root) if folder.name.lower() in PART_BY_NAME]
    if not named:
        return [(root, None)], []
    others = [folder for folder in _subfolders(root) if folder not in named]
    others_with_recordings = [folder for folder in others if _has_recordings(folder, suffixes)]
    divided = [folder for folder in named if any(_has_recordings(inner, suffixes) for inner in _subfolders(folder))]
    direct = [folder for folder in named if folder not in divided and _has_recordings(folder, suffixes)]
    names = join_names(folder.name for folder in divided or direct)
    if others_with_recordings and not divided:
        return [(root, None)], [f"used as a class, like the other folders: {names}"] if direct else []
    if others_with_recordings:
        raise DataError(
            "data.root",
            f"{root} holds {names}, each with one folder per class, and in addition"
            f" {join_names(folder.name for folder in others_with_recordings)}, which hold recordings too",
            "recordings of a part must be below train, val or test; a class with such a name needs"
            " another one, or a table (data.labels)",
        )
    if direct:
        raise DataError(
            "data.root", f"{direct[0]} holds recordings, and not one folder per class, {direct[0]}/CLASS/*{suffixes[0]}"
        )
    notes = [_skipped_note(root, others, f"not in {names}")] if others else []
    return [(folder, PART_BY_NAME[folder.name.lower()]) for folder in named], notes


def _subfolders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError("data.root", f"{root} cannot be read ({error.strerror or error})") from error


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, except hidden ones."""
    for path in files_below(folder):
        if not any(name.startswith(".") for name in path.relative_to(folder).parts):
            yield path


def _has_recordings(folder: Path, suffixes: Sequence[str]) -> bool:
    return any(_is_recording(path, suffixes) for path in _files(folder))


def _is_recording(path: Path, suffixes: Sequence[str]) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


def _is_broken_link(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _skipped_note(root: Path, paths: Sequence[Path], why: str) -> str:
    shown = join_names(str(path.relative_to(root)) for path in paths[:_MAX_FILES])
    more = f" and {len(paths) - _MAX_FILES:,} more" if len(paths) > _MAX_FILES else ""
    return f"skipped, {why}: {shown}{more}"


# Of a sum of fractions.
_ROUNDING = 1e-6
# More digits than any class number has.
_DIGITS = 18


def require_printable(names: Iterable[str]) -> None:
    """Raise a DataError if the name of a class or a value holds control characters, which a terminal would execute."""
    if hidden := sorted(name for name in names if not is_printable(name)):
        raise DataError(
            "data.root", f"'{printable(hidden[0])}' holds control characters", "give the class another name"
        )


def number_labels(entries: Sequence[Entry]) -> tuple[list[str], np.ndarray]:
    """Return the sorted labels (numbers by value), and the index of each recording's label, int64 `[R]`.

    Raises:
        DataError: if a label holds control characters.
    """
    labels = {entry.label for entry in entries}
    require_printable(labels)
    numbers = all(label.isascii() and label.isdigit() and len(label) <= _DIGITS for label in labels)
    names = sorted(labels, key=lambda label: (int(label), label) if numbers else (0, label))
    number_of = {name: number for number, name in enumerate(names)}
    return names, np.array([number_of[entry.label] for entry in entries], np.int64)


def assign_parts(
    entries: Sequence[Entry],
    targets: np.ndarray,
    merged: RecordingGroups,
    test_fraction: float,
    test_groups: Sequence[str] | None = None,
) -> np.ndarray:
    """Return the part of each recording: given by folders, table or groups, or a random fraction for testing.

    Args:
        entries: The recordings.
        targets: Class of each recording.
        merged: Their groups, which are not divided.
        test_fraction: Fraction for testing, if no parts are given.
        test_groups: Groups for testing; None: not given by groups.

    Shape:
        targets: `[R]`; returns uint8 `[R]`.

    Raises:
        DataError: if some recordings have a part and others do not, a group is in several parts, or all recordings are
            in one group.
    """
    given_parts = [entry.part for entry in entries]
    if any(part is not None for part in given_parts):
        if None in given_parts:
            raise DataError("data.labels", f"{given_parts.count(None)} of {len(given_parts)} recordings have no split")
        if test_groups is not None:
            raise DataError(
                "data.test_groups", "folders or the table's column split define the test recordings already"
            )
        parts = np.array(given_parts, np.uint8)
        check_undivided("data.labels", merged, parts)
        return parts
    if test_groups is not None:
        return select_test_groups(merged, test_groups).astype(np.uint8)
    return draw_test_part(targets, test_fraction, merged.groups)


class Annotations(NamedTuple):
    """Recordings and their targets.

    Attributes:
        entries: The recordings.
        names: Names of the classes or of the values.
        targets: Classes `[R]`, values `[R, D]` or segments `[S, 4]`.
    """

    entries: list[Entry]
    names: list[str]
    targets: np.ndarray


def annotate(entries: list[Entry], targets: FileTargets) -> Annotations:
    """Return recordings with their targets; with `steps`, the entries of a file become segments of one recording."""
    if targets == "value":
        values = [entry.values or {} for entry in entries]
        names = [name.removeprefix("value_") for name in values[0]]
        require_printable(names)
        return Annotations(entries, names, np.array([list(each.values()) for each in values], np.float32))
    names, numbers = number_labels(entries)
    return Annotations(entries, names, numbers) if targets == "class" else _annotate_steps(entries, names, numbers)


def _annotate_steps(entries: Sequence[Entry], names: list[str], numbers: np.ndarray) -> Annotations:
    whole: dict[Path, Entry] = {}
    index_of: dict[Path, int] = {}
    for entry in entries:
        whole.setdefault(entry.path, Entry(entry.path, "", group=entry.group, part=entry.part))
        index_of.setdefault(entry.path, len(index_of))
    segments = [
        (index_of[entry.path], _to_us(entry.start_ms), _to_us(entry.end_ms), number)
        for entry, number in zip(entries, numbers.tolist(), strict=True)
    ]
    return Annotations(list(whole.values()), names, np.array(sorted(segments), np.int64))


def _to_us(ms: float) -> int:
    return NO_END if math.isinf(ms) else round(1000 * ms)


# Number of class names that a note lists.
MAX_CLASS_NAMES = 20
_TARGET_NAMES: dict[FileTargets, str] = {"class": "classes", "value": "values", "steps": "labels over time"}
_NEEDED_COLUMNS = {"value": "path and value, or value_NAME", "steps": "path, label, start_ms and end_ms"}


@DATASETS.register("folder")
class Folder:
    """User-defined recordings: `root/CLASS/*.npy`, or a CSV of paths, labels and segments of long recordings.

    Files: .npy, .npz, .csv, .txt, .h5, those of cameras (.aedat, .aedat4, .bin, .dat, .es, .raw); or, with `cochlea`,
    sound (.wav). The folders `root/train`, `root/val` and `root/test`, or the table's column `split`, define training,
    validation and test recordings; otherwise `test_fraction` of each class is for testing. Columns of the table: path,
    label, and optionally start_ms and end_ms (a segment of a recording), group (a person or session, only in one of
    training, validation and test) and split. The segments of one file are a group too. With `targets: value`, columns
    value or value_NAME replace label.
    With `targets: steps`, rows of one file are no segments: each is the label from start_ms to end_ms, and steps
    without label have no target. With both, test recordings are drawn at random from all.

    Args:
        root: The folder.
        sensor_size: [W, H, P]: width, height and number of polarities; H = 1 for sensors without rows.
        labels: The table, a path from root or from the working folder; null: one folder per class.
        group_by: The table's column that defines groups, such as user; null: `group`, if there is one; path: segments
            of one file are the only groups.
        test_groups: Groups for testing, such as [user5], instead of test_fraction; null: none.
        test_fraction: Fraction of the recordings for testing, if no test recordings are given.
        split_by_time: Fractions of each file's segments, in the order of their start, for training, validation and
            testing, such as [0.7, 0.1, 0.2], for few long files; segments that overlap a later part are left out and
            counted. null: a file's segments are in one part.
        time_unit: Unit of the times: s, ms, us or ns. Camera formats are always in us.
        time_origin: Time 0: `first`, a recording's first event, or `zero`, the time 0 of the file.
        sort: Whether unsorted events are sorted by time; otherwise they are an error.
        columns: Names of the columns, for files that do not name them, such as [x, y, p, t]; null: [x, y, t, p].
        polarity_values: Values of OFF and ON in files, such as [1, 2]; for more polarities, one value each. null: 1 for
            ON and 0 or -1 for OFF; for more polarities, 0, 1, 2, ...
        targets: Kind of the targets: class, value or steps; the last two need a table.
        on_bad: Reaction to rows of the table, and to names of files, that cannot be used.
        names: Pattern of the files' paths below root, without their ending, in place of a folder per class:
            `{label}_{group}_{number}`; `{any}` stands for what says nothing. null: folders or a table.
        test_numbers: Recordings with these numbers in their names are for testing, instead of test_fraction; the groups
            are then in all parts. null: none.
        cochlea: The settings of the model that makes events of sound, {sample_rate: 48000, seed: 0}; the columns of the
            sensor, of one row and one polarity, are its channels. null: the files are of events.
        name: Name of the recordings in notes.

    Raises:
        DataError: if there are no recordings, or the table cannot be used.

    Attributes:
        display_name: Name of the recordings for users.
        origin: Their folder.
        has_no_test_part: True if no test recordings are given, so that a split file may define them.
    """

    label = "folder"

    def __init__(
        self,
        root: str | None,
        sensor_size: Sequence[int],
        labels: str | None = None,
        group_by: str | None = None,
        test_groups: Sequence[str | int] | None = None,
        test_fraction: Annotated[float, between(0, 1, with_high=False)] = 0.2,
        split_by_time: Annotated[Sequence[float], between(0, 1)] | None = None,
        time_unit: TimeUnit = "us",
        time_origin: TimeOrigin = "first",
        sort: bool = False,
        columns: Sequence[str] | None = None,
        polarity_values: Sequence[float] | None = None,
        targets: FileTargets = "class",
        on_bad: OnBad = "fail",
        names: str | None = None,
        test_numbers: Annotated[Sequence[int], at_least(0)] | None = None,
        cochlea: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        if polarity_values is not None and len(polarity_values) != sensor_size[2]:
            raise ConfigError(
                "polarity_values", f"has {len(polarity_values)} values, and sensor_size has {sensor_size[2]} polarities"
            )
        order = None if columns is None else tuple(columns)
        values = None if polarity_values is None else tuple(polarity_values)
        ear = None if cochlea is None else load(Cochlea, cochlea, "cochlea", "the cochlea")
        if ear is not None and tuple(sensor_size[1:]) != (1, 1):
            raise ConfigError("sensor_size", f"a cochlea has channels, as in [70, 1, 1], got {list(sensor_size)}")
        self.reading = ReadOptions(time_unit, time_origin, sort, order, values, ear)
        self.root = self.origin = Path(root or "data").expanduser()
        self.sensor_size: SensorSize = (sensor_size[0], sensor_size[1], sensor_size[2])
        table = None if labels is None else self._table_path(labels)
        fields = () if names is None else fields_of_names(names)
        if table is None:
            _check_needs_no_table(targets, group_by, test_groups, fields)
        _check_test_numbers(test_numbers, test_groups, fields)
        if split_by_time is not None:
            _check_split_by_time(split_by_time, labels, targets, test_groups)
        suffixes = SUFFIXES if ear is None else SOUND_SUFFIXES
        if table is not None:
            if names is not None:
                raise ConfigError("names", "give names or labels, not both: a table has the labels")
            found = discover_table(self.root, table, targets, group_by, on_bad)
        elif names is not None:
            files = (path for path in _files(self.root) if _is_recording(path, suffixes))
            found = discover_names(self.root, names, files, test_numbers, on_bad)
        else:
            found = discover_folders(self.root, suffixes)
        if split_by_time is not None:
            _check_no_other_parts(found.entries)
            found = divide_by_time(found, split_by_time)
        self._kind: FileTargets = targets
        self._rows = found.entries
        self._entries, self.class_names, self.targets = annotate(found.entries, targets)
        self.num_classes = len(self.class_names)
        # Divided by time, the segments of a file and a part are a group: they depend on each other.
        files = [entry.path if split_by_time is None else (entry.path, entry.part) for entry in self._entries]
        merged = merge_groups(files, [entry.group for entry in self._entries])
        people = None if test_groups is None else list(map(str, test_groups))
        self.groups = merged.groups
        self.split = assign_parts(self._entries, strata(self.targets, len(self)), merged, test_fraction, people)
        self.has_no_test_part = test_groups is None and self._entries[0].part is None
        self.display_name = name or self.label
        self.notes = [f"{self.display_name}: {note}" for note in (self._summary(table), *found.notes)]
        self._last: tuple[Path, Events] | None = None

    def fingerprint(self) -> dict[str, Any]:
        """Return the reading options, and every recording's file, size, modification time and part of the file."""
        stats = {path: path.stat() for path in dict.fromkeys(entry.path for entry in self._entries)}
        recordings = [
            f"{self._relative(entry.path)} {stats[entry.path].st_size} {stats[entry.path].st_mtime_ns}"
            f" {entry.start_ms} {entry.end_ms}"
            for entry in self._entries
        ]
        return {"dataset": self.label, "reading": asdict(self.reading), "recordings": recordings}

    def intervals(self) -> list[LabelInterval]:
        """Return the table's labels of parts of recordings; nothing if it labels whole ones."""
        if all(entry.start_ms == 0 and math.isinf(entry.end_ms) for entry in self._rows):
            return []
        return [LabelInterval(str(self._relative(row.path)), row.start_ms, row.end_ms, row.label) for row in self._rows]

    def __len__(self) -> int:
        return len(self._entries)

    def name(self, index: int) -> str:
        """Return the file, and the segment of it."""
        entry = self._entries[index]
        whole = entry.start_ms == 0 and math.isinf(entry.end_ms)
        return str(entry.path) if whole else f"{entry.path} ({entry.start_ms:g} to {entry.end_ms:g} ms)"

    def read(self, index: int) -> Events:
        """Read one file, or a segment of it.

        Raises:
            DataError: if the file is damaged or not sorted by time, or the segment holds no events.
        """
        entry = self._entries[index]
        # The segments of a file follow each other, so the file is read once.
        if self._last is None or self._last[0] != entry.path:
            self._last = entry.path, self._read_file(entry.path)
        events = self._last[1]
        if entry.start_ms == 0 and math.isinf(entry.end_ms):
            return events
        return self._segment(events, entry, index)

    def _read_file(self, path: Path) -> Events:
        """Read a whole file, which must be sorted by time, since segments are cut by time."""
        events = read_file(path, self.reading, self.sensor_size)
        if unsorted := np.flatnonzero(events.t[1:] < events.t[:-1]).tolist():
            raise DataError(
                path,
                f"t falls at event {unsorted[0] + 1}, and {len(unsorted):,} times in all",
                ("data.sort=true sorts events by time, data.columns names the columns of a table in another order"),
            )
        return events

    def _segment(self, events: Events, entry: Entry, index: int) -> Events:
        start = round(1000 * entry.start_ms)
        end = None if math.isinf(entry.end_ms) else round(1000 * entry.end_ms)
        first = int(np.searchsorted(events.t, start))
        stop = events.t.size if end is None else int(np.searchsorted(events.t, end))
        if first == stop:
            last = f"its last event is at {events.t[-1] / 1000:g} ms" if events.t.size else "the file has none"
            raise DataError(self.name(index), "no events in this segment", last)
        kept = events.take(slice(first, stop))
        return kept._replace(t=kept.t - start)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def _table_path(self, labels: str) -> Path:
        """Return the path of the table: in the root folder, or else in the working folder."""
        here = Path(labels).expanduser()
        in_root = self.root / here
        return here if here.is_file() and not in_root.is_file() else in_root

    def _summary(self, table: Path | None) -> str:
        names = ", ".join(f"{number} {name}" for number, name in enumerate(self.class_names[:MAX_CLASS_NAMES]))
        more = ", ..." if self.num_classes > MAX_CLASS_NAMES else ""
        by = f" by {table}" if table is not None and not table.is_relative_to(self.root) else ""
        tests, chosen = (int((self.split == part).sum()) for part in (TEST, VAL))
        parts = f"{tests:,} for testing" + (f", {chosen:,} for validation" if chosen else "")
        return f"{len(self):,} recordings in {self.root}{by}, {parts}; {_TARGET_NAMES[self._kind]}: {names}{more}"

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the file that was read last."""
        return vars(self) | {"_last": None}


def _check_needs_no_table(
    targets: FileTargets,
    group_by: str | None,
    test_groups: Sequence[str | int] | None,
    fields: Sequence[str],
) -> None:
    """Raise for settings that need a table, or names with certain fields."""
    if targets != "class":
        raise DataError("data.targets", f"{targets} needs data.labels, a table that names {_NEEDED_COLUMNS[targets]}")
    if group_by is not None:
        raise ConfigError("group_by", "needs data.labels, a table that defines groups")
    if test_groups is not None and "group" not in fields:
        raise ConfigError("test_groups", "needs data.labels, a table that defines groups, or {group} in data.names")


def _check_split_by_time(
    fractions: Sequence[float], labels: str | None, targets: FileTargets, test_groups: Sequence[str | int] | None
) -> None:
    if len(fractions) != 3 or abs(sum(fractions) - 1) > _ROUNDING or fractions[0] == 0:
        problem = f"must be three fractions for training, validation and testing whose sum is 1, got {list(fractions)}"
        raise ConfigError("split_by_time", problem)
    if labels is None:
        raise ConfigError("split_by_time", "needs data.labels, a table with start_ms and end_ms of segments")
    if targets == "steps":
        raise ConfigError("split_by_time", "with data.targets=steps a file is one recording", "use several files")
    if test_groups is not None:
        raise ConfigError("", "give split_by_time or test_groups, not both")


def _check_no_other_parts(entries: Sequence[Entry]) -> None:
    if any(entry.part is not None for entry in entries):
        raise DataError("data.split_by_time", "the table's column split says the parts already")
    if any(entry.group is not None for entry in entries):
        raise DataError(
            "data.split_by_time",
            "the table has groups, which are never divided",
            f"data.group_by={BY_FILE} uses no groups",
        )


def _check_test_numbers(
    test_numbers: Sequence[int] | None, test_groups: Sequence[str | int] | None, fields: Sequence[str]
) -> None:
    if test_numbers is not None and "number" not in fields:
        raise ConfigError("test_numbers", "needs data.names with {number}")
    if test_numbers is not None and test_groups is not None:
        raise ConfigError("", "give test_numbers or test_groups, not both")
