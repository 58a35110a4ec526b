"""Which part of the sensor is looked at, and how finely.

Axes: N events, W columns, H rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.events.frames import EventBatch
from snnlab.events.recording import SensorSize
from snnlab.intervals import Count
from snnlab.settings import checks_arguments

LEFT_OUT = -1
"""The time of events that no frame is to hold: it is before any window."""


@checks_arguments
@dataclass(frozen=True)
class Region:
    """A part of the sensor, in cells of several pixels.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        crop: `[left, top, width, height]` of the part (pixels), or None for all; events outside are left out.
        downsample: Side of a cell (pixels); events of pixels that fill no whole cell at the right and below are left
            out. Sensors of one row have cells of so many columns.
        hot: Pixels whose events are left out, true where hot; or None.

    Shape:
        hot: bool `[H * W]`, of the whole sensor.

    Raises:
        ConfigError: if the part is not within the sensor, or smaller than a cell.
    """

    sensor_size: SensorSize
    crop: tuple[int, int, int, int] | None = None
    downsample: Count = 1
    hot: Tensor | None = None

    def __post_init__(self) -> None:
        width, height, _ = self.sensor_size
        left, top, w, h = self._part
        if not (left >= 0 and top >= 0 and 1 <= w <= width - left and 1 <= h <= height - top):
            raise ConfigError(
                "crop", f"expected [left, top, width, height] within {width} x {height} pixels, got {list(self._part)}"
            )
        if min(self.size[:2]) < 1:
            raise ConfigError("downsample", f"must be at most the size of {w} x {h}, got {self.downsample}")

    @property
    def size(self) -> SensorSize:
        """`[W, H, P]` in cells."""
        _, height, polarities = self.sensor_size
        _, _, w, h = self._part
        return w // self.downsample, 1 if height == 1 else h // self.downsample, polarities

    def __call__(self, batch: EventBatch) -> EventBatch:
        """Return the events in cells; those that are left out have the time `LEFT_OUT`, so that none moves."""
        if self.hot is not None:
            batch = batch._replace(t=torch.where(self._is_hot(batch), LEFT_OUT, batch.t))
        if self.size == tuple(self.sensor_size):
            return batch
        left, top, _, _ = self._part
        width, height, _ = self.size
        x, inside = _cells(batch.x, left, self.downsample, width)
        y = batch.y
        if y is not None:
            y, within = _cells(y, top, self.downsample, height)
            inside &= within
            if height == 1:
                y = None
        return batch._replace(t=torch.where(inside, batch.t, LEFT_OUT), x=x, y=y)

    @property
    def _part(self) -> tuple[int, int, int, int]:
        return self.crop or (0, 0, self.sensor_size[0], self.sensor_size[1])

    def _is_hot(self, batch: EventBatch) -> Tensor:
        assert self.hot is not None
        pixel = batch.x.long()
        if batch.y is not None:
            pixel += batch.y.long() * self.sensor_size[0]
        return self.hot.to(pixel.device)[pixel]


def _cells(column: Tensor, start: int, side: int, cells: int) -> tuple[Tensor, Tensor]:
    """Return each event's cell along one axis, 0 where there is none, and where there is one."""
    # Wider than the store's int16, in which a difference might wrap.
    place = torch.div(column.to(torch.int32) - start, side, rounding_mode="floor")
    inside = (place >= 0) & (place < cells)
    return torch.where(inside, place, 0).to(column.dtype), inside
