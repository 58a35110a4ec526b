"""The figures of reports: training curves, and scores against costs or against a swept setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from snnlab.nn.summary import LEARNED_PREFIX
from snnlab.runs.plots.style import (
    BLUE,
    DASHED,
    GREY,
    INK,
    SERIES,
    SMALL,
    VERMILION,
    default_style,
    label,
    legend,
    log_axis,
    new_figure,
    short_tick_numbers,
)
from snnlab.runs.runs_table import GridRow, group_by
from snnlab.runs.statistics import SeedSummary
from snnlab.runs.tables import short_number

# With more layers, their lines differ in the marker too.
COLOURS = (*SERIES, INK)
MARKERS = "osD^vP*"
_LAYER_METRICS = (
    ("rate_hz", "rate (Hz)", "spikes a second, by layer"),
    ("spikes_per_step", "spikes a step", "spikes a step, by layer"),
    ("silent", "never fired", "fraction of neurons that never fired, by layer"),
)
_PAIRS = (("loss", "loss"), ("accuracy", "accuracy"), ("mae", "mean error"), ("r2", "R2"))
_RANGE_SUFFIXES, _UNITS = ("_min", "_max"), ("ms", "steps")


class Curves(NamedTuple):
    """Curves of one plot.

    Attributes:
        caption: The plot's title.
        axis: The label of the y axis.
        lines: The curves, each as its column in `metrics.csv` and its label.
    """

    caption: str
    axis: str
    lines: Sequence[tuple[str, str]]


def curves(epochs: Mapping[str, np.ndarray]) -> dict[str, Curves]:
    """Return the plots that a run has data for, by name: loss, score, learning rate, rates and parameters of layers.

    Args:
        epochs: The columns of `metrics.csv`.
    """
    found: dict[str, Curves] = {}
    for name, caption in _PAIRS:
        lines = [(f"{stage}/{name}", stage) for stage in ("train", "val") if f"{stage}/{name}" in epochs]
        found[name] = Curves(f"{caption}, epoch by epoch", caption, lines)
    for what, axis, caption in _LAYER_METRICS:
        prefix = f"val/{what}/" if any(key.startswith(f"val/{what}/") for key in epochs) else f"train/{what}/"
        lines = [(key, key.removeprefix(prefix)) for key in epochs if key.startswith(prefix)]
        if not (what == "spikes_per_step" and any("/rate_hz/" in key for key in epochs)):
            found[what] = Curves(caption, axis, lines)
    for what, of_layers in learned_lines(epochs):
        found[f"learned_{what.split()[0]}"] = Curves(f"{what}, learned, by layer", what, of_layers)
    rates = [(key, key.removeprefix("lr/")) for key in epochs if key.startswith("lr/")]
    found["lr"] = Curves("learning rate", "learning rate", rates or [("lr", "lr")] if "lr" in epochs else [])
    return {name: one for name, one in found.items() if one.lines}


def draw_curves(epochs: Mapping[str, np.ndarray], chosen: int | None) -> Iterator[tuple[str, Figure]]:
    """Yield the title and the figure of each plot of `curves`.

    Args:
        epochs: The columns of `metrics.csv`.
        chosen: The chosen epoch, from 0, or None.
    """
    for one in curves(epochs).values():
        yield one.caption, draw_curve(epochs, one, chosen)


def draw_curve(epochs: Mapping[str, np.ndarray], curve: Curves, chosen: int | None) -> Figure:
    """Draw curves over the epochs, with a line at the chosen epoch."""
    with default_style():
        figure, (ax,) = new_figure(left=0.2)
        for index, (key, name) in enumerate(curve.lines):
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            line = {"linestyle": "-" if index % 2 == 0 else DASHED, "linewidth": 1.4, "markersize": 3}
            ax.plot(epochs["epoch"] + 1, epochs[key], color=colour, marker=marker, label=name, **line)
        if chosen is not None:
            ax.axvline(chosen + 1, color=GREY, linewidth=0.8)
        short_tick_numbers(ax)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        if len(epochs["epoch"]) == 1:  # otherwise the axis would show fractions of an epoch
            ax.set_xlim(epochs["epoch"][0] + 0.5, epochs["epoch"][0] + 1.5)
        label(ax, "epoch; the vertical line is the chosen one" if chosen is not None else "epoch", curve.axis)
        if len(curve.lines) > 1:
            legend(ax)
        return figure


def learned_lines(columns: Iterable[str]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield for each learned quantity its name with the unit, and its columns with the names of their layers."""
    found: dict[str, list[tuple[str, str]]] = {}
    for column, quantity, layer in _learned(columns):
        found.setdefault(_quantity_label(quantity), []).append((column, layer))
    yield from found.items()


def learned_rows(metrics: Mapping[str, float]) -> Iterator[tuple[str, str, str, str]]:
    """Yield for each learned quantity of each layer: layer, quantity, value, and its range over the layer."""
    for name, quantity, layer in _learned(metrics):
        ends = [metrics.get(f"{LEARNED_PREFIX}{quantity}{end}/{layer}") for end in _RANGE_SUFFIXES]
        interval = "" if None in ends else " to ".join(f"{end:.4g}" for end in ends)
        yield layer, _quantity_label(quantity), f"{metrics[name]:.4g}", interval


