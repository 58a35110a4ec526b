"""Early exit: the answer and the confidence of a network at each step, and the accuracy of answers before the end.

Axes: N recordings, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from snnlab.runs.tables import csv_text

# The thresholds of the table; a threshold for a wanted accuracy is chosen among `_CANDIDATES`.
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
_CANDIDATES = 500


class AnswersOverTime(NamedTuple):
    """The answers of a network to recordings at each step, with their confidence.

    Attributes:
        targets: Classes of the recordings, `[N]`.
        answers: Answer to the recording cut after that step, `[N, T]`.
        confidence: Probability of that answer, from the softmax of the running readout, `[N, T]`.
        steps: Number of steps of each recording, `[N]`.
        final: Answer at the end of the recording, `[N]`.
        spikes: Spikes of all layers until the end of each step, `[N, T]`; None if unknown.
    """

    targets: np.ndarray
    answers: np.ndarray
    confidence: np.ndarray
    steps: np.ndarray
    final: np.ndarray
    spikes: np.ndarray | None = None


class StepTime(NamedTuple):
    """Time of a step: its length, ms, or None, and the time by which the events of its frame go beyond it, ms."""

    dt: float | None
    ahead_ms: float = 0.0

    @property
    def unit(self) -> str:
        """Unit of the latencies: `ms` or `steps`."""
        return "steps" if self.dt is None else "ms"

    def ends(self, steps: np.ndarray) -> np.ndarray:
        """Return the times at which the given numbers of steps end."""
        return steps.astype(np.float64) if self.dt is None else steps * self.dt + self.ahead_ms


class ThresholdResult(NamedTuple):
    """Accuracy, latency and spikes at one threshold.

    Attributes:
        threshold: Confidence from which on an answer is given, at the latest at the end of the recording; None: always
            at the end.
        accuracy: Fraction of correct answers, 0..1.
        latency: Mean time from a recording's start to its answer, in the unit of the step time.
        early: Fraction of the recordings with an answer before their end.
        spikes: Mean spikes of a recording until its answer; None if unknown.
    """

    threshold: float | None
    accuracy: float
    latency: float
    early: float
    spikes: float | None


def share_text(share: float, right_of: int | None = None) -> str:
    """Return an accuracy as text; with the number of recordings, how many of them are right, and no accuracy."""
    return f"{share:.1%}" if right_of is None else f"{round(share * right_of):,} of {right_of:,}"


def recorded_answers(arrays: Mapping[str, np.ndarray], stage: str) -> AnswersOverTime | None:
    """Return a stage's answers from `predictions.npz`; None without confidences (an older file, or not of classes)."""
    if f"{stage}_confidence" not in arrays:
        return None
    targets, answers, confidence, steps = (arrays[f"{stage}_{n}"] for n in ("target", "answers", "confidence", "steps"))
    final, spikes = arrays[f"{stage}_readout"].argmax(-1), arrays.get(f"{stage}_spikes_so_far")
    return AnswersOverTime(targets, answers, confidence, steps, final, spikes)


def at_threshold(answers: AnswersOverTime, threshold: float | None, step_time: StepTime) -> ThresholdResult:
    """Return the results if each recording is answered at the first step with this confidence; None: at its end."""
    last, rows = answers.steps - 1, np.arange(answers.steps.size)
    confident = answers.confidence >= (np.inf if threshold is None else threshold)
    at = np.minimum(np.where(confident.any(1), confident.argmax(1), last), last)  # not after its end
    right = np.where(at == last, answers.final, answers.answers[rows, at]) == answers.targets
    spikes = None if answers.spikes is None else float(answers.spikes[rows, at].mean())
    return ThresholdResult(
        threshold, float(right.mean()), float(step_time.ends(at + 1).mean()), float((at < last).mean()), spikes
    )


def early_exit_curve(
    answers: AnswersOverTime, step_time: StepTime, thresholds: Sequence[float] = THRESHOLDS
) -> list[ThresholdResult]:
    """Return the results at each threshold, and last those without a threshold."""
    return [at_threshold(answers, threshold, step_time) for threshold in (*thresholds, None)]


def fastest_threshold(answers: AnswersOverTime, accuracy: float, step_time: StepTime) -> ThresholdResult | None:
    """Return the threshold with the shortest latency that reaches an accuracy, 0..1; None if no threshold does.

    Use validation recordings: a threshold chosen on the test recordings overstates the test accuracy.
    """
    valid = answers.confidence[np.arange(answers.confidence.shape[1]) < answers.steps[:, None]]
    candidates: list[float] = np.unique(np.quantile(valid, np.linspace(0, 1, _CANDIDATES))).tolist()
    rows = early_exit_curve(answers, step_time, candidates)
    return min((row for row in rows if row.accuracy >= accuracy), key=lambda row: row.latency, default=None)


def early_exit_csv(rows: Sequence[ThresholdResult], step_time: StepTime) -> str:
    """Return the text of the file anytime.csv; the threshold is empty in the row without one."""
    cells = (["" if value is None else repr(value) for value in row] for row in rows)
    return csv_text(["threshold", "accuracy", f"latency_{step_time.unit}", "early", "spikes"], cells)
