"""The config.yaml of an older run, said as it is said today.

It names what its run's files named, and leaves the rest to the defaults of its time: a setting that was renamed, and a
default that is another one now, would make it mean something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

# Settings that are called otherwise now, by dotted keys. None was renamed yet since runs are recorded.
RENAMED: Mapping[str, str] = {}
# Values that went, by dotted keys: what is said in their place, and why.
_GONE: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "backend": {"eager": ("auto", "every neuron has loops of its own")},
}
# What these layers took for `input_gain` until `average` came and became their default.
_GAIN_BEFORE_AVERAGE: Mapping[str, float | str] = {"li": 1.0, "cuba_li": "1-a", "cuba_lif": "1-a"}


def migrate(cfg: DictConfig) -> Iterator[str]:
    """Change an older configuration, in place, to what it says in today's words, and yield each change in words.

    Args:
        cfg: What a run's config.yaml holds.
    """
    yield from _renamed(cfg)
    yield from _replaced(cfg)
    if _before_average(cfg):
        yield from _gains(cfg)


def today(place: str, value: Any) -> Any:
    """Return what a value that was recorded is called today.

    Args:
        place: The setting, by dotted keys.
    """
    return _GONE.get(place, {}).get(value, (value, ""))[0]


def _renamed(cfg: DictConfig) -> Iterator[str]:
    for old, new in RENAMED.items():
        place, _, name = old.rpartition(".")
        node = OmegaConf.select(cfg, place) if place else cfg
        if not isinstance(node, DictConfig) or name not in node:
            continue
        value = node._get_node(name)  # a reference stays one
        with open_dict(cfg):
            del node[name]
            OmegaConf.update(cfg, new, value)
        yield f"{old} is called {new} now"


def _replaced(cfg: DictConfig) -> Iterator[str]:
    for place, values in _GONE.items():
        old = OmegaConf.select(cfg, place)
        if isinstance(old, str) and old in values:
            new, why = values[old]
            OmegaConf.update(cfg, place, new)
            yield f"{place}: {old} is {new} now, for {why}"


def _before_average(cfg: DictConfig) -> bool:
    """Return whether a run is older than `input_gain: average`; the settings that came with it and soon after tell."""
    nodes = [node for node in cfg.model.layers.values() if isinstance(node, DictConfig)]
    return "backend" not in cfg and not any("learn" in node for node in nodes)


def _gains(cfg: DictConfig) -> Iterator[str]:
    for name, node in cfg.model.layers.items():
        before = _GAIN_BEFORE_AVERAGE.get(node.get("type")) if isinstance(node, DictConfig) else None
        if before is not None and "input_gain" not in node:
            with open_dict(node):
                node.input_gain = before
            yield f"model.layers.{name}: input_gain is {before}, the default of {node.type} when it was recorded"
