"""Plots of a network's answers: over time, with target values or labels, by class, and for early exit.

Axes: K classes or values, N recordings, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from snnlab.runs.early_exit import StepTime, ThresholdResult, share_text
from snnlab.runs.plots.style import (
    BLUE,
    DASHED,
    GREY,
    INK,
    LETTER_INCHES,
    SMALL,
    VERMILION,
    WIDTH_INCHES,
    label,
    left_margin,
    legend,
    letters,
    new_figure,
    short_tick_numbers,
    step_times,
    time_axis,
    title,
)
from snnlab.target_kinds import IGNORED

# Longest class name that is written whole; of a longer one the beginning and the end are written.
MAX_NAME_LETTERS = 20


def short_name(number: int, names: Sequence[str] | None) -> str:
    """Return the name of a class, or its number if it has no name."""
    return str(number) if names is None else short_names(names)[number]


def short_names(names: Sequence[str]) -> list[str]:
    """Return names short enough for an axis; equal short names get their numbers as suffix."""
    half = MAX_NAME_LETTERS // 2
    short = [
        name if len(name) <= MAX_NAME_LETTERS else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[1 - half :]}"
        for name in names
    ]
    repeated = {name for name in short if short.count(name) > 1}
    return [f"{name} ({number})" if name in repeated else name for number, name in enumerate(short)]


# Largest number of classes with written counts and names; more are not readable.
MAX_NAMED_CLASSES = 15
_RIGHT = 0.97  # right end of the axes, as a part of the width


def draw_confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw the confusion matrix, coloured by the parts of each class's recordings.

    Args:
        counts: Number of recordings by class and answer.
        names: Names of the classes.

    Shape:
        counts: `[K, K]`.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shown = short_names(names) if len(names) <= MAX_NAMED_CLASSES else []
    left = left_margin(shown)
    vertical, label_height = _tick_label_layout(shown, (_RIGHT - left) * WIDTH_INCHES)
    height = 3.9 + label_height
    figure, (ax,) = new_figure(height=height, left=left, bottom=label_height / height)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if shown:
        ticks = range(len(shown))
        ax.set_yticks(ticks, shown)
        ax.set_xticks(ticks, shown, rotation=90 if vertical else 0)
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else INK
            ax.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=SMALL, color=colour)
    label(ax, "answer", "class")
    title(ax, f"{np.trace(counts):,} of {counts.sum():,} answers right")
    return figure


def _tick_label_layout(names: Sequence[str], width: float) -> tuple[bool, float]:
    """Return whether tick labels below an axis of this width (inches) are vertical, and their height with the title."""
    longest = max(map(letters, names), default=0)
    vertical = longest * LETTER_INCHES > 0.95 * width / max(len(names), 1)
    return vertical, 0.5 + (longest * LETTER_INCHES if vertical else 0.0)


def draw_accuracy_over_time(
    accuracy: np.ndarray, dt: float | None, *, labelled_steps: bool = False, right_of: int | None = None
) -> Figure:
    """Draw the accuracy for recordings cut after each step.

    Args:
        accuracy: Accuracy at each step, NaN for none.
        dt: Length of a step, ms, or None.
        labelled_steps: Whether each step has its own label: then it is the accuracy of the labelled steps.
        right_of: Number of recordings, for a network of another program: how many are right is written, no accuracy.

    Shape:
        accuracy: `[T]`.
    """
    figure, (ax,) = new_figure()
    steps = np.arange(accuracy.size)
    ends = steps if dt is None else (steps + 1) * dt
    ax.plot(ends, accuracy, color=BLUE, linewidth=1.6)
    ax.set_ylim(0, 1.02)
    time_axis(ax, accuracy.size, dt)
    score = "right answers (part)" if right_of else "accuracy"
    label(ax, "time (steps)" if dt is None else "time (ms)", score)
    ended = f"{score} if recordings ended there; {share_text(accuracy[-1], right_of)} at the end"
    title(ax, f"{score} of the labelled recordings at each step" if labelled_steps else ended)
    return figure


# Two names with at most this many letters fit into one row of a legend with three entries.
_MAX_LEGEND_LETTERS = 16


def draw_readout(
    y: np.ndarray, answers: np.ndarray, target: int, dt: float | None, names: Sequence[str] | None = None
) -> Figure:
    """Draw the output of each class over time, with those of target and answer in colour; spikes as steps.

    Args:
        y: The network's output.
        answers: The answer at each step, from the steps up to it.
        target: The correct class.
        dt: Length of a step, ms, or None.
        names: Names of the classes; None: their numbers.

    Shape:
        y: `[T, K]`; answers: `[T]`.
    """
    num_steps, answer, times = len(y), int(answers[-1]), step_times(len(y), dt)
    answer_name, target_name = (short_name(number, names) for number in (answer, target))
    figure, (ax,) = new_figure()
    plot = partial(ax.plot, times, drawstyle="steps-mid" if (y == np.round(y)).all() else "default")
    others = [k for k in range(y.shape[1]) if k not in (answer, target)]
    if others:
        lines = plot(y[:, others], color=GREY, linewidth=0.9)
        lines[0].set_label("other classes")
    if answer != target:
        plot(y[:, answer], color=VERMILION, linewidth=2.0, linestyle=DASHED, label=f"answer {answer_name}")
    plot(y[:, target], color=BLUE, linewidth=2.0, label=f"target {target_name}")
    time_axis(ax, num_steps, dt)
    label(ax, ax.get_xlabel(), "readout (dimensionless)")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.15 * (high - low))  # room for the legend
    short_tick_numbers(ax)
    legend(ax, loc="upper left", ncol=3 if len(answer_name) + len(target_name) <= _MAX_LEGEND_LETTERS else 2)
    title(ax, f"class {target_name}: {_answer_text(answers, target, dt, answer_name)}")
    return figure


def _answer_text(answers: np.ndarray, target: int, dt: float | None, answer_name: str) -> str:
    """Return, as text, whether the last answer is right, and from which time on."""
    if answers[-1] != target:
        return f"answer {answer_name}, wrong"
    wrong = np.flatnonzero(answers != target)
    first = int(wrong[-1]) + 1 if wrong.size else 0
    return f"answer right from {f'step {first}' if dt is None else f'{(first + 1) * dt:g} ms'} on"


# Largest number of values in one plot.
MAX_VALUES = 4


def draw_values(
    answers: np.ndarray, target: np.ndarray, dt: float | None, names: Sequence[str] | None = None
) -> Figure:
    """Draw the predicted values at each step, from the steps up to it, and the targets, also those of each step.

    Args:
        answers: The predicted values.
        target: The correct values.
        dt: Length of a step, ms, or None.
        names: Names of the values; None: their numbers.

    Shape:
        answers: `[T, K]`; target: `[K]` or `[T, K]`.
    """
    figure, (ax,) = new_figure()
    target = np.broadcast_to(target, answers.shape)
    times, count = step_times(len(answers), dt), answers.shape[1]
    shown = range(min(count, MAX_VALUES))
    for number in shown:
        first = number == 0
        ax.plot(times, target[:, number], color=GREY, linewidth=1.2, label="target" if first else None)
        style = "-" if first else DASHED
        name = f"value {number}" if names is None else short_name(number, names)
        ax.plot(times, answers[:, number], color=BLUE, linewidth=2.0, linestyle=style, label=name)
    time_axis(ax, len(answers), dt)
    label(ax, ax.get_xlabel(), "answer so far")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.15 * (high - low))  # room for the legend
    short_tick_numbers(ax)
    legend(ax, loc="upper left", ncol=3)
    more = f", first {MAX_VALUES} of {count} values" if count > MAX_VALUES else ""
    title(ax, f"mean error at the end {np.abs(answers[-1] - target[-1]).mean():.3g}{more}")
    return figure


def draw_labels(
    answers: np.ndarray, target: np.ndarray, dt: float | None, names: Sequence[str] | None = None
) -> Figure:
    """Draw the answer and the label at each step.

    Args:
        answers: The answer at each step.
        target: The correct label, -100 for none.
        dt: Length of a step, ms, or None.
        names: Names of the classes; None: their numbers.

    Shape:
        answers, target: `[T]`.
    """
    most = int(max(target.max(), answers.max(), 1))
    named = short_names(names)[: most + 1] if names is not None and len(names) <= MAX_NAMED_CLASSES else None
    figure, (ax,) = new_figure(left=0.17 if named is None else max(0.17, left_margin(named)))
    times, has_label = step_times(len(answers), dt), target != IGNORED
    ax.plot(times[has_label], target[has_label], "s", color=GREY, markersize=8, label="label")
    for right, colour, line_label in ((True, BLUE, "right answer"), (False, VERMILION, "wrong answer")):
        these = has_label & ((answers == target) == right)
        ax.plot(times[these], answers[these], "o" if right else "x", color=colour, markersize=4, label=line_label)
    time_axis(ax, len(answers), dt)
    label(ax, ax.get_xlabel(), "class")
    ax.set_ylim(-0.5, most + 0.5 + 0.2 * (most + 1))  # room for the legend
    if named is None:
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    else:
        ax.set_yticks(range(len(named)), named)
    legend(ax, loc="upper left", ncol=3 if named is None else 2)
    num_with_label = int(has_label.sum())
    share = (
        f"{(answers == target)[has_label].mean():.1%} of {num_with_label} labelled steps are right"
        if num_with_label
        else "no labels"
    )
    title(ax, share)
    return figure


def draw_predictions(
    found: Mapping[str, Any],
    names: Sequence[str],
    dt: float | None,
    *,
    labelled_steps: bool = False,
    imported: bool = False,
) -> Iterator[tuple[str, Figure]]:
    """Yield the name and figure of each plot of an evaluation.

    Args:
        found: `confusion` and `accuracy_over_time`, or for values `error_over_time`, as in `result.json`.
        names: Names of the classes.
        dt: Length of a step, ms, or None.
        labelled_steps: Whether each step has its own label.
        imported: Whether another program trained the network: how many are right is written, no accuracy.
    """
    if "error_over_time" in found:
        yield "error_over_time", draw_errors(found["error_over_time"], dt)
        return
    counts, accuracy = np.array(found["confusion"]), np.array(found["accuracy_over_time"])
    yield "confusion", draw_confusion(counts, names)
    right_of = int(counts.sum()) if imported else None
    drawn = draw_accuracy_over_time(accuracy, dt, labelled_steps=labelled_steps, right_of=right_of)
    yield "accuracy_over_time", drawn


def draw_errors(errors: Mapping[str, Sequence[float]], dt: float | None) -> Figure:
    """Draw the mean error of each value for recordings cut after each step.

    Args:
        errors: Name of the value, error at each step.
        dt: Length of a step, ms, or None.
    """
    figure, (ax,) = new_figure()
    shown = list(errors.items())[:MAX_VALUES]
    for number, (name, each) in enumerate(shown):
        times = step_times(len(each), dt)
        ax.plot(times, each, color=(BLUE, VERMILION, GREY, INK)[number], linewidth=1.8, label=name)
    time_axis(ax, len(shown[0][1]), dt)
    label(ax, ax.get_xlabel(), "mean absolute error")
    ax.set_ylim(0, 1.2 * ax.get_ylim()[1])  # room for the legend
    short_tick_numbers(ax)
    legend(ax, loc="upper right", ncol=2)
    more = f"; first {MAX_VALUES} of {len(errors)} values" if len(errors) > MAX_VALUES else ""
    title(ax, f"error if recordings ended there{more}")
    return figure


# Thresholds with written numbers; more would overlap.
_LABELLED_THRESHOLDS = (0.5, 0.8, 0.99)
_FLAT = 0.85  # start of the flat part of the curve, as a part of the largest x


def draw_early_exit(
    rows: Sequence[ThresholdResult],
    step_time: StepTime,
    chosen: ThresholdResult | None = None,
    right_of: int | None = None,
) -> Figure:
    """Draw accuracy against latency and spikes for all thresholds of early exit.

    Args:
        rows: The results at each threshold, those without one last.
        step_time: The time of a step.
        chosen: The results at a threshold that was chosen on validation recordings, or None.
        right_of: Number of recordings, for a network of another program: how many are right is written, no accuracy.
    """
    spikes = all(row.spikes is not None for row in rows)
    figure, axes = new_figure(columns=2 if spikes else 1, wspace=0.12)
    shown = [*rows, *([chosen] if chosen else [])]
    _draw_threshold_curve(axes[0], rows, [row.latency for row in rows], chosen and chosen.latency, chosen)
    score = "right answers (part)" if right_of else "accuracy"
    label(axes[0], f"mean latency ({step_time.unit})", score)
    if spikes:
        _draw_threshold_curve(axes[1], rows, [row.spikes or 0.0 for row in rows], chosen and chosen.spikes, chosen)
        label(axes[1], "mean spikes until the answer")
        axes[1].locator_params(axis="x", nbins=4)
    low = min(row.accuracy for row in shown)
    axes[0].set_ylim(max(low - 0.05, 0.0), 1.05)
    end = rows[-1]
    title(axes[0], f"early exit; {score} {share_text(end.accuracy, right_of)} at the end")
    if chosen:
        legend(axes[0], loc="lower right")
    return figure


def _draw_threshold_curve(
    ax: Axes,
    rows: Sequence[ThresholdResult],
    x: Sequence[float],
    chosen_x: float | None,
    chosen: ThresholdResult | None,
) -> None:
    y = [row.accuracy for row in rows]
    ax.plot(x, y, "o-", color=BLUE, linewidth=1.4, markersize=3.5)
    for row, at, height in zip(rows, x, y, strict=True):
        if row.threshold in _LABELLED_THRESHOLDS:
            # At the right end the curve is flat: space is above it, not next to it.
            offset, side = ((2, 4), "right") if at > _FLAT * max(x) else ((4, -9), "left")
            ax.annotate(
                f"{row.threshold:g}",
                (at, height),
                offset,
                textcoords="offset points",
                ha=side,
                fontsize=SMALL,
                color=INK,
            )
    if chosen is not None and chosen_x is not None:
        ax.plot([chosen_x], [chosen.accuracy], "D", color=VERMILION, markersize=6, label="chosen on validation")
