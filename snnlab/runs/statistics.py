"""Statistics of accuracies: estimates, intervals and tests for networks and for methods of training.

Several networks (seeds) of one method answer the same test rows; a row is a recording or a window of one. Both vary:
another seed gives another network, another recording is harder or easier. A statement about a method must hold for new
seeds and new recordings, so both are random effects, crossed:

    Var(mean) = max(MS_s + MS_i - MS_r, MS_s, MS_i) / (S N)

with the mean squares of seeds, of recordings and of the residual. Every mean square has its degrees of freedom, and
Student's t has those of Satterthwaite over all three. Similar rows, such as the windows of a recording or the
recordings of a person, are a cluster, and clusters take the place of recordings.
`scripts/calibrate_verdicts.py` simulates the error rates of the tests.

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
# Seeds that train alike lie closer together, in order of accuracy: `scripts/calibrate_verdicts.py --cells seeds`.
UNEVEN_GAP = 0.1
# Below these a t test of simulated networks exceeds its nominal error rate (scripts/calibrate_verdicts.py).
MIN_SEEDS, MIN_CLUSTERS = 4, 6
# The largest number of seeds that is tried; if it is not enough, no number is.
_MAX_SEEDS = 10_000


class ConfidenceInterval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class SeedVariance(NamedTuple):
    """The part of the variance of a method's mean that comes from its seeds.

    Attributes:
        seeds: S.
        between: MS_s / (S N): variance of the mean over seeds, estimated from the means of the seeds.
        rest: MS_r / (S N): the residual, neither from the seed nor from the recording.
    """

    seeds: int
    between: float
    rest: float

    def of(self, seeds: int) -> SeedVariance:
        """Return this part for another number of seeds."""
        return SeedVariance(seeds, self.between * self.seeds / seeds, self.rest * self.seeds / seeds)


@dataclass(frozen=True)
class Variance:
    """Variance of a mean over seeds and clusters of rows, or of a difference of two.

    Attributes:
        of_seeds: One entry for each method; one entry for paired seeds, none for single networks.
        of_rows: MS_i / (S N).
        clusters: G.
        effective: Effective number of clusters: that of clusters of equal size with the same weight.
    """

    of_seeds: tuple[SeedVariance, ...]
    of_rows: float
    clusters: int
    effective: float

    @property
    def total(self) -> float:
        """The total variance."""
        between, rest = (sum(each) for each in ([s.between for s in self.of_seeds], [s.rest for s in self.of_seeds]))
        return max(between + self.of_rows - rest, between, self.of_rows)

    @property
    def df(self) -> float:
        """Degrees of freedom, by Satterthwaite."""
        parts = [(self.of_rows, self.effective - 1)]
        for one in self.of_seeds:
            parts += [(one.between, one.seeds - 1), (one.rest, (one.seeds - 1) * (self.effective - 1))]
        denominator = sum(value**2 / df for value, df in parts if value > 0 and df > 0)
        return self.total**2 / denominator if denominator > 0 else 1.0

    def with_seeds(self, seeds: int) -> Variance:
        """Return the variance for another number of seeds per method, on the same recordings."""
        new = tuple(one.of(seeds) for one in self.of_seeds)
        of_recordings = max(self.of_rows - sum(one.rest for one in self.of_seeds), 0.0)
        return replace(self, of_seeds=new, of_rows=of_recordings + sum(one.rest for one in new))

    def smallest_detectable(self, level: float = LEVEL, power: float = POWER) -> float:
        """Return the smallest true difference that a test at `level` detects with probability `power`."""
        if self.total <= 0:
            return 0.0
        quantiles = stdtrit(self.df, [1 - level / 2, power])
        return float(quantiles.sum() * math.sqrt(self.total))


@dataclass(frozen=True)
class Difference:
    """The difference of the accuracies of two methods, or of two networks.

    Attributes:
        effect: Difference of their mean accuracies, -1 to 1.
        low: Lower end of its 95 % interval; NaN without a verdict.
        high: Upper end.
        p: Two-sided p-value of no difference; 1 without a verdict.
        between_networks: True for two networks, False for two methods.
        variance: Variance of the effect.
        no_verdict_reason: Reason for no verdict, or None.
    """

    effect: float
    low: float
    high: float
    p: float
    between_networks: bool
    variance: Variance
    no_verdict_reason: str | None = None

    def smallest_detectable(self, level: float = LEVEL) -> float:
        """Return the smallest true difference that these seeds and recordings detect in 80 % of cases."""
        return self.variance.smallest_detectable(level)

    def seeds_needed(self, effect: float, level: float = LEVEL) -> int | None:
        """Return the number of seeds per method that detects a true difference in 80 % of cases, or None if none does.

        Args:
            effect: The true difference.
            level: Level of the test.
        """
        if self.between_networks or self.variance.with_seeds(_MAX_SEEDS).smallest_detectable(level) > effect:
            return None
        low, high = MIN_SEEDS - 1, _MAX_SEEDS  # `high` is enough, `low` is too few or not allowed
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (low, middle)
                if self.variance.with_seeds(middle).smallest_detectable(level) <= effect
                else (middle, high)
            )
        return high


def compare_methods(
    one: np.ndarray, other: np.ndarray, clusters: np.ndarray | None = None, *, paired: bool = False
) -> Difference:
    """Compare two methods, or two networks if there is one of each.

    For two networks on independent recordings p is that of McNemar's exact test, and the interval contains the matching
    interval of Clopper and Pearson.

    Args:
        one: True for the rows that the networks of the first method answer correctly.
        other: The same for the second method.
        clusters: Number of the cluster of each row; None if all rows are independent.
        paired: Whether the networks of both at the same index have more in common than the test rows, such as the
            recordings on which they were trained.

    Shape:
        one, other: `[S, N]`; S may differ if they are not paired. clusters: `[N]`.
    """
    if one.shape[1] != other.shape[1] or (paired and len(one) != len(other)):
        raise ValueError(f"answers of shapes {one.shape} and {other.shape} cannot be compared")
    sizes, totals = _by_cluster(clusters, one, other)
    networks = len(one) == len(other) == 1
    effect = float(one.mean() - other.mean())
    variance = _variance([totals[0] - totals[1]] if paired or networks else list(totals), sizes)
    if effect and variance.total == 0:
        # All clusters agree, but another one may not: the variance as if one cluster disagreed.
        variance = replace(variance, of_rows=(2 * effect / sizes.size) ** 2)
    if (why := _no_verdict_reason(len(one), len(other), sizes, networks)) is not None:
        return Difference(effect, math.nan, math.nan, 1.0, networks, variance, why)
    if variance.total <= 0:
        return Difference(effect, effect, effect, 1.0, networks, variance)  # the answers are equal
    error, df = math.sqrt(variance.total), variance.df
    half = float(stdtrit(df, 1 - LEVEL / 2)) * error
    low, high, p = effect - half, effect + half, 2 * float(stdtr(df, -abs(effect) / error))
    if networks and (sizes == 1).all():
        exact, p = _exact_interval(one[0], other[0]), mcnemar(one[0], other[0])
        low, high = min(low, exact.low), max(high, exact.high)
    return Difference(effect, max(low, -1.0), min(high, 1.0), p, networks, variance)


def accuracy_interval(right: np.ndarray, clusters: np.ndarray | None = None) -> ConfidenceInterval | None:
    """Return the 95 % interval of the accuracy of a network, or of a method.

    It is Wilson's, with Student's t and the number of independent recordings that would have the same variance; for one
    network on independent recordings it is exactly Wilson's.

    Args:
        right: True for the rows that the networks answer correctly.
        clusters: Number of the cluster of each row; None if all rows are independent.

    Shape:
        right: `[S, N]`; clusters: `[N]`.

    Returns:
        None if there are too few clusters.
    """
    sizes, (totals,) = _by_cluster(clusters, right)
    if len(right) == 1 and (sizes == 1).all():
        return wilson(int(right.sum()), right.size)
    if sizes.size < MIN_CLUSTERS:
        return None
    accuracy, variance = float(right.mean()), _variance([totals], sizes)
    df = variance.df if variance.total > 0 else sizes.size - 1
    return _score_interval(accuracy, _effective_recordings(accuracy, variance), float(stdtrit(df, 1 - LEVEL / 2)))


def mean_interval(values: np.ndarray, clusters: np.ndarray | None = None) -> ConfidenceInterval | None:
    """Return the 95 % interval of the mean of values in 0..1, for new repetitions and new recordings.

        mean +- t sqrt(Var(mean))

    Args:
        values: A value of each recording in each repetition.
        clusters: Number of the cluster of each recording; None if all are independent.

    Shape:
        values: `[R, N]`; clusters: `[N]`.

    Returns:
        None if there are too few clusters.
    """
    sizes, (totals,) = _by_cluster(clusters, values)
    if sizes.size < MIN_CLUSTERS:
        return None
    mean, variance = float(values.mean()), _variance([totals], sizes)
    if variance.total <= 0:
        return ConfidenceInterval(mean, mean)
    half = float(stdtrit(variance.df, 1 - LEVEL / 2)) * math.sqrt(variance.total)
    return ConfidenceInterval(max(mean - half, 0.0), min(mean + half, 1.0))


def uneven(accuracies: Sequence[float]) -> bool:
    """Return whether the seeds of a method are uneven: some train, and others fail or stop early.

        max of a(k + 1) - a(k) > 0.1

    with the accuracies a in order. Student's t takes seeds as normal: for such seeds an interval of the mean says
    nothing, and the median and the range of the seeds describe them.

    Args:
        accuracies: Accuracy of each seed, 0 to 1.
    """
    # Rounding: 0.8 - 0.7 is above 0.1.
    return len(accuracies) > 1 and float(np.diff(np.sort(accuracies)).max()) > UNEVEN_GAP + 1e-9


def independent_recordings(right: np.ndarray, clusters: np.ndarray) -> float:
    """Return the number of independent recordings with the same information about a network's accuracy as these rows.

    Args:
        right: True for the rows that the network answers correctly.
        clusters: Number of the cluster of each row.

    Shape:
        right, clusters: `[N]`.
    """
    sizes, (totals,) = _by_cluster(clusters, right[None])
    return (
        float(right.size)
        if (sizes == 1).all()
        else _effective_recordings(float(right.mean()), _variance([totals], sizes))
    )


def wilson(right: int, number: int) -> ConfidenceInterval:
    """Return Wilson's 95 % interval of the accuracy of one network on independent recordings.

    Args:
        right: Number of correct recordings.
        number: Number of all recordings.

    Source: Wilson, J. Am. Stat. Assoc. 22, 1927.
    """
    return _score_interval(right / number, number, float(ndtri(1 - LEVEL / 2)))


def confusion(targets: np.ndarray, answers: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the confusion matrix.

    Args:
        targets: Class of each recording.
        answers: Answered class of each recording.
        num_classes: K.

    Shape:
        targets, answers: `[N]`; returns `[K, K]`: class, answer.
    """
    return np.bincount(targets * num_classes + answers, minlength=num_classes**2).reshape(num_classes, num_classes)


