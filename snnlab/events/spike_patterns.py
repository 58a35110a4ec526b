"""Simulated spike patterns: classes differ in the order of what their channels do, and not in how often they fire.

Axes: K classes, N channels, S spikes of a channel, D latent coordinates, M motifs. Source: this project's own recipe;
the smooth movement with latent coordinates is in the spirit of the random manifolds of Zenke and Vogels 2021, "The
remarkable robustness of surrogate gradient learning for instilling complex function in spiking neural networks".
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from snnlab.errors import ConfigError
from snnlab.events.recording import Events, SensorSize


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


def simulate(
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
