"""A recording's events over time: where they are, and how many."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snnlab.events import Events
from snnlab.events.recording import SensorSize
from snnlab.record.pictures.events import TIME_CELLS, in_window, time_cells
from snnlab.record.pictures.shading import OFF, ON, count, full_colour, shade
from snnlab.record.pictures.style import SMALL, TEXT, legend, new_figure, title

# Parts of the window in which the rate is counted.
RATE_BINS = 60


def draw_event_times(events: Events, sensor_size: SensorSize, duration_ms: float, name: str) -> Figure:
    """Draw the columns, and the rows, of the events over time, and their number per ms.

    Args:
        events: The recording.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities); with P = 1 both polarities are one.
        duration_ms: Length of the window, ms.
        name: What the recording is called.
    """
    width, height, polarities = sensor_size
    t, x, y, p = in_window(events, duration_ms, polarities)
    places = [("address (px)", x, width)] if y is None else [("column (px)", x, width), ("row (px)", y, height)]
    figure, (*above, rate) = new_figure(len(places) + 1, height=1.3 * (len(places) + 1) + 0.7)
    for ax, (words, place, size) in zip(above, places, strict=True):
        _draw_places(ax, time_cells(t, duration_ms), place, p, (size, TIME_CELLS), duration_ms)
        ax.set_ylabel(words, fontsize=TEXT)
        if words.startswith("row"):
            ax.invert_yaxis()  # as in the image, row 0 is the uppermost
    _draw_rate(rate, t, p, duration_ms, polarities)
    title(above[0], f"{name}: events over time")
    return figure


def _draw_places(
    ax: Axes, cells: np.ndarray, place: np.ndarray, p: np.ndarray, shape: tuple[int, int], duration_ms: float
) -> None:
    counts = count(cells, place, p, shape)
    image = shade(counts, (ON, OFF), full_colour(*counts))
    extent = (0, duration_ms, -0.5, shape[0] - 0.5)
    ax.imshow(image, extent=extent, aspect="auto", origin="lower", interpolation="nearest")


def _draw_rate(ax: Axes, t: np.ndarray, p: np.ndarray, duration_ms: float, polarities: int) -> None:
    edges = np.linspace(0, duration_ms, RATE_BINS + 1)
    for chosen, colour, words in ((p, ON, "ON" if polarities == 2 else "events"), (~p, OFF, "OFF"))[:polarities]:
        counts, _ = np.histogram(t[chosen] / 1000, edges)
        ax.stairs(counts * RATE_BINS / duration_ms, edges, color=colour, label=words, linewidth=1.4)
    ax.set_xlim(0, duration_ms)
    ax.set_ylim(0, 1.3 * ax.get_ylim()[1])  # room for the legend
    ax.set_xlabel("time (ms)", fontsize=TEXT)
    ax.set_ylabel("events per ms", fontsize=SMALL)
    if polarities == 2:
        legend(ax, loc="upper right", ncol=2)
