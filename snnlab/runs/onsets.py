"""When the answers to labels over time change, compared with when the labels do.

Axes: N recordings, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from snnlab.target_kinds import IGNORED

TOLERANCE_MS = 150.0  # of the beat-by-beat comparison of ANSI/AAMI EC57


class OnsetErrors(NamedTuple):
    """The onsets of a class.

    Attributes:
        onsets: Number of times that the label becomes this class.
        found: Number of them with an answer that becomes this class within the tolerance.
        mean_ms: Mean of answer minus label over the found ones, ms; positive: the answer is late. None without any.
        median_ms: Median of the absolute differences, ms; None without any.
    """

    onsets: int
    found: int
    mean_ms: float | None
    median_ms: float | None


def onset_errors(
    targets: np.ndarray, answers: np.ndarray, names: Sequence[str], dt: float, tolerance_ms: float = TOLERANCE_MS
) -> dict[str, OnsetErrors]:
    """Return the errors of the onsets of each class, by its name; an onset is compared with the nearest answer's.

    A recording that begins in a class, or a class after steps without a label, has no onset that is known.

    Args:
        targets: Label of each step, `IGNORED` for none.
        answers: Answer of each step.
        names: Names of the classes.
        dt: Length of a step, ms.
        tolerance_ms: An onset without an answer's within this time is not found, ms.

    Shape:
        targets, answers: `[N, T]`.
    """
    known = targets[:, :-1] != IGNORED
    of_labels, of_answers = (one[:, 1:] != one[:, :-1] for one in (targets, answers))
    result = {}
    for number, name in enumerate(names):
        errors, onsets = [], 0
        for recording in range(len(targets)):
            there = np.flatnonzero(of_labels[recording] & known[recording] & (targets[recording, 1:] == number))
            here = np.flatnonzero(of_answers[recording] & (answers[recording, 1:] == number))
            onsets += there.size
            if there.size and here.size:
                apart = here[None] - there[:, None]
                nearest = apart[np.arange(there.size), np.abs(apart).argmin(1)] * dt
                errors.append(nearest[np.abs(nearest) <= tolerance_ms])
        found = np.concatenate([np.zeros(0), *errors])
        late, size = (float(found.mean()), float(np.median(np.abs(found)))) if found.size else (None, None)
        result[name] = OnsetErrors(onsets, int(found.size), late, size)
    return result
