from __future__ import annotations

import numpy as np
import pytest

from snnlab.runs.plots import draw_raster
from snnlab.runs.plots.activity import MAX_RASTER_NEURONS, evenly_spaced

from ...refusals import assert_text_has
from .conftest import words


def test_each_spike_is_a_line_at_its_step_and_neuron() -> None:
    spikes = np.zeros((4, 2, 3))
    spikes[1, 0, 2] = spikes[3, 1, 1] = 1
    figure = draw_raster(spikes, 5.0, "lif1")
    (strokes,) = figure.axes[0].collections
    middles = [tuple(segment.mean(0)) for segment in strokes.get_segments()]  # type: ignore[attr-defined]
    assert middles == [(7.5, 2.0), (17.5, 4.0)]
    text = words(figure)
    assert "time (ms)" in text
    assert_text_has(text, "lif1", "16.7 Hz", "66.7% silent")


def test_of_a_large_layer_evenly_spaced_neurons_are_drawn() -> None:
    text = words(draw_raster(np.ones((3, 10, 1000)), 5.0, "lif1"))
    assert f"neuron, {MAX_RASTER_NEURONS} of 10,000" in text
    shown = evenly_spaced(10_000, MAX_RASTER_NEURONS)
    assert len(shown) == MAX_RASTER_NEURONS
    assert (shown[0], shown[-1]) == (0, 9999)
    assert set(np.diff(shown)) == {101}
    assert evenly_spaced(3, MAX_RASTER_NEURONS).tolist() == [0, 1, 2]


@pytest.mark.parametrize("shape", [(5, 8), (1, 1), (200, 4, 4, 4)])
def test_a_silent_layer_says_so(shape: tuple[int, ...]) -> None:
    text = words(draw_raster(np.zeros(shape), 1.0, "lif1"))
    assert_text_has(text, "no neuron")
    assert "100.0% silent" in text


def test_steps_without_length_are_counted() -> None:
    text = words(draw_raster(np.ones((4, 2)), None, "lif1"))
    assert "time (steps)" in text
    assert "1 spikes per step" in text
    assert "Hz" not in text
