"""A camera that looks at a still digit with three saccades: N-MNIST's events, simulated.

Axes: S steps of the path, H rows, W columns. Source: the simulator's recipe of this project, fitted to the
statistics of N-MNIST (Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets
using saccades").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from snnlab.compiled import compiled
from snnlab.events.recording import Events, SensorSize

# How much larger the sensor is than the image, and how far the camera sees beyond the sensor (px).
_BORDER = 3
_MARGIN = 11


@dataclass(frozen=True)
class Saccades:
    """The camera and its movement.

    Args:
        amplitude: Size A of the path (px).
        amplitude_spread: A is multiplied by 1 + this times a normal number, per recording.
        onsets: When the saccades begin (ms).
        saccade: How long one lasts (ms).
        duration: How long the camera looks (ms).
        step: Sampling of the path (ms).
        blur: Standard deviation of the optics' Gaussian (px).
        contrast: C, the ratio of the brightest to the darkest light.
        contrast_spread: C is multiplied by e to this times a normal number, per recording.
        threshold: Change of log light that makes an event.
        threshold_spread: The threshold is multiplied by e to this times a normal number, per recording.
        threshold_mismatch: Standard deviation of the threshold between pixels and polarities.
        threshold_floor: Smallest threshold.
        hold: Dead time of a pixel after an event (ms), at least a step.
        noise: Events without a cause (Hz a pixel), half of them ON.
    """

    amplitude: float = 5.5
    amplitude_spread: float = 0.05
    onsets: tuple[float, ...] = (0.0, 105.0, 210.0)
    saccade: float = 100.0
    duration: float = 310.0
    step: float = 1.0
    blur: float = 0.45
    contrast: float = 10.0
    contrast_spread: float = 0.2
    threshold: float = 0.32
    threshold_spread: float = 0.12
    threshold_mismatch: float = 0.03
    threshold_floor: float = 0.05
    hold: float = 1.0
    noise: float = 0.3

    def __post_init__(self) -> None:
        if self.step <= 0 or self.hold < self.step:
            raise ValueError(f"needs 0 < step <= hold, not step {self.step} ms and hold {self.hold} ms")


def sensor_of(rows: int, columns: int) -> SensorSize:
    """Return the `[W, H, P]` of the camera that looks at an image of so many rows and columns."""
    return columns + 2 * _BORDER, rows + 2 * _BORDER, 2


def digit_image(digit: np.ndarray) -> np.ndarray:
    """Enlarge one of scikit-learn's digits to MNIST's size.

    Args:
        digit: Grey values 0..16.

    Shape:
        `[8, 8]` to `[28, 28]`, values 0..1.
    """
    large = np.empty((25, 25))
    ndimage.zoom(np.pad(digit / 16.0, 1), 2.5, output=large, order=3)
    return np.pad(large.clip(0.0, 1.0), (1, 2))


def simulate(image: np.ndarray, rng: np.random.Generator, camera: Saccades | None = None) -> Events:
    """Return what an event camera sees of a still image during three saccades.

        L = ln(1 + (C - 1) I);  an event wherever |L - L_ref| reaches the pixel's threshold

    A recording depends on its image and its generator alone: `default_rng([seed, index])` makes recording
    `index` the same in any order and in any process.

    Args:
        image: Grey values 0..1.
        rng: All chance comes from here.
        camera: The camera and its movement; the recipe's by default.

    Shape:
        image `[H, W]`; the events are those of a sensor with two polarities, three pixels larger on each side: 34 x 34
        for the 28 x 28 of MNIST, to which the camera was fitted.

    Raises:
        ValueError: If the image is none, or the path leaves its surroundings.
    """
    if image.ndim != 2 or not image.size:
        raise ValueError(f"the simulator looks at images [H, W], not {image.shape}")
    camera = camera or Saccades()
    width, height, _ = sensor_of(*image.shape)
    by_threshold, by_contrast, by_amplitude = rng.standard_normal(3)
    mean = camera.threshold * np.exp(camera.threshold_spread * by_threshold)
    contrast = camera.contrast * np.exp(camera.contrast_spread * by_contrast)
    amplitude = camera.amplitude * (1.0 + camera.amplitude_spread * by_amplitude)
    mismatch = camera.threshold_mismatch * rng.standard_normal((2, height * width))
    thresholds = np.maximum(camera.threshold_floor, mean + mismatch)

    light = _sample(_through_optics(image, camera.blur), _path(camera, amplitude), height, width)
    # In place: fresh memory of this size costs more, page by page, than the arithmetic.
    light *= contrast - 1.0
    light += 1.0
    log_light = np.log(light, out=light)
    seen = _crossings(log_light, thresholds, camera.step, camera.hold)
    return _merge(seen, _noise(camera, height * width, rng), width)


def _through_optics(image: np.ndarray, blur: float) -> np.ndarray:
    return ndimage.gaussian_filter(np.pad(image, _BORDER + _MARGIN), blur)


def _path(camera: Saccades, amplitude: float) -> np.ndarray:
    """Return where the camera looks at each step (px, x and y from the centre), `[S + 1, 2]`."""
    half = amplitude / 2
    corners = np.array([(-half, -half), (0.0, half), (half, -half), (-half, -half)])
    time = np.arange(round(camera.duration / camera.step) + 1) * camera.step
    place = np.tile(corners[0], (time.size, 1))
    for k, onset in enumerate(camera.onsets):
        s = np.clip((time - onset) / camera.saccade, 0.0, 1.0)[:, None]
        place += s**3 * (10 - 15 * s + 6 * s**2) * (corners[(k + 1) % 3] - corners[k % 3])
    # The compiled sampling does not check its bounds.
    if np.abs(place).max() >= _MARGIN:
        raise ValueError(f"an amplitude of {amplitude:.1f} px leaves the image's surroundings; at most 20 px")
    return place


@compiled()
def _sample(canvas: np.ndarray, path: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the light on each pixel at each step, bilinearly, `[S + 1, H * W]`."""
    light = np.empty((len(path), height * width))
    for k in range(len(path)):
        left, top = int(np.floor(_MARGIN + path[k, 0])), int(np.floor(_MARGIN + path[k, 1]))
        right, down = _MARGIN + path[k, 0] - left, _MARGIN + path[k, 1] - top
        for row in range(height):
            upper, lower = canvas[top + row], canvas[top + row + 1]
            for column in range(width):
                i = left + column
                above = upper[i] + right * (upper[i + 1] - upper[i])
                below = lower[i] + right * (lower[i + 1] - lower[i])
                light[k, row * width + column] = above + down * (below - above)
    return light


