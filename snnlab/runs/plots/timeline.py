"""Plot of labels of parts of recordings: a line for each recording, a bar for each label."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from snnlab.data.sources.label_table import LabelInterval
from snnlab.runs.plots import style

# Okabe and Ito's colours; further labels begin again.
_COLOURS = (*style.SERIES, "#F0E442", style.GREY)
# Recordings that are drawn, and labels that a legend lists.
_MOST_LINES, _MOST_LABELS, _LEGEND_COLUMNS = 40, 20, 4


def draw_timeline(labels: Sequence[LabelInterval]) -> Figure:
    """Draw the labels of recordings over time; what overlaps is darker, and time without a label is white."""
    paths = list(dict.fromkeys(each.path for each in labels))
    names = sorted({each.label for each in labels})
    ends = [each.end_ms for each in labels if math.isfinite(each.end_ms)]
    last = max([*ends, *(each.start_ms for each in labels)]) or 1.0
    drawn = paths[:_MOST_LINES]
    rows = math.ceil(min(len(names), _MOST_LABELS) / _LEGEND_COLUMNS)
    height = 0.22 * len(drawn) + 0.2 * rows + 1.1
    top, bottom = 1 - 0.36 / height, (0.6 + 0.2 * rows) / height
    figure, (axes,) = style.new_figure(height=height, left=style.left_margin(drawn), top=top, bottom=bottom)
    line_of = {path: line for line, path in enumerate(drawn)}
    colour_of = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    for each in labels:
        if each.path in line_of:
            length = min(each.end_ms, last) - each.start_ms
            axes.barh(line_of[each.path], length, 0.8, each.start_ms, color=colour_of[each.label], alpha=0.6)
    axes.set_yticks(range(len(drawn)), drawn, fontsize=style.SMALL)
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.set_xlim(0, last)
    axes.set_xlabel("time (ms)", fontsize=style.TEXT)
    more = f"; the first {len(drawn)} of {len(paths):,} recordings" if len(drawn) < len(paths) else ""
    style.title(axes, f"Labels over time{more}")
    handles = [Patch(color=colour_of[name], alpha=0.6, label=name) for name in names[:_MOST_LABELS]]
    figure.legend(handles=handles, fontsize=style.SMALL, ncol=_LEGEND_COLUMNS, loc="lower center", frameon=False)
    return figure
