from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb

from snnlab.runs.plots.event_plots import OFF, ON, blend, full_colour_count


def test_empty_bins_are_white_and_full_bins_have_the_colour() -> None:
    on, off = np.array([[0, 4, 0]]), np.array([[0, 0, 2]])
    image = blend([on, off], [ON, OFF], 4)
    np.testing.assert_allclose(image[0, 0], 1.0)
    np.testing.assert_allclose(image[0, 1], to_rgb(ON))
    np.testing.assert_allclose(image[0, 2], (1 + np.array(to_rgb(OFF))) / 2)


def test_a_hot_pixel_does_not_make_the_others_pale() -> None:
    counts = np.ones((20, 20))
    counts[0, 0] = 1000
    assert full_colour_count(counts) == 1
    assert full_colour_count(np.zeros((2, 2))) == 1
