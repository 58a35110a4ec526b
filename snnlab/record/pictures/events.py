"""A recording's events as an image: summed over the window, or address over time for sensors without rows."""

from __future__ import annotations

from matplotlib.figure import Figure

from snnlab.events import Events
from snnlab.events.recording import SensorSize
from snnlab.record.pictures import style
from snnlab.record.pictures.cells import Cells, Window
from snnlab.record.pictures.shading import OFF, ON, full_colour, shade, show

# Cells along the longer side of an image: more could not be seen when two are side by side in a small picture.
CELLS = 160


def draw_events(events: Events, sensor_size: SensorSize, duration_ms: float, name: str) -> Figure:
    """Draw the events of the window as an image for each polarity; both in one would hide each other.

    Args:
        events: The recording.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities); with P = 1 both polarities are one.
        duration_ms: Length of the window, ms.
        name: What the recording is called.
    """
    width, height, polarities = sensor_size
    polarities = 2 if polarities == 2 else 1  # of more than two, as of one, all events are drawn together
    window = Window.of(events, duration_ms, polarities)
    if window.y is None:
        across, up = Cells.of_time(duration_ms, CELLS), Cells.of_pixels(width, CELLS)
        places, words, aspect = (window.t, window.x), ("time (ms)", "address (px)"), "auto"
        tall, cell = 2.2, f"in {up.size:g} px x {across.size:g} ms"
    else:
        across = Cells.of_pixels(width, CELLS, Cells.of_pixels(max(width, height), CELLS).size)
        up = Cells.of_pixels(height, CELLS, across.size)
        places, words, aspect = (window.x, window.y), ("column (px)", "row (px)"), "equal"
        tall, cell = min(max(3.9 / polarities * height / width, 1.0), 4.5), f"in {up.size:g} x {up.size:g} px"
    counts = window.histograms(across, up, places)
    figure, axes = style.new_figure(columns=polarities, height=tall + 1.3, top=1 - 0.7 / (tall + 1.3), wspace=0.12)
    full, kinds = full_colour(*counts), (("ON", ON), ("OFF", OFF)) if polarities == 2 else (("events", ON),)
    for ax, (kind, colour), each in zip(axes, kinds, counts, strict=False):  # with one polarity there is no OFF
        show(ax, shade([each], [colour], full), across, up, downwards=window.y is not None, aspect=aspect)
        ax.set_xlabel(words[0], fontsize=style.TEXT)
        style.title(ax, f"{kind}: {int(each.sum()):,}")
    axes[0].set_ylabel(words[1], fontsize=style.TEXT)
    many = f"{window.t.size:,} events in {duration_ms:g} ms"
    style.headline(figure, f"{name}: {many}\nfull colour: {full} {cell.replace('in 1 x 1 px', 'a pixel')}")
    return figure
