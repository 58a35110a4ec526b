from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from snnlab.runs.plots import default_style, render
from snnlab.runs.plots.answers import MAX_NAMED_CLASSES, draw_confusion

GESTURES = ["hand clapping", "right hand wave", "right method clockwise", "right method counter clockwise", "air drums"]


@pytest.mark.parametrize("names", [["down", "left", "right", "up"], GESTURES, [*map(str, range(10))]])
def test_both_axes_have_the_same_names_without_overlap(names: list[str]) -> None:
    with default_style():
        figure = draw_confusion(np.eye(len(names), dtype=int), names)
        render(figure)
        (ax,) = figure.axes
        across, up = (axis.get_ticklabels() for axis in (ax.xaxis, ax.yaxis))
        boxes = [text.get_window_extent() for text in across]
    assert [text.get_text() for text in across] == [text.get_text() for text in up]
    assert len({text.get_text() for text in up}) == len(names)
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
    width, height = figure.bbox.max
    inside = [*boxes, *(text.get_window_extent() for text in up), ax.xaxis.label.get_window_extent()]
    assert min(min(box.x0, box.y0) for box in inside) >= 0
    assert all(box.x1 <= width and box.y1 <= height for box in inside)


def test_equal_short_names_have_their_numbers() -> None:
    names = [f"the gesture of {who} with both hands" for who in ("Anna", "Bert")]
    figure = draw_confusion(np.eye(2, dtype=int), names)
    render(figure)
    first, second = (text.get_text() for text in figure.axes[0].get_yticklabels())
    assert first != second


@pytest.mark.parametrize("names", [["$_$", "b"], ["a^{b", "$x$"], ["手を振る", "Größe"]])
def test_a_class_may_be_called_anything(names: list[str]) -> None:
    with default_style():
        figure = draw_confusion(np.eye(2, dtype=int), names)
        render(figure)  # a warning would be an error
        assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == names


def test_many_classes_have_numbers_instead_of_names() -> None:
    figure = draw_confusion(np.eye(MAX_NAMED_CLASSES + 1, dtype=int), ["class"] * (MAX_NAMED_CLASSES + 1))
    render(figure)
    assert "class" not in [text.get_text() for text in figure.axes[0].get_yticklabels()]
