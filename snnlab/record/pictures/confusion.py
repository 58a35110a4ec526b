"""Which class was taken for which, and how soon the answers were right.

Axes: K classes, N recordings, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from snnlab.record.pictures.style import (
    BLUE,
    INK,
    LETTER_INCHES,
    SMALL,
    WIDTH_INCHES,
    label,
    left_of,
    letters,
    new_figure,
    time_axis,
    title,
)
from snnlab.record.pictures.words import short_names

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
