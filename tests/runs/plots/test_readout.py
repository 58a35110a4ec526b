from __future__ import annotations

import numpy as np
import pytest

from snnlab.runs.plots import draw_readout
from snnlab.runs.plots.style import BLUE, GREY, VERMILION

from ...refusals import assert_text_has
from .conftest import words

Y = np.random.default_rng(0).normal(size=(4, 5))


def test_target_and_a_wrong_answer_stand_out() -> None:
    figure = draw_readout(Y, np.array([2, 2, 3, 1]), 2, 10.0)
    lines = {line.get_color(): line for line in figure.axes[0].lines}
    np.testing.assert_array_equal(lines[BLUE].get_ydata(), Y[:, 2])
    np.testing.assert_array_equal(lines[VERMILION].get_ydata(), Y[:, 1])
    assert [line.get_color() for line in figure.axes[0].lines].count(GREY) == 3
    text = words(figure)
    assert_text_has(text, "class 2", "wrong", "other", "answer 1", "target 2")
    assert "time (ms)" in text


@pytest.mark.parametrize(
    ("answers", "dt", "facts"),
    [
        ([2, 2, 2, 2], 10.0, ("from 10 ms",)),
        ([2, 1, 2, 2], 10.0, ("from 30 ms",)),
        ([2, 1, 2, 2], None, ("from step 2",)),
    ],
)
def test_the_title_has_the_time_of_the_right_answer(answers: list[int], dt: float | None, facts: tuple) -> None:
    figure = draw_readout(Y, np.array(answers), 2, dt)
    assert_text_has(words(figure), *facts)
    assert VERMILION not in {line.get_color() for line in figure.axes[0].lines}


def test_two_classes_have_no_other_lines() -> None:
    assert "other classes" not in words(draw_readout(Y[:, :2], np.array([0, 0, 0, 0]), 1, 1.0))
