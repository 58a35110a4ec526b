"""Packed events become frames, on whatever device they are.

Axes: T steps, B recordings, P polarities, H rows, W columns.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.errors import DataError
from snnlab.event_frames import EventFrames, dense
from snnlab.events.recording import SensorSize, check_sensor_size
from snnlab.events.store import Packed


class EventBatch(NamedTuple):
    """Packed events of several recordings, as `Packed`, in tensors.

    Shape:
        `[N]` for t (us, int64), x, y (int16; y may be None), p (bool); `[B + 1]` for offsets; `[B]` for
        index and start (us; or None) (int64); targets: see `snnlab.events.targets`.
    """

    t: Tensor
    x: Tensor
    y: Tensor | None
    p: Tensor
    offsets: Tensor
    targets: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    start: Tensor | None = None

    @property
    def num_recordings(self) -> int:
        """Number of recordings B."""
        return self.offsets.numel() - 1

    @classmethod
    def from_packed(cls, packed: Packed) -> EventBatch:
        """Wrap the arrays' memory, without a copy."""
        y = None if packed.y is None else torch.from_numpy(packed.y)
        start = None if packed.start is None else torch.from_numpy(packed.start)
        t, x, p, offsets, targets, index = (
            torch.from_numpy(column)
            for column in (packed.t, packed.x, packed.p, packed.offsets, packed.targets, packed.index)
        )
        return cls(t, x, y, p, offsets, targets, index, start)


class Mix(NamedTuple):
    """The other class of each recording that was mixed with another one.

    Args:
        targets: Class of the other recording.
        weight: Weight of that class, 0 to 1; the recording's own class has the rest.

    Shape:
        `[B]` each.
    """

    targets: Tensor
    weight: Tensor


class Batch(NamedTuple):
    """Frames and what belongs to them; `mix` where recordings were mixed for training.

    Shape:
        frames `[T, B, P, H, W]`, `[T, B, P, W]` or `[T, B, W]`; lengths (steps), index `[B]`; targets: classes `[B]`,
        values float32 `[B, D]`, or labels of steps int64 `[T, B]`; start `[B]` (us) of windows of recordings, or None.
    """

    frames: Tensor | EventFrames
    lengths: Tensor
    targets: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    mix: Mix | None = None
    start: Tensor | None = None

    @property
    def x(self) -> Tensor:
        """The frames as a tensor."""
        return dense(self.frames)


def to_frames(batch: EventBatch, *, num_bins: int, duration_us: int, sensor_size: SensorSize) -> Batch:
    """Count events per step and pixel: every event of `[0, duration_us)` is in exactly one frame.

        step = floor(t * num_bins / duration_us)

    Memory is channels-last: the permuted view of a contiguous `[T, B, H, W, P]` (`[T, B, W, P]`). Counts are
    exact up to 2^24 a cell, the float32 integers; the order of adding does not matter, on any device.

    Args:
        batch: Packed events.
        num_bins: Number of steps T.
        duration_us: Length of the window (us); events outside are left out.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities); with P = 1 both polarities are summed.

    Shape:
        x float32 `[T, B, P, H, W]`; without y `[T, B, P, W]`, or `[T, B, W]` for P = 1.

    Raises:
        DataError: If y does not go with H, or an event of the window is outside the sensor. Events are looked at on
            the CPU only, where that is free; the store has checked them when it was built.
        ValueError: If num_bins or duration_us is not positive.
    """
    x = count_frames(batch, num_bins, duration_us, sensor_size)
    lengths = torch.full((batch.num_recordings,), num_bins, dtype=torch.int64, device=x.device)
    return Batch(channels_last(x, batch.y is not None), lengths, batch.targets, batch.index)


def count_frames(batch: EventBatch, num_bins: int, duration_us: int, sensor_size: SensorSize) -> Tensor:
    """Return the counts of `to_frames` in a contiguous `[T, B, H, W, P]`; `[T, B, W, P]` without y."""
    check_batch(batch, num_bins, duration_us, sensor_size)
    on_cpu = batch.t.device.type == "cpu"
    return (_counted if on_cpu else _scattered)(batch, num_bins, duration_us, sensor_size)


