"""The plot of robustness curves: right answers against the level of each disturbance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snnlab.runs.plots.style import SERIES, label, new_figure, title
from snnlab.runs.robustness import RobustnessCurve


def draw_robustness(networks: Mapping[str, Sequence[RobustnessCurve]]) -> Figure:
    """Draw a panel for each disturbance: means with 95 % intervals, and a point for each repetition of a network alone.

    Args:
        networks: The curves of each network, or method, by its name.
    """
    of_name: dict[str, dict[str, RobustnessCurve]] = {}
    for network, curves in networks.items():
        for curve in curves:
            of_name.setdefault(curve.name, {})[network] = curve
    rows = (len(of_name) + 1) // 2
    figure, axes = new_figure(rows, 2, height=0.5 + 1.75 * rows, left=0.14, share=False, hspace=0.85, wspace=0.25)
    for ax in axes[len(of_name) :]:
        ax.set_visible(False)
    colours = {network: SERIES[number % len(SERIES)] for number, network in enumerate(networks)}
    for number, (ax, (name, curves)) in enumerate(zip(axes, of_name.items(), strict=False)):
        for network, curve in curves.items():
            _draw_curve(ax, curve, colours[network], network, alone=len(networks) == 1)
        levels = next(iter(curves.values())).levels
        shown = range(0, len(levels), 1 + len(levels) // 6)
        ax.set_xticks(list(shown), [f"{levels[place]:g}" for place in shown])
        ax.set_ylim(0, 102)
        label(ax, next(iter(curves.values())).unit, "" if number % 2 else "right (%)")
        title(ax, name)
    if len(networks) > 1:
        axes[0].legend(fontsize=6, frameon=False)
    return figure


def _draw_curve(ax: Axes, curve: RobustnessCurve, colour: str, network: str, *, alone: bool) -> None:
    places = list(range(len(curve.levels)))
    if alone:
        for place in places:
            ax.plot(
                [place] * curve.shares.shape[1], 100 * curve.shares[place], ".", color=colour, alpha=0.4, markersize=4
            )
    ends = [curve.interval(level) for level in places]
    if all(each is not None for each in ends):
        low, high = ([100 * each[end] for each in ends if each is not None] for end in (0, 1))
        ax.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(places, 100 * curve.shares.mean(1), color=colour, linewidth=1.4, label=network)
