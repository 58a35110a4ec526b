"""Representations: packed events become the input of a network.

Axes: N events, T steps, B recordings, C channels of a frame, H rows, W columns.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.data.events.frames import (
    Batch,
    EventBatch,
    channels_last,
    count_frames,
    list_frames,
    step_labels,
    to_cell_indices,
)
from snnlab.data.events.recording import SensorSize
from snnlab.errors import ConfigError, DataError
from snnlab.event_frames import EventFrames, FramesInPieces
from snnlab.registry import Registry
from snnlab.spec.declared import Declared, no_setting
from snnlab.spec.interval import Count, NonNegative, above, at_least
from snnlab.spec.signatures import checks_arguments
from snnlab.target_kinds import kind_of

BinBy = Literal["time", "count"]


@checks_arguments
@dataclass(frozen=True)
class Steps:
    """The division of a window into steps.

        by time:   step = floor(t * num_bins / duration_us)
        by count:  step = floor(n * num_bins / N), or floor(n / events_per_bin); n = 0 .. N - 1 is the event's index

    Args:
        duration_us: Length of the window `[0, duration_us)` (us); later events are dropped.
        num_bins: Number of steps T.
        bin_by: `time`, or `count`: steps of equally many events, which have no duration.
        events_per_bin: Events per step, by count; events after T steps are dropped, and a recording with fewer events
            ends early. None: the number of events of a recording divided by T.
        overlap_us: Overlap of a frame with the next step, by time (us): a frame also holds the first events of it.
    """

    duration_us: int
    num_bins: int
    bin_by: BinBy = "time"
    events_per_bin: Annotated[int | None, at_least(1)] = None
    overlap_us: NonNegative = 0

    def __post_init__(self) -> None:
        if self.events_per_bin is not None and self.bin_by == "time":
            raise ConfigError("events_per_bin", f"needs bin_by: count, got {self.events_per_bin}")
        if self.overlap_us and self.bin_by == "count":
            raise ConfigError("overlap_ms", "needs bin_by: time")

    @property
    def plain(self) -> bool:
        """True if each event of the window is in exactly one step, by its time."""
        return self.bin_by == "time" and not self.overlap_us

    def step_per_event(self, batch: EventBatch) -> Tensor:
        """Return each event's step, or `DROPPED`; with overlap, the last step whose frame holds it.

        Shape:
            int64 `[N]`.
        """
        inside = (batch.t >= 0) & (batch.t < self.duration_us)
        if self.bin_by == "time":
            return torch.where(inside, batch.t * self.num_bins // self.duration_us, DROPPED)
        num_before = torch.cat([inside.new_zeros(1, dtype=torch.int64), inside.cumsum(0)])
        starts, lengths = num_before[batch.offsets[:-1]], batch.offsets.diff()
        total = num_before[batch.offsets[1:]] - starts
        number = num_before[:-1] - torch.repeat_interleave(starts, lengths, output_size=inside.numel())
        if self.events_per_bin is not None:
            step = number // self.events_per_bin
        else:
            step = (
                number
                * self.num_bins
                // torch.repeat_interleave(total.clamp(min=1), lengths, output_size=inside.numel())
            )
        return torch.where(inside & (step < self.num_bins), step, DROPPED)

    def assign_steps(self, batch: EventBatch) -> Iterator[EventBatch]:
        """Yield the events with their step in place of their time; with overlap, once more for each earlier step.

        It is an iterator, since a frame as long as a hundred steps would need a hundred times the memory.
        """
        step = self.step_per_event(batch)
        yield batch._replace(t=step)
        # A frame is as long as one or more steps and a rest: each event is in the step of its time and in some before.
        for before in range(1, -(-self.overlap_us * self.num_bins // self.duration_us) + 1):
            earlier = step - before
            end = -(-(earlier + 1) * self.duration_us // self.num_bins) + self.overlap_us
            yield batch._replace(t=torch.where((earlier >= 0) & (batch.t < end), earlier, DROPPED))

    def num_used_steps(self, batch: EventBatch) -> Tensor:
        """Return the number of steps up to each recording's last event in the window, at least 1, `[B]`."""
        step = self.step_per_event(batch)
        recording = torch.repeat_interleave(
            torch.arange(batch.num_recordings, device=step.device), batch.offsets.diff(), output_size=step.numel()
        )
        last = torch.zeros_like(batch.offsets[1:]).scatter_reduce_(0, recording, step + 1, "amax")
        return last.clamp(min=1)


