"""Third-party objects by `_target_`: only classes of a known kind, from known modules, so that a YAML runs no code."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from snnlab.config.folders import group_files
from snnlab.errors import ConfigError, did_you_mean, listing
from snnlab.settings import check_settings, takes

T = TypeVar("T")
# Of what modules which classes may be arguments of an object.
Inner = Mapping[str, type]
_OF_HYDRA = {
    "_partial_": "leave it out: what is missing, such as an optimizer's parameters, is given to it",
    "_args_": "name each argument",
    "_convert_": "leave it out: arguments are plain lists and mappings",
    "_recursive_": "leave it out: an argument with _target_ becomes an object",
}


def find_target(node: Mapping[str, Any], kinds: Sequence[type[T]], modules: Collection[str], place: str) -> type[T]:
    """Return the class that `_target_` names.

    Args:
        kinds: Classes of which the target must be a subclass of one.
        modules: Modules that may be named; what they themselves import from elsewhere is refused.
        place: Where the node stands.

    Raises:
        ConfigError: if there is no such class, or it is not allowed.
    """
    target = node.get("_target_")
    if target is None:
        group, _, name = place.partition(".")
        files = group_files(group, None)
        choose = name if name in files else "default" if "default" in files else "NAME"
        instead = f"write _target_: {next(iter(modules))}.NAME in place of type, or " if "type" in node else ""
        raise ConfigError(
            place, "there is no _target_, so it is nothing yet", f"{instead}choose {group}={choose} first"
        )
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"{place}._target_", f"expected a class such as {next(iter(modules))}.NAME, got {target!r}")
    module_name, _, name = target.rpartition(".")
    if not _within(module_name, modules):
        raise ConfigError(
            f"{place}._target_",
            f"{target} is not allowed here, it must come from {listing(modules)}",
            "plugins=[PACKAGE] behind the command allows one of your own",
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{place}._target_", f"there is no module {module_name}") from error
    found = getattr(module, name, None)
    allowed = isinstance(found, type) and issubclass(found, tuple(kinds)) and _within(found.__module__, modules)
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
    given: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
    inner: Inner = MappingProxyType({}),
) -> Callable[..., T]:
    """Return a function that builds what the node describes, its settings checked by name and type already.

    An argument that is itself a mapping with `_target_`, or a list of such, becomes an object first; it is given what
    its class takes of `given`, such as a scheduler's optimizer.

    Args:
        node: `_target_` and arguments.
        kinds: See `find_target`.
        modules: See `find_target`.
        place: See `find_target`.
        given: Arguments that the caller passes, in this order, when it builds.
        extra: Arguments that are used where the node does not set them and the class takes them.
        inner: Of what module which classes may be such arguments.

    Raises:
        ConfigError: if the target or an argument is wrong; building raises it where the class refuses a value.
    """
    target = find_target(node, kinds, modules, place)
    settings = {key: value for key, value in node.items() if key != "_target_"}
    for key in settings:
        if key in _OF_HYDRA:
            raise ConfigError(f"{place}.{key}", "is Hydra's word, which is not used here", _OF_HYDRA[key])
    arguments = {**(extra or {}), **settings}
    checked = {key: value for key, value in arguments.items() if key in settings or key not in given}
    objects = {
        key: _object(value, f"{place}.{key}", given, inner) for key, value in settings.items() if _holds_target(value)
    }
    check_settings(target, checked, place, target.__name__, given, objects)

    def build(*positional: Any) -> T:
        made = {key: make(*positional) for key, make in objects.items()}
        check_settings(target, {**checked, **made}, place, target.__name__, given)
        try:
            return target(*positional, **{**arguments, **made})
        except (ValueError, TypeError) as error:
            raise ConfigError(place, f"{target.__name__}: {error}") from error

    return build


def _holds_target(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_holds_target, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_target, value))


def _object(value: Any, place: str, given: Sequence[str], inner: Inner) -> Callable[..., Any]:
    """Return a function that builds the objects in an argument, once they were checked, from what the caller gives."""
    if isinstance(value, list | tuple):
        parts = [_object(one, f"{place}[{number}]", given, inner) for number, one in enumerate(value)]
        return lambda *positional: [make(*positional) for make in parts]
    if not isinstance(value, Mapping):
        return lambda *_: value
    if "_target_" not in value:
        named = {key: _object(one, f"{place}.{key}", given, inner) for key, one in value.items()}
        return lambda *positional: {key: make(*positional) for key, make in named.items()}
    if not inner:
        raise ConfigError(f"{place}._target_", "no object can stand here", "write a number, a text or a list")
    module = str(value["_target_"]).rpartition(".")[0]
    kinds = [kind for name, kind in inner.items() if _within(module, [name])] or list(inner.values())
    target = find_target(value, kinds, inner, place)
    taken = [number for number, name in enumerate(given) if takes(target, name)]
    make = partial_target(value, kinds, inner, place, given=[given[number] for number in taken], inner=inner)
    return lambda *positional: make(*(positional[number] for number in taken))


def check_numbers(settings: Mapping[str, Any], place: str, not_negative: Callable[[str], bool]) -> None:
    """Refuse numbers that are none, or below 0 where that means nothing: what is built of them mostly takes them.

    Args:
        settings: Numbers, alone or in lists, and whatever else.
        place: Where they stand.
        not_negative: Whether a setting of this name cannot be below 0.

    Raises:
        ConfigError: naming the first such number.
    """
    for key, value in _numbers(settings):
        if not math.isfinite(value):
            raise ConfigError(f"{place}.{key}", f"expected a finite number, got {value}")
        if value < 0 and not_negative(key):
            raise ConfigError(f"{place}.{key}", f"must be >= 0, got {value}")


def _numbers(settings: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in settings.items():
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, int | float) and not isinstance(number, bool):
                yield key, number


def _within(module: str, allowed: Collection[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)
