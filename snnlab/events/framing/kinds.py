"""What a frame holds of its events: how many, whether any, how long ago.

Axes: T steps, B recordings, H rows, W columns, C channels of a frame. N events.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.event_frames import EventFrames
from snnlab.events.frames import EventBatch, cells_of, count_frames
from snnlab.events.framing.region import LEFT_OUT
from snnlab.events.framing.steps import Steps
from snnlab.events.recording import SensorSize
from snnlab.intervals import above
from snnlab.registry import Registry

FRAMES = Registry("kind of frames")


class Window(NamedTuple):
    """The events of a batch and how they become steps.

    Attributes:
        batch: Packed events, in cells.
        steps: How the window becomes steps.
        size: `[W, H, P]` in cells.
    """

    batch: EventBatch
    steps: Steps
    size: SensorSize


class Kind(ABC):
    """What a frame holds.

    Args:
        merge: Whether ON and OFF events are taken to be the same.
    """

    # What needs the time of each event, and so steps by time without overlap.
    timed: ClassVar[bool] = False
    # Whether what a cell holds depends on its own count alone, and none where there is none.
    cellwise: ClassVar[bool] = False
    # How many steps after its own end a frame still holds events of.
    look_ahead_steps: ClassVar[float] = 0.0

    def __init__(self, merge: bool = False) -> None:
        self.merge = merge

    def channels(self, polarities: int) -> int:
        """Return the number C of channels that frames of so many polarities have."""
        return 1 if self.merge else polarities

    def told_apart(self, size: SensorSize) -> SensorSize:
        """Return `[W, H, P]` with the polarities that are told apart."""
        return (*size[:2], 1) if self.merge else size

    def __call__(self, window: Window) -> Tensor:
        """Return the frames in a contiguous `[T, B, H, W, C]`; `[T, B, W, C]` for events without rows."""
        return self.frames(window._replace(size=self.told_apart(window.size)))

    @abstractmethod
    def frames(self, window: Window) -> Tensor:
        """Return the frames of events whose polarities are those of the channels."""


@FRAMES.register("counts")
class Counts(Kind):
    """How many events there are in each cell.

    Args:
        merge: Whether ON and OFF events are counted together.
    """

    cellwise = True

    def lists(self, window: Window) -> EventFrames | None:
        """Return the frames as lists of their events, where they can be and a CPU has the events; else None."""
        batch, steps = window.batch, window.steps
        if not self.cellwise or not steps.plain or batch.y is None or batch.t.device.type != "cpu":
            return None
        # Here for the same reason as in `count_frames`.
        from snnlab.events.listing import list_frames

        found = list_frames(batch, steps.num_bins, steps.duration_us, self.told_apart(window.size))
        if found is not None:
            self.of_counts(torch.from_numpy(found.values), steps)
        return found

    def frames(self, window: Window) -> Tensor:
        """Return the frames, of the counts of all steps."""
        steps = window.steps
        if steps.plain:
            counts = count_frames(window.batch, steps.num_bins, steps.duration_us, window.size)
        else:
            turns = steps.placed(window.batch)
            counts = count_frames(next(turns), steps.num_bins, steps.num_bins, window.size)
            for placed in turns:
                counts += count_frames(placed, steps.num_bins, steps.num_bins, window.size)
        return self.of_counts(counts, steps)

    def of_counts(self, counts: Tensor, steps: Steps) -> Tensor:
        """Return frames of counts, which may be of some steps only; in place where that is quicker, always cellwise."""
        return counts


@FRAMES.register("binary")
class Binary(Counts):
    """Whether there is any event in each cell: 0 or 1.

    Args:
        merge: Whether ON and OFF events are taken to be the same.
    """

    def of_counts(self, counts: Tensor, steps: Steps) -> Tensor:
        """Return 1 where events are."""
        return counts.clamp_(max=1)


@FRAMES.register("rate")
class Rate(Counts):
    """How many events per ms there are in each cell: counts divided by the length of a step.

    Args:
        merge: Whether ON and OFF events are counted together.
    """

    timed = True

    def of_counts(self, counts: Tensor, steps: Steps) -> Tensor:
        """Return the rates."""
        return counts.mul_(1000 * steps.num_bins / steps.duration_us)


@FRAMES.register("relative")
class Relative(Counts):
    """How many events there are in each cell, divided by those of the frame's fullest cell: 0 to 1.

    Args:
        merge: Whether ON and OFF events are counted together.
    """

    cellwise = False

    def of_counts(self, counts: Tensor, steps: Steps) -> Tensor:
        """Return the parts of each frame's largest count; a frame without events stays 0."""
        most = counts.flatten(2).amax(2)
        most.masked_fill_(most == 0, 1)
        return counts.div_(most.view(*counts.shape[:2], *[1] * (counts.ndim - 2)))


@FRAMES.register("signed")
class Signed(Counts):
    """How many more ON than OFF events there are in each cell, in one channel."""

    cellwise = False

    def __init__(self) -> None:
        super().__init__()

    def channels(self, polarities: int) -> int:
        """Return 1.

        Raises:
            ValueError: if the sensor does not tell ON from OFF.
        """
        _require_two(polarities, "signed")
        return 1

    def of_counts(self, counts: Tensor, steps: Steps) -> Tensor:
        """Return ON less OFF."""
        off, on = counts.unbind(-1)
        return (on - off).unsqueeze(-1)


