"""The network's output over time, a line a class, and from when on its answer is right.

Axes: T steps, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from snnlab.record.pictures.style import (
    BLUE,
    DASHED,
    GREY,
    VERMILION,
    label,
    legend,
    new_figure,
    plain_numbers,
    step_times,
    time_axis,
    title,
)
from snnlab.record.pictures.words import class_name

# So many letters of two names have room beside each other in a legend of three.
_WIDE = 16


def draw_readout(
    y: np.ndarray, answers: np.ndarray, target: int, dt: float | None, names: Sequence[str] | None = None
) -> Figure:
    """Draw the output of each class, with the target's and the answer's in colour.

    Args:
        y: The network's output.
        answers: The answer at each step from what was seen until then.
        target: The right class.
        dt: Length of a step, ms, or None.
        names: What the classes are called; None: by their numbers.

    Shape:
        y: `[T, K]`; answers: `[T]`.
    """
    num_steps, answer, times = len(y), int(answers[-1]), step_times(len(y), dt)
    said, wanted = (class_name(number, names) for number in (answer, target))
    figure, (ax,) = new_figure()
    others = [k for k in range(y.shape[1]) if k not in (answer, target)]
    if others:
        lines = ax.plot(times, y[:, others], color=GREY, linewidth=0.9)
        lines[0].set_label("other classes")
    if answer != target:
        ax.plot(times, y[:, answer], color=VERMILION, linewidth=2.0, linestyle=DASHED, label=f"answer {said}")
    ax.plot(times, y[:, target], color=BLUE, linewidth=2.0, label=f"target {wanted}")
    time_axis(ax, num_steps, dt)
    label(ax, ax.get_xlabel(), "readout (dimensionless)")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.15 * (high - low))  # room for the legend
    plain_numbers(ax)
    legend(ax, loc="upper left", ncol=3 if len(said) + len(wanted) <= _WIDE else 2)
    title(ax, f"class {wanted}: {_verdict(answers, target, dt, said)}")
    return figure


def _verdict(answers: np.ndarray, target: int, dt: float | None, said: str) -> str:
    """Say whether the last answer is right, and since when it has been."""
    if answers[-1] != target:
        return f"answer {said}, wrong"
    wrong = np.flatnonzero(answers != target)
    first = int(wrong[-1]) + 1 if wrong.size else 0
    return f"answer right from {f'step {first}' if dt is None else f'{(first + 1) * dt:g} ms'} on"
