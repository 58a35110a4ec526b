"""How often networks are right, and which of two ways of training is right more often: estimates, intervals, tests.

Several networks (seeds) of one way of training answer the same test rows; a row is a recording or a window of one.
Both vary: another seed gives another network, another recording is harder or easier. What is said of a way of training
holds for new seeds and new recordings, so both are random effects, crossed:

    Var(mean) = max(MS_s + MS_i - MS_r, MS_s, MS_i) / (S N)

with the mean squares of seeds, recordings and what is left. Every mean square has its degrees of freedom, and Student's
t has those of Satterthwaite over all three. Rows that resemble each other, such as the windows of a recording or the
recordings of a person, are a cluster, and clusters stand for recordings.
`scripts/calibrate_verdicts.py` simulates how often the tests are wrong.

Axes: S seeds, N rows, G clusters.

Source: Searle, Casella & McCulloch, Variance Components, 1992; Satterthwaite, Biometrics Bulletin 2, 1946.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import bdtr, betaincinv, ndtri, stdtr, stdtrit

LEVEL = 0.05
POWER = 0.8
# Below these a t test of simulated networks was wrong more often than it says, see scripts/calibrate_verdicts.py.
MIN_SEEDS, MIN_CLUSTERS = 4, 6
# How many seeds are looked at before saying that no number of them is enough.
_MAX_SEEDS = 10_000


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class SeedVariance(NamedTuple):
    """What the seeds of one way of training add to the variance of its mean.

    Attributes:
        seeds: S.
        between: MS_s / (S N): variance of the mean over seeds, as the seeds' own means have it.
        rest: MS_r / (S N): what is neither the seed's nor the recording's.
    """

    seeds: int
    between: float
    rest: float

    def of(self, seeds: int) -> SeedVariance:
        """Return what another number of seeds would add."""
        return SeedVariance(seeds, self.between * self.seeds / seeds, self.rest * self.seeds / seeds)


@dataclass(frozen=True)
class Variance:
    """Variance of a mean over seeds and clusters of rows, or of a difference of two.

    Attributes:
        of_seeds: Of each way of training; of one entry where seeds are paired, and of none for a network each.
        of_rows: MS_i / (S N).
        clusters: G.
        effective: As many clusters of equal size have the same weight.
    """

    of_seeds: tuple[SeedVariance, ...]
    of_rows: float
    clusters: int
    effective: float

    @property
    def total(self) -> float:
        """The variance."""
        between, rest = (sum(each) for each in ([s.between for s in self.of_seeds], [s.rest for s in self.of_seeds]))
        return max(between + self.of_rows - rest, between, self.of_rows)

    @property
    def df(self) -> float:
        """Degrees of freedom, by Satterthwaite."""
        parts = [(self.of_rows, self.effective - 1)]
        for one in self.of_seeds:
            parts += [(one.between, one.seeds - 1), (one.rest, (one.seeds - 1) * (self.effective - 1))]
        spread = sum(value**2 / df for value, df in parts if value > 0 and df > 0)
        return self.total**2 / spread if spread > 0 else 1.0

    def with_seeds(self, seeds: int) -> Variance:
        """Return what the variance would be with another number of seeds each, on the same recordings."""
        new = tuple(one.of(seeds) for one in self.of_seeds)
        of_recordings = max(self.of_rows - sum(one.rest for one in self.of_seeds), 0.0)
        return replace(self, of_seeds=new, of_rows=of_recordings + sum(one.rest for one in new))

    def smallest(self, level: float = LEVEL, power: float = POWER) -> float:
        """Return the smallest true difference that a test at `level` tells with a probability of `power`."""
        if self.total <= 0:
            return 0.0
        quantiles = stdtrit(self.df, [1 - level / 2, power])
        return float(quantiles.sum() * math.sqrt(self.total))


@dataclass(frozen=True)
class Difference:
    """How much more often one of two is right.

    Attributes:
        effect: Difference of their mean accuracies, -1 to 1.
        low: Lower end of its 95 % interval; NaN where nothing can be said.
        high: Upper end.
        p: Two-sided p-value of no difference; 1 where nothing can be said.
        of_networks: Whether it is about two networks, and not about two ways of training.
        variance: Of the effect.
        why_not: Why there is no verdict, or None.
    """

    effect: float
    low: float
    high: float
    p: float
    of_networks: bool
    variance: Variance
    why_not: str | None = None

    def smallest(self, level: float = LEVEL) -> float:
        """Return the smallest true difference that these seeds and recordings tell in 80 % of cases."""
        return self.variance.smallest(level)

    def seeds_for(self, effect: float, level: float = LEVEL) -> int | None:
        """Return how many seeds each would tell a true difference in 80 % of cases; None where no number would.

        Args:
            effect: The true difference.
            level: Of the test.
        """
        if self.of_networks or self.variance.with_seeds(_MAX_SEEDS).smallest(level) > effect:
            return None
        low, high = MIN_SEEDS - 1, _MAX_SEEDS  # `high` is enough, `low` is too few or not allowed
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.variance.with_seeds(middle).smallest(level) <= effect else (middle, high)
        return high


def compare(
    one: np.ndarray, other: np.ndarray, clusters: np.ndarray | None = None, *, paired: bool = False
) -> Difference:
    """Compare two ways of training, or two networks where there is one of each.

    Of two networks on independent recordings p is that of McNemar's exact test, and the interval holds that of Clopper
    and Pearson, which is the test's own.

    Args:
        one: Which rows the networks of the first were right on.
        other: The second.
        clusters: Number of the cluster of each row; None where all rows are independent.
        paired: Whether the networks of both with the same place have something in common besides the test rows, such as
            the recordings that they were trained on.

    Shape:
        one, other: `[S, N]`; S may differ where they are not paired. clusters: `[N]`.

    Raises:
        ValueError: if the numbers of rows differ, or those of paired seeds.
    """
    if one.shape[1] != other.shape[1] or (paired and len(one) != len(other)):
        raise ValueError(f"answers of shapes {one.shape} and {other.shape} cannot be compared")
    sizes, totals = _by_cluster(clusters, one, other)
    networks = len(one) == len(other) == 1
    effect = float(one.mean() - other.mean())
    variance = _variance([totals[0] - totals[1]] if paired or networks else list(totals), sizes)
    if effect and variance.total == 0:
        # All clusters agree to the last row, and one more need not: as if one had been the other way round.
        variance = replace(variance, of_rows=(2 * effect / sizes.size) ** 2)
    if (why := _why_not(len(one), len(other), sizes, networks)) is not None:
        return Difference(effect, math.nan, math.nan, 1.0, networks, variance, why)
    if variance.total <= 0:
        return Difference(effect, effect, effect, 1.0, networks, variance)  # the answers are equal
    error, df = math.sqrt(variance.total), variance.df
    half = float(stdtrit(df, 1 - LEVEL / 2)) * error
    low, high, p = effect - half, effect + half, 2 * float(stdtr(df, -abs(effect) / error))
    if networks and (sizes == 1).all():
        exact, p = _exact(one[0], other[0]), mcnemar(one[0], other[0])
        low, high = min(low, exact.low), max(high, exact.high)
    return Difference(effect, max(low, -1.0), min(high, 1.0), p, networks, variance)


def accuracy_interval(right: np.ndarray, clusters: np.ndarray | None = None) -> Interval | None:
    """Return the 95 % interval of the accuracy of a network, or of a way of training.

    It is Wilson's, with Student's t and the number of independent recordings that would have the same variance; of one
    network on independent recordings that is Wilson's own.

    Args:
        right: Which rows the networks were right on.
        clusters: Number of the cluster of each row; None where all rows are independent.

    Shape:
        right: `[S, N]`; clusters: `[N]`.

    Returns:
        None where there are too few clusters to say.
    """
    sizes, (totals,) = _by_cluster(clusters, right)
    if len(right) == 1 and (sizes == 1).all():
        return wilson(int(right.sum()), right.size)
    if sizes.size < MIN_CLUSTERS:
        return None
    accuracy, variance = float(right.mean()), _variance([totals], sizes)
    df = variance.df if variance.total > 0 else sizes.size - 1
    return _score(accuracy, _independent(accuracy, variance), float(stdtrit(df, 1 - LEVEL / 2)))


def independent_recordings(right: np.ndarray, clusters: np.ndarray) -> float:
    """Return how many independent recordings would tell as much of a network's accuracy as the rows of clusters do.

    Args:
        right: Which rows the network was right on.
        clusters: Number of the cluster of each row.

    Shape:
        right, clusters: `[N]`.
    """
    sizes, (totals,) = _by_cluster(clusters, right[None])
    return float(right.size) if (sizes == 1).all() else _independent(float(right.mean()), _variance([totals], sizes))


def wilson(right: int, number: int) -> Interval:
    """Return Wilson's 95 % interval of the accuracy of one network on independent recordings.

    Args:
        right: How many recordings it has right.
        number: Of how many.

    Source: Wilson, J. Am. Stat. Assoc. 22, 1927.
    """
    return _score(right / number, number, float(ndtri(1 - LEVEL / 2)))


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Return the exact two-sided p-value that two networks are right equally often, on independent recordings.

        p = P(|B - n/2| >= |b - n/2|),   B ~ Binomial(n, 1/2)

    with b recordings that only the first has right, of n that only one of them has.

    Shape:
        one, other: `[N]`.
    """
    only_one, only_other = _discordant(one, other)
    n = only_one + only_other
    return min(1.0, 2 * float(bdtr(min(only_one, only_other), n, 0.5)))


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