def balanced_accuracy(counts: np.ndarray) -> float:
    """Return the mean accuracy of the classes that there are, each counted alike.

    Args:
        counts: A confusion matrix.

    Shape:
        counts: `[K, K]`: class, answer.
    """
    there = counts.sum(1) > 0
    return float((counts.diagonal()[there] / counts[there].sum(1)).mean())


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Return McNemar's exact two-sided p-value for equal accuracies of two networks on independent recordings.

        p = P(|B - n/2| >= |b - n/2|),   B ~ Binomial(n, 1/2)

    with n recordings that only one network answers correctly, b of them only the first.

    Shape:
        one, other: `[N]`.
    """
    only_one, only_other = _count_discordant(one, other)
    n = only_one + only_other
    return min(1.0, 2 * float(bdtr(min(only_one, only_other), n, 0.5)))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for multiple tests by Holm's method.

    Source: Holm, Scand. J. Statist. 6, 1979.
    """
    adjusted = [0.0] * len(p)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


class Agreement(NamedTuple):
    """Whether two means agree: their difference, its 90 % interval, and the margin that it must lie within."""

    effect: float
    low: float
    high: float
    margin: float

    @property
    def shown(self) -> bool:
        """True if two one-sided tests at 5 % each refuse a difference of the margin or more, in either direction."""
        return -self.margin < self.low and self.high < self.margin


