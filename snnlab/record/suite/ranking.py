"""Which neighbours in a ranking can be told apart, and which only happen to stand in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from snnlab.record.arms import Arm
from snnlab.record.statistics import MIN_SEEDS
from snnlab.record.suite.rows import Row
from snnlab.record.verdicts import Looks, verdicts


class Neighbours(NamedTuple):
    """Two rows, one below the other.

    Attributes:
        better: The arm above.
        worse: The arm below.
        told: Whether they can be told apart; None where they cannot be compared.
        said: In words.
    """

    better: str
    worse: str
    told: bool | None
    said: str


def compared(rows: Sequence[Row], looks: Looks | None = None) -> tuple[list[Neighbours], list[Neighbours]]:
    """Compare each row with the one below it, and the best with each other.

    Who stands beside whom is chosen by the results, so that p is adjusted for the comparisons of all with all.

    Args:
        rows: The ranked rows of one dataset; those without accuracy count as not there.
        looks: How often two arms were looked at, see `verdicts`.

    Returns:
        Each row against the one below it; the best row against each other one.
    """
    ranked = [row for row in rows if "test_accuracy" in row.values]
    names = [row.arm for row in ranked]
    arms = {row.arm: row.answers for row in ranked}
    comparable = [arm for arm in arms.values() if isinstance(arm, Arm)]
    found = {(each.one.name, each.other.name): each for each in verdicts(comparable, _same_test, looks)}

    def said(pair: tuple[str, str]) -> Neighbours:
        if (verdict := found.get(pair)) is None:
            return Neighbours(*pair, None, f"{pair[0]} and {pair[1]}: {_why_not(arms[pair[0]], arms[pair[1]])}")
        return Neighbours(*pair, verdict.significant, verdict.sentence)

    beside, best = list(pairwise(names)), [(names[0], name) for name in names[1:]]
    return [said(pair) for pair in beside], [said(pair) for pair in best]


def times_shown(looks: Sequence[Mapping[str, int]], one: Arm, other: Arm) -> int:
    """Return how often two arms were compared in a table, with this time: with other numbers of seeds each.

    Args:
        looks: How many seeds of each arm there were each time.
        one: One arm.
        other: The other.
    """
    earlier = {(seeds.get(one.name, 0), seeds.get(other.name, 0)) for seeds in looks}
    with_verdict = {pair for pair in earlier if min(pair) >= MIN_SEEDS}
    return len(with_verdict | {(len(one.seeds), len(other.seeds))})


def _same_test(one: Arm, other: Arm) -> bool:
    return one.data == other.data and np.array_equal(one.recordings, other.recordings)


def _why_not(one: Arm | str, other: Arm | str) -> str:
    reasons = [each for each in (one, other) if isinstance(each, str)]
    return f"not compared ({reasons[0]})" if reasons else "not compared: they were tested on other recordings"