DROPPED = -1
"""The time of dropped events: it is before any window."""


@checks_arguments
@dataclass(frozen=True)
class Region:
    """A part of the sensor, divided into cells of several pixels.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        crop: `[left, top, width, height]` of the part (pixels), or None for all; events outside are dropped.
        downsample: Side of a cell (pixels); pixels at the right and bottom that fill no whole cell are dropped. For
            sensors of one row, a cell is one row of so many columns.
        hot: Mask of pixels whose events are dropped, or None.

    Shape:
        hot: bool `[H * W]`, of the whole sensor.
    """

    sensor_size: SensorSize
    crop: tuple[int, int, int, int] | None = None
    downsample: Count = 1
    hot: Tensor | None = None

    def __post_init__(self) -> None:
        width, height, _ = self.sensor_size
        left, top, w, h = self._crop
        if not (left >= 0 and top >= 0 and 1 <= w <= width - left and 1 <= h <= height - top):
            raise ConfigError(
                "crop", f"expected [left, top, width, height] within {width} x {height} pixels, got {list(self._crop)}"
            )
        if min(self.size[:2]) < 1:
            raise ConfigError("downsample", f"must be at most the size of {w} x {h}, got {self.downsample}")

    @property
    def size(self) -> SensorSize:
        """`[W, H, P]` in cells."""
        _, height, polarities = self.sensor_size
        _, _, w, h = self._crop
        return w // self.downsample, 1 if height == 1 else h // self.downsample, polarities

    def __call__(self, batch: EventBatch) -> EventBatch:
        """Return the events with cell coordinates; dropped events stay in place, with the time `DROPPED`."""
        if self.hot is not None:
            batch = batch._replace(t=torch.where(self._is_hot(batch), DROPPED, batch.t))
        if self.size == tuple(self.sensor_size):
            return batch
        left, top, _, _ = self._crop
        width, height, _ = self.size
        x, inside = _cells(batch.x, left, self.downsample, width)
        y = batch.y
        if y is not None:
            y, within = _cells(y, top, self.downsample, height)
            inside &= within
            if height == 1:
                y = None
        return batch._replace(t=torch.where(inside, batch.t, DROPPED), x=x, y=y)

    @property
    def _crop(self) -> tuple[int, int, int, int]:
        """Return left, top, width and height of the region, in pixels."""
        return self.crop or (0, 0, self.sensor_size[0], self.sensor_size[1])

    def _is_hot(self, batch: EventBatch) -> Tensor:
        assert self.hot is not None
        pixel = batch.x.long()
        if batch.y is not None:
            pixel += batch.y.long() * self.sensor_size[0]
        return self.hot.to(pixel.device)[pixel]


def _cells(column: Tensor, start: int, side: int, cells: int) -> tuple[Tensor, Tensor]:
    """Return each event's cell along one axis, 0 outside, and a mask of the events inside."""
    # Wider than the store's int16, in which a difference might wrap.
    cell = torch.div(column.to(torch.int32) - start, side, rounding_mode="floor")
    inside = (cell >= 0) & (cell < cells)
    return torch.where(inside, cell, 0).to(column.dtype), inside


REPRESENTATIONS = Registry("representation")


class BinnedEvents(NamedTuple):
    """The events of a batch and their division into steps.

    Attributes:
        batch: Packed events, in cells.
        steps: The division of the window into steps.
        size: `[W, H, P]` in cells.
    """

    batch: EventBatch
    steps: Steps
    size: SensorSize


