"""A recording's events over time: where they are, and how many."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snnlab.events import Events
from snnlab.events.recording import SensorSize
from snnlab.record.pictures import style
from snnlab.record.pictures.cells import Cells, Window
from snnlab.record.pictures.shading import OFF, ON, full_colour, shade, show

# Parts of the window, and of the sensor, in which events are counted for the image; and for the rate.
TIME_CELLS, PLACE_CELLS, RATE_CELLS = 200, 100, 60


def draw_event_times(events: Events, sensor_size: SensorSize, duration_ms: float, name: str) -> Figure:
    """Draw the columns, and the rows, of the events over time, and their number per ms.

    Args:
        events: The recording.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities); with P = 1 both polarities are one.
        duration_ms: Length of the window, ms.
        name: What the recording is called.
    """
    width, height, polarities = sensor_size
    window = Window.of(events, duration_ms, polarities)
    places = [("column (px)" if window.y is not None else "address (px)", window.x, width)]
    if window.y is not None:
        places.append(("row (px)", window.y, height))
    figure, (*above, rate) = style.new_figure(len(places) + 1, height=1.3 * (len(places) + 1) + 0.7)
    across = Cells.of_time(duration_ms, TIME_CELLS)
    for ax, (words, place, size) in zip(above, places, strict=True):
        up = Cells.of_pixels(size, PLACE_CELLS)
        counts = window.histograms(across, up, (window.t, place))
        show(ax, shade(counts, (ON, OFF), full_colour(*counts)), across, up, downwards=words == "row (px)")
        ax.set_ylabel(words, fontsize=style.TEXT)
    _draw_rate(rate, window, Cells.of_time(duration_ms, RATE_CELLS), polarities)
    style.title(above[0], f"{name}: events over time")
    return figure


def _draw_rate(ax: Axes, window: Window, cells: Cells, polarities: int) -> None:
    edges = np.linspace(cells.start, cells.stop, cells.number + 1)
    kinds = (("ON", ON, window.on), ("OFF", OFF, ~window.on)) if polarities == 2 else (("", ON, window.on),)
    for words, colour, chosen in kinds:
        counts = np.bincount(cells.place(window.t[chosen]), minlength=cells.number)
        ax.stairs(counts / cells.size, edges, baseline=None, color=colour, label=words, linewidth=1.4)
    ax.set_xlim(cells.start, cells.stop)
    ax.set_ylim(0, 1.3 * max(ax.get_ylim()[1], 0.1))  # room for the legend
    style.label(ax, "time (ms)", "events per ms")
    if polarities == 2:
        style.legend(ax, loc="upper right", ncol=2)
