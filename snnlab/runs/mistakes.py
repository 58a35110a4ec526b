"""The recordings that a network answered wrongly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from snnlab.runs.tables import Table


def wrong_answers(
    arrays: Mapping[str, np.ndarray], part: str, classes: Sequence[str], name_of: Callable[[int], str]
) -> list[dict[str, Any]]:
    """Return what is known of each recording, or window, with a wrong answer; the most probable answers first.

    Args:
        arrays: Those of `predictions.npz`, of recordings with one class each.
        part: `train`, `val` or `test`.
        classes: Names of the classes.
        name_of: The file of a recording, by its number in the store.
    """
    recordings, targets, readout = (arrays[f"{part}_{name}"] for name in ("recording", "target", "readout"))
    starts = arrays.get(f"{part}_start_us")
    answers, probabilities = readout.argmax(-1), np.max(softmax(readout, axis=-1), -1)
    wrong = np.flatnonzero(answers != targets)
    return [
        {
            "recording": int(recordings[row]),
            "file": name_of(int(recordings[row])),
            **({} if starts is None else {"start_ms": int(starts[row]) / 1000}),
            "part": part,
            "class": classes[int(targets[row])],
            "answer": classes[int(answers[row])],
            "probability": round(float(probabilities[row]), 4),
        }
        for row in wrong[np.argsort(-probabilities[wrong], kind="stable")]
    ]


def mistakes_table(mistakes: Sequence[Mapping[str, Any]]) -> Table:
    """Return the wrong answers as a table."""
    head = list(mistakes[0]) if mistakes else ["recording", "file", "part", "class", "answer", "probability"]
    names = [number for number, name in enumerate(head) if name in ("recording", "file", "part", "class", "answer")]
    return Table(head, [[str(row[name]) for name in head] for row in mistakes], text_columns=names)
