"""The membranes of a few neurons of one layer over time.

Axes: T steps, N neurons.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snnlab.record.pictures import style
from snnlab.record.pictures.raster import evenly

NEURONS = 4


def draw_membranes(
    v: np.ndarray, spikes: np.ndarray, dt: float | None, layer: str, threshold: float | None = None
) -> Figure:
    """Draw a few membranes after their resets, the threshold, and a stroke upwards at each spike.

    Args:
        v: The layer's membranes, dimensionless.
        spikes: The layer's spikes.
        dt: Length of a step, ms, or None.
        layer: The layer's name.
        threshold: The firing threshold, where the layer has one.

    Shape:
        v, spikes: `[T, ...]`.
    """
    v, spikes = v.reshape(len(v), -1), spikes.reshape(len(v), -1)
    chosen, times = choose(v, spikes), style.step_times(len(v), dt)
    figure, axes = style.new_figure(len(chosen), height=4.2, top=0.88, hspace=0.25)
    for ax, neuron in zip(axes, chosen, strict=True):
        _draw_one(ax, times, v[:, neuron], times[spikes[:, neuron] > 0], threshold)
        ax.text(1, 1, f"neuron {neuron:,}", transform=ax.transAxes, fontsize=style.SMALL, ha="right", va="bottom")
    style.time_axis(axes[-1], len(v), dt)
    figure.supylabel("membrane v (dimensionless)", fontsize=style.TEXT, x=0.01)
    firing = "busy to rare" if spikes.any() else "no spikes, the highest"
    dashed = "" if threshold is None else f"; threshold {threshold:g} dashed"
    style.headline(figure, f"{layer}: membranes, {firing}{dashed}")
    return figure


def choose(v: np.ndarray, spikes: np.ndarray) -> np.ndarray:
    """Return the neurons that are drawn, `[at most NEURONS]`; the same every time.

    They are spread over the ranks of those that fire, from the busiest on; where none fires, they are those whose
    membranes come highest.

    Shape:
        v, spikes: `[T, N]`.
    """
    counts = spikes.sum(0)
    if not counts.any():
        return np.argsort(-v.max(0), kind="stable")[:NEURONS]
    firing = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    return firing[evenly(len(firing), NEURONS)]


def _draw_one(ax: Axes, times: np.ndarray, v: np.ndarray, fired: np.ndarray, threshold: float | None) -> None:
    top = v.max() if threshold is None else max(v.max(), threshold)
    room = 0.35 * (top - v.min()) or 1.0
    if threshold is not None:
        ax.axhline(threshold, color=style.GREY, linewidth=1.0, linestyle=style.DASHED)
    ax.vlines(fired, v[np.isin(times, fired)], top + room, color=style.VERMILION, linewidth=1.4)
    ax.plot(times, v, color=style.BLUE, linewidth=1.4)
    ax.set_ylim(v.min() - 0.2 * room, top + 1.1 * room)
    style.plain_numbers(ax)
