"""The plot of robustness curves: right answers against the level of each disturbance."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from snnlab.runs.plots.style import BLUE, label, new_figure, title
from snnlab.runs.robustness import RobustnessCurve


def draw_robustness(curves: Sequence[RobustnessCurve]) -> Figure:
    """Draw a panel for each disturbance: means with 95 % intervals, and a point for each repetition."""
    rows = (len(curves) + 1) // 2
    figure, axes = new_figure(rows, 2, height=0.5 + 1.75 * rows, left=0.14, share=False, hspace=0.85, wspace=0.25)
    for ax in axes[len(curves) :]:
        ax.set_visible(False)
    for number, (ax, curve) in enumerate(zip(axes, curves, strict=False)):
        places = range(len(curve.levels))
        means = 100 * curve.shares.mean(1)
        for place in places:
            ax.plot(
                [place] * curve.shares.shape[1], 100 * curve.shares[place], ".", color=BLUE, alpha=0.4, markersize=4
            )
        ends = [curve.interval(level) for level in places]
        if all(each is not None for each in ends):
            low, high = ([100 * each[end] for each in ends if each is not None] for end in (0, 1))
            ax.fill_between(list(places), low, high, color=BLUE, alpha=0.2, linewidth=0)
        ax.plot(list(places), means, color=BLUE, linewidth=1.4)
        shown = list(places)[:: 1 + len(places) // 6]
        ax.set_xticks(shown, [f"{curve.levels[place]:g}" for place in shown])
        ax.set_ylim(0, 102)
        label(ax, curve.unit, "" if number % 2 else "right (%)")
        title(ax, curve.name)
    return figure
