"""What a user's own folder holds: recordings, or parts of them, with what they are trained to and what they are for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.data.grouping import Joined, named_for_testing, require_undivided
from snnlab.data.holding_out import held_out
from snnlab.errors import DataError
from snnlab.events.targets import NO_END, Targets
from snnlab.printable import is_printable, printable
from snnlab.seeds import Stream, generator

# Where nothing says which recordings are for testing, the choice is the same for everyone.
TEST_SEED = 0
# More digits than any number of a class has.
_DIGITS = 18


class Entry(NamedTuple):
    """A recording, or a part of one.

    Attributes:
        path: Its file.
        label: Its class, as the user calls it.
        start_ms: Where the part begins, after the recording's time 0.
        end_ms: Where it ends; infinite for the end of the recording.
        group: Who or what must not be in two of training, validation and test, such as a person; or None.
        part: What it is for, `TRAIN`, `TEST` or `VAL` of `snnlab.data.splits`; None where nothing says.
        values: The numbers that it is trained to, by name, in place of a label; or None.
    """

    path: Path
    label: str
    start_ms: float = 0.0
    end_ms: float = math.inf
    group: str | None = None
    part: int | None = None
    values: dict[str, float] | None = None


class Listed(NamedTuple):
    """Recordings, and lines for the user of what was passed over where they were looked for."""

    entries: list[Entry]
    notes: list[str]


def require_printable(names: Iterable[str]) -> None:
    """Raise if a class or a value is called by characters that a terminal would act on."""
    if hidden := sorted(name for name in names if not is_printable(name)):
        raise DataError(
            "data.root", f"'{printable(hidden[0])}' holds control characters", "give the class another name"
        )


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


def parts_of(
    entries: Sequence[Entry],
    targets: np.ndarray,
    joined: Joined,
    test_fraction: float,
    test_groups: Sequence[str] | None = None,
) -> np.ndarray:
    """Return what each recording is for: as folders, table or groups say it, or a part of each class for testing.

    Args:
        entries: The recordings.
        targets: Class of each.
        joined: Which of them are together, so that none is divided.
        test_fraction: Part that is for testing where nothing says which.
        test_groups: Groups that are for testing; None: nothing is said by them.

    Shape:
        targets: `[R]`; returns uint8 `[R]`.

    Raises:
        DataError: if some recordings say it and others do not, some of a group say other things than others, or all
            are of one group.
    """
    said = [entry.part for entry in entries]
    if any(part is not None for part in said):
        if None in said:
            raise DataError("data.labels", f"{said.count(None)} of {len(said)} recordings have no split")
        if test_groups is not None:
            raise DataError("data.test_groups", "folders or the table's column split say already what is for testing")
        parts = np.array(said, np.uint8)
        require_undivided("data.labels", joined, parts)
        return parts
    if test_groups is not None:
        return named_for_testing(joined, test_groups).astype(np.uint8)
    return held_out(targets, test_fraction, generator(TEST_SEED, Stream.TEST), joined.groups).astype(np.uint8)


class Labelled(NamedTuple):
    """Recordings and their targets.

    Attributes:
        entries: The recordings.
        names: What the classes are called, or the values.
        targets: See `snnlab.events.targets`.
    """

    entries: list[Entry]
    names: list[str]
    targets: np.ndarray


def labelled(entries: list[Entry], targets: Targets) -> Labelled:
    """Return recordings with their targets; with `steps`, the entries of a file are segments of one recording."""
    if targets == "value":
        values = [entry.values or {} for entry in entries]
        names = [name.removeprefix("value_") for name in values[0]]
        require_printable(names)
        return Labelled(entries, names, np.array([list(each.values()) for each in values], np.float32))
    names, numbers = by_number(entries)
    return Labelled(entries, names, numbers) if targets == "class" else _over_time(entries, names, numbers)


def _over_time(entries: Sequence[Entry], names: list[str], numbers: np.ndarray) -> Labelled:
    whole: dict[Path, Entry] = {}
    places: dict[Path, int] = {}
    for entry in entries:
        whole.setdefault(entry.path, Entry(entry.path, "", group=entry.group, part=entry.part))
        places.setdefault(entry.path, len(places))
    segments = [
        (places[entry.path], _us(entry.start_ms), _us(entry.end_ms), number)
        for entry, number in zip(entries, numbers.tolist(), strict=True)
    ]
    return Labelled(list(whole.values()), names, np.array(sorted(segments), np.int64))


def _us(ms: float) -> int:
    return NO_END if math.isinf(ms) else round(1000 * ms)
