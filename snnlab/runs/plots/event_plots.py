"""Recordings: their events as images, over time, and class by class."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from snnlab.data.events import Events, Store
from snnlab.data.events.recording import SensorSize
from snnlab.runs.plots import style
from snnlab.runs.plots.style import BLUE, VERMILION


class Cells(NamedTuple):
    """Equal parts of an image's axis.

    Args:
        size: Of each, px or ms.
        start: Where the first begins, px or ms: pixel 0 begins at -0.5.
        stop: Where the axis ends, px or ms.
    """

    number: int
    size: float
    start: float
    stop: float

    @classmethod
    def of_pixels(cls, pixels: int, most: int, size: float = 0) -> Cells:
        """Return cells of whole pixels: of `size`, or of the least size with which there are at most `most`."""
        size = size or math.ceil(pixels / most)
        return cls(math.ceil(pixels / size), size, -0.5, pixels - 0.5)

    @classmethod
    def of_time(cls, duration_ms: float, number: int) -> Cells:
        """Return `number` parts of the window `[0, duration_ms)`."""
        return cls(number, duration_ms / number, 0.0, duration_ms)

    @property
    def end(self) -> float:
        """Where the last cell ends, which may be after the axis."""
        return self.start + self.number * self.size

    def place(self, values: np.ndarray) -> np.ndarray:
        """Return the cell of each value: pixels, or times in ms."""
        return np.minimum((values / self.size).astype(np.int64), self.number - 1)


class Window(NamedTuple):
    """The events of a recording that are in a window.

    Args:
        t: Time, ms.
        y: Row, or None.
        on: Which events are ON; all, where the polarities are one.

    Shape:
        `[N]` each.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray | None
    on: np.ndarray

    @classmethod
    def of(cls, events: Events, duration_ms: float, polarities: int) -> Window:
        """Return the events of `[0, duration_ms)`."""
        t, x, y, p = events
        n = int(np.searchsorted(t, round(duration_ms * 1000)))
        return cls(t[:n] / 1000, x[:n], None if y is None else y[:n], p[:n] if polarities == 2 else np.ones(n, bool))

    def histograms(
        self, across: Cells, up: Cells, places: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Count the ON and the OFF events of each cell.

        Args:
            across: Columns of the image.
            up: Rows of the image.
            places: Where the events are along the one and the other, `[N]`.

        Shape:
            returns two `[up.number, across.number]`.
        """
        cells = up.place(places[1]) * across.number + across.place(places[0])
        size = up.number * across.number
        on, off = (np.bincount(cells[chosen], minlength=size) for chosen in (self.on, ~self.on))
        return on.reshape(up.number, -1), off.reshape(up.number, -1)


ON, OFF = VERMILION, BLUE
Aspect = Literal["auto", "equal"]


def full_colour(*counts: np.ndarray) -> int:
    """Return the count that is full colour: the 99th percentile of the cells with events.

    One hot pixel does not make the rest pale.
    """
    used = np.concatenate([each[each > 0] for each in counts])
    return max(1, round(float(np.percentile(used, 99)))) if used.size else 1


def shade(counts: Sequence[np.ndarray], colours: Sequence[str], full: int) -> np.ndarray:
    """Mix counts into colours as inks on white paper: where several are, it is dark.

        colour = prod_k (1 - min(counts_k / full, 1) * (1 - ink_k))

    Shape:
        counts: `[H, W]` each; returns float `[H, W, 3]` in 0..1.
    """
    image = np.ones((*counts[0].shape, 3))
    for each, ink in zip(counts, colours, strict=True):
        image *= 1.0 - np.minimum(each / full, 1.0)[..., None] * (1.0 - np.array(to_rgb(ink)))
    return image


def show(ax: Axes, image: np.ndarray, across: Cells, up: Cells, *, downwards: bool, aspect: Aspect = "auto") -> None:
    """Put an image into axes, row 0 at the top where `downwards`, and let them end where the sensor and window end."""
    extent = (across.start, across.end, up.start, up.end)
    ax.imshow(image, extent=extent, origin="lower", aspect=aspect, interpolation="nearest")
    ax.set_xlim(across.start, across.stop)
    ax.set_ylim(*((up.stop, up.start) if downwards else (up.start, up.stop)))


# Cells along the longer side of an image: more could not be seen when two are side by side in a small picture.
CELLS = 160


def draw_events(events: Events, sensor_size: SensorSize, duration_ms: float, name: str) -> Figure:
    """Draw the events of the window as an image for each polarity; both in one would hide each other.

    Args:
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


# Parts of the window, and of the sensor, in which events are counted for the image; and for the rate.
TIME_CELLS, PLACE_CELLS, RATE_CELLS = 200, 100, 60


def draw_event_times(events: Events, sensor_size: SensorSize, duration_ms: float, name: str) -> Figure:
    """Draw the columns, and the rows, of the events over time, and their number per ms.

    Args:
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


# Of each class so many recordings at most are summed, and so many classes at most are drawn.
RECORDINGS, CLASSES = 50, 30
ACROSS = 5
# Of a class's name in a line.
LETTERS = 16
# Cells along the longer side of an image: more could not be seen.
CLASS_CELLS = 64


def draw_classes(store: Store, targets: Sequence[int], names: Sequence[str], duration_ms: float) -> Figure:
    """Draw the events of each class; over time, where the sensor has no rows.

    Args:
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
        across, up = Cells.of_time(duration_ms, CLASS_CELLS), Cells.of_pixels(width, CLASS_CELLS)
    else:
        across = Cells.of_pixels(width, CLASS_CELLS, Cells.of_pixels(max(width, height), CLASS_CELLS).size)
        up = Cells.of_pixels(height, CLASS_CELLS, across.size)
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
