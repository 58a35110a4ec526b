"""Counts of a window spread evenly over its steps: what is left of events without their times.

Axes: T steps, B recordings, H rows, W columns, C channels of a frame.
"""

from __future__ import annotations

from torch import Tensor

from snnlab.events.frames import count_frames
from snnlab.events.framing.kinds import Counts, Kind, Window


class Spread(Kind):
    """In each step a T-th of all events of the window, then what the frames make of counts.

        x[t] = kind(N / T),  N the events of each cell in the window

    So binary frames hold min(N / T, 1), and those of rates the mean rate.

    Args:
        kind: What the frames would hold of the counts of a step.
    """

    def __init__(self, kind: Counts) -> None:
        super().__init__(kind.merge)
        self.kind = kind

    def channels(self, polarities: int) -> int:
        """Return the number of channels that the kind has."""
        return self.kind.channels(polarities)

    def frames(self, window: Window) -> Tensor:
        """Return the same frame for all steps, of the whole window."""
        steps = window.steps
        whole = count_frames(window.batch, 1, steps.duration_us, window.size) / steps.num_bins
        # Copied, since what follows may write into frames.
        return self.kind.of_counts(whole, steps).repeat(steps.num_bins, *[1] * (whole.ndim - 1))
