"""Which recordings a user's own folder holds: from a folder a class, or from a table of paths and labels."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.data.formats import SUFFIXES
from snnlab.data.holding_out import held_out
from snnlab.errors import DataError, did_you_mean, listing
from snnlab.seeds import Stream, generator

# Where nothing says which recordings are for testing, the choice is the same for everyone.
TEST_SEED = 0
PARTS = {"train": 0, "training": 0, "test": 1, "testing": 1}
NEEDED = ("path", "label")
COLUMNS = (*NEEDED, "start_ms", "end_ms", "group", "split")


class Entry(NamedTuple):
    """A recording, or a part of one.

    Attributes:
        path: Its file.
        label: Its class, as the user calls it.
        start_ms: Where the part begins, after the recording's time 0.
        end_ms: Where it ends; infinite for the end of the recording.
        group: Who or what must not be in training and in validation both, such as a person; or None.
        test: Whether it is for testing; None where nothing says.
    """

    path: Path
    label: str
    start_ms: float = 0.0
    end_ms: float = math.inf
    group: str | None = None
    test: bool | None = None


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


def from_table(root: Path, table: Path) -> list[Entry]:
    """List what a CSV names: path (from root), label, and perhaps start_ms, end_ms, group, split (train or test).

    Raises:
        DataError: naming the line that cannot be used.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            _check_head(table, [name.strip() for name in reader.fieldnames or ()])
            lines = [(reader.line_num, _entry(root, f"{table}, line {reader.line_num}", row)) for row in reader]
    except OSError as error:
        raise DataError(f"data.labels: {table} cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.labels: {table} cannot be read ({error})") from error
    if not lines:
        raise DataError(f"data.labels: {table} names no recordings")
    _check_different(table, lines)
    return [entry for _, entry in lines]


def by_number(entries: Sequence[Entry]) -> tuple[list[str], np.ndarray]:
    """Return the labels in order, numbers by their value, and which of them each recording has, int64 `[R]`."""
    labels = {entry.label for entry in entries}
    numbers = all(label.isascii() and label.isdigit() for label in labels)
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


def _check_head(table: Path, names: list[str]) -> None:
    for name in NEEDED:
        if name not in names:
            raise DataError(
                f"data.labels: {table} has no column {name}.{did_you_mean(name, names)}"
                f" Its first line must name path and label, and may name {listing(COLUMNS[2:])}"
            )
    for name in names:
        if name in COLUMNS and names.count(name) > 1:
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
        raise DataError(f"{table}, line {number}: names {entry.path} again, as line {before} did{other}")


def _entry(root: Path, place: str, row: dict[str, str | None]) -> Entry:
    words = {name.strip(): (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    if not (words["path"] and words["label"]):
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
    return Entry(path, words["label"], start, end, words.get("group") or None, bool(PARTS[part]) if part else None)


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
