"""Builds third-party objects by `_target_`: only allowed classes from allowed modules, so a YAML runs no code."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from snnlab.config.catalogue import is_within
from snnlab.config.folders import group_files
from snnlab.config.node_checks import holds_class
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.spec.signatures import check_settings, has_parameter

T = TypeVar("T")
# Modules, and the base class of the objects from each that may be arguments.
InnerClasses = Mapping[str, type]
_HYDRA_KEYS = {
    "_partial_": "remove it: missing arguments, such as an optimizer's parameters, are passed automatically",
    "_args_": "name each argument",
    "_convert_": "remove it: arguments are plain lists and mappings",
    "_recursive_": "remove it: an argument with _target_ becomes an object",
}


def plugin_classes(experiment: Experiment) -> InnerClasses:
    """Allow any class of the plugins that the user has named as an argument."""
    return dict.fromkeys(experiment.plugins, object)


def find_target(node: Mapping[str, Any], kinds: Sequence[type[T]], modules: Collection[str], place: str) -> type[T]:
    """Return the class that `_target_` names.

    Args:
        kinds: Base classes; the target must be a subclass of one of them.
        modules: Allowed modules; classes that they only import from elsewhere are refused.
        place: The place of the node in the configuration.
    """
    target = node.get("_target_")
    if target is None:
        group, _, name = place.partition(".")
        files = group_files(group, None)
        choose = name if name in files else "default" if "default" in files else "NAME"
        instead = f"write _target_: {next(iter(modules))}.NAME in place of type, or " if "type" in node else ""
        raise ConfigError(
            place, "there is no _target_, so no class is chosen", f"{instead}choose {group}={choose} first"
        )
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"{place}._target_", f"expected a class such as {next(iter(modules))}.NAME, got {target!r}")
    module_name, _, name = target.rpartition(".")
    if not is_within(module_name, modules):
        raise ConfigError(
            f"{place}._target_",
            f"{target} is not allowed here, it must come from {join_names(modules)}",
            "plugins=[PACKAGE] on the command line allows a user-defined one",
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{place}._target_", f"there is no module {module_name}") from error
    found = getattr(module, name, None)
    allowed = isinstance(found, type) and issubclass(found, tuple(kinds)) and is_within(found.__module__, modules)
    if not allowed:
        names = [n for n, value in vars(module).items() if isinstance(value, type) and issubclass(value, tuple(kinds))]
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ConfigError(f"{place}._target_", f"{target} is no {wanted}", did_you_mean(name, names))
    return found  # type: ignore[return-value]


def partial_target(
    node: Mapping[str, Any],
    kinds: Sequence[type[T]],
    modules: Collection[str],
    place: str,
    *,
    supplied: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
    inner: InnerClasses = MappingProxyType({}),
) -> Callable[..., T]:
    """Return a function that builds the object of a node; names and types of its settings are checked now.

    An argument that is a mapping with `_target_`, or a list of such, becomes an object first; it gets those arguments
    of `supplied` that its class has, such as a scheduler's optimizer.

    Args:
        node: `_target_` and arguments.
        kinds: Base classes of the target.
        modules: Allowed modules.
        place: The place of the node in the configuration.
        supplied: Arguments that the caller passes to the function, in this order.
        extra: Defaults for arguments that the class has and the node does not set.
        inner: Modules, and the base class of the objects from each that may be arguments.
    """
    target = find_target(node, kinds, modules, place)
    settings = {key: value for key, value in node.items() if key != "_target_"}
    for key in settings:
        if key in _HYDRA_KEYS:
            raise ConfigError(f"{place}.{key}", "is a key of Hydra that snnlab does not support", _HYDRA_KEYS[key])
    arguments = {**(extra or {}), **settings}
    checked = {key: value for key, value in arguments.items() if key in settings or key not in supplied}
    objects = {
        key: _argument_builder(value, f"{place}.{key}", supplied, inner)
        for key, value in settings.items()
        if holds_class(value)
    }
    check_settings(target, checked, place, target.__name__, supplied, objects)

    def build(*positional: Any) -> T:
        made = {key: make(*positional) for key, make in objects.items()}
        check_settings(target, {**checked, **made}, place, target.__name__, supplied)
        try:
            return target(*positional, **{**arguments, **made})
        except (ValueError, TypeError) as error:
            raise ConfigError(place, f"{target.__name__}: {error}") from error

    return build


def _argument_builder(value: Any, place: str, supplied: Sequence[str], inner: InnerClasses) -> Callable[..., Any]:
    """Return a function that builds the objects in an argument from the caller's arguments; check them now."""
    if isinstance(value, list | tuple):
        parts = [_argument_builder(one, f"{place}[{number}]", supplied, inner) for number, one in enumerate(value)]
        return lambda *positional: [make(*positional) for make in parts]
    if not isinstance(value, Mapping):
        return lambda *_: value
    if "_target_" not in value:
        named = {key: _argument_builder(one, f"{place}.{key}", supplied, inner) for key, one in value.items()}
        return lambda *positional: {key: make(*positional) for key, make in named.items()}
    if not inner:
        raise ConfigError(f"{place}._target_", "an object is not allowed here", "write a number, a text or a list")
    module = str(value["_target_"]).rpartition(".")[0]
    kinds = [kind for name, kind in inner.items() if is_within(module, [name])] or list(inner.values())
    target = find_target(value, kinds, inner, place)
    taken = [number for number, name in enumerate(supplied) if has_parameter(target, name)]
    make = partial_target(value, kinds, inner, place, supplied=[supplied[number] for number in taken], inner=inner)
    return lambda *positional: make(*(positional[number] for number in taken))
