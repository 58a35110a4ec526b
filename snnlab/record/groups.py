"""Runs that differ in their seed alone are one way of training: which they are, how they differ, their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

Settings = Mapping[str, Any]
# What may differ between runs of one way of training: the seed, and what is around a training.
FREE = (
    *("seed", "output_dir", "name", "tags", "threads", "logger", "pictures", "monitors", "checkpoint_every_s"),
    *("trainer.enable_progress_bar", "data.root", "data.name", "data.store_dir", "data.download", "data.num_workers"),
)
_LAYERS = "model.layers."
_NONE = "-"


T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return what is alike together, in the order in which it comes."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def settings_of(config: Settings) -> dict[str, Any]:
    """Return what makes a run what it is, but for its seed.

    Args:
        config: Its config.yaml by dotted keys.
    """
    found = {k: v for k, v in config.items() if not any(k == free or k.startswith(f"{free}.") for free in FREE)}
    if isinstance(devices := found.get("trainer.devices"), list) and len(devices) == 1:
        found["trainer.devices"] = 1  # runs at the same time have a GPU each
    return found


def identity(config: Settings) -> str:
    """Return a text that is the same for all runs of one way of training."""
    return json.dumps(settings_of(config), sort_keys=True, default=str)


def differing(settings: Sequence[Settings]) -> dict[str, list[str]]:
    """Return the settings that are not the same in all, each with its value in every one as a text.

    A setting that several layers have, with the same values, is one: `model.layers.*.tau_mem` for `neuron.tau_mem`.

    Args:
        settings: Of each run, by dotted keys.
    """
    keys = dict.fromkeys(key for own in settings for key in own)
    columns = {key: tuple(_text(own, key) for own in settings) for key in keys}
    apart = (key for key, column in columns.items() if len(set(column)) > 1)
    alike = grouped(apart, lambda key: (key.rpartition(".")[2] if key.startswith(_LAYERS) else key, columns[key]))
    return {keys[0] if len(keys) == 1 else f"{_LAYERS}*.{name}": list(column) for (name, column), keys in alike.items()}


def names_of(settings: Sequence[Settings]) -> list[str]:
    """Return a name for each way of training: the fewest settings that tell it from the others."""
    if len(settings) == 1:
        return ["all runs"]
    columns = differing(settings)
    chosen: list[str] = []

    def kinds(*keys: str) -> int:
        return len(set(zip(*(columns[key] for key in keys), strict=True)))

    # What all have comes first, then what most differ in; a type says more than what comes with it.
    for key in sorted(columns, key=lambda key: (_NONE in columns[key], -kinds(key), key[-4:] != "type")):
        if kinds(*chosen, key) > (kinds(*chosen) if chosen else 1):
            chosen.append(key)
    return [" ".join(f"{short(key)}={columns[key][place]}" for key in chosen) for place in range(len(settings))]


def short(key: str) -> str:
    """Return a setting's name without what all layers' settings begin with."""
    return key.removeprefix(_LAYERS).removeprefix("*.")


def _text(own: Settings, key: str) -> str:
    """Return a setting as a YAML has it, and `-` where it is not there."""
    value = own.get(key, _NONE)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
