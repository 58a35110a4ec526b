"""A user's own recordings, from a folder a class or a table of labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from snnlab.data.class_folders import from_folders
from snnlab.data.formats import Reading, read_file
from snnlab.data.formats.columns import TimeOrigin, TimeUnit
from snnlab.data.grouping import join
from snnlab.data.listing import Entry, labelled, parts_of
from snnlab.data.registry import DATASETS
from snnlab.data.splits import TEST, VAL, strata
from snnlab.data.table import from_table
from snnlab.errors import ConfigError, DataError
from snnlab.events import Events, SensorSize
from snnlab.events.targets import Targets
from snnlab.intervals import between

# Class names that a note still lists.
FEW = 20
_WORDS: dict[Targets, str] = {"class": "classes", "value": "values", "steps": "labels over time"}
_HEADS = {"value": "path and value, or value_NAME", "steps": "path, label, start_ms and end_ms"}


@DATASETS.register("folder")
class Folder:
    """A user's own recordings: `root/CLASS/*.npy`, or a CSV of paths, labels and parts of long recordings.

    Files: .npy, .npz, .csv, .txt, .h5, N-MNIST's .bin, .aedat4, Prophesee's .dat and .raw. Below `root/train`,
    `root/val` and `root/test`, or by the table's column `split`, recordings are for training, validation and testing;
    where nothing says so, `test_fraction` of each class is for testing. The table's columns: path, label, and perhaps
    start_ms and end_ms (a part of a recording), group (a person, a session: never in two of training, validation and
    test) and split. Parts of one file are a group too. With `targets: value`, columns value or value_NAME stand in
    place of label; with `targets: steps`, rows of one file are no parts: they say what it is labelled from start_ms to
    end_ms, and where none says, a step has no target. Of both, recordings for testing are drawn at random from all.

    Args:
        root: The folder.
        sensor_size: [W, H, P]: width, height and number of polarities; H = 1 for sensors without rows.
        labels: The table, by its path from root, or else from the working folder; null: a folder a class.
        group_by: The table's column that says which recordings belong together, such as user; null: `group`, if there
            is one; path: none but parts of one file do.
        test_groups: The groups that are for testing, [user5], in place of test_fraction; null: no certain ones.
        test_fraction: Part of the recordings that is for testing, where nothing says which.
        time_unit: Unit of the times: s, ms, us or ns. Files of cameras have us by themselves.
        time_origin: What is time 0: `first`, a recording's first event, or `zero`, the file's own.
        sort: Whether events that are not in the order of time are put into it; otherwise they are refused.
        columns: Names of a table's columns, where the file names none, such as [x, y, p, t]; null: [x, y, t, p].
        polarity_values: What files have as the polarity of OFF and of ON, such as [1, 2]; of more polarities, for each.
            null: 1 for ON and 0 or -1 for OFF; of more, their numbers from 0 on.
        targets: What recordings are trained to: class, value or steps; the last two need a table.
        name: What notes call the recordings.

    Raises:
        ConfigError: if settings do not go together.
        DataError: if there are no recordings, or the table cannot be used.
        ConfigError: if a setting is out of its range.

    Attributes:
        called: What users call the recordings.
        origin: Where they are.
        draws_test: Whether nothing says which recordings are for testing, so that a split file may.
    """

    label = "folder"
    free_split = True

    def __init__(
        self,
        root: str | None,
        sensor_size: Sequence[int],
        labels: str | None = None,
        group_by: str | None = None,
        test_groups: Sequence[str | int] | None = None,
        test_fraction: Annotated[float, between(0, 1, with_high=False)] = 0.2,
        time_unit: TimeUnit = "us",
        time_origin: TimeOrigin = "first",
        sort: bool = False,
        columns: Sequence[str] | None = None,
        polarity_values: Sequence[float] | None = None,
        targets: Targets = "class",
        name: str | None = None,
    ) -> None:
        if polarity_values is not None and len(polarity_values) != sensor_size[2]:
            raise ConfigError(
                "polarity_values", f"{len(polarity_values)} are named, and sensor_size has {sensor_size[2]}"
            )
        names = None if columns is None else tuple(columns)
        values = None if polarity_values is None else tuple(polarity_values)
        self.reading = Reading(time_unit, time_origin, sort, names, values)
        self.root = self.origin = Path(root or "data").expanduser()
        self.sensor_size: SensorSize = (sensor_size[0], sensor_size[1], sensor_size[2])
        table = None if labels is None else self._table(labels)
        if table is None:
            _require_no_table(targets, group_by, test_groups)
        found = from_folders(self.root) if table is None else from_table(self.root, table, targets, group_by)
        self._kind: Targets = targets
        self._entries, self.class_names, self.targets = labelled(found.entries, targets)
        self.num_classes = len(self.class_names)
        joined = join([entry.path for entry in self._entries], [entry.group for entry in self._entries])
        people = None if test_groups is None else list(map(str, test_groups))
        self.groups = joined.groups
        self.split = parts_of(self._entries, strata(self.targets, len(self)), joined, test_fraction, people)
        self.draws_test = test_groups is None and self._entries[0].part is None
        self.called = name or self.label
        self.notes = [f"{self.called}: {note}" for note in (self._summary(table), *found.notes)]
        self._last: tuple[Path, Events] | None = None

    def fingerprint(self) -> dict[str, Any]:
        """Return how files are read, and every recording's file, size, time of change and label.

        Not what it is for: the packed copy is the same whoever is held out for testing.
        """
        stats = {path: path.stat() for path in dict.fromkeys(entry.path for entry in self._entries)}
        recordings = [
            f"{self._relative(entry.path)} {stats[entry.path].st_size} {stats[entry.path].st_mtime_ns}"
            f" {_exact(entry.start_ms)} {_exact(entry.end_ms)} {said}"
            for entry, said in zip(self._entries, self._said(), strict=True)
        ]
        reading = {key: value for key, value in vars(self.reading).items() if key != "polarity_values" or value}
        return ({} if self._kind == "class" else {"targets": self._kind}) | {
            "dataset": self.label,
            "reading": reading | {"columns": list(self.reading.columns or ())},
            "sensor_size": list(self.sensor_size),
            "classes": self.class_names,
            "recordings": recordings,
        }

    def __len__(self) -> int:
        return len(self._entries)

    def name(self, index: int) -> str:
        """Return the file, and the part of it."""
        entry = self._entries[index]
        whole = entry.start_ms == 0 and math.isinf(entry.end_ms)
        return str(entry.path) if whole else f"{entry.path} ({entry.start_ms:g} to {entry.end_ms:g} ms)"

    def read(self, index: int) -> Events:
        """Read one file, or a part of it.

        Raises:
            DataError: if the file is damaged or not in the order of time, or the part holds no events.
        """
        entry = self._entries[index]
        # Parts of one file follow one another, and it is read once for them.
        if self._last is None or self._last[0] != entry.path:
            self._last = entry.path, self._file(entry.path)
        events = self._last[1]
        if entry.start_ms == 0 and math.isinf(entry.end_ms):
            return events
        return self._part(events, entry, index)

    def _file(self, path: Path) -> Events:
        """Read a whole file; its parts are found by time, and so it has to be in that order."""
        events = read_file(path, self.reading, self.sensor_size)
        if late := np.flatnonzero(events.t[1:] < events.t[:-1]).tolist():
            raise DataError(
                path,
                f"t falls at event {late[0] + 1}, and {len(late):,} times in all",
                (
                    "data.sort=true puts events into the order of time, data.columns names the columns"
                    " of a table in another order"
                ),
            )
        return events

    def _part(self, events: Events, entry: Entry, index: int) -> Events:
        start = round(1000 * entry.start_ms)
        end = None if math.isinf(entry.end_ms) else round(1000 * entry.end_ms)
        first = int(np.searchsorted(events.t, start))
        stop = events.t.size if end is None else int(np.searchsorted(events.t, end))
        if first == stop:
            last = f"its last event is at {events.t[-1] / 1000:g} ms" if events.t.size else "the file has none"
            raise DataError(self.name(index), "no events in this part", last)
        kept = events.take(slice(first, stop))
        return kept._replace(t=kept.t - start)

    def _said(self) -> list[Any]:
        if self._kind != "steps":
            return self.targets.tolist()
        return [self.targets[self.targets[:, 0] == place, 1:].tolist() for place in range(len(self))]

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def _table(self, labels: str) -> Path:
        """Return where the table is: in the folder; one of the same name in the working folder comes second."""
        here = Path(labels).expanduser()
        beside = self.root / here
        return here if here.is_file() and not beside.is_file() else beside

    def _summary(self, table: Path | None) -> str:
        names = ", ".join(f"{number} {name}" for number, name in enumerate(self.class_names[:FEW]))
        more = ", ..." if self.num_classes > FEW else ""
        by = f" by {table}" if table is not None and not table.is_relative_to(self.root) else ""
        tests, chosen = (int((self.split == part).sum()) for part in (TEST, VAL))
        parts = f"{tests:,} for testing" + (f", {chosen:,} for validation" if chosen else "")
        return f"{len(self):,} recordings in {self.root}{by}, {parts}; {_WORDS[self._kind]}: {names}{more}"

    def __getstate__(self) -> dict[str, Any]:
        """Travel to a reading process without the file that was read last."""
        return vars(self) | {"_last": None}


def _exact(ms: float) -> str:
    """Return all digits of a time, as few as there are."""
    short = f"{ms:g}"
    return short if float(short) == ms else repr(ms)


def _require_no_table(targets: Targets, group_by: str | None, test_groups: Sequence[str | int] | None) -> None:
    """Refuse settings that nothing but a table can follow."""
    if targets != "class":
        raise DataError("data.targets", f"{targets} needs data.labels, a table that names {_HEADS[targets]}")
    for setting, given in (("group_by", group_by), ("test_groups", test_groups)):
        if given is not None:
            raise ConfigError(setting, "needs data.labels, a table that says which recordings belong together")
