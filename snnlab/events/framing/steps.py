"""Of which step an event is: by its time, or by its place among the events of its recording.

Axes: N events, B recordings, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.events.frames import EventBatch
from snnlab.events.framing.region import LEFT_OUT
from snnlab.intervals import NotNegative, at_least
from snnlab.settings import checks_arguments

BinBy = Literal["time", "count"]


@checks_arguments
@dataclass(frozen=True)
class Steps:
    """How a window becomes steps.

        by time:   step = floor(t * num_bins / duration_us)
        by count:  step = floor(n * num_bins / N), or floor(n / events_per_bin); n = 0 .. N - 1 is the event's number

    Args:
        duration_us: Length of the window `[0, duration_us)` (us); later events are in no step.
        num_bins: Number of steps T.
        bin_by: `time`, or `count`: steps of equally many events, which have no length in time.
        events_per_bin: Events of a step, by count; those after T steps are left out, and a recording of fewer ends
            early. None: the events of a recording divided by T.
        overlap_us: How much longer than a step a frame is, by time (us): it has the first events of the next one too.

    Raises:
        ConfigError: if settings are out of their range or do not go together.
    """

    duration_us: int
    num_bins: int
    bin_by: BinBy = "time"
    events_per_bin: Annotated[int | None, at_least(1)] = None
    overlap_us: NotNegative = 0

    def __post_init__(self) -> None:
        if self.events_per_bin is not None and self.bin_by == "time":
            raise ConfigError("events_per_bin", f"needs bin_by: count, got {self.events_per_bin}")
        if self.overlap_us and self.bin_by == "count":
            raise ConfigError("overlap_ms", "needs bin_by: time")

    @property
    def plain(self) -> bool:
        """Whether each event of the window is in the one step of its time."""
        return self.bin_by == "time" and not self.overlap_us

    def of(self, batch: EventBatch) -> Tensor:
        """Return each event's step, or `LEFT_OUT`; of overlapping frames the last one that has it.

        Shape:
            int64 `[N]`.
        """
        inside = (batch.t >= 0) & (batch.t < self.duration_us)
        if self.bin_by == "time":
            return torch.where(inside, batch.t * self.num_bins // self.duration_us, LEFT_OUT)
        seen = torch.cat([inside.new_zeros(1, dtype=torch.int64), inside.cumsum(0)])
        starts, lengths = seen[batch.offsets[:-1]], batch.offsets.diff()
        total = seen[batch.offsets[1:]] - starts
        number = seen[:-1] - torch.repeat_interleave(starts, lengths, output_size=inside.numel())
        if self.events_per_bin is not None:
            step = number // self.events_per_bin
        else:
            step = (
                number
                * self.num_bins
                // torch.repeat_interleave(total.clamp(min=1), lengths, output_size=inside.numel())
            )
        return torch.where(inside & (step < self.num_bins), step, LEFT_OUT)

    def placed(self, batch: EventBatch) -> Iterator[EventBatch]:
        """Yield the events with their step in place of their time; of overlapping frames again for each step before.

        One at a time: a frame that is as long as a hundred steps would need a hundred times the memory.
        """
        step = self.of(batch)
        yield batch._replace(t=step)
        # A frame is as long as several steps and a rest: each event is in the step of its time and in those before.
        for before in range(1, -(-self.overlap_us * self.num_bins // self.duration_us) + 1):
            earlier = step - before
            end = -(-(earlier + 1) * self.duration_us // self.num_bins) + self.overlap_us
            yield batch._replace(t=torch.where((earlier >= 0) & (batch.t < end), earlier, LEFT_OUT))

    def used(self, batch: EventBatch) -> Tensor:
        """Return how many steps it takes to each recording's last event in the window, at least 1, `[B]`."""
        step = self.of(batch)
        recording = torch.repeat_interleave(
            torch.arange(batch.num_recordings, device=step.device), batch.offsets.diff(), output_size=step.numel()
        )
        last = torch.zeros_like(batch.offsets[1:]).scatter_reduce_(0, recording, step + 1, "amax")
        return last.clamp(min=1)
