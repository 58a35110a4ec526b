"""How a training went, epoch by epoch: what can be drawn of it, and what its neurons have learned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from snnlab.nn.neurons.learned import PREFIX
from snnlab.record.pictures.style import (
    BLUE,
    DASHED,
    GREY,
    VERMILION,
    default_style,
    label,
    legend,
    new_figure,
    plain_numbers,
)

# Lines of more layers are told apart by their markers too.
COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222")
MARKERS = "osD^vP*"
_OF_LAYERS = (
    ("rate_hz", "rate (Hz)", "spikes a second, by layer"),
    ("spikes_per_step", "spikes a step", "spikes a step, by layer"),
    ("silent", "never fired", "part of the neurons that never fired, by layer"),
)
_PAIRS = (("loss", "loss"), ("accuracy", "accuracy"), ("mae", "mean error"), ("r2", "R2"))
_ENDS, _UNITS = ("_min", "_max"), ("ms", "steps")


class Curves(NamedTuple):
    """Curves that are drawn together.

    Attributes:
        words: What they show.
        axis: What stands at the axis.
        lines: Of each its column in `metrics.csv`, and what it is called.
    """

    words: str
    axis: str
    lines: Sequence[tuple[str, str]]


def curves(epochs: Mapping[str, np.ndarray]) -> dict[str, Curves]:
    """Return what can be drawn of a run, by name: loss, score, learning rate, rates and constants of layers.

    Args:
        epochs: The columns of `metrics.csv`.
    """
    found: dict[str, Curves] = {}
    for name, words in _PAIRS:
        lines = [(f"{stage}/{name}", stage) for stage in ("train", "val") if f"{stage}/{name}" in epochs]
        found[name] = Curves(f"{words}, epoch by epoch", words, lines)
    for what, axis, words in _OF_LAYERS:
        prefix = f"val/{what}/" if any(key.startswith(f"val/{what}/") for key in epochs) else f"train/{what}/"
        lines = [(key, key.removeprefix(prefix)) for key in epochs if key.startswith(prefix)]
        if not (what == "spikes_per_step" and any("/rate_hz/" in key for key in epochs)):
            found[what] = Curves(words, axis, lines)
    for what, of_layers in learned_lines(epochs):
        found[f"learned_{what.split()[0]}"] = Curves(f"{what}, learned, by layer", what, of_layers)
    rates = [(key, key.removeprefix("lr/")) for key in epochs if key.startswith("lr/")]
    found["lr"] = Curves("learning rate", "learning rate", rates or [("lr", "lr")] if "lr" in epochs else [])
    return {name: one for name, one in found.items() if one.lines}


def draw_curves(epochs: Mapping[str, np.ndarray], chosen: int | None) -> Iterator[tuple[str, Figure]]:
    """Yield each picture with what it shows, see `curves`.

    Args:
        epochs: The columns of `metrics.csv`.
        chosen: The epoch that was chosen, from 0, or None.
    """
    for one in curves(epochs).values():
        yield one.words, draw_curve(epochs, one, chosen)


def draw_curve(epochs: Mapping[str, np.ndarray], curve: Curves, chosen: int | None) -> Figure:
    """Draw curves over the epochs; see `draw_curves`."""
    with default_style():
        figure, (ax,) = new_figure(left=0.2)
        for place, (key, name) in enumerate(curve.lines):
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
            line = {"linestyle": "-" if place % 2 == 0 else DASHED, "linewidth": 1.4, "markersize": 3}
            ax.plot(epochs["epoch"] + 1, epochs[key], color=colour, marker=marker, label=name, **line)
        if chosen is not None:
            ax.axvline(chosen + 1, color=GREY, linewidth=0.8)
        plain_numbers(ax)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        if len(epochs["epoch"]) == 1:  # else the axis would be of parts of an epoch
            ax.set_xlim(epochs["epoch"][0] + 0.5, epochs["epoch"][0] + 1.5)
        label(ax, "epoch; the vertical line is the chosen one" if chosen is not None else "epoch", curve.axis)
        if len(curve.lines) > 1:
            legend(ax)
        return figure


def learned_lines(columns: Iterable[str]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield for each quantity what it is, with its unit, and its columns with the names of their layers."""
    found: dict[str, list[tuple[str, str]]] = {}
    for column, quantity, layer in _learned(columns):
        found.setdefault(_words(quantity), []).append((column, layer))
    yield from found.items()


def learned_rows(metrics: Mapping[str, float]) -> Iterator[tuple[str, str, str, str]]:
    """Yield for each quantity of each layer the layer, what it is, its value, and the least and the most of it."""
    for name, quantity, layer in _learned(metrics):
        ends = [metrics.get(f"{PREFIX}{quantity}{end}/{layer}") for end in _ENDS]
        spread = "" if None in ends else " to ".join(f"{end:.4g}" for end in ends)
        yield layer, _words(quantity), f"{metrics[name]:.4g}", spread


def _learned(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, quantity and layer of such as `learned/tau_mem_ms/lif1`."""
    for name in names:
        quantity, _, layer = name.removeprefix(PREFIX).partition("/")
        if name.startswith(PREFIX) and not quantity.endswith(_ENDS):
            yield name, quantity, layer


def _words(quantity: str) -> str:
    name, _, unit = quantity.rpartition("_")
    return f"{name} ({unit})" if unit in _UNITS else quantity
