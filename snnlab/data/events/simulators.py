"""Simulated recordings: a camera that looks at a still digit, and spike patterns of a sensor of any size.

The camera: S steps of its path, H rows, W columns. Source: the simulator's recipe of this project, fitted to the
statistics of N-MNIST (Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets
using saccades").

Spike patterns: classes differ in the order of what their channels do, and not in how often they fire. K classes,
N channels, S spikes of a channel, D latent coordinates, M motifs. Source: this project's own recipe; the smooth
movement with latent coordinates is in the spirit of the random manifolds of Zenke and Vogels 2021, "The remarkable
robustness of surrogate gradient learning for instilling complex function in spiking neural networks".
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from snnlab.compiled import compiled
from snnlab.data.events.recording import Events, SensorSize
from snnlab.errors import ConfigError

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


def simulate_saccades(image: np.ndarray, rng: np.random.Generator, camera: Saccades | None = None) -> Events:
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


@dataclass(frozen=True)
class Recipe:
    """What the motifs are like, and how recordings of the same class differ.

    Args:
        duration: Length of a recording (ms).
        margin: No motif is in the first and the last so many ms.
        motifs: Motifs of a recording, M; each comes once.
        gap: Silence between two motifs (ms).
        spikes: Spikes of each channel, over all motifs, S.
        latents: Latent coordinates of a recording, D.
        spread: Standard deviation of a spike's movement with the latent coordinates (ms).
        jitter: Standard deviation of a spike's own, Gaussian movement (ms).
        warp: Time runs up to this part slower or faster, from the middle on, per recording.
        drop: Probability that a spike is missing.
        noise: Spikes without a cause (Hz a channel).
    """

    duration: float = 1000.0
    margin: float = 100.0
    motifs: int = 5
    gap: float = 50.0
    spikes: int = 2
    latents: int = 2
    spread: float = 8.0
    jitter: float = 4.0
    warp: float = 0.1
    drop: float = 0.2
    noise: float = 0.5

    @property
    def slot(self) -> float:
        """Length of a motif and the gap behind it, ms."""
        return (self.duration - 2 * self.margin) / self.motifs


class Motifs(NamedTuple):
    """The spikes that all classes have in common.

    Args:
        motif: To which motif each belongs, 0..M-1.
        time: When it comes in its motif (ms).
        phase: How it moves with each latent coordinate, in turns.

    Shape:
        `[N, S]`; phase `[D, N, S]`.
    """

    motif: np.ndarray
    time: np.ndarray
    phase: np.ndarray


def draw_motifs(channels: int, rng: np.random.Generator, recipe: Recipe) -> Motifs:
    """Draw the spikes of the motifs, each anywhere in any motif.

    Args:
        channels: Number of channels N.
        rng: All chance comes from here.
        recipe: What motifs are like.
    """
    size = (channels, recipe.spikes)
    motif = rng.integers(0, recipe.motifs, size)
    return Motifs(motif, rng.uniform(0.0, recipe.slot - recipe.gap, size), rng.random((recipe.latents, *size)))


def draw_orders(num_classes: int, rng: np.random.Generator, recipe: Recipe) -> np.ndarray:
    """Draw in which place of the recording each motif comes, differently for each class.

    Args:
        num_classes: Number of classes K.
        rng: All chance comes from here.
        recipe: How many motifs there are.

    Shape:
        `[K, M]`, each row a permutation.

    Raises:
        ConfigError: If there are fewer orders than classes.
    """
    orders = np.array(list(itertools.permutations(range(recipe.motifs))))
    if num_classes > len(orders):
        raise ConfigError(
            "num_classes", f"is at most {len(orders)}, the orders of {recipe.motifs} motifs, got {num_classes}"
        )
    return rng.permutation(orders)[:num_classes]


def simulate_spike_patterns(
    motifs: Motifs, order: np.ndarray, sensor_size: SensorSize, rng: np.random.Generator, recipe: Recipe
) -> Events:
    """Return one recording of the class that has this order.

        s = margin + slot order[motif] + gap / 2 + time + spread sqrt(2 / D) sum_d sin(2 pi (u_d + phase_d)) + jitter n
        t = c + (s - c) (1 + warp w),  c = duration / 2

    with u uniform in 0..1 and w in -1..1, drawn once a recording, and a normal n for each spike. Then spikes are
    dropped and noise is added. What leaves the recording is reflected at its ends, so that the number of spikes of a
    channel has the same distribution for every class.

    Args:
        motifs: The spikes that all classes have in common.
        order: In which place each motif comes.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities), W H P = N.
        rng: All chance comes from here.
        recipe: How recordings differ.

    Shape:
        order `[M]`.
    """
    times = _varied(motifs, order, rng, recipe)
    channels = times.shape[0]
    kept = rng.random(times.shape) >= recipe.drop
    count = rng.poisson(recipe.noise * channels * recipe.duration / 1000.0)
    t = _microseconds(np.concatenate([times[kept], rng.uniform(0.0, recipe.duration, count)]), recipe.duration)
    channel = np.concatenate([np.nonzero(kept)[0], rng.integers(0, channels, count)])
    in_time = np.argsort(t, kind="stable")
    return _events(t[in_time], channel[in_time], sensor_size)


def _varied(motifs: Motifs, order: np.ndarray, rng: np.random.Generator, recipe: Recipe) -> np.ndarray:
    """Return when the motifs' spikes come in a recording (ms), `[N, S]`."""
    start = recipe.margin + recipe.slot * order + recipe.gap / 2
    turns = motifs.phase + rng.random((recipe.latents, 1, 1))
    along = math.sqrt(2 / recipe.latents) * np.sin(2 * math.pi * turns).sum(axis=0)
    own = rng.standard_normal(along.shape)
    times = start[motifs.motif] + motifs.time + recipe.spread * along + recipe.jitter * own
    middle = recipe.duration / 2
    return middle + (times - middle) * (1.0 + recipe.warp * rng.uniform(-1.0, 1.0))


def _microseconds(time: np.ndarray, duration: float) -> np.ndarray:
    inside = duration - np.abs(duration - np.abs(time))
    return np.clip(np.floor(1000.0 * inside).astype(np.int64), 0, round(1000.0 * duration) - 1)


def _events(t: np.ndarray, channel: np.ndarray, sensor_size: SensorSize) -> Events:
    width, height, polarities = sensor_size
    pixel, p = np.divmod(channel, polarities)
    y, x = (column.astype(np.int16) for column in np.divmod(pixel, width))
    return Events(t, x, y if height > 1 else None, p.astype(bool if polarities <= 2 else np.uint8))
