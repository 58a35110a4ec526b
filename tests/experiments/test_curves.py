"""Plots of a training, and the learned parameters of its neurons."""

from __future__ import annotations

import numpy as np
import pytest

from snnlab.runs.plots.style import default_style, render
from snnlab.runs.report_figures import draw_curves, learned_lines, learned_rows


@pytest.mark.parametrize("number", [1, 2, 7])
def test_epochs_are_integers_and_names_are_in_the_plot(number: int) -> None:
    epochs = {"epoch": np.arange(number), "lr": np.full(number, 0.00123), "val/loss": np.linspace(1, 0.5, number)}
    for _, figure in draw_curves(epochs, 0):
        with default_style():
            render(figure)
        (ax,) = figure.axes
        assert all(place == int(place) for place in ax.get_xticks())
        assert ax.yaxis.label.get_window_extent().x0 >= 0


METRICS = {
    "test/accuracy": 0.5,
    "learned/tau_mem_ms/block.lif1": 18.54321,
    "learned/tau_mem_ms_min/block.lif1": 11.0,
    "learned/tau_mem_ms_max/block.lif1": 26.5,
    "learned/tau_mem_ms/lif2": 9.0,
    "learned/v_threshold/lif2": 1.25,
}


def test_rows_have_layer_quantity_with_its_unit_and_range() -> None:
    assert list(learned_rows(METRICS)) == [
        ("block.lif1", "tau_mem (ms)", "18.54", "11 to 26.5"),
        ("lif2", "tau_mem (ms)", "9", ""),
        ("lif2", "v_threshold", "1.25", ""),
    ]


def test_lines_are_those_of_one_quantity() -> None:
    assert dict(learned_lines(METRICS)) == {
        "tau_mem (ms)": [("learned/tau_mem_ms/block.lif1", "block.lif1"), ("learned/tau_mem_ms/lif2", "lif2")],
        "v_threshold": [("learned/v_threshold/lif2", "lif2")],
    }
