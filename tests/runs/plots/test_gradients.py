from __future__ import annotations

import numpy as np

from snnlab.runs.plots.activity import draw_gradients

from ...refusals import assert_text_has
from .conftest import words


def test_layers_are_in_order_over_time_on_one_scale_from_the_largest_norm() -> None:
    figure = draw_gradients({"lif1": [1e-4, 1e-3, 0.0], "readout": [1e-2, 1e-2, 1e-3]}, 10.0)
    (image,) = figure.axes[0].images
    drawn = np.asarray(image.get_array())
    np.testing.assert_allclose(drawn, [[-2, -1, -6], [0, 0, -1]])
    assert image.get_extent() == [0.0, 30.0, -0.5, 1.5]
    text = words(figure)
    assert all(word in text for word in ("lif1", "readout", "time (ms)", "1e\N{MINUS SIGN}2"))


def test_a_layer_without_gradient_has_a_note() -> None:
    assert_text_has(words(draw_gradients({"lif1": [0.0, 0.0]}, None)), "no gradient")


def test_a_gradient_that_is_not_finite_is_drawn() -> None:
    assert "time (steps)" in words(draw_gradients({"lif1": [1.0, float("nan")], "lif2": [float("inf"), 2.0]}, None))
