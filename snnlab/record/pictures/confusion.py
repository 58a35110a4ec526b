"""Which class was taken for which, and how soon the answers were right.

Axes: K classes, N recordings, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from snnlab.record.pictures.style import BLUE, INK, SMALL, label, new_figure, time_axis, title

# Classes of which the cells are written as numbers and the names beside them; of more they could not be read.
FEW = 15


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
    few = len(names) <= FEW
    longest = max(map(len, names)) if few else 0
    figure, (ax,) = new_figure(height=4.4, left=min(0.12 + 0.017 * longest, 0.4))
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if few:
        places = range(len(names))
        ax.set_yticks(places, names)
        ax.set_xticks(places, [name if len(name) <= 2 else str(place) for place, name in enumerate(names)])
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else INK
            ax.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=SMALL, color=colour)
    label(ax, "answer", "class")
    title(ax, f"{np.trace(counts):,} of {counts.sum():,} answers right")
    return figure


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
