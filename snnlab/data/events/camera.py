"""The known motion of a camera in front of a static scene, and its subtraction from recordings.

Axes: N events, K corners of a path.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snnlab.data.events.recording import Events, SensorSize
from snnlab.errors import ConfigError


class CameraPath:
    """The position of a static scene on the sensor while the camera moves, linear between corners.

        x' = x - round(path(t) - (min path + max path) / 2)

    for each axis, with the path at the event's whole ms: positions stay integers, and the scene stays in the middle.
    Events outside the sensor are dropped.

    Args:
        corners: `[ms, x, y]` each: the displacement of the scene at that time, pixels; constant before the first and
            after the last corner.
    """

    def __init__(self, corners: Sequence[Sequence[float]]) -> None:
        rows = [[float(number) for number in corner] for corner in corners]
        if len(rows) < 2 or any(len(row) != 3 for row in rows) or not np.isfinite(rows).all():
            raise ConfigError("camera_path", f"must be two or more corners [ms, x, y], got {rows}")
        ms, across, down = np.array(rows).T
        if ms[0] < 0 or (np.diff(ms) <= 0).any():
            raise ConfigError(
                "camera_path", f"the times of its corners must rise, from 0 ms or more, got {ms.tolist()}"
            )
        self.corners = rows
        at = np.arange(int(np.ceil(ms[-1])) + 1)
        self._across, self._down = (_round_centred(np.interp(at, ms, moved)) for moved in (across, down))

    def subtract_motion(self, events: Events, size: SensorSize) -> tuple[Events, np.ndarray]:
        """Subtract the motion, and return the events and a mask of those that are still on the sensor.

        Args:
            events: Events with times since their recording's start (us).
            size: The sensor's (W, H, P).

        Shape:
            Columns `[N]`, not yet selected by the mask; mask: bool `[N]`.
        """
        width, height, _ = size
        at = np.minimum(events.t // 1000, self._across.size - 1)
        x = events.x - self._across[at]
        inside = (x >= 0) & (x < width)
        if events.y is None:
            return events._replace(x=x), inside
        y = events.y - self._down[at]
        inside &= (y >= 0) & (y < height)
        return events._replace(x=x, y=y), inside

    def stabilize(self, events: Events, size: SensorSize) -> Events:
        """Return a recording without the motion and without the events outside the sensor."""
        moved, inside = self.subtract_motion(events, size)
        return moved.take(inside)


def _round_centred(moved: np.ndarray) -> np.ndarray:
    return np.rint(moved - (moved.min() + moved.max()) / 2).astype(np.int16)