def _learned(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, quantity and layer of each learned metric, such as `learned/tau_mem_ms/lif1`."""
    for name in names:
        quantity, _, layer = name.removeprefix(LEARNED_PREFIX).partition("/")
        if name.startswith(LEARNED_PREFIX) and not quantity.endswith(_RANGE_SUFFIXES):
            yield name, quantity, layer


def _quantity_label(quantity: str) -> str:
    name, _, unit = quantity.rpartition("_")
    return f"{name} ({unit})" if unit in _UNITS else quantity


# Positive values that differ by more than this factor have a logarithmic axis.
_LOG_AXIS_RATIO = 20
_SWEPT = ("val/accuracy", "val/loss", "test/accuracy")


class Point(NamedTuple):
    """A method or a run in a plot."""

    name: str
    baseline: bool
    cost: SeedSummary
    score: SeedSummary


def draw_costs(points: Sequence[Point], cost: str, score: str) -> Figure | None:
    """Draw scores against costs, with 95 % intervals; a line joins the points of the Pareto front.

    Args:
        cost: Name of the cost.
        score: Name of the score, which is in percent.

    Returns:
        None where all cost the same.
    """
    if len({point.cost.mean for point in points}) < 2:
        return None
    with default_style():
        figure, (ax,) = new_figure(height=3.4, left=0.15)
        costs = [point.cost.mean for point in points]
        if min(costs) > 0 and max(costs) > _LOG_AXIS_RATIO * min(costs):
            log_axis(ax, costs)
        best: list[Point] = []
        for point in sorted(points, key=lambda point: (point.cost.mean, -point.score.mean)):
            if not best or point.score.mean > best[-1].score.mean:
                best.append(point)
        front = [point.cost.mean for point in best], [100 * point.score.mean for point in best]
        ax.plot(*front, color=GREY, linewidth=1.2, drawstyle="steps-post", label="none is better at less", zorder=1)
        for number, point in enumerate(points):  # labels alternate sides: neighbours are often close together
            position, offset = (point.cost.mean, 100 * point.score.mean), (-5, -9) if number % 2 else (5, 3)
            side = "right" if number % 2 else "left"
            ax.annotate(point.name, position, offset, textcoords="offset points", fontsize=SMALL, color=INK, ha=side)
        for kind, colour, marker in ((False, BLUE, "o"), (True, VERMILION, "s")):
            if group := [point for point in points if point.baseline == kind]:
                x, y = _with_bars([p.cost for p in group], 1), _with_bars([p.score for p in group], 100)
                style: dict[str, Any] = {"fmt": marker, "color": colour, "markersize": 4.5, "elinewidth": 0.9}
                name = ("baseline" if kind else "method") if any(point.baseline for point in points) else None
                ax.errorbar(x[0], y[0], xerr=x[1], yerr=y[1], capsize=2, label=name, **style)
        bottom, top = ax.get_ylim()
        ax.set_ylim(max(bottom, -2), min(top, 102))  # an interval may exceed the possible range
        label(ax, cost, score)
        ax.xaxis.set_major_formatter(lambda value, _: short_number(value))
        legend(ax, loc="best")
        return figure


def draw_swept(rows: Sequence[GridRow], keys: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure for each setting of a grid and each metric; a line for each combination of the other settings.

    Args:
        rows: Groups of runs that differ only in their seed.
        keys: The settings with several values, without the seed.
    """
    for key in keys:
        for metric in _SWEPT:
            there = [row for row in rows if row.metrics.get(metric)]
            if len({row.values[key] for row in there}) > 1:
                yield f"{metric} against {key}", _draw_swept(there, key, metric)


def _draw_swept(rows: Sequence[GridRow], key: str, metric: str) -> Figure:
    with default_style():
        figure, (ax,) = new_figure(height=3.4, left=0.17)
        x_of, marked = _axis([row.values[key] for row in rows])
        lines = group_by(rows, lambda row: "  ".join(f"{k}={v}" for k, v in row.values.items() if k != key))
        for number, (name, of) in enumerate(lines.items()):
            of.sort(key=lambda row: x_of(row.values[key]))
            found = [row.metrics[metric] for row in of]
            bars = [stdev(values) if len(values) > 1 else 0.0 for values in found]
            style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            style |= {"linestyle": "-" if number % 2 == 0 else DASHED, "markersize": 4, "capsize": 2, "label": name}
            ax.errorbar([x_of(row.values[key]) for row in of], list(map(fmean, found)), yerr=bars, **style)
        if isinstance(marked, Mapping):
            ax.set_xticks(list(marked.values()), list(marked))
        elif marked:
            log_axis(ax, marked)
        label(ax, key, f"{metric}, mean ± sd over seeds" if any(len(r.metrics[metric]) > 1 for r in rows) else metric)
        if len(lines) > 1:
            legend(ax)
        return figure


def _axis(values: Sequence[str]) -> tuple[Callable[[str], float], Mapping[str, float] | list[float]]:
    """Return a function from a value to its axis position; and the positions of texts, or numbers for a log axis."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        ticks = {value: float(number) for number, value in enumerate(dict.fromkeys(values))}
        return ticks.__getitem__, ticks
    return float, numbers if min(numbers) > 0 and max(numbers) > _LOG_AXIS_RATIO * min(numbers) else []


def _with_bars(summaries: Sequence[SeedSummary], factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return means, and the lower (down to 0) and upper lengths of their 95 % intervals, `[2, N]`; 0 without one."""
    means = np.array([each.mean for each in summaries])
    low = np.array([each.mean if each.low is None else max(each.low, 0.0) for each in summaries])
    high = np.array([each.mean if each.high is None else each.high for each in summaries])
    return factor * means, factor * np.stack([means - low, high - means])
