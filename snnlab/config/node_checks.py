"""Checks the settings of what an experiment names, types and classes, before torch is imported.

What only a class knows, such as two settings that do not fit together, it checks when it is built. So are the settings
of a class whose source does not tell them, and all of a plugin's registrations that are no plain decorators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from snnlab.config.catalogue import REGISTRIES, Catalogue, class_fields, inner_fields, is_registered, kind_named_by
from snnlab.config.trainer_settings import TrainerSettings
from snnlab.errors import ConfigError, child_key
from snnlab.experiment_fields import NOT_FOR_ALL, RUN, SHARED, DataFields
from snnlab.registry import unknown_entry
from snnlab.spec.field import Field, field_of, type_problem
from snnlab.spec.interval import at_least
from snnlab.spec.signatures import check_known, fields_of

_WEIGHT = field_of("weight", Annotated[float, at_least(0)], 1.0)
# Kinds of which a dataset takes only some entries.
_IN_PART = ("encoders",)
# torch refuses these below 0 only when it builds the optimizer, if at all.
_NOT_NEGATIVE = ("lr", "weight_decay", "eps")
# This setting of torch's schedules is -1 before the first epoch.
_BEFORE_FIRST = "last_epoch"
# Settings beside the arguments of the class.
_BESIDE = {"optimizer": ("groups", "weight_decay_of"), "scheduler": ("interval", "monitor")}
_SUPPLIED = {"optimizer": "params", "scheduler": "optimizer"}
# The groups whose nodes name a type, beside neuron and model.
_GROUPS = dict.fromkeys(key.partition(".")[0] for one in REGISTRIES.values() for key in one.named_by)
_TYPED = [group for group in _GROUPS if group not in ("neuron", "model")]


def check_nodes(
    known: Catalogue, neuron: Any, model: Mapping[str, Any], others: Mapping[str, Any], plugins: Sequence[str]
) -> None:
    """Check the settings of an experiment by the types and classes that it names.

    Args:
        known: The catalogue, with the kinds of plugins.
        neuron: The experiment's neuron.
        model: Its model, with the neuron in its layers.
        others: Its other groups, resolved; only these are checked.
        plugins: The plugins that the user has named.
    """
    for place, node in (
        *(("neuron", neuron), ("model.layers", model["layers"]), ("model.init", model.get("init"))),
        *((group, others.get(group)) for group in _TYPED),
    ):
        if not (place == "scheduler" and isinstance(node, Mapping) and "_target_" in node):
            _check_types(known, node, place, plugins=bool(plugins))
    for group, name in (("optimizer", "optimizer"), ("scheduler", "scheduler"), ("trainer", "trainer.profiler")):
        node = others.get(group)
        _check_class(node.get("profiler") if group == "trainer" and node else node, name, plugins)
    for group in ("callbacks", "logger"):
        for name, node in (others.get(group) or {}).items():
            _check_class(node, f"{group}.{name}", plugins)
            if group == "callbacks" and isinstance(node, Mapping):
                check_numbers({"patience": node.get("patience")}, f"callbacks.{name}", lambda _: True)
                _check_callback(node.get("_target_"), f"callbacks.{name}", others.get("trainer") or {})
    _check_optimizer(others.get("optimizer"), plugins)
    _check_schedule(others.get("scheduler"))


def _check_types(known: Catalogue, node: Any, place: str, *, plugins: bool) -> None:
    """Check a node that names a type, and those within."""
    if isinstance(node, list):
        for number, one in enumerate(node):
            within = f"{place}[{number}]" if place.startswith("data.") else f"{place}.{number}"
            _check_types(known, one, within, plugins=plugins)
    if isinstance(node, str) and kind_named_by(place) is not None:
        node = {"type": node}
    if not isinstance(node, Mapping):
        return
    if (kind := kind_named_by(f"{place}.type")) is not None:
        _check_entry(known, kind, node, place, plugins=plugins)
    for name, value in node.items():
        _check_types(known, value, f"{place}.{name}", plugins=plugins)


def _check_entry(known: Catalogue, kind: str, node: Mapping[str, Any], place: str, *, plugins: bool) -> None:
    settings = {name: value for name, value in node.items() if name != "type"}
    name = node.get("type", REGISTRIES[kind].default)
    fields = _fields_of_entry(known, kind, node, place)
    if fields is None:
        if not (plugins or kind in _IN_PART or name in known.names(kind) or is_registered(kind, name)):
            raise unknown_entry(known.words[kind], name, place, known.names(kind))
        return
    if kind == "surrogates":  # an override sets those that it replaces to null
        settings = {name: value for name, value in settings.items() if value is not None}
    if place == "loss":
        settings.pop("regularizers", None)
    is_open = known.is_open(kind, name) and not set(REGISTRIES[kind].supplied) & set(settings)
    check_known(fields, settings, place, str(name), open_ended=is_open)
    for key in settings.keys() & fields.keys():
        if (of := fields[key].settings_of) and isinstance(settings[key], Mapping):
            check_known(inner_fields(of), settings[key], f"{place}.{key}", of.label)


def _fields_of_entry(known: Catalogue, kind: str, node: Mapping[str, Any], place: str) -> Mapping[str, Field] | None:
    """Return the settings of a node that names an entry; None if they are not known."""
    fields = known.fields_of(kind, node.get("type"))
    if fields is None:
        return None
    if kind == "losses" and place != "loss":
        return {**fields, "weight": _WEIGHT}
    return _of_dataset(fields, node) if kind == "datasets" else fields


def declared_field(known: Catalogue, tree: Mapping[str, Any], key: str, plugins: Sequence[str]) -> Field | None:
    """Return the field of a setting of a neuron, model or group; None if its type is not declared.

    Args:
        known: The catalogue, with the kinds of plugins.
        tree: The settings of the experiment.
        key: The full name of the setting.
        plugins: The plugins that the user has named.
    """
    place, _, name = key.rpartition(".")
    node: Any = tree
    for part in place.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    node = node if isinstance(node, Mapping) else {"type": node}
    if place == "trainer":
        fields = fields_of(TrainerSettings)
    elif "_target_" in node:
        fields, _ = class_fields(place, node["_target_"], plugins) or ({}, False)
    elif (kind := kind_named_by(f"{place}.type")) is not None:
        fields = _fields_of_entry(known, kind, node, place) or {}
    else:
        above = declared_field(known, tree, place, plugins) if place else None
        fields = inner_fields(above.settings_of) if above and above.settings_of else {}
    return fields.get(name)


def _of_dataset(own: Mapping[str, Field], settings: Mapping[str, Any]) -> dict[str, Field]:
    """Return the fields of every dataset and those of one; of what has no effect on it only what is set."""
    without = {name for name in NOT_FOR_ALL if name not in own and name not in settings}
    shared = {name: field for name, field in fields_of(DataFields).items() if name not in without}
    return {**shared, **{name: field for name, field in own.items() if name not in SHARED}}


def _check_class(node: Any, place: str, plugins: Sequence[str]) -> None:
    """Check the arguments of the class that a node names by `_target_`, and of those within."""
    group = place.partition(".")[0]
    if not isinstance(node, Mapping) or "_target_" not in node:
        return
    found, supplied = class_fields(place, node["_target_"], plugins), _SUPPLIED.get(group, "")
    beside = ("_target_", *(_BESIDE.get(group, ()) if place == group else ()))
    settings = {name: 1 if group == "scheduler" and value == RUN else value for name, value in node.items()}
    settings = {name: value for name, value in settings.items() if name not in beside}
    if found is not None and not any(name.startswith("_") for name in map(str, settings)):
        fields, is_open = found
        known = {name: field for name, field in fields.items() if name != supplied}
        if group == "logger":  # snnlab adds folder and name
            known = {name: replace(field, default=None) for name, field in known.items()}
        objects = {name for name, value in settings.items() if holds_class(value) and name in known}
        known |= {name: replace(known[name], annotation=Any, interval=None) for name in objects}
        is_open = is_open and supplied not in settings
        check_known(known, settings, place, node["_target_"].rpartition(".")[2], open_ended=is_open)
    for inner, value in _inner(settings, place):
        _check_class(value, inner, plugins)


def _check_callback(target: Any, place: str, trainer: Mapping[str, Any]) -> None:
    """Refuse the callbacks that Lightning refuses only as the training starts."""
    name = str(target).rpartition(".")[2] if str(target).startswith("lightning.") else ""
    if name == "BackboneFinetuning":
        raise ConfigError(
            place, f"{name} needs a module with a part called backbone, and networks have layers", "see freeze"
        )
    if name == "GradientAccumulationScheduler" and trainer.get("accumulate_grad_batches", 1) != 1:
        raise ConfigError(place, "trainer.accumulate_grad_batches sets the same", "leave out one of the two")


def _inner(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the nodes within one that name a class, with their places."""
    if isinstance(node, Mapping):
        parts = ((f"{place}.{name}", value) for name, value in node.items())
    else:
        parts = ((f"{place}[{number}]", value) for number, value in enumerate(node))
    for within, value in parts:
        if isinstance(value, Mapping) and "_target_" in value:
            yield within, value
        elif holds_class(value):
            yield from _inner(value, within)


