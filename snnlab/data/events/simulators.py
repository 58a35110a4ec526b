"""Simulated recordings: an event camera in front of a static digit, and spike patterns of a sensor of any size.

Camera: S steps of its path, H rows, W columns. Source: this project's own simulator, fitted to the
statistics of N-MNIST (Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets
using saccades").

Spike patterns: classes differ in the temporal order of their channels' spikes, not in spike counts. K classes,
N channels, S spikes of a channel, D latent coordinates, M motifs. Source: this project's own recipe; the smooth
variation with latent coordinates is in the spirit of the random manifolds of Zenke and Vogels 2021, "The remarkable
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

# Border of the sensor around the image, and margin that the camera sees around the sensor (px).
_BORDER = 3
_MARGIN = 11


@dataclass(frozen=True)
class Saccades:
    """Settings of the simulated camera and its saccades.

    Args:
        amplitude: Size A of the path (px).
        amplitude_spread: A is multiplied by 1 + this times a standard normal number, per recording.
        onsets: Start times of the saccades (ms).
        saccade: Duration of a saccade (ms).
        duration: Duration of a recording (ms).
        step: Sampling interval of the path (ms).
        blur: Standard deviation of the optics' Gaussian (px).
        contrast: C, the ratio of the brightest to the darkest intensity.
        contrast_spread: C is multiplied by exp(this times a standard normal number), per recording.
        threshold: Change of log intensity that makes an event.
        threshold_spread: The threshold is multiplied by exp(this times a standard normal number), per recording.
        threshold_mismatch: Standard deviation of the threshold between pixels and polarities.
        threshold_floor: Smallest threshold.
        hold: Refractory time of a pixel after an event (ms), at least one step.
        noise: Rate of noise events (Hz per pixel), half of them ON.
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
    """Return the `[W, H, P]` of the simulated camera for an image of this size."""
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
    """Simulate the events of a static image during three saccades.

        L = ln(1 + (C - 1) I);  an event wherever |L - L_ref| reaches the pixel's threshold

    A recording depends on its image and its generator alone: `default_rng([seed, index])` makes recording `index` the
    same in any order and in any process.

    Args:
        image: Grey values 0..1.
        rng: Source of all random numbers.
        camera: Settings of the camera; None: the defaults.

    Shape:
        image `[H, W]`; the sensor has two polarities and is three pixels larger on each side: 34 x 34 for the 28 x 28
        of MNIST, to which the camera was fitted.
    """
    if image.ndim != 2 or not image.size:
        raise ValueError(f"the simulator needs images [H, W], not {image.shape}")
    camera = camera or Saccades()
    width, height, _ = sensor_of(*image.shape)
    by_threshold, by_contrast, by_amplitude = rng.standard_normal(3)
    mean = camera.threshold * np.exp(camera.threshold_spread * by_threshold)
    contrast = camera.contrast * np.exp(camera.contrast_spread * by_contrast)
    amplitude = camera.amplitude * (1.0 + camera.amplitude_spread * by_amplitude)
    mismatch = camera.threshold_mismatch * rng.standard_normal((2, height * width))
    thresholds = np.maximum(camera.threshold_floor, mean + mismatch)

    light = _sample(_blur(image, camera.blur), _path(camera, amplitude), height, width)
    # In place: allocating memory of this size costs more than the arithmetic.
    light *= contrast - 1.0
    light += 1.0
    log_light = np.log(light, out=light)
    seen = _crossings(log_light, thresholds, camera.step, camera.hold)
    return _merge(seen, _noise_events(camera, height * width, rng), width)


def _blur(image: np.ndarray, blur: float) -> np.ndarray:
    return ndimage.gaussian_filter(np.pad(image, _BORDER + _MARGIN), blur)


def _path(camera: Saccades, amplitude: float) -> np.ndarray:
    """Return the position of the camera at each step (px, x and y from the centre), `[S + 1, 2]`."""
    half = amplitude / 2
    corners = np.array([(-half, -half), (0.0, half), (half, -half), (-half, -half)])
    time = np.arange(round(camera.duration / camera.step) + 1) * camera.step
    position = np.tile(corners[0], (time.size, 1))
    for k, onset in enumerate(camera.onsets):
        s = np.clip((time - onset) / camera.saccade, 0.0, 1.0)[:, None]
        position += s**3 * (10 - 15 * s + 6 * s**2) * (corners[(k + 1) % 3] - corners[k % 3])
    # The compiled sampling does not check its bounds.
    if np.abs(position).max() >= _MARGIN:
        raise ValueError(f"an amplitude of {amplitude:.1f} px leaves the image's surroundings; at most 20 px")
    return position


