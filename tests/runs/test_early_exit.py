"""Early exit: answers at the first step with enough confidence."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from snnlab.runs.early_exit import (
    AnswersOverTime,
    StepTime,
    at_threshold,
    early_exit_csv,
    early_exit_curve,
    fastest_threshold,
    recorded_answers,
)
from snnlab.runs.plots.answers import draw_early_exit
from snnlab.runs.plots.style import default_style, render

# Three recordings of up to four steps; the second has only two, and its later values are not valid.
TARGETS = np.array([1, 0, 2])
ANSWERS = np.array([[0, 1, 1, 1], [0, 0, 9, 9], [1, 1, 1, 2]])
CONFIDENCE = np.array([[0.5, 0.7, 0.9, 0.9], [0.4, 0.6, 0.99, 0.99], [0.6, 0.65, 0.7, 0.8]])
SPIKES = np.array([[1.0, 2, 3, 4], [10, 20, 20, 20], [0, 0, 0, 100]])
ANSWERS_OVER_TIME = AnswersOverTime(TARGETS, ANSWERS, CONFIDENCE, np.array([4, 2, 4]), np.array([1, 0, 2]), SPIKES)
STEP_TIME = StepTime(10.0)


def test_each_recording_is_answered_at_the_first_step_with_enough_confidence() -> None:
    row = at_threshold(ANSWERS_OVER_TIME, 0.6, STEP_TIME)
    # At 20 ms right, at 20 ms right, at 10 ms wrong; the second one at its end.
    assert row.accuracy == pytest.approx(2 / 3)
    assert row.latency == pytest.approx((20 + 20 + 10) / 3)
    assert row.early == pytest.approx(2 / 3)
    assert row.spikes == pytest.approx((2 + 20 + 0) / 3)


def test_without_enough_confidence_the_answer_is_given_at_the_end_of_the_recording_and_not_of_the_batch() -> None:
    for threshold in (0.95, None):
        row = at_threshold(ANSWERS_OVER_TIME, threshold, STEP_TIME)
        assert (row.accuracy, row.early) == (1.0, 0.0)
        assert row.latency == pytest.approx((40 + 20 + 40) / 3)
        assert row.spikes == pytest.approx((4 + 20 + 100) / 3)


def test_frames_that_wait_for_later_events_add_latency_and_steps_without_length_are_counted() -> None:
    assert at_threshold(ANSWERS_OVER_TIME, None, StepTime(10.0, 5.0)).latency == pytest.approx((40 + 20 + 40) / 3 + 5)
    assert at_threshold(ANSWERS_OVER_TIME, None, StepTime(None)).latency == pytest.approx(10 / 3)
    assert StepTime(None).unit == "steps"


def test_the_threshold_for_an_accuracy_is_the_one_with_the_shortest_latency() -> None:
    row = fastest_threshold(ANSWERS_OVER_TIME, 1.0, STEP_TIME)
    assert row is not None
    assert row.accuracy == 1.0
    others = [at_threshold(ANSWERS_OVER_TIME, threshold, STEP_TIME) for threshold in np.linspace(0, 1, 101)]
    assert row.latency == min(other.latency for other in others if other.accuracy == 1.0)
    assert fastest_threshold(ANSWERS_OVER_TIME._replace(targets=np.array([5, 5, 5])), 0.5, STEP_TIME) is None


def test_rows_are_sorted_by_latency_and_the_last_has_no_threshold() -> None:
    rows = early_exit_curve(ANSWERS_OVER_TIME, STEP_TIME)
    assert [row.latency for row in rows] == sorted(row.latency for row in rows)
    assert [row.threshold is None for row in rows] == [False] * (len(rows) - 1) + [True]
    table = list(csv.DictReader(early_exit_csv(rows, STEP_TIME).splitlines()))
    assert list(table[0]) == ["threshold", "accuracy", "latency_ms", "early", "spikes"]
    assert float(table[3]["latency_ms"]) == rows[3].latency
    assert table[-1]["threshold"] == ""


def test_a_run_recorded_without_confidences_has_no_early_exit() -> None:
    assert recorded_answers({"test_target": TARGETS, "test_answers": ANSWERS}, "test") is None


def test_the_numbers_in_the_plot_stay_inside_their_axes() -> None:
    with default_style():
        figure = draw_early_exit(early_exit_curve(ANSWERS_OVER_TIME, STEP_TIME), STEP_TIME)
        render(figure)
        for ax in figure.axes:
            inside, numbers = ax.get_window_extent(), [text.get_window_extent() for text in ax.texts]
            assert numbers
            assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 + 4 and box.y1 <= inside.y1 for box in numbers)
