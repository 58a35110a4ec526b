from __future__ import annotations

import matplotlib as mpl
import numpy as np

from snnlab.record.pictures import default_style, draw_raster, render


def test_the_users_settings_do_not_show_and_are_left_as_they_were() -> None:
    spikes = np.ones((3, 4))
    with default_style():
        plain = render(draw_raster(spikes, 1.0, "lif1"))
    with mpl.rc_context({"axes.facecolor": "black", "font.family": "monospace", "xtick.color": "red"}):
        before = dict(mpl.rcParams)
        with default_style():
            again = render(draw_raster(spikes, 1.0, "lif1"))
        assert dict(mpl.rcParams) == before
    np.testing.assert_array_equal(again, plain)


def test_pyplot_knows_nothing_of_the_figures() -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    render(draw_raster(np.ones((3, 4)), 1.0, "lif1"))
    assert pyplot.get_fignums() == before
