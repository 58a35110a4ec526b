"""What can be said of several ways of training: for each two of them which is better, or that nobody can tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from snnlab.console import say
from snnlab.record.arms import Arm
from snnlab.record.statistics import LEVEL, Difference, accuracy_interval, compare, holm, look_factor, mcnemar
from snnlab.record.tables import Table

# The difference for which every undecided comparison says how many seeds would tell it.
POINTS = 3
Looks = Callable[[Arm, Arm], int]


@dataclass(frozen=True)
class Verdict:
    """What can be said of two ways of training, or of two networks where there is one of each.

    Attributes:
        difference: How much better the first is.
        p: The p-value, adjusted for all comparisons on these recordings and for earlier looks.
        comparisons: How many comparisons there are on these recordings.
        looks: How often it was looked at, with this time: each time with more seeds.
    """

    one: Arm
    other: Arm
    difference: Difference
    p: float
    comparisons: int = 1
    looks: int = 1

    @property
    def significant(self) -> bool:
        """Whether one of them is better."""
        return self.difference.why_not is None and self.p < LEVEL

    @property
    def sentence(self) -> str:
        """What is to be said."""
        found = self.difference
        effect = f"{100 * found.effect:+.1f} points"
        if found.why_not is not None:
            return f"{self.one.name} against {self.other.name}: no verdict ({effect}): {found.why_not}"
        looks = f", looked at {self.looks} times" if self.looks > 1 else ""
        span = f"{effect}, 95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f}, p {self.p:.2g}{looks}"
        if not self.significant:
            return f"{self.one.name} against {self.other.name}: cannot tell ({span}); {self._could_tell()}"
        better, worse = (self.one, self.other) if found.effect > 0 else (self.other, self.one)
        if found.of_networks:
            networks = [f"the network of {arm.name} with seed {arm.seeds[0]}" for arm in (better, worse)]
            return f"{' is better than '.join(networks)}: {span}"
        return f"{better.name} is better than {worse.name}: {span}"

    def _could_tell(self) -> str:
        """Return what a comparison with these seeds and recordings tells, and what a difference of 3 points needs."""
        found, level = self.difference, LEVEL / (self.comparisons * look_factor(self.looks))
        seeds = "" if found.of_networks else f"{_seeds(self.one, self.other)} and "
        said = f"{seeds}{self.one.rows} tell {100 * found.smallest(level):.1f} points in 80 % of cases"
        if found.of_networks:
            return said
        needed = found.seeds_for(POINTS / 100, level)
        if needed is None:
            return f"{said}; {POINTS} points need more recordings, whatever the seeds"
        return f"{said}; {POINTS} points need {needed} seeds each"


def verdicts(
    arms: Sequence[Arm], comparable: Callable[[Arm, Arm], bool] | None = None, looks: Looks | None = None
) -> list[Verdict]:
    """Compare each two ways of training; p is adjusted for all these comparisons by Holm's method.

    Whoever shows some of them only, because of what came out, has looked at all.

    Args:
        comparable: Whether two of them were tested on the same recordings; None: all were.
        looks: How often two of them were looked at, with this time; None: once.
    """
    pairs = [(a, b) for a, b in combinations(arms, 2) if comparable is None or comparable(a, b)]
    found = [compare(a.right, b.right, a.clusters, paired=follow_the_seed(a, b)) for a, b in pairs]
    judged = [place for place, each in enumerate(found) if each.why_not is None]
    times = [1 if looks is None else looks(a, b) for a, b in pairs]
    factored = holm([min(1.0, found[at].p * look_factor(times[at])) for at in judged])
    adjusted = dict(zip(judged, factored, strict=True))
    return [
        Verdict(a, b, each, adjusted.get(place, 1.0), len(judged) or 1, times[place])
        for place, ((a, b), each) in enumerate(zip(pairs, found, strict=True))
    ]


def follow_the_seed(one: Arm, other: Arm) -> bool:
    """Return whether networks of the same seed have their training recordings in common, and those of others not.

    Then what the split does to both is no part of their difference. Where all seeds have the same split, networks of
    the same seed have no more in common than others.
    """
    return one.seeds == other.seeds and one.splits == other.splits and len(set(one.splits)) > 1


def _seeds(one: Arm, other: Arm) -> str:
    numbers = [len(arm.seeds) for arm in (one, other)]
    return f"{numbers[0]} seeds" if numbers[0] == numbers[1] else f"{numbers[0]} and {numbers[1]} seeds"


def print_comparison(arms: Sequence[Arm]) -> None:
    """Print the arms, and for each two of them which is better, or that nobody can tell."""
    head = ("arm", "seeds", "test accuracy", "95 % interval", "of each seed", "tested on")
    Table(head, list(map(_row, arms)), words=(0, 1, 4, 5)).print()
    for verdict in verdicts(arms):
        say(verdict.sentence, *_each_seed(verdict))


def _each_seed(verdict: Verdict) -> list[str]:
    """Return McNemar's test of the networks of each seed, where their recordings are independent."""
    one, other = verdict.one, verdict.other
    if verdict.difference.of_networks or one.seeds != other.seeds or one.clustered:
        return []
    each = ", ".join(f"{mcnemar(a, b):.2g}" for a, b in zip(one.right, other.right, strict=True))
    return [f"  McNemar's p for the two networks of each seed: {each}"]


def _row(arm: Arm) -> tuple[str, ...]:
    each, interval = arm.accuracies, accuracy_interval(arm.right, arm.clusters)
    spread = f" ± {100 * each.std(ddof=1):.1f}" if len(each) > 1 else ""
    between = "" if interval is None else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    shown, seeds = " ".join(f"{100 * value:.1f}" for value in each), ", ".join(map(str, arm.seeds))
    return arm.name, seeds, f"{100 * each.mean():.1f} %{spread}", between, shown, arm.rows
