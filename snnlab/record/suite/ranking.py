"""Which neighbours in a ranking can be told apart, and which only happen to stand in this order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from snnlab.errors import RecordError
from snnlab.record.arms import Arm, arm_of
from snnlab.record.comparison_table import ALPHA, verdict
from snnlab.record.paired import difference, holm
from snnlab.record.suite.rows import Row


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


def compared(rows: Sequence[Row]) -> tuple[list[Neighbours], list[Neighbours]]:
    """Compare each row with the one below it, and the best with each other, by a paired bootstrap.

    Holm's adjustment is over all of these.

    Args:
        rows: The ranked rows of one dataset; those without accuracy count as not there.

    Returns:
        Each row against the one below it; the best row against each other one.
    """
    ranked = [row for row in rows if "test_accuracy" in row.values]
    arms = {row.arm: _arm(row) for row in ranked}
    names = [row.arm for row in ranked]
    beside, best = list(pairwise(names)), [(names[0], name) for name in names[1:]]
    found = {
        (one, other): difference(a.right, b.right, paired=a.seeds == b.seeds)
        for one, other in dict.fromkeys([*beside, *best])
        if isinstance(a := arms[one], Arm) and isinstance(b := arms[other], Arm) and _same_test(a, b)
    }
    adjusted = dict(zip(found, holm([each.p for each in found.values()]), strict=True))

    def said(pair: tuple[str, str]) -> Neighbours:
        one, other = arms[pair[0]], arms[pair[1]]
        if pair not in found or not isinstance(one, Arm) or not isinstance(other, Arm):
            return Neighbours(*pair, None, f"{pair[0]} and {pair[1]}: {_why_not(one, other)}")
        told = found[pair].told and adjusted[pair] < ALPHA
        return Neighbours(*pair, told, verdict(one, other, found[pair], adjusted[pair])[0])

    return [said(pair) for pair in beside], [said(pair) for pair in best]


def _arm(row: Row) -> Arm | str:
    """Return the arm with its answers, or why there are none."""
    try:
        return arm_of(row.arm, [cell.run for cell in row.tested if cell.run is not None])
    except (RecordError, KeyError) as error:
        return str(error)


def _same_test(one: Arm, other: Arm) -> bool:
    return one.data == other.data and one.recordings.tolist() == other.recordings.tolist()


def _why_not(one: Arm | str, other: Arm | str) -> str:
    reasons = [each for each in (one, other) if isinstance(each, str)]
    return f"not compared ({reasons[0]})" if reasons else "not compared: they were tested on other recordings"