class Representation(Declared, ABC):
    """A representation: the content of a frame.

    Args:
        merge: Whether ON and OFF events share a channel.
    """

    # True if it needs the time of each event, and therefore steps by time without overlap.
    needs_times: ClassVar[bool] = False
    # True if the value of a cell depends on its own count alone, and is 0 without events.
    cellwise: ClassVar[bool] = False
    # The time after its end from which a frame still holds events, in steps; infinite: those of the whole window.
    look_ahead_steps: ClassVar[float] = 0.0
    merge: bool = False

    def denominator(self, columns: int) -> int | None:
        """Return N if all values are whole numbers of 1/N, for a number of columns; else None."""
        return None

    def channels(self, polarities: int) -> int:
        """Return the number of channels C of frames, for a number of polarities."""
        return 1 if self.merge else polarities

    def frame_size(self, size: SensorSize) -> tuple[int, int]:
        """Return width and height of a frame, for `[W, H, P]` in cells."""
        return size[:2]

    def with_polarities(self, size: SensorSize) -> SensorSize:
        """Return `[W, H, P]` with P = 1 if polarities are merged."""
        return (*size[:2], 1) if self.merge else size

    def __call__(self, binned: BinnedEvents) -> Tensor:
        """Return the frames in a contiguous `[T, B, H, W, C]`; `[T, B, W, C]` for events without rows."""
        return self.frames(binned._replace(size=self.with_polarities(binned.size)))

    @abstractmethod
    def frames(self, binned: BinnedEvents) -> Tensor:
        """Return the frames, with one channel per polarity of `binned.size`."""


@REPRESENTATIONS.register("counts")
class Counts(Representation):
    """The number of events in each cell."""

    cellwise = True

    def denominator(self, columns: int) -> int | None:
        """Return 1."""
        return 1

    def event_lists(self, binned: BinnedEvents) -> EventFrames | None:
        """Return the frames as lists of events, if possible and if the events are on a CPU; else None."""
        batch, steps = binned.batch, binned.steps
        if not self.cellwise or not steps.plain or batch.y is None or batch.t.device.type != "cpu":
            return None
        found = list_frames(batch, steps.num_bins, steps.duration_us, self.with_polarities(binned.size))
        if found is not None:
            self.from_counts(torch.from_numpy(found.values), steps)
        return found

    def frames(self, binned: BinnedEvents) -> Tensor:
        """Return the frames from the counts of all steps."""
        steps = binned.steps
        if steps.plain:
            counts = count_frames(binned.batch, steps.num_bins, steps.duration_us, binned.size)
        else:
            assignments = steps.assign_steps(binned.batch)
            counts = count_frames(next(assignments), steps.num_bins, steps.num_bins, binned.size)
            for assigned in assignments:
                counts += count_frames(assigned, steps.num_bins, steps.num_bins, binned.size)
        return self.from_counts(counts, steps)

    def from_counts(self, counts: Tensor, steps: Steps) -> Tensor:
        """Convert event counts, of all steps or of some, to frames; a `cellwise` representation does it in place."""
        return counts


@REPRESENTATIONS.register("binary")
class Binary(Counts):
    """1 in each cell with an event, else 0."""

    def from_counts(self, counts: Tensor, steps: Steps) -> Tensor:
        """Clamp the counts to 1."""
        return counts.clamp_(max=1)


@REPRESENTATIONS.register("rate")
class Rate(Counts):
    """The event rate of each cell, 1/ms: counts divided by the length of a step."""

    needs_times = True

    def denominator(self, columns: int) -> int | None:
        """Return None."""
        return None

    def from_counts(self, counts: Tensor, steps: Steps) -> Tensor:
        """Return the rates."""
        return counts.mul_(1000 * steps.num_bins / steps.duration_us)


@REPRESENTATIONS.register("relative")
class Relative(Counts):
    """The number of events in each cell, divided by the largest count of the frame: 0 to 1."""

    cellwise = False

    def denominator(self, columns: int) -> int | None:
        """Return None."""
        return None

    def from_counts(self, counts: Tensor, steps: Steps) -> Tensor:
        """Divide by each frame's largest count; a frame without events stays 0."""
        most = counts.flatten(2).amax(2)
        most.masked_fill_(most == 0, 1)
        return counts.div_(most.view(*counts.shape[:2], *[1] * (counts.ndim - 2)))


