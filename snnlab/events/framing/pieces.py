"""The frames of one recording, some steps at a time.

Axes: T steps, B = 1 recordings, C channels, H rows, W columns. N events.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from snnlab.events.frames import EventBatch, channels_last, count_frames
from snnlab.events.framing.framing import Framing
from snnlab.events.framing.kinds import Counts


def in_pieces(framing: Framing, batch: EventBatch, size: int) -> Iterator[Tensor]:
    """Yield the frames of a window in pieces of time, bit for bit those of the whole.

    Frames that count events are made a piece at a time. Others, and frames that overlap, look further than a piece,
    back or ahead: they are made at once, and cut.

    Args:
        framing: How events become frames.
        batch: The packed events of one recording.
        size: Steps of a piece, of which the last one may have fewer.

    Shape:
        float32 `[t, 1, C, H, W]`, t <= size; without rows see `Framing`.

    Raises:
        DataError: if y does not go with the sensor's height, or an event is outside.
    """
    assert batch.num_recordings == 1
    steps, kind = framing.steps, framing.kind
    if size >= steps.num_bins or not isinstance(kind, Counts) or steps.overlap_us:
        yield from framing(batch).x.split(size)
        return
    cells = kind.told_apart(framing.region.size)
    placed = _by_step(next(steps.placed(framing.region(batch))))
    for first in range(0, steps.num_bins, size):
        many = min(size, steps.num_bins - first)
        counts = count_frames(_part(placed, first, many), many, many, cells)
        yield channels_last(kind.of_counts(counts, steps), placed.y is not None)


def _by_step(placed: EventBatch) -> EventBatch:
    """Sort events whose times are steps; of left out ones, these are not in order."""
    order = placed.t.argsort(stable=True)
    return _taken(placed, order)


def _part(placed: EventBatch, first: int, many: int) -> EventBatch:
    """Return the events of so many steps, with steps from 0 on."""
    start, stop = torch.searchsorted(placed.t, placed.t.new_tensor([first, first + many])).tolist()
    part = _taken(placed, slice(start, stop))
    return part._replace(t=part.t - first, offsets=placed.offsets.new_tensor([0, stop - start]))


def _taken(batch: EventBatch, rows: Tensor | slice) -> EventBatch:
    y = None if batch.y is None else batch.y[rows]
    return batch._replace(t=batch.t[rows], x=batch.x[rows], y=y, p=batch.p[rows])
