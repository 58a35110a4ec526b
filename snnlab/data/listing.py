"""Which recordings a user's own folder holds: from a folder a class, or from a table of paths and labels or values."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.data.formats import SUFFIXES
from snnlab.data.holding_out import held_out
from snnlab.errors import DataError, did_you_mean, listing
from snnlab.events.targets import Targets
from snnlab.printable import is_printable, printable
from snnlab.seeds import Stream, generator

# Where nothing says which recordings are for testing, the choice is the same for everyone.
TEST_SEED = 0
PARTS = {"train": 0, "training": 0, "test": 1, "testing": 1}
# Values are kept in single precision.
LARGEST = 3e38
# More digits than any number of a class has.
_DIGITS = 18
PERHAPS = ("start_ms", "end_ms", "group", "split")
COLUMNS = ("path", "label", *PERHAPS)


class Entry(NamedTuple):
    """A recording, or a part of one.

    Attributes:
        path: Its file.
        label: Its class, as the user calls it.
        start_ms: Where the part begins, after the recording's time 0.
        end_ms: Where it ends; infinite for the end of the recording.
        group: Who or what must not be in training and in validation both, such as a person; or None.
        test: Whether it is for testing; None where nothing says.
        values: The numbers that it is trained to, by name, in place of a label; or None.
    """

    path: Path
    label: str
    start_ms: float = 0.0
    end_ms: float = math.inf
    group: str | None = None
    test: bool | None = None
    values: dict[str, float] | None = None


def from_folders(root: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Entry]:
    """List `root/CLASS/...`, or `root/train/CLASS/...` and `root/test/CLASS/...`, sorted by path.

    Args:
        root: The folder.
        suffixes: How the names of files end.

    Raises:
        DataError: if there are none.
    """
    parts = {folder: PARTS[folder.name.lower()] for folder in _folders(root) if folder.name.lower() in PARTS}
    found = [
        Entry(path, folder.name, test=None if part is None else bool(part))
        for above, part in parts.items() or [(root, None)]
        for folder in _folders(above)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in suffixes and path.is_file()
    ]
    if not found:
        raise DataError(
            f"data.root: no recordings in {root}, files that end in {listing(suffixes)}; it should hold a folder for"
            f" each class, {root}/CLASS/*{suffixes[0]}, perhaps below train and test"
            + (", or data.labels names a table of them" if suffixes is SUFFIXES else "")
        )
    return found


def from_table(root: Path, table: Path, targets: Targets = "class") -> list[Entry]:
    """List what a CSV names: path (from root), label, and perhaps start_ms, end_ms, group, split (train or test).

    Args:
        root: The folder.
        table: The CSV.
        targets: With `value`, columns `value` or `value_NAME` stand in place of label; with `steps`, rows of one file
            are what it is labelled from start_ms to end_ms.

    Raises:
        DataError: naming the line that cannot be used.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            _check_head(table, [name.strip() for name in reader.fieldnames or ()], targets)
            lines = [
                (reader.line_num, _entry(root, f"{table}, line {reader.line_num}", row, targets)) for row in reader
            ]
    except OSError as error:
        raise DataError(f"data.labels: {table} cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.labels: {table} cannot be read ({error})") from error
    if not lines:
        raise DataError(f"data.labels: {table} names no recordings")
    _check_different(table, lines)
    if targets == "steps":
        _check_one_recording(table, lines)
    return [entry for _, entry in lines]


def require_printable(names: Iterable[str]) -> None:
    """Raise if a class or a value is called by characters that a terminal would act on.

    Raises:
        DataError: then.
    """
    if hidden := sorted(name for name in names if not is_printable(name)):
        raise DataError(f"data.root: '{printable(hidden[0])}' holds control characters; give the class another name")


def by_number(entries: Sequence[Entry]) -> tuple[list[str], np.ndarray]:
    """Return the labels in order, numbers by their value, and which of them each recording has, int64 `[R]`.

    Raises:
        DataError: if a label holds characters that a terminal would act on.
    """
    labels = {entry.label for entry in entries}
    require_printable(labels)
    numbers = all(label.isascii() and label.isdigit() and len(label) <= _DIGITS for label in labels)
    names = sorted(labels, key=lambda label: (int(label), label) if numbers else (0, label))
    places = {name: number for number, name in enumerate(names)}
    return names, np.array([places[entry.label] for entry in entries], np.int64)