@REPRESENTATIONS.register("signed")
class Signed(Counts):
    """The number of ON minus OFF events in each cell, in one channel."""

    cellwise = False
    merge: bool = no_setting(False)

    def channels(self, polarities: int) -> int:
        """Return 1."""
        _require_two(polarities, "signed")
        return 1

    def from_counts(self, counts: Tensor, steps: Steps) -> Tensor:
        """Return ON minus OFF."""
        off, on = counts.unbind(-1)
        return (on - off).unsqueeze(-1)


@REPRESENTATIONS.register("voxel_grid")
class VoxelGrid(Representation):
    """A voxel grid of ON minus OFF events: each event is shared between the two steps with the nearest centres in time.

        x[k] = sum_n p_n max(0, 1 - |t_n / dt - 1/2 - k|),  p_n = +1 or -1

    Events before the centre of the first step or after that of the last go into that step alone, with weight 1.

    Source: Zhu et al., Unsupervised event-based learning of optical flow, depth, and egomotion, 2019; over the window
        instead of from the first to the last event.
    """

    needs_times = True
    look_ahead_steps = 0.5  # an event up to half a step after a frame's end adds to the frame

    merge: bool = no_setting(False)

    def channels(self, polarities: int) -> int:
        """Return 1."""
        _require_two(polarities, "voxel_grid")
        return 1

    def frames(self, binned: BinnedEvents) -> Tensor:
        """Return the grid."""
        batch, steps = binned.batch, binned.steps
        sign = torch.where(batch.p, 1.0, -1.0)
        inside = steps.step_per_event(batch) != DROPPED
        position = batch.t.double() * (steps.num_bins / steps.duration_us) - 0.5
        position = position.clamp(0, steps.num_bins - 1)
        first = position.floor()
        after_share = torch.where(inside, (position - first).float(), 0.0)
        first_share = torch.where(inside, 1 - after_share, 0.0)
        first = first.long()
        after = (first + 1).clamp(max=steps.num_bins - 1)
        size = (*binned.size[:2], 1)
        x = torch.zeros(_frames_shape(binned, size), device=batch.t.device)
        for step, share in ((first, first_share), (after, after_share)):
            x.view(-1).scatter_add_(0, to_cell_indices(batch, step, size), sign * share)
        return x


@REPRESENTATIONS.register("level")
class Level(Representation):
    """The sum of the levels of a step's events, for sensors whose W columns are the levels of one value.

        x[t] = sum_n (x_n + 1) / W,   x_n the column of event n of the step
        with a range: x[t] = sum_n low + (high - low) x_n / (W - 1)

    Args:
        range: [low, high], the levels of the first and the last column; null: 1/W and 1.
        merge: Whether all polarities share a channel.
    """

    range: Sequence[float] | None = None

    def prepare(self) -> None:
        if self.range is not None and (len(self.range) != 2 or self.range[0] >= self.range[1]):
            raise ConfigError("range", f"expected [low, high] with low < high, got {list(self.range)}")

    def levels(self, x: Tensor, columns: int) -> Tensor:
        """Return the level of each column `x`, of so many columns."""
        if self.range is None:
            return (x.float() + 1) / columns
        low, high = self.range
        return low + x.float() * ((high - low) / max(columns - 1, 1))

    def denominator(self, columns: int) -> int | None:
        """Return the number of levels, 1 where they are the numbers 1 to W, or None for another range."""
        if self.range is None:
            return columns
        return 1 if [*self.range] == [1, columns] else None

    def frame_size(self, size: SensorSize) -> tuple[int, int]:
        """Return a width of 1."""
        return 1, size[1]

    def frames(self, binned: BinnedEvents) -> Tensor:
        """Return the sums, in one column."""
        size = (*self.frame_size(binned.size), binned.size[2])
        x = torch.zeros(_frames_shape(binned, size), device=binned.batch.t.device)
        for assigned in binned.steps.assign_steps(binned.batch):
            level = torch.where(assigned.t == DROPPED, 0.0, self.levels(assigned.x, binned.size[0]))
            cells = to_cell_indices(assigned._replace(x=torch.zeros_like(assigned.x)), assigned.t.clamp(min=0), size)
            x.view(-1).scatter_add_(0, cells, level)
        return x


