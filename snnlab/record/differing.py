"""In which settings runs differ, each said once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Settings = Mapping[str, Any]
_LAYERS = "model.layers."
_NONE = "-"


def differing(settings: Sequence[Settings]) -> dict[str, list[str]]:
    """Return the settings that are not the same in all, each with its value in every one as a text.

    A setting that several layers have, with the same values, is one: `model.layers.*.tau_mem` for `neuron.tau_mem`.

    Args:
        settings: Of each run, by dotted keys.
    """
    keys = dict.fromkeys(key for own in settings for key in own)
    alike: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        column = [setting_text(own, key) for own in settings]
        if len(set(column)) > 1:
            name = key.rpartition(".")[2] if key.startswith(_LAYERS) else key
            alike.setdefault((name, json.dumps(column)), []).append(key)
    return {_name(of): json.loads(column) for (_, column), of in alike.items()}


def setting_text(own: Settings, key: str) -> str:
    """Return a setting as a YAML has it, and `-` where it is not there."""
    value = own.get(key, _NONE)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def short(key: str) -> str:
    """Return a setting's name without what all layers' settings begin with."""
    return key.removeprefix(_LAYERS).removeprefix("*.")


def _name(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{_LAYERS}*.{keys[0].rpartition('.')[2]}"
