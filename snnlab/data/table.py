"""Recordings that a table names: paths, labels or values, parts of long recordings, groups, what they are for."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from snnlab.data.listing import Entry, Listed
from snnlab.data.splits import PART_WORDS, VAL
from snnlab.errors import DataError, did_you_mean, listing
from snnlab.events.targets import Targets

# Values are kept in single precision.
LARGEST = 3e38
PERHAPS = ("start_ms", "end_ms", "group", "split")
COLUMNS = ("path", "label", *PERHAPS)
# Columns of which a table means its groups.
PEOPLE = ("user", "subject", "person", "participant", "speaker", "session")
# Each file is a group, and nothing more.
BY_FILE = "path"


def from_table(root: Path, table: Path, targets: Targets = "class", group_by: str | None = None) -> Listed:
    """List what a CSV names: path (from root), label, and perhaps start_ms, end_ms, group, split (train, val or test).

    Args:
        root: The folder.
        table: The CSV.
        targets: With `value`, columns `value` or `value_NAME` stand in place of label; with `steps`, rows of one file
            are what it is labelled from start_ms to end_ms.
        group_by: The column that says which recordings belong together; None: `group`, if there is one; `path`: none
            but parts of one file do.

    Raises:
        DataError: naming the line or the column that cannot be used.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            _check_head(table, names, targets, group_by)
            by = group_by or "group"
            lines = [
                (reader.line_num, _entry(root, f"{table}, line {reader.line_num}", row, targets, by)) for row in reader
            ]
    except OSError as error:
        raise DataError("data.labels", f"{table} cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError("data.labels", f"{table} cannot be read ({error})") from error
    if not lines:
        raise DataError("data.labels", f"{table} names no recordings")
    _check_different(table, lines)
    if targets == "steps":
        _check_one_recording(table, lines)
    entries = [entry for _, entry in lines]
    unused = _unused(names, targets, group_by)
    if group_by is None and "group" not in names and not any(entry.part == VAL for entry in entries):
        _require_no_people(table, unused)
    return Listed(entries, [f"columns not used: {listing(unused)}"] if unused else [])


def _check_head(table: Path, names: list[str], targets: Targets, group_by: str | None) -> None:
    values = [name for name in names if _is_value(name)]
    found = [*names, "value"] if values else names
    needed = ("path", "value" if targets == "value" else "label")
    for name in needed:
        if name not in found:
            instead = "data.targets=value takes its values; " if name == "label" and values else ""
            several = ", or columns value_NAME" if name == "value" else ""
            hint = f"{instead}its first line must name path and {needed[1]}, and may name {listing(PERHAPS)}"
            raise DataError("data.labels", f"{table} has no column {name}{several}", did_you_mean(name, names) or hint)
    if group_by is not None and group_by not in names:
        raise DataError("data.group_by", f"{table} has no column {group_by}", did_you_mean(group_by, names), names)
    for name in names:
        if name in (*COLUMNS, *values, group_by) and names.count(name) > 1:
            raise DataError("data.labels", f"{table} names the column {name} twice")
        if name not in (*COLUMNS, group_by) and (meant := did_you_mean(name, COLUMNS)):
            raise DataError("data.labels", f"{table} has a column {name}", meant)


def _unused(names: Sequence[str], targets: Targets, group_by: str | None) -> list[str]:
    used = {"path", "start_ms", "end_ms", "split", group_by or "group"}
    return [
        name
        for name in names
        if name and name not in used and not (_is_value(name) if targets == "value" else name == "label")
    ]


def _require_no_people(table: Path, unused: Sequence[str]) -> None:
    """Refuse a table that says whose recordings they are in a column that would not be looked at.

    Else the same person would be in training and in test, which nobody would notice.
    """
    if people := [name for name in unused if name.lower() in PEOPLE]:
        raise DataError(
            "data.labels",
            (
                f"{table}: columns not used: {listing(unused)}. Did you mean 'group'? data.group_by={people[0]}"
                f" keeps the recordings of each {people[0].lower()} in one of training, validation"
                " and test"
            ),
            f"data.group_by={BY_FILE} does not",
        )


def _check_different(table: Path, lines: list[tuple[int, Entry]]) -> None:
    """Refuse a recording, or a part of one, that comes twice: nobody would see which label it has."""
    seen: dict[tuple[Path, float, float], tuple[int, Entry]] = {}
    for number, entry in lines:
        before, first = seen.setdefault((entry.path, entry.start_ms, entry.end_ms), (number, entry))
        if first is entry:
            continue
        other = "" if first.label == entry.label else f", with another label: {entry.label}, and not {first.label}"
        other = other if first.values == entry.values else ", with other values"
        raise DataError("", f"{table}, line {number}: names {entry.path} again, as line {before} did{other}")


def _check_one_recording(table: Path, lines: list[tuple[int, Entry]]) -> None:
    """Refuse labels of one file that overlap, or that say other things of the file as a whole."""
    ordered = sorted(lines, key=lambda line: (line[1].path, line[1].start_ms))
    for (before, first), (number, entry) in pairwise(ordered):
        if first.path != entry.path:
            continue
        if entry.start_ms < first.end_ms:
            raise DataError(
                "",
                (
                    f"{table}, line {number}: labels {entry.path} from {entry.start_ms:g} ms on, and line"
                    f" {before} does until {first.end_ms:g} ms"
                ),
                "of data.targets=steps a moment has one label",
            )
        if (first.group, first.part) != (entry.group, entry.part):
            raise DataError(
                "", (f"{table}, line {number}: has another group or split than line {before}, of the same file")
            )


def _is_value(name: str) -> bool:
    return name == "value" or (name.startswith("value_") and name != "value_")


def _entry(root: Path, place: str, row: dict[str, str | None], targets: Targets, by: str) -> Entry:
    words = {name.strip(): (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    values = (
        {name: _value(place, name, words[name]) for name in words if _is_value(name)} if targets == "value" else None
    )
    label = words["label"] if values is None else ""
    if not (words["path"] and (label or values)):
        raise DataError(place, f"has no {'label' if words['path'] else 'path'}")
    path = root / words["path"]
    if not path.is_file():
        raise DataError(place, f"there is no file {path}")
    start, end = (_ms(place, name, words.get(name), usual) for name, usual in (("start_ms", 0.0), ("end_ms", math.inf)))
    if not 0 <= start < end:
        raise DataError(place, f"start_ms {start:g} must be 0 or more and before end_ms {end:g}")
    part = words.get("split", "").lower()
    if part and part not in PART_WORDS:
        raise DataError(place, f"split must be train, val or test, got {part}")
    group = None if by == BY_FILE else words.get(by) or None
    return Entry(path, label, start, end, group, PART_WORDS[part] if part else None, values)


def _value(place: str, name: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not abs(value) < LARGEST:
        raise DataError(place, f"{name} must be a finite number, got {word or 'nothing'}")
    return value


def _ms(place: str, name: str, word: str | None, usual: float) -> float:
    if not word:
        return usual
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise DataError(place, f"{name} must be a number of milliseconds, got {word}")
    return value
