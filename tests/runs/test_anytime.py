"""Answers given as soon as a network is sure enough."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from snnlab.runs.early_exit import Answered, Clock, answered, anytime, as_csv, at_threshold, chosen_threshold
from snnlab.runs.plots.answers import draw_anytime
from snnlab.runs.plots.style import default_style, render

# Three recordings of up to four steps; the second has only two, and what stands after them means nothing.
TARGETS = np.array([1, 0, 2])
ANSWERS = np.array([[0, 1, 1, 1], [0, 0, 9, 9], [1, 1, 1, 2]])
CONFIDENCE = np.array([[0.5, 0.7, 0.9, 0.9], [0.4, 0.6, 0.99, 0.99], [0.6, 0.65, 0.7, 0.8]])
SPIKES = np.array([[1.0, 2, 3, 4], [10, 20, 20, 20], [0, 0, 0, 100]])
SEEN = Answered(TARGETS, ANSWERS, CONFIDENCE, np.array([4, 2, 4]), np.array([1, 0, 2]), SPIKES)
CLOCK = Clock(10.0)


def test_each_recording_is_answered_at_the_first_step_at_which_the_network_is_sure() -> None:
    row = at_threshold(SEEN, 0.6, CLOCK)
    # At 20 ms right, at 20 ms right, at 10 ms wrong; the second one at its end.
    assert row.accuracy == pytest.approx(2 / 3)
    assert row.latency == pytest.approx((20 + 20 + 10) / 3)
    assert row.early == pytest.approx(2 / 3)
    assert row.spikes == pytest.approx((2 + 20 + 0) / 3)


def test_who_is_never_sure_answers_at_the_end_of_the_recording_and_not_of_the_batch() -> None:
    for threshold in (0.95, None):
        row = at_threshold(SEEN, threshold, CLOCK)
        assert (row.accuracy, row.early) == (1.0, 0.0)
        assert row.latency == pytest.approx((40 + 20 + 40) / 3)
        assert row.spikes == pytest.approx((4 + 20 + 100) / 3)


def test_frames_that_wait_for_later_events_answer_later_and_steps_without_length_are_counted() -> None:
    assert at_threshold(SEEN, None, Clock(10.0, 5.0)).latency == pytest.approx((40 + 20 + 40) / 3 + 5)
    assert at_threshold(SEEN, None, Clock(None)).latency == pytest.approx(10 / 3)
    assert Clock(None).unit == "steps"


def test_the_threshold_for_an_accuracy_is_that_of_the_earliest_answers_which_reach_it() -> None:
    row = chosen_threshold(SEEN, 1.0, CLOCK)
    assert row is not None
    assert row.accuracy == 1.0
    others = [at_threshold(SEEN, threshold, CLOCK) for threshold in np.linspace(0, 1, 101)]
    assert row.latency == min(other.latency for other in others if other.accuracy == 1.0)
    assert chosen_threshold(SEEN._replace(targets=np.array([5, 5, 5])), 0.5, CLOCK) is None


def test_rows_rise_in_latency_and_end_without_a_threshold() -> None:
    rows = anytime(SEEN, CLOCK)
    assert [row.latency for row in rows] == sorted(row.latency for row in rows)
    assert [row.threshold is None for row in rows] == [False] * (len(rows) - 1) + [True]
    table = list(csv.DictReader(as_csv(rows, CLOCK).splitlines()))
    assert list(table[0]) == ["threshold", "accuracy", "latency_ms", "early", "spikes"]
    assert float(table[3]["latency_ms"]) == rows[3].latency
    assert table[-1]["threshold"] == ""


def test_what_was_recorded_before_confidences_were_has_no_early_answers() -> None:
    assert answered({"test_target": TARGETS, "test_answers": ANSWERS}, "test") is None


def test_the_curves_numbers_stay_in_their_axes() -> None:
    with default_style():
        figure = draw_anytime(anytime(SEEN, CLOCK), CLOCK)
        render(figure)
        for ax in figure.axes:
            inside, numbers = ax.get_window_extent(), [text.get_window_extent() for text in ax.texts]
            assert numbers
            assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 + 4 and box.y1 <= inside.y1 for box in numbers)
