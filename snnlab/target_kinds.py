"""The kinds of targets of recordings: a class, values, or labels or values over time; the array alone shows the kind.

    class   int64 `[R]`, the class of each recording
    value   float32 `[R, D]`, the values of each recording
    steps   int64 `[S, 4]`, segments: index of the recording, start (us), end (us), label; sorted by recording and start
    series  float32 `[R, T, D]`, the values of each recording at each step

Axes: R recordings, D values, S segments, T steps, B recordings of a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnlab.experiment_fields import Targets

if TYPE_CHECKING:
    from torch import Tensor
IGNORED = -100
"""The label of a step without a segment; torch's losses ignore it."""
NO_END = np.iinfo(np.int64).max
"""The end of a segment that lasts as long as its recording."""


def kind_of(targets: np.ndarray | Tensor) -> Targets:
    """Return the kind of the targets of a store or a batch."""
    if targets.ndim != 2:
        return "class" if targets.ndim == 1 else "series"
    return "value" if str(targets.dtype).removeprefix("torch.").startswith("float") else "steps"


def targets_problem(targets: np.ndarray, recordings: int) -> str | None:
    """Return why an array is not valid as targets of this number of recordings, or None."""
    found = f"{targets.dtype} {targets.shape}"
    if targets.ndim == 1:
        fits = np.issubdtype(targets.dtype, np.integer) and targets.size == recordings
        return None if fits else f"is {found}, expected integers ({recordings},)"
    if (kind := kind_of(targets)) in ("value", "series"):
        fits = targets.ndim <= 3 and targets.dtype == np.float32 and len(targets) == recordings and targets[:1].size
        expected = f"finite float32 ({recordings}, {'D' if kind == 'value' else 'T, D'})"
        return None if fits and np.isfinite(targets).all() else f"is {found}, expected {expected}"
    if not np.issubdtype(targets.dtype, np.integer) or targets.shape[1] != 4:
        return f"is {found}, expected integers (S, 4)"
    recording, start, end, label = targets.T
    new = np.diff(recording) > 0
    in_order = (np.diff(recording) >= 0).all() and (new | (start[1:] >= end[:-1])).all()
    if not in_order or (start < 0).any() or (end <= start).any() or (label < 0).any():
        return "has segments that overlap, are out of order or begin before 0"
    inside = not targets.size or 0 <= recording[0] <= recording[-1] < recordings
    return None if inside else f"has segments of recordings outside 0 .. {recordings - 1}"


def gather_targets(
    targets: np.ndarray, index: np.ndarray, start_us: np.ndarray | None, duration_us: int | None = None
) -> np.ndarray:
    """Return the targets of some recordings, or of windows of them; segments get the index within `index`.

    Segments outside their window are dropped; the others keep their full length.

    Args:
        targets: Targets of all recordings.
        index: Indices of the recordings, repeats allowed.
        start_us: Start of each window (us); times are relative to it; None: 0.
        duration_us: Length of the windows (us); None: the length of each recording.

    Shape:
        index, start_us: `[B]`.
    """
    if kind_of(targets) != "steps":
        return targets[index]
    begins = np.zeros(index.size, np.int64) if start_us is None else start_us
    recording, start, end, _ = targets.T
    first, stop = np.searchsorted(recording, index), np.searchsorted(recording, index, side="right")
    # Segments of one recording do not overlap: starts and ends are both sorted.
    for position, (low, high, begin) in enumerate(zip(first.tolist(), stop.tolist(), begins.tolist(), strict=True)):
        first[position] = low + np.searchsorted(end[low:high], begin, side="right")
        if duration_us is not None:
            stop[position] = low + np.searchsorted(start[low:high], begin + duration_us)
    count = stop - first
    position = np.repeat(np.arange(index.size), count)
    rows = targets[np.arange(position.size) + np.repeat(first - np.cumsum(count) + count, count)]
    since = begins[position]
    return np.stack([position, rows[:, 1] - since, rows[:, 2] - since, rows[:, 3]], 1)