@compiled()
def _crossings(
    log_light: np.ndarray, thresholds: np.ndarray, step: float, hold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return time (ms), pixel and polarity of every threshold crossing, step by step.

    Between two samples the light changes linearly, so that crossing and release have a time of their own.
    A hold of at least one step makes one event a pixel and step the most.
    """
    num_steps, num_pixels = log_light.shape[0] - 1, log_light.shape[1]
    time = np.empty(num_steps * num_pixels)
    pixel = np.empty(num_steps * num_pixels, np.int32)
    is_on = np.empty(num_steps * num_pixels, np.bool_)
    count = 0
    reference = log_light[0].copy()
    release = np.full(num_pixels, -1.0)
    for k in range(num_steps):
        begin, end = k * step, (k + 1) * step
        for i in range(num_pixels):
            if release[i] >= end:
                continue
            before, after = log_light[k, i], log_light[k + 1, i]
            slope = (after - before) / step
            if release[i] >= begin:
                reference[i] = before + slope * (release[i] - begin)
            change = after - reference[i]
            if change >= thresholds[0, i]:
                level = reference[i] + thresholds[0, i]
            elif change <= -thresholds[1, i]:
                level = reference[i] - thresholds[1, i]
            else:
                continue
            crossing = begin + (level - before) / slope
            time[count], pixel[count], is_on[count] = crossing, i, change > 0
            count += 1
            release[i] = crossing + hold
    return time[:count], pixel[:count], is_on[:count]


def _noise(camera: Saccades, pixels: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = rng.poisson(camera.noise * pixels * camera.duration / 1000.0)
    return rng.uniform(0.0, camera.duration, count), rng.integers(0, pixels, count), rng.random(count) < 0.5


def _merge(
    seen: tuple[np.ndarray, np.ndarray, np.ndarray], noise: tuple[np.ndarray, np.ndarray, np.ndarray], width: int
) -> Events:
    time, pixel, is_on = (np.concatenate(pair) for pair in zip(seen, noise, strict=True))
    t = np.floor(time * 1000.0).astype(np.int64)
    order = np.argsort(t, kind="stable")
    y, x = np.divmod(pixel[order], width)
    return Events(t[order], x.astype(np.int16), y.astype(np.int16), is_on[order])
