"""How the rates of a layer's neurons are spread."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from snnlab.record.pictures.style import BLUE, DASHED, INK, label, legend, new_figure, say, title
from snnlab.record.pictures.words import activity, rates

BINS = 40


def draw_rates(counts: np.ndarray, num_steps: int, dt: float | None, layer: str) -> Figure:
    """Draw how many neurons have which rate; those that never fired are in the title.

    The axis goes from one spike in all to a spike at every step, so that epochs can be compared.

    Args:
        counts: Spikes of each neuron, summed over recordings.
        num_steps: Steps in which they were counted, summed over recordings.
        dt: Length of a step, ms, or None.
        layer: The layer's name.

    Shape:
        counts: any.
    """
    counts = counts.reshape(-1)
    # Between whole numbers, so that no bin is empty only because no count can fall into it.
    edges = np.unique(np.geomspace(1, num_steps + 1, BINS).round()) - 0.5
    firing, _ = np.histogram(counts, edges)
    figure, (ax,) = new_figure()
    ax.stairs(firing, rates(edges, num_steps, dt), fill=True, color=BLUE)
    ax.set_xscale("log")
    # Lines without numbers, and numbers written as powers, would be half of the time that the picture takes.
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if firing.any():
        mean = rates(counts, num_steps, dt).mean()
        ax.axvline(mean, color=INK, linewidth=1.2, linestyle=DASHED, label="mean of all")
        legend(ax, loc="upper right")
    else:
        say(ax, "no neuron fired")
        ax.set_yticks([0])
    label(ax, "rate (spikes a step)" if dt is None else "rate (Hz)", f"neurons, of {counts.size:,}")
    title(ax, f"{layer}: {activity(counts, num_steps, dt)}")
    return figure
