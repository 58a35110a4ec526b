"""The settings of an experiment, as far as a cure may change one, and where each stands in the YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Node = Mapping[str, Any]


class Case(NamedTuple):
    """An experiment's settings.

    Attributes:
        layers: `model.layers`, the neuron put in.
        neuron: The experiment's neuron, or None.
        init: `model.init`, or None.
        trained: Whether the weights are those of a run, which no initialisation sets.
    """

    layers: Node
    neuron: Node | None
    init: Node | None
    data: Node
    optimizer: Node
    trained: bool

    def place(self, layer: str, name: str) -> str:
        """Return the key of a layer's setting: `neuron.NAME` where all spiking layers have it from the neuron."""
        own, node = _find(self.layers, layer.split("."), "model.layers")
        if self.neuron is None:
            return f"{own}.{name}"
        value, kind = _get(self.neuron, name), self.neuron.get("type")
        others = [other for other in _nodes(self.layers) if other.get("type") == kind]
        shared = all(_get(other, name) == value for other in [node, *others])
        return f"neuron.{name}" if shared and node.get("type") == kind else f"{own}.{name}"

    def own_place(self, layer: str, name: str) -> str:
        """Return the key of a layer's setting, for that layer alone."""
        return f"{_find(self.layers, layer.split('.'), 'model.layers')[0]}.{name}"


def _find(nodes: Node, names: list[str], place: str) -> tuple[str, Node]:
    """Return where a layer's node stands, and the node; layers within blocks by the names of their modules."""
    name, *rest = names
    node, place = nodes.get(name, {}), f"{place}.{name}"
    if not rest:
        return place, node
    if rest[0] == "shortcut" and node.get("shortcut"):
        return _find(node["shortcut"], rest[1:], f"{place}.shortcut")
    if rest[0] in node.get("branches", {}):
        return _find(node["branches"][rest[0]], rest[1:], f"{place}.branches.{rest[0]}")
    if node.get("type") == "repeat":
        rest = rest[1:]  # its copies have one node
    return _find(node.get("layers", {}), rest, f"{place}.layers")


def _nodes(nodes: Node) -> list[Node]:
    found: list[Node] = []
    for node in nodes.values():
        inner = [node.get("layers"), node.get("shortcut"), *(node.get("branches") or {}).values()]
        found += [node, *(other for part in inner if isinstance(part, Mapping) for other in _nodes(part))]
    return found


def _get(node: Node, name: str) -> Any:
    head, _, rest = name.partition(".")
    value = node.get(head)
    return value if not rest else _get(value, rest) if isinstance(value, Mapping) else None
