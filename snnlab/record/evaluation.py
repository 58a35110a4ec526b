"""What an evaluation finds beyond the metrics: class by class, or value by value, and over time.

Axes: N recordings, T steps, K classes or values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from snnlab.events.targets import IGNORED, kind_of
from snnlab.record.pictures.answers import confusion


def findings(targets: np.ndarray, readout: np.ndarray, answers: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Return what `result.json` says of the answers.

    Of classes, and labels over time, where steps without a label count for nothing: `accuracy_of_class` (right, all),
    `confusion`, `accuracy_over_time` (NaN at a step without labels). Of values: `error_over_time`, of each the mean
    absolute error if recordings had ended at each step.

    Args:
        targets: Classes, values, or labels over time.
        readout: What the network answers in the end.
        answers: What it answers at each step.
        names: What classes or values are called.

    Shape:
        targets: `[N]`, `[N, K]` or `[N, T]`; readout: `[N, K]` or `[N, T, K]`; answers: `[N, T]` or `[N, T, K]`.
    """
    if kind_of(targets) == "value":
        errors = np.abs(answers - targets[:, None]).mean(0)
        return {"error_over_time": {name: errors[:, place].tolist() for place, name in enumerate(names)}}
    labelled = targets != IGNORED
    counts = confusion(targets[labelled], readout.argmax(-1)[labelled], len(names))
    each = targets[:, None] if targets.ndim == 1 else targets
    known = np.broadcast_to(each != IGNORED, answers.shape).sum(0)
    right = ((answers == each) & (each != IGNORED)).sum(0)
    return {
        "accuracy_of_class": {
            name: [int(counts[place, place]), int(counts[place].sum())] for place, name in enumerate(names)
        },
        "confusion": counts.tolist(),
        "accuracy_over_time": np.where(known > 0, right / np.maximum(known, 1), np.nan).tolist(),
    }
