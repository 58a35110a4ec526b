"""`snnlab list neurons`: every neuron that can be chosen, and which of them any length of a step suits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from snnlab.config.catalog import description, group_files
from snnlab.docstrings import first_sentence
from snnlab.errors import ConfigError, SnnlabError, one_line
from snnlab.nn import NEURONS
from snnlab.record.run_config import read_raw

# What a neuron is built with to ask it; any other would do.
DT, IN_SHAPE = 1.0, (4, 8, 8)

LEGEND = """
* its constants or its rate depend on dt; `snnlab show neuron=NAME` says why
snnlab list neurons NAME lists the settings of a type, snnlab list presets NAME prints the YAML of neuron=NAME"""


class Line(NamedTuple):
    """A neuron's name, its type, what it says of itself, and whether any length of a step suits it."""

    name: str
    kind: str
    text: str
    dt_invariant: bool


def neuron_lines(own: Path | None) -> list[Line]:
    """Return a line for each YAML of a neuron, and for each type without one; `own` is the user's folder."""
    lines = [_of_file(name, path) for name, path in group_files("neuron", own).items()]
    named = {line.name for line in lines}
    lines += [_of_type(kind) for kind in NEURONS if kind not in named]
    return sorted(lines)


def print_neurons(own: Path | None) -> None:
    """Print a line for each neuron."""
    lines = neuron_lines(own)
    names, kinds = max(len(line.name) for line in lines), max(len(line.kind) for line in lines)
    for line in lines:
        mark = " " if line.dt_invariant else "*"
        print(f"{line.name:{names}} {mark}  {line.kind:{kinds}}   {line.text}".rstrip())
    print(LEGEND)


def _of_file(name: str, path: Path) -> Line:
    node = read_raw(path)
    settings: dict[str, Any] = {str(k): v for k, v in node.items()} if isinstance(node, Mapping) else {}
    kind = settings.pop("type", None)
    try:
        suits = NEURONS.build(kind, settings, name, dt=DT, in_shape=IN_SHAPE).dt_invariant
    except SnnlabError as error:  # a user's own file; the others are still worth listing
        return Line(name, str(kind), f"cannot be built: {one_line(error)}", False)
    return Line(name, str(kind), description(path), suits)


def _of_type(kind: str) -> Line:
    text = first_sentence(NEURONS.get(kind, "neuron"))
    try:
        suits = NEURONS.build(kind, {}, kind, dt=DT, in_shape=IN_SHAPE).dt_invariant
    except ConfigError:  # it has settings without a default
        suits = False
    return Line(kind, kind, text, suits)
