from __future__ import annotations

from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest

from snnlab.runs.plots import default_style, draw_raster, render
from snnlab.runs.plots.style import log_axis, new_figure


def test_the_users_settings_have_no_effect_and_do_not_change() -> None:
    spikes = np.ones((3, 4))
    with default_style():
        plain = render(draw_raster(spikes, 1.0, "lif1"))
    with mpl.rc_context({"axes.facecolor": "black", "font.family": "monospace", "xtick.color": "red"}):
        before = dict(mpl.rcParams)
        with default_style():
            again = render(draw_raster(spikes, 1.0, "lif1"))
        assert dict(mpl.rcParams) == before
    np.testing.assert_array_equal(again, plain)


def test_the_figures_are_outside_of_pyplot() -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    render(draw_raster(np.ones((3, 4)), 1.0, "lif1"))
    assert pyplot.get_fignums() == before


@pytest.mark.parametrize("values", [(30.0, 700.0), (0.4, 9.0), (1.0, 1e5), (5e-5, 0.3), (0.011, 0.018), (1.1, 3.0)])
def test_tick_labels_of_a_logarithmic_axis_do_not_overlap(values: tuple[float, float]) -> None:
    with default_style():
        figure, (ax,) = new_figure()
        ax.plot(values, (0, 1))
        log_axis(ax, values)
        render(figure)
        boxes = [text.get_window_extent() for text in ax.get_xticklabels() if ax.get_xlim()[0] < text.get_position()[0]]
    assert len(boxes) >= (3 if values[1] > 10 * values[0] else 2)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
