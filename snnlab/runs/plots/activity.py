"""Plots of layers: spikes, membranes, rates, and the gradient of the loss at their inputs.

Axes: T steps, N neurons, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import NullLocator

from snnlab.data.events import Events
from snnlab.data.events.recording import SensorSize
from snnlab.runs.plots import style
from snnlab.runs.plots.answers import draw_labels, draw_readout, draw_values, short_name
from snnlab.runs.plots.event_plots import draw_event_times, draw_events
from snnlab.runs.plots.style import (
    BLUE,
    DASHED,
    INK,
    SMALL,
    figure_title,
    label,
    legend,
    new_figure,
    step_times,
    time_axis,
    title,
    write_in_axes,
)


def activity_text(counts: np.ndarray, num_steps: int, dt: float | None) -> str:
    """Return the mean rate and the part of silent neurons as text.

    Args:
        counts: Spikes of each neuron, `[N]`.
        num_steps: Number of steps of the counts.
        dt: Length of a step, ms, or None.
    """
    rate = rates(counts, num_steps, dt).mean()
    return f"{rate:.3g} {'spikes per step' if dt is None else 'Hz'} on average, {np.mean(counts == 0):.1%} silent"


def rates(counts: np.ndarray, num_steps: int, dt: float | None) -> np.ndarray:
    """Return rates in Hz, or in spikes per step if steps have no length."""
    return counts / num_steps * (1.0 if dt is None else 1000.0 / dt)


# More rows than this are not visible in a small plot.
MAX_RASTER_NEURONS = 100


def draw_raster(spikes: np.ndarray, dt: float | None, layer: str) -> Figure:
    """Draw the spikes of a layer's neurons over time; for a large layer, of evenly spaced neurons.

    Args:
        spikes: The layer's spikes.
        dt: Length of a step, ms, or None.
        layer: The layer's name.

    Shape:
        spikes: `[T, ...]`.
    """
    spikes = spikes.reshape(len(spikes), -1)
    num_steps, num_neurons = spikes.shape
    shown = evenly_spaced(num_neurons, MAX_RASTER_NEURONS)
    steps, rows = np.nonzero(spikes[:, shown])
    figure, (ax,) = new_figure(height=3.6)
    times, neurons = step_times(num_steps, dt)[steps], shown[rows]
    half = 0.5 * num_neurons / len(shown)
    ax.vlines(times, neurons - half, neurons + half, color=INK, linewidth=np.clip(60 / num_steps, 0.6, 2.0))
    if not steps.size:
        write_in_axes(ax, "no neuron fired" if not spikes.any() else "none of the drawn neurons fired")
    time_axis(ax, num_steps, dt)
    ax.set_ylim(-0.5, num_neurons - 0.5)
    of_all = "" if len(shown) == num_neurons else f", {len(shown)} of {num_neurons:,}"
    label(ax, ax.get_xlabel(), f"neuron{of_all}")
    title(ax, f"{layer}: {activity_text(spikes.sum(0), num_steps, dt)}")
    return figure


def evenly_spaced(total: int, most: int) -> np.ndarray:
    """Return at most `most` evenly spaced numbers of 0 .. total - 1."""
    return np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(np.int64))


MAX_MEMBRANES = 4


def draw_membranes(
    v: np.ndarray, spikes: np.ndarray, dt: float | None, layer: str, threshold: float | None = None
) -> Figure:
    """Draw the membranes of a few neurons after reset, the threshold, and a vertical line at each spike.

    Args:
        v: The layer's membranes, dimensionless.
        spikes: The layer's spikes.
        dt: Length of a step, ms, or None.
        layer: The layer's name.
        threshold: The firing threshold, or None.

    Shape:
        v, spikes: `[T, ...]`.
    """
    v, spikes = v.reshape(len(v), -1), spikes.reshape(len(v), -1)
    chosen, times = choose_neurons(v, spikes), style.step_times(len(v), dt)
    figure, axes = style.new_figure(len(chosen), height=4.2, top=0.88, hspace=0.25)
    for ax, neuron in zip(axes, chosen, strict=True):
        _draw_membrane(ax, times, v[:, neuron], times[spikes[:, neuron] > 0], threshold)
        ax.text(1, 1, f"neuron {neuron:,}", transform=ax.transAxes, fontsize=style.SMALL, ha="right", va="bottom")
    style.time_axis(axes[-1], len(v), dt)
    figure.supylabel("membrane v (dimensionless)", fontsize=style.TEXT, x=0.01)
    firing = "highest rate to lowest" if spikes.any() else "no spikes, the highest"
    dashed = "" if threshold is None else f"; threshold {threshold:g} dashed"
    style.figure_title(figure, f"{layer}: membranes, {firing}{dashed}")
    return figure


def choose_neurons(v: np.ndarray, spikes: np.ndarray) -> np.ndarray:
    """Return the neurons to draw, `[at most MAX_MEMBRANES]`; the same at every call.

    They are evenly spaced in the order of their rates; if no neuron fires, those with the highest membranes.

    Shape:
        v, spikes: `[T, N]`.
    """
    counts = spikes.sum(0)
    if not counts.any():
        return np.argsort(-v.max(0), kind="stable")[:MAX_MEMBRANES]
    firing = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    return firing[evenly_spaced(len(firing), MAX_MEMBRANES)]


def _draw_membrane(ax: Axes, times: np.ndarray, v: np.ndarray, fired: np.ndarray, threshold: float | None) -> None:
    top = v.max() if threshold is None else max(v.max(), threshold)
    margin = 0.35 * (top - v.min()) or 1.0
    if threshold is not None:
        ax.axhline(threshold, color=style.GREY, linewidth=1.0, linestyle=style.DASHED)
    ax.vlines(fired, v[np.isin(times, fired)], top + margin, color=style.VERMILION, linewidth=1.4)
    ax.plot(times, v, color=style.BLUE, linewidth=1.4)
    ax.set_ylim(v.min() - 0.2 * margin, top + 1.1 * margin)
    style.short_tick_numbers(ax)


BINS = 40


def draw_rates(counts: np.ndarray, num_steps: int, dt: float | None, layer: str) -> Figure:
    """Draw the histogram of the neurons' rates; the part of silent neurons is in the title.

    The axis reaches from one spike in total to a spike at every step, so that epochs are comparable.

    Args:
        counts: Spikes of each neuron, summed over recordings.
        num_steps: Number of steps of the counts, summed over recordings.
        dt: Length of a step, ms, or None.
        layer: The layer's name.

    Shape:
        counts: any.
    """
    counts = counts.reshape(-1)
    # Edges between whole numbers, so that each bin contains at least one possible count.
    edges = np.unique(np.geomspace(1, num_steps + 1, BINS).round()) - 0.5
    firing, _ = np.histogram(counts, edges)
    figure, (ax,) = new_figure()
    ax.stairs(firing, rates(edges, num_steps, dt), fill=True, color=BLUE)
    ax.set_xscale("log")
    # Minor ticks and tick labels as powers would take half of the drawing time.
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if firing.any():
        mean = rates(counts, num_steps, dt).mean()
        ax.axvline(mean, color=INK, linewidth=1.2, linestyle=DASHED, label="mean of all")
        legend(ax, loc="upper right")
    else:
        write_in_axes(ax, "no neuron fired")
        ax.set_yticks([0])
    label(ax, "rate (spikes per step)" if dt is None else "rate (Hz)", f"neurons, of {counts.size:,}")
    title(ax, f"{layer}: {activity_text(counts, num_steps, dt)}")
    return figure


# Orders of magnitude of the colour scale below the largest norm; smaller norms have the colour of 0.
DECADES = 6


def draw_gradients(norms: Mapping[str, Sequence[float]], dt: float | None) -> Figure:
    """Draw the norm of the gradient at each layer's input over time, the last layer at the top, on one colour scale.

    Args:
        norms: Norm at each step, by layer, in the order of computation.
        dt: Length of a step, ms, or None.

    Shape:
        norms: `[T]` each, of the same T.
    """
    names = list(norms)
    image = np.array([norms[name] for name in names])
    longest = max(map(len, names))
    figure, (ax,) = new_figure(height=1.3 + 0.3 * len(names), left=min(0.05 + 0.018 * longest, 0.45), right=0.83)
    largest = float(image.max(initial=0.0, where=np.isfinite(image)))
    if largest > 0:
        scale = np.log10(np.maximum(image / largest, 10.0**-DECADES))
        lowest = min(math.floor(scale.min(initial=0.0, where=np.isfinite(scale))), -1)
        end = image.shape[1] - 0.5 if dt is None else image.shape[1] * dt
        extent = (-0.5 if dt is None else 0.0, end, -0.5, len(names) - 0.5)
        image_artist = ax.imshow(scale, "magma", aspect="auto", vmin=lowest, vmax=0, origin="lower", extent=extent)
        _add_colorbar(figure, ax, image_artist, largest, lowest)
    else:
        write_in_axes(ax, "no gradient reaches any layer")
    ax.set_ylim(-0.5, len(names) - 0.5)
    ax.set_yticks(range(len(names)), names)
    time_axis(ax, image.shape[1], dt)
    figure_title(figure, "gradient of the loss at the layers' inputs: norm")
    return figure


def _add_colorbar(figure: Figure, ax: Axes, image_artist: AxesImage, largest: float, lowest: int) -> None:
    box = ax.get_position()
    colorbar_axes = figure.add_axes((box.x1 + 0.02, box.y0, 0.025, box.height))
    ticks = range(lowest, 1, 2 if lowest < -3 else 1)
    bar = figure.colorbar(image_artist, cax=colorbar_axes, ticks=ticks)
    bar.ax.set_yticklabels([_short_number(largest * 10.0**tick) for tick in ticks], fontsize=SMALL)
    bar.ax.tick_params(length=2)


def _short_number(value: float) -> str:
    digits, _, exponent = f"{value:.0e}".partition("e")
    return f"{digits}e{int(exponent)}".replace("-", "\N{MINUS SIGN}")


# Number of values in a title.
MAX_TITLE_VALUES = 3


class SpikeRecord(NamedTuple):
    """One recording, with the spikes, membranes and outputs of a network.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        duration_ms: Length of the window, ms.
        dt: Length of a step, ms, or None.
        target: The correct class, the correct values, or the correct label at each step, -100 for none.
        answers: The answer (class or values) at each step, from the steps up to it.
        spikes: Spikes of each spiking layer.
        membranes: Membranes of the spiking layers that have them.
        thresholds: Firing thresholds of the spiking layers with a common threshold.
        names: Names of classes or values; None: their numbers.

    Shape:
        target: `[K]` or `[T, K]` values, `[T]` labels; y: `[T, K]`; answers: `[T]`, or `[T, K]` values; spikes
        and membranes: `[T, ...]`.
    """

    events: Events
    sensor_size: SensorSize
    duration_ms: float
    dt: float | None
    target: int | np.ndarray
    y: np.ndarray
    answers: np.ndarray
    spikes: Mapping[str, np.ndarray]
    membranes: Mapping[str, np.ndarray]
    thresholds: Mapping[str, float]
    names: Sequence[str] | None = None


def draw_recording(spike_record: SpikeRecord) -> Iterator[tuple[str, Figure]]:
    """Yield the name and figure of each plot of the recording's events."""
    window = (
        spike_record.events,
        spike_record.sensor_size,
        spike_record.duration_ms,
        _target_text(spike_record.target, spike_record.names),
    )
    yield "events", draw_events(*window)
    yield "events_over_time", draw_event_times(*window)