def agreement(one: Sequence[float], other: Sequence[float], margin: float) -> Agreement:
    """Test whether the means of two samples agree within a margin, by Welch's t.

        mean(one) - mean(other) +- t(df) sqrt(s^2 / n + s'^2 / n'),   with the 95 % point of Student's t

    Args:
        one: Values of the first sample, two or more.
        other: Values of the second one, two or more.
        margin: The difference that would matter.

    Source: Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987; Welch, Biometrika 34, 1947.
    """
    effect, parts = (
        float(np.mean(one) - np.mean(other)),
        [(np.var(each, ddof=1) / len(each), len(each) - 1) for each in (one, other)],
    )
    total = float(sum(part for part, _ in parts))
    df = total**2 / sum(part**2 / own for part, own in parts) if total > 0 else 1.0
    half = float(stdtrit(df, 1 - LEVEL)) * math.sqrt(total)
    return Agreement(effect, effect - half, effect + half, margin)


def inspection_factor(looks: int) -> int:
    """Return the factor for the p-value of a result that was inspected before, with fewer seeds.

        k^2 at the k-th inspection

    A user who inspects a result, adds seeds and inspects it again has several chances of a false difference.

    Args:
        looks: Number of inspections, including this one.
    """
    return looks**2


def _by_cluster(clusters: np.ndarray | None, *answers: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the size of each cluster, `[G]`, and the number of its rows that each network has right, `[S, G]`."""
    if clusters is None:
        return np.ones(answers[0].shape[1]), [each.astype(np.float64) for each in answers]
    _, number = np.unique(clusters, return_inverse=True)
    order = np.argsort(number, kind="stable")
    sizes = np.bincount(number)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    totals = [np.add.reduceat(each[:, order].astype(np.float64), starts, axis=1) for each in answers]
    return sizes.astype(np.float64), totals


def _effective_recordings(accuracy: float, variance: Variance) -> float:
    """Return the number of independent recordings with this variance of the accuracy, at most one per cluster."""
    if variance.total <= 0:
        return variance.clusters
    return min(accuracy * (1 - accuracy) / variance.total, variance.clusters)


def _variance(totals: Sequence[np.ndarray], sizes: np.ndarray) -> Variance:
    """Return the variance of the mean of one array of totals, or of the difference of the means of two.

    The deviation of a cluster is the change of the mean without it (the jackknife), so that clusters may have unequal
    sizes.
    """
    number, clusters = sizes.sum(), sizes.size
    effective = float(number**2 / (sizes**2).sum())
    if clusters == 1:
        return Variance((), math.inf, 1, 1.0)
    weight = (clusters - 1) / (number - sizes)
    of_seeds, mean = [], np.zeros(clusters)
    for sign, of_method in zip((1, -1), totals, strict=False):
        means = of_method.sum(1) / number
        deviations = (of_method - sizes * means[:, None]) * weight
        over_seeds = deviations.mean(0)
        mean += sign * over_seeds
        if (seeds := len(of_method)) > 1:
            rest = ((deviations - over_seeds) ** 2).sum() / (seeds * clusters * (seeds - 1) * (clusters - 1))
            of_seeds.append(SeedVariance(seeds, float(means.var(ddof=1)) / seeds, float(rest)))
    of_rows = float((mean**2).sum()) / (clusters * (clusters - 1))
    return Variance(tuple(of_seeds), of_rows, clusters, effective)


def _no_verdict_reason(one: int, other: int, sizes: np.ndarray, networks: bool) -> str | None:
    if not networks and min(one, other) < MIN_SEEDS:
        seeds = f"{one} seed{'s' if one > 1 else ''}" if one == other else f"{one} and {other} seeds"
        return f"{seeds}, but {MIN_SEEDS} each are needed"
    if sizes.size < MIN_CLUSTERS:
        return f"test recordings of {sizes.size} independent groups, but {MIN_CLUSTERS} are needed"
    return None


def _count_discordant(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Return how many recordings only the one, and only the other, has right."""
    return int((one & ~other).sum()), int((other & ~one).sum())


def _exact_interval(one: np.ndarray, other: np.ndarray) -> ConfidenceInterval:
    """Return Clopper and Pearson's interval, which matches McNemar's test, given the number of differing recordings."""
    only_one, only_other = _count_discordant(one, other)
    n, tail = only_one + only_other, LEVEL / 2
    low = float(betaincinv(only_one, only_other + 1, tail)) if only_one else 0.0
    high = float(betaincinv(only_one + 1, only_other, 1 - tail)) if only_other else 1.0
    part = n / one.size
    return ConfidenceInterval(part * (2 * low - 1), part * (2 * high - 1))


def _score_interval(accuracy: float, number: float, quantile: float) -> ConfidenceInterval:
    """Return the interval of all p with (accuracy - p)^2 <= quantile^2 p (1 - p) / number."""
    ratio = quantile**2 / number
    centre = (accuracy + ratio / 2) / (1 + ratio)
    half = math.sqrt(ratio * accuracy * (1 - accuracy) + ratio**2 / 4) / (1 + ratio)
    return ConfidenceInterval(max(centre - half, 0.0), min(centre + half, 1.0))


# Below this number of validation recordings the search warns about the uncertainty of its metrics.
SMALL_VALIDATION = 500


def small_validation_warning(size: int, accuracy: float = 0.9) -> str | None:
    """Return a warning for a small validation set, else None.

    Args:
        size: Number of recordings.
        accuracy: The accuracy for which the interval is given.
    """
    if size >= SMALL_VALIDATION:
        return None
    low, high = wilson(round(accuracy * size), max(size, 1))
    return (
        f"validation is {size} recordings: an accuracy of {accuracy:.0%} on them may be {low:.0%} to {high:.0%} on"
        " others (95 % interval), and the best of many trials is overestimated even more; data.val_fraction enlarges it"
    )


class SeedSummary(NamedTuple):
    """Mean and spread over seeds.

    Attributes:
        n: Number of values.
        sd: Standard deviation, with n - 1; None for one value.
        low: Lower end of the mean's 95 % interval; None for one value.
        high: Upper end of the interval.
        each: The values.
    """

    n: int
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    each: tuple[float, ...] = ()
