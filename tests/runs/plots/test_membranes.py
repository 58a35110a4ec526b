from __future__ import annotations

import numpy as np

from snnlab.runs.plots import draw_membranes
from snnlab.runs.plots.activity import MAX_MEMBRANES, choose_neurons

from ...refusals import assert_text_has
from .conftest import words


def test_neurons_are_evenly_spaced_in_the_order_of_their_rates() -> None:
    spikes = np.zeros((8, 20))
    for neuron in range(7):
        spikes[: 7 - neuron, neuron + 5] = 1
    chosen = choose_neurons(np.zeros((8, 20)), spikes)
    assert chosen.tolist() == [5, 7, 9, 11]
    assert len(chosen) == MAX_MEMBRANES


def test_without_spikes_the_highest_membranes_are_drawn() -> None:
    v = np.zeros((8, 20))
    v[3, [4, 9]] = 0.5, 0.9
    assert choose_neurons(v, np.zeros_like(v)).tolist()[:2] == [9, 4]
    assert_text_has(words(draw_membranes(v, np.zeros_like(v), 2.0, "lif1", 1.0)), "no spikes")


def test_membrane_threshold_and_spikes_are_drawn() -> None:
    v, spikes = np.linspace(0, 1, 5)[:, None], np.array([0, 0, 1, 0, 1.0])[:, None]
    figure = draw_membranes(v, spikes, 2.0, "lif1", 0.8)
    (ax,) = figure.axes
    threshold, membrane = ax.lines
    assert threshold.get_ydata() == [0.8, 0.8]
    np.testing.assert_array_equal(membrane.get_xydata(), np.stack([[1, 3, 5, 7, 9], v[:, 0]], 1))
    feet = [tuple(segment[0]) for segment in ax.collections[0].get_segments()]  # type: ignore[attr-defined]
    assert feet == [(5.0, 0.5), (9.0, 1.0)]
    text = words(figure)
    assert "threshold 0.8 dashed" in text
    assert "time (ms)" in text
    assert "membrane v (dimensionless)" in text
