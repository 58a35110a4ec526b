"""Figures that others have published, beside ours and never ranked with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Without these nobody can say what a figure is worth.
_NEEDED = ("name", "accuracy", "architecture", "steps", "params", "protocol")
_SELECTIONS = ("test", "validation", "unknown")


class Published(NamedTuple):
    """A published figure.

    Attributes:
        name: What it is called.
        accuracy: Test accuracy, 0 to 1.
        architecture: The network.
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


def published(nodes: Sequence[Mapping[str, Any]], dataset: str) -> tuple[list[Published], list[str]]:
    """Return the figures of a dataset that say enough, and for each other one what it lacks.

    Args:
        nodes: As a suite has them; the accuracy is in percent.
        dataset: The dataset's name.
    """
    found, problems = [], []
    for node in nodes:
        if node.get("dataset") != dataset:
            continue
        name = str(node.get("name", "without a name"))
        if lacking := [key for key in _NEEDED if node.get(key) is None]:
            problems.append(f"published: {name}: is not shown, it lacks {', '.join(lacking)}")
            continue
        selection = str(node.get("selection", "unknown"))
        if selection not in _SELECTIONS:
            problems.append(f"published: {name}: selection {selection} is none of {', '.join(_SELECTIONS)}: unknown")
            selection = "unknown"
        found.append(
            Published(
                name,
                float(node["accuracy"]) / 100.0,
                str(node["architecture"]),
                int(node["steps"]),
                float(node["params"]),
                str(node["protocol"]),
                selection,
                node.get("source"),
            )
        )
    return sorted(found, key=lambda one: -one.accuracy), problems
