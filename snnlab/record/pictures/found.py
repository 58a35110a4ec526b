"""What a few steps before a training have shown: the loss over the learning rate, the speed over the batch size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from snnlab.record.pictures.style import BLUE, DASHED, GREY, VERMILION, label, legend, new_figure, title


def draw_losses(rates: np.ndarray, losses: np.ndarray, smooth: np.ndarray, proposed: float | None, name: str) -> Figure:
    """Draw the loss over the learning rate with which the step behind it was made.

    Args:
        proposed: The rate that is proposed, or None.
        name: What was trained.

    Shape:
        rates, losses, smooth: `[N]`.
    """
    figure, (ax,) = new_figure()
    ax.plot(rates, losses, color=GREY, linewidth=0.9, label="each step")
    ax.plot(rates, smooth, color=BLUE, linewidth=1.6, label="smoothed")
    if proposed is not None:
        ax.axvline(proposed, color=VERMILION, linestyle=DASHED, linewidth=1.4, label=f"{proposed:g}")
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    # What comes behind the explosion would press all else to the ground.
    low, high = smooth.min(), smooth[: max(1, int(smooth.argmin()) + 1)].max()
    ax.set_ylim(low - 0.2 * (high - low) - 1e-3, high + 0.6 * (high - low) + 1e-3)
    legend(ax, loc="upper left")
    label(ax, "learning rate", "loss")
    title(ax, name)
    return figure


def draw_speeds(sizes: Sequence[int], speeds: Sequence[float], proposed: int, name: str) -> Figure:
    """Draw recordings a second over the batch size.

    Args:
        speeds: Recordings a second with each.
        proposed: The size that is proposed.
        name: What was trained.
    """
    figure, (ax,) = new_figure()
    ax.plot(sizes, speeds, color=BLUE, linewidth=1.6, marker="o")
    ax.axvline(proposed, color=VERMILION, linestyle=DASHED, linewidth=1.4, label=f"{proposed}")
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(sizes), [f"{size:g}" for size in sizes])
    ax.set_ylim(0, 1.15 * max(speeds))
    legend(ax, loc="lower right")
    label(ax, "batch size", "recordings a second")
    title(ax, name)
    return figure
