"""The classes of a dataset side by side, each as the events of some of its recordings."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snnlab.events import Store
from snnlab.record.pictures import style
from snnlab.record.pictures.cells import Cells, Window
from snnlab.record.pictures.shading import full_colour, shade, show

# Of each class so many recordings at most are summed, and so many classes at most are drawn.
RECORDINGS, CLASSES = 50, 30
ACROSS = 5
# Of a class's name in a line.
LETTERS = 16
# Cells along the longer side of an image: more could not be seen.
CELLS = 64


def draw_classes(store: Store, targets: Sequence[int], names: Sequence[str], duration_ms: float) -> Figure:
    """Draw the events of each class; over time, where the sensor has no rows.

    Args:
        store: The packed recordings.
        targets: The classes, of which those without recordings are not drawn.
        names: What they are called.
        duration_ms: Length of the window, ms.
    """
    there = [(target, name) for target, name in zip(targets, names, strict=True) if target in store.targets]
    drawn = there[:CLASSES]
    columns = min(ACROSS, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    width, height, _ = store.sensor_size
    tall = style.WIDTH_INCHES / columns * (0.8 if height == 1 else height / width) * rows + 0.45 * rows + 0.6
    margins = {"bottom": 0.12 / tall, "top": 1 - 0.62 / tall, "hspace": 0.38, "wspace": 0.08}
    figure, axes = style.new_figure(rows, columns, height=tall, left=0.03, **margins)
    for ax, (target, name) in zip(axes, drawn, strict=False):
        _draw(ax, store, np.flatnonzero(store.targets == target)[:RECORDINGS], duration_ms)
        words = "\n".join(textwrap.wrap(name, LETTERS, max_lines=2, placeholder="..."))
        ax.set_title(words, fontsize=style.SMALL, color=style.INK, loc="left", pad=2)
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    more = f"; {len(there) - CLASSES} more are not drawn" if len(there) > CLASSES else ""
    over = f"address over {duration_ms:g} ms" if height == 1 else f"summed over {duration_ms:g} ms"
    style.headline(figure, f"Classes{more}: events, {over}\nand up to {RECORDINGS} recordings each")
    return figure


def _draw(ax: Axes, store: Store, places: np.ndarray, duration_ms: float) -> None:
    width, height, _ = store.sensor_size
    if height == 1:
        across, up = Cells.of_time(duration_ms, CELLS), Cells.of_pixels(width, CELLS)
    else:
        across = Cells.of_pixels(width, CELLS, Cells.of_pixels(max(width, height), CELLS).size)
        up = Cells.of_pixels(height, CELLS, across.size)
    counts = np.zeros((up.number, across.number), np.int64)
    for place in places.tolist():
        window = Window.of(store[place], duration_ms, 1)
        where = (window.t, window.x) if window.y is None else (window.x, window.y)
        counts += window.histograms(across, up, where)[0]
    show(
        ax,
        shade([counts], [style.INK], full_colour(counts)),
        across,
        up,
        downwards=height > 1,
        aspect="equal" if height > 1 else "auto",
    )
