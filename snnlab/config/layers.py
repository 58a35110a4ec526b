"""Expands the layers of a model's YAML: it sorts them by `after`, and inserts the experiment's neuron."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snnlab.config.catalogue import Catalogue, rivals
from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.spec.annotations import value_text

Nodes = dict[str, dict[str, Any]]


def expand_layers(
    layers: Mapping[str, Any], neuron: Mapping[str, Any] | None, known: Catalogue, place: str = "model.layers"
) -> Nodes:
    """Return the layers in the order of computation, `after` resolved and `{type: neuron}` merged with the neuron.

    Layers within blocks are expanded too: those of `layers`, `shortcut`, each of `branches`, and `feedback`.
    """
    nodes = {name: _checked_layer(name, node, layers, place) for name, node in layers.items()}
    expanded = {}
    for name in _layer_order(nodes, place):
        node = _with_neuron(nodes[name], neuron, known, f"{place}.{name}")
        expanded[name] = _expand_within(node, neuron, known, f"{place}.{name}")
    return expanded


def _expand_within(
    node: Mapping[str, Any], neuron: Mapping[str, Any] | None, known: Catalogue, place: str
) -> dict[str, Any]:
    """Return a node with its inner layers expanded; the layer's own checks report a value that is not a mapping."""
    expanded = dict(node)
    for key in ("layers", "shortcut"):
        if isinstance(node.get(key), Mapping):
            expanded[key] = expand_layers(node[key], neuron, known, f"{place}.{key}")
    if isinstance(node.get("branches"), Mapping):
        at = f"{place}.branches"
        expanded["branches"] = {
            name: expand_layers(inner, neuron, known, f"{at}.{name}") if isinstance(inner, Mapping) else inner
            for name, inner in node["branches"].items()
        }
    feedback = node.get("feedback")
    if isinstance(feedback, Mapping):
        expanded["feedback"] = _expand_within(feedback, neuron, known, f"{place}.feedback")
    elif isinstance(feedback, list):
        expanded["feedback"] = [
            _expand_within(way, neuron, known, f"{place}.feedback.{number}") if isinstance(way, Mapping) else way
            for number, way in enumerate(feedback)
        ]
    return expanded


def _checked_layer(name: str, node: Any, layers: Mapping[str, Any], place: str) -> dict[str, Any]:
    if not isinstance(node, Mapping):
        raise ConfigError(f"{place}.{name}", f"expected a mapping such as {{type: relu}}, got {value_text(node)}")
    if node.get("type") is None:
        others = [other for other in layers if other != name and isinstance(layers[other], Mapping)]
        near = did_you_mean(name, others)
        hint = f"a new one needs a type{near and '.' + near}"
        raise ConfigError(f"{place}.{name}", "there is no layer of this name", hint, () if near else others)
    return dict(node)


def _layer_order(nodes: Nodes, place: str) -> list[str]:
    after = {name: node.pop("after") for name, node in nodes.items() if "after" in node}
    order = [name for name in nodes if name not in after]
    for name, target in after.items():
        if target not in nodes:
            near = did_you_mean(str(target), nodes)
            raise ConfigError(f"{place}.{name}.after", f"there is no layer '{target}'", near)
    waiting = dict(after)
    while waiting:
        ready = next((name for name, target in waiting.items() if target in order), None)
        if ready is None:
            raise ConfigError(place, f"{join_names(waiting)} follow each other in a cycle")
        target = waiting.pop(ready)
        position = order.index(target) + 1
        while position < len(order) and after.get(order[position]) == target:  # keep the file's order
            position += 1
        order.insert(position, ready)
    return order


def _with_neuron(
    node: dict[str, Any], neuron: Mapping[str, Any] | None, known: Catalogue, place: str
) -> dict[str, Any]:
    if node["type"] != "neuron":
        return without_rivals(node, known)
    if not neuron or "type" not in neuron:
        raise ConfigError(place, "the experiment has no neuron for {type: neuron}", "choose one, such as neuron=lif")
    changes = {key: value for key, value in node.items() if key != "type"}
    return merge(without_rivals(neuron, known), changes, known)


def merge(
    base: Mapping[str, Any], changes: Mapping[str, Any], known: Catalogue, kind: str = "neurons"
) -> dict[str, Any]:
    """Return `base` with `changes`: mappings are merged unless their type changes, a rival setting is removed."""
    merged = dict(base)
    for key, value in changes.items():
        if value is not None:
            for rival in set(rivals(known, {**base, **changes}, kind, key)) - set(changes):
                merged.pop(rival, None)
        before = merged.get(key)
        same_kind = isinstance(before, Mapping) and isinstance(value, Mapping)
        if same_kind and value.get("type", before.get("type")) == before.get("type"):  # type: ignore[union-attr]
            value = merge(before, value, known, "surrogates" if key == "surrogate" else kind)  # type: ignore[arg-type]
        merged[key] = value
    return without_rivals(merged, known, kind)


def without_rivals(node: Mapping[str, Any], known: Catalogue, kind: str = "neurons") -> dict[str, Any]:
    """Return a node, and its surrogate, without settings that are null because a rival setting is used."""
    kept = {k: v for k, v in node.items() if v is not None or not set(rivals(known, node, kind, k)) & set(node)}
    if isinstance(surrogate := kept.get("surrogate"), Mapping):
        kept["surrogate"] = without_rivals(surrogate, known, "surrogates")
    return kept
