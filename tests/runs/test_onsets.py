"""Onset errors of labels over time, by hand."""

from __future__ import annotations

import numpy as np

from snnlab.runs.onsets import OnsetErrors, onset_errors
from snnlab.target_kinds import IGNORED


def series(*runs: tuple[int, int]) -> np.ndarray:
    return np.concatenate([np.full(steps, label) for label, steps in runs])[None]


def test_an_onset_is_late_or_early_by_the_nearest_answer_of_its_class() -> None:
    labels = series((0, 10), (1, 10), (2, 10), (1, 10))
    answers = series((0, 13), (1, 5), (2, 12), (1, 10))  # 1 is 3 steps late, 2 is 2 early, 1 is on time
    found = onset_errors(labels, answers, ("a", "b", "c"), 4.0)
    assert found["a"] == OnsetErrors(0, 0, None, None)
    assert found["b"] == OnsetErrors(2, 2, 6.0, 6.0)
    assert found["c"] == OnsetErrors(1, 1, -8.0, 8.0)


def test_an_onset_beyond_the_tolerance_or_without_an_answer_is_not_found() -> None:
    labels = series((0, 100), (1, 100), (2, 100))
    answers = series((0, 138), (1, 162))
    assert onset_errors(labels, answers, ("a", "b", "c"), 4.0)["b"] == OnsetErrors(1, 0, None, None)
    assert onset_errors(labels, answers, ("a", "b", "c"), 3.0)["b"] == OnsetErrors(1, 1, 114.0, 114.0)
    assert onset_errors(labels, answers, ("a", "b", "c"), 4.0)["c"] == OnsetErrors(1, 0, None, None)


def test_a_class_after_steps_without_a_label_has_no_known_onset() -> None:
    labels = series((0, 10), (IGNORED, 5), (1, 10), (0, 5))
    found = onset_errors(labels, np.maximum(labels, 0), ("a", "b"), 1.0)
    assert found["b"].onsets == 0
    assert found["a"] == OnsetErrors(1, 1, 0.0, 0.0)
