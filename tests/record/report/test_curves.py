"""How a training went, as pictures."""

from __future__ import annotations

import numpy as np
import pytest

from snnlab.record.pictures.style import default_style, render
from snnlab.record.report.curves import draw_curves


@pytest.mark.parametrize("number", [1, 2, 7])
def test_epochs_are_whole_and_names_stand_in_the_picture(number: int) -> None:
    epochs = {"epoch": np.arange(number), "lr": np.full(number, 0.00123), "val/loss": np.linspace(1, 0.5, number)}
    for _, figure in draw_curves(epochs, 0):
        with default_style():
            render(figure)
        (ax,) = figure.axes
        assert all(place == int(place) for place in ax.get_xticks())
        assert ax.yaxis.label.get_window_extent().x0 >= 0