def with_test(
    entries: Sequence[Entry], targets: np.ndarray, groups: np.ndarray | None, test_fraction: float
) -> np.ndarray:
    """Return 1 for the recordings that are for testing: as the folders or the table say, or a part of each class.

    Args:
        entries: The recordings.
        targets: Class of each.
        groups: Group of each, of which none is divided, or None.
        test_fraction: Part that is for testing where nothing says which.

    Shape:
        targets, groups: `[R]`; returns uint8 `[R]`.

    Raises:
        DataError: if some recordings say it and others do not, or all are of one group.
    """
    said = [entry.test for entry in entries]
    if any(test is not None for test in said):
        if None in said:
            raise DataError(f"data.labels: {said.count(None)} of {len(said)} recordings have no split")
        return np.array(said, np.uint8)
    return held_out(targets, test_fraction, generator(TEST_SEED, Stream.TEST), groups).astype(np.uint8)


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"data.root: {root} cannot be read ({error.strerror or error})") from error


def _check_head(table: Path, names: list[str], targets: Targets) -> None:
    values = [name for name in names if _is_value(name)]
    found = [*names, "value"] if values else names
    needed = ("path", "value" if targets == "value" else "label")
    for name in needed:
        if name not in found:
            instead = " data.targets=value takes its values." if name == "label" and values else ""
            several = ", or columns value_NAME" if name == "value" else ""
            raise DataError(
                f"data.labels: {table} has no column {name}{several}.{did_you_mean(name, names)}{instead}"
                f" Its first line must name path and {needed[1]}, and may name {listing(PERHAPS)}"
            )
    for name in names:
        if name in (*COLUMNS, *values) and names.count(name) > 1:
            raise DataError(f"data.labels: {table} names the column {name} twice")
        if name not in COLUMNS and (meant := did_you_mean(name, COLUMNS)):
            raise DataError(f"data.labels: {table} has a column {name}.{meant}")


def _check_different(table: Path, lines: list[tuple[int, Entry]]) -> None:
    """Refuse a recording, or a part of one, that comes twice: nobody would see which label it has."""
    seen: dict[tuple[Path, float, float], tuple[int, Entry]] = {}
    for number, entry in lines:
        before, first = seen.setdefault((entry.path, entry.start_ms, entry.end_ms), (number, entry))
        if first is entry:
            continue
        other = "" if first.label == entry.label else f", with another label: {entry.label}, and not {first.label}"
        other = other if first.values == entry.values else ", with other values"
        raise DataError(f"{table}, line {number}: names {entry.path} again, as line {before} did{other}")


def _check_one_recording(table: Path, lines: list[tuple[int, Entry]]) -> None:
    """Refuse labels of one file that overlap, or that say other things of the file as a whole."""
    ordered = sorted(lines, key=lambda line: (line[1].path, line[1].start_ms))
    for (before, first), (number, entry) in pairwise(ordered):
        if first.path != entry.path:
            continue
        if entry.start_ms < first.end_ms:
            raise DataError(
                f"{table}, line {number}: labels {entry.path} from {entry.start_ms:g} ms on, and line {before} does"
                f" until {first.end_ms:g} ms; of data.targets=steps a moment has one label"
            )
        if (first.group, first.test) != (entry.group, entry.test):
            raise DataError(f"{table}, line {number}: has another group or split than line {before}, of the same file")


def _is_value(name: str) -> bool:
    return name == "value" or (name.startswith("value_") and name != "value_")


def _entry(root: Path, place: str, row: dict[str, str | None], targets: Targets) -> Entry:
    words = {name.strip(): (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    values = (
        {name: _value(place, name, words[name]) for name in words if _is_value(name)} if targets == "value" else None
    )
    label = words["label"] if values is None else ""
    if not (words["path"] and (label or values)):
        raise DataError(f"{place}: has no {'label' if words['path'] else 'path'}")
    path = root / words["path"]
    if not path.is_file():
        raise DataError(f"{place}: there is no file {path}")
    start, end = (_ms(place, name, words.get(name), usual) for name, usual in (("start_ms", 0.0), ("end_ms", math.inf)))
    if not 0 <= start < end:
        raise DataError(f"{place}: start_ms {start:g} must be 0 or more and before end_ms {end:g}")
    part = words.get("split", "").lower()
    if part and part not in PARTS:
        raise DataError(f"{place}: split must be train or test, got {part}")
    test = bool(PARTS[part]) if part else None
    return Entry(path, label, start, end, words.get("group") or None, test, values)


def _value(place: str, name: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not abs(value) < LARGEST:
        raise DataError(f"{place}: {name} must be a finite number, got {word or 'nothing'}")
    return value


def _ms(place: str, name: str, word: str | None, usual: float) -> float:
    if not word:
        return usual
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise DataError(f"{place}: {name} must be a number of milliseconds, got {word}")
    return value
