"""What comes of comparing arms, printed."""

from __future__ import annotations

from collections.abc import Sequence

from snnlab.console import say
from snnlab.record.arms import Arm
from snnlab.record.statistics import accuracy_interval, mcnemar
from snnlab.record.tables import Table
from snnlab.record.verdicts import Verdict, verdicts


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