class Surface(Representation):
    """A surface, at the end of each step, to which events contribute with exponential decay.

    Args:
        tau: Time constant.
    """

    needs_times = True
    tau: Annotated[float, "ms", above(0)] = 50.0

    def prepare(self) -> None:
        self.tau_us = 1000 * self.tau


@REPRESENTATIONS.register("time_surface")
class TimeSurface(Surface):
    """The exponentially decayed age of the last event of each cell, at the end of each step.

        x[k] = exp(-(end_k - t_last) / tau),  0 before the first event

    Source: Lagorce et al., HOTS: a hierarchy of event-based time-surfaces for pattern recognition, 2017.
    """

    def frames(self, binned: BinnedEvents) -> Tensor:
        """Return the surface at the end of each step."""
        batch, steps = binned.batch, binned.steps
        step = steps.step_per_event(batch)
        last = torch.full(_frames_shape(binned, binned.size), DROPPED, dtype=torch.int64, device=batch.t.device)
        t = torch.where(step == DROPPED, DROPPED, batch.t)
        last.view(-1).scatter_reduce_(0, to_cell_indices(batch, step.clamp(min=0), binned.size), t, "amax")
        last = last.cummax(0).values
        ends = _ends(steps, last.device).view(-1, *[1] * (last.ndim - 1))
        return torch.where(last == DROPPED, 0.0, ((last - ends) / self.tau_us).exp()).float()


@REPRESENTATIONS.register("decaying_surface")
class DecayingSurface(Surface):
    """The sum of all earlier events of each cell, each with exponential decay from its time.

    x[k] = sum over events n before end_k of exp(-(end_k - t_n) / tau)
    """

    def frames(self, binned: BinnedEvents) -> Tensor:
        """Return the surface at the end of each step."""
        batch, steps = binned.batch, binned.steps
        step = steps.step_per_event(batch)
        inside, step = step != DROPPED, step.clamp(min=0)
        ends = _ends(steps, step.device)
        left = torch.where(inside, ((batch.t - ends[step]) / self.tau_us).exp(), 0.0).float()
        x = torch.zeros(_frames_shape(binned, binned.size), device=step.device)
        x.view(-1).scatter_add_(0, to_cell_indices(batch, step, binned.size), left)
        fade = torch.exp(torch.tensor(-steps.duration_us / steps.num_bins / self.tau_us, dtype=torch.float64)).item()
        for k in range(1, steps.num_bins):
            x[k] += fade * x[k - 1]
        return x


def _ends(steps: Steps, device: torch.device) -> Tensor:
    """Return the end of each step (us), float64 `[T]`."""
    number = torch.arange(1, steps.num_bins + 1, dtype=torch.float64, device=device)
    return number * (steps.duration_us / steps.num_bins)


def _frames_shape(binned: BinnedEvents, size: SensorSize) -> tuple[int, ...]:
    width, height, channels = size
    rows = () if binned.batch.y is None else (height,)
    return (binned.steps.num_bins, binned.batch.num_recordings, *rows, width, channels)


def _require_two(polarities: int, name: str) -> None:
    if polarities != 2:
        raise ConfigError(
            "representation", f"{name} is ON minus OFF events, and the sensor has {polarities} polarities", "use counts"
        )