@FRAMES.register("voxel_grid")
class VoxelGrid(Kind):
    """ON less OFF events, each shared between the two steps whose middles are nearest in time.

        x[k] = sum_n p_n max(0, 1 - |t_n / dt - 1/2 - k|),  p_n = +1 or -1

    Events before the middle of the first step and after that of the last are theirs alone, so that each counts as one.

    Source: Zhu et al., Unsupervised event-based learning of optical flow, depth, and egomotion, 2019; over the window
        instead of from the first to the last event.
    """

    timed = True
    look_ahead_steps = 0.5  # an event is shared between the two steps whose middles are nearest

    def __init__(self) -> None:
        super().__init__()

    def channels(self, polarities: int) -> int:
        """Return 1.

        Raises:
            ValueError: if the sensor does not tell ON from OFF.
        """
        _require_two(polarities, "voxel_grid")
        return 1

    def frames(self, window: Window) -> Tensor:
        """Return the grid."""
        batch, steps = window.batch, window.steps
        sign = torch.where(batch.p, 1.0, -1.0)
        inside = steps.of(batch) != LEFT_OUT
        place = batch.t.double() * (steps.num_bins / steps.duration_us) - 0.5
        place = place.clamp(0, steps.num_bins - 1)
        first = place.floor()
        late = torch.where(inside, (place - first).float(), 0.0)
        early = torch.where(inside, 1 - late, 0.0)
        first = first.long()
        after = (first + 1).clamp(max=steps.num_bins - 1)
        size = (*window.size[:2], 1)
        x = torch.zeros(_shape(window, size), device=batch.t.device)
        for step, share in ((first, early), (after, late)):
            x.view(-1).scatter_add_(0, cells_of(batch, step, size), sign * share)
        return x


class Surface(Kind):
    """What is left, at the end of each step, of events that fade.

    Args:
        tau: Time constant (ms).
        merge: Whether ON and OFF events are taken to be the same.

    Raises:
        ConfigError: if tau is not positive.
    """

    timed = True

    def __init__(self, tau: Annotated[float, "ms", above(0)] = 50.0, merge: bool = False) -> None:
        super().__init__(merge)
        self.tau_us = 1000 * tau


@FRAMES.register("time_surface")
class TimeSurface(Surface):
    """How long ago, at the end of each step, the last event of each cell was.

        x[k] = exp(-(end_k - t_last) / tau),  0 where there was none yet

    Args:
        tau: Time constant (ms).
        merge: Whether ON and OFF events are taken to be the same.

    Source: Lagorce et al., HOTS: a hierarchy of event-based time-surfaces for pattern recognition, 2017.
    """

    def frames(self, window: Window) -> Tensor:
        """Return the surface at the end of each step."""
        batch, steps = window.batch, window.steps
        step = steps.of(batch)
        last = torch.full(_shape(window, window.size), LEFT_OUT, dtype=torch.int64, device=batch.t.device)
        t = torch.where(step == LEFT_OUT, LEFT_OUT, batch.t)
        last.view(-1).scatter_reduce_(0, cells_of(batch, step.clamp(min=0), window.size), t, "amax")
        last = last.cummax(0).values
        ends = _ends(steps, last.device).view(-1, *[1] * (last.ndim - 1))
        return torch.where(last == LEFT_OUT, 0.0, ((last - ends) / self.tau_us).exp()).float()


@FRAMES.register("decaying_surface")
class DecayingSurface(Surface):
    """The events of each cell so far, each fading from the moment at which it came.

        x[k] = sum over events n before end_k of exp(-(end_k - t_n) / tau)

    Args:
        tau: Time constant (ms).
        merge: Whether ON and OFF events are counted together.
    """

    def frames(self, window: Window) -> Tensor:
        """Return the surface at the end of each step."""
        batch, steps = window.batch, window.steps
        step = steps.of(batch)
        inside, step = step != LEFT_OUT, step.clamp(min=0)
        ends = _ends(steps, step.device)
        left = torch.where(inside, ((batch.t - ends[step]) / self.tau_us).exp(), 0.0).float()
        x = torch.zeros(_shape(window, window.size), device=step.device)
        x.view(-1).scatter_add_(0, cells_of(batch, step, window.size), left)
        fade = torch.exp(torch.tensor(-steps.duration_us / steps.num_bins / self.tau_us, dtype=torch.float64)).item()
        for k in range(1, steps.num_bins):
            x[k] += fade * x[k - 1]
        return x


def _ends(steps: Steps, device: torch.device) -> Tensor:
    """Return when each step ends (us), float64 `[T]`."""
    number = torch.arange(1, steps.num_bins + 1, dtype=torch.float64, device=device)
    return number * (steps.duration_us / steps.num_bins)


def _shape(window: Window, size: SensorSize) -> tuple[int, ...]:
    width, height, channels = size
    rows = () if window.batch.y is None else (height,)
    return (window.steps.num_bins, window.batch.num_recordings, *rows, width, channels)


def _require_two(polarities: int, kind: str) -> None:
    if polarities != 2:
        raise ConfigError(
            "frames", f"{kind} is ON less OFF events, and the sensor has {polarities} polarities", "use counts"
        )
