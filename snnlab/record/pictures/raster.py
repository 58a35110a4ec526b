"""The spikes of one layer: a row a neuron, a stroke a spike.

Axes: T steps, N neurons.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from snnlab.record.pictures.style import INK, label, new_figure, say, step_times, time_axis, title
from snnlab.record.pictures.words import activity

# More rows than this are too thin to be seen when the picture is small.
ROWS = 100


def draw_raster(spikes: np.ndarray, dt: float | None, layer: str) -> Figure:
    """Draw when which neurons of a layer spike; of a large layer, neurons in equal distances.

    Args:
        spikes: The layer's spikes.
        dt: Length of a step, ms, or None.
        layer: The layer's name.

    Shape:
        spikes: `[T, ...]`.
    """
    spikes = spikes.reshape(len(spikes), -1)
    num_steps, num_neurons = spikes.shape
    shown = evenly(num_neurons, ROWS)
    steps, rows = np.nonzero(spikes[:, shown])
    figure, (ax,) = new_figure(height=3.6)
    times, neurons = step_times(num_steps, dt)[steps], shown[rows]
    half = 0.5 * num_neurons / len(shown)
    ax.vlines(times, neurons - half, neurons + half, color=INK, linewidth=np.clip(60 / num_steps, 0.6, 2.0))
    if not steps.size:
        say(ax, "no neuron fired" if not spikes.any() else "none of these fired")
    time_axis(ax, num_steps, dt)
    ax.set_ylim(-0.5, num_neurons - 0.5)
    of_all = "" if len(shown) == num_neurons else f", {len(shown)} of {num_neurons:,}"
    label(ax, ax.get_xlabel(), f"neuron{of_all}")
    title(ax, f"{layer}: {activity(spikes.sum(0), num_steps, dt)}")
    return figure


def evenly(total: int, most: int) -> np.ndarray:
    """Return at most `most` of the numbers 0 .. total - 1, in equal distances."""
    return np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(np.int64))
