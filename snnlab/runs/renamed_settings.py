"""Settings and values that have another name than when a run was recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# By dotted keys, in the order of CHANGELOG's table.
RENAMED: Mapping[str, str] = {
    "first_layer": "sparse_input",
    "recompute": "checkpoint_segments",
    "pictures": "plots",
    "average": "weight_averaging",
    "loss.over_time": "loss.readout",
    "loss.parts": "loss.regularizers",
    "data.frames": "data.representation",
    "data.lengths": "data.length_from",
    "data.still": "data.stabilize",
    "data.labels_after": "data.label_map",
}
# By the name of today.
_VALUES: Mapping[str, Mapping[str, Any]] = {"sparse_input": {"frames": False, "events": True}}
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_OVERRIDE = re.compile(r"(?P<mark>[+~]*)(?P<key>[\w.]+)(?:=(?P<value>.*))?", re.DOTALL)


def renamed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the names and values of today, in the order that it has.

    Args:
        config: What a run's `config.yaml` holds, or the `numerics` of its `result.json`.
    """
    return _renamed(config, "")


def renames(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the old keys that a configuration holds, and what they are called today."""
    return {old: new for old, new in RENAMED.items() if _has_key(config, old)}


def renamed_override(text: str) -> str:
    """Return an override, such as `recompute=4`, with the names and values of today."""
    found = _OVERRIDE.fullmatch(text)
    if found is None:
        return text
    key = _renamed_key(found["key"])
    value = found["value"]
    if value is not None and value in _VALUES.get(key, {}):
        value = str(_VALUES[key][value]).lower()
    return f"{found['mark']}{key}" + ("" if value is None else f"={value}")


def renamed_overrides(node: Any) -> Any:
    """Return the overrides and keys within a page, such as a search's `sweep.yaml`, with the names of today."""
    if isinstance(node, Mapping):
        return {_renamed_key(str(key)): renamed_overrides(value) for key, value in node.items()}
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [renamed_override(one) if isinstance(one, str) else renamed_overrides(one) for one in node]
    return node


def _renamed(node: Any, place: str) -> Any:
    if isinstance(node, Mapping):
        made = {}
        for key, value in node.items():
            new = _renamed_key(f"{place}{key}")
            made[new.removeprefix(place)] = _renamed(value, f"{new}.")
        return made
    if isinstance(node, list):
        return [_renamed(one, f"{place}[].") for one in node]
    if isinstance(node, str):
        node = _REFERENCE.sub(lambda found: f"${{{_renamed_key(found[1])}}}", node)
    values = _VALUES.get(place.removesuffix("."), {})
    return values[node] if isinstance(node, str) and node in values else node


def _renamed_key(key: str) -> str:
    for old, new in RENAMED.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return key


def _has_key(config: Mapping[str, Any], key: str) -> bool:
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    return True
