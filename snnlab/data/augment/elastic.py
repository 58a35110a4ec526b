"""Recordings bent as if drawn on rubber."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import map_coordinates

from snnlab.data.augment.base import AUGMENTATIONS, Augmentation, placed, within_pixel
from snnlab.events import Events


@AUGMENTATIONS.register("elastic")
class Elastic(Augmentation):
    """Bend a recording: neighbouring pixels move together, distant ones each their own way.

        x' = round(x + u + strength D(x + u)),  D = S_H N S_W^T,  N ~ Normal(0, 1) of each pixel and axis

    S's rows are Gaussians of standard deviation sigma and of norm 1, so that D's standard deviation is 1 everywhere;
    u is where in its pixel an event is, as for affine. What leaves the sensor is gone.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        strength: Standard deviation of how far a pixel moves along each axis, pixels.
        sigma: How far apart pixels still move together, pixels.
        p: Probability that it is done.

    Raises:
        ValueError: if a number is out of its range.

    Source:
        Simard et al., Best practices for convolutional neural networks applied to visual document analysis,
        ICDAR 2003, there with a field scaled after smoothing.
    """

    def __init__(self, sensor_size: Sequence[int], strength: float = 1.0, sigma: float = 5.0, p: float = 1.0) -> None:
        super().__init__(p)
        if strength < 0 or sigma <= 0:
            raise ValueError(f"strength must be 0 or more and sigma above 0, got {strength} and {sigma}")
        self.width, self.height, _ = sensor_size
        self.strength = strength
        self.along_x, self.along_y = _smoothing(self.width, sigma), _smoothing(self.height, sigma)

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        x = events.x + within_pixel(events, rng)
        y = np.zeros_like(x) if events.y is None else events.y + within_pixel(events, rng)
        across = self._at(y, x, rng)
        down = 0.0 if events.y is None else self._at(y, x, rng)
        return placed(events, x + across, y + down, self.width, self.height)

    def _at(self, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return how far places move along one axis, between pixels bilinearly."""
        return map_coordinates(self.displacement(rng), (y, x), order=1, mode="nearest", output=np.float32)

    def displacement(self, rng: np.random.Generator) -> np.ndarray:
        """Return how far each pixel moves along one axis, pixels, `[H, W]`."""
        noise = rng.standard_normal((self.height, self.width))
        return self.strength * (self.along_y @ noise @ self.along_x.T)


def _smoothing(size: int, sigma: float) -> np.ndarray:
    """Return a matrix whose rows are Gaussians about each place, of norm 1."""
    apart = np.subtract.outer(np.arange(size), np.arange(size))
    rows = np.exp(-0.5 * (apart / sigma) ** 2)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
