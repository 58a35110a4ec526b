"""The plot of a conversion: right answers of the spiking network against steps and spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from snnlab.runs.plots.style import BLUE, INK, VERMILION, label, legend, new_figure, title


class StepCurve(NamedTuple):
    """Right answers and spikes after each step.

    Attributes:
        right: Number of right answers, if the recordings ended there.
        spikes: Mean spikes of a recording so far.
    """

    right: Sequence[int]
    spikes: Sequence[float]

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.right)


def draw_conversion(curves: Sequence[StepCurve], chosen: StepCurve, of: int, relu_right: int) -> Figure:
    """Draw right answers over the steps and over the spikes, a line for each number of steps.

    Args:
        curves: The numbers of steps that were tried.
        chosen: One of them.
        of: Number of recordings.
        relu_right: Right answers of the ReLU layers.
    """
    figure, axes = new_figure(columns=2, wspace=0.12)
    for curve in curves:
        shares = [100 * number / of for number in curve.right]
        look = {"color": BLUE, "linewidth": 1.6 if curve is chosen else 0.7}
        for ax, x in zip(axes, (range(1, curve.steps + 1), curve.spikes), strict=True):
            ax.plot(x, shares, **look)
            ax.plot(
                x[-1],
                shares[-1],
                "D" if curve is chosen else "o",
                color=VERMILION,
                markersize=5,
                label=_name(curve, chosen),
            )
    for ax in axes:
        ax.axhline(100 * relu_right / of, color=INK, linewidth=0.8, linestyle="--", label="ReLU")
        ax.set_ylim(0, 102)
    label(axes[0], "steps", "right (%)")
    label(axes[1], "mean spikes of a recording")
    title(axes[0], f"{of:,} validation recordings")
    legend(axes[1], loc="lower right")
    return figure


def _name(curve: StepCurve, chosen: StepCurve) -> str:
    return f"{curve.steps} steps{', chosen' if curve is chosen else ''}"
