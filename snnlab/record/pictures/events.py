"""A recording's events as an image: summed over the window, or address over time for sensors without rows."""

from __future__ import annotations

from matplotlib.figure import Figure

from snnlab.events import Events
from snnlab.events.recording import SensorSize
from snnlab.record.pictures import style
from snnlab.record.pictures.shading import Cells, count, in_window

# Cells along the longer side of an image: more could not be seen when two are side by side in a small picture.
CELLS = 160


def draw_events(events: Events, sensor_size: SensorSize, duration_ms: float, name: str) -> Figure:
    """Draw the events of the window as an image for each polarity; both together would hide each other.

    Args:
        events: The recording.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities); with P = 1 both polarities are one.
        duration_ms: Length of the window, ms.
        name: What the recording is called.
    """
    width, height, polarities = sensor_size
    t, x, y, p = in_window(events, duration_ms, polarities)
    if y is None:
        across, up = Cells.of_time(duration_ms, CELLS), Cells.of_pixels(width, CELLS)
        counts = count(across.place(t), up.place(x), p, (up.number, across.number))
        words, aspect, tall, cell = ("time (ms)", "address (px)"), "auto", 2.2, f"{up.size:g} px in {across.size:g} ms"
    else:
        across, up = (Cells.of_pixels(n, CELLS, whole=max(width, height)) for n in (width, height))
        counts = count(across.place(x), up.place(y), p, (up.number, across.number))
        words, aspect, tall = (
            ("column (px)", "row (px)"),
            "equal",
            min(max(3.9 / polarities * height / width, 1.0), 4.5),
        )
        cell = "a pixel" if up.size == 1 else f"in {up.size:g} x {up.size:g} px"
    figure, axes = style.new_figure(columns=polarities, height=tall + 1.3, top=1 - 0.8 / (tall + 1.3), wspace=0.12)
