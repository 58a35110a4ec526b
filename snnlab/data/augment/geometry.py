"""Changes of where events are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from scipy.ndimage import map_coordinates

from snnlab.data.augment.base import AUGMENTATIONS, Augmentation, Chance, placed, require_range, within_pixel
from snnlab.errors import ConfigError
from snnlab.events import Events
from snnlab.intervals import Positive, at_least, between


@AUGMENTATIONS.register("affine")
class Affine(Augmentation):
    """Move, turn, slant and resize a recording about the sensor's centre c; what leaves the sensor is gone.

        x' = round(c + s R(angle) H (x + u - c) + d),  H (x, y) = (x + y tan(slant), y)

    u, of each event, is uniform in [-1/2, 1/2) along each axis, for an event comes from somewhere within its pixel:
    without it, a recording that is resized or turned has stripes. Where all is but moved, u is 0 and d is rounded.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        shift: Largest |d| along each axis, pixels.
        rotate: Largest |angle|, degrees; sensors without rows cannot turn.
        scale: [from, to] of s.
        shear: Largest |slant|, degrees; sensors without rows cannot slant.
        p: Probability that it is done.

    Raises:
        ConfigError: if a number is out of its range.
    """

    def __init__(
        self,
        sensor_size: Sequence[int],
        shift: Annotated[float, at_least(0)] = 0.0,
        rotate: Annotated[float, "degrees", between(0, 180)] = 0.0,
        scale: Sequence[float] = (1.0, 1.0),
        shear: Annotated[float, "degrees", between(0, 60)] = 0.0,
        p: Chance = 1.0,
    ) -> None:
        super().__init__(p)
        require_range("scale", scale, 0.1, 10)
        self.width, self.height, _ = sensor_size
        if self.height == 1 and rotate:
            raise ConfigError("rotate", "a sensor without rows cannot turn")
        if self.height == 1 and shear:
            raise ConfigError("shear", "a sensor without rows cannot slant")
        self.shift, self.rotate, self.scale, self.shear = shift, rotate, scale, shear
        self.resamples = bool(rotate or shear) or tuple(scale) != (1, 1)

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        across, down, turn, size = rng.uniform(
            [-self.shift, -self.shift, -self.rotate, self.scale[0]],
            [self.shift, self.shift, self.rotate, self.scale[1]],
        )
        middle_x, middle_y = (self.width - 1) / 2, (self.height - 1) / 2
        x = events.x - middle_x
        y = 0.0 if events.y is None else events.y - middle_y
        if self.resamples:
            x = x + within_pixel(events, rng)
            y = y if events.y is None else y + within_pixel(events, rng)
        if self.shear:
            x = x + y * math.tan(math.radians(rng.uniform(-self.shear, self.shear)))
        cosine, sine = size * math.cos(math.radians(turn)), size * math.sin(math.radians(turn))
        new_x, new_y = cosine * x - sine * y, sine * x + cosine * y
        return placed(events, new_x + (middle_x + across), new_y + (middle_y + down), self.width, self.height)


@AUGMENTATIONS.register("flip_x")
class FlipX(Augmentation):
    """Mirror left and right.

        x' = W - 1 - x

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        p: Probability that it is done.
    """

    alters = "flip_x"

    def __init__(self, sensor_size: Sequence[int], p: Chance = 0.5) -> None:
        super().__init__(p)
        self.last = sensor_size[0] - 1

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        return events._replace(x=self.last - events.x)


@AUGMENTATIONS.register("flip_y")
class FlipY(Augmentation):
    """Mirror top and bottom.

        y' = H - 1 - y

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        p: Probability that it is done.

    Raises:
        ConfigError: if the sensor has no rows.
    """

    alters = "flip_y"

    def __init__(self, sensor_size: Sequence[int], p: Chance = 0.5) -> None:
        super().__init__(p)
        if sensor_size[1] == 1:
            raise ConfigError("", "flip_y: the sensor has no rows")
        self.last = sensor_size[1] - 1

    def apply(self, events: Events, rng: np.random.Generator) -> Events:
        return events if events.y is None else events._replace(y=self.last - events.y)


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
        ConfigError: if a number is out of its range.

    Source:
        Simard et al., Best practices for convolutional neural networks applied to visual document analysis,
        ICDAR 2003, there with a field scaled after smoothing.
    """

    def __init__(
        self,
        sensor_size: Sequence[int],
        strength: Annotated[float, at_least(0)] = 1.0,
        sigma: Positive = 5.0,
        p: Chance = 1.0,
    ) -> None:
        super().__init__(p)
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
