"""Statistics of a packed dataset and of its frames, and warnings about it.

Axes: R recordings, T steps, D values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Store
from snnlab.data.events.frames import EventBatch
from snnlab.data.events.representation import Counts
from snnlab.data.splits import TEST, TRAIN, VAL, Split, find_divided_groups
from snnlab.data.windows import window_counts
from snnlab.errors import join_names
from snnlab.target_kinds import kind_of

# If no recording fills more than this fraction of the window, the unit is wrong.
HARDLY_ANY = 0.01
# Number of names that a line lists.
_FEW = 10
# A window that loses more than this fraction of all events is worth a warning.
_MOST = 0.5
# The units of the times in files, us.
_UNITS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}


def split_warnings(store: Store, split: Split, names: Sequence[str] | None) -> Iterator[str]:
    """Yield a line for each part of the split that lacks classes, and one for groups in two parts.

    Args:
        store: The packed recordings.
        split: The training, validation and test recordings.
        names: Names of the classes; None: their numbers.
    """
    if kind_of(store.targets) == "class":
        yield from _missing_class_warnings(store.targets, split, names)
    part_of = np.full(len(store), -1)
    for part, indices in ((TRAIN, split.train), (VAL, split.val), (TEST, split.test)):
        part_of[indices] = part
    # With a split of one batch, each recording is in training and validation on purpose.
    if not np.intersect1d(split.train, split.val).size and (found := find_divided_groups(store.groups, part_of)).size:
        yield f"groups of recordings in two of training, validation and test: {found.size:,}"


def _missing_class_warnings(targets: np.ndarray, split: Split, names: Sequence[str] | None) -> Iterator[str]:
    used = np.unique(targets[np.concatenate([split.train, split.val, split.test])])
    everything = used if names is None else np.arange(len(names))
    parts = (("training", split.train), ("validation", split.val), ("test", split.test))
    for what, indices in parts:
        missing = np.setdiff1d(everything, targets[indices]).tolist()
        if indices.size and missing:
            shown = [str(label if names is None else names[label]) for label in missing[:_FEW]]
            more = ", ..." if len(missing) > _FEW else ""
            yield f"no {what} recording for {len(missing)} of {everything.size} classes: {join_names(shown)}{more}"


def time_unit_warning(store: Store, settings: DataSettings) -> str | None:
    """Return a warning if all events are at the very start of the window, or None.

    This happens if times in s or ms are read as us.

    Args:
        store: The packed recordings.
        settings: Window and steps.
    """
    last_t = store.last_t[store.last_t >= 0]
    if not last_t.size or settings.steps == 1 or settings.bin_by == "count":
        return None
    if last_t.max() >= HARDLY_ANY * settings.duration_us:
        return None
    unit = _likely_unit(last_t, settings, store.time_unit or "us")
    steps = int(last_t.max() * settings.steps // settings.duration_us) + 1
    return (
        f"the last event of {last_t.size:,} recordings is at {last_t.max() / 1000:g} ms, so all events are in the first"
        f" {f'{steps} ' if steps > 1 else ''}of {settings.steps} steps; {_unit_hint(unit)}set a shorter"
        f" data.duration_ms than {settings.duration_ms:g}"
    )


def late_events_warning(store: Store, settings: DataSettings) -> str | None:
    """Return a warning if most events are after the window, or None.

    This happens for a window of another length than that of the recordings, or if times in us are read as ms or s.

    Args:
        store: The packed recordings.
        settings: Window and steps.
    """
    if settings.stride_us is not None or not store.num_events:
        return None
    outside = store.count_outside(np.arange(len(store)), settings.duration_us)
    share = outside / store.num_events
    if share <= _MOST:
        return None
    last_t = store.last_t[store.last_t >= 0]
    unit = None if store.time_unit is None else _likely_unit(last_t, settings, store.time_unit)
    read = "" if store.time_unit is None else f", with the times of files read as {store.time_unit}"
    return (
        f"{outside:,} of {store.num_events:,} events ({share:.2%}) are after duration_ms = {settings.duration_ms:g} and"
        f" are dropped; half of the recordings last {np.median(last_t) / 1000:,.4g} ms or longer{read};"
        f" {_unit_hint(unit)}set a longer data.duration_ms, or data.stride_ms for several windows"
    )


def _likely_unit(last_t: np.ndarray, settings: DataSettings, unit: str) -> str | None:
    """Return the unit of the files' times for which recordings are about as long as the window; None if it is `unit`.

    Args:
        last_t: Time of the last event of each recording with events, us.
        settings: The window.
        unit: The unit in which the files were read.
    """
    usual = max(float(np.median(last_t)), 0.5) / _UNITS[unit]  # at least 0.5: rounded from fractions
    found = min(_UNITS, key=lambda name: abs(np.log(usual * _UNITS[name] / settings.duration_us)))
    return None if found == unit else found


def _unit_hint(unit: str | None) -> str:
    return "" if unit is None else f"if files have times in {unit}, set data.time_unit={unit} of data=folder, or else "


def window_warnings(store: Store, settings: DataSettings) -> list[str]:
    """Return the warnings about a window that hardly any event, or not most of them, is in."""
    return [text for text in (time_unit_warning(store, settings), late_events_warning(store, settings)) if text]


# Number of recordings whose frames are counted, spread over all.
SAMPLE = 64
PARTS = ("train", "validation", "test")


class RangeStats(NamedTuple):
    """Mean, minimum and maximum."""

    mean: float
    least: float
    most: float


class RecordingStats(NamedTuple):
    """Statistics of some of the recordings.

    Attributes:
        name: Their name.
        recordings: Number of recordings.
        events: Number of events of a recording; this and the others are None without recordings.
        last_ms: Time of the last event, ms.
        rate: Mean number of events per ms until the last event.
        on: Fraction of ON events; None also for sensors without two polarities.
        parts: Number of recordings for training, validation and testing.
    """

    name: str
    recordings: int
    events: RangeStats | None
    last_ms: RangeStats | None
    rate: float | None
    on: float | None
    parts: tuple[int, int, int]


class ValueStats(NamedTuple):
    """Statistics of one target value: its name, and its range over training, validation, test and all."""

    name: str
    parts: tuple[RangeStats | None, ...]


class LabelStats(NamedTuple):
    """Statistics of one label over time.

    Attributes:
        name: Its name.
        ms: Its total duration in the windows of training, validation and test recordings and of all, ms.
        recordings: Number of recordings that have it.
    """

    name: str
    ms: tuple[float, ...]
    recordings: int


class Unlabelled(NamedTuple):
    """Time of recordings, until their last event, that has no label: in all, ms, of how much, and in how many."""

    ms: float
    of_ms: float
    recordings: int


class FrameStats(NamedTuple):
    """Statistics of the frames.

    Attributes:
        events: Number of events of all recordings.
        outside: Number of events after the window, which are dropped; 0 if windows follow one another.
        dropped: Fraction of the window's events in no frame: outside data.crop, or after the last step by count.
        filled: Fraction of cells with events.
        many: Fraction of these cells with more than one event.
        most: The largest count of a cell.
        sampled: Number of recordings whose frames were counted.
    """

    events: int
    outside: int
    dropped: float
    filled: float
    many: float
    most: int
    sampled: int


class Inspection(NamedTuple):
    """Statistics of a dataset.

    Attributes:
        parts: Statistics of training, validation, test and all recordings.
        binning: Statistics of the frames.
        empty: Indices of the recordings without events.
        classes: Statistics of the classes; empty for other targets, like the next two.
        values: Statistics of the target values.
        labels: Statistics of the labels over time.
        unlabelled: Time without a label; None for other targets.
        groups: Number of groups of training, validation and test recordings and of all; None without groups.
        windows: Number of windows of training, validation and test recordings and of all; None if they are not cut.
        warnings: Warnings about the split and the window.
    """

    parts: list[RecordingStats]
    binning: FrameStats
    empty: list[int]
    classes: list[RecordingStats]
    values: list[ValueStats]
    labels: list[LabelStats]
    unlabelled: Unlabelled | None
    groups: list[int] | None
    windows: list[int] | None
    warnings: list[str]


def inspect(store: Store, split: Split, settings: DataSettings, names: Sequence[str] | None) -> Inspection:
    """Compute statistics of a store, in memory that does not grow with it.

    Args:
        store: The packed recordings.
        split: The training, validation and test recordings.
        settings: Window and bins.
        names: Names of the classes or values; None: their numbers.
    """
    on = _count_on(store) if store.sensor_size[2] == 2 else None
    part_of = np.full(len(store), len(PARTS))
    for number, chosen in enumerate((split.train, split.val, split.test)):
        part_of[chosen] = number
    everything = np.setdiff1d(np.arange(len(store)), list(store.bad))
    parts = [*zip(PARTS, (split.train, split.val, split.test), strict=True), ("all", everything)]
    all_names = list(map(str, range(settings.num_classes))) if names is None else list(names)
    kind, targets, indices = kind_of(store.targets), store.targets, [chosen for _, chosen in parts]
    classes = (
        [(name, everything[targets[everything] == n]) for n, name in enumerate(all_names)] if kind == "class" else []
    )
    return Inspection(
        [_recording_stats(name, chosen, store, on, part_of) for name, chosen in parts],
        _frame_stats(store, settings),
        everything[store.sizes[everything] == 0].tolist(),
        [_recording_stats(name, chosen, store, on, part_of) for name, chosen in classes],
        _value_stats(targets, all_names, indices) if kind in ("value", "series") else [],
        _label_stats(targets, all_names, indices, settings) if kind == "steps" else [],
        _unlabelled(store, everything, settings) if kind == "steps" else None,
        _count_groups(store, indices),
        _count_windows(store, indices, settings),
        _warnings(store, split, settings, names),
    )


def _count_groups(store: Store, indices: Sequence[np.ndarray]) -> list[int] | None:
    if store.groups is None:
        return None
    return [np.unique(store.groups[part]).size for part in indices]


def _count_windows(store: Store, indices: Sequence[np.ndarray], settings: DataSettings) -> list[int] | None:
    if settings.stride_us is None:
        return None
    many = window_counts(store.last_t, settings.stride_us, settings.duration_us)
    return [int(many[part].sum()) for part in indices]


def _warnings(store: Store, split: Split, settings: DataSettings, names: Sequence[str] | None) -> list[str]:
    return [*split_warnings(store, split, names), *window_warnings(store, settings)]


def _value_stats(targets: np.ndarray, names: Sequence[str], parts: Sequence[np.ndarray]) -> list[ValueStats]:
    return [
        ValueStats(name, tuple(_range_stats(targets[part, ..., d]) for part in parts)) for d, name in enumerate(names)
    ]


def _label_stats(
    targets: np.ndarray, names: Sequence[str], parts: Sequence[np.ndarray], settings: DataSettings
) -> list[LabelStats]:
    """Compute the durations of labels: in the window of each recording, or in all of it if several are cut."""
    recording, start, end, label = targets.T
    if settings.stride_us is None:
        end = np.minimum(end, settings.duration_us)
    ms = np.maximum(end - start, 0) / 1000
    found = []
    for number, name in enumerate(names):
        has = label == number
        in_parts = (float(ms[has & np.isin(recording, part)].sum()) for part in parts)
        found.append(LabelStats(name, tuple(in_parts), np.unique(recording[has & (ms > 0)]).size))
    return found


def _unlabelled(store: Store, chosen: np.ndarray, settings: DataSettings) -> Unlabelled:
    """Compute the time without a label: in the window of each recording, or in all of it if several are cut."""
    recording, start, end, _ = store.targets.T
    until = store.last_t + 1
    if settings.stride_us is None:
        until = np.minimum(until, settings.duration_us)
    inside = np.clip(np.minimum(end, until[recording]) - start, 0, None)
    labelled = np.bincount(recording, inside, minlength=len(store))
    without = np.maximum(until - labelled, 0)[chosen]
    return Unlabelled(float(without.sum()) / 1000, float(until[chosen].sum()) / 1000, int(np.count_nonzero(without)))


def _count_on(store: Store) -> np.ndarray:
    """Return the number of ON events of each recording, `[R]`."""
    return np.array([np.count_nonzero(store[index].p) for index in range(len(store))], np.int64)


def _recording_stats(
    name: str, chosen: np.ndarray, store: Store, on: np.ndarray | None, part_of: np.ndarray
) -> RecordingStats:
    sizes, last_us = store.sizes[chosen], store.last_t[chosen]
    last_ms = last_us[sizes > 0] / 1000
    total = int(sizes.sum())
    parts = np.bincount(part_of[chosen], minlength=len(PARTS)).tolist()
    return RecordingStats(
        name,
        chosen.size,
        _range_stats(sizes),
        _range_stats(last_ms),
        total / max(float(last_ms.sum()), 1e-3) if total else None,
        float(on[chosen].sum()) / total if total and on is not None else None,
        (parts[0], parts[1], parts[2]),
    )


def _range_stats(values: np.ndarray) -> RangeStats | None:
    return RangeStats(float(values.mean()), float(values.min()), float(values.max())) if values.size else None


def _frame_stats(store: Store, settings: DataSettings) -> FrameStats:
    everything = np.arange(len(store))
    outside = 0 if settings.stride_us is not None else store.count_outside(everything, settings.duration_us)
    sample = np.unique(np.linspace(0, len(store) - 1, min(SAMPLE, len(store))).astype(np.int64))
    # Counts, for any representation of the frames.
    frame_builder, cells, filled, many, most = replace(settings.frame_builder(), representation=Counts()), 0, 0, 0, 0
    inside, framed = 0, 0
    for index in sample:  # one by one: frames of large sensors are large
        packed = EventBatch.from_packed(store.gather(index[None], duration_us=settings.duration_us))
        x = frame_builder(packed).x
        cells, filled, many = cells + x.numel(), filled + int((x > 0).sum()), many + int((x > 1).sum())
        most = max(most, int(x.max()))
        inside += int(store.sizes[index]) - store.count_outside(index[None], settings.duration_us)
        framed += int(x.sum())
    dropped = max(0.0, 1 - framed / max(inside, 1))
    return FrameStats(
        store.num_events, outside, dropped, filled / max(cells, 1), many / max(filled, 1), most, sample.size
    )
