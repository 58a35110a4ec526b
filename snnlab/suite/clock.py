"""What a suite's time goes to, and how much of it is left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import fmean

from snnlab.search.words import span
from snnlab.suite.book import Spent
from snnlab.suite.plan import Cell


class Clock:
    """Measures trainings, and what the suite needs beyond them.

    Args:
        started: `time.perf_counter()` when the command began.
        before: What earlier commands have spent.
        slots: Trainings at the same time.
    """

    def __init__(self, started: float, before: Spent, slots: int) -> None:
        self._started, self._before, self._slots = started, before, slots
        self._spans: list[tuple[float, float]] = []
        self._walls: list[tuple[Cell, float]] = []
        self._tuning_s = 0.0

    def trained(self, cell: Cell, wall_s: float) -> None:
        """Note a training that has ended now."""
        now = time.perf_counter()
        self._spans.append((now - wall_s, now))
        self._walls.append((cell, wall_s))

    def tuned(self, trainings_s: float) -> None:
        """Note trials that have ended now, of so many seconds together."""
        now = time.perf_counter()
        self._spans.append((now - trainings_s / self._slots, now))
        self._tuning_s += trainings_s

    def spent(self) -> Spent:
        """Return what was spent until now, by earlier commands too."""
        trainings = self._tuning_s + sum(wall_s for _, wall_s in self._walls)
        elapsed = time.perf_counter() - self._started
        overhead = max(0.0, elapsed - _covered(self._spans))
        return Spent(self._before.trainings_s + trainings, self._before.overhead_s + overhead)

    def left(self, waiting: Sequence[Cell], busy: Sequence[Cell]) -> str:
        """Return how much time is left, in words; nothing before the first training has ended.

        Args:
            waiting: Trainings that have not begun.
            busy: Those that run, which are taken to be half done.
        """
        if not self._walls or not (waiting or busy):
            return ""
        seconds = sum(map(self._expected, waiting)) + sum(map(self._expected, busy)) / 2
        return f", {span(seconds / self._slots)} left"

    def _expected(self, cell: Cell) -> float:
        same = [wall for one, wall in self._walls if (one.dataset, one.arm) == (cell.dataset, cell.arm)]
        near = [wall for one, wall in self._walls if one.dataset == cell.dataset]
        return fmean(same or near or [wall for _, wall in self._walls])


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total
