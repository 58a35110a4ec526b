"""Answers before a recording's end: what a network would have answered at each step, and how sure it was.

Axes: N recordings, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from snnlab.runs.tables import csv_text

# Of these all are shown; a threshold for an accuracy is chosen among more.
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
_CANDIDATES = 500


class Answered(NamedTuple):
    """What a network would have answered to recordings at each step, and how sure it was.

    Attributes:
        targets: Their classes, `[N]`.
        answers: The answer if the recording had ended at that step, `[N, T]`.
        confidence: The probability that the running readout's softmax gives to it, `[N, T]`.
        steps: How many steps each recording has, `[N]`.
        final: The answer at its end, `[N]`.
        spikes: Spikes of all layers until the end of each step, `[N, T]`; None where they are not known.
    """

    targets: np.ndarray
    answers: np.ndarray
    confidence: np.ndarray
    steps: np.ndarray
    final: np.ndarray
    spikes: np.ndarray | None = None


class Clock(NamedTuple):
    """What a step is in time: its length, ms, if it has one, and how long after it the events of its frame go on."""

    dt: float | None
    ahead_ms: float = 0.0

    @property
    def unit(self) -> str:
        """In what latencies are: `ms`, or `steps`."""
        return "steps" if self.dt is None else "ms"

    def ends(self, steps: np.ndarray) -> np.ndarray:
        """Return when so many steps are over."""
        return steps.astype(np.float64) if self.dt is None else steps * self.dt + self.ahead_ms


class Row(NamedTuple):
    """What comes out at one threshold.

    Attributes:
        threshold: An answer is given at the first step at which the network is at least so sure; at the end of the
            recording where there is none. None: always at the end.
        accuracy: Part of the answers that are right, 0..1.
        latency: Mean time from a recording's start to its answer, in the clock's unit.
        early: Part of the recordings that are answered before their end.
        spikes: Mean spikes of a recording until its answer; None where they are not known.
    """

    threshold: float | None
    accuracy: float
    latency: float
    early: float
    spikes: float | None


def answered(arrays: Mapping[str, np.ndarray], stage: str) -> Answered | None:
    """Return what `predictions.npz` holds of a stage; None where it is older than confidences, or not of classes."""
    if f"{stage}_confidence" not in arrays:
        return None
    targets, answers, sure, steps = (arrays[f"{stage}_{n}"] for n in ("target", "answers", "confidence", "steps"))
    final, spikes = arrays[f"{stage}_readout"].argmax(-1), arrays.get(f"{stage}_spikes_so_far")
    return Answered(targets, answers, sure, steps, final, spikes)


def at_threshold(seen: Answered, threshold: float | None, clock: Clock) -> Row:
    """Return what comes out if each recording is answered as soon as the network is so sure; None: at its end."""
    last, rows = seen.steps - 1, np.arange(seen.steps.size)
    sure = seen.confidence >= (np.inf if threshold is None else threshold)
    at = np.minimum(np.where(sure.any(1), sure.argmax(1), last), last)  # later than its end nothing happens
    right = np.where(at == last, seen.final, seen.answers[rows, at]) == seen.targets
    spent = None if seen.spikes is None else float(seen.spikes[rows, at].mean())
    return Row(threshold, float(right.mean()), float(clock.ends(at + 1).mean()), float((at < last).mean()), spent)


def anytime(seen: Answered, clock: Clock, thresholds: Sequence[float] = THRESHOLDS) -> list[Row]:
    """Return what comes out at each threshold, and at last without one."""
    return [at_threshold(seen, threshold, clock) for threshold in (*thresholds, None)]


def chosen_threshold(seen: Answered, accuracy: float, clock: Clock) -> Row | None:
    """Return the row of the earliest answers that are as accurate as is asked, 0..1; None where none is.

    Of validation recordings: those of the test would choose what flatters them.
    """
    valid = seen.confidence[np.arange(seen.confidence.shape[1]) < seen.steps[:, None]]
    candidates: list[float] = np.unique(np.quantile(valid, np.linspace(0, 1, _CANDIDATES))).tolist()
    rows = anytime(seen, clock, candidates)
    return min((row for row in rows if row.accuracy >= accuracy), key=lambda row: row.latency, default=None)


def as_csv(rows: Sequence[Row], clock: Clock) -> str:
    """Return rows as `anytime.csv` holds them; the one without a threshold has none."""
    cells = (["" if value is None else repr(value) for value in row] for row in rows)
    return csv_text(["threshold", "accuracy", f"latency_{clock.unit}", "early", "spikes"], cells)