def _counted(batch: EventBatch, num_bins: int, duration_us: int, sensor_size: SensorSize) -> Tensor:
    """Return the counts in a contiguous `[T, B, H, W, P]` (`[T, B, W, P]`); twice as fast as `_scattered` on a CPU."""
    # Here, because numba takes a second to import, which only who makes frames should wait for.
    from snnlab.events.counting import count
    from snnlab.threads import share

    width, height, polarities = sensor_size
    rows = () if batch.y is None else (height,)
    x = torch.empty((num_bins, batch.num_recordings, *rows, width, polarities))
    y = None if batch.y is None else batch.y.numpy()
    t, columns, p, offsets = (column.numpy() for column in (batch.t, batch.x, batch.p, batch.offsets))
    inside = np.empty(batch.num_recordings, bool)
    settings = duration_us, (width, height, polarities), inside
    run = partial(count, x.flatten(2).numpy(), t, columns, y, p, offsets, *settings)
    share(run, batch.num_recordings, x.numel())
    if not inside.all():
        refuse_outside(batch, sensor_size)
    return x


def _scattered(batch: EventBatch, num_bins: int, duration_us: int, sensor_size: SensorSize) -> Tensor:
    """Return the same, by operations of which a GPU does many at once."""
    width, height, polarities = sensor_size
    rows = () if batch.y is None else (height,)
    x = torch.zeros((num_bins, batch.num_recordings, *rows, width, polarities), device=batch.t.device)
    t = batch.t.clamp(0, duration_us - 1)
    # Weights of 0 instead of a selection: a selection's size would make a GPU wait for the CPU.
    inside = (t == batch.t).float()
    # Half the width is twice the speed; neither intermediate value may overflow.
    integer = torch.int32 if max(num_bins * duration_us, x.numel()) < 2**31 else torch.int64
    step = t.to(integer).mul_(num_bins).div_(duration_us, rounding_mode="floor")
    x.view(-1).scatter_add_(0, cells_of(batch, step, sensor_size), inside)
    return x


def cells_of(batch: EventBatch, step: Tensor, sensor_size: SensorSize) -> Tensor:
    """Turn each event's step, in place, into its cell in a contiguous `[T, B, H, W, P]`, `[N]`."""
    width, height, polarities = sensor_size
    num_recordings = batch.num_recordings
    recording = torch.repeat_interleave(
        torch.arange(num_recordings, dtype=step.dtype, device=step.device),
        batch.offsets.diff(),
        output_size=step.numel(),
    )
    cell = step.mul_(num_recordings).add_(recording)
    if batch.y is not None:
        cell.mul_(height).add_(batch.y)
    cell.mul_(width).add_(batch.x)
    if polarities > 1:
        cell.mul_(polarities).add_(batch.p)
    return cell.long()


def channels_last(x: Tensor, has_rows: bool) -> Tensor:
    """Return frames `[T, B, H, W, P]` (`[T, B, W, P]`) with their axes in torch's order, in the same memory."""
    if has_rows:
        return x.permute(0, 1, 4, 2, 3)
    return x.squeeze(3) if x.shape[3] == 1 else x.permute(0, 1, 3, 2)


def check_batch(batch: EventBatch, num_bins: int, duration_us: int, sensor_size: SensorSize) -> None:
    """Refuse what cannot become frames, as `to_frames` says."""
    if num_bins < 1 or duration_us < 1:
        raise ValueError(f"num_bins ({num_bins}) and duration_us ({duration_us}) must be positive")
    check_sensor_size(sensor_size)
    height = sensor_size[1]
    if (batch.y is None) != (height == 1):
        given = "no y" if batch.y is None else "y"
        raise DataError("", f"the recordings have {given}, sensor_size is {list(sensor_size)}", "y goes with H > 1")
    if batch.t.device.type == "cpu":
        _check_offsets(batch)


def _check_offsets(batch: EventBatch) -> None:
    """Refuse what the compiled pass, which checks no bounds, would read past the end of."""
    lengths, ends = {len(column) for column in batch[:4] if column is not None}, batch.offsets.numpy()
    if lengths != {ends[-1]} or ends[0] != 0 or ends.size != len(batch.index) + 1 or (ends[1:] < ends[:-1]).any():
        raise ValueError(f"offsets {ends.tolist()} do not divide columns of {sorted(lengths)} events among recordings")


def refuse_outside(batch: EventBatch, sensor_size: SensorSize) -> None:
    """Say which events are outside the sensor."""
    for key, column, size in zip("xyp", (batch.x, batch.y, batch.p), sensor_size, strict=True):
        if column is None or (key == "p" and size == 1):
            continue
        low, high = int(column.min()), int(column.max())
        if low < 0 or high >= size:
            raise DataError("", f"{key} spans {low}..{high}, the sensor has 0..{size - 1}", "check data.sensor_size")