def draw_network_activity(spike_record: SpikeRecord) -> Iterator[tuple[str, Figure]]:
    """Yield the name and figure of each plot of the network, one at a time to save memory."""
    for layer, spikes in spike_record.spikes.items():
        yield f"raster/{layer}", draw_raster(spikes, spike_record.dt, layer)
        if layer in spike_record.membranes:
            threshold = spike_record.thresholds.get(layer)
            yield (
                f"membranes/{layer}",
                draw_membranes(spike_record.membranes[layer], spikes, spike_record.dt, layer, threshold),
            )
    yield "readout", _draw_readout(spike_record)


def _draw_readout(spike_record: SpikeRecord) -> Figure:
    if isinstance(spike_record.target, int):
        return draw_readout(
            spike_record.y, spike_record.answers, spike_record.target, spike_record.dt, spike_record.names
        )
    draw = draw_values if spike_record.answers.ndim == 2 else draw_labels
    return draw(spike_record.answers, spike_record.target, spike_record.dt, spike_record.names)


def _target_text(target: int | np.ndarray, names: Sequence[str] | None) -> str:
    if isinstance(target, int):
        return f"class {short_name(target, names)}"
    if target.ndim > 1 or not np.issubdtype(target.dtype, np.floating):
        return "recording"
    return (
        "target "
        + ", ".join(f"{value:.3g}" for value in target[:MAX_TITLE_VALUES])
        + (", ..." if target.size > MAX_TITLE_VALUES else "")
    )
