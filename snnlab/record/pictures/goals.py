"""The answers over time beside targets that are no class of the whole recording: values, or a label at each step.

Axes: T steps, K values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from snnlab.events.targets import IGNORED
from snnlab.record.pictures.style import (
    BLUE,
    DASHED,
    GREY,
    INK,
    VERMILION,
    label,
    left_of,
    legend,
    new_figure,
    plain_numbers,
    step_times,
    time_axis,
    title,
)
from snnlab.record.pictures.words import class_name, short_names

# Names of more classes could not be read beside an axis.
FEW = 15
# More values than these could not be told apart.
VALUES = 4


def draw_values(
    answers: np.ndarray, target: np.ndarray, dt: float | None, names: Sequence[str] | None = None
) -> Figure:
    """Draw the values as they are read out from what was seen until each step, and the targets.

    Args:
        answers: What is read out.
        target: The right values.
        dt: Length of a step, ms, or None.
        names: What the values are called; None: by their numbers.

    Shape:
        answers: `[T, K]`; target: `[K]`.
    """
    figure, (ax,) = new_figure()
    times, shown = step_times(len(answers), dt), range(min(len(target), VALUES))
    for number in shown:
        first = number == 0
        ax.axhline(target[number], color=GREY, linewidth=1.2, label="target" if first else None)
        style = "-" if first else DASHED
        name = f"value {number}" if names is None else class_name(number, names)
        ax.plot(times, answers[:, number], color=BLUE, linewidth=2.0, linestyle=style, label=name)
    time_axis(ax, len(answers), dt)
    label(ax, ax.get_xlabel(), "answer so far")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.15 * (high - low))  # room for the legend
    plain_numbers(ax)
    legend(ax, loc="upper left", ncol=3)
    more = f", first {VALUES} of {len(target)} values" if len(target) > VALUES else ""
    title(ax, f"mean error at the end {np.abs(answers[-1] - target).mean():.3g}{more}")
    return figure


def draw_labels(
    answers: np.ndarray, target: np.ndarray, dt: float | None, names: Sequence[str] | None = None
) -> Figure:
    """Draw the answer at each step and, behind it, the label, where there is one.

    Args:
        answers: The answer at each step.
        target: The right one, -100 where nothing says.
        dt: Length of a step, ms, or None.
        names: What the classes are called; None: by their numbers.

    Shape:
        answers, target: `[T]`.
    """
    most = int(max(target.max(), answers.max(), 1))
    named = short_names(names)[: most + 1] if names is not None and len(names) <= FEW else None
    figure, (ax,) = new_figure(left=0.17 if named is None else max(0.17, left_of(named)))
    times, labelled = step_times(len(answers), dt), target != IGNORED
    ax.plot(times[labelled], target[labelled], "s", color=GREY, markersize=8, label="label")
    for right, colour, words in ((True, BLUE, "right answer"), (False, VERMILION, "wrong answer")):
        these = labelled & ((answers == target) == right)
        ax.plot(times[these], answers[these], "o" if right else "x", color=colour, markersize=4, label=words)
    time_axis(ax, len(answers), dt)
    label(ax, ax.get_xlabel(), "class")
    ax.set_ylim(-0.5, most + 0.5 + 0.2 * (most + 1))  # room for the legend
    if named is None:
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    else:
        ax.set_yticks(range(len(named)), named)
    legend(ax, loc="upper left", ncol=3 if named is None else 2)
    many = int(labelled.sum())
    share = f"{(answers == target)[labelled].mean():.1%} of {many} labelled steps are right" if many else "no labels"
    title(ax, share)
    return figure


def draw_errors(errors: Mapping[str, Sequence[float]], dt: float | None) -> Figure:
    """Draw the mean error of each value if recordings had ended at each step.

    Args:
        errors: Name of the value, error at each step.
        dt: Length of a step, ms, or None.
    """
    figure, (ax,) = new_figure()
    shown = list(errors.items())[:VALUES]
    for number, (name, each) in enumerate(shown):
        times = step_times(len(each), dt)
        ax.plot(times, each, color=(BLUE, VERMILION, GREY, INK)[number], linewidth=1.8, label=name)
    time_axis(ax, len(shown[0][1]), dt)
    label(ax, ax.get_xlabel(), "mean absolute error")
    ax.set_ylim(0, 1.2 * ax.get_ylim()[1])  # room for the legend
    plain_numbers(ax)
    legend(ax, loc="upper right", ncol=2)
    more = f"; first {VALUES} of {len(errors)} values" if len(errors) > VALUES else ""
    title(ax, f"error if recordings ended there{more}")
    return figure
