"""What comes of comparing arms, in words and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from rich.table import Table

from snnlab.console import table_console
from snnlab.record.arms import Arm
from snnlab.record.paired import Difference, difference, holm, mcnemar

ALPHA = 0.05


def print_comparison(arms: Sequence[Arm]) -> None:
    """Print the arms, and for each two of them which is better, or that nobody can tell."""
    console = table_console()
    console.print(_arms(arms))
    pairs = list(combinations(arms, 2))
    found = [difference(one.right, other.right, paired=one.seeds == other.seeds) for one, other in pairs]
    adjusted = holm([each.p for each in found])
    for (one, other), each, p in zip(pairs, found, adjusted, strict=True):
        for line in verdict(one, other, each, p):
            console.print(line, soft_wrap=True)
    if any(len(arm.seeds) == 1 for arm in arms):
        console.print("One seed each says which of these networks is better, not which way to train.")


def verdict(one: Arm, other: Arm, found: Difference, p: float) -> list[str]:
    """Return what is to be said of two arms.

    Args:
        one: The first.
        other: The second.
        found: Their difference.
        p: Its p-value, adjusted for the number of comparisons.
    """
    span = (
        f"{100 * found.effect:+.1f} points, 95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f}, p {p:.2g}"
    )
    if found.told and p < ALPHA:
        better, worse = (one, other) if found.effect > 0 else (other, one)
        lines = [f"{better.name} is better than {worse.name}: {span}"]
    else:
        lines = [f"{one.name} against {other.name}: cannot tell ({span}); {_what_could(found)}"]
    if one.seeds == other.seeds:
        each = ", ".join(f"{mcnemar(a, b):.2g}" for a, b in zip(one.right, other.right, strict=True))
        lines.append(f"  McNemar's p for each seed: {each}")
    return lines


def _what_could(found: Difference) -> str:
    ways = [(found.recordings, "test recordings"), (found.seeds, "seeds each")]
    could = [f"{number:,.0f} {what}" for number, what in ways if math.isfinite(number)]
    if not could:
        return "a difference of this size would need more seeds and more test recordings"
    return f"a difference of this size is told by some {' or '.join(could)}"


def _arms(arms: Sequence[Arm]) -> Table:
    table = Table("arm", "seeds", "test accuracy", "of each seed", box=None, pad_edge=False)
    for arm in arms:
        each = arm.accuracies
        spread = f" ± {100 * each.std(ddof=1):.1f}" if len(each) > 1 else ""
        shown = " ".join(f"{100 * value:.1f}" for value in each)
        table.add_row(arm.name, ", ".join(map(str, arm.seeds)), f"{100 * each.mean():.1f} %{spread}", shown)
    return table
