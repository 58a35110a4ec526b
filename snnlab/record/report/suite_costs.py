"""What accuracy costs, arm by arm: synaptic operations, parameters, spikes and time, with what seeds leave open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snnlab.record.pictures.style import (
    BLUE,
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
from snnlab.record.suite.columns import short_number
from snnlab.record.suite.rows import Row
from snnlab.record.suite.spread import Spread
from snnlab.record.suite.table import Part

# Positive values that differ by more than this factor have a logarithmic axis.
_WIDE = 20
# Points that are nearer than this part of what all span share a text.
_NEAR = 0.045
_EDGE = 0.12


class Cost(NamedTuple):
    """A cost.

    Attributes:
        words: What it is.
        of: From a row to it, or None where it is not known.
    """

    words: str
    of: Callable[[Row], Spread | None]


def _operations(row: Row) -> Spread | None:
    found = [row.values.get(f"test_synops_{kind}") for kind in ("macs", "acs")]
    known = [each for each in found if each is not None]
    # The interval of a sum is not that of its parts.
    return Spread(known[0].n, sum(each.mean for each in known)) if len(known) == 2 else None


COSTS = (
    Cost("synaptic operations a test sample (MACs and ACs)", _operations),
    Cost("parameters", lambda row: row.values.get("params")),
    Cost("spikes a test sample", lambda row: row.values.get("test_spikes_per_sample")),
    Cost("wall time of a run (s)", lambda row: row.values.get("wall_s")),
)


class Point(NamedTuple):
    """An arm in a picture."""

    place: int
    baseline: bool
    cost: Spread
    score: Spread


def cost_pictures(part: Part) -> Iterator[tuple[str, Figure]]:
    """Yield a picture for each cost in which the arms differ, with what it shows.

    Args:
        part: What there is of one dataset.
    """
    for cost in COSTS:
        points = [
            Point(place, row.role == "baseline", spent, row.values["test_accuracy"])
            for place, row in enumerate(part.rows, 1)
            if "test_accuracy" in row.values and (spent := cost.of(row)) is not None
        ]
        if len({point.cost.mean for point in points}) > 1:
            yield f"test accuracy against {cost.words}", _draw(points, cost.words)


def _draw(points: Sequence[Point], words: str) -> Figure:
    with default_style():
        figure, (ax,) = new_figure(height=3.4, left=0.15)
        costs = [point.cost.mean for point in points]
        if min(costs) > 0 and max(costs) > _WIDE * min(costs):
            log_axis(ax, costs)
        _front(ax, points)
        _numbers(ax, points)
        for baseline, colour, marker, name in ((False, BLUE, "o", "arm"), (True, VERMILION, "s", "baseline")):
            of_kind = [point for point in points if point.baseline == baseline]
            if of_kind:
                _marks(ax, of_kind, colour, marker, name)
        bottom, top = ax.get_ylim()
        ax.set_ylim(max(bottom, -2), min(top, 102))  # an interval may reach beyond what there can be
        label(ax, words, "test accuracy (%)")
        ax.xaxis.set_major_formatter(lambda value, _: short_number(value))
        legend(ax, loc="best")
        return figure


def _marks(ax: Axes, points: Sequence[Point], colour: str, marker: str, name: str) -> None:
    x, y = _with_bars(p.cost for p in points), _with_bars(p.score for p in points)
    ax.errorbar(
        x[0],
        100 * y[0],
        xerr=x[1],
        yerr=100 * y[1],
        fmt=marker,
        color=colour,
        markersize=4.5,
        elinewidth=0.9,
        capsize=2,
        label=name,
    )


def _numbers(ax: Axes, points: Sequence[Point]) -> None:
    """Write the places beside the points, those of points that are close together into one text."""
    costs = np.array([point.cost.mean for point in points])
    x = np.log(costs) if ax.get_xscale() == "log" else costs
    y = np.array([point.score.mean for point in points])
    groups: list[list[int]] = []
    for number in range(len(points)):
        for group in groups:
            if abs(x[number] - x[group[0]]) <= _NEAR * np.ptp(x) and abs(y[number] - y[group[0]]) <= _NEAR * np.ptp(y):
                group.append(number)
                break
        else:
            groups.append([number])
    for group in groups:
        right = x[group].max() > x.max() - _EDGE * np.ptp(x)  # where there is no room for a text on its right
        text = ", ".join(str(points[number].place) for number in group)
        ax.annotate(
            text,
            (costs[group].min() if right else costs[group].max(), 100 * y[group[0]]),
            (-5 if right else 5, 3),
            textcoords="offset points",
            fontsize=SMALL,
            color=INK,
            ha="right" if right else "left",
        )


def _with_bars(spreads: Iterator[Spread]) -> tuple[np.ndarray, np.ndarray]:
    """Return means, and how far the 95 % intervals reach, down to 0, and above, `[2, N]`; not at all of one."""
    found = list(spreads)
    means = np.array([each.mean for each in found])
    low = np.array([each.mean if each.low is None else max(each.low, 0.0) for each in found])
    high = np.array([each.mean if each.high is None else each.high for each in found])
    return means, np.stack([means - low, high - means])


def _front(ax: Axes, points: Sequence[Point]) -> None:
    """Join the arms than which none is better at less."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost.mean, -point.score.mean)):
        if not best or point.score.mean > best[-1].score.mean:
            best.append(point)
    x, y = [point.cost.mean for point in best], [100 * point.score.mean for point in best]
    ax.plot(x, y, color=GREY, linewidth=1.2, drawstyle="steps-post", label="none is better at less", zorder=1)
