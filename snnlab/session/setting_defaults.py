"""The default of a setting that a configuration does not have: that of the class that takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING as NO_DEFAULT, fields
from typing import Any

from hydra.utils import get_object

from snnlab.config.schema import Experiment
from snnlab.data.augmentation import AUGMENTATIONS
from snnlab.data.data_settings import DATASETS, DataSettings
from snnlab.data.events.representation import REPRESENTATIONS
from snnlab.data.mixing import MIXES
from snnlab.nn.init import INITS
from snnlab.nn.layer import LAYERS
from snnlab.nn.losses.loss import LOSSES
from snnlab.nn.surrogate import SURROGATES
from snnlab.registry import Registry
from snnlab.settings import MISSING, settings_of
from snnlab.training.schedules import SCHEDULES
from snnlab.training.weight_averaging import AVERAGES

# The registry of a node's `type`, by the node's key; a mapping of named nodes has a key itself.
_REGISTRIES: Mapping[str, Registry] = {
    "augment": AUGMENTATIONS,
    "data": DATASETS,
    "init": INITS,
    "layers": LAYERS,
    "loss": LOSSES,
    "mix": MIXES,
    "representation": REPRESENTATIONS,
    "scheduler": SCHEDULES,
    "surrogate": SURROGATES,
    "weight_averaging": AVERAGES,
}


def has_default(config: Mapping[str, Any], key: str, value: Any) -> bool:
    """Return whether a value is the default of a setting, which a configuration without it would have.

    Args:
        config: A configuration of the user's own files, whose `_target_` are imported.
        key: The setting's dotted key.
    """
    *parents, name = key.split(".")
    node: Any = config
    for part in parents:
        node = node.get(part) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        return False
    defaults = [found for factory in _factories(node, parents) for found in _defaults(factory, name)]
    return bool(defaults) and _plain(defaults[0]) == _plain(value)


def _factories(node: Mapping[str, Any], place: list[str]) -> Iterator[Callable[..., Any]]:
    """Yield the classes that take the settings of a node."""
    if not place:
        yield Experiment
    elif "_target_" in node:
        yield get_object(node["_target_"])
    else:
        registry = next((_REGISTRIES[part] for part in reversed(place[-2:]) if part in _REGISTRIES), None)
        if registry is not None and node.get("type") in registry:
            yield registry.get(node["type"], ".".join(place))
    if place == ["data"]:
        yield DataSettings


def _defaults(factory: Callable[..., Any], name: str) -> Iterator[Any]:
    """Yield the default of a setting, if the class has it."""
    if (setting := settings_of(factory).get(name)) is None or setting.default is MISSING:
        return
    made = (
        {one.name: one.default_factory for one in fields(factory)} if hasattr(factory, "__dataclass_fields__") else {}
    )
    make = made.get(name, NO_DEFAULT)
    yield setting.default if make is NO_DEFAULT else make()


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
