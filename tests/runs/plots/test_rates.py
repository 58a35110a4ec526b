from __future__ import annotations

import numpy as np
import pytest

from snnlab.runs.plots import draw_rates

from ...refusals import assert_text_has
from .conftest import words


def test_every_neuron_that_fires_is_counted_once_and_the_silent_are_in_the_title() -> None:
    counts = np.array([[0, 1, 2], [5, 100, 0]])
    figure = draw_rates(counts, 100, 2.0, "lif1")
    values, edges, _ = figure.axes[0].patches[0].get_data()  # type: ignore[attr-defined]
    assert values.sum() == 4
    assert edges[0] == pytest.approx(0.5 * 5.0)  # half a spike in 200 ms, Hz
    assert edges[-1] > 500.0
    text = words(figure)
    assert_text_has(text, "lif1", "90 Hz", "33.3% silent")
    assert "rate (Hz)" in text
    assert_text_has(text, "of 6")


@pytest.mark.parametrize("num_steps", [1, 3, 5000])
def test_a_silent_layer_says_so(num_steps: int) -> None:
    assert_text_has(words(draw_rates(np.zeros(7), num_steps, 2.0, "lif1")), "no neuron")


def test_without_dt_the_rate_is_in_spikes_per_step() -> None:
    text = words(draw_rates(np.array([1, 3]), 4, None, "lif1"))
    assert "rate (spikes per step)" in text
    assert_text_has(text, "0.5 spikes per step")