def classes(node: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a node and those within that name a class, with their places."""
    yield from [
        (place, node),
        *((at, one) for inner, value in _inner(node, place) for at, one in classes(value, inner)),
    ]


def holds_class(value: Any) -> bool:
    """Return whether a value is or holds a node that names a class."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(holds_class, value.values()))
    return isinstance(value, list | tuple) and any(map(holds_class, value))


def _check_optimizer(node: Any, plugins: Sequence[str]) -> None:
    if not isinstance(node, Mapping):
        return
    arguments = {name: value for name, value in node.items() if name not in _BESIDE["optimizer"]}
    check_numbers(arguments, "optimizer", _NOT_NEGATIVE.__contains__)
    if problem := type_problem(node.get("weight_decay_of"), list[str] | None):
        raise ConfigError("optimizer.weight_decay_of", problem)
    groups = node.get("groups") or {}
    if not isinstance(groups, Mapping):
        raise ConfigError(
            "optimizer.groups", f"expected named groups, such as {{biases: {{lr: 1e-3}}}}, got {groups!r}"
        )
    for name, own in groups.items():
        place = f"optimizer.groups.{name}"
        if own is None:
            continue
        if not isinstance(own, Mapping):
            raise ConfigError(place, f"expected settings of the optimizer, such as {{lr: 1e-3}}, got {own!r}")
        if problem := type_problem(own.get("match", name), str | list[str]):
            raise ConfigError(f"{place}.match", problem)
        settings = {key: value for key, value in own.items() if key != "match"}
        check_numbers(settings, place, _NOT_NEGATIVE.__contains__)
        _check_class({**arguments, **settings}, place, plugins)


def _check_schedule(node: Any) -> None:
    if not isinstance(node, Mapping) or "_target_" not in node:
        return
    if problem := type_problem(node.get("interval", "epoch"), Literal["epoch", "step"]):
        raise ConfigError("scheduler.interval", problem)
    for place, one in classes(node, "scheduler"):
        of_torch = str(one["_target_"]).startswith("torch.")
        check_numbers(one, place, lambda key, of_torch=of_torch: of_torch and key != _BEFORE_FIRST)
        if of_torch and one.get("step_size") == 0:
            raise ConfigError(f"{place}.step_size", "must be >= 1, got 0")


def check_numbers(settings: Mapping[str, Any], place: str, not_negative: Callable[[str], bool]) -> None:
    """Refuse numbers that are not finite, or negative where that is invalid: most classes would accept them.

    Args:
        settings: Settings; numbers in them are checked, alone or in lists.
        place: The place of the settings in the configuration.
        not_negative: Returns True for the name of a setting that must be >= 0.
    """
    for key, value in settings.items():
        for number in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(number, int | float) or isinstance(number, bool):
                continue
            if not math.isfinite(number):
                raise ConfigError(child_key(place, key), f"expected a finite number, got {number}")
            if number < 0 and not_negative(key):
                raise ConfigError(child_key(place, key), f"must be >= 0, got {number}")
