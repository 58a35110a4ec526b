"""Figures that others have published, beside ours and never ranked with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from snnlab.errors import RecordError

# Without these nobody can say what a figure is worth.
_NEEDED = ("name", "accuracy", "architecture", "steps", "params", "protocol")
_NUMBERS = ("accuracy", "steps", "params")
_SELECTIONS = ("test", "validation", "unknown")


class Published(NamedTuple):
    """A published figure.

    Attributes:
        accuracy: Test accuracy, 0 to 1.
        steps: Number of steps T.
        params: Number of trainable numbers.
        protocol: How it was found, in words.
        selection: What the epoch was chosen on: test, validation or unknown.
        source: Where it stands, or None.
    """

    name: str
    accuracy: float
    architecture: str
    steps: int
    params: float
    protocol: str
    selection: str
    source: str | None

    @property
    def on_test(self) -> bool:
        """Whether the test recordings chose it, or nobody says that they did not."""
        return self.selection != "validation"

    @property
    def chosen_on(self) -> str:
        """What it was chosen on, in words."""
        return f"{self.selection}: not comparable" if self.on_test else self.selection


def check_published(nodes: Sequence[Mapping[str, Any]], place: str) -> None:
    """Check that what has to be a number is one.

    Raises:
        RecordError: for the first that is none, or an accuracy that is not in percent.
    """
    for node in nodes:
        where = f"{place}.published: {node.get('name', 'without a name')}"
        for key in _NUMBERS:
            if not isinstance(node.get(key, 0), int | float | None):
                raise RecordError(where, f"{key} must be a number, got {node[key]!r}")
        if (accuracy := node.get("accuracy")) is not None and not 1 < accuracy <= 100:
            raise RecordError(where, f"accuracy is in percent, above 1 and at most 100, got {accuracy:g}")


def published(nodes: Sequence[Mapping[str, Any]], dataset: str) -> tuple[list[Published], list[str]]:
    """Return the figures of a dataset that say enough, and for each other one what it lacks.

    Args:
        nodes: As a suite has them; the accuracy is in percent.
        dataset: The dataset's name.

    Raises:
        RecordError: if one has no number where there has to be one.
    """
    check_published(nodes, "suite")
    found, problems = [], []
    for node in (node for node in nodes if node.get("dataset") == dataset):
        name, selection = str(node.get("name", "without a name")), str(node.get("selection", "unknown"))
        if lacking := [key for key in _NEEDED if node.get(key) is None]:
            problems.append(f"published: {name}: is not shown, it lacks {', '.join(lacking)}")
            continue
        if selection not in _SELECTIONS:
            problems.append(f"published: {name}: selection {selection} is none of {', '.join(_SELECTIONS)}: unknown")
            selection = "unknown"
        accuracy, steps, params = float(node["accuracy"]) / 100.0, int(node["steps"]), float(node["params"])
        words = str(node["architecture"]), steps, params, str(node["protocol"])
        found.append(Published(name, accuracy, *words, selection, node.get("source")))
    return sorted(found, key=lambda one: -one.accuracy), problems
