"""What a suite's YAML says of a published figure, checked with the place of a mistake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from snnlab.errors import ConfigError
from snnlab.settings import check_settings


@dataclass(frozen=True)
class Figure:
    """What others have published.

    Args:
        dataset: The suite's name of it.
        name: Of the network, or the authors.
        accuracy: On test recordings, percent.
        architecture: The network, in words.
        steps: How many.
        params: Number of trainable numbers.
        protocol: How it was found, in words.
        selection: What its epoch was chosen on.
        source: Where it stands.
    """

    dataset: str
    name: str
    accuracy: float
    architecture: str
    steps: int
    params: float
    protocol: str
    selection: Literal["test", "validation", "unknown"] = "unknown"
    source: str | None = None


def check_figure(node: Mapping[str, Any], place: str) -> None:
    """Refuse a figure that does not say enough.

    Args:
        node: What the YAML says.
        place: Where that stands.

    Raises:
        ConfigError: for the first mistake.
    """
    check_settings(Figure, node, place, "a published figure")
    if not 0 <= node["accuracy"] <= 100:
        raise ConfigError(f"{place}.accuracy: is in percent, 0 to 100, got {node['accuracy']}")
