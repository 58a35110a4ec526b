"""A user's own recordings, from a folder a class or a table of labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.data.formats import Reading, read_file
from snnlab.data.labelled import labelled
from snnlab.data.listing import Entry, from_folders, from_table, with_test
from snnlab.data.registry import DATASETS
from snnlab.data.splits import strata
from snnlab.errors import DataError
from snnlab.events import Events, SensorSize
from snnlab.events.targets import Targets

# Class names that a note still lists.
FEW = 20
_WORDS: dict[Targets, str] = {"class": "classes", "value": "values", "steps": "labels over time"}
_HEADS = {"value": "path and value, or value_NAME", "steps": "path, label, start_ms and end_ms"}


@DATASETS.register("folder")
class Folder:
    """A user's own recordings: `root/CLASS/*.npy`, or a CSV of paths, labels and parts of long recordings.

    Files: .npy, .npz, .csv, .txt, .h5, N-MNIST's .bin, .aedat4, Prophesee's .dat and .raw. Below `root/train` and
    `root/test`, or by the table's column `split`, recordings are for training and testing; where nothing says so,
    `test_fraction` of each class is for testing. The table's columns: path, label, and perhaps start_ms and end_ms (a
    part of a recording), group (a person, a session: never in two of training, validation and test) and split. Parts
    of one file are a group too. With `targets: value`, columns value or value_NAME stand in place of label; with
    `targets: steps`, rows of one file are no parts: they say what it is labelled from start_ms to end_ms, and where
    none says, a step has no target. Of both, recordings for testing are drawn at random from all.

    Args:
        root: The folder.
        sensor_size: [W, H, P]: width, height and number of polarities; H = 1 for sensors without rows.
        labels: The table, beside the recordings or anywhere; null: a folder a class.
        test_fraction: Part of the recordings that is for testing, where nothing says which, 0 <= f < 1.
        time_unit: Unit of the times: s, ms, us or ns. Files of cameras have us by themselves.
        time_origin: What is time 0: `first`, a recording's first event, or `zero`, the file's own.
        sort: Whether events that are not in the order of time are put into it; otherwise they are refused.
        columns: Names of a table's columns, where the file names none, such as [x, y, p, t]; null: [x, y, t, p].
        targets: What recordings are trained to: class, value or steps; the last two need a table.

    Raises:
        DataError: if there are no recordings, or the table cannot be used.
        ValueError: if a setting is out of its range.
    """

    label = "folder"

    def __init__(
        self,
        root: str | None,
        sensor_size: Sequence[int],
        labels: str | None = None,
        test_fraction: float = 0.2,
        time_unit: str = "us",
        time_origin: str = "first",
        sort: bool = False,
        columns: Sequence[str] | None = None,
        targets: Targets = "class",
    ) -> None:
        if not 0 <= test_fraction < 1:
            raise ValueError(f"test_fraction must be 0 to below 1, got {test_fraction}")
        self.reading = Reading(time_unit, time_origin, sort, None if columns is None else tuple(columns))
        self.root = Path(root or "data").expanduser()
        self.sensor_size: SensorSize = (sensor_size[0], sensor_size[1], sensor_size[2])
        if labels is None and targets != "class":
            raise DataError(f"data.targets: {targets} needs data.labels, a table that names {_HEADS[targets]}")
        found = from_folders(self.root) if labels is None else from_table(self.root, self._table(labels), targets)
        self._kind: Targets = targets
        self._entries, self.class_names, self.targets = labelled(found, targets)
        self.num_classes = len(self.class_names)
        self.groups = _groups(self._entries)
        self.split = with_test(self._entries, strata(self.targets, len(self._entries)), self.groups, test_fraction)
        self.notes = [f"folder: {self._summary()}"]
        self._last: tuple[Path, Events] | None = None

    def fingerprint(self) -> dict[str, Any]:
        """Return how files are read, and every recording's file, size, time of change, part and label."""
        stats = {path: path.stat() for path in dict.fromkeys(entry.path for entry in self._entries)}
        recordings = [
            f"{entry.path.relative_to(self.root).as_posix() if entry.path.is_relative_to(self.root) else entry.path}"
            f" {stats[entry.path].st_size} {stats[entry.path].st_mtime_ns}"
            f" {entry.start_ms:g} {entry.end_ms:g} {target} {part} {entry.group}"
            for entry, target, part in zip(self._entries, self._said(), self.split, strict=True)
        ]
        return ({} if self._kind == "class" else {"targets": self._kind}) | {
            "dataset": self.label,
            "reading": vars(self.reading) | {"columns": list(self.reading.columns or ())},
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
                f"{path}: t falls at event {late[0] + 1}, and {len(late):,} times in all; data.sort=true puts events"
                " into the order of time, data.columns names the columns of a table in another order"
            )
        return events

    def _part(self, events: Events, entry: Entry, index: int) -> Events:
        start = round(1000 * entry.start_ms)
        end = None if math.isinf(entry.end_ms) else round(1000 * entry.end_ms)
        first = int(np.searchsorted(events.t, start))
        stop = events.t.size if end is None else int(np.searchsorted(events.t, end))
        if first == stop:
            last = f"its last event is at {events.t[-1] / 1000:g} ms" if events.t.size else "the file has none"
            raise DataError(f"{self.name(index)}: no events in this part; {last}")
        kept = events.take(slice(first, stop))
        return kept._replace(t=kept.t - start)

    def _said(self) -> list[Any]:
        """Return what is said of each recording: its class, its values, or its labels over time."""
        if self._kind != "steps":
            return self.targets.tolist()
        return [self.targets[self.targets[:, 0] == place, 1:].tolist() for place in range(len(self))]

    def _table(self, labels: str) -> Path:
        table = Path(labels).expanduser()
        return table if table.is_absolute() or table.is_file() else self.root / table

    def _summary(self) -> str:
        names = ", ".join(f"{number} {name}" for number, name in enumerate(self.class_names[:FEW]))
        more = ", ..." if self.num_classes > FEW else ""
        tests = int(self.split.sum())
        return f"{len(self):,} recordings in {self.root}, {tests:,} for testing; {_WORDS[self._kind]}: {names}{more}"

    def __getstate__(self) -> dict[str, Any]:
        """Travel to a reading process without the file that was read last."""
        return vars(self) | {"_last": None}


def _groups(entries: list[Entry]) -> np.ndarray | None:
    """Return a number for each group: those of the table, and recordings of which there are several parts."""
    parts = Counter(entry.path for entry in entries)
    if all(entry.group is None for entry in entries) and max(parts.values()) == 1:
        return None
    names = [str(entry.path) if entry.group is None else f"group {entry.group}" for entry in entries]
    places = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([places[name] for name in names], np.int64)