@compiled()
def _sample(canvas: np.ndarray, path: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the intensity of each pixel at each step, bilinearly, `[S + 1, H * W]`."""
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

    Between two samples the intensity changes linearly, so threshold crossings and ends of refractory times lie between
    samples. A refractory time of at least one step allows at most one event per pixel and step.
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


def _noise_events(camera: Saccades, pixels: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return time (ms), pixel and polarity of each noise event."""
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
    """Settings of the motifs and of the variation between recordings of one class.

    Args:
        duration: Length of a recording (ms).
        margin: Time without motifs at the start and at the end (ms).
        motifs: Number of motifs of a recording, M; each occurs once.
        gap: Time between two motifs (ms).
        spikes: Number of spikes of each channel over all motifs, S.
        latents: Number of latent coordinates of a recording, D.
        spread: Standard deviation of a spike's time over the latent coordinates (ms).
        jitter: Standard deviation of the independent Gaussian noise of a spike's time (ms).
        warp: Time is stretched or compressed about the middle by up to this fraction, per recording.
        drop: Probability that a spike is missing.
        noise: Rate of noise spikes (Hz per channel).
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
        """Length of a motif and the gap after it, ms."""
        return (self.duration - 2 * self.margin) / self.motifs


class Motifs(NamedTuple):
    """The motif spikes, shared by all classes.

    Args:
        motif: Motif of each spike, 0..M-1.
        time: Time of each spike in its motif (ms).
        phase: Phase of each spike's variation with each latent coordinate, in turns.

    Shape:
        `[N, S]`; phase `[D, N, S]`.
    """

    motif: np.ndarray
    time: np.ndarray
    phase: np.ndarray


def draw_motifs(channels: int, rng: np.random.Generator, recipe: Recipe) -> Motifs:
    """Draw the spikes of the motifs, each at a random time in a random motif.

    Args:
        channels: Number of channels N.
        rng: Source of all random numbers.
        recipe: Settings of the motifs.
    """
    size = (channels, recipe.spikes)
    motif = rng.integers(0, recipe.motifs, size)
    return Motifs(motif, rng.uniform(0.0, recipe.slot - recipe.gap, size), rng.random((recipe.latents, *size)))


def draw_orders(num_classes: int, rng: np.random.Generator, recipe: Recipe) -> np.ndarray:
    """Draw the order of the motifs, a different one for each class.

    Args:
        num_classes: Number of classes K.
        rng: Source of all random numbers.
        recipe: Settings with the number of motifs.

    Shape:
        `[K, M]`, each row a permutation.
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
    """Simulate one recording of the class with this order of motifs.

        s = margin + slot order[motif] + gap / 2 + time + spread sqrt(2 / D) sum_d sin(2 pi (u_d + phase_d)) + jitter n
        t = c + (s - c) (1 + warp w),  c = duration / 2

    with u uniform in 0..1 and w in -1..1, drawn once per recording, and a normal n for each spike. Then spikes are
    dropped and noise is added. Times outside the recording are reflected at its ends, so that the spike count of a
    channel has the same distribution for every class.

    Args:
        motifs: The motif spikes, shared by all classes.
        order: Position of each motif in the recording.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities), W H P = N.
        rng: Source of all random numbers.
        recipe: Settings of the variation.

    Shape:
        order `[M]`.
    """
    times = _vary(motifs, order, rng, recipe)
    channels = times.shape[0]
    kept = rng.random(times.shape) >= recipe.drop
    count = rng.poisson(recipe.noise * channels * recipe.duration / 1000.0)
    t = _to_microseconds(np.concatenate([times[kept], rng.uniform(0.0, recipe.duration, count)]), recipe.duration)
    channel = np.concatenate([np.nonzero(kept)[0], rng.integers(0, channels, count)])
    in_time = np.argsort(t, kind="stable")
    return _events(t[in_time], channel[in_time], sensor_size)


def _vary(motifs: Motifs, order: np.ndarray, rng: np.random.Generator, recipe: Recipe) -> np.ndarray:
    """Return the times of the motif spikes in a recording (ms), `[N, S]`."""
    start = recipe.margin + recipe.slot * order + recipe.gap / 2
    turns = motifs.phase + rng.random((recipe.latents, 1, 1))
    along = math.sqrt(2 / recipe.latents) * np.sin(2 * math.pi * turns).sum(axis=0)
    own = rng.standard_normal(along.shape)
    times = start[motifs.motif] + motifs.time + recipe.spread * along + recipe.jitter * own
    middle = recipe.duration / 2
    return middle + (times - middle) * (1.0 + recipe.warp * rng.uniform(-1.0, 1.0))


def _to_microseconds(time: np.ndarray, duration: float) -> np.ndarray:
    inside = duration - np.abs(duration - np.abs(time))
    return np.clip(np.floor(1000.0 * inside).astype(np.int64), 0, round(1000.0 * duration) - 1)


def _events(t: np.ndarray, channel: np.ndarray, sensor_size: SensorSize) -> Events:
    width, height, polarities = sensor_size
    pixel, p = np.divmod(channel, polarities)
    y, x = (column.astype(np.int16) for column in np.divmod(pixel, width))
    return Events(t, x, y if height > 1 else None, p.astype(bool if polarities <= 2 else np.uint8))
