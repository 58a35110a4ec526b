"""The table of labels: recordings, segments of them, labels over time or values, one per row of a CSV.

Rows that cannot be used are all named together, or left out and counted. Labels of one file that overlap, and the time
without a label between them, are named.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from snnlab.data.formats import LONGEST
from snnlab.data.splits import PART_BY_NAME, TEST, TRAIN, VAL, LineErrors
from snnlab.errors import DataError, did_you_mean, join_names
from snnlab.experiment_fields import OnBad
from snnlab.files import open_regular

FileTargets = Literal["class", "value", "steps"]
"""The kinds of targets that files can have."""
# Values are stored in single precision.
LARGEST = 3e38
OPTIONAL_COLUMNS = ("start_ms", "end_ms", "group", "split")
COLUMNS = ("path", "label", *OPTIONAL_COLUMNS)
# Names of columns that usually define groups.
PERSON_COLUMNS = ("user", "subject", "person", "participant", "speaker", "session")
# Each file is a group of its own.
BY_FILE = "path"


class Entry(NamedTuple):
    """A recording, or a segment of one.

    Attributes:
        path: Its file.
        label: The name of its class.
        start_ms: Start of the segment, from the recording's time 0, ms.
        end_ms: End of the segment, ms; infinite for the end of the recording.
        group: A person, session, ... that must be in only one of training, validation and test; or None.
        part: Its part, `TRAIN`, `TEST` or `VAL` of `snnlab.data.splits`; None if it is not given.
        values: Its target values, by name, in place of a label; or None.
    """

    path: Path
    label: str
    start_ms: float = 0.0
    end_ms: float = math.inf
    group: str | None = None
    part: int | None = None
    values: dict[str, float] | None = None


class Discovery(NamedTuple):
    """Recordings, and notes for the user about files that were skipped."""

    entries: list[Entry]
    notes: list[str]


class LabelInterval(NamedTuple):
    """A label of a part of a recording: the file, start and end, ms (infinite for the recording's end), and label."""

    path: str
    start_ms: float
    end_ms: float
    label: str


def discover_table(
    root: Path,
    table: Path,
    targets: FileTargets = "class",
    group_by: str | None = None,
    on_bad: OnBad = "fail",
) -> Discovery:
    """Read a CSV with the columns path (from root), label, and optionally start_ms, end_ms, group, split.

    The columns are separated by commas, or by semicolons or tabs, as spreadsheets write them too.

    Args:
        root: The folder.
        table: The CSV.
        targets: With `value`, columns `value` or `value_NAME` replace label; with `steps`, each row is the label of a
            file from start_ms to end_ms.
        group_by: The column that defines groups; None: `group`, if there is one; `path`: segments of one file are the
            only groups.
        on_bad: `skip` leaves out the rows that cannot be used, and of two that contradict each other the later
            one; a note counts them.

    Raises:
        DataError: names all lines that cannot be used, or the column.
    """
    errors = LineErrors()
    try:
        with io.TextIOWrapper(open_regular(table), encoding="utf-8-sig", newline="") as file:
            content = file.read()
        head = content.partition("\n")[0]
        separator = max(",;\t", key=head.count)
        reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=separator, skipinitialspace=True)
        names = [name.strip() for name in reader.fieldnames or ()]
        _check_header(table, names, targets, group_by)
        by = group_by or "group"
        lines: list[tuple[int, Entry]] = []
        for row in reader:
            with errors.of_line(reader.line_num):
                place = f"{table}, line {reader.line_num}"
                lines.append((reader.line_num, _parse_entry(root, place, row, targets, by)))
    except OSError as error:
        raise DataError("data.labels", f"{table} cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError("data.labels", f"{table} cannot be read ({error})") from error
    lines = _without_contradictions(table, lines, targets, errors)
    if on_bad == "fail":
        errors.raise_all("data.labels", table)
    if not lines:
        raise DataError("data.labels", f"{table} names no recordings", errors.text(table))
    entries = [entry for _, entry in lines]
    unused = _unused_columns(names, targets, group_by)
    if group_by is None and "group" not in names and not any(entry.part == VAL for entry in entries):
        _check_no_person_column(table, unused)
    notes = [f"columns not used: {join_names(unused)}"] if unused else []
    notes += [f"left out (data.on_bad=skip): {errors.text(table)}"] if errors.found else []
    return Discovery(entries, [*notes, *_time_notes(entries)])


def divide_by_time(found: Discovery, fractions: Sequence[float]) -> Discovery:
    """Return the segments with their parts: of each file the first ones train, the next validate, the last ones test.

    A segment that ends after the first one of a later part begins is left out, so that no time is in two parts; a note
    counts them.

    Args:
        found: The segments of a table without groups and parts.
        fractions: Fractions of a file's segments for training, validation and testing.

    Raises:
        DataError: if a file has too few segments, or all of a part are left out.
    """
    of_file: dict[Path, list[Entry]] = {}
    for entry in sorted(found.entries, key=lambda entry: (entry.start_ms, entry.end_ms)):
        of_file.setdefault(entry.path, []).append(entry)
    part_of: dict[tuple[Path, float, float], int] = {}
    wanted = [(part, share) for part, share in zip((TRAIN, VAL, TEST), fractions, strict=True) if share > 0]
    for path, segments in of_file.items():
        later = [max(1, round(share * len(segments))) for _, share in wanted[1:]]
        first, ends = len(segments) - sum(later), math.inf
        for (part, _), number in reversed([*zip(wanted, [first, *later], strict=True)]):
            segments, own = segments[: len(segments) - number], segments[len(segments) - number :]
            kept = [entry for entry in own if entry.end_ms <= ends]
            if number < 1 or not kept:
                raise DataError(
                    "data.split_by_time",
                    f"{path} has {len(of_file[path])} segments, too few for {len(wanted)} parts without overlaps",
                )
            part_of |= {_segment(entry): part for entry in kept}
            ends = own[0].start_ms
    entries = [entry._replace(part=part_of[_segment(entry)]) for entry in found.entries if _segment(entry) in part_of]
    left = len(found.entries) - len(entries)
    note = f"left out, since they overlap a later part (data.split_by_time): {left:,} segments"
    return Discovery(entries, [*found.notes, *([note] if left else [])])


def _without_contradictions(
    table: Path, lines: list[tuple[int, Entry]], targets: FileTargets, errors: LineErrors
) -> list[tuple[int, Entry]]:
    """Return the lines without those that contradict another one, of which an error is kept."""
    seen: dict[tuple[Path, float, float], tuple[int, Entry]] = {}
    kept: list[tuple[int, Entry]] = []
    for number, entry in lines:
        with errors.of_line(number):
            _check_listed_once(table, number, entry, seen.setdefault(_segment(entry), (number, entry)))
            kept.append((number, entry))
    if targets != "steps":
        return kept
    last: dict[Path, tuple[int, Entry]] = {}
    fitting: set[int] = set()
    for number, entry in sorted(kept, key=lambda line: (str(line[1].path), line[1].start_ms)):
        with errors.of_line(number):
            if entry.path in last:
                _check_follows(table, number, entry, *last[entry.path])
            last[entry.path] = number, entry
            fitting.add(number)
    return [line for line in kept if line[0] in fitting]


def _segment(entry: Entry) -> tuple[Path, float, float]:
    return entry.path, entry.start_ms, entry.end_ms


def _check_listed_once(table: Path, number: int, entry: Entry, before: tuple[int, Entry]) -> None:
    """Raise if a recording or segment was listed before, perhaps with a different label."""
    line, first = before
    if line == number:
        return
    other = "" if first.label == entry.label else f", with another label: {entry.label}, and not {first.label}"
    other = other if first.values == entry.values else ", with other values"
    raise DataError("", f"{table}, line {number}: lists {entry.path} again, like line {line}{other}")


def _check_follows(table: Path, number: int, entry: Entry, before: int, first: Entry) -> None:
    """Raise if a label overlaps the one before it in its file, or has another group or split."""
    if entry.start_ms < first.end_ms:
        raise DataError(
            "",
            (
                f"{table}, line {number}: labels {entry.path} from {entry.start_ms:g} ms on, but the label of line"
                f" {before} ends at {first.end_ms:g} ms"
            ),
            "with data.targets=steps a time has one label only",
        )
    if (first.group, first.part) != (entry.group, entry.part):
        raise DataError(
            "", (f"{table}, line {number}: has another group or split than line {before}, of the same file")
        )


def _time_notes(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield a note about the segments of a file that overlap, and one about the time between them and before them."""
    overlaps: list[tuple[Path, float, float]] = []
    gaps: list[tuple[Path, float, float]] = []
    ends: dict[Path, float] = {}
    for entry in sorted(entries, key=lambda entry: (str(entry.path), entry.start_ms, entry.end_ms)):
        end = ends.get(entry.path, 0.0)
        if entry.path in ends and entry.start_ms < end:
            overlaps.append((entry.path, entry.start_ms, min(end, entry.end_ms)))
        elif entry.start_ms > end:
            gaps.append((entry.path, end, entry.start_ms))
        ends[entry.path] = max(end, entry.end_ms)
    for what, found in (("labelled more than once", overlaps), ("without a label, before the last one", gaps)):
        if found:
            total = sum(end - start for _, start, end in found)
            path, start, end = max(found, key=lambda each: each[2] - each[1])
            many = len({path for path, _, _ in found})
            files = "1 file" if many == 1 else f"{many:,} files"
            yield f"{what}: {total:,.6g} ms in {files}, the longest {path.name} from {start:g} to {end:g} ms"


def _check_header(table: Path, names: list[str], targets: FileTargets, group_by: str | None) -> None:
    values = [name for name in names if _is_value(name)]
    found = [*names, "value"] if values else names
    needed = ("path", "value" if targets == "value" else "label")
    for name in needed:
        if name not in found:
            instead = "data.targets=value reads its values; " if name == "label" and values else ""
            several = ", or columns value_NAME" if name == "value" else ""
            hint = (
                f"{instead}its first line must name path and {needed[1]}, and may name {join_names(OPTIONAL_COLUMNS)}"
            )
            raise DataError("data.labels", f"{table} has no column {name}{several}", did_you_mean(name, names) or hint)
    if group_by is not None and group_by not in names:
        raise DataError("data.group_by", f"{table} has no column {group_by}", did_you_mean(group_by, names), names)
    for name in names:
        if name in (*COLUMNS, *values, group_by) and names.count(name) > 1:
            raise DataError("data.labels", f"{table} names the column {name} twice")
        if name not in (*COLUMNS, group_by) and (meant := did_you_mean(name, COLUMNS)):
            raise DataError("data.labels", f"{table} has a column {name}", meant)


def _unused_columns(names: Sequence[str], targets: FileTargets, group_by: str | None) -> list[str]:
    used = {"path", "start_ms", "end_ms", "split", group_by or "group"}
    return [
        name
        for name in names
        if name and name not in used and not (_is_value(name) if targets == "value" else name == "label")
    ]


def _check_no_person_column(table: Path, unused: Sequence[str]) -> None:
    """Raise if an unused column seems to hold persons.

    Otherwise the same person could be in training and in test without notice.
    """
    if people := [name for name in unused if name.lower() in PERSON_COLUMNS]:
        raise DataError(
            "data.labels",
            (
                f"{table}: columns not used: {join_names(unused)}. Did you mean 'group'? data.group_by={people[0]}"
                f" puts all recordings of each {people[0].lower()} into one of training, validation"
                " and test"
            ),
            f"data.group_by={BY_FILE} uses no groups",
        )


def _is_value(name: str) -> bool:
    return name == "value" or (name.startswith("value_") and name != "value_")


def _parse_entry(root: Path, place: str, row: dict[str, str | None], targets: FileTargets, by: str) -> Entry:
    """Return the recording of a row; raise with everything that is wrong with it."""
    texts = {name.strip(): (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    wrong: list[str] = []
    named = [name for name in texts if _is_value(name)] if targets == "value" else []
    values = {name: _parse_value(name, texts[name], wrong) for name in named}
    label = texts["label"] if targets != "value" else ""
    if not (label or targets == "value"):
        wrong.append("has no label")
    path = root / texts["path"]
    if not texts["path"]:
        wrong.append("has no path")
    elif not path.is_file():
        wrong.append(f"there is no file {path}")
    start, end = (
        _parse_ms(name, texts.get(name), usual, wrong) for name, usual in (("start_ms", 0.0), ("end_ms", math.inf))
    )
    if not (math.isnan(start) or math.isnan(end) or 0 <= start < end):
        wrong.append(f"start_ms {start:g} must be 0 or more and before end_ms {end:g}")
    part = texts.get("split", "").lower()
    if part and part not in PART_BY_NAME:
        wrong.append(f"split must be train, val or test, got {part}")
    if wrong:
        raise DataError(place, "; ".join(wrong))
    group = None if by == BY_FILE else texts.get(by) or None
    own_values = values if targets == "value" else None
    return Entry(path, label, start, end, group, PART_BY_NAME[part] if part else None, own_values)


def _parse_value(name: str, word: str, wrong: list[str]) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not abs(value) < LARGEST:
        wrong.append(f"{name} must be a finite number, got {word or 'nothing'}")
    return value


def _parse_ms(name: str, word: str | None, usual: float, wrong: list[str]) -> float:
    """Return a time; NaN, with a reason in the list, for a word that is none."""
    if not word:
        return usual
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if math.isnan(value) or (math.isfinite(value) and abs(value) > LONGEST / 1000):
        wrong.append(f"{name} must be a number of milliseconds, got {word}")
        return math.nan
    return value
