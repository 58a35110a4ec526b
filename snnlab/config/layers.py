"""The layers of a model as the YAML writes them, made explicit: order, and the experiment's neuron put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snnlab.config.overrides import NEURON_RIVALS
from snnlab.errors import ConfigError, did_you_mean, listing

Nodes = dict[str, dict[str, Any]]


def expand_layers(layers: Mapping[str, Any], neuron: Mapping[str, Any] | None, place: str = "model.layers") -> Nodes:
    """Return the layers in the order of computation, `after` resolved and `{type: neuron}` merged with the neuron.

    Raises:
        ConfigError: naming the layer, if it is no mapping, has no type, or follows a layer that is not there.
    """
    nodes = {name: _checked(name, node, layers, place) for name, node in layers.items()}
    return {name: _with_neuron(nodes[name], neuron, f"{place}.{name}") for name in _order(nodes, place)}


def _checked(name: str, node: Any, layers: Mapping[str, Any], place: str) -> dict[str, Any]:
    if not isinstance(node, Mapping):
        raise ConfigError(f"{place}.{name}: expected a mapping such as {{type: relu}}, got {node!r}")
    if node.get("type") is None:
        others = [other for other in layers if other != name and isinstance(layers[other], Mapping)]
        hint = did_you_mean(name, others) or f"\n  layers: {listing(others)}"
        raise ConfigError(f"{place}.{name}: there is no layer of this name; a new one needs a type.{hint}")
    return dict(node)


def _order(nodes: Nodes, place: str) -> list[str]:
    after = {name: node.pop("after") for name, node in nodes.items() if "after" in node}
    order = [name for name in nodes if name not in after]
    for name, target in after.items():
        if target not in nodes:
            raise ConfigError(f"{place}.{name}.after: there is no layer '{target}'.{did_you_mean(str(target), nodes)}")
    waiting = dict(after)
    while waiting:
        ready = next((name for name, target in waiting.items() if target in order), None)
        if ready is None:
            raise ConfigError(f"{place}: {listing(waiting)} stand after one another in a circle")
        target = waiting.pop(ready)
        position = order.index(target) + 1
        while position < len(order) and after.get(order[position]) == target:  # keep the file's order
            position += 1
        order.insert(position, ready)
    return order


def _with_neuron(node: dict[str, Any], neuron: Mapping[str, Any] | None, place: str) -> dict[str, Any]:
    if node["type"] != "neuron":
        return node
    if not neuron or "type" not in neuron:
        raise ConfigError(f"{place}: the experiment has no neuron for {{type: neuron}}; choose one, such as neuron=lif")
    return merge(without_rivals(neuron), {key: value for key, value in node.items() if key != "type"})


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes`: mappings are merged unless they change their type, a rival is replaced."""
    merged = dict(base)
    for key, value in changes.items():
        if value is not None and NEURON_RIVALS.get(key) in merged and NEURON_RIVALS[key] not in changes:
            del merged[NEURON_RIVALS[key]]
        before = merged.get(key)
        same_kind = isinstance(before, Mapping) and isinstance(value, Mapping)
        if same_kind and value.get("type", before.get("type")) == before.get("type"):  # type: ignore[union-attr]
            value = merge(before, value)  # type: ignore[arg-type]
        merged[key] = value
    return without_rivals(merged)


def without_rivals(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node without the nulls that an override left in place of a rival."""
    return {key: value for key, value in node.items() if not (value is None and NEURON_RIVALS.get(key) in node)}
