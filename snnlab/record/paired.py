"""Which of two ways to train answers better, judged on the same test recordings.

Axes: S seeds, N test recordings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from snnlab.seeds import Stream, generator

RESAMPLES = 10_000
LEVEL = 0.95
# Quantiles of the normal distribution: of LEVEL on both sides, and of a power of 80 %.
_Z_LEVEL, _Z_POWER = 1.959964, 0.841621


class Difference(NamedTuple):
    """How much better one arm is than another.

    Attributes:
        effect: Difference of the mean accuracies, -1 to 1.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Two-sided p-value of no difference.
        recordings: How many test recordings would tell a difference of this size with a power of 80 %; infinite where
            no number would: there is no difference, or more seeds are needed.
        seeds: How many seeds would, on these recordings; infinite likewise.
    """

    effect: float
    low: float
    high: float
    p: float
    recordings: float
    seeds: float

    @property
    def told(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def difference(one: np.ndarray, other: np.ndarray, *, paired: bool) -> Difference:
    """Compare two arms by a bootstrap over recordings and seeds.

    Recordings are drawn for both arms together; so are seeds, where both were trained with the same ones. From S seeds
    S - 1 are drawn: with S, the variance of a mean of few would come out too small by (S - 1) / S. A single seed is no
    sample of seeds: the interval then is that of these two networks, not of the two ways to train.

    Args:
        one: What was right, of the first arm.
        other: Of the second.
        paired: Whether the rows of both belong to the same seeds.

    Shape:
        one, other: `[S, N]`; S may differ where they are not paired.

    Raises:
        ValueError: if the numbers of recordings differ, or those of paired seeds.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993; Rao & Wu, J. Am. Stat. Assoc. 83, 1988, for S-1.
    """
    if one.shape[1] != other.shape[1] or (paired and len(one) != len(other)):
        raise ValueError(f"arms of shapes {one.shape} and {other.shape} cannot be compared")
    rng = generator(0, Stream.TEST)
    # Recordings on which all networks agree alike are the same to a bootstrap: there are few kinds of them.
    kinds, many = np.unique(np.concatenate([one, other]), axis=1, return_counts=True)
    drawn = rng.multinomial(one.shape[1], many / one.shape[1], RESAMPLES) / one.shape[1]
    first, second = kinds[: len(one)].astype(np.float64), kinds[len(one) :].astype(np.float64)
    means = [_over_seeds(each @ drawn.T, rng) for each in ((first - second,) if paired else (first, second))]
    samples = means[0] if paired else means[0] - means[1]
    effect = float(one.mean() - other.mean())
    tail = (1 - LEVEL) / 2
    low, high = (float(value) for value in np.quantile(samples, [tail, 1 - tail]))
    below, above = (1 + (samples <= 0).sum()) / (1 + RESAMPLES), (1 + (samples >= 0).sum()) / (1 + RESAMPLES)
    return Difference(effect, low, high, min(1.0, float(2 * min(below, above))), *_needed(one, other, effect, paired))


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Return the exact two-sided p-value that two networks are right equally often.

        p = P(|B - n/2| >= |b - n/2|),   B ~ Binomial(n, 1/2)

    with b recordings that only the first has right, of n that only one of them has.

    Shape:
        one, other: `[N]`.
    """
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    n = only_one + only_other
    return float(binomtest(only_one, n).pvalue) if n else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several, by Holm's method.

    Source: Holm, Scand. J. Statist. 6, 1979.
    """
    adjusted = [0.0] * len(p)
    largest = 0.0
    for rank, place in enumerate(np.argsort(p, kind="stable")):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted


def _over_seeds(by_seed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return means over seeds drawn anew for each resample, `[S, RESAMPLES] -> [RESAMPLES]`."""
    seeds = len(by_seed)
    if seeds == 1:
        return by_seed[0]
    weights = rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), RESAMPLES) / (seeds - 1)
    return (weights.T * by_seed).sum(0)


def _needed(one: np.ndarray, other: np.ndarray, effect: float, paired: bool) -> tuple[float, float]:
    """Return how many recordings, and how many seeds, would tell an effect of this size."""
    arms = (one.astype(np.float64) - other,) if paired else (one.astype(np.float64), other.astype(np.float64))
    of_items = float((one.mean(0) - other.mean(0)).var(ddof=1)) if one.shape[1] > 1 else 0.0
    # Each seed's mean varies with its recordings too; what is left is the seeds' own.
    of_seeds = [max(float(arm.mean(1).var(ddof=1)), 0.0) if len(arm) > 1 else 0.0 for arm in arms]
    own = [variance / len(arm) for variance, arm in zip(of_seeds, arms, strict=True)]
    allowed = (effect / (_Z_LEVEL + _Z_POWER)) ** 2
    recordings = _enough(of_items, allowed - sum(own))
    seeds = _enough(sum(of_seeds), allowed - of_items / one.shape[1])
    return recordings, max(seeds, 2.0) if math.isfinite(seeds) else seeds


def _enough(variance: float, allowed: float) -> float:
    return math.ceil(variance / allowed) if allowed > 0 else math.inf
