"""What is odd about recordings and their split, and easily overlooked.

Axes: R recordings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from snnlab.data.grouping import divided
from snnlab.data.settings import DataSettings
from snnlab.data.splits import TEST, TRAIN, VAL, Split
from snnlab.errors import listing
from snnlab.events import Store
from snnlab.events.targets import kind_of

# A window of which no recording fills more than this part is a slip of the unit.
HARDLY_ANY = 0.01
# Names that a line lists.
_FEW = 10
# By what files' times are too small where they are read as us.
_UNITS = {"ms": 1e3, "s": 1e6}


def remarks(store: Store, split: Split, names: Sequence[str] | None) -> Iterator[str]:
    """Yield a line for each part of the split that lacks classes, and one for groups that are in two parts.

    Args:
        store: The packed recordings.
        split: Which of them are for what.
        names: What the classes are called; None: by their numbers.
    """
    if kind_of(store.targets) == "class":
        yield from _missing_classes(store.targets, split, names)
    part_of = np.full(len(store), -1)
    for part, places in ((TRAIN, split.train), (VAL, split.val), (TEST, split.test)):
        part_of[places] = part
    # Of one batch that is trained and validated on, each recording is in both by intention.
    if not np.intersect1d(split.train, split.val).size and (found := divided(store.groups, part_of)).size:
        yield f"groups of recordings that are in two of training, validation and test: {found.size:,}"


def _missing_classes(targets: np.ndarray, split: Split, names: Sequence[str] | None) -> Iterator[str]:
    everything = np.unique(targets[np.concatenate([split.train, split.val, split.test])])
    parts = (("training", split.train), ("validation", split.val), ("test", split.test))
    for what, places in parts:
        missing = np.setdiff1d(everything, targets[places]).tolist()
        if places.size and missing:
            called = [str(label if names is None else names[label]) for label in missing[:_FEW]]
            more = ", ..." if len(missing) > _FEW else ""
            yield f"no {what} recording is of {len(missing)} of {everything.size} classes: {listing(called)}{more}"


def too_early(store: Store, settings: DataSettings) -> str | None:
    """Return in words that all events of all recordings come at the very start of the window, or None.

    So they do where times in s or ms are read as us.

    Args:
        store: The packed recordings.
        settings: Window and steps.
    """
    last_t = store.last_t[store.last_t >= 0]
    if not last_t.size or settings.steps == 1 or settings.bin_by == "count":
        return None
    if last_t.max() >= HARDLY_ANY * settings.duration_us:
        return None
    usual = max(float(np.median(last_t)), 0.5)  # rounded from fractions
    unit = min(_UNITS, key=lambda name: abs(np.log(usual * _UNITS[name] / settings.duration_us)))
    steps = int(last_t.max() * settings.steps // settings.duration_us) + 1
    return (
        f"the last event of {last_t.size:,} recordings is at {last_t.max() / 1000:g} ms, so that all are in the first"
        f" {f'{steps} ' if steps > 1 else ''}of {settings.steps} steps; if files have times in {unit}, set"
        f" data.time_unit={unit} of data=folder, or else a shorter data.duration_ms than {settings.duration_ms:g}"
    )
