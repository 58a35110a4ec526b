"""Accuracy of answers that are given early, against their latency and the spikes spent until them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snnlab.record.anytime import Clock, Row
from snnlab.record.pictures.style import BLUE, INK, SMALL, VERMILION, label, legend, new_figure, title

# Thresholds whose numbers stand beside their dots: more would lie on each other.
_NAMED = (0.5, 0.8, 0.99)
_RIGHT = 0.85


def draw_anytime(rows: Sequence[Row], clock: Clock, chosen: Row | None = None) -> Figure:
    """Draw a curve along the thresholds.

    Args:
        rows: What comes out at each threshold, the one without last.
        clock: What a step is.
        chosen: The row of a threshold that was chosen on validation recordings, or None.
    """
    spikes = all(row.spikes is not None for row in rows)
    figure, axes = new_figure(columns=2 if spikes else 1, wspace=0.12)
    shown = [*rows, *([chosen] if chosen else [])]
    _curve(axes[0], rows, [row.latency for row in rows], chosen and chosen.latency, chosen)
    label(axes[0], f"mean latency ({clock.unit})", "accuracy")
    if spikes:
        _curve(axes[1], rows, [row.spikes or 0.0 for row in rows], chosen and chosen.spikes, chosen)
        label(axes[1], "mean spikes spent")
        axes[1].locator_params(axis="x", nbins=4)
    low = min(row.accuracy for row in shown)
    axes[0].set_ylim(max(low - 0.05, 0.0), 1.05)
    end = rows[-1]
    title(axes[0], f"answered when sure enough; {end.accuracy:.1%} at the end")
    if chosen:
        legend(axes[0], loc="lower right")
    return figure


def _curve(ax: Axes, rows: Sequence[Row], x: Sequence[float], chosen_x: float | None, chosen: Row | None) -> None:
    y = [row.accuracy for row in rows]
    ax.plot(x, y, "o-", color=BLUE, linewidth=1.4, markersize=3.5)
    for row, at, height in zip(rows, x, y, strict=True):
        if row.threshold in _NAMED:
            # At the right end the curve is flat and has room above it, and none beside it.
            place, side = ((2, 4), "right") if at > _RIGHT * max(x) else ((4, -9), "left")
            ax.annotate(
                f"{row.threshold:g}",
                (at, height),
                place,
                textcoords="offset points",
                ha=side,
                fontsize=SMALL,
                color=INK,
            )
    if chosen is not None and chosen_x is not None:
        ax.plot([chosen_x], [chosen.accuracy], "D", color=VERMILION, markersize=6, label="chosen on validation")
