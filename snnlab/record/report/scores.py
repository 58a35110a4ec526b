"""How good ways of training are, in pictures: against what they cost, and against a setting that was swept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from snnlab.record.grid import Row
from snnlab.record.groups import grouped
from snnlab.record.pictures.style import (
    BLUE,
    DASHED,
    GREY,
    INK,
    SMALL,
    VERMILION,
    default_style,
    label,
    legend,
    log_axis,
    new_figure,
)
from snnlab.record.report.curves import COLOURS, MARKERS
from snnlab.record.suite.figures import Spread, short_number

# Positive values that differ by more than this factor have a logarithmic axis.
_WIDE = 20
_SWEPT = ("val/accuracy", "val/loss", "test/accuracy")


class Point(NamedTuple):
    """A way of training, or a run, in a picture."""

    name: str
    baseline: bool
    cost: Spread
    score: Spread


def draw_costs(points: Sequence[Point], cost: str, score: str) -> Figure | None:
    """Draw scores against costs, with 95 % intervals; a line joins those that none is better than at less.

    Args:
        cost: What the cost is.
        score: What the score is, in percent.

    Returns:
        None where all cost the same.
    """
    if len({point.cost.mean for point in points}) < 2:
        return None
    with default_style():
        figure, (ax,) = new_figure(height=3.4, left=0.15)
        costs = [point.cost.mean for point in points]
        if min(costs) > 0 and max(costs) > _WIDE * min(costs):
            log_axis(ax, costs)
        best: list[Point] = []
        for point in sorted(points, key=lambda point: (point.cost.mean, -point.score.mean)):
            if not best or point.score.mean > best[-1].score.mean:
                best.append(point)
        front = [point.cost.mean for point in best], [100 * point.score.mean for point in best]
        ax.plot(*front, color=GREY, linewidth=1.2, drawstyle="steps-post", label="none is better at less", zorder=1)
        for number, point in enumerate(points):  # beside each other in turn: neighbours are often close together
            at, offset = (point.cost.mean, 100 * point.score.mean), (-5, -9) if number % 2 else (5, 3)
            side = "right" if number % 2 else "left"
            ax.annotate(point.name, at, offset, textcoords="offset points", fontsize=SMALL, color=INK, ha=side)
        for kind, colour, marker in ((False, BLUE, "o"), (True, VERMILION, "s")):
            if of_kind := [point for point in points if point.baseline == kind]:
                x, y = _with_bars([p.cost for p in of_kind], 1), _with_bars([p.score for p in of_kind], 100)
                style: dict[str, Any] = {"fmt": marker, "color": colour, "markersize": 4.5, "elinewidth": 0.9}
                name = ("baseline" if kind else "arm") if any(point.baseline for point in points) else None
                ax.errorbar(x[0], y[0], xerr=x[1], yerr=y[1], capsize=2, label=name, **style)
        bottom, top = ax.get_ylim()
        ax.set_ylim(max(bottom, -2), min(top, 102))  # an interval may reach beyond what there can be
        label(ax, cost, score)
        ax.xaxis.set_major_formatter(lambda value, _: short_number(value))
        legend(ax, loc="best")
        return figure


def draw_swept(rows: Sequence[Row], keys: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """Yield a picture for each setting of a grid and what came out; a line for each combination of the others.

    Args:
        rows: Runs that differ in their seed alone.
        keys: The settings with several values but the seed.
    """
    for key in keys:
        for metric in _SWEPT:
            there = [row for row in rows if row.metrics.get(metric)]
            if len({row.values[key] for row in there}) > 1:
                yield f"{metric} against {key}", _draw_swept(there, key, metric)


def _draw_swept(rows: Sequence[Row], key: str, metric: str) -> Figure:
    with default_style():
        figure, (ax,) = new_figure(height=3.4, left=0.17)
        place, marked = _axis([row.values[key] for row in rows])
        lines = grouped(rows, lambda row: "  ".join(f"{k}={v}" for k, v in row.values.items() if k != key))
        for number, (name, of) in enumerate(lines.items()):
            of.sort(key=lambda row: place(row.values[key]))
            found = [row.metrics[metric] for row in of]
            bars = [stdev(values) if len(values) > 1 else 0.0 for values in found]
            style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            style |= {"linestyle": "-" if number % 2 == 0 else DASHED, "markersize": 4, "capsize": 2, "label": name}
            ax.errorbar([place(row.values[key]) for row in of], list(map(fmean, found)), yerr=bars, **style)
        if isinstance(marked, Mapping):
            ax.set_xticks(list(marked.values()), list(marked))
        elif marked:
            log_axis(ax, marked)
        label(ax, key, f"{metric}, mean ± sd over seeds" if any(len(r.metrics[metric]) > 1 for r in rows) else metric)
        if len(lines) > 1:
            legend(ax)
        return figure


def _axis(values: Sequence[str]) -> tuple[Callable[[str], float], Mapping[str, float] | list[float]]:
    """Return where a value stands on its axis; and the places of words, or numbers that need a logarithmic one."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        places = {value: float(number) for number, value in enumerate(dict.fromkeys(values))}
        return places.__getitem__, places
    return float, numbers if min(numbers) > 0 and max(numbers) > _WIDE * min(numbers) else []


def _with_bars(spreads: Sequence[Spread], factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return means, and how far the 95 % intervals reach, down to 0, and above, `[2, N]`; not at all of one."""
    means = np.array([each.mean for each in spreads])
    low = np.array([each.mean if each.low is None else max(each.low, 0.0) for each in spreads])
    high = np.array([each.mean if each.high is None else each.high for each in spreads])
    return factor * means, factor * np.stack([means - low, high - means])
