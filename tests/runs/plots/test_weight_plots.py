"""Pictures of weights."""

from __future__ import annotations

import numpy as np
import pytest

from snnlab.runs.plots.weight_plots import draw_weights


def drawn(values: np.ndarray) -> np.ndarray:
    ((name, figure),) = draw_weights({"layer.weight": values, "layer.bias": np.ones(3)})
    assert name == "layer.weight"
    (image,) = figure.axes[0].images
    assert image.get_clim() == pytest.approx((-np.abs(values).max(), np.abs(values).max()))
    shown = image.get_array()
    assert shown is not None
    return np.ma.filled(shown, np.nan)


def test_a_matrix_is_drawn_with_its_outputs_in_rows() -> None:
    values = np.arange(-3.0, 3).reshape(2, 3)
    assert drawn(values).tolist() == values.tolist()


def test_kernels_of_an_output_stand_beside_each_other() -> None:
    values = np.arange(2 * 9 * 2 * 2, dtype=float).reshape(2, 9, 2, 2)
    image = drawn(values)
    assert image.shape == (6, 26)
    for output, inner in np.ndindex(2, 9):
        tile = image[4 * output : 4 * output + 2, 3 * inner : 3 * inner + 2]
        assert tile.tolist() == values[output, inner].tolist()
    assert np.isnan(image[2:4]).all()


def test_outputs_of_few_inputs_stand_beside_each_other_too() -> None:
    values = np.arange(8 * 9, dtype=float).reshape(8, 1, 3, 3)
    image = drawn(values)
    assert image.shape == (8, 18)  # two rows of four outputs
    assert image[5:, 15:].tolist() == values[7, 0].tolist()


def test_of_many_kernels_the_first_are_drawn() -> None:
    ((_, figure),) = draw_weights({"conv": np.ones((100, 50, 3, 3))})
    assert "250 shown" in figure.axes[0].get_title(loc="left")
