from __future__ import annotations

import numpy as np

from snnlab.runs.plots.answers import draw_errors, draw_labels, draw_values
from snnlab.runs.plots.style import BLUE, GREY, VERMILION

from ...refusals import assert_text_has
from .conftest import words


def test_values_approach_their_targets() -> None:
    answers = np.array([[0.0, 1.0], [0.5, 1.5], [1.0, 2.5]])
    figure = draw_values(answers, np.array([1.0, 2.0]), 10.0)
    drawn = [line.get_ydata() for line in figure.axes[0].lines if line.get_color() == BLUE]
    np.testing.assert_array_equal(drawn, answers.T)
    text = words(figure)
    assert_text_has(text, "time (ms)", 0.25, "target", "value 1")


def test_values_at_each_step_have_targets_at_each_step() -> None:
    target = np.linspace(0, 1, 10).reshape(5, 2)
    figure = draw_values(target + 0.5, target, 10.0)
    assert sum(np.array_equal(line.get_ydata(), target[:, 1]) for line in figure.axes[0].lines) == 1
    assert_text_has(words(figure), "0.5")


def test_of_many_values_the_first_are_drawn() -> None:
    figure = draw_values(np.zeros((3, 9)), np.ones(9), None)
    assert "first 4 of 9 values" in words(figure)
    assert "time (steps)" in words(figure)


def test_right_and_wrong_steps_stand_out_and_those_without_a_label_are_left_out() -> None:
    figure = draw_labels(np.array([0, 1, 1, 2]), np.array([0, 1, 2, -100]), 5.0)
    points = {line.get_color(): line.get_xydata().tolist() for line in figure.axes[0].lines}  # type: ignore[union-attr]
    assert points[GREY] == [[2.5, 0], [7.5, 1], [12.5, 2]]
    assert points[BLUE] == [[2.5, 0], [7.5, 1]]
    assert points[VERMILION] == [[12.5, 1]]
    assert_text_has(words(figure), "66.7% of 3 labelled")


def test_a_recording_without_labels_says_so() -> None:
    assert_text_has(words(draw_labels(np.zeros(3, int), np.full(3, -100), None)), "no labels")


def test_errors_over_time_have_a_line_a_value() -> None:
    figure = draw_errors({name: [0.5, 0.25] for name in "abcdef"}, 10.0)
    assert len(figure.axes[0].lines) == 4
    assert_text_has(words(figure), "first 4 of 6", "a", "d")