@REPRESENTATIONS.register("constant")
class ConstantFrames(Representation):
    """The frame of the whole window, the same in all steps: a constant input.

    Args:
        of: The representation of the frame: a node or its type.
        frames_per_window: The window is divided into so many frames, and each is held for as many steps.
    """

    look_ahead_steps = math.inf
    of: Mapping[str, Any] | str = "counts"
    frames_per_window: Count = 1
    merge: bool = no_setting(False)

    def prepare(self) -> None:
        node = {"type": self.of} if isinstance(self.of, str) else dict(self.of)
        self.representation: Representation = REPRESENTATIONS.build(node.pop("type", None), node, "of")
        self.needs_times = self.representation.needs_times  # pyright: ignore[reportAttributeAccessIssue]

    def channels(self, polarities: int) -> int:
        """Return the number of channels of the representation."""
        return self.representation.channels(polarities)

    def frame_size(self, size: SensorSize) -> tuple[int, int]:
        """Return the size of its frames."""
        return self.representation.frame_size(size)

    def frames(self, binned: BinnedEvents) -> Tensor:
        """Return each frame as often as it is held."""
        total, number = binned.steps.num_bins, self.frames_per_window
        if total % number:
            raise ConfigError("frames_per_window", f"{number} does not divide the {total} steps of the window")
        held = self.representation(binned._replace(steps=replace(binned.steps, num_bins=number)))
        return held.repeat_interleave(total // number, 0)


class TimeAverage(Representation):
    """In each step 1/T of all events of the window, converted as counts.

        x[t] = representation(N / T),  N the events of each cell in the window

    So binary frames hold min(N / T, 1), and rate frames the mean rate.

    Args:
        representation: The representation that converts the counts of a step.
    """

    def __init__(self, representation: Counts) -> None:
        super().__init__(merge=representation.merge)
        self.representation = representation

    def channels(self, polarities: int) -> int:
        """Return the number of channels of the representation."""
        return self.representation.channels(polarities)

    def frames(self, binned: BinnedEvents) -> Tensor:
        """Return the same frame in all steps, from the whole window."""
        steps = binned.steps
        whole = count_frames(binned.batch, 1, steps.duration_us, binned.size) / steps.num_bins
        # Copied, since later code may write into frames.
        return self.representation.from_counts(whole, steps).repeat(steps.num_bins, *[1] * (whole.ndim - 1))


LengthFrom = Literal["window", "recording"]


@checks_arguments
@dataclass(frozen=True)
class FrameBuilder:
    """The conversion of a batch of packed events to frames.

    Args:
        region: The used part of the sensor.
        steps: The division of the window into steps.
        representation: The representation.
        length_from: Valid steps of a recording: all of the `window`, or those until the last event of the `recording`
            in it. With `events_per_bin` it is always the latter.
    """

    region: Region
    steps: Steps
    representation: Representation
    length_from: LengthFrom = "window"

    def __post_init__(self) -> None:
        self.representation.channels(self.region.size[2])
        if self.representation.needs_times and not self.steps.plain:
            raise ConfigError("representation", "this type needs bin_by: time without overlap_ms")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one frame: (C, H, W), (C, W) for sensors of one row, or (W,) for one row and one channel."""
        width, height = self.representation.frame_size(self.region.size)
        channels = self.representation.channels(self.region.size[2])
        if height > 1:
            return channels, height, width
        return (channels, width) if channels > 1 else (width,)

    def __call__(self, batch: EventBatch, *, allow_lists: bool = False, in_pieces: bool = False) -> Batch:
        """Return the frames, channels-last in memory.

        Args:
            batch: Packed events, on the device where the frames are made; without `host_lengths` it is waited for.
            allow_lists: Whether the frames may be lists of events, if possible.
            in_pieces: Whether the frames are made later, in pieces of time.

        Shape:
            frames float32 `[T, B, C, H, W]`; without rows `[T, B, C, W]`, or `[T, B, W]` for C = 1.

        Raises:
            DataError: if y does not go with the sensor's height, or an event is outside.
        """
        if (batch.y is None) != (self.region.sensor_size[1] == 1):
            got = "no y" if batch.y is None else "y"
            size = list(self.region.sensor_size)
            raise DataError("", f"the recordings have {got}, sensor_size is {size}", "y is needed exactly for H > 1")
        events = self.region(batch)
        binned = BinnedEvents(events, self.steps, self.region.size)
        listed = (
            self.representation.event_lists(binned) if allow_lists and isinstance(self.representation, Counts) else None
        )
        frames: Tensor | EventFrames | FramesInPieces
        if in_pieces:
            shape = torch.Size((self.steps.num_bins, batch.num_recordings, *self.shape))
            frames = FramesInPieces(shape, partial(frame_chunks, self, batch))
        else:
            frames = channels_last(self.representation(binned), events.y is not None) if listed is None else listed
        lengths, host_lengths = self.valid_steps(events), batch.host_lengths
        if host_lengths is None:
            host_lengths = lengths.tolist()
        targets = batch.targets
        if kind_of(targets) == "steps":
            assert self.steps.bin_by == "time"  # checked with the settings
            targets = step_labels(targets, lengths, self.steps.num_bins, self.steps.duration_us)
        elif kind_of(targets) == "series":
            if targets.shape[1] != self.steps.num_bins:
                raise DataError("data.num_bins", f"{self.steps.num_bins}, but the values have {targets.shape[1]} steps")
            targets = targets.transpose(0, 1)
        return Batch(frames, lengths, targets, batch.index, start=batch.start, host_lengths=host_lengths)

    def host_lengths(self, batch: EventBatch) -> list[int]:
        """Return the number of valid steps of each recording of packed events in host memory."""
        return self.valid_steps(self.region(batch) if self._ends_early else batch).tolist()

    @property
    def _ends_early(self) -> bool:
        """Whether a recording may have fewer valid steps than the window."""
        return self.length_from == "recording" or self.steps.events_per_bin is not None

    def valid_steps(self, events: EventBatch) -> Tensor:
        """Return the number of valid steps of each recording, `[B]`.

        Args:
            events: Events in cells of the region.
        """
        if self._ends_early:
            return self.steps.num_used_steps(events)
        return torch.full_like(events.offsets[1:], self.steps.num_bins)


def frame_chunks(frame_builder: FrameBuilder, batch: EventBatch, size: int) -> Iterator[Tensor]:
    """Yield the frames of a window in chunks of time, bit for bit equal to the whole.

    Frames that count events are made one chunk at a time. Other frames, and frames with overlap, depend on events
    outside a chunk: they are made at once, and cut.

    Args:
        frame_builder: The conversion of events to frames.
        batch: The packed events.
        size: Steps of a chunk; the last chunk may have fewer.

    Shape:
        float32 `[t, B, C, H, W]`, t <= size; without rows `[t, B, C, W]`, or `[t, B, W]` for C = 1.

    Raises:
        DataError: if y does not go with the sensor's height, or an event is outside.
    """
    steps, representation = frame_builder.steps, frame_builder.representation
    if size >= steps.num_bins or not isinstance(representation, Counts) or steps.overlap_us:
        yield from frame_builder(batch).x.split(size)
        return
    cells = representation.with_polarities(frame_builder.region.size)
    sorted_events = _SortedEvents.of(next(steps.assign_steps(frame_builder.region(batch))))
    for first in range(0, steps.num_bins, size):
        num_steps = min(size, steps.num_bins - first)
        counts = count_frames(sorted_events.of_steps(first, num_steps), num_steps, num_steps, cells)
        yield channels_last(representation.from_counts(counts, steps), sorted_events.batch.y is not None)


class _SortedEvents(NamedTuple):
    """Events of several recordings, sorted by their step, and the index of each one's recording."""

    batch: EventBatch
    recording: Tensor

    @classmethod
    def of(cls, batch: EventBatch) -> _SortedEvents:
        """Sort events by their step; dropped events make them unsorted."""
        order = batch.t.argsort(stable=True)
        numbers = torch.arange(batch.num_recordings, device=order.device)
        recording = torch.repeat_interleave(numbers, batch.offsets.diff(), output_size=order.numel())
        return cls(_take_events(batch, order), recording[order])

    def of_steps(self, first: int, num_steps: int) -> EventBatch:
        """Return the events of a range of steps, packed by recording, with steps counted from 0."""
        t = self.batch.t
        start, stop = torch.searchsorted(t, t.new_tensor([first, first + num_steps])).tolist()
        recording = self.recording[start:stop]
        part = _take_events(self.batch, start + recording.argsort(stable=True))
        sizes = torch.bincount(recording, minlength=self.batch.num_recordings)
        return part._replace(t=part.t - first, offsets=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]))


def _take_events(batch: EventBatch, rows: Tensor | slice) -> EventBatch:
    y = None if batch.y is None else batch.y[rows]
    return batch._replace(t=batch.t[rows], x=batch.x[rows], y=y, p=batch.p[rows])
