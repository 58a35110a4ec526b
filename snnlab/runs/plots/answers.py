"""What a network answers: over time, beside values and labels over time, class by class, and before the end.

Axes: K classes or values, N recordings, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from snnlab.runs.early_exit import Clock, Row
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
    left_of,
    legend,
    letters,
    new_figure,
    plain_numbers,
    step_times,
    time_axis,
    title,
)
from snnlab.target_kinds import IGNORED

# Of a class's name; of a longer one the beginning and the end are written.
LETTERS = 20


def class_name(number: int, names: Sequence[str] | None) -> str:
    """Return what a class is called; its number where it has no name."""
    return str(number) if names is None else short_names(names)[number]


def short_names(names: Sequence[str]) -> list[str]:
    """Return names short enough for an axis; those that would be alike then have their numbers behind them."""
    half = LETTERS // 2
    short = [
        name if len(name) <= LETTERS else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[1 - half :]}" for name in names
    ]
    alike = {name for name in short if short.count(name) > 1}
    return [f"{name} ({number})" if name in alike else name for number, name in enumerate(short)]


# Classes of which the cells are written as numbers and the names beside them; of more they could not be read.
FEW = 15
_RIGHT = 0.97  # where the axes end, part of the width


def confusion(targets: np.ndarray, answers: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the answers to each class.

    Args:
        targets: Class of each recording.
        answers: What the network took it for.
        num_classes: K.

    Shape:
        targets, answers: `[N]`; returns `[K, K]`: class, answer.
    """
    return np.bincount(targets * num_classes + answers, minlength=num_classes**2).reshape(num_classes, num_classes)


def draw_confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw the answers to each class as parts of its recordings.

    Args:
        counts: Class, answer.
        names: Names of the classes.

    Shape:
        counts: `[K, K]`.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shown = short_names(names) if len(names) <= FEW else []
    left = left_of(shown)
    upright, below = _below(shown, (_RIGHT - left) * WIDTH_INCHES)
    height = 3.9 + below
    figure, (ax,) = new_figure(height=height, left=left, bottom=below / height)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if shown:
        places = range(len(shown))
        ax.set_yticks(places, shown)
        ax.set_xticks(places, shown, rotation=90 if upright else 0)
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else INK
            ax.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=SMALL, color=colour)
    label(ax, "answer", "class")
    title(ax, f"{np.trace(counts):,} of {counts.sum():,} answers right")
    return figure


def _below(names: Sequence[str], width: float) -> tuple[bool, float]:
    """Return whether names below an axis of so many inches stand upright, and how many they and its title take."""
    longest = max(map(letters, names), default=0)
    upright = longest * LETTER_INCHES > 0.95 * width / max(len(names), 1)
    return upright, 0.5 + (longest * LETTER_INCHES if upright else 0.0)


def draw_accuracy_over_time(accuracy: np.ndarray, dt: float | None, *, labelled_steps: bool = False) -> Figure:
    """Draw which part of the answers would have been right if recordings had ended at each step.

    Args:
        accuracy: That part, NaN where there is none.
        dt: Length of a step, ms, or None.
        labelled_steps: Whether steps have labels of their own, and it is the part of those that is right.

    Shape:
        accuracy: `[T]`.
    """
    figure, (ax,) = new_figure()
    steps = np.arange(accuracy.size)
    ends = steps if dt is None else (steps + 1) * dt
    ax.plot(ends, accuracy, color=BLUE, linewidth=1.6)
    ax.set_ylim(0, 1.02)
    time_axis(ax, accuracy.size, dt)
    label(ax, "time (steps)" if dt is None else "time (ms)", "accuracy")
    ended = f"accuracy if recordings ended there; {accuracy[-1]:.1%} at the end"
    title(ax, "accuracy of the labelled recordings at each step" if labelled_steps else ended)
    return figure


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


def draw_findings(
    found: Mapping[str, Any], names: Sequence[str], dt: float | None, *, labelled_steps: bool = False
) -> Iterator[tuple[str, Figure]]:
    """Yield the name and figure of each picture of what an evaluation has found.

    Args:
        found: See `snnlab.runs.predictions.findings`.
        names: What classes are called.
        dt: Length of a step, ms, or None.
        labelled_steps: Whether steps have labels of their own.
    """
    if "error_over_time" in found:
        yield "error_over_time", draw_errors(found["error_over_time"], dt)
        return
    yield "confusion", draw_confusion(np.array(found["confusion"]), names)
    accuracy = np.array(found["accuracy_over_time"])
    yield "accuracy_over_time", draw_accuracy_over_time(accuracy, dt, labelled_steps=labelled_steps)


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


# Thresholds whose numbers stand beside their dots: more would lie on each other.
_NAMED = (0.5, 0.8, 0.99)
_FLAT = 0.85  # from where on the curve is flat, part of the largest x


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
            place, side = ((2, 4), "right") if at > _FLAT * max(x) else ((4, -9), "left")
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
