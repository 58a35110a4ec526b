"""The plot of labels over time."""

from __future__ import annotations

import math
from typing import Any

from snnlab.data.sources.label_table import LabelInterval
from snnlab.runs.plots.timeline import draw_timeline


def test_each_label_is_a_bar_in_the_line_of_its_recording() -> None:
    labels = [
        LabelInterval("a.npy", 0, 50, "still"),
        LabelInterval("a.npy", 70, 200, "moving"),
        LabelInterval("b.npy", 20, math.inf, "still"),
    ]
    axes = draw_timeline(labels).axes[0]
    bars: list[Any] = list(axes.patches)
    assert [(bar.get_x(), bar.get_width(), round(bar.get_y() + 0.4)) for bar in bars] == [
        (0, 50, 0),
        (70, 130, 0),
        (20, 180, 1),
    ]
    assert bars[0].get_facecolor() == bars[2].get_facecolor() != bars[1].get_facecolor()
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a.npy", "b.npy"]
