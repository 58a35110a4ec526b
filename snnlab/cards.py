"""Cards of networks: the facts that code cannot compute, in the section `card` of a model's YAML, or `card.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from snnlab.errors import ConfigError, one_line
from snnlab.spec.annotations import value_text
from snnlab.spec.interval import Count
from snnlab.spec.signatures import check_settings
from snnlab.yaml_files import read_yaml

KEY = "card"
PLACE = f"model.{KEY}"


@dataclass(frozen=True)
class Published:
    """A published figure.

    Args:
        data: The dataset.
        figure: The figure, such as `99.57 %`.
        chosen: How it was chosen: the epoch, the seeds, and where it was read.
    """

    data: str
    figure: str
    chosen: str


@dataclass(frozen=True)
class Card:
    """The facts about a network that code cannot compute.

    Args:
        overrides: The overrides with which the picture and the numbers are computed.
        source: Who published the network; null: of this project.
        code: The code that the settings were read from; null: none.
        licence: The licence of that code, and of weights that are named; null without code.
        parameters: The number of trainable parameters in the source; null: not stated.
        unused: The number of these that nothing uses there; the network here does not have them.
        published: Published figures: `data`, `figure` and `chosen`.
        robustness: How many answers are right under disturbances, of trained weights: a figure of `snnlab robust`.
        checked: What was checked here.
        open: What the source leaves open, or was not verified.
    """

    overrides: Sequence[str] = ()
    source: str | None = None
    code: str | None = None
    licence: str | None = None
    parameters: Count | None = None
    unused: Count | None = None
    published: Sequence[Mapping[str, str]] = ()
    robustness: str | None = None
    checked: Sequence[str] = ()
    open: Sequence[str] = ()

    @property
    def figures(self) -> list[Published]:
        """The published figures."""
        return [Published(**entry) for entry in self.published]


def parse_card(node: Any) -> Card:
    """Return the card of a YAML's section `card`; null is an empty one."""
    if node is None:
        return Card()
    if not isinstance(node, Mapping):
        raise ConfigError(PLACE, f"expected a mapping such as {{source: TEXT}}, got {value_text(node)}")
    check_settings(Card, node, PLACE, "a card")
    for number, entry in enumerate(node.get("published") or ()):
        check_settings(Published, entry, f"{PLACE}.published.{number}", "a published figure")
    return Card(**{key: value for key, value in node.items() if value is not None})


def read_card(path: Path) -> Card:
    """Return the card of a model's file, without those of the files that it inherits from."""
    page = _read(path)
    return parse_card(page.get(KEY) if isinstance(page, Mapping) else None)


def read_card_file(path: Path) -> Card:
    """Return the card of trained weights: the whole file; raises as `read_card`."""
    return parse_card(_read(path))


def _read(path: Path) -> Any:
    try:
        return read_yaml(path)
    except yaml.YAMLError as error:
        raise ConfigError(path, f"is not YAML: {one_line(error)}") from error


def without_card(text: str) -> str:
    """Return the text of a model's file without its card."""
    lines, kept, inside = text.splitlines(keepends=True), list[str](), False
    for line in lines:
        starts = bool(line.strip()) and not line[0].isspace()
        inside = line.startswith(f"{KEY}:") or (inside and not starts)
        if not inside:
            kept.append(line)
    return "".join(kept)
