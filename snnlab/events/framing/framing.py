"""Packed events to frames: a part of the sensor, steps of the window, what a frame holds.

Axes: T steps, B recordings, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from snnlab.errors import ConfigError, DataError
from snnlab.events.frames import Batch, EventBatch, channels_last, count_frames
from snnlab.events.framing.kinds import Counts, Kind, Window
from snnlab.events.framing.region import Region
from snnlab.events.framing.steps import Steps
from snnlab.events.targets import kind_of, step_labels
from snnlab.settings import checks_arguments

Lengths = Literal["window", "recording"]


@checks_arguments
@dataclass(frozen=True)
class Framing:
    """How a batch of packed events becomes frames.

    Args:
        region: Which part of the sensor.
        steps: How the window becomes steps.
        kind: What a frame holds.
        lengths: How many steps of a recording count: all of the `window`, or those to its last event in it, after which
            the `recording` is over. By `events_per_bin` it is always the latter.

    Raises:
        ConfigError: if the kind needs the sensor's polarities, or times, that there are not.
    """

    region: Region
    steps: Steps
    kind: Kind
    lengths: Lengths = "window"

    def __post_init__(self) -> None:
        self.kind.channels(self.region.size[2])
        if self.kind.timed and not self.steps.plain:
            raise ConfigError("frames", "this type needs bin_by: time without overlap_ms")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one frame: (C, H, W), or (C, W), or (W,), as there are rows and channels."""
        width, height, polarities = self.region.size
        channels = self.kind.channels(polarities)
        if height > 1:
            return channels, height, width
        return (channels, width) if channels > 1 else (width,)

    def __call__(self, batch: EventBatch, *, lists: bool = False) -> Batch:
        """Return the frames, channels-last in memory.

        Args:
            batch: Packed events, on the device on which the frames are wanted.
            lists: Whether they may be lists of their events, where these can be made.

        Shape:
            frames float32 `[T, B, C, H, W]`; without rows `[T, B, C, W]`, or `[T, B, W]` for C = 1.

        Raises:
            DataError: if y does not go with the sensor's height, or an event is outside.
        """
        if (batch.y is None) != (self.region.sensor_size[1] == 1):
            given = "no y" if batch.y is None else "y"
            size = list(self.region.sensor_size)
            raise DataError("", f"the recordings have {given}, sensor_size is {size}", "y goes with H > 1")
        seen = self.region(batch)
        window = Window(seen, self.steps, self.region.size)
        listed = self.kind.lists(window) if lists and isinstance(self.kind, Counts) else None
        frames = channels_last(self.kind(window), seen.y is not None) if listed is None else listed
        lengths = self.valid_steps(seen)
        targets = batch.targets
        if kind_of(targets) == "steps":
            assert self.steps.bin_by == "time"  # the settings see to it
            targets = step_labels(targets, lengths, self.steps.num_bins, self.steps.duration_us)
        return Batch(frames, lengths, targets, batch.index, start=batch.start)

    def valid_steps(self, seen: EventBatch) -> Tensor:
        """Return how many steps of each recording count, `[B]`.

        Args:
            seen: Events of the region.
        """
        if self.lengths == "recording" or self.steps.events_per_bin is not None:
            return self.steps.used(seen)
        return torch.full_like(seen.offsets[1:], self.steps.num_bins)


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
