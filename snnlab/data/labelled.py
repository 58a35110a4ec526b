"""What the recordings of a table are trained to: a class each, values, or labels over time.

Axes: R recordings, S segments, D values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.data.listing import Entry, by_number, require_printable
from snnlab.events.targets import NO_END, Targets


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