def look_factor(looks: int) -> int:
    """Return by what the p-value of a result is multiplied that was looked at before, with fewer seeds.

        k^2 at the k-th look

    Who looks, adds seeds and looks again has several chances to find a difference that is none.

    Args:
        looks: How often it was looked at, with this time.
    """
    return looks**2


def _by_cluster(clusters: np.ndarray | None, *answers: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the size of each cluster, `[G]`, and how many of its rows each network has right, `[S, G]`."""
    if clusters is None:
        return np.ones(answers[0].shape[1]), [each.astype(np.float64) for each in answers]
    _, number = np.unique(clusters, return_inverse=True)
    order = np.argsort(number, kind="stable")
    sizes = np.bincount(number)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    totals = [np.add.reduceat(each[:, order].astype(np.float64), starts, axis=1) for each in answers]
    return sizes.astype(np.float64), totals


def _independent(accuracy: float, variance: Variance) -> float:
    """Return of how many independent recordings the variance would be that of an accuracy, one a cluster at most."""
    if variance.total <= 0:
        return variance.clusters
    return min(accuracy * (1 - accuracy) / variance.total, variance.clusters)


def _variance(totals: Sequence[np.ndarray], sizes: np.ndarray) -> Variance:
    """Return the variance of the mean of one array of totals, or of the difference of the means of two.

    Each cluster's deviation is what leaving it out would change of the mean (the jackknife), so that clusters may be of
    unequal sizes.
    """
    number, clusters = sizes.sum(), sizes.size
    effective = float(number**2 / (sizes**2).sum())
    if clusters == 1:
        return Variance((), math.inf, 1, 1.0)
    weight = (clusters - 1) / (number - sizes)
    of_seeds, mean = [], np.zeros(clusters)
    for sign, of_arm in zip((1, -1), totals, strict=False):
        means = of_arm.sum(1) / number
        deviations = (of_arm - sizes * means[:, None]) * weight
        over_seeds = deviations.mean(0)
        mean += sign * over_seeds
        if (seeds := len(of_arm)) > 1:
            rest = ((deviations - over_seeds) ** 2).sum() / (seeds * clusters * (seeds - 1) * (clusters - 1))
            of_seeds.append(SeedVariance(seeds, float(means.var(ddof=1)) / seeds, float(rest)))
    of_rows = float((mean**2).sum()) / (clusters * (clusters - 1))
    return Variance(tuple(of_seeds), of_rows, clusters, effective)


def _why_not(one: int, other: int, sizes: np.ndarray, networks: bool) -> str | None:
    if not networks and min(one, other) < MIN_SEEDS:
        seeds = f"{one} seed{'s' if one > 1 else ''}" if one == other else f"{one} and {other} seeds"
        return f"{seeds}, and it takes {MIN_SEEDS} each"
    if sizes.size < MIN_CLUSTERS:
        return f"test recordings of {sizes.size} independent groups, and it takes {MIN_CLUSTERS}"
    return None


def _discordant(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    return int((one & ~other).sum()), int((other & ~one).sum())


def _exact(one: np.ndarray, other: np.ndarray) -> Interval:
    """Return the interval that goes with McNemar's test: Clopper and Pearson's, given how many recordings differ."""
    only_one, only_other = _discordant(one, other)
    n, tail = only_one + only_other, LEVEL / 2
    low = float(betaincinv(only_one, only_other + 1, tail)) if only_one else 0.0
    high = float(betaincinv(only_one + 1, only_other, 1 - tail)) if only_other else 1.0
    part = n / one.size
    return Interval(part * (2 * low - 1), part * (2 * high - 1))


def _score(accuracy: float, number: float, quantile: float) -> Interval:
    """Return the interval of all p with (accuracy - p)^2 <= quantile^2 p (1 - p) / number."""
    ratio = quantile**2 / number
    centre = (accuracy + ratio / 2) / (1 + ratio)
    half = math.sqrt(ratio * accuracy * (1 - accuracy) + ratio**2 / 4) / (1 + ratio)
    return Interval(max(centre - half, 0.0), min(centre + half, 1.0))


# Below so many validation recordings the search says how uncertain its figures are.
FEW = 500


def uncertainty(size: int, accuracy: float = 0.9) -> str | None:
    """Return a warning for a small validation set, else None.

    Args:
        size: Number of recordings.
        accuracy: For which the uncertainty is said.
    """
    if size >= FEW:
        return None
    low, high = wilson(round(accuracy * size), max(size, 1))
    return (
        f"validation is {size} recordings: an accuracy of {accuracy:.0%} on them may be {low:.0%} to {high:.0%} on"
        " others (95 % interval), and the best of many trials is lucky by more; data.val_fraction makes it larger"
    )
