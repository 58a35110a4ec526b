"""Plots of events: as images, over time, and by class."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from snnlab.data.events import Events, Store
from snnlab.data.events.recording import SensorSize
from snnlab.runs.plots import style
from snnlab.runs.plots.style import BLUE, VERMILION


class AxisBins(NamedTuple):
    """Equal bins of an image's axis.

    Args:
        number: Number of bins.
        size: Size of a bin, px or ms.
        start: Start of the first bin, px or ms: pixel 0 starts at -0.5.
        stop: End of the axis, px or ms.
    """

    number: int
    size: float
    start: float
    stop: float

    @classmethod
    def of_pixels(cls, pixels: int, most: int, size: float = 0) -> AxisBins:
        """Return bins of whole pixels: of `size`, or of the smallest size that gives at most `most` bins."""
        size = size or math.ceil(pixels / most)
        return cls(math.ceil(pixels / size), size, -0.5, pixels - 0.5)

    @classmethod
    def of_time(cls, duration_ms: float, number: int) -> AxisBins:
        """Return `number` bins of the window `[0, duration_ms)`."""
        return cls(number, duration_ms / number, 0.0, duration_ms)

    @property
    def end(self) -> float:
        """End of the last bin, which may be after the end of the axis."""
        return self.start + self.number * self.size

    def bin_indices(self, values: np.ndarray) -> np.ndarray:
        """Return the bin index of each value: pixels, or times in ms."""
        return np.minimum((values / self.size).astype(np.int64), self.number - 1)


class WindowEvents(NamedTuple):
    """The events of a recording in a time window.

    Args:
        t: Time, ms.
        y: Row, or None.
        on: True for ON events; True for all if there is one polarity.

    Shape:
        `[N]` each.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray | None
    on: np.ndarray

    @classmethod
    def of(cls, events: Events, duration_ms: float, polarities: int) -> WindowEvents:
        """Return the events of `[0, duration_ms)`."""
        t, x, y, p = events
        n = int(np.searchsorted(t, round(duration_ms * 1000)))
        return cls(t[:n] / 1000, x[:n], None if y is None else y[:n], p[:n] if polarities == 2 else np.ones(n, bool))

    def histograms(
        self, x_bins: AxisBins, y_bins: AxisBins, positions: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the counts of ON and of OFF events in each bin.

        Args:
            x_bins: Bins of the image's columns.
            y_bins: Bins of the image's rows.
            positions: Positions of the events on the two axes, `[N]`.

        Shape:
            returns two `[y_bins.number, x_bins.number]`.
        """
        cells = y_bins.bin_indices(positions[1]) * x_bins.number + x_bins.bin_indices(positions[0])
        size = y_bins.number * x_bins.number
        on, off = (np.bincount(cells[chosen], minlength=size) for chosen in (self.on, ~self.on))
        return on.reshape(y_bins.number, -1), off.reshape(y_bins.number, -1)


ON, OFF = VERMILION, BLUE
Aspect = Literal["auto", "equal"]


def full_colour_count(*counts: np.ndarray) -> int:
    """Return the count that has full colour: the 99th percentile of the bins with events.

    A single hot pixel does not make the others pale.
    """
    used = np.concatenate([each[each > 0] for each in counts])
    return max(1, round(float(np.percentile(used, 99)))) if used.size else 1


def blend(counts: Sequence[np.ndarray], colours: Sequence[str], full: int) -> np.ndarray:
    """Blend counts of several kinds into an image, like inks on white paper.

        colour = prod_k (1 - min(counts_k / full, 1) * (1 - ink_k))

    Shape:
        counts: `[H, W]` each; returns float `[H, W, 3]` in 0..1.
    """
    image = np.ones((*counts[0].shape, 3))
    for each, ink in zip(counts, colours, strict=True):
        image *= 1.0 - np.minimum(each / full, 1.0)[..., None] * (1.0 - np.array(to_rgb(ink)))
    return image


def draw_image(
    ax: Axes, image: np.ndarray, x_bins: AxisBins, y_bins: AxisBins, *, downwards: bool, aspect: Aspect = "auto"
) -> None:
    """Draw an image into axes with the limits of sensor and window; with `downwards` row 0 is at the top."""
    extent = (x_bins.start, x_bins.end, y_bins.start, y_bins.end)
    ax.imshow(image, extent=extent, origin="lower", aspect=aspect, interpolation="nearest")
    ax.set_xlim(x_bins.start, x_bins.stop)
    ax.set_ylim(*((y_bins.stop, y_bins.start) if downwards else (y_bins.start, y_bins.stop)))


# Largest number of bins along the longer side of an image: more are not visible in a small plot of two.
IMAGE_BINS = 160


def draw_events(events: Events, sensor_size: SensorSize, duration_ms: float, name: str) -> Figure:
    """Draw the events of the window as one image for each polarity; in a common image they would hide each other.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities); with P = 1 the polarities are not distinguished.
        duration_ms: Length of the window, ms.
        name: Name of the recording.
    """
    width, height, polarities = sensor_size
    polarities = 2 if polarities == 2 else 1  # with more than two polarities, as with one, all events are in one image
    window = WindowEvents.of(events, duration_ms, polarities)
    if window.y is None:
        x_bins, y_bins = AxisBins.of_time(duration_ms, IMAGE_BINS), AxisBins.of_pixels(width, IMAGE_BINS)
        positions, labels, aspect = (window.t, window.x), ("time (ms)", "address (px)"), "auto"
        image_height, cell = 2.2, f"in {y_bins.size:g} px x {x_bins.size:g} ms"
    else:
        x_bins = AxisBins.of_pixels(width, IMAGE_BINS, AxisBins.of_pixels(max(width, height), IMAGE_BINS).size)
        y_bins = AxisBins.of_pixels(height, IMAGE_BINS, x_bins.size)
        positions, labels, aspect = (window.x, window.y), ("column (px)", "row (px)"), "equal"
        image_height, cell = (
            min(max(3.9 / polarities * height / width, 1.0), 4.5),
            f"in {y_bins.size:g} x {y_bins.size:g} px",
        )
    counts = window.histograms(x_bins, y_bins, positions)
    figure, axes = style.new_figure(
        columns=polarities, height=image_height + 1.3, top=1 - 0.7 / (image_height + 1.3), wspace=0.12
    )
    full, kinds = full_colour_count(*counts), (("ON", ON), ("OFF", OFF)) if polarities == 2 else (("events", ON),)
    for ax, (kind, colour), each in zip(axes, kinds, counts, strict=False):  # with one polarity there are no OFF events
        draw_image(ax, blend([each], [colour], full), x_bins, y_bins, downwards=window.y is not None, aspect=aspect)
        ax.set_xlabel(labels[0], fontsize=style.TEXT)
        style.title(ax, f"{kind}: {int(each.sum()):,}")
    axes[0].set_ylabel(labels[1], fontsize=style.TEXT)
    many = f"{window.t.size:,} events in {duration_ms:g} ms"
    style.figure_title(figure, f"{name}: {many}\nfull colour: {full} {cell.replace('in 1 x 1 px', 'a pixel')}")
    return figure


# Number of bins of the window and of the sensor in the image, and of the window for the rate.
TIME_BINS, PIXEL_BINS, RATE_BINS = 200, 100, 60


def draw_event_times(events: Events, sensor_size: SensorSize, duration_ms: float, name: str) -> Figure:
    """Draw the columns and rows of the events over time, and their number per ms.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities); with P = 1 the polarities are not distinguished.
        duration_ms: Length of the window, ms.
        name: Name of the recording.
    """
    width, height, polarities = sensor_size
    window = WindowEvents.of(events, duration_ms, polarities)
    axes = [("column (px)" if window.y is not None else "address (px)", window.x, width)]
    if window.y is not None:
        axes.append(("row (px)", window.y, height))
    figure, (*above, rate) = style.new_figure(len(axes) + 1, height=1.3 * (len(axes) + 1) + 0.7)
    x_bins = AxisBins.of_time(duration_ms, TIME_BINS)
    for ax, (text, positions, size) in zip(above, axes, strict=True):
        y_bins = AxisBins.of_pixels(size, PIXEL_BINS)
        counts = window.histograms(x_bins, y_bins, (window.t, positions))
        draw_image(
            ax, blend(counts, (ON, OFF), full_colour_count(*counts)), x_bins, y_bins, downwards=text == "row (px)"
        )
        ax.set_ylabel(text, fontsize=style.TEXT)
    _draw_rate(rate, window, AxisBins.of_time(duration_ms, RATE_BINS), polarities)
    style.title(above[0], f"{name}: events over time")
    return figure


def _draw_rate(ax: Axes, window: WindowEvents, cells: AxisBins, polarities: int) -> None:
    edges = np.linspace(cells.start, cells.stop, cells.number + 1)
    kinds = (("ON", ON, window.on), ("OFF", OFF, ~window.on)) if polarities == 2 else (("", ON, window.on),)
    for text, colour, chosen in kinds:
        counts = np.bincount(cells.bin_indices(window.t[chosen]), minlength=cells.number)
        ax.stairs(counts / cells.size, edges, baseline=None, color=colour, label=text, linewidth=1.4)
    ax.set_xlim(cells.start, cells.stop)
    ax.set_ylim(0, 1.3 * max(ax.get_ylim()[1], 0.1))  # room for the legend
    style.label(ax, "time (ms)", "events per ms")
    if polarities == 2:
        style.legend(ax, loc="upper right", ncol=2)


# Largest number of summed recordings of a class, and of drawn classes.
MAX_RECORDINGS, MAX_CLASSES = 50, 30
MAX_COLUMNS = 5
# Letters of a class name in a line.
MAX_NAME_LETTERS = 16
# Largest number of bins along the longer side of a class's image.
CLASS_BINS = 64


def draw_classes(store: Store, targets: Sequence[int], names: Sequence[str], duration_ms: float) -> Figure:
    """Draw the events of each class as an image; over time if the sensor has no rows.

    Args:
        targets: The classes; those without recordings are not drawn.
        names: Names of the classes.
        duration_ms: Length of the window, ms.
    """
    existing = [(target, name) for target, name in zip(targets, names, strict=True) if target in store.targets]
    drawn = existing[:MAX_CLASSES]
    columns = min(MAX_COLUMNS, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    width, height, _ = store.sensor_size
    image_height = style.WIDTH_INCHES / columns * (0.8 if height == 1 else height / width) * rows + 0.45 * rows + 0.6
    margins: dict[str, Any] = {"bottom": 0.12 / image_height, "top": 1 - 0.62 / image_height, "hspace": 0.38}
    figure, axes = style.new_figure(rows, columns, height=image_height, left=0.03, wspace=0.08, **margins)
    for ax, (target, name) in zip(axes, drawn, strict=False):
        _draw_class(ax, store, np.flatnonzero(store.targets == target)[:MAX_RECORDINGS], duration_ms)
        text = "\n".join(textwrap.wrap(name, MAX_NAME_LETTERS, max_lines=2, placeholder="..."))
        ax.set_title(text, fontsize=style.SMALL, color=style.INK, loc="left", pad=2)
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    more = f"; {len(existing) - MAX_CLASSES} more are not drawn" if len(existing) > MAX_CLASSES else ""
    over = f"address over {duration_ms:g} ms" if height == 1 else f"summed over {duration_ms:g} ms"
    style.figure_title(figure, f"Classes{more}: events, {over}\nand up to {MAX_RECORDINGS} recordings each")
    return figure


def _draw_class(ax: Axes, store: Store, indices: np.ndarray, duration_ms: float) -> None:
    width, height, _ = store.sensor_size
    if height == 1:
        x_bins, y_bins = AxisBins.of_time(duration_ms, CLASS_BINS), AxisBins.of_pixels(width, CLASS_BINS)
    else:
        x_bins = AxisBins.of_pixels(width, CLASS_BINS, AxisBins.of_pixels(max(width, height), CLASS_BINS).size)
        y_bins = AxisBins.of_pixels(height, CLASS_BINS, x_bins.size)
    counts = np.zeros((y_bins.number, x_bins.number), np.int64)
    for index in indices.tolist():
        window = WindowEvents.of(store[index], duration_ms, 1)
        where = (window.t, window.x) if window.y is None else (window.x, window.y)
        counts += window.histograms(x_bins, y_bins, where)[0]
    draw_image(
        ax,
        blend([counts], [style.INK], full_colour_count(counts)),
        x_bins,
        y_bins,
        downwards=height > 1,
        aspect="equal" if height > 1 else "auto",
    )
